"""The `accelerate launch` of one machine: the one way in which processes of a run are started."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmexp.processes.command import LAUNCH_MODULE, Command, one_process, rank_arguments

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.launchers.engine import Engine


@dataclass(frozen=True)
class Machine:
    """One of the machines that a run is on."""

    rank: int = 0
    count: int = 1
    main_address: str = ""
    """Name or address of the first, where they meet. Not needed where there is one."""

    main_port: int = 0
    """0: any that is free. Several machines must know it."""

    def arguments(self) -> list[str]:
        """What `accelerate launch` takes of it."""
        arguments = ["--num_machines", str(self.count), "--machine_rank", str(self.rank)]
        arguments += ["--main_process_port", str(self.main_port)]
        # Static: every machine has its rank already, and no names need to resolve alike on all of them.
        return arguments + (["--main_process_ip", self.main_address, "--same_network"] if self.count > 1 else [])


def accelerate_launch(
    engine: Engine, composition: Composition, num_processes: int, has_gpus: bool, machine: Machine | None = None
) -> Command:
    """What starts `num_processes` on this machine, as many as on each of the others.

    Raises `ConfigError` where the engine cannot have so many, or not on such machines.
    """
    machine = machine or Machine()
    total = num_processes * machine.count
    engine.check(total, has_gpus, machine.count)
    if total == 1 and engine.kind == "ddp":
        return one_process(composition)
    arguments = [*engine.arguments(composition.run_dir), "--num_processes", str(total), *machine.arguments()]
    on_one_machine = {"GLOO_SOCKET_IFNAME": "lo"} if machine.count == 1 and not has_gpus else {}
    return Command(
        [sys.executable, "-m", LAUNCH_MODULE, *arguments, "--module", *rank_arguments(composition)],
        {**on_one_machine, **engine.environment(has_gpus), **threads_of_each(num_processes)},
    )


def threads_of_each(num_processes: int) -> dict[str, str]:
    """Threads that wait for each other take the cores from those that compute, so each process has its share."""
    cores = len(os.sched_getaffinity(0))
    # Where Slurm does not bind a job to its cores, it says at least how many are meant for it.
    cores = min(cores, int(os.environ.get("SLURM_CPUS_ON_NODE", cores)))
    return {"OMP_NUM_THREADS": str(max(1, cores // num_processes))}
