"""Run here, in this process."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmexp.launchers import Launcher
from mmexp.processes.command import Command, one_process
from mmexp.processes.out_of_memory import with_half_the_mini_batch
from mmexp.schema import schema

if TYPE_CHECKING:
    from mmexp.composition import Composition


@schema("launch", "in_process")
@dataclass
class InProcess(Launcher):
    """One process, which is this one."""

    def command(self, composition: Composition) -> Command:
        return one_process(composition)

    def launch(self, composition: Composition) -> float:
        if self.dry_run:
            return super().launch(composition)
        import torch

        from mmexp.recording.upload import upload
        from mmexp.run import run

        while True:
            try:
                metric = run(composition)
                upload(composition)
                return metric
            except torch.OutOfMemoryError:
                smaller = with_half_the_mini_batch(composition)
                if smaller is None:
                    raise
            # Here, not above: the error holds on to all that the run had in memory.
            free_memory()
            composition = smaller


def free_memory() -> None:
    """Give back what a run that has ended had on the GPU."""
    import torch

    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
