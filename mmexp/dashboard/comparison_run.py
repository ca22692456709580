"""`00-comparison`: the run of a Trackio project that shows how the others compare, first in the dashboard's list."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from mmexp.dashboard.project import NAME
from mmexp.trackio_view import TrackioView, import_inbox, offline

# The dashboard lists the run first whose first row is newest.
NEWEST = "9999-12-31T23:59:59+00:00"
# The dashboard's plots end in an endless loop over an axis that one of the selected runs has not.
AXES = {"x/samples_seen": 0.0, "x/hours": 0.0, "x/energy_kwh": 0.0, "x/co2_kg": 0.0}


def replace(project: str, shown: dict[str, Any], config: dict[str, Any] | None = None) -> None:
    """Put `shown` in the place of what the project's `00-comparison` holds: Trackio's tables, images, texts by name. To
    be called in a `turn`.

    The dashboard shows tables and images of one step in the reverse order, so the first are logged last. `config` is
    what all runs have in common, so that the dashboard finds that to differ which does among them.
    """
    identity = {"run_id": NAME, "project": project, "name": NAME, "group": "comparison", "config": config or {}}
    with offline():
        import_inbox()
        _remove_images(project)
        TrackioView(identity, [{"step": 0, "metrics": {**dict(reversed(shown.items())), **AXES}}]).finish()
        import_inbox()
        _list_first(project)


@contextmanager
def turn() -> Iterator[None]:
    """Of two sweeps that end at once, the second waits: both would log after both have deleted, or the first would show
    last what was before the second had ended."""
    from trackio.utils import TRACKIO_DIR

    TRACKIO_DIR.mkdir(parents=True, exist_ok=True)
    with (TRACKIO_DIR / f".{NAME}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_images(project: str) -> None:
    """Deleting a run leaves its files."""
    from trackio.media import get_project_media_path

    shutil.rmtree(get_project_media_path(project, run=NAME))


def _list_first(project: str) -> None:
    """Trackio takes no time from those who log."""
    from trackio.sqlite_storage import SQLiteStorage

    with closing(sqlite3.connect(SQLiteStorage.get_project_db_path(project), timeout=10)) as database, database:
        database.execute("UPDATE metrics SET timestamp = ? WHERE run_id = ?", (NEWEST, NAME))
