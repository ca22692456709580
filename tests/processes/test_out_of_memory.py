"""A run that lacks memory halves the mini-batch, never the batch, and goes on from its newest checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmexp.composition import Composition, freeze
from mmexp.losses.mnrl import CachedMnrl
from mmexp.processes.out_of_memory import MAX_HALVINGS, with_half_the_mini_batch
from mmexp.resume import resume
from tests.test_run import SMALL, experiment_of, losses_of

RUN = [
    "+experiment=vdr_tiny",
    *SMALL,
    "dims=none",
    "data.num_train_pages=40",
    "data.num_eval_pages=10",
    "trainer.per_device_train_batch_size=8",
    "trainer.max_steps=4",
    "trainer.logging_steps=1",
    "trainer.eval_strategy=no",
    "trainer.save_strategy=steps",
    "trainer.save_steps=1",
]


def composition_of(folder: Path, *overrides: str) -> Composition:
    (folder / "run").mkdir(parents=True)
    return freeze(experiment_of(folder, *RUN, *overrides), folder / "run", [])


def result_of(composition: Composition) -> dict[str, Any]:
    return json.loads((composition.run_dir / "result.json").read_text())


@pytest.fixture
def limited(monkeypatch):
    """Memory for mini-batches of 1,024 tokens, from the third step on."""
    build, steps = CachedMnrl.build, []

    def build_limited(self: CachedMnrl, model: Any) -> torch.nn.Module:
        loss = build(self, model)
        forward = loss.forward

        def forward_within_memory(*args: Any, **options: Any) -> torch.Tensor:
            steps.append(self.mini_batch_num_tokens)
            if len(steps) > 2 and self.mini_batch_num_tokens > 1024:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return forward(*args, **options)

        loss.forward = forward_within_memory
        return loss

    monkeypatch.setattr(CachedMnrl, "build", build_limited)
    return steps


def test_a_run_that_lacks_memory_goes_on_and_equals_one_that_does_not(limited, tmp_path):
    composition = composition_of(tmp_path / "limited")
    metric = composition.experiment.launch.launch(composition)
    assert limited == [4096, 4096, 4096, 2048, 1024, 1024]  # the third step fails twice, and none is made twice
    result = result_of(composition)
    assert result["status"] == "finished"
    assert result["halvings"] == [
        {"key": "mini_batch_num_tokens", "before": 4096, "after": 2048},
        {"key": "mini_batch_num_tokens", "before": 2048, "after": 1024},
    ]
    assert "mini_batch_num_tokens: 1024" in (composition.run_dir / "config.yaml").read_text()
    assert [step for step, _ in losses_of(composition.run_dir)] == [1, 2, 3, 4]

    whole = composition_of(tmp_path / "whole", "loss.mini_batch_num_tokens=1024")
    assert metric == pytest.approx(whole.experiment.launch.launch(whole), abs=1e-6)
    assert result_of(whole)["halvings"] == []


def ended_with(composition: Composition, error: str, seconds: dict[str, float]) -> Composition | None:
    error_of_it = {"type": error, "message": ""}
    result = {"status": "failed", "error": error_of_it, "seconds": seconds, "halvings": composition.halvings}
    (composition.run_dir / "result.json").write_text(json.dumps(result))
    return with_half_the_mini_batch(composition)


def test_halving_has_an_end(tmp_path):
    composition = composition_of(tmp_path, "loss.mini_batch_size=64")
    sizes = []
    while (smaller := ended_with(composition, "OutOfMemoryError", {"train": 1.0})) is not None:
        composition = smaller
        sizes.append(composition.experiment.loss.mini_batch_size)
    assert sizes == [32, 16, 8, 4, 2]
    assert len(sizes) == MAX_HALVINGS


def test_an_error_is_answered_once_and_a_look_or_a_refusal_changes_nothing(tmp_path, monkeypatch):
    """A Slurm job halves before it is requeued, which the cluster may not do."""
    composition = composition_of(tmp_path)
    smaller = ended_with(composition, "OutOfMemoryError", {"train": 1.0})
    assert with_half_the_mini_batch(smaller) is None
    before = contents(composition.run_dir)
    elsewhere = ["launch=accelerate", "launch.num_processes=1"]
    monkeypatch.setattr("sys.argv", ["resume", str(composition.run_dir), *elsewhere, "launch.dry_run=true"])
    resume()
    assert contents(composition.run_dir) == before
    result = {"status": "finished", "primary_metric": "ndcg@10", "final": {"ndcg@10": 0.5}}
    (composition.run_dir / "result.json").write_text(json.dumps(result))
    before = contents(composition.run_dir)
    monkeypatch.setattr("sys.argv", ["resume", str(composition.run_dir), *elsewhere])
    with pytest.raises(SystemExit, match="there is nothing to continue"):
        resume()
    assert contents(composition.run_dir) == before


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir() if file.name != "mmexp.log"}


@pytest.mark.parametrize(
    ("error", "seconds", "overrides"),
    [
        ("RuntimeError", {"train": 1.0}, []),
        ("OutOfMemoryError", {"setup": 1.0, "baseline": 1.0}, []),  # no mini-batch plays a part in it
        ("OutOfMemoryError", {"train": 1.0}, ["loss=mnrl"]),
        ("OutOfMemoryError", {"train": 1.0}, ["loss.mini_batch_num_tokens=200"]),
        ("OutOfMemoryError", {"train": 1.0}, ["loss.mini_batch_size=1"]),
    ],
)
def test_nothing_is_halved_that_would_not_help(tmp_path, error, seconds, overrides):
    assert ended_with(composition_of(tmp_path, *overrides), error, seconds) is None
