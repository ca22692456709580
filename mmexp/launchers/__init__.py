"""Launchers: where the processes of a run are started."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.processes.children import Child
from mmexp.processes.out_of_memory import with_half_the_mini_batch
from mmexp.processes.outcome import metric_of
from mmexp.recording.run_files import refuse_while_run
from mmexp.schema import ConfigError
from mmexp.sweep.side_by_side import SideBySide, command_of

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.processes.command import Command
    from mmexp.slurm.jobs import Job


@dataclass
class Launcher(ABC):
    """Base of every launcher config (config group `launch`)."""

    dry_run: bool = False
    """Compose, print what would be started, ready to be pasted, and start nothing."""

    @property
    def engine(self) -> str | None:
        """What trains one model in several processes: ddp, zero1, zero2, zero3 or fsdp2. None: there is one process."""
        return None

    @property
    def num_ranks(self) -> int | str:
        """Processes of one run, on all nodes; auto where the machine decides."""
        return 1

    @property
    def waits(self) -> bool:
        """Whether what it launches has ended when it returns."""
        return not self.dry_run

    @abstractmethod
    def command(self, composition: Composition) -> Command:
        """What runs it, or continues it. Raises `ConfigError` for what cannot be started here."""

    def launch(self, composition: Composition) -> float:
        """Run what was composed, or continue it; return its primary metric, which is what a sweeper optimises.

        Raises `RunFailed` where it does not finish. NaN for a dry run.
        """
        if self.dry_run:
            print(self.command(composition))
            return math.nan
        refuse_while_run(composition.run_dir)
        while True:
            result = Child(self.command(composition), composition).wait()
            smaller = with_half_the_mini_batch(composition)
            if smaller is None:
                return metric_of(result)
            composition = smaller

    def launch_members(
        self, members: list[Composition], at_once: int, queued: Sequence[Job] = ()
    ) -> list[dict[str, Any] | None]:
        """Run the members of a sweep, or continue them, `at_once` side by side; return result.json of each.

        `queued`: the jobs of further members, which are queued or running. What one member ends with is in its result,
        and does not keep the others from running. None where a member was submitted and is not waited for. Raises
        `ConfigError`, before any starts, for what cannot be started here, and `Preempted`, once those that run have
        ended, where this process was asked to stop.
        """
        if queued:
            ids = " ".join(job.job_id for job in queued)
            raise ConfigError(
                f"{len(queued)} members of the sweep are in Slurm's hands, and launch is another. Keep launch=slurm, "
                f"or first: scancel {ids}"
            )
        refuse_elsewhere(members)
        if self.dry_run:
            print(*map(command_of, members), sep="\n")
            return [None] * len(members)
        return [*SideBySide(members, at_once).run()]


def refuse_elsewhere(members: Sequence[Composition]) -> None:
    """Raise `ConfigError` where some of the members of a sweep on this machine would be jobs of a cluster."""
    for member in members:
        if type(member.experiment.launch).launch_members is not Launcher.launch_members:
            raise ConfigError(
                f"{member.run_dir} is to be submitted, and other members of the sweep run on this machine. Start one "
                "sweep for each, or give all of them one launch=..."
            )
