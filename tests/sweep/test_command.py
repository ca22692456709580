"""Sweeps as they are typed, through Hydra's own sweepers. The members only pretend to run: nothing is trained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmexp.sweep.folder import INDEX
from mmexp.sweep.lock import FolderLock
from tests.test_run import ROOT

# The metric is the seed, and seed 13 fails.
PRETEND = """
import json, sys
from mmexp.launchers import Launcher

def launch_members(self, members, at_once, queued):
    print("at once", at_once, "start", *(member.run_dir.name for member in members))
    for member in members:
        seed = member.experiment.seed
        result = {"status": "finished", "primary_metric": "ndcg@10", "final": {"ndcg@10": seed / 100}}
        if seed == 13:
            result = {"status": "diverged", "error": {"type": "Diverged", "message": "the loss is nan"}}
        (member.run_dir / "result.json").write_text(json.dumps(result))
    return [None] * len(members)

Launcher.launch_members = launch_members
"""


def call(folder: Path, *arguments: str, entry: str = "mmexp.__main__", function: str = "main"):
    """Run in `folder`, which is where multirun/ is made."""
    code = f"{PRETEND}\nfrom {entry} import {function}\n{function}()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def started(called: subprocess.CompletedProcess) -> list[list[str]]:
    """Labels of the members that were started, by call of the launcher."""
    lines = re.findall(r"^at once \d+ start (.*)$", called.stdout, re.MULTILINE)
    return [[name.rpartition("-")[0] for name in line.split()] for line in lines]


def statuses(sweep_dir: Path) -> list[str]:
    return [row["status"] for row in json.loads((sweep_dir / INDEX).read_text())["members"]]


def test_a_sweep_is_called_again_until_nothing_is_missing(tmp_path):
    sweep_dir = tmp_path / "multirun" / "vdr_tiny" / "sweep"
    first = call(tmp_path, "-m", "seed=13,1", "hydra.sweeper.max_batch_size=1")
    assert started(first) == [["seed=13"], ["seed=1"]]  # a failure does not keep the next batch from starting
    assert first.returncode == 1
    assert re.search(r"seed=13-\w{8} diverged: the loss is nan", first.stderr)
    assert f"python -m mmexp.resume {sweep_dir}" in first.stderr
    assert statuses(sweep_dir) == ["diverged", "finished"]

    larger = call(tmp_path, "-m", "seed=1,2,3", "sweep.at_once=2")
    assert (started(larger), larger.returncode) == ([["seed=2", "seed=3"]], 0)
    again = call(tmp_path, "-m", "seed=1,2,3")
    assert (started(again), again.returncode) == ([], 0)

    resumed = call(tmp_path, str(sweep_dir), "sweep.at_once=2", entry="mmexp.resume", function="resume")
    assert "at once 2" in resumed.stdout
    assert (started(resumed), resumed.returncode) == ([["seed=13"]], 1)
    refused = call(tmp_path, str(sweep_dir), "seed=4", entry="mmexp.resume", function="resume")
    assert refused.returncode == 2
    assert "seed=4 cannot change while a run is continued" in refused.stderr


def test_a_sweep_of_the_configs_runs_by_its_name_alone(tmp_path):
    called = call(tmp_path, "+sweep=vdr_tiny_grid")
    assert called.returncode == 0, called.stderr
    [labels] = started(called)
    assert len(labels) == 12
    assert labels[0] == "bs=16__px=12288__neg=1"
    assert statuses(tmp_path / "multirun" / "vdr_tiny" / "vdr_tiny_grid") == ["finished"] * 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.max_pixls=1,2"], "mmexp: model.max_pixls is no key of the config. Did you mean 'max_pixels'?"),
        (["seed=1,2", "data.num_negatives=0,-1"], "mmexp: data.num_negatives=-1 is below 0."),
    ],
)
def test_what_cannot_be_is_refused_before_any_member_starts(tmp_path, arguments, message):
    called = call(tmp_path, "-m", *arguments)
    assert called.returncode == 2
    assert message in called.stderr
    assert len(called.stderr.strip().splitlines()) == 1
    assert started(called) == []
    assert not list(tmp_path.rglob("*.yaml"))


def test_two_parents_on_one_folder_are_refused_by_name(tmp_path):
    sweep_dir = tmp_path / "multirun" / "vdr_tiny" / "sweep"
    sweep_dir.mkdir(parents=True)
    held = FolderLock(sweep_dir)
    called = call(tmp_path, "-m", "seed=1,2")
    held.release()
    assert called.returncode == 2
    assert re.search(rf"mmexp: the sweep in .* is run by \w+ on .*, process {os.getpid()}, since", called.stderr)


def test_optuna_gets_the_primary_metric_and_survives_members_that_fail(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    optuna = ["-m", "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=2", "seed=13,1,7,2"]
    refused = call(tmp_path, *optuna)
    assert refused.returncode == 2
    assert "Use hydra.sweeper.direction=maximize" in refused.stderr
    optuna.append("hydra.sweeper.direction=maximize")
    refused = call(tmp_path, *optuna, "launch=slurm")
    assert "Use launch.wait=true" in refused.stderr
    assert not list(tmp_path.rglob("*.yaml"))  # before anything is submitted
    called = call(tmp_path, *optuna)
    batches = started(called)
    assert len(batches) == 2
    if batches[-1][-1] == "seed=13":  # a grid is in any order, and where its last fails, Optuna's sweeper itself does
        assert "RuntimeError: `Study.stop` is supposed to be" in called.stderr
    else:
        assert "Best parameters: {'seed': 7}" in called.stdout, called.stderr
        assert "Best value: 0.07" in called.stdout
    assert called.returncode == 1  # seed 13 has failed
    assert sorted(statuses(tmp_path / "multirun" / "vdr_tiny" / "sweep")) == ["diverged", *["finished"] * 3]
