"""Sweeps of evaluations: two checkpoints in the Hub's layout, and what later sweeps and runs find of them."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import pytest
import torch

from mmexp.__main__ import main
from mmexp.evaluation.encode import Encoder
from mmexp.launchers import Launcher
from mmexp.run import run
from mmexp.sweep.folder import INDEX
from mmexp.sweep.table import print_table
from tests.models.tiny_checkpoints import clip, qwen3_vl
from tests.test_run import BARE, run_in


def run_here(launcher, members, at_once, queued) -> None:
    """In place of a process for each member."""
    for member in members:
        run(member)


@pytest.fixture(scope="module")
def leaderboard(tmp_path_factory):
    """The same two models in two sweeps and a single run; how often each of these encoded."""
    folder = tmp_path_factory.mktemp("leaderboard")
    torch.manual_seed(1)
    for make in (qwen3_vl, clip):
        make(folder / make.__name__)
    data = ["data=made_up_pages", "data.num_train_pages=20", "data.num_eval_pages=15"]
    common = ["+experiment=vdr_2b", "task=evaluate", "model=hub", "dims=none", *data, *BARE]
    checkpoints = [f"model.checkpoint={folder / name}" for name in ("qwen3_vl", "clip")]
    both = f"{checkpoints[0]},{folder / 'clip'}"
    encodings: list[int] = []
    calls: list[None] = []
    encode = Encoder.encode
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Encoder, "encode", lambda *given: calls.append(None) or encode(*given))
        patched.setattr(Launcher, "launch_members", run_here)
        patched.setattr(sys, "argv", ["mmexp"])
        for name in ("first", "second"):
            main(["-m", *common, both, f"sweep.name={name}", f"output_root={folder}"])
            encodings.append(len(calls))
        single = run_in(folder, *common, checkpoints[0])
        encodings.append(len(calls))
    sweeps = [json.loads((folder / "vdr_2b" / name / INDEX).read_text())["members"] for name in ("first", "second")]
    return SimpleNamespace(
        folder=folder / "vdr_2b" / "first", first=sweeps[0], second=sweeps[1], single=single, encodings=encodings
    )


def test_each_model_is_encoded_once_whatever_asks_for_it(leaderboard):
    assert leaderboard.encodings == [2, 2, 2]
    assert [row["final"] for row in leaderboard.first] == [row["final"] for row in leaderboard.second]
    assert leaderboard.single["final"]["ndcg@10"] == leaderboard.first[0]["final"]


def test_what_was_found_says_nothing_of_the_speed(leaderboard):
    assert all(row["pages_per_second"] > 0 for row in leaderboard.first)
    assert [row["pages_per_second"] for row in leaderboard.second] == [None, None]
    assert (leaderboard.single["throughput"], leaderboard.single["peak_memory_bytes"]) == (None, None)


def test_a_leaderboard_has_the_best_model_first_with_its_size_and_speed(leaderboard, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    print_table(leaderboard.folder, leaderboard.first)
    shown = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines() if "│" in line]
    shown = [line for line in shown if line[0].isdigit()]
    best, other = sorted(leaderboard.first, key=lambda row: row["final"], reverse=True)
    assert best["final"] > other["final"]
    for place, (line, row) in enumerate(zip(shown, (best, other, best, other), strict=True)):
        assert line[0] == str(place % 2 + 1)
        assert line[1].endswith(os.path.basename(row["parameters"]["model.checkpoint"]))
    for line, row in zip(shown[:2], (best, other), strict=True):
        assert line[2] == f"{row['final']:.4f}"
    for line, row in zip(shown[2:], (best, other), strict=True):
        assert line[2:5] == [f"{row['num_parameters']:,}", "32", "128"]
        assert float(line[7].replace(",", "")) == pytest.approx(row["pages_per_second"], rel=0.01)
