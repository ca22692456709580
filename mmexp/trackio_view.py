"""The Trackio run: a view of metrics.jsonl that can be rebuilt from the run folder at any time.

python -m mmexp.trackio_view RUN_DIR...      rebuild the runs of these folders
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from mmexp.dashboard.identity import read_identity
from mmexp.recording.run_files import read_rows

if TYPE_CHECKING:
    from mmexp.tracking import Tracking

log = logging.getLogger(__name__)

# Any of these in the environment would turn a local run into a remote one.
REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_WEBHOOK_URL")


class TrackioView:
    """Shows one run in the local dashboard. A failure of Trackio is a warning: metrics.jsonl holds the truth."""

    def __init__(self, identity: dict[str, Any], rows: Sequence[dict[str, Any]] = ()) -> None:
        """Go on with a run, anew with `rows` where given: what Trackio lost when it was killed is there again."""
        self._run: Any = None
        try:
            self._run = _init_locally(**identity, anew=bool(rows))
        except Exception as error:  # the dashboard must not fail a run, whatever it raises
            log.warning("tracking.trackio: the run is not shown in Trackio (%s)", error)
        for row in rows:
            self.log(row)

    def log(self, row: dict[str, Any]) -> None:
        """Show one row of metrics.jsonl."""
        metrics = {name: value for name, value in row["metrics"].items() if value is not None}
        if self._run is not None and row["metrics"]:
            self._run.log(metrics, step=row["step"])

    def finish(self) -> None:
        """End the run, so that the next one in this process starts clean."""
        if self._run is not None:
            import trackio

            with redirect_stdout(io.StringIO()):  # "Uploading logs", which stay here
                trackio.finish()
            self._run = None


def _init_locally(run_id: str, project: str, anew: bool, **arguments: Any) -> Any:
    with offline(), redirect_stdout(io.StringIO()):
        import trackio

        if anew:
            _delete(project, run_id)
        run = trackio.init(project, **arguments, resume="never", embed=False, auto_log_gpu=False, auto_log_cpu=False)
    # Names are not unique, so `resume` by name could take up another run. Rows are filed under the id they come with.
    run.id = run_id
    return run


def _delete(project: str, run_id: str) -> None:
    import trackio

    with suppress(ValueError):  # there is no such project yet
        for run in trackio.Api().runs(project):
            if run.id == run_id:
                run.delete()


def is_rewritable() -> bool:
    """Whether rows can be deleted as soon as they are logged: not on a network's file system, where Trackio leaves them
    in an inbox until a dashboard starts."""
    from trackio.utils import get_storage_mode

    return get_storage_mode() == "sqlite"


def import_inbox() -> None:
    """File what was logged on a network's file system, as the dashboard does when it starts."""
    from trackio.fragments import import_inbox_dir

    import_inbox_dir()


@contextmanager
def offline() -> Iterator[None]:
    """Nothing leaves this machine: not by Trackio's variables, and not by its question to the Hub who we are, which it
    asks where there is a token, and waits for ever for the answer where a network swallows it."""
    from huggingface_hub import constants

    if remote := [variable for variable in REMOTE if os.environ.get(variable)]:
        log.warning("%s ignored: runs are shown here; tracking.push_to_space copies them at the end", ", ".join(remote))
    kept = {variable: value for variable, value in os.environ.items() if variable not in REMOTE}
    with (
        patch.dict(os.environ, kept, clear=True),
        patch.object(constants, "HF_HUB_OFFLINE", True),
    ):
        yield


def push_project(tracking: Tracking) -> None:
    """Copy the project to a private Space if `tracking.push_to_space` says so. A failure is a warning."""
    if tracking.push_to_space is None or not tracking.trackio:
        return
    import trackio

    try:
        trackio.sync(tracking.project, space_id=tracking.push_to_space, private=True)
    except Exception as error:  # whatever the network or the Hub raises must not fail a finished run
        log.warning("tracking.push_to_space=%s: the project could not be copied (%s)", tracking.push_to_space, error)


def rebuild(run_dir: Path) -> None:
    """Make the Trackio run of a run folder again, in place of the one that is there."""
    import_inbox()  # what lies there could not be deleted
    TrackioView(read_identity(run_dir), read_rows(run_dir / "metrics.jsonl")).finish()


def main() -> None:
    """Rebuild the runs of the folders. Exit code 2 and one line where one of them cannot be read."""
    from mmexp.parser import Parser, ending_in_words

    parser = Parser("mmexp.trackio_view", __doc__)
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="folder of a run")
    run_dirs = parser.parse_args().run_dirs
    with ending_in_words():
        for run_dir in run_dirs:
            rebuild(run_dir)


if __name__ == "__main__":
    main()
