"""The page of a comparison, opened: one file that needs nothing else."""

from __future__ import annotations

import pytest

from mmexp.compare import report
from mmexp.compare.comparison import compare
from mmexp.compare.runs import find_runs
from tests.browser.drawn import is_rendered, svgs_are_drawn
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
        assert svgs_are_drawn(page) >= 5 + len(SWEPT)  # figures, and the interval of each setting
        assert is_rendered(page, "img") >= 6  # pages of queries
        assert page.locator("table").first.locator("tbody tr").count() == len(SWEPT)
