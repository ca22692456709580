"""Launchers: where the processes of a run are started."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmexp.outcome import metric_of
from mmexp.processes import Child

if TYPE_CHECKING:
    from mmexp.command import Command
    from mmexp.composition import Composition


@dataclass
class Launcher(ABC):
    """Base of every launcher config (config group `launch`)."""

    dry_run: bool = False
    """Compose, print what would be started, ready to be pasted, and start nothing."""

    @property
    def engine(self) -> str | None:
        """What trains one model in several processes: ddp, zero1, zero2, zero3 or fsdp2. None: there is one process."""
        return None

    @abstractmethod
    def command(self, composition: Composition) -> Command:
        """What runs it, or continues it. Raises `ConfigError` for what cannot be started here."""

    def launch(self, composition: Composition) -> float:
        """Run what was composed, or continue it; return its primary metric, which is what a sweeper optimises.

        Raises `RunFailed` where it does not finish. NaN for a dry run.
        """
        command = self.command(composition)
        if self.dry_run:
            print(command)
            return math.nan
        return metric_of(Child(command, composition).wait())
