"""The runs of a Trackio project, found again in the folders that their configs name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from mmexp.dashboard.identity import read_identity
from mmexp.recording.unreadable import UnreadableFile
from mmexp.schema import ConfigError, did_you_mean
from mmexp.trackio_view import import_inbox, offline

NAME = "00-comparison"
"""The run that holds the comparison of the others."""

MOST_NAMES = 5


@dataclass(frozen=True)
class ProjectRuns:
    """What `find_project` found."""

    run_dirs: list[Path]
    """As they were logged."""

    gone: list[str]
    """Names of the runs that have no folder any more, or not where Trackio knows it."""

    configs: list[dict[str, Any]]
    """Of the runs in `run_dirs`, as Trackio has them."""

    @property
    def common_config(self) -> dict[str, Any]:
        """What the configs have in common."""
        common = reduce(_common, self.configs) if self.configs else {}
        return {key: value for key, value in common.items() if not key.startswith("_")}  # Trackio's own

    @property
    def notes(self) -> list[str]:
        """What is to be said of those that are gone."""
        if not self.gone:
            return []
        more = f" and {len(self.gone) - MOST_NAMES} more" if len(self.gone) > MOST_NAMES else ""
        return [
            f"Left out, for their folders are not where they were: {', '.join(self.gone[:MOST_NAMES])}{more}. A folder "
            "that was moved is found again after python -m mmexp.trackio_view RUN_DIR."
        ]


def runs_of(project: str) -> list[Any]:
    """Trackio's runs of a project, but for the comparison. Raises `ConfigError` where it has no such project."""
    import trackio

    import_inbox()
    try:
        return [run for run in trackio.Api().runs(project) if run.name != NAME]
    except ValueError as error:
        raise ConfigError(f"project {project}: {_no_such(project)}") from error


def find_project(project: str) -> ProjectRuns:
    """Find the folders of a project's runs. Raises `ConfigError` where Trackio has no such project."""
    with offline():
        found = [(run, _folder_of(run)) for run in runs_of(project)]
    there = [(run, folder) for run, folder in found if folder is not None]
    return ProjectRuns(
        run_dirs=[folder for _, folder in there],
        gone=[run.name for run, folder in found if folder is None],
        configs=[run.config or {} for run, _ in there],
    )


def _folder_of(run: Any) -> Path | None:
    """Where the run is; None where its folder is gone, or holds another run by now."""
    named = (run.config or {}).get("run_dir")
    with suppress(UnreadableFile):  # gone, or not what a run leaves
        if isinstance(named, str) and read_identity(Path(named))["run_id"] == run.id:
            return Path(named)
    return None


def _common(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Keys that both have with one value, also of dictionaries within."""
    both = {key: (value, theirs[key]) for key, value in ours.items() if key in theirs}
    inner = {key: _common(*pair) for key, pair in both.items() if all(isinstance(value, dict) for value in pair)}
    equal = {key: one for key, (one, other) in both.items() if one == other}
    return {key: value for key, value in inner.items() if value} | equal


def _no_such(project: str) -> str:
    from trackio.sqlite_storage import SQLiteStorage

    projects = SQLiteStorage.get_projects()
    known = f"It has {', '.join(projects)}." if projects else "It has none on this machine."
    return f"Trackio has no run of it. {known}{did_you_mean(project, projects)} Runs are filed under tracking.project."
