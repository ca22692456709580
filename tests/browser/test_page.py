"""The page of a comparison, opened: one file that needs nothing else."""

from __future__ import annotations

import pytest

from mmexp.compare import report
from mmexp.compare.comparison import compare
from mmexp.compare.runs import find_runs
from tests.browser.test_dashboard import SWEPT
from tests.dashboard.run_folders import write_sweep

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    write_sweep(folder / "grid", "unused", SWEPT)
    (folder / "comparison").mkdir()
    report.write(compare(find_runs([folder / "grid"])), folder / "comparison")
    return folder / "comparison" / "index.html"


def test_all_that_the_page_shows_is_drawn_and_comes_from_its_own_file(look, page_file):
    with look(page_file.as_uri()) as page:
        sizes = "s => [s.getBBox().width, s.getBBox().height]"
        boxes = page.evaluate(f"[...document.querySelectorAll('svg')].map({sizes})")
        assert len(boxes) >= 5 + len(SWEPT)
        assert all(width > 0 and height >= 0 for width, height in boxes)
        images = page.evaluate("[...document.querySelectorAll('img')].map(i => i.complete ? i.naturalWidth : 0)")
        assert len(images) >= 6
        assert min(images) > 0
        assert page.locator("table").first.locator("tbody tr").count() == len(SWEPT)


def test_the_page_says_what_the_figures_show_in_tables_too(look, page_file):
    with look(page_file.as_uri()) as page:
        assert page.locator("figure, section svg").count() > 0
        assert page.locator("table").count() > page.locator("section").count()
