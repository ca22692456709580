"""Run here, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.launchers import Launcher
from mmexp.schema import schema

if TYPE_CHECKING:
    from mmexp.experiment import Experiment


@schema("launch", "in_process")
@dataclass
class InProcess(Launcher):
    """One process, which is this one."""

    def launch(self, experiment: Experiment, run_dir: Path, overrides: list[str]) -> float:
        from mmexp.run import run

        return run(experiment, run_dir, overrides)
