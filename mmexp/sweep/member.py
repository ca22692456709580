"""A member of a sweep: a run with a folder of its own, named by what it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.composition import TYPES, Composition, freeze, thaw, write
from mmexp.processes.out_of_memory import with_half_the_mini_batch
from mmexp.recording.status import facts, read_result
from mmexp.recording.unreadable import as_mapping, read_json, reading
from mmexp.schema import ConfigError
from mmexp.sweep.names import VOLATILE

if TYPE_CHECKING:
    from mmexp.experiment import Experiment
    from mmexp.launchers import Launcher

INDEX = "sweep.json"


@dataclass(frozen=True)
class Member:
    """What a sweep knows of it; all else is in its folder."""

    hash: str
    """Of its config: `names.identity`."""

    folder: str
    """Its name below that of the sweep: what the sweep varies, and the hash."""

    overrides: list[str]
    parameters: dict[str, Any]
    """What the sweep varies, by key."""


class MemberRun:
    """A member in the folder of its sweep."""

    def __init__(self, member: Member, sweep_dir: Path) -> None:
        self.member = member
        self.run_dir = sweep_dir / member.folder

    @property
    def result(self) -> dict[str, Any]:
        """What it has come to: result.json, or its status alone."""
        return read_result(self.run_dir)

    @property
    def is_finished(self) -> bool:
        return self.result["status"] == "finished"

    @property
    def metric(self) -> float | None:
        """The primary metric, where it is finished."""
        result = self.result
        return result["final"][result["primary_metric"]] if result["status"] == "finished" else None

    def compose(self, experiment: Experiment) -> Composition:
        """Freeze it, or, where it has begun, change no more than where and how it goes on."""
        if not (self.run_dir / TYPES).exists():
            self.run_dir.mkdir(parents=True, exist_ok=True)
            return freeze(experiment, self.run_dir, self.member.overrides)
        return change(thaw(self.run_dir), **{key: getattr(experiment, key) for key in VOLATILE})

    def compose_again(self, launch: Launcher | None, at_once: int | None) -> Composition:
        """What goes on with it, as it was frozen; where and how, as it was, or as these say."""
        frozen = thaw(self.run_dir)
        of_launch, of_sweep = frozen.experiment.launch, frozen.experiment.sweep
        return change(
            frozen,
            launch=launch or dataclasses.replace(of_launch, dry_run=False),
            sweep=dataclasses.replace(of_sweep, at_once=at_once or of_sweep.at_once),
        )

    def row(self) -> dict[str, Any]:
        """Its entry in sweep.json."""
        return {**dataclasses.asdict(self.member), **facts(self.result)}


def read_members(path: Path) -> list[Member]:
    """The members that sweep.json of a folder lists; none where there is none. Raises `UnreadableFile`."""
    file = path / INDEX
    if not file.exists():
        return []
    with reading(file):
        return [_member(as_mapping(row)) for row in read_json(file)["members"]]


def _member(row: dict[str, Any]) -> Member:
    as_mapping(row["parameters"])
    return Member(**{field.name: row[field.name] for field in dataclasses.fields(Member)})


def refuse_sweep(folder: Path) -> None:
    """Raise `ConfigError` for the folder of a sweep, where that of a run is asked for."""
    if (folder / INDEX).exists():
        members = read_members(folder)
        such = f", such as {folder / members[0].folder}" if members else ", of which it has none yet"
        raise ConfigError(f"{folder} is the folder of a sweep. Give one of its members{such}.")


def change(frozen: Composition, **fields: Any) -> Composition:
    """Freeze it anew with these fields of the experiment, and half the mini-batch where it ended for want of memory."""
    changed = dataclasses.replace(frozen, experiment=dataclasses.replace(frozen.experiment, **fields))
    write(changed)
    return with_half_the_mini_batch(changed) or changed
