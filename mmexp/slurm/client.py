"""Slurm's own programs, which a machine that submits has and nothing else is needed for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mmexp.processes.command import Command
from mmexp.schema import ConfigError

# https://slurm.schedmd.com/squeue.html, "Job state codes": those that a job does not leave by itself.
OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}


@dataclass(frozen=True)
class JobState:
    """What Slurm says of a job."""

    name: str
    """Such as PENDING, RUNNING or OUT_OF_MEMORY."""

    reason: str = ""
    """Why it is so, in Slurm's words."""

    nodes: str = ""
    elapsed: str = ""

    @property
    def is_over(self) -> bool:
        return self.name in OVER


def can_be_asked() -> bool:
    """Whether this machine has Slurm's programs."""
    return shutil.which("squeue") is not None


def submit(script: Path) -> str:
    """Submit a script; return the job's id. Raises `ConfigError` with Slurm's own words where it is refused."""
    return _output("sbatch", "--parsable", str(script)).strip().partition(";")[0]


def job_states(job_ids: Collection[str]) -> dict[str, JobState]:
    """State of each of the jobs, such as 12 or 12_3; those that Slurm has forgotten are left out."""
    arrays = ",".join(sorted({job_id.partition("_")[0] for job_id in job_ids}))
    states = _states(_queued(arrays))
    if not states.keys() >= set(job_ids):
        states = _states(_accounted(arrays)) | states
    return {job_id: states[job_id] for job_id in job_ids if job_id in states}


def _queued(job_ids: str) -> str:
    """Those that are not long over."""
    try:
        return _output(
            "squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N|%M", f"--jobs={job_ids}"
        )
    except ConfigError as error:
        if "Invalid job id" in str(error):  # of all of them, while squeue leaves out a part without a word
            return ""
        raise


def _accounted(job_ids: str) -> str:
    """What accounting knows; a cluster may have none."""
    columns = "--format=JobID,State,Reason,NodeList,Elapsed"
    try:
        return _output("sacct", "--noheader", "--parsable2", "--allocations", "--array", columns, f"--jobs={job_ids}")
    except ConfigError:
        return ""


def _states(lines: str) -> dict[str, JobState]:
    states = {}
    for line in lines.splitlines():
        job_id, name, *others = line.strip().split("|")
        # sacct says "CANCELLED by 1000"; both have words for nothing.
        fields = ["" if field in ("None", "None assigned") else field for field in others]
        states[job_id] = JobState(name.partition(" ")[0], *fields)
    return states


def _output(program: str, *arguments: str) -> str:
    if shutil.which(program) is None:
        raise ConfigError(
            f"launch=slurm needs Slurm's {program}, and no folder of PATH has it ("
            f"{os.environ.get('PATH', '')}). Start this where jobs are submitted, or run it here: launch=accelerate."
        )
    command = Command([program, *arguments])
    done = subprocess.run(command.arguments, env=command.whole_environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise ConfigError(f"{program} says: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
