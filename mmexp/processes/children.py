"""The processes of a run as their parent sees them: started, asked to stop, ended, and what they ended with."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mmexp.composition import Composition
from mmexp.processes.command import AGENT_MODULE, LAUNCH_MODULE, Command
from mmexp.processes.interruption import SIGNALS, hold_back, is_new
from mmexp.recording.run_files import write_whole

STOPPED = {128 + number for number in SIGNALS}
SECONDS_TO_CHECKPOINT = 120
SECONDS_TO_END = 40
_libc = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class Child:
    """A run in processes of its own, which end when this one does, however it ends."""

    def __init__(self, command: Command, composition: Composition, output: IO[bytes] | None = None) -> None:
        """Start it. `output` takes what it prints; None: the terminal."""
        self.composition = composition
        self._asked_by: int | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="mmexp-")
        self._failure_file = Path(self._folder.name) / "failure.json"
        (composition.run_dir / "result.json").unlink(missing_ok=True)  # of an earlier start
        self._process = subprocess.Popen(
            self._arguments(command),
            env=command.whole_environment(),
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            # A terminal's Ctrl-C is for the parent, which asks its children to stop in its own way.
            start_new_session=True,
            preexec_fn=before_listening,
        )

    def _arguments(self, command: Command) -> list[str]:
        """The command, with an agent in place of accelerate's launcher where there is one."""
        if LAUNCH_MODULE not in command.arguments:
            return command.arguments
        at = command.arguments.index(LAUNCH_MODULE)
        logs = ["--log_dir", str(Path(self._folder.name) / "logs")]  # torch's launcher leaves a folder otherwise
        return [*command.arguments[:at], AGENT_MODULE, str(self._failure_file), *logs, *command.arguments[at + 1 :]]

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self, number: int) -> None:
        """With a checkpoint where there is time, as this process was asked by a signal of that number."""
        self._asked_by = number
        self._signal(signal.SIGUSR2)

    def end(self) -> None:
        """At once, and without a checkpoint; in the end by force."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait(self) -> dict[str, Any]:
        """Wait for its end, and pass what asks this process to stop on to it. Returns `result`."""
        asked: list[tuple[int, float]] = []

        def stop(number: int) -> None:
            if is_new(number, bool(asked)):
                asked.append((number, time.monotonic()))
                self.ask_to_stop(number)

        with on_signals(stop):
            while self.poll() is None:
                if len(asked) > 1 or (asked and time.monotonic() - asked[0][1] > SECONDS_TO_CHECKPOINT):
                    self.end()
                time.sleep(0.1)
        return self.result()

    def result(self) -> dict[str, Any]:
        """result.json of the run that has ended, with the error of the rank that failed first."""
        code = self._process.wait()
        result = settle(self.composition, code, self.failure())
        if self._asked_by is not None and result["status"] == "preempted":  # all that the run knows of it is SIGUSR2
            result["error"]["message"] = f"{signal.Signals(self._asked_by).name}: the run was asked to stop"
            write_whole(self.composition.run_dir / "result.json", json.dumps(result, indent=2))
        return result

    def failure(self) -> dict[str, Any] | None:
        """What the rank that failed first left, once the processes have ended."""
        failure = json.loads(self._failure_file.read_text()) if self._failure_file.exists() else None
        self._folder.cleanup()
        return failure

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            self._process.send_signal(number)


def settle(composition: Composition, code: int, failure: dict[str, Any] | None) -> dict[str, Any]:
    """result.json of a run whose processes ended with `code`, made to say what the rank that failed first left."""
    file = composition.run_dir / "result.json"
    result = json.loads(file.read_text()) if file.exists() else _no_result(composition)
    failure = failure or {"rank": 0, "exit_code": code, "type": None, "message": "", "traceback": ""}
    # A run is finished once all ranks have done all there is to do: how they end later changes nothing.
    was_stopped = result["status"] == "preempted" and failure["exit_code"] in STOPPED
    if code == 0 or result["status"] == "finished" or was_stopped:
        return result
    if failure["rank"] != 0 or result["error"] is None:
        result |= {"status": _status(failure), "error": _error(failure)}
        write_whole(file, json.dumps(result, indent=2))
    return result


def before_listening() -> None:
    """What a child does before it is a run: between its start and its first handler lie seconds of imports."""
    die_with_parent()
    hold_back()


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, even by SIGKILL. Linux only."""
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def on_signals(handler: Callable[[int], None]) -> Iterator[None]:
    """Have `handler` called with the number of any signal that asks this process to stop."""
    before = {number: signal.signal(number, lambda number, frame: handler(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def _no_result(composition: Composition) -> dict[str, Any]:
    """What is known of a run that wrote no result."""
    return {
        "status": "failed",
        "error": None,
        "halvings": composition.halvings,
        "experiment": composition.experiment.name,
        "overrides": composition.overrides,
        "seed": composition.experiment.seed,
    }


def _status(failure: dict[str, Any]) -> str:
    if failure["type"] is None and failure["exit_code"] in STOPPED:
        return "preempted"
    return "diverged" if failure["type"] == "Diverged" else "failed"


def _error(failure: dict[str, Any]) -> dict[str, Any]:
    """The error of a rank, or, where it left none, how its process ended."""
    kind, message, rank = failure["type"], failure["message"], failure["rank"]
    if kind is None and failure["exit_code"] < 0:
        kind, message = "Killed", f"rank {rank} was killed by {signal.Signals(-failure['exit_code']).name}"
    elif kind is None and failure["exit_code"] in STOPPED:
        kind = "Preempted"
        message = f"{signal.Signals(failure['exit_code'] - 128).name}: rank {rank} ended before it left a result"
    elif kind is None:
        kind, message = "Exited", f"rank {rank} ended with exit code {failure['exit_code']}"
    return {"type": kind, "message": message, "traceback": failure["traceback"], "rank": rank}
