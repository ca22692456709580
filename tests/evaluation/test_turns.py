"""Runs that start together: one computes a baseline, the others wait for it and find it."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from mmexp.distributed import ranks
from mmexp.evaluation.output_cache import OutputCache
from mmexp.evaluation.turns import turn
from tests.distributed.processes import PRELOADED, run_ranks


def member(folder: Path, name: str, seconds: float) -> None:
    """Find or compute; leave what was found, and a file that says that it was computed here."""

    def compute() -> dict[str, torch.Tensor]:
        (folder / f"{name}.computing").touch()
        time.sleep(seconds)
        return {"embeddings": torch.full((3,), float(os.getpid()))}

    found = OutputCache(folder / ".cache", "data").find_or_compute("key", compute, "the embeddings")
    torch.save(found["embeddings"], folder / f"{name}.found")


def start(folder: Path, name: str, seconds: float):
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=member, args=(folder, name, seconds))
    process.start()
    return process


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} never came"
        time.sleep(0.02)


@pytest.fixture
def first_computes(tmp_path):
    process = start(tmp_path, "first", seconds=2)
    wait_for(tmp_path / "first.computing")
    yield process
    process.kill()
    process.join()


def test_of_two_members_that_start_together_one_computes_and_both_have_it(first_computes, tmp_path):
    second = start(tmp_path, "second", seconds=0)
    for process in (first_computes, second):
        process.join(60)
        assert process.exitcode == 0
    assert not (tmp_path / "second.computing").exists()
    found = [torch.load(tmp_path / f"{name}.found") for name in ("first", "second")]
    assert torch.equal(*found)
    assert found[0][0] == first_computes.pid


def test_a_member_that_is_killed_leaves_its_turn_to_the_next(first_computes, tmp_path):
    second = start(tmp_path, "second", seconds=0)
    time.sleep(0.5)
    os.kill(first_computes.pid, signal.SIGKILL)
    second.join(60)
    assert second.exitcode == 0
    assert (tmp_path / "second.computing").exists()
    assert torch.load(tmp_path / "second.found")[0] == second.pid
    assert not list((tmp_path / ".cache").glob(".*"))  # nothing half-written


def seconds_waited(folder: Path) -> float:
    """Of this rank, while another run, for which a thread of rank 1 stands, has the turn for a second."""
    torch.distributed.init_process_group("gloo")
    file = folder / "key.lock"
    if ranks.rank() == 1:
        other = os.open(file, os.O_RDWR | os.O_CREAT)
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(1, fcntl.flock, (other, fcntl.LOCK_UN)).start()
    ranks.broadcast(None)
    started = time.monotonic()
    with turn(file, "the embeddings"):
        return time.monotonic() - started


def test_all_ranks_of_a_run_wait_for_its_turn(tmp_path):
    assert all(0.8 <= waited < 30 for waited in run_ranks(seconds_waited, 2, folder=tmp_path))


def test_a_file_system_without_locks_computes_twice_at_worst(tmp_path, monkeypatch, caplog):
    def unsupported(*_) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    member(tmp_path, "only", 0)
    assert (tmp_path / "only.found").exists()
    assert "may compute the same: [Errno 95] Operation not supported" in caplog.text
