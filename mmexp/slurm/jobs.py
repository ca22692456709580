"""The job of a run: which it is, how it stands, and what it ended with."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmexp.recording.run_files import write_whole
from mmexp.schema import ConfigError
from mmexp.slurm.client import JobState, can_be_asked, job_states

log = logging.getLogger(__name__)

FILE = "slurm.json"
LOG_LINES = 15


@dataclass(frozen=True)
class Job:
    """A run that was submitted. `run_dir`/slurm.json says as what."""

    job_id: str
    """Such as 12, or 12_3 for one of an array."""

    run_dir: Path
    log: Path
    """What it prints."""

    @property
    def name(self) -> str:
        """The run, as its folder is called."""
        return self.run_dir.name

    def write(self) -> None:
        write_whole(self.run_dir / FILE, json.dumps({"job_id": self.job_id, "log": str(self.log)}))

    def result(self, state: JobState | None) -> dict[str, Any]:
        """What a job that is over ended with, like result.json, which is made to say it.

        Slurm's word counts where the run could leave none, because it was killed with all that watched over it.
        """
        file = self.run_dir / "result.json"
        result = json.loads(file.read_text()) if file.exists() else {}
        if result.get("status") == "finished":  # whatever became of the job after
            return result
        if state is None or state.name == "COMPLETED" or (state.name != "CANCELLED" and result.get("error")):
            known = "Slurm does not know the job any more" if state is None else "Slurm says COMPLETED"
            return result or self._lost("failed", f"no result was left, and {known}")
        status = "cancelled" if state.name == "CANCELLED" else "failed"
        result = result | self._lost(status, f"Slurm says {state.name}" + (f" ({state.reason})" * bool(state.reason)))
        write_whole(file, json.dumps(result, indent=2))
        return result

    def _lost(self, status: str, words: str) -> dict[str, Any]:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]) if self.log.exists() else ""
        message = f"job {self.job_id}: {words}. It printed {self.log}"
        if not tail:
            message += ", which is empty or was never made: can the nodes see that folder?"
        return {"status": status, "error": {"type": "JobLost", "message": message, "traceback": tail}}


def job_of(run_dir: Path) -> Job | None:
    """The job that a run was last submitted as; None where it never was."""
    file = run_dir / FILE
    if not file.exists():
        return None
    content = json.loads(file.read_text())
    return Job(content["job_id"], run_dir, Path(content["log"]))


def jobs_that_go_on(run_dirs: Sequence[Path]) -> list[Job]:
    """The jobs of runs that are queued or running: none, with a warning, where this machine cannot ask Slurm."""
    jobs = [job for run_dir in run_dirs if (job := job_of(run_dir)) is not None]
    if jobs and not can_be_asked():
        ids = " ".join(job.job_id for job in jobs)
        log.warning("there is no squeue here to ask whether jobs go on that may write into the same folders: %s", ids)
        return []
    states = job_states([job.job_id for job in jobs]) if jobs else {}
    return [job for job in jobs if job.job_id in states and not states[job.job_id].is_over]


def refuse_while_queued(run_dir: Path) -> None:
    """Raise `ConfigError` where a job has the run already: two would write into one folder."""
    for job in jobs_that_go_on([run_dir]):
        raise ConfigError(
            f"{run_dir} is in Slurm's hands, as job {job.job_id}, which goes on by itself. See it with: python -m "
            f"mmexp.slurm {run_dir}. To start it anew, first: scancel {job.job_id}"
        )
