"""A command line with its environment: what a launcher starts, and what it prints to be pasted."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmexp.composition import Composition

LAUNCH_MODULE, AGENT_MODULE = "accelerate.commands.launch", "mmexp.processes.agent"
# What a launcher sets for the ranks that it starts. Inherited, it would make a rank of another job of a process.
OF_A_RANK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Command:
    """What to type, in any shell of the machine that it is for."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    """Variables beside those that are there."""

    def __str__(self) -> str:
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*variables, shlex.join(self.arguments)])

    def whole_environment(self) -> dict[str, str]:
        """The environment of the process that it starts."""
        inherited = {name: value for name, value in os.environ.items() if name not in OF_A_RANK}
        return {**inherited, **self.environment}


def rank_arguments(composition: Composition) -> list[str]:
    """The module that is one rank of a run, and its arguments."""
    return ["mmexp.rank", str(composition.run_dir), composition.digest]


def one_process(composition: Composition) -> Command:
    """The run as a process of its own."""
    return Command([sys.executable, "-m", *rank_arguments(composition)])
