"""What planning takes: for which device, how fast and how hungry it is, and how many rows where none can be read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mmexp.recording.status import read_result
from mmexp.schema import ConfigError


class Device(Enum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


@dataclass
class Plan:
    """What `task=plan` is told of the machine. Of the throughput it takes one: `samples_per_second`, `tflops` or
    `like`; without one, time, energy and CO2 are unknown."""

    device: Device = Device.auto
    """What trains: cuda or cpu. auto: cuda where trainer.bf16, launch or this machine has GPUs."""

    num_rows: int | None = None
    """Rows of the training data, where it cannot be read here: its pages are then taken to be A4 at 200 dpi, and its
    evaluation is unknown. null: the data is read."""

    samples_per_second: float | None = None
    """Training rows per second, of all processes together."""

    tflops: float | None = None
    """The most that one GPU computes per second, in 1e12 operations: 989 for an H100 or H200 in bfloat16, 312 for an
    A100."""

    mfu: float = 0.4
    """The share of `tflops` that training gets out of it."""

    like: str | None = None
    """The folder of a finished training of the same model, whose measured throughput, energy and evaluation count."""

    watts: float | None = None
    """What one process draws while it trains: its GPU, and its share of the node. null: as measured by `like`."""

    def __post_init__(self) -> None:
        for key in ("num_rows", "samples_per_second", "tflops", "mfu", "watts"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise ConfigError(f"plan.{key}={value} is not above 0. Use a positive number, or null.")
        if self.mfu > 1:
            raise ConfigError(f"plan.mfu={self.mfu} is more than all of plan.tflops. Use a share such as plan.mfu=0.4.")
        given = [key for key in ("samples_per_second", "tflops", "like") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ConfigError(
                f"{' and '.join(f'plan.{key}' for key in given)} both say how fast the training is. Give one of them."
            )
        if self.like is not None and self.watts is not None:
            raise ConfigError(
                f"plan.like={self.like} and plan.watts={self.watts} both say what the training draws. Use "
                "plan.watts=null, or plan.samples_per_second in place of plan.like."
            )

    def check_like(self) -> None:
        """Raise `ConfigError` where `like` is no folder of a finished training."""
        if self.like is None:
            return
        result = read_result(Path(self.like))
        if result["status"] != "finished" or not result.get("throughput"):
            raise ConfigError(
                f"plan.like={self.like} is no folder of a finished training. Give one whose result.json has a "
                "throughput, or state one: plan.samples_per_second=..."
            )
