"""A sweep of 12 members whose processes, and whose parent, are killed at random: called again each time, it ends as if
nothing had happened."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.test_run import environment, losses_of, rows_of, tiny_command

NUM_KILLS = 6
SWEEP = [
    "-m",
    "seed=1,2,3",
    "data.num_negatives=0,1",
    "trainer.learning_rate=1e-3,2e-3",
    "trainer.max_steps=8",
    "trainer.logging_steps=1",
    "trainer.eval_strategy=no",
    "trainer.save_strategy=steps",
    "trainer.save_steps=2",
    "tracking=trackio",
    "tracking.codecarbon=false",
]
DASHBOARD = """
import json, trackio
from trackio.sqlite_storage import SQLiteStorage
runs = [run for run in trackio.Api().runs("mmexp") if run.name != "00-comparison"]
print(json.dumps({run.id: [row["step"] for row in SQLiteStorage.get_logs("mmexp", run.name, run_id=run.id)
                           if "train/loss" in row] for run in runs}))
"""


class Sweep:
    """A sweep in a folder of its own, and what one can see of it from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**environment(), "TRACKIO_DIR": str(folder / "trackio")}
        at_once = min(2, len(os.sched_getaffinity(0)))
        self.command = tiny_command(folder, *SWEEP, f"sweep.at_once={at_once}")

    def start(self) -> subprocess.Popen:
        with (self.folder / "terminal.txt").open("ab") as terminal:
            return subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=terminal, stderr=subprocess.STDOUT
            )

    @property
    def members(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob("vdr_tiny/sweep/*/composition.yaml"))

    def checkpoints(self) -> dict[str, int]:
        """The newest complete one of each member that has any."""
        states = self.folder.glob("vdr_tiny/sweep/*/checkpoints/checkpoint-*/trainer_state.json")
        newest: dict[str, int] = {}
        for state in states:
            member, step = state.parents[2].name, int(state.parent.name.removeprefix("checkpoint-"))
            newest[member] = max(step, newest.get(member, 0))
        return newest

    def first_steps(self) -> dict[str, list[int]]:
        """The first step of every training of each member, as its log says."""
        pattern = re.compile(r"training: steps (\d+) to")
        logs = {member.name: member / "mmexp.log" for member in self.members}
        return {name: [int(n) for n in pattern.findall(log.read_text())] for name, log in logs.items() if log.exists()}

    def results(self) -> dict[str, dict]:
        found = {member.name: member / "result.json" for member in self.members}
        return {name: json.loads(file.read_text()) for name, file in found.items() if file.exists()}

    def num_trained(self) -> int:
        """How often a step was logged, which says how far the sweep is."""
        return sum(len(losses_of(member)) for member in self.members if (member / "metrics.jsonl").exists())


def kill_someone(sweep: Sweep, parent: subprocess.Popen, draw: random.Random) -> bool:
    """SIGKILL a member that runs, or the parent, once the sweep is some steps further. Returns whether it was alive."""
    wanted = sweep.num_trained() + draw.randint(3, 10)
    while sweep.num_trained() < wanted and parent.poll() is None:
        time.sleep(0.05)
    if parent.poll() is not None:
        return False
    family = psutil.Process(parent.pid).children(recursive=True)
    members = [child for child in family if is_member_of(parent, child)]
    victim = draw.choice([*members, psutil.Process(parent.pid)])
    victim.kill()
    if victim.pid != parent.pid:
        time.sleep(1)
        parent.send_signal(signal.SIGTERM)  # the others stop with a checkpoint
    parent.wait(timeout=180)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "processes outlived their parent"
    return True


def is_member_of(parent: subprocess.Popen, child: psutil.Process) -> bool:
    """Whether it is a member's own process, and neither a data worker nor one that has just ended."""
    with suppress(psutil.NoSuchProcess):
        return child.ppid() == parent.pid and "mmexp.rank" in child.cmdline()
    return False


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """The sweep after 6 kills and 7 calls, and what each call trained of each member: (its checkpoint, first steps)."""
    draw = random.Random(0)
    sweep = Sweep(tmp_path_factory.mktemp("disturbed"))
    trainings = []
    for kills in range(NUM_KILLS + 1):
        checkpoints, before = sweep.checkpoints(), sweep.first_steps()
        parent = sweep.start()
        if kills < NUM_KILLS:
            assert kill_someone(sweep, parent, draw), "the sweep ended before it was disturbed often enough"
        else:
            assert parent.wait(timeout=1800) == 0, (sweep.folder / "terminal.txt").read_text()[-3000:]
        for member, steps in sweep.first_steps().items():
            trainings.append((checkpoints.get(member, 0), steps[len(before.get(member, [])) :]))
    return sweep, trainings


@pytest.mark.slow
def test_no_member_starts_anew_once_it_has_a_checkpoint(disturbed):
    _, trainings = disturbed
    goes_on = [(checkpoint, steps) for checkpoint, steps in trainings if steps]
    assert all(steps == [checkpoint + 1] for checkpoint, steps in goes_on), goes_on
    assert sum(checkpoint > 0 for checkpoint, _ in goes_on) >= 3  # or the claim is empty


@pytest.mark.slow
def test_no_step_is_logged_twice(disturbed):
    sweep, _ = disturbed
    for member in sweep.members:
        # What every row carries (x/*) comes with each of them.
        names = [(row["step"], name) for row in rows_of(member) for name in row["metrics"] if not name.startswith("x/")]
        assert len(names) == len(set(names))
        assert [step for step, _ in losses_of(member)] == list(range(1, 9))
    shown = subprocess.run(
        [sys.executable, "-c", DASHBOARD], env=sweep.environment, capture_output=True, text=True, check=True
    )
    steps_of = json.loads(shown.stdout.splitlines()[-1])
    assert len(steps_of) == 12  # a run for each member, however often it was continued
    assert all(steps == list(range(1, 9)) for steps in steps_of.values()), steps_of


@pytest.mark.slow
def test_results_equal_those_of_an_undisturbed_sweep(disturbed, tmp_path):
    sweep, _ = disturbed
    undisturbed = Sweep(tmp_path)
    assert undisturbed.start().wait(timeout=1800) == 0, (tmp_path / "terminal.txt").read_text()[-3000:]
    expected, found = undisturbed.results(), sweep.results()
    assert len(found) == 12
    assert set(found) == set(expected)
    for name in expected:
        assert found[name]["status"] == expected[name]["status"] == "finished"
        assert found[name]["final"] == expected[name]["final"]
    for one, other in zip(sweep.members, undisturbed.members, strict=True):
        assert losses_of(one) == losses_of(other)
