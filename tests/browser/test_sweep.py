"""The whole story: a sweep, its comparison, and both of its views in a browser."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from mmexp.dashboard.server import serve
from tests.browser.drawn import draws, fits, is_rendered, svgs_are_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SWEEP = ["-m", "+sweep=vdr_tiny_grid", "data.num_negatives=1,2,4", "sweep.at_once=2"]
NUM_MEMBERS = 12


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The project in Trackio, and the folder of the comparison."""
    folder, project = tmp_path_factory.mktemp("swept"), f"test-{uuid.uuid4().hex[:8]}"
    said = python("mmexp", *SWEEP, f"tracking.project={project}", f"output_root={folder}")
    assert f"To see the comparison: python -m mmexp.dashboard --project {project}" in said
    sweep = folder / "vdr_tiny" / "vdr_tiny_grid"
    python("mmexp.compare", str(sweep))
    return project, sweep / "comparison"


def python(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_sweep_of_12_ends_as_a_page_of_its_comparison(look, swept):
    _, folder = swept
    with look((folder / "index.html").as_uri()) as page:
        assert svgs_are_drawn(page) >= 5 + NUM_MEMBERS
        assert is_rendered(page, "img") >= 6
        assert page.locator("table").first.locator("tbody tr").count() == NUM_MEMBERS


def test_a_sweep_of_12_ends_as_a_comparison_in_the_dashboard(look, swept):
    project, _ = swept
    with serve(project, "127.0.0.1", None) as links:
        with look(links["comparison"]) as page:
            assert is_rendered(page, ".gallery-item img") >= 5
            assert page.locator(".runs-table").first.locator("tbody tr").count() == NUM_MEMBERS
            assert fits(page, ".runs-table")
        with look(links["runs"]) as page:
            draws(page, "matryoshka")
            assert page.locator(".run-name").all_inner_texts()[0] == "00-comparison"
            assert page.locator(".run-name").count() == 1 + NUM_MEMBERS
