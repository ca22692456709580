"""A machine cut into equal shares."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mmexp.schema import ConfigError
from mmexp.sweep.shares import Share, shares


@pytest.fixture
def cores(monkeypatch):
    """As many cores as the test says, whatever the machine has."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)))

    return pretend


def test_gpus_and_cores_are_shared_equally_and_the_rest_is_left_over(cores, monkeypatch):
    cores(16)
    gpus = ["0", "2", "GPU-abc", "5", "6", "7", "8", "9"]
    monkeypatch.setattr("mmexp.sweep.shares.visible_gpu_names", lambda: gpus)
    first, second, third = shares(3)
    assert (first.gpus, second.gpus, third.gpus) == (["0", "2"], ["GPU-abc", "5"], ["6", "7"])
    assert (first.cores, second.cores, third.cores) == ({*range(5)}, {*range(5, 10)}, {*range(10, 15)})


@pytest.mark.parametrize(
    ("gpus", "count", "message"),
    [
        (["0", "1"], 3, "more than the GPUs that are visible, which are 2"),
        ([], 5, "more than the cores .*, which are 4"),
    ],
)
def test_more_shares_than_there_is_are_refused(cores, monkeypatch, gpus, count, message):
    cores(4)
    monkeypatch.setattr("mmexp.sweep.shares.visible_gpu_names", lambda: gpus)
    with pytest.raises(ConfigError, match=rf"sweep\.at_once={count} is {message}.*sweep\.at_once=\d or less"):
        shares(count)


def test_what_is_started_within_a_share_has_no_more(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    mine = os.sched_getaffinity(0)
    core = min(mine)
    code = (
        "import os; print(os.sched_getaffinity(0), os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])"
    )
    with Share(["3", "4"], {core}).taken():
        seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.split() == [f"{{{core}}}", "3,4", "1"]
    assert os.sched_getaffinity(0) == mine
    assert "OMP_NUM_THREADS" not in os.environ
