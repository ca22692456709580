"""A Slurm job per run: `accelerate launch` on every one of its nodes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from mmexp.launchers import Launcher
from mmexp.launchers.accelerate_launch import Machine, accelerate_launch
from mmexp.launchers.engine import Engine
from mmexp.processes.command import Command
from mmexp.processes.outcome import metric_of
from mmexp.processes.visible_gpus import num_visible_gpus
from mmexp.schema import ConfigError, schema
from mmexp.slurm.progress import wait_for
from mmexp.slurm.submission import submit_array, submit_run, write_script

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.slurm.jobs import Job

CPUS_PER_PROCESS = 8
# Options of sbatch that a key says, or that a run depends on.
SAID_BY = {
    **dict.fromkeys(("--nodes", "-N"), "launch.nodes"),
    **dict.fromkeys(("--ntasks", "-n", "--ntasks-per-node"), "launch.nodes and launch.processes_per_node"),
    **dict.fromkeys(("--cpus-per-task", "-c"), "launch.cpus_per_node"),
    **dict.fromkeys(("--time", "-t"), "launch.time"),
    **dict.fromkeys(("--partition", "-p"), "launch.partition"),
    **dict.fromkeys(("--account", "-A"), "launch.account"),
    **dict.fromkeys(("--qos", "-q"), "launch.qos"),
    **dict.fromkeys(("--constraint", "-C"), "launch.constraint"),
    **dict.fromkeys(("--mem",), "launch.memory"),
    **dict.fromkeys(("--signal",), "launch.signal_seconds"),
    **dict.fromkeys(("--array", "-a"), "the sweep"),
    **dict.fromkeys(("--output", "-o", "--chdir", "-D"), "output_root and the folder where you start this"),
}


@schema("launch", "slurm")
@dataclass
class Slurm(Launcher):
    """One job for a run, an array of jobs for a sweep."""

    nodes: int = 1
    """Machines of one run."""

    gpus_per_node: int = 1
    """0: the processes compute on CPUs. A kind of GPU: "launch.extra=['--gres=gpu:h200:8']"."""

    processes_per_node: int | None = None
    """null: one for each GPU; one without."""

    cpus_per_node: int | None = None
    """CPUs for all processes of a node, and for the workers that decode pages. null: 8 for each process."""

    memory: str | None = None
    """Per node, such as 200G. null: what the partition gives."""

    time: str | None = None
    """Limit, such as 30 (minutes), 12:00:00 or 2-00:00:00. A run that needs longer is requeued and goes on. null: the
    partition's."""

    partition: str | None = None
    """Where, as `sinfo` lists them. null: the cluster's default."""

    account: str | None = None
    """Whose hours. null: the user's default."""

    qos: str | None = None
    """Quality of service, as the cluster calls its own. null: the default."""

    constraint: str | None = None
    """Features that the nodes must have, such as a100|h100."""

    setup: list[str] = field(default_factory=list)
    """Lines of shell that come first on the first node, whose environment all have: module load cuda. Python is that
    of `launch.python`."""

    extra: list[str] = field(default_factory=list)
    """Further options of sbatch, each as it is written there: --exclusive, --mail-type=END."""

    python: str | None = None
    """What starts Python on the nodes, as one types it: also apptainer exec --nv image.sif python. null: the Python
    that submits. python: the one that launch.setup chooses, such as with source .venv/bin/activate."""

    signal_seconds: int = 120
    """Seconds before the time limit at which the run is asked for a checkpoint, to go on from after a requeue."""

    max_requeues: int = 100
    """A job whose time is too short for a single step is not requeued for ever."""

    wait: bool = False
    """Show progress until the job ends, and return the metric, which a sweeper such as Optuna needs. Otherwise the
    command ends with the job's submission."""

    poll_seconds: float = 10.0
    """Between two questions to Slurm while waiting; clusters dislike frequent ones."""

    accelerate: Engine = MISSING

    def __post_init__(self) -> None:
        for key, least in (("nodes", 1), ("gpus_per_node", 0), ("processes_per_node", 1), ("cpus_per_node", 1)):
            value: int | None = getattr(self, key)
            if value is not None and value < least:
                raise ConfigError(f"launch.{key}={value} is too few. Use {least} or more.")
        if 0 < self.gpus_per_node < self.num_processes:
            raise ConfigError(
                f"launch.processes_per_node={self.processes_per_node} is more than launch.gpus_per_node="
                f"{self.gpus_per_node}. Use {self.gpus_per_node} or null, or use launch.gpus_per_node=0 (CPUs)."
            )
        for option in self.extra:
            if not option.startswith("-"):
                raise ConfigError(f"launch.extra has {option!r}, which is no option of sbatch, such as --exclusive.")
            if said_by := SAID_BY.get(option.partition("=")[0].split()[0]):
                raise ConfigError(f"launch.extra has {option}, which is what {said_by} says. Use that.")

    @property
    def engine(self) -> str:
        return self.accelerate.kind

    @property
    def num_ranks(self) -> int:
        return self.nodes * self.num_processes

    @property
    def num_processes(self) -> int:
        """Processes of a node."""
        return self.processes_per_node or max(1, self.gpus_per_node)

    @property
    def num_cpus(self) -> int:
        """CPUs of a node."""
        return self.cpus_per_node or CPUS_PER_PROCESS * self.num_processes

    @property
    def waits(self) -> bool:
        return self.wait and not self.dry_run

    def options(self) -> list[str]:
        """What is asked of Slurm for every job, as options of sbatch."""
        asked = {
            "nodes": self.nodes,
            "ntasks-per-node": 1,
            "cpus-per-task": self.num_cpus,
            "gres": f"gpu:{self.gpus_per_node}" if self.gpus_per_node else None,
            "mem": self.memory,
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "signal": f"USR2@{self.signal_seconds}",
            "open-mode": "append",
        }
        return [*(f"--{name}={value}" for name, value in asked.items() if value is not None), "--requeue", *self.extra]

    def command(self, composition: Composition) -> Command:
        return Command(["sbatch", str(write_script(self, [composition]))])

    def launch(self, composition: Composition) -> float:
        """Submit it. NaN, unless `wait`: then as for any other launcher."""
        if self.dry_run:
            print(write_script(self, [composition]).read_text())
            return math.nan
        job = submit_run(self, composition)
        print(f"job {job.job_id} runs {job.run_dir}. It prints {job.log}", flush=True)
        if not self.wait:
            return math.nan
        [result] = wait_for([job], self.poll_seconds)
        return metric_of(result)

    def launch_members(
        self, members: list[Composition], at_once: int, queued: Sequence[Job] = ()
    ) -> list[dict[str, Any] | None]:
        """Submit the members of a sweep as an array. `wait` is for the jobs that are queued, too."""
        if self.dry_run:
            if members:
                print(write_script(self, members, at_once).read_text())
            return [None] * len(members)
        new = submit_array(self, members, at_once) if members else []
        if new:
            print(f"jobs {new[0].job_id} to {new[-1].job_id} run {len(new)} members, {at_once} at once", flush=True)
        if not self.wait:
            return [None] * len(members)
        return [*wait_for([*queued, *new], self.poll_seconds)[len(queued) :]]

    def command_on(self, machine: Machine, composition: Composition) -> Command:
        """What one node of the job starts. Raises `ConfigError` where the node is not as asked for."""
        num_gpus = num_visible_gpus()
        if num_gpus < self.gpus_per_node:
            raise ConfigError(
                f"launch.gpus_per_node={self.gpus_per_node}, and the driver of this node shows {num_gpus} ("
                f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}). Leave the node out with "
                f"launch.extra=['--exclude={os.environ.get('SLURMD_NODENAME')}'], or use launch.gpus_per_node=0 (CPUs)."
            )
        command = accelerate_launch(
            self.accelerate, composition, self.num_processes, has_gpus=self.gpus_per_node > 0, machine=machine
        )
        no_gpus = {} if self.gpus_per_node else {"CUDA_VISIBLE_DEVICES": ""}  # none that the node has by accident
        return Command(command.arguments, {**command.environment, **no_gpus})
