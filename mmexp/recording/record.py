"""The record of a run: one folder, written by one process, that is complete however the run ends.

metrics.jsonl is the truth, one line per logged row, written as it happens; Trackio is a view of it; result.json is
written once, whole, at the end. multirun/README.md describes every file and field.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from accelerate import PartialState

from mmexp.composition import Composition, plain_config
from mmexp.dashboard.identity import identify
from mmexp.distributed import ranks
from mmexp.evaluation.encode import Diverged
from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.evaluation.report import Metrics, Report
from mmexp.processes.interruption import Interruption, Preempted
from mmexp.recording.environment import environment, versions
from mmexp.recording.ledger import Ledger
from mmexp.recording.node_energy import JobMeter, NodeMeter, meters_another_node
from mmexp.recording.result import compare, final_row, intervals
from mmexp.recording.run_files import MetricsFile, finite, hold_run, write_whole
from mmexp.recording.terminal import print_results
from mmexp.schema import ConfigError
from mmexp.trackio_view import TrackioView, is_rewritable

log = logging.getLogger(__name__)


class Record:
    """Use as a context manager around a run. On the way out, result.json is written, whatever happened.

    Of the processes of a distributed run, world rank 0 alone writes; in the others a record keeps time, no more.
    """

    def __init__(self, composition: Composition) -> None:
        self.run_dir = composition.run_dir
        self.experiment = composition.experiment
        self.interruption = Interruption()
        self.samples_seen = 0
        self._writes = ranks.is_main()
        self._overrides = composition.overrides
        self._halvings = composition.halvings
        self._result: dict[str, Any] = {"status": "failed"}
        self._trackio: TrackioView | None = None
        self._num_resumes = 0
        self._node_meter: NodeMeter | None = None

    def __enter__(self) -> Record:
        self._started = now()
        if self._writes:
            self._open()
        else:
            self._ledger = Ledger(lambda: None)
            self._node_meter = NodeMeter(self.experiment.tracking, self.run_dir) if meters_another_node() else None
        self.interruption.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A signal must not cut short what takes a moment and cannot be done later.
        self.interruption.ignore()
        try:
            if self._writes:
                self._close(error)
            elif self._node_meter is not None:
                self._node_meter.stop()
            if self._writes:
                self._lock.close()
        finally:
            self.interruption.restore()

    def _open(self) -> None:
        # First, so that what it refuses leaves no run behind.
        self._meter = JobMeter(self.experiment.tracking, self.run_dir)
        self._hold_folder()
        self._open_folder()
        totals = self._rows.rows[-1]["totals"] if self._rows.rows else None
        if totals is not None:
            self.samples_seen = totals["samples_seen"]
            self._num_resumes = totals["num_resumes"] + 1
        self._ledger = Ledger(self._meter.read, totals)
        self._result["energy_source"] = self._meter.source()
        if self.experiment.tracking.trackio:
            identity = identify(self.run_dir, self.experiment, plain_config(self.experiment))
            self._result["trackio"] = {key: identity[key] for key in ("project", "group", "name", "run_id")}
            self._trackio = TrackioView(identity, self._rows.rows if is_rewritable() else [])
            log.info("to see it in Trackio: python -m mmexp.dashboard --project %s", identity["project"])

    def _close(self, error: BaseException | None) -> None:
        self._ledger.book()
        finished = self._result["status"] == "finished"
        if not finished and not self._rows.is_empty:
            self._append({}, self._rows.last_step)  # what a resumed run carries on: all that was used, up to the end
        self._meter.stop()
        if self._trackio is not None:
            self._trackio.finish()
        self._rows.close()
        if error is not None and not finished:
            self._note_error(error)
        try:
            self._write_result()
        except OSError as disk_error:
            if error is None:
                raise
            log.error("result.json could not be written: %s", disk_error)

    # -- time and energy, by phase ------------------------------------------------------------------------------------

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Book time and energy to `name`. A phase within a phase interrupts the outer one."""
        return self._ledger.phase(name)

    def seconds(self, phase: str) -> float:
        """Seconds spent in a phase so far."""
        self._ledger.book()
        return self._ledger.seconds.get(phase, 0.0)

    # -- metrics ------------------------------------------------------------------------------------------------------

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log one row, without what an interrupted run has logged at this step already."""
        if self._writes and (new := self._rows.new(metrics, step)):
            self._ledger.book()
            row = self._append(new | self._cost(), step)
            if self._trackio is not None:
                self._trackio.log(row)

    def _append(self, metrics: dict[str, float], step: int) -> dict[str, Any]:
        """Write one line of metrics.jsonl."""
        row = {
            "time": now(),
            "step": step,
            "phase": self._ledger.current,
            "metrics": {name: float(value) for name, value in metrics.items()},
            "totals": {
                "samples_seen": self.samples_seen,
                "num_resumes": self._num_resumes,
                **self._ledger.totals(),
            },
        }
        row = finite(row)
        self._rows.append(row)
        return row

    def log_by_dimension(self, stage: str, by_dim: Mapping[int, Metrics]) -> None:
        """Log the primary metric over the embedding size, which takes the place of the step."""
        name = f"matryoshka/{PRIMARY_METRIC}" if stage == "final" else f"matryoshka/{stage}_{PRIMARY_METRIC}"
        for dim in sorted(by_dim):
            self.log({name: by_dim[dim][PRIMARY_METRIC]}, step=dim)

    def _cost(self) -> dict[str, float]:
        """What every row carries, so that the dashboard can draw any metric over it."""
        return {"x/samples_seen": self.samples_seen, **self._ledger.cost()}

    # -- the result ---------------------------------------------------------------------------------------------------

    def note(self, **facts: Any) -> None:
        """Facts for result.json."""
        self._result |= facts

    def finish(
        self,
        baseline: Report | None,
        final: Report,
        throughput: dict[str, float] | None = None,
        peak_memory_bytes: int | None = None,
    ) -> float:
        """Note the results, log `final/*` once, print the table; return the primary metric. A collective."""
        if not self._writes and self._node_meter is not None:
            self._node_meter.publish()
        PartialState().wait_for_everyone()
        self.note(
            status="finished", throughput=throughput, peak_memory_bytes=peak_memory_bytes, **compare(baseline, final)
        )
        if self._writes:
            self.note(intervals=intervals(baseline, final))
            self.log(final_row(self._result, self._cost(), self._ledger.total_energy), self._rows.last_step)
            print_results(baseline, final, PRIMARY_METRIC)
        return self._result["final"][PRIMARY_METRIC]

    def _note_error(self, error: BaseException) -> None:
        self.note(
            status=_status(error),
            error={
                "type": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
            },
        )
        log.error("run %s: %s: %s", self._result["status"], type(error).__name__, error)
        if self._result["status"] == "preempted":
            log.info("to go on: python -m mmexp.resume %s", self.run_dir)

    def _write_result(self) -> None:
        """Write result.json whole or not at all, as the last file of the run."""
        result = {
            "status": None,
            "experiment": self.experiment.name,
            "overrides": self._overrides,
            "primary_metric": PRIMARY_METRIC,
            "seed": self.experiment.seed,
            "baseline": None,
            "final": None,
            "delta": None,
            "intervals": dict.fromkeys(("baseline", "final", "delta")),
            "by_dim": {},
            **self._result,
            **self._ledger.totals(),
            "num_resumes": self._num_resumes,
            "halvings": self._halvings,
            "versions": versions(),
            "started": self._started,
            "ended": now(),
        }
        write_whole(self.run_dir / "result.json", json.dumps(finite(result), indent=2, allow_nan=False))

    # -- the folder ---------------------------------------------------------------------------------------------------

    def _hold_folder(self) -> None:
        """Two processes on one run would write into each other's files."""
        try:
            self._lock = hold_run(self.run_dir)
        except OSError as error:
            raise self._cannot_be_written(error) from error

    def _cannot_be_written(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"the run folder {self.run_dir} cannot be written to: {error}. Choose another with output_root=..."
        )

    def _open_folder(self) -> None:
        """Write what the run is started with, or find what an interrupted run left."""
        try:
            (self.run_dir / "result.json").unlink(missing_ok=True)
            write_whole(self.run_dir / "environment.json", json.dumps(environment(), indent=2))
            self._rows = MetricsFile(self.run_dir / "metrics.jsonl")
        except OSError as error:
            raise self._cannot_be_written(error) from error


def _status(error: BaseException) -> str:
    if isinstance(error, Diverged):
        return "diverged"
    return "preempted" if isinstance(error, Preempted | KeyboardInterrupt) else "failed"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
