"""Who a run is in the dashboard: its project, group, name and config, kept in trackio.json of its folder."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.recording.run_files import write_whole
from mmexp.recording.unreadable import read_json, reading
from mmexp.sweep.member import Member, read_members

if TYPE_CHECKING:
    from mmexp.experiment import Experiment

IDENTITY = "trackio.json"


def identify(run_dir: Path, experiment: Experiment, plain: dict[str, Any]) -> dict[str, Any]:
    """What trackio.json says, which is written once: a resumed run is the same run."""
    file = run_dir / IDENTITY
    if file.exists():
        return read_identity(run_dir)
    tracking, member = experiment.tracking, _member(run_dir)
    identity = {
        "run_id": uuid.uuid4().hex,
        "project": tracking.project,
        "name": run_name(run_dir, member),
        "group": tracking.group or (_sweep_name(run_dir) if member else experiment.name),
        "config": {**(member.parameters if member else {}), **dashboard_config(experiment, plain)},
    }
    write_whole(file, json.dumps(identity, indent=2))
    return read_identity(run_dir)


def read_identity(run_dir: Path) -> dict[str, Any]:
    """trackio.json, and in the config where the folder is now, by which the runs of a project are found again.

    Raises `UnreadableFile`.
    """
    file = run_dir / IDENTITY
    with reading(file):
        identity = read_json(file)
        identity["config"]["run_dir"] = str(run_dir.resolve())
    return identity


def _member(run_dir: Path) -> Member | None:
    """The run as a member of a sweep; None for a single run."""
    members = read_members(run_dir.resolve().parent)
    return next((member for member in members if member.folder == run_dir.name), None)


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


def run_name(run_dir: Path, member: Member | None = None) -> str:
    """The run's name in the dashboard, which shows some 20 characters of it: what the sweep varies, beside the group;
    of a single run the experiment and the time. Safe in paths and links."""
    if member is not None:
        return member.folder.removesuffix(f"-{member.hash}")
    return _joined(run_dir.resolve().parts[-2:])


def _sweep_name(run_dir: Path) -> str:
    return _joined(run_dir.resolve().parts[-3:-1])


def _joined(parts: Sequence[str]) -> str:
    return "__".join(parts).replace(",", "_").replace("/", "_")
