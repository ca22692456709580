"""Several processes on this machine, started by `accelerate launch`: DDP, DeepSpeed ZeRO or FSDP2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import MISSING

from mmexp.launchers import Launcher
from mmexp.launchers.accelerate_launch import accelerate_launch
from mmexp.launchers.engine import Engine
from mmexp.processes.visible_gpus import num_visible_gpus
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.processes.command import Command

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

    @property
    def num_ranks(self) -> int | str:
        return self.num_processes

    def command(self, composition: Composition) -> Command:
        num_gpus = num_visible_gpus()
        return accelerate_launch(self.accelerate, composition, self._count(num_gpus), has_gpus=num_gpus > 0)

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
