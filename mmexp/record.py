"""The record of a run: one folder, written by one process, that is complete however the run ends.

metrics.jsonl is the truth, one line per logged row, written as it happens; Trackio is a view of it; result.json is
written once, whole, at the end. multirun/README.md describes every file and field.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from mmexp.energy import Energy, EnergyMeter
from mmexp.environment import environment
from mmexp.metrics import PRIMARY_METRIC
from mmexp.schema import ConfigError
from mmexp.terminal import print_results
from mmexp.trackio_view import TrackioView, dashboard_config, push_project, run_name

if TYPE_CHECKING:
    from mmexp.experiment import Experiment

log = logging.getLogger(__name__)

ByDim = dict[int, dict[str, float]]
# Between phases, such as loading the model.
SETUP = "setup"


class Preempted(SystemExit):
    """SIGTERM arrived: the machine is wanted back. Exits as the shell reports a signal, with 128 + its number."""


class Diverged(RuntimeError):
    """The training loss is not a number any more."""


class Record:
    """Use as a context manager around a run. On the way out, result.json is written, whatever happened."""

    def __init__(self, run_dir: Path, experiment: Experiment, overrides: list[str]) -> None:
        self.run_dir = run_dir
        self.experiment = experiment
        self.samples_seen = 0
        self._overrides = overrides
        self._result: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self._energy: dict[str, Energy] = {}
        self._phases = [SETUP]
        self._logged: set[tuple[int, str]] = set()
        self._last_step = 0

    def __enter__(self) -> Record:
        self._started = datetime.now(UTC)
        self._meter = EnergyMeter(self.experiment.tracking)  # first, so that a grid it refuses leaves no run behind
        self._open_folder()
        self._mark = time.perf_counter(), self._meter.read()
        self._trackio = self._show_in_trackio()
        self._metrics = (self.run_dir / "metrics.jsonl").open("a", buffering=1, encoding="utf-8")
        if threading.current_thread() is threading.main_thread():
            self._sigterm = signal.signal(signal.SIGTERM, _preempt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._sigterm)
        self._book()
        self._meter.stop()
        if self._trackio is not None:
            self._trackio.finish()
        self._metrics.close()
        self._write_result(error)
        push_project(self.experiment.tracking)

    # -- time and energy, by phase ------------------------------------------------------------------------------------

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book time and energy to `name`. A phase within a phase interrupts the outer one."""
        self._book()
        self._phases.append(name)
        try:
            yield
        finally:
            self._book()
            self._phases.pop()

    def seconds(self, phase: str) -> float:
        """Seconds spent in a phase so far."""
        self._book()
        return self._seconds.get(phase, 0.0)

    def _book(self) -> None:
        now = time.perf_counter(), self._meter.read()
        phase = self._phases[-1]
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now[0] - self._mark[0]
        self._energy[phase] = self._energy.get(phase, Energy()) + (now[1] - self._mark[1])
        self._mark = now

    # -- metrics ------------------------------------------------------------------------------------------------------

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log one row. A row that an interrupted run has logged already is not logged again."""
        signature = step, " ".join(sorted(metrics))
        if signature in self._logged:
            return
        self._logged.add(signature)
        self._last_step = max(self._last_step, step if "matryoshka/" not in signature[1] else 0)
        self._book()
        row = {**{name: float(value) for name, value in metrics.items()}, **self._cost()}
        totals = {
            "samples_seen": self.samples_seen,
            "seconds": self._seconds,
            "energy": {phase: asdict(energy) for phase, energy in self._energy.items()},
        }
        line = {"time": _now(), "step": step, "phase": self._phases[-1], "metrics": row, "totals": totals}
        self._metrics.write(json.dumps(_finite(line), allow_nan=False) + "\n")
        if self._trackio is not None:
            self._trackio.log(row, step)

    def log_by_dimension(self, stage: str, by_dim: ByDim) -> None:
        """Log the primary metric over the embedding size, which takes the place of the step."""
        name = f"matryoshka/{PRIMARY_METRIC}" if stage == "final" else f"matryoshka/{stage}_{PRIMARY_METRIC}"
        for dim in sorted(by_dim):
            self.log({name: by_dim[dim][PRIMARY_METRIC]}, step=dim)

    def _cost(self) -> dict[str, float]:
        """What every row carries, so that the dashboard can draw any metric over it."""
        cost = {"x/samples_seen": self.samples_seen, "x/hours": sum(self._seconds.values()) / 3600}
        if self._meter.is_on:
            energy = sum(self._energy.values(), Energy())
            cost |= {"x/energy_kwh": energy.total_kwh, "x/co2_kg": energy.co2_kg}
        return cost

    # -- the result ---------------------------------------------------------------------------------------------------

    def note(self, **facts: Any) -> None:
        """Facts for result.json."""
        self._result |= facts

    def finish(
        self,
        baseline: ByDim | None,
        final: ByDim,
        throughput: dict[str, float] | None = None,
        peak_memory_bytes: int | None = None,
    ) -> float:
        """Note the results, log `final/*` once, print the table; return the primary metric at the full size."""
        full = max(final)
        self.note(
            status="finished",
            baseline=baseline[full] if baseline else None,
            final=final[full],
            by_dim={
                str(dim): {"baseline": baseline[dim] if baseline else None, "final": metrics}
                for dim, metrics in final.items()
            },
            throughput=throughput,
            peak_memory_bytes=peak_memory_bytes,
        )
        self._log_final(baseline, final[full], throughput, peak_memory_bytes)
        print_results(baseline, final, PRIMARY_METRIC)
        return final[full][PRIMARY_METRIC]

    def _log_final(
        self,
        baseline: ByDim | None,
        final: dict[str, float],
        throughput: dict[str, float] | None,
        peak_memory_bytes: int | None,
    ) -> None:
        cost = self._cost()
        row = {f"final/{PRIMARY_METRIC}": final[PRIMARY_METRIC], "final/hours": cost["x/hours"]}
        if baseline is not None:
            row["final/delta"] = final[PRIMARY_METRIC] - baseline[max(baseline)][PRIMARY_METRIC]
        if "x/energy_kwh" in cost:
            row["final/energy_kwh"] = cost["x/energy_kwh"]
        if throughput is not None:
            row["final/samples_per_second"] = throughput["samples_per_second"]
        if peak_memory_bytes is not None:
            row["final/peak_memory_gb"] = peak_memory_bytes / 1e9
        self.log(row, step=self._last_step)

    def _write_result(self, error: BaseException | None) -> None:
        """Write result.json whole or not at all, as the last file of the run."""
        result = {
            "status": "failed",
            "experiment": self.experiment.name,
            "overrides": self._overrides,
            "primary_metric": PRIMARY_METRIC,
            "seed": self.experiment.seed,
            "baseline": None,
            "final": None,
            "by_dim": {},
            **self._result,
            "seconds": self._seconds,
            "energy": {p: asdict(energy) for p, energy in self._energy.items()}
            if self.experiment.tracking.codecarbon
            else None,
            "started": self._started.isoformat(timespec="seconds"),
            "ended": _now(),
        }
        if error is not None:
            result["status"] = _status(error)
            result["error"] = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
            }
            log.error("run %s: %s: %s", result["status"], type(error).__name__, error)
        write_whole(self.run_dir / "result.json", json.dumps(_finite(result), indent=2, allow_nan=False))

    # -- the folder ---------------------------------------------------------------------------------------------------

    def _open_folder(self) -> None:
        """Write what the run is started with, or find what an interrupted run left."""
        plain = plain_config(self.experiment)
        try:
            if self.experiment.resume:
                self._continue(plain)
            elif (self.run_dir / "metrics.jsonl").exists():
                raise ConfigError(
                    f"{self.run_dir} holds a run already. Continue it with: python -m mmexp.resume {self.run_dir}"
                )
            write_whole(self.run_dir / "config.yaml", OmegaConf.to_yaml(plain))
            write_whole(self.run_dir / "overrides.yaml", OmegaConf.to_yaml(self._overrides))
            write_whole(self.run_dir / "environment.json", json.dumps(environment(), indent=2))
        except OSError as error:
            raise ConfigError(
                f"the run folder {self.run_dir} cannot be written to: {error}. Choose another with output_root=..."
            ) from error

    def _continue(self, plain: dict[str, Any]) -> None:
        """Take up the totals of the interrupted run, and remember which rows it logged."""
        if (self.run_dir / "config.yaml").exists():
            before = OmegaConf.to_container(OmegaConf.load(self.run_dir / "config.yaml"))
            changed = [key for key in plain if key != "resume" and plain[key] != before.get(key)]  # type: ignore[union-attr]
            if changed:
                raise ConfigError(
                    f"{self.run_dir} was started with another {', '.join(changed)} (see its config.yaml). Resume it "
                    "with the same values, or start a new run."
                )
        (self.run_dir / "result.json").unlink(missing_ok=True)
        if not (self.run_dir / "metrics.jsonl").exists():
            return
        rows = whole_rows(self.run_dir / "metrics.jsonl")
        for row in rows:
            names = [name for name in row["metrics"] if not name.startswith("x/")]
            self._logged.add((row["step"], " ".join(sorted(names))))
        if rows:
            totals = rows[-1]["totals"]
            self.samples_seen = totals["samples_seen"]
            self._seconds = totals["seconds"]
            self._energy = {phase: Energy(**energy) for phase, energy in totals["energy"].items()}

    def _show_in_trackio(self) -> TrackioView | None:
        tracking = self.experiment.tracking
        if not tracking.trackio:
            return None
        identity: dict[str, Any] = {
            "project": tracking.project,
            "name": run_name(self.run_dir),
            "group": tracking.group or self.experiment.name,
            "config": dashboard_config(self.experiment, plain_config(self.experiment)),
        }
        write_whole(self.run_dir / "trackio.json", json.dumps(identity, indent=2))
        return TrackioView(**identity)


def plain_config(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain dictionaries, lists and scalars."""
    container = OmegaConf.to_container(OmegaConf.structured(experiment), enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def whole_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl. A last line that a power cut has torn is cut off the file."""
    content = file.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    if len(complete) < len(content):
        os.truncate(file, len(complete))
    return [json.loads(line) for line in complete.splitlines()]


def write_whole(file: Path, text: str) -> None:
    """Write a file so that it is never seen half-written, also after a power cut."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


def _preempt(signum: int, frame: FrameType | None) -> None:
    raise Preempted(128 + signum)


def _status(error: BaseException) -> str:
    if isinstance(error, Diverged):
        return "diverged"
    return "preempted" if isinstance(error, Preempted | KeyboardInterrupt) else "failed"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _finite(value: Any) -> Any:
    """The value with null for what JSON has no word for: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
