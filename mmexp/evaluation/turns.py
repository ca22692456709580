"""Runs that would do the same work at the same time take turns, by a lock on a file."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmexp.distributed import ranks

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


@contextmanager
def turn(file: Path, what: str) -> Iterator[None]:
    """Wait until no other run has the turn that `file` stands for, and have it for the length of the block.

    Of a run's ranks, rank 0 alone has the lock, and tells the others at every look whether it has it: nobody waits in
    a collective for longer than a look takes. A run that dies gives its turn up. The file stays.
    """
    lock = _open(file) if ranks.is_main() else None
    try:
        waits = False
        while not ranks.broadcast(lock is None or _has(lock)):
            if not waits:
                log.info("waiting for another run, which computes %s (%s)", what, file)
            waits = True
            time.sleep(POLL_SECONDS)
        yield
    finally:
        if lock is not None:
            # Not by closing it alone: data workers that were forked meanwhile have it open too.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


def _open(file: Path) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)


def _has(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks: at worst, runs do the same work twice
        log.warning("runs that start together may compute the same: %s", error)
    return True
