"""How jobs stand, as a table, once or until they are over."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.recording.status import error_words
from mmexp.schema import ConfigError
from mmexp.slurm.client import JobState, job_states

if TYPE_CHECKING:
    from rich.table import Table

    from mmexp.slurm.jobs import Job

log = logging.getLogger(__name__)

# A file that a node has written may be seen later on another machine.
SECONDS_TO_APPEAR = 60
# Slurm answers nobody while it is busy or started anew; the jobs go on meanwhile.
SECONDS_WITHOUT_NEWS = 600
SHOWN = ("eval/ndcg@10", "train/loss")
TAIL_BYTES = 65536


class Progress:
    """Of some jobs, from now on."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self.results: dict[str, dict[str, Any]] = {}
        """Of jobs that are over, by job id."""

        self._states: dict[str, JobState] = {}
        self._completed_at: dict[str, float] = {}
        self._heard_at = time.monotonic()

    @property
    def is_over(self) -> bool:
        return len(self.results) == len(self.jobs)

    def look(self) -> None:
        """Ask Slurm, and read the results of those that are over."""
        waiting = [job for job in self.jobs if job.job_id not in self.results]
        states = job_states([job.job_id for job in waiting])
        for job in waiting:
            state = states.get(job.job_id)
            if (state is None or state.is_over) and not self._may_appear(job, state):
                self.results[job.job_id] = job.result(state)
        self._states |= states

    def look_if_possible(self) -> None:
        """The same, where Slurm answers. Raises `ConfigError` where it has not for `SECONDS_WITHOUT_NEWS`."""
        try:
            self.look()
            self._heard_at = time.monotonic()
        except ConfigError as error:
            silent = time.monotonic() - self._heard_at
            if silent > SECONDS_WITHOUT_NEWS:
                raise ConfigError(
                    f"Slurm has not answered for {silent / 60:.0f} minutes: {error}. {self.going_on()}"
                ) from error
            log.warning("no news of the jobs: %s", error)

    def going_on(self) -> str:
        """What to type for jobs that are not waited for any more."""
        ids = sorted({job.job_id.partition("_")[0] for job in self.jobs if job.job_id not in self.results})
        folder = self.jobs[0].run_dir if len(self.jobs) == 1 else self.jobs[0].run_dir.parent
        return f"The jobs go on. See them: python -m mmexp.slurm {folder}. Cancel them: scancel {' '.join(ids)}"

    def _may_appear(self, job: Job, state: JobState | None) -> bool:
        """Whether a run that completed has a result that is not seen yet."""
        if (state is not None and state.name != "COMPLETED") or (job.run_dir / "result.json").exists():
            return False
        since = self._completed_at.setdefault(job.job_id, time.monotonic())
        return time.monotonic() - since < SECONDS_TO_APPEAR

    def table(self) -> Table:
        """A row for each job."""
        from rich.table import Table

        table = Table("job", "run", "state", "nodes", "elapsed", "step", "last", "error")
        for job in self.jobs:
            table.add_row(*self._row(job))
        return table

    def _row(self, job: Job) -> list[str]:
        state = self._states.get(job.job_id) or JobState("unknown")
        result = self.results.get(job.job_id)
        name = result["status"] if result else state.name.lower() + (f" ({state.reason})" if state.reason else "")
        error = (result or {}).get("error")
        words = error_words(error) if error else ""
        return [job.job_id, job.name, name, state.nodes, state.elapsed, *last_row(job.run_dir), words]


def wait_for(jobs: Sequence[Job], seconds: float) -> list[dict[str, Any]]:
    """Show how jobs stand every so many seconds until all are over; return result.json of each.

    Raises `ConfigError` where Slurm does not answer for long. The jobs go on then, as they do after Ctrl-C.
    """
    from rich.live import Live

    progress = Progress(jobs)
    try:
        with Live(progress.table(), auto_refresh=False) as live:
            while True:
                progress.look_if_possible()
                live.update(progress.table(), refresh=True)
                if progress.is_over:
                    return [progress.results[job.job_id] for job in jobs]
                time.sleep(seconds)
    except KeyboardInterrupt:
        print(progress.going_on())
        sys.exit(130)


def last_row(run_dir: Path) -> tuple[str, str]:
    """The last step that a run has logged, and the last metric of those that say most."""
    file = run_dir / "metrics.jsonl"
    if not file.exists():
        return "", ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - TAIL_BYTES))
        lines = stream.read().split(b"\n")[:-1]
    rows = [json.loads(line) for line in lines if line.startswith(b'{"time"')]
    found = [(row["step"], name, row["metrics"][name]) for row in rows for name in SHOWN if name in row["metrics"]]
    if not found:
        return "", ""
    step, name, value = found[-1]
    return str(step), f"{name} {'nan' if value is None else f'{value:.4f}'}"
