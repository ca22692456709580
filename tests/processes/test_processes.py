"""What a run's processes ended with, as their parent sees it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from torch import distributed

from mmexp.composition import Composition
from mmexp.processes.children import Child
from mmexp.processes.command import Command
from mmexp.processes.interruption import Interruption, Preempted
from tests.test_run import experiment_of


@pytest.mark.parametrize(
    ("left", "status", "error"),
    [
        ({"status": "finished", "final": {}}, "finished", None),  # it was told to stop when all was done
        ({"status": "failed", "error": {"type": "OSError", "message": "no space"}}, "failed", "OSError"),
        (None, "failed", "Killed"),
    ],
)
def test_what_a_run_left_stays_however_its_process_ends(tmp_path, left, status, error):
    (tmp_path / "result.json").write_text('{"status": "finished"}')  # of an earlier start: says nothing of this one
    leave = "true"
    if left is not None:
        (tmp_path / "left").write_text(json.dumps(left))
        leave = f"cp {tmp_path}/left {tmp_path}/result.json"
    composition = Composition(experiment_of(Path("x"), "+experiment=vdr_tiny"), tmp_path, [], Path.cwd())
    result = Child(Command(["sh", "-c", f"{leave}; kill -KILL $$"]), composition).result()
    assert result["status"] == status
    assert (result.get("error") or {}).get("type") == error
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_a_signal_that_comes_while_ranks_agree_counts_after_the_next_step(monkeypatch):
    interruption = Interruption()
    interruption.waits_for_step = True
    late = [lambda: interruption._on_signal(signal.SIGUSR2, None)]
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_backend", lambda: "gloo")
    monkeypatch.setattr(distributed, "all_reduce", lambda *_: late.pop()() if late else None)
    assert not interruption.agreed()
    interruption.raise_if_stopped()
    assert interruption.agreed()
    with pytest.raises(Preempted, match="SIGUSR2"):
        interruption.raise_if_stopped()


SLOW_CHECKPOINT = """
import signal, time
asked = []
signal.signal(signal.SIGUSR2, lambda *_: asked.append(1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
open("ready", "w").close()
while not asked: time.sleep(0.01)
time.sleep(1)
raise SystemExit(140)
"""


def test_a_cluster_that_says_it_twice_does_not_cut_the_checkpoint_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composition = Composition(experiment_of(Path("x"), "+experiment=vdr_tiny"), tmp_path, [], tmp_path)

    def ask_twice() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        for _ in range(2):
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGUSR2)

    threading.Thread(target=ask_twice).start()
    result = Child(Command([sys.executable, "-c", SLOW_CHECKPOINT]), composition).wait()
    assert result["error"]["message"] == "SIGUSR2: the run was asked to stop"
