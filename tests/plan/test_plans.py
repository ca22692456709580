"""Whole plans, against what a run of the same experiment does and leaves; of sweeps, and of a config alone."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmexp.__main__ import main
from mmexp.models.facts import ModelFacts
from mmexp.plan.cost import Measured
from mmexp.plan.planning import plan, planned
from mmexp.schema import ConfigError
from tests.plan.checkpoint_of_2b import write_config_of_2b, write_random_weights
from tests.plan.measured import measured_on_gpu
from tests.test_run import SMALL, experiment_of, run_in

RUN = [
    "+experiment=vdr_tiny",
    *SMALL[2:],
    "dims=halves",
    "data.num_train_pages=40",
    "data.num_eval_pages=10",
    "trainer.per_device_train_batch_size=8",
    "trainer.num_train_epochs=2",
    "trainer.eval_steps=4",
    "trainer.save_steps=4",
    "trainer.bf16=false",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, dict]:
    """The folder and result of a run."""
    folder = tmp_path_factory.mktemp("trained")
    return folder / "run", run_in(folder, *RUN)


@pytest.fixture(scope="module")
def plan_of_it(trained, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("plan")
    experiment = experiment_of(folder, *RUN, "task=plan", f"plan.like={trained[0]}", "tracking.grid=100")
    assert math.isnan(plan(experiment, folder, RUN))
    assert [path.name for path in folder.iterdir()] == ["plan.json"]  # nothing that could be continued or compared
    return json.loads((folder / "plan.json").read_text())


def test_steps_evaluations_and_checkpoints_are_those_of_the_run(trained, plan_of_it):
    run_dir, _ = trained
    state = max((run_dir / "checkpoints").glob("*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
    schedule = plan_of_it["schedule"]
    assert schedule["steps"] == json.loads(state.read_text())["max_steps"]
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert schedule["evaluations"] == sum("eval/ndcg@10" in row["metrics"] for row in rows)
    assert schedule["kept_checkpoints"] == len(list((run_dir / "checkpoints").glob("checkpoint-*")))
    assert schedule["rows"] == rows[-1]["totals"]["samples_seen"] == 80


def test_disk_is_within_a_few_percent_of_what_the_run_left(trained, plan_of_it):
    run_dir, _ = trained
    found = {name: size_of(run_dir / name) for name in ("checkpoints", "model")}
    assert {name: plan_of_it["disk"][name] for name in found} == pytest.approx(found, rel=0.06)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_the_model_and_its_parameters_are_those_of_the_run(trained, plan_of_it):
    _, result = trained
    assert plan_of_it["model"] == result["model"]
    assert plan_of_it["trainable_parameters"] == result["trainable_parameters"]
    assert plan_of_it["data"]["num_documents"] == result["num_documents"]


def test_time_is_as_measured_by_the_run_that_it_is_like(trained, plan_of_it):
    _, result = trained
    assert plan_of_it["cost"]["train_seconds"] == pytest.approx(
        80 / result["throughput"]["samples_per_second"], rel=0.1
    )
    evaluations = plan_of_it["schedule"]["evaluations"] - 1  # those that the run booked as such: its baseline is apart
    each = plan_of_it["cost"]["evaluation_seconds"] / plan_of_it["schedule"]["evaluations"]
    assert each * evaluations == pytest.approx(result["seconds"]["evaluation"], rel=0.01)
    assert {"cost.kwh", "cost.co2_kg"} <= set(plan_of_it["unknown"])  # the run measured no energy


def test_a_run_of_another_model_is_no_measure(trained):
    run_dir, result = trained
    with pytest.raises(ConfigError, match=r"has trained a model of .* and this one has 5:"):
        Measured(run_dir, ModelFacts(**{**result["model"], "parameters": 5}))


def test_a_sweep_is_summed_and_leaves_nothing_of_its_members(tmp_path, monkeypatch, capsys):
    asked = [
        *RUN,
        "task=plan",
        "loss=mnrl",
        "dims=none",
        "plan.samples_per_second=4",
        "plan.watts=100",
        "tracking.grid=500",
    ]
    monkeypatch.setattr(sys, "argv", ["mmexp"])
    main(["-m", *asked, "data.num_negatives=0,1", f"output_root={tmp_path}"])
    folder = tmp_path / "vdr_tiny" / "sweep"
    assert {path.name for path in folder.iterdir()} == {"plan.json", "multirun.yaml"}
    found = json.loads((folder / "plan.json").read_text())
    members = found["members"]
    assert [member["parameters"] for member in members] == [{"data.num_negatives": 0}, {"data.num_negatives": 1}]
    assert [member["schedule"]["pages"] for member in members] == [80, 160]
    assert found["sum"]["pages"] == 240
    assert found["sum"]["train_seconds"] == pytest.approx(2 * 80 / 4)
    assert found["sum"]["peak_memory_bytes"] == members[1]["peak_memory_bytes"] > members[0]["peak_memory_bytes"]
    seconds = found["sum"]["train_seconds"] + found["sum"]["evaluation_seconds"]
    assert found["sum"]["kwh"] == pytest.approx(seconds * 100 / 3.6e6)
    assert found["sum"]["co2_kg"] == pytest.approx(found["sum"]["kwh"] * 0.5)
    assert "sum" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tasks", "optimises", "words"),
    [(("plan", "train"), False, "Give task=plan alone"), (("plan",), True, r"Use hydra/sweeper=basic")],
)
def test_plans_are_not_swept_with_trainings_nor_chosen_by_what_they_came_to(tasks, optimises, words, tmp_path):
    from hydra_plugins.mmexp_launcher import MembersLauncher

    launcher = MembersLauncher()
    launcher._folder, launcher._path, launcher._optimises = None, tmp_path, optimises
    launcher._compose = lambda overrides: SimpleNamespace(experiment=SimpleNamespace(task=overrides[0]))
    with pytest.raises(ConfigError, match=words):
        launcher.launch([[task] for task in tasks], 0)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def config_alone(tmp_path_factory) -> Path:
    """A checkpoint of which there are no weights: one layer of the 2B's, and three of its tower."""
    return write_config_of_2b(tmp_path_factory.mktemp("config"), num_layers=1, vision_num_layers=3)


@pytest.fixture(scope="module")
def plans_of_config(config_alone, tmp_path_factory) -> dict[str, dict]:
    """Of the flagship with that checkpoint, alone and in 8 processes, without its data."""
    flagship = ["+experiment=vdr_2b", "task=plan", f"model.checkpoint={config_alone}", "tracking=none"]
    flagship += ["plan.num_rows=1000", "trainer.per_device_train_batch_size=4", "loss.mini_batch_num_tokens=8192"]
    ranks = ["launch=accelerate", "launch/accelerate=zero2", "launch.num_processes=8"]
    root = tmp_path_factory.mktemp("flagship")
    return {
        "alone": planned(experiment_of(root, *flagship)),
        "zero2": planned(experiment_of(root, *flagship, *ranks)),
    }


def test_a_config_without_weights_is_planned_on_a_gpu_that_is_not_there(plans_of_config):
    found = plans_of_config["alone"]
    assert found["launch"]["device"] == "cuda"
    # One of the 2B's 28 layers, embeddings and all: counted by hand.
    layer = 2048 * 128 * (16 + 8 + 8 + 16) + 3 * 2048 * 6144 + 2 * 2048 + 2 * 128
    assert sum(found["trainable_parameters"].values()) == found["model"]["parameters"]
    assert found["trainable_parameters"]["language"] == 151936 * 2048 + layer + 2048
    assert found["memory"]["weights"] == pytest.approx(2 * found["model"]["parameters"], rel=1e-3)
    assert found["memory"]["optimizer"] == pytest.approx(4 * found["model"]["parameters"], rel=1e-3)
    assert found["data"]["tokens_per_document"] > 300
    assert any(words.startswith("batches are full") for words in found["assumptions"])
    assert {"data.num_queries", "cost.train_seconds", "cost.evaluation_seconds"} <= set(found["unknown"])


def test_processes_share_the_steps_and_gather_each_others_embeddings(plans_of_config):
    alone, ranks = plans_of_config["alone"], plans_of_config["zero2"]
    assert (alone["schedule"]["steps"], ranks["schedule"]["steps"]) == (250, 32)
    assert alone["communication"]["embeddings"] == 0
    # Three columns of 8 times 4 rows, in float32, at each size that Matryoshka trains, there and back, without its own.
    numbers = 2048 + 1536 + 1024 + 512 + 256 + 128 + 64
    assert ranks["communication"]["embeddings"] == 7 / 8 * 2 * 3 * 8 * 4 * numbers * 4
    assert ranks["memory"]["optimizer"] == pytest.approx(12 * alone["model"]["parameters"] / 8, rel=1e-3)


def test_an_unreachable_checkpoint_is_named(tmp_path):
    experiment = experiment_of(tmp_path, "+experiment=vdr_2b", "task=plan", "plan.num_rows=100", "tracking=none")
    with pytest.raises(ConfigError, match=r"model\.checkpoint=Qwen/Qwen3-VL-Embedding-2B"):
        planned(experiment)


@pytest.mark.gpu
@pytest.mark.parametrize("overrides", [[], ["loss.mini_batch_num_tokens=1024"], ["adapter=lora"]])
def test_planned_memory_of_the_2b_is_within_a_fifth_of_what_the_gpu_measured(overrides, tmp_path):
    """With random weights, and made-up pages as large as real ones. Takes a GPU of 80 GB."""
    folder = write_config_of_2b(tmp_path / "2b", num_layers=28, vision_num_layers=24)
    write_random_weights(folder)
    pages = ["data=made_up_pages", "data.width=600", "data.height=600", "data.num_train_pages=200"]
    flagship = ["+experiment=vdr_2b", f"model.checkpoint={folder}", *pages, "data.num_eval_pages=5", "tracking=none"]
    quiet = ["trainer.max_steps=2", "trainer.eval_strategy=no", "trainer.save_strategy=no"]
    experiment = experiment_of(tmp_path, *flagship, *quiet, *overrides)
    assert planned(experiment)["peak_memory_bytes"] == pytest.approx(measured_on_gpu(experiment, tmp_path), rel=0.2)
