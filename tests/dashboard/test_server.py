"""`python -m mmexp.dashboard`: Trackio's server with our order and colours, on loopback, until it is told to end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import psutil
import pytest

from mmexp.compare.report.charts import COLORS
from mmexp.dashboard.__main__ import main
from mmexp.dashboard.appearance import PALETTE, PLOT_ORDER

ROOT = Path(__file__).parents[2]
# What would send data elsewhere, or show it to others.
HOSTILE = {
    "TRACKIO_SPACE_ID": "someone/else",
    "TRACKIO_SERVER_URL": "https://dashboard.invalid",
    "TRACKIO_WEBHOOK_URL": "https://hook.invalid",
    "GRADIO_SHARE": "true",
    "HF_TOKEN": "hf_" + "a" * 34,
    "HF_HUB_OFFLINE": "0",
}


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_it_serves_our_order_and_colours_on_loopback_alone_and_ends_when_told(tmp_path):
    environment = {**os.environ, **HOSTILE, "TRACKIO_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "mmexp.dashboard", "--project", "my.pages"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
    try:
        links = dict(process.stdout.readline().split() for _ in range(2))
        link = urlsplit(links["runs:"])
        query = parse_qs(link.query)
        assert (link.hostname, query["project"], query["smoothing"]) == ("127.0.0.1", ["mypages"], ["0"])
        assert parse_qs(urlsplit(links["comparison:"]).query)["run_ids"] == ["00-comparison"]

        settings = asked_of(f"http://{link.netloc}", "get_settings")
        assert settings["plot_order"] == list(PLOT_ORDER)
        assert settings["color_palette"] == list(PALETTE)
        assert settings["space_id"] is None

        of_process = psutil.Process(process.pid).net_connections("inet")
        assert {connection.laddr.port for connection in of_process if connection.status == "LISTEN"} == {link.port}
        assert {end.ip for connection in of_process for end in (connection.laddr, connection.raddr) if end} == {
            "127.0.0.1"
        }
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "mmexp: project my.pages: " in process.stderr.read()  # it has no run yet
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", link.port)) != 0


def asked_of(server: str, name: str):
    """What a page of the dashboard gets to the same question."""
    request = Request(f"{server}/api/{name}", b"{}", {"Content-Type": "application/json"})
    with urlopen(request, timeout=20) as answer:
        return json.load(answer)["data"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "TAKEN"], r"--host 127\.0\.0\.1 --port \d+: .*Address already in use.*--port"),
        (["--port", "0"], r"--port: 0 is none\. Use a number from 1 to 65535\."),
        (["--port", "http"], r"--port: http is none"),
        (["--host", "192.0.2.1"], r"--host 192\.0\.2\.1: .*Cannot assign requested address"),
        (["--share"], "unrecognized arguments: --share"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(arguments, words, taken_port, monkeypatch, capsys):
    arguments = [str(taken_port) if argument == "TAKEN" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["dashboard", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    error = capsys.readouterr().err
    assert exited.value.code == 2
    assert error.startswith("mmexp: ")
    assert len(error.splitlines()) == 1
    assert re.search(words, error)


def test_runs_have_the_colours_of_the_figures():
    assert PALETTE[1:] == COLORS
