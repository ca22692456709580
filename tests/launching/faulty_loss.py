"""A loss of one's own with a fault to order: what happens to the job when something happens to one rank."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mmexp.losses.mnrl import CachedMnrl
from mmexp.schema import schema

YAML = "defaults: [/schema/loss/faulty@_here_]\n"


def raise_an_error() -> None:
    raise ArithmeticError("a fault to order")


def slow() -> None:
    time.sleep(0.3)


def pause() -> None:
    """Wait for a signal, in the first start of a Slurm job."""
    if "SLURM_RESTART_COUNT" not in os.environ:
        signal.pause()


def lack_memory() -> None:
    """In the first start of a Slurm job."""
    if "SLURM_RESTART_COUNT" not in os.environ:
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory, to order")


FAULTS = {
    "raise": raise_an_error,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "slow": slow,
    "pause": pause,
    "memory": lack_memory,
    "none": lambda: None,
}


@schema("loss", "faulty")
@dataclass
class Faulty(CachedMnrl):
    """In-batch negatives, and a fault."""

    fault: str = "none"
    """What happens: raise, killed, slow, pause, memory or none."""

    rank: int = 1
    """To which rank it happens; -1 for all."""

    call: int = 3
    """At which call of the loss it happens; from then on, for slow."""

    calls: ClassVar[int] = 0

    def build(self, model):
        loss = super().build(model)
        loss.register_forward_pre_hook(lambda module, inputs: self.happens())
        return loss

    def happens(self) -> None:
        Faulty.calls += 1
        here = self.rank in (-1, int(os.environ.get("RANK", "0")))
        if here and (Faulty.calls == self.call or (self.fault == "slow" and Faulty.calls > self.call)):
            FAULTS[self.fault]()


def config_dir(folder: Path) -> Path:
    """A folder for --config-dir that has `loss=faulty`."""
    (folder / "loss").mkdir(parents=True)
    (folder / "loss" / "faulty.yaml").write_text(YAML)
    (folder / "loss" / "faulty.py").write_text(Path(__file__).read_text())
    return folder
