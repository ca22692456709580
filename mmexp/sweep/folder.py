"""The folder of a sweep: which members it has, run where they are not finished, and what came out.

sweep.json lists the members before any starts, so that a sweep goes on from its folder alone. What a member has come to
is in its own folder; sweep.json says it again when the members that were asked for have ended.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mmexp.composition import TYPES, VALUES, thaw
from mmexp.dashboard.refresh import refresh_after
from mmexp.processes.interruption import Preempted
from mmexp.recording.run_files import remove_if_only, write_whole
from mmexp.schema import ConfigError
from mmexp.slurm.jobs import Job, jobs_that_go_on
from mmexp.sweep.lock import LOCK, FolderLock
from mmexp.sweep.member import INDEX, Member, MemberRun, read_members
from mmexp.sweep.names import identity, label, values
from mmexp.sweep.table import print_failures, print_table

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.experiment import Experiment
    from mmexp.launchers import Launcher


@dataclass(frozen=True)
class Asked:
    """One member as a sweeper asks for it."""

    experiment: Experiment
    overrides: list[str]
    parameters: dict[str, str]
    """What the sweep varies: `names.swept`."""

    @cached_property
    def hash(self) -> str:
        """Of its config: `names.identity`."""
        return identity(self.experiment)


class SweepFolder:
    """Locked by the process that opens it, until it closes it or ends."""

    opened: ClassVar[SweepFolder | None] = None
    """That of this process, which Hydra's sweepers do not hand on."""

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """Open it, or make it. Raises `ConfigError` where another process has it open."""
        path.mkdir(parents=True, exist_ok=True)
        cls.opened = cls(path.resolve())
        return cls.opened

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: dict[str, MemberRun] = {}
        """The members that this process was asked for, by hash."""

        self._lock = FolderLock(self.path)
        self._members = {member.hash: member for member in read_members(self.path)}

    def run(self, asked: Sequence[Asked]) -> list[float | None]:
        """Run what is not finished; return the primary metric of each, None for one that did not finish."""
        refuse_equal(asked)
        known = set(self._members)
        try:
            self._run(asked)
        except ConfigError:
            self._forget(set(self._members) - known)
            raise
        return [self.asked[one.hash].metric for one in asked]

    def _run(self, asked: Sequence[Asked]) -> None:
        runs = {one.hash: self._member_of(one) for one in asked}
        self.asked |= runs
        missing, queued = unfinished(runs.values())
        experiments = {one.hash: one.experiment for one in asked}
        members = [run.compose(experiments[run.member.hash]) for run in missing]
        first = asked[0].experiment
        self._launch(first.launch, first.sweep.at_once, members, queued)

    def _forget(self, keys: set[str]) -> None:
        """Leave nothing of members that could not be started. One that was has more in its folder, and stays."""
        for key in keys:
            run_dir = self.path / self._members[key].folder
            remove_if_only(run_dir, {VALUES, TYPES})
            if not run_dir.exists():
                del self._members[key]
        if self._members:
            self.write()
        else:
            (self.path / INDEX).unlink(missing_ok=True)

    def go_on(self, launch: Launcher | None, at_once: int | None) -> None:
        """Run what is not finished of all members; where and how, as they were frozen, or as these say."""
        self.asked = {key: MemberRun(member, self.path) for key, member in self._members.items()}
        missing, queued = unfinished(self.asked.values())
        if not missing and not queued:
            self.write()
            return
        members = [run.compose_again(launch, at_once) for run in missing]
        first = members[0] if members else thaw(queued[0].run_dir)
        first.enter()
        self._launch(launch or first.experiment.launch, at_once or first.experiment.sweep.at_once, members, queued)

    def discard_if_empty(self) -> None:
        """Remove what was made for a sweep of which nothing began."""
        remove_if_only(self.path, {"multirun.yaml", LOCK})

    def _member_of(self, asked: Asked) -> MemberRun:
        """The member that there is, whatever it is called, or a new one."""
        if (known := self._members.get(asked.hash)) is not None:
            parameters = known.parameters | values(asked.parameters)  # more may be varied than when it began
            self._members[asked.hash] = replace(known, parameters=parameters)
        else:
            there = next((path.name for path in self.path.glob(f"*-{asked.hash}") if path.is_dir()), None)
            folder = there or f"{label(asked.parameters)}-{asked.hash}"
            self._members[asked.hash] = Member(asked.hash, folder, asked.overrides, values(asked.parameters))
        return MemberRun(self._members[asked.hash], self.path)

    def _launch(self, launch: Launcher, at_once: int, members: list[Composition], queued: list[Job]) -> None:
        self.write()
        if not members and not queued:
            return
        finished = sum(run.is_finished for run in self.asked.values())
        words = f", {len(queued)} in Slurm's hands already" if queued else ""
        print(f"{self.path}: {len(members)} to run, {finished} finished{words}", flush=True)
        try:
            launch.launch_members(members, at_once, queued)
        except Preempted as preempted:
            print(f"mmexp: {preempted}. Go on with: python -m mmexp.resume {self.path}", file=sys.stderr)
            raise
        finally:
            self.write()

    def write(self) -> None:
        """Write sweep.json as things are now."""
        rows = [MemberRun(member, self.path).row() for member in self._members.values()]
        write_whole(self.path / INDEX, json.dumps({"members": rows}, indent=2))

    def close(self) -> None:
        """Leave the folder to others."""
        self._lock.release()

    def conclude(self) -> None:
        """Print the table of the members that were asked for. Exits with 1 where any has failed."""
        rows = [run.row() for run in self.asked.values()]
        print_table(self.path, rows)
        if any(row["status"] == "finished" for row in rows):
            refresh_after(run.run_dir for run in self.asked.values())
        if failed := [row for row in rows if row["error"] is not None]:
            print_failures(self.path, failed)
            sys.exit(1)


def unfinished(runs: Iterable[MemberRun]) -> tuple[list[MemberRun], list[Job]]:
    """Of runs that are not finished: those to start, and the jobs that have the others."""
    found = {run.run_dir: run for run in runs if not run.is_finished}
    queued = jobs_that_go_on([*found])
    taken = {job.run_dir for job in queued}
    return [run for run_dir, run in found.items() if run_dir not in taken], queued


def refuse_equal(asked: Sequence[Asked]) -> None:
    """Raise `ConfigError` for two members that the sweep tells apart, and whose results would be the same."""
    seen: dict[str, Asked] = {}
    for one in asked:
        other = seen.setdefault(one.hash, one)
        if other.parameters != one.parameters:
            raise ConfigError(
                f"{label(other.parameters)} and {label(one.parameters)} are one and the same member: they differ in "
                "nothing that changes the result. Sweep other keys, or start them as two sweeps with sweep.name=..."
            )
