"""A small sweep for real, its members in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from mmexp.sweep.folder import INDEX
from tests.test_run import environment, rows_of, tiny_command


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    short = ["trainer.max_steps=2", "trainer.eval_strategy=no", "trainer.save_strategy=no"]
    return subprocess.run(
        tiny_command(folder, "-m", *short, *overrides),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of which one member fails, side by side, and a larger one over it, one after another."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep_dir = folder / "vdr_tiny" / "sweep"
    at_once = min(2, len(os.sched_getaffinity(0)))
    first = sweep(folder, "data.num_negatives=0,9", f"sweep.at_once={at_once}")
    [finished] = sweep_dir.glob("neg=0-*")
    before = {file: file.stat().st_mtime_ns for file in finished.rglob("*") if file.name != "output.log"}
    larger = sweep(folder, "data.num_negatives=0,9,1")
    return sweep_dir, first, larger, before


def test_a_member_that_fails_is_named_with_its_error_and_the_others_finish(swept):
    sweep_dir, first, _, _ = swept
    assert first.returncode == 1
    assert "data.num_negatives=9 is more than the data has" in first.stderr
    assert "neg=9-" in first.stderr
    [failed], [finished] = sweep_dir.glob("neg=9-*"), sweep_dir.glob("neg=0-*")
    assert json.loads((failed / "result.json").read_text())["error"]["type"] == "ConfigError"
    assert json.loads((finished / "result.json").read_text())["status"] == "finished"
    if len(os.sched_getaffinity(0)) > 1:
        assert "trainable parameters" in (finished / "output.log").read_text()
        assert "trainable parameters" not in first.stdout


def test_a_larger_grid_tries_what_failed_again_and_leaves_what_finished_alone(swept):
    sweep_dir, _, larger, before = swept
    assert larger.returncode == 1
    assert before == {file: file.stat().st_mtime_ns for file in before}
    assert len(before) > 10
    assert len(list(sweep_dir.glob("neg=*"))) == 3
    assert "trainable parameters" in larger.stdout  # one at a time has the terminal
    rows = {
        row["parameters"]["data.num_negatives"]: row for row in json.loads((sweep_dir / INDEX).read_text())["members"]
    }
    assert {key: row["status"] for key, row in rows.items()} == {0: "finished", 9: "failed", 1: "finished"}
    [result] = [json.loads(file.read_text()) for file in sweep_dir.glob("neg=1-*/result.json")]
    assert rows[1]["final"] == result["final"]["ndcg@10"]
    assert rows_of(sweep_dir / rows[1]["folder"])[-1]["metrics"]["final/ndcg@10"] == rows[1]["final"]
