"""Bringing the `00-comparison` of a project up to date: on demand, and at the end of a sweep."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mmexp.dashboard.identity import IDENTITY, read_identity
from mmexp.repeat.mark import is_repeat

if TYPE_CHECKING:
    from mmexp.compare.by_data import ComparedByData
    from mmexp.dashboard.project import ProjectRuns

log = logging.getLogger(__name__)


def refresh(project: str) -> ComparedByData:
    """Compare the runs of a project, and show that. Raises `ConfigError` where Trackio has no such project."""
    from mmexp.dashboard.comparison_run import replace, turn
    from mmexp.dashboard.contents import contents

    with turn(), TemporaryDirectory() as images:
        compared, found = compare_runs_of(project)
        replace(project, contents(compared, Path(images)), found.common_config)
    return compared


def compare_runs_of(
    project: str, reference: str | None = None, metric: str | None = None, part: str | None = None
) -> tuple[ComparedByData, ProjectRuns]:
    """Compare the runs of a project, but for repeats of others. Arguments as of `compare`.

    Raises `ConfigError` where Trackio has no such project, or the project no such reference.
    """
    from mmexp.compare.by_data import compare_by_data
    from mmexp.compare.runs import find_runs
    from mmexp.dashboard.project import find_project

    found = find_project(project)
    runs = find_runs(run_dir for run_dir in found.run_dirs if not is_repeat(run_dir))
    compared = compare_by_data(runs, reference, metric, part)
    compared.notes += found.notes
    return compared, found


def refresh_after(run_dirs: Iterable[Path]) -> None:
    """Refresh the projects that these runs are shown in. Whatever fails is a warning: the runs are what counts."""
    try:
        tracked = [run_dir for run_dir in run_dirs if (run_dir / IDENTITY).exists()]
        for project in sorted({read_identity(run_dir)["project"] for run_dir in tracked}):
            refresh(project)
            print(f"To see the comparison: python -m mmexp.dashboard --project {project}", flush=True)
    except Exception as error:
        log.warning("the comparison in Trackio is not up to date (%s)", error)
