"""The Trackio run: a view of metrics.jsonl that can be rebuilt from the run folder at any time.

python -m mmexp.trackio_view RUN_DIR...      rebuild the runs of these folders
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from mmexp.experiment import Experiment
    from mmexp.tracking import Tracking

log = logging.getLogger(__name__)

# Any of these in the environment would turn a local run into a remote one.
REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_WEBHOOK_URL")


class TrackioView:
    """Shows one run in the local dashboard. A failure of Trackio is a warning: metrics.jsonl holds the truth."""

    def __init__(self, project: str, name: str, group: str, config: dict[str, Any]) -> None:
        self._run: Any = None
        try:
            self._run = _init_locally(project, name, group, config)
        except Exception as error:  # the dashboard must not fail a run, whatever it raises
            log.warning("tracking.trackio: the run is not shown in Trackio (%s)", error)

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self._run is not None:
            self._run.log(metrics, step=step)

    def finish(self) -> None:
        """End the run, so that the next one in this process starts clean."""
        if self._run is not None:
            import trackio

            trackio.finish()
            self._run = None


def _init_locally(project: str, name: str, group: str, config: dict[str, Any]) -> Any:
    import huggingface_hub
    import trackio

    if remote := [variable for variable in REMOTE if os.environ.get(variable)]:
        log.warning("%s ignored: a run is tracked here; tracking.push_to_space copies it at the end", ", ".join(remote))
    kept = {variable: value for variable, value in os.environ.items() if variable not in REMOTE}
    # Offline for as long as `init` runs: with a Hub token it would ask the Hub who we are, and wait for ever where a
    # network swallows the question.
    offline = patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with patch.dict(os.environ, kept, clear=True), offline:
        return trackio.init(
            project,
            name=name,
            group=group,
            config=config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )


def dashboard_config(experiment: Experiment, plain: dict[str, Any]) -> dict[str, Any]:
    """The config as the dashboard compares it: what identifies a run and what is swept, flat; the rest under `cfg`."""
    return {
        "experiment": experiment.name,
        "model": str(plain["model"].get("checkpoint") or type(experiment.model).__name__),
        "data": str(plain["data"].get("path") or type(experiment.data).__name__),
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
    """The run's name in the dashboard, from its folder below the output root: unique, and safe in paths and links."""
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
    """Make the Trackio run of a run folder again. A run of that name that is there already is deleted first."""
    import trackio

    identity = json.loads((run_dir / "trackio.json").read_text())
    for run in trackio.Api().runs(identity["project"]):
        if run.name == identity["name"]:
            run.delete()
    view = TrackioView(**identity)
    with (run_dir / "metrics.jsonl").open() as lines:
        for line in lines:
            row = json.loads(line)
            view.log(row["metrics"], row["step"])
    view.finish()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for folder in sys.argv[1:]:
        rebuild(Path(folder))
