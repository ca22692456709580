"""Whole runs in two processes, under every engine: the losses and metrics of one process, saved and continued."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mmexp.composition import freeze, thaw
from mmexp.resume import launched_by
from mmexp.run import run
from tests.distributed.engines import ENGINES
from tests.distributed.processes import run_ranks
from tests.test_run import BARE, SMALL, evaluated_again, experiment_of, losses_of, stop_after

RUN = [
    "+experiment=vdr_tiny",
    *SMALL,
    "model.num_layers=2",  # as many as there are levels of the vision encoder's features, or some weights are not used
    *BARE,
    "dims=halves",
    "data.num_train_pages=40",
    "data.num_negatives=0",  # rows that share no page: the batches of one process divide by two
    "data.num_eval_pages=15",
    "trainer.max_steps=6",
    "trainer.logging_steps=1",
    "trainer.eval_strategy=steps",
    "trainer.eval_steps=3",
    "trainer.save_strategy=steps",
    "trainer.save_steps=2",
    "trainer.learning_rate=1e-3",
]


def slow_but(*quick: str) -> list[Any]:
    """All engines, of which the plain test command takes some."""
    return [pytest.param(engine, marks=[] if engine in quick else pytest.mark.slow) for engine in ENGINES]


def one_rank(run_dir: Path, stops_after: int | None) -> None:
    """Run, or continue, what is composed in `run_dir`."""
    callbacks = [] if stops_after is None else [stop_after(stops_after)]
    with (
        patch("mmexp.training.fit.optional_callbacks", lambda experiment, folder: callbacks),
        suppress(KeyboardInterrupt),
    ):
        run(thaw(run_dir))


def outcome(folder: Path) -> tuple[list[tuple[int, float]], dict[str, Any]]:
    run_dir = folder / "run"
    return losses_of(run_dir), json.loads((run_dir / "result.json").read_text())


def start(folder: Path, engine: str | None, num_processes: int = 2, stops_after: int | None = None) -> None:
    (folder / "run").mkdir(parents=True, exist_ok=True)
    rows = [f"trainer.per_device_train_batch_size={8 // num_processes}"]
    launch = ["launch=accelerate", f"launch/accelerate={engine}"] if engine else []
    if not (folder / "run" / "config.yaml").exists():
        freeze(experiment_of(folder, *RUN, *rows, *launch), folder / "run", [])
    run_ranks(one_rank, num_processes, engine, run_dir=folder / "run", stops_after=stops_after)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> tuple[list[tuple[int, float]], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("one")
    start(folder, None, 1)
    return outcome(folder)


@pytest.mark.parametrize("engine", slow_but("ddp", "zero3"))
def test_a_run_in_two_processes_is_that_of_one_and_loads_in_a_plain_process(engine, one_process, tmp_path):
    losses, result = one_process
    start(tmp_path, engine)
    found, of_two = outcome(tmp_path)
    assert [step for step, _ in found] == [1, 2, 3, 4, 5, 6]
    for (_, ours), (step, theirs) in zip(found, losses, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4), f"step {step}"
    for dim, metrics in result["by_dim"].items():
        assert of_two["by_dim"][dim]["baseline"] == pytest.approx(metrics["baseline"], abs=1e-6)
    assert of_two["final"] != of_two["baseline"]
    again = evaluated_again(tmp_path / "again", tmp_path / "run", RUN)
    assert again["final"]["ndcg@10"] == pytest.approx(of_two["final"]["ndcg@10"], abs=1e-6)


@pytest.mark.parametrize("engine", slow_but("zero2"))
def test_interrupted_and_continued_equals_uninterrupted(engine, tmp_path):
    start(tmp_path / "whole", engine)
    start(tmp_path / "parts", engine, stops_after=5)
    start(tmp_path / "parts", engine)
    (expected, whole), (found, parts) = outcome(tmp_path / "whole"), outcome(tmp_path / "parts")
    assert found == expected
    assert parts["num_resumes"] == 1
    assert parts["final"]["ndcg@10"] == pytest.approx(whole["final"]["ndcg@10"], abs=1e-6)


@pytest.mark.parametrize("engine", slow_but("fsdp2"))
def test_what_two_processes_began_one_continues_with_the_same_batches(engine, tmp_path):
    start(tmp_path, engine, stops_after=3)
    run_dir = tmp_path / "run"
    run(launched_by(thaw(run_dir), ["launch=in_process"]))
    losses, result = outcome(tmp_path)
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert result["status"] == "finished"
