"""A real Chromium without a window that can reach this machine alone, and pages in it that are watched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SIZES = {"laptop": (1280, 800), "desktop": (1920, 1080)}
# A request that leaves the machine fails by itself; that it is made at all is seen by those who watch the page.
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install '.[browser]'")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is absent")
    without_sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[NO_NETWORK, *without_sandbox])
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def look(chromium, request):
    """`with look(url) as page`: a page of one size. It must make no request beyond its own file or server, log no
    error, open no dialog, fail at no request, and not scroll sideways."""

    @contextmanager
    def look(url: str) -> Iterator:
        width, height = SIZES[request.param]
        page = chromium.new_page(viewport={"width": width, "height": height})
        said: list[str] = []
        home = url if url.startswith("file:") else url[: url.index("/", len("http://"))]
        page.set_default_timeout(10_000)
        page.on("request", lambda asked: is_at_home(asked.url, home) or said.append(f"asked for {asked.url}"))
        # A page may itself abort what it does not need any more.
        page.on("requestfailed", lambda asked: "ABORTED" in asked.failure or said.append(f"failed: {asked.url}"))
        page.on("response", lambda answer: answer.status < 400 or said.append(f"{answer.status}: {answer.url}"))
        page.on("console", lambda words: words.type not in ("error", "warning") or said.append(words.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        try:
            page.goto(url)
            yield page
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert said == []
        finally:
            page.close()

    return look


def is_at_home(url: str, home: str) -> bool:
    return url.startswith((home, "data:", "blob:"))
