"""What a sweep takes: its name, and how many of its members run side by side."""

from __future__ import annotations

from dataclasses import dataclass

from mmexp.ranges import check_folder_name
from mmexp.schema import ConfigError


@dataclass
class Sweep:
    """The members of a sweep (`-m`, or `+sweep=NAME`): where they are kept and how they share the machine."""

    name: str = "sweep"
    """Folder of the sweep, below the experiment's. The same command again, or one with more values, goes on in it."""

    at_once: int = 1
    """Members that run side by side. On one machine each has its share of the visible GPUs, and of the cores."""

    def __post_init__(self) -> None:
        if self.at_once < 1:
            raise ConfigError(f"sweep.at_once={self.at_once} is below 1. Use 1, which is one after another, or more.")
        check_folder_name("sweep.name", self.name, "batch_sizes")
