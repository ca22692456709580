"""That the browser sees what it is there to see."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<img src='https://example.com/pixel.png'>", "asked for https://example.com/pixel.png"),
        ("<script>fetch('http://192.0.2.1/')</script>", "asked for http://192.0.2.1/"),
        ("<script>console.error('a mistake')</script>", "a mistake"),
        ("<script>absent()</script>", "absent is not defined"),
        ("<p style='width: 3000px'>wide</p>", "<= "),
    ],
)
def test_a_page_that_leaves_the_machine_or_is_broken_is_found_out(look, tmp_path, body, words):
    (tmp_path / "page.html").write_text(f"<!doctype html><title>t</title>{body}")
    with pytest.raises(AssertionError, match=words), look((tmp_path / "page.html").as_uri()) as page:
        page.wait_for_load_state("networkidle")
