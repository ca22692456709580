"""The Trackio run: a view of metrics.jsonl that can be rebuilt from the run folder at any time.

python -m mmexp.trackio_view RUN_DIR...      rebuild the runs of these folders
"""

from __future__ import annotations

import json
import logging
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from mmexp.run_files import read_rows, write_whole
from mmexp.sweep.folder import read_members

if TYPE_CHECKING:
    from mmexp.experiment import Experiment
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

            trackio.finish()
            self._run = None


def _init_locally(run_id: str, project: str, anew: bool, **arguments: Any) -> Any:
    with _offline():
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


@contextmanager
def _offline() -> Iterator[None]:
    """Nothing leaves this machine: not by Trackio's variables, and not by its question to the Hub who we are, which it
    asks where there is a token, and waits for ever for the answer where a network swallows it."""
    import huggingface_hub

    if remote := [variable for variable in REMOTE if os.environ.get(variable)]:
        log.warning("%s ignored: a run is tracked here; tracking.push_to_space copies it at the end", ", ".join(remote))
    kept = {variable: value for variable, value in os.environ.items() if variable not in REMOTE}
    with (
        patch.dict(os.environ, kept, clear=True),
        patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True),
    ):
        yield


def identify(run_dir: Path, experiment: Experiment, plain: dict[str, Any]) -> dict[str, Any]:
    """Who the run is in the dashboard, kept in trackio.json: a resumed run is the same run."""
    file = run_dir / "trackio.json"
    if file.exists():
        return json.loads(file.read_text())
    tracking = experiment.tracking
    sweep, parameters = _sweep(run_dir)
    identity = {
        "run_id": uuid.uuid4().hex,
        "project": tracking.project,
        "name": run_name(run_dir),
        "group": tracking.group or sweep or experiment.name,
        "config": {**parameters, **dashboard_config(experiment, plain)},
    }
    write_whole(file, json.dumps(identity, indent=2))
    return identity


def _sweep(run_dir: Path) -> tuple[str | None, dict[str, Any]]:
    """The sweep that the run is a member of, and what that varies of it; None and nothing for a single run."""
    folder = run_dir.resolve().parent
    varied = {member.folder: member.parameters for member in read_members(folder)}
    return (f"{folder.parent.name}__{folder.name}", varied[run_dir.name]) if run_dir.name in varied else (None, {})


def dashboard_config(experiment: Experiment, plain: dict[str, Any]) -> dict[str, Any]:
    """The config as the dashboard compares it: what identifies a run and is swept most, flat; the rest under `cfg`."""
    return {
        "experiment": experiment.name,
        "model": str(plain["model"].get("checkpoint") or type(experiment.model).__name__),
        "data": experiment.data_name,
        "loss": type(experiment.loss).__name__,
        "dims": "-".join(map(str, experiment.dims.matryoshka_dims)) or "full",
        "batch_size": experiment.trainer.get("per_device_train_batch_size"),
        "learning_rate": experiment.trainer.get("learning_rate"),
        "max_pixels": experiment.model.max_pixels,
        "num_negatives": experiment.data.num_negatives,
        "seed": experiment.seed,
        "cfg": plain,
    }


def run_name(run_dir: Path) -> str:
    """The run's name in the dashboard, from its folder below the output root: safe in paths and links."""
    parts = run_dir.resolve().parts[-3:]
    return "__".join(parts).replace(",", "_").replace("/", "_")


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
    from trackio.fragments import import_inbox_dir

    import_inbox_dir()  # what lies there could not be deleted
    identity = json.loads((run_dir / "trackio.json").read_text())
    TrackioView(identity, read_rows(run_dir / "metrics.jsonl")).finish()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for folder in sys.argv[1:]:
        rebuild(Path(folder))
