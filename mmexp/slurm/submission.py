"""Runs become jobs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.recording.run_files import write_whole
from mmexp.schema import ConfigError
from mmexp.slurm.client import submit
from mmexp.slurm.jobs import Job
from mmexp.slurm.script import script_of

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.launchers.slurm import Slurm

SCRIPT = "slurm.sh"


def submit_run(launch: Slurm, composition: Composition) -> Job:
    """Submit one run as one job. Raises `ConfigError` where Slurm does not take it."""
    script = write_script(launch, [composition])
    job_id = _submit(script)
    job = Job(job_id, composition.run_dir, script.parent / f"slurm-{job_id}.log")
    _taken(job)
    return job


def submit_array(launch: Slurm, members: Sequence[Composition], at_once: int) -> list[Job]:
    """Submit the members of a sweep as one array of jobs, of which `at_once` run side by side."""
    script = write_script(launch, members, at_once)
    array = _submit(script)
    jobs = []
    for index, member in enumerate(members):
        jobs.append(Job(f"{array}_{index}", member.run_dir, script.parent / f"slurm-{array}_{index}.log"))
        _taken(jobs[-1])
    return jobs


def write_script(launch: Slurm, members: Sequence[Composition], at_once: int | None = None) -> Path:
    """Write the script of one run into its folder; with `at_once`, that of an array into the sweep's."""
    if others := [member.run_dir for member in members if member.experiment.launch != launch]:
        raise ConfigError(
            f"{others[0]} has other launch.* keys than the first member, and the jobs of an array are equal but for "
            "what they run. Start one sweep for each value of launch.*."
        )
    launch.accelerate.check(launch.nodes * launch.num_processes, launch.gpus_per_node > 0, launch.nodes)
    run_dirs = [str(member.run_dir) for member in members]
    folder = Path(run_dirs[0] if at_once is None else os.path.commonpath([*map(os.path.dirname, run_dirs)]))
    write_whole(folder / SCRIPT, script_of(launch, members, folder / SCRIPT, at_once))
    return folder / SCRIPT


def _taken(job: Job) -> None:
    """Say in the run folder which job has the run, and no more what an earlier one ended with."""
    job.write()
    (job.run_dir / "result.json").unlink(missing_ok=True)


def _submit(script: Path) -> str:
    try:
        return submit(script)
    except ConfigError:
        script.unlink()  # nothing is left of what never began
        raise
