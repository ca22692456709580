"""Several processes on this machine, started by `accelerate launch`: DDP, DeepSpeed ZeRO or FSDP2."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import MISSING

from mmexp.command import LAUNCH_MODULE, Command, one_process, rank_arguments
from mmexp.launchers import Launcher
from mmexp.launchers.engine import Engine
from mmexp.schema import ConfigError, schema
from mmexp.visible_gpus import num_visible_gpus

if TYPE_CHECKING:
    from mmexp.composition import Composition

AUTO = "auto"


@schema("launch", "accelerate")
@dataclass
class Accelerate(Launcher):
    """Processes of one run on this machine, one for each GPU."""

    num_processes: int | str = AUTO
    """Processes of the run. auto: one for each visible GPU; one where there is none. Without a GPU, any number of them
    share the cores."""

    accelerate: Engine = MISSING

    def __post_init__(self) -> None:
        if self.num_processes != AUTO and (isinstance(self.num_processes, str) or self.num_processes < 1):
            raise ConfigError(
                f"launch.num_processes={self.num_processes} is no number of processes. Use 1 or more, or auto."
            )

    @property
    def engine(self) -> str:
        return self.accelerate.kind

    def command(self, composition: Composition) -> Command:
        num_gpus = num_visible_gpus()
        processes = self._count(num_gpus)
        self.accelerate.check(processes, has_gpus=num_gpus > 0)
        if processes == 1 and self.accelerate.kind == "ddp":
            return one_process(composition)
        arguments = [
            *self.accelerate.arguments(),
            *("--num_processes", str(processes), "--num_machines", "1", "--machine_rank", "0"),
            *("--main_process_port", "0"),  # any that is free
            *("--module", *rank_arguments(composition)),
        ]
        environment = {"GLOO_SOCKET_IFNAME": "lo"} if num_gpus == 0 else {}
        return Command(
            [sys.executable, "-m", LAUNCH_MODULE, *arguments],
            {**environment, **self.accelerate.environment(has_gpus=num_gpus > 0), **threads_of_each(processes)},
        )

    def _count(self, num_gpus: int) -> int:
        count = self.accelerate.num_processes if self.num_processes == AUTO else int(self.num_processes)
        if count is None:
            return max(1, num_gpus)
        if num_gpus and count > num_gpus:
            raise ConfigError(
                f"launch.num_processes={count} is more than the GPUs that are visible, which are {num_gpus}. Use "
                f"launch.num_processes={num_gpus} or auto, or make more visible with CUDA_VISIBLE_DEVICES."
            )
        return count


def threads_of_each(processes: int) -> dict[str, str]:
    """Threads that wait for each other take the cores from those that compute, so each process has its share."""
    return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes))}
