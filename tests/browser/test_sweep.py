"""The whole story, in the words of README.md: a sweep, its comparison, and both of its views in a browser."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from mmexp.dashboard.server import serve
from tests.browser.drawn import draws, fits, is_rendered, svgs_are_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NUM_MEMBERS = 12


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The project in Trackio, and the folder of the comparison. What is swept is what README.md says; beside it, where
    it goes and how many members run at once."""
    folder, project = tmp_path_factory.mktemp("swept"), f"test-{uuid.uuid4().hex[:8]}"
    sweep, compare = readme_commands("Compare runs")[:2]
    assert "+sweep=vdr_tiny_grid" in sweep
    said = python(folder, *sweep, "sweep.at_once=2", f"tracking.project={project}")
    assert f"To see the comparison: python -m mmexp.dashboard --project {project}" in said
    python(folder, *compare)
    return project, folder / compare[-1] / "comparison"


def readme_commands(section: str) -> list[list[str]]:
    """The commands of the first block of a section, word by word, as a shell takes them."""
    text = (ROOT / "README.md").read_text().split(f"\n## {section}\n")[1]
    block = text.split("```bash\n")[1].split("```")[0]
    return [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]


def python(folder: Path, *command: str) -> str:
    """Run what begins with `python`, in `folder`."""
    assert command[0] == "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True)
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
