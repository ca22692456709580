"""`python -m mmexp.slurm.node RUN_DIR DIGEST MAIN_ADDRESS`: the processes of a run on one node of a Slurm job.

What the job's script starts once on every node. Exits with 140 where the run stopped because the cluster asked for it,
or lacked memory and goes on with half the mini-batch, so that the script requeues the job. DIGEST is of the composition
as it was submitted; a job that is requeued may have halved it since.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from mmexp.__main__ import complain
from mmexp.composition import Composition, thaw
from mmexp.launchers.accelerate_launch import Machine
from mmexp.processes.children import STOPPED, Child, settle
from mmexp.processes.interruption import SIGNALS, STOPPED_BY_CLUSTER
from mmexp.processes.out_of_memory import with_half_the_mini_batch
from mmexp.rank import log_into
from mmexp.recording.run_files import write_whole
from mmexp.schema import ConfigError
from mmexp.slurm.failures import Failures

if TYPE_CHECKING:
    from mmexp.launchers.slurm import Slurm


def main() -> None:
    run_dir, digest, main_address = sys.argv[1:]
    machine = this_machine(main_address)
    failures = Failures(Path(run_dir), machine.count)
    try:
        composition = thaw(Path(run_dir), None if num_restarts() else digest)
        launch: Slurm = composition.experiment.launch  # type: ignore[assignment]
        command = launch.command_on(machine, composition)
        composition.enter()
    except ConfigError as error:
        refuse(Path(run_dir), failures, machine, f"node {socket.gethostname()}: {error}")
    supervisor = Supervisor(Child(command, composition), failures, launch.signal_seconds)
    code, failure = supervisor.wait(first_rank=machine.rank * launch.num_processes)
    if failure is not None:
        failures.add(machine.rank, failure)
    if (first := failures.first()) is not None:
        settle(composition, 1, first)  # the last node that ends has seen all
        code = STOPPED_BY_CLUSTER if machine.rank == 0 and halves_the_mini_batch(composition) else 1
    for number in SIGNALS:  # Slurm ends the others when one node is done: none may die of it on its last metres
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def num_restarts() -> int:
    """How often this job was requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def halves_the_mini_batch(composition: Composition) -> bool:
    """Whether the run lacked memory, and goes on with half the mini-batch, which the run folder says from now on."""
    log_into(composition)
    return with_half_the_mini_batch(composition) is not None


def refuse(run_dir: Path, failures: Failures, machine: Machine, words: str) -> NoReturn:
    """Say what keeps this node from starting: in result.json too, where it sees the run folder."""
    if run_dir.is_dir():
        failure = failure_of(machine.rank, 2, "ConfigError", words)
        failures.add(machine.rank, failure)
        error = {key: failure[key] for key in ("type", "message", "traceback", "rank")}
        write_whole(run_dir / "result.json", json.dumps({"status": "failed", "error": error}, indent=2))
    complain(words)


def this_machine(main_address: str) -> Machine:
    """This node of the job. After a requeue they meet at another port, where no process of before can be."""
    job, node, count = (int(os.environ[f"SLURM_{key}"]) for key in ("JOB_ID", "NODEID", "JOB_NUM_NODES"))
    # Jobs of neighbouring numbers share nodes: the port of one that was requeued must not be that of the next.
    port = 20000 + (job * 101 + num_restarts()) % 10000 if count > 1 else 0
    return Machine(node, count, main_address, port)


class Supervisor:
    """Waits for the processes of this node, and hands on to them what Slurm asks for."""

    def __init__(self, child: Child, failures: Failures, signal_seconds: float) -> None:
        """`signal_seconds`: from Slurm's signal to the end of the time limit."""
        self._child = child
        self._failures = failures
        # A checkpoint that takes longer is given up, while there is time to end the processes and to be requeued.
        self._seconds_to_checkpoint = signal_seconds * 0.75
        self._asked: int | None = None
        self._asked_at = 0.0
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def wait(self, first_rank: int) -> tuple[int, dict[str, Any] | None]:
        """Wait for their end; return the exit code, and what failed. Those that were asked to stop have not failed,
        unless with an error of their own."""
        while (code := self._child.poll()) is None:
            late = self._asked and time.monotonic() - self._asked_at > self._seconds_to_checkpoint
            if late or (self._asked == signal.SIGTERM and self._failures.first()):  # Slurm ends all for one that failed
                self._child.end()
            time.sleep(0.1)
        failure = self._child.failure()
        if self._asked and code != 0 and (failure is None or failure["type"] is None):
            return 128 + self._asked, None
        if failure is None and code != 0 and code not in STOPPED:
            failure = failure_of(first_rank, code)
        return code, failure

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked is None:
            self._asked, self._asked_at = number, time.monotonic()
            self._child.ask_to_stop(number)


def failure_of(rank: int, code: int, kind: str | None = None, message: str = "") -> dict[str, Any]:
    """What failed on this node, where no rank of it left a word: in the form of mmexp.processes.agent's."""
    return {
        "rank": rank,
        "time": time.time(),
        "exit_code": code,
        "type": kind,
        "message": message,
        "traceback": "",
    }


if __name__ == "__main__":
    main()
