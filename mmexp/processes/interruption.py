"""Being asked to stop: by Ctrl-C, by SIGTERM, by SIGUSR2 (the machine is wanted back soon)."""

from __future__ import annotations

import logging
import os
import signal
import threading
from functools import cache
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
STOPPED_BY_CLUSTER = 128 + signal.SIGUSR2
"""Exit code of a run that stopped because the cluster asked for it, and that is to be continued."""

# torch's launcher waits 30 s for a rank that it has told to end; a job that fails ends within 30 s altogether.
SECONDS_WHEN_STUCK = 20


class Preempted(SystemExit):
    """The run was asked to stop. Exits as the shell reports a signal, with 128 + its number."""

    def __str__(self) -> str:
        assert isinstance(self.code, int)
        return f"{signal.Signals(self.code - 128).name}: the run was asked to stop"


class Interruption:
    """What a signal does to a run: in training, a checkpoint at the end of the step; elsewhere, and the second time, it
    ends at once.

    SIGTERM to one of several ranks is torch's launcher ending a job of which another rank has failed: also at once.
    """

    def __init__(self) -> None:
        self.waits_for_step = False
        """Whether training is under way, and will stop at the end of its step."""

        self._asked: int | None = None
        self._agreed: int | None = None
        """What ranks stopped training for, once they all know."""

        self._handlers: dict[int, Any] = {}
        self._watch: Watch | None = None

    def listen(self) -> None:
        """Handle the signals. Only in the main thread: there alone they arrive."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
            _leave_it_to_this_process()
            self._watch = Watch() if is_rank() else None

    def ignore(self) -> None:
        """Let nothing cut short what follows."""
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Handle the signals as before; a process that was asked to stop is about to, and needs no more of SIGUSR2."""
        if self._watch is not None:
            self._watch.end()
        for number, handler in self._handlers.items():
            if number != signal.SIGUSR2 or self._asked is None:
                signal.signal(number, handler)

    def agreed(self) -> bool:
        """Whether any rank was asked to stop. All ranks ask this after the same step, and learn the same."""
        import torch
        from torch import distributed

        agreed = self._asked or 0
        if distributed.is_available() and distributed.is_initialized():
            device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
            shared = torch.tensor(agreed, device=device)
            distributed.all_reduce(shared, distributed.ReduceOp.MAX)
            agreed = int(shared)
        self._agreed = agreed or None
        self._asked = self._asked or self._agreed  # what has come meanwhile counts after the next step
        return self._agreed is not None

    def raise_if_stopped(self) -> None:
        """Raise `Preempted` where training was stopped."""
        if self._agreed is not None:
            raise Preempted(128 + self._agreed)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again = self._asked is not None
        if not is_new(number, again):
            return
        self._asked = number
        if self.waits_for_step and not again and not (is_rank() and number == signal.SIGTERM):
            log.warning("%s: stopping with a checkpoint at the end of this step", signal.Signals(number).name)
            return
        self.ignore()  # what is left to write takes a moment
        raise Preempted(128 + number)


def is_new(number: int, again: bool) -> bool:
    """Whether a signal says more than what came before: the cluster and its launcher may both send SIGUSR2."""
    return not again or number != signal.SIGUSR2


def hold_back() -> None:
    """Keep SIGUSR2 until somebody listens: a process that does not yet, or never will, would die of it.

    The processes that this one starts inherit it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})


@cache
def _leave_it_to_this_process() -> None:
    """Have data workers survive SIGUSR2, which some clusters send to all descendants of a job, and a terminal's Ctrl-C.

    They end with the process that they work for."""
    os.register_at_fork(after_in_child=_ask_no_worker)


def _ask_no_worker() -> None:
    hold_back()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def is_rank() -> bool:
    """Whether a launcher started this process, as one of several mostly, and watches over it."""
    return "RANK" in os.environ


class Watch:
    """Ends this process some time after SIGTERM even where it waits for a rank that is gone, inside a library that lets
    no Python run in the main thread."""

    def __init__(self) -> None:
        self._over = threading.Event()
        reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(reader, True)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader,), daemon=True, name="end-when-stuck").start()

    def end(self) -> None:
        """Watch no more."""
        self._over.set()
        signal.set_wakeup_fd(-1)
        os.close(self._writer)

    def _watch(self, reader: int) -> None:
        while arrived := os.read(reader, 1):
            if signal.SIGTERM in arrived and not self._over.wait(SECONDS_WHEN_STUCK):
                os._exit(128 + signal.SIGTERM)
        os.close(reader)
