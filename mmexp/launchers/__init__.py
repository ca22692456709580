"""Launchers: where the processes of a run are started."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmexp.experiment import Experiment


@dataclass
class Launcher(ABC):
    """Base of every launcher config (config group `launch`)."""

    @abstractmethod
    def launch(self, experiment: Experiment, run_dir: Path, overrides: list[str]) -> float:
        """Run the experiment in `run_dir` and return its primary metric, which is what a sweeper optimises."""
