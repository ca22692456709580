"""Run here, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmexp.command import Command, one_process
from mmexp.launchers import Launcher
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
        from mmexp.run import run

        return run(composition)
