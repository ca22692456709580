"""The runs of a Trackio project, found again in the folders that their configs name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmexp.dashboard.identity import read_identity
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


def find_project(project: str) -> ProjectRuns:
    """Find the folders of a project's runs. Raises `ConfigError` where Trackio has no such project."""
    with offline():
        import trackio

        import_inbox()
        try:
            runs = [run for run in trackio.Api().runs(project) if run.name != NAME]
        except ValueError as error:
            raise ConfigError(f"project {project}: {_no_such(project)}") from error
        found = [(run, _folder_of(run)) for run in runs]
    return ProjectRuns(
        [folder for _, folder in found if folder is not None], [run.name for run, folder in found if folder is None]
    )


def _folder_of(run: Any) -> Path | None:
    """Where the run is; None where its folder is gone, or holds another run by now."""
    named = (run.config or {}).get("run_dir")
    with suppress(OSError, ValueError, KeyError):  # gone, or not what a run leaves
        if isinstance(named, str) and read_identity(Path(named))["run_id"] == run.id:
            return Path(named)
    return None


def _no_such(project: str) -> str:
    from trackio.sqlite_storage import SQLiteStorage

    projects = SQLiteStorage.get_projects()
    known = f"It has {', '.join(projects)}." if projects else "It has none on this machine."
    return f"Trackio has no run of it. {known}{did_you_mean(project, projects)} Runs are filed under tracking.project."
