"""Members of a sweep on this machine: each a child process with its share of it, so many at a time."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mmexp.processes.children import SECONDS_TO_CHECKPOINT, Child, on_signals
from mmexp.processes.interruption import Preempted, is_new
from mmexp.processes.out_of_memory import with_half_the_mini_batch
from mmexp.recording.run_files import refuse_while_run
from mmexp.recording.status import outcome
from mmexp.sweep.shares import Share, shares

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.processes.command import Command

OUTPUT = "output.log"


@dataclass
class Running:
    """A member that runs, by its place in the sweep, and the share that it has."""

    number: int
    child: Child
    share: Share | None
    asked_to_stop: bool = False


class SideBySide:
    """Runs members until none is left, or this process is asked to stop.

    One at a time has the machine and the terminal; of several, each writes to output.log in its folder.
    """

    def __init__(self, members: list[Composition], at_once: int) -> None:
        """Raises `ConfigError` where the machine cannot be shared so, or a share cannot run a member."""
        self._free: list[Share | None] = [*shares(at_once)] if at_once > 1 else [None]
        self._members = list(members)
        for member in self._members:
            refuse_while_run(member.run_dir)
            with _taken(self._free[0]):
                command_of(member)
        self._waiting = list(range(len(members)))
        self._running: list[Running] = []
        self._results: dict[int, dict[str, Any]] = {}
        self._asked_to_stop: list[tuple[int, float]] = []

    def run(self) -> list[dict[str, Any]]:
        """result.json of every member. Raises `Preempted` where this process was asked to stop."""
        with on_signals(self._on_signal):
            while self._running or (self._waiting and not self._asked_to_stop):
                self._start_next()
                self._pass_on_what_was_asked()
                for running in [one for one in self._running if one.child.poll() is not None]:
                    self._collect(running)
                time.sleep(0.1)
        if self._asked_to_stop:
            raise Preempted(128 + self._asked_to_stop[0][0])
        return [self._results[number] for number in range(len(self._members))]

    def _on_signal(self, number: int) -> None:
        if is_new(number, bool(self._asked_to_stop)):
            self._asked_to_stop.append((number, time.monotonic()))

    def _start_next(self) -> None:
        while self._waiting and self._free and not self._asked_to_stop:
            self._start(self._waiting.pop(0), self._free.pop())

    def _start(self, number: int, share: Share | None) -> None:
        member = self._members[number]
        self._say(number, "started" if share is None else f"started, see {Path(member.run_dir.name) / OUTPUT}")
        with _taken(share), _output(member, share) as output:
            child = Child(command_of(member), member, output)
        self._running.append(Running(number, child, share))

    def _collect(self, running: Running) -> None:
        """Note what a member has ended with, or start it again with what fits into memory."""
        self._running.remove(running)
        result = running.child.result()
        smaller = None if self._asked_to_stop else with_half_the_mini_batch(self._members[running.number])
        if smaller is not None:
            self._members[running.number] = smaller
            self._start(running.number, running.share)
            return
        self._results[running.number] = result
        self._free.append(running.share)
        self._say(running.number, outcome(result))

    def _pass_on_what_was_asked(self) -> None:
        """To stop with a checkpoint; where it was asked twice, or takes too long, to end at once."""
        asked = self._asked_to_stop
        for running in self._running if asked else []:
            if len(asked) > 1 or time.monotonic() - asked[0][1] > SECONDS_TO_CHECKPOINT:
                running.child.end()
            elif not running.asked_to_stop:
                running.child.ask_to_stop(asked[0][0])
                running.asked_to_stop = True

    def _say(self, number: int, words: str) -> None:
        name = self._members[number].run_dir.name
        print(f"{datetime.now():%H:%M:%S} [{number + 1}/{len(self._members)}] {name}: {words}", flush=True)


def command_of(member: Composition) -> Command:
    """What starts it. Members may differ in where they run: in their number of processes, say."""
    return member.experiment.launch.command(member)


def _taken(share: Share | None) -> AbstractContextManager[None]:
    return nullcontext() if share is None else share.taken()


def _output(member: Composition, share: Share | None) -> AbstractContextManager[IO[bytes] | None]:
    return nullcontext() if share is None else (member.run_dir / OUTPUT).open("ab")
