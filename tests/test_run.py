"""Whole runs: parity with the plain script, every experiment, resuming, and what a run leaves however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from mmexp.__main__ import CONF
from mmexp.compare.comparison import compare
from mmexp.compare.runs import find_runs
from mmexp.composition import freeze, thaw
from mmexp.evaluation.encode import Diverged
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.recording.upload import upload
from mmexp.run import run
from mmexp.schema import ConfigError
from mmexp.typed_config import register, to_experiment
from tests.conftest import page, vdr_columns_rows, write_config, write_readme

SMALL = [
    "model.hidden_size=32",
    "model.num_layers=1",
    "model.vision_hidden_size=32",
    "model.vision_num_layers=2",
    "trainer.dataloader_num_workers=1",
    "tracking=none",
    "tracking.grid=null",
]


def experiment_of(output_root: Path, *overrides: str):
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_experiment(compose("config", overrides=[*overrides, f"output_root={output_root}"]))


def run_in(folder: Path, *overrides: str) -> dict:
    """Run in this process; return result.json."""
    experiment = experiment_of(folder, *overrides)
    run_dir = folder / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    run(freeze(experiment, run_dir, list(overrides)))
    return json.loads((run_dir / "result.json").read_text())


def continue_in(folder: Path) -> dict:
    """Continue in this process what `run_in` began; return result.json."""
    run(thaw(folder / "run"))
    return json.loads((folder / "run" / "result.json").read_text())


def evaluated_again(folder: Path, run_dir: Path, overrides: list[str]) -> dict:
    """result.json of evaluating the model that a run has saved, loaded from its folder."""
    return run_in(
        folder,
        *(override for override in overrides if not override.startswith(("model.", "trainer."))),
        "task=evaluate",
        "model=hub",
        f"model.checkpoint={run_dir / 'model'}",
        "trainer.bf16=false",
    )


def rows_of(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def losses_of(run_dir: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["metrics"]["train/loss"]) for row in rows_of(run_dir) if "train/loss" in row["metrics"]]


def assert_losses_equal(run_dir: Path, expected: list[tuple[int, float]], num_logged: int) -> None:
    """The same steps were logged, at least so many, and every loss is equal to 1e-5."""
    found = losses_of(run_dir)
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert len(found) >= num_logged
    for (step, ours), (_, theirs) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5), f"step {step}"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2), folder)
    return folder


@pytest.fixture(scope="module")
def parity_data(tmp_path_factory) -> Path:
    """Rows that share no page: the published evaluation and ours have the same corpus then."""
    from datasets import Image as ImageFeature
    from datasets import Value

    folder = tmp_path_factory.mktemp("parity")
    features = {"query": Value("string"), "image": ImageFeature()}
    features |= {f"negative_{n}": ImageFeature() for n in range(4)}
    for config, num_rows, first in (("train", 24, 0), ("eval", 5, 5000)):
        write_config(folder, config, vdr_columns_rows(num_rows, 4, first), features)
    write_readme(folder, ["train", "eval"])
    return folder


# 4096 tokens hold a whole batch, which ours embeds once and the plain script twice.
@pytest.mark.parametrize(
    "mini_batch", [{"mini_batch_size": 1}, {"mini_batch_num_tokens": 150}, {"mini_batch_num_tokens": 4096}]
)
def test_losses_and_ndcg_equal_those_of_the_plain_script(checkpoint, parity_data, tmp_path, mini_batch):
    from tests.reference_vdr import reference_run

    arguments = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "warmup_steps": 0.1,
        "logging_steps": 1,
        "seed": 5,
    }
    dims = [32, 16, 8]
    expected = reference_run(checkpoint, parity_data, tmp_path / "reference", dims, mini_batch, **arguments)

    trainer = [f"++trainer.{key}={value}" for key, value in arguments.items() if key != "seed"]
    result = run_in(
        tmp_path,
        "+experiment=vdr_2b",
        "model=hub",
        f"model.checkpoint={checkpoint}",
        "model.min_pixels=1024",
        f"model.max_pixels={128 * 160}",
        f"data.path={parity_data}",
        "dims=none",
        f"dims.matryoshka_dims={dims}",
        "seed=5",
        "trainer.bf16=false",
        "trainer.eval_strategy=no",
        "trainer.save_strategy=no",
        "tracking=none",
        *[f"loss.{key}={value}" for key, value in mini_batch.items()],
        *trainer,
    )
    assert_losses_equal(tmp_path / "run", expected.losses, num_logged=6)
    for dim in dims:
        assert result["by_dim"][str(dim)]["baseline"]["ndcg@10"] == pytest.approx(expected.baseline[dim], abs=1e-6)
        assert result["by_dim"][str(dim)]["final"]["ndcg@10"] == pytest.approx(expected.final[dim], abs=1e-6)
    assert expected.final != expected.baseline  # training moved something, or the claim is empty


STAND_INS = {
    "vdr_2b": ("vdr_columns", ["dims=halves"]),
    "vdr_2b_full": ("vdr_columns", ["dims=halves"]),
    "vdr_2b_multivector": ("vdr_columns", []),
    "vdr_8b": ("vdr_columns", ["dims=halves"]),
    "vdr_from_vlm": ("vdr_columns", ["dims=halves"]),
    "vdr_multilingual": ("vdr_ids", ["dims=halves", "data.languages=[en,de]", "data.num_eval_queries=4"]),
    "vdr_folder": ("page_folder", []),
    "vdr_tiny": (None, ["dims=halves", "data.num_train_pages=40", "data.num_eval_pages=10"]),
    "vdr_reranker_2b": ("vdr_columns", []),
    "doodles_any_to_any": ("doodles", []),
    "doodles_feature_extraction": ("doodles", []),
    "multivector_tiny": (None, ["data.num_train_pages=40", "data.num_eval_pages=10"]),
    "second_stage_tiny": (None, ["data.num_train_pages=40", "data.num_eval_pages=10"]),
    "reranker_tiny": (None, ["data.num_train_pages=40", "data.num_eval_pages=10"]),
}
# Neither evaluations nor checkpoints in training, no record beyond the run folder, any CPU.
BARE = [
    "trainer.dataloader_num_workers=1",
    "trainer.eval_strategy=no",
    "trainer.save_strategy=no",
    "trainer.bf16=false",
    "tracking=none",
    "tracking.grid=null",
]
QUICK = [
    "trainer.per_device_train_batch_size=4",
    "trainer.max_steps=2",
    "trainer.eval_steps=1",
    "trainer.save_steps=1",
    "trainer.logging_steps=1",
]


def test_every_experiment_that_trains_has_a_stand_in():
    evaluated_only = {"two_stage", "two_stage_tiny"}  # tests/evaluation/test_two_stage.py
    assert set(STAND_INS) | evaluated_only == {path.stem for path in (CONF / "experiment").glob("*.yaml")}


@pytest.mark.parametrize("name", STAND_INS)
def test_every_experiment_runs_on_a_stand_in_in_the_hubs_layout(name, tmp_path, request):
    data, overrides = STAND_INS[name]
    if data is not None:
        overrides = [*overrides, f"data.path={request.getfixturevalue(data)}"]
    result = run_in(tmp_path, f"+experiment={name}", "model=tiny_vlm", *SMALL, *QUICK, *overrides)
    assert result["status"] == "finished"
    assert result["experiment"] == name
    assert result["num_documents"] >= result["num_queries"] >= 4
    run_dir = tmp_path / "run"
    assert losses_of(run_dir)[-1][0] == 2
    [row] = compare(find_runs([run_dir])).rows
    assert row.estimate.mean == pytest.approx(result["final"]["ndcg@10"])
    assert row.to_baseline.delta == pytest.approx(result["delta"])
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer

    if "by_direction" in result:
        assert CrossEncoder(str(run_dir / "model")).predict([("a question", page(1))]).shape == (1,)
    elif "MultiVectorMask" in result["model"]["modules"]:
        assert MultiVectorEncoder(str(run_dir / "model")).encode("a question").shape[1] == 128
    else:
        assert SentenceTransformer(str(run_dir / "model")).encode(["a question"]).shape == (1, 32)


def test_a_fresh_vlm_becomes_an_embedding_model(checkpoint, vdr_columns, tmp_path):
    for name in ("modules.json", "sentence_bert_config.json"):
        (checkpoint / name).rename(tmp_path / name)
    try:
        result = run_in(
            tmp_path,
            "+experiment=vdr_from_vlm",
            f"model.checkpoint={checkpoint}",
            "model.dtype=float32",
            "trainer.bf16=false",
            "tracking=none",
            "dims=halves",
            f"data.path={vdr_columns}",
            *QUICK,
        )
    finally:
        for name in ("modules.json", "sentence_bert_config.json"):
            (tmp_path / name).rename(checkpoint / name)
    assert result["model"]["modules"] == ["Transformer", "Pooling(lasttoken)", "Normalize"]


def test_what_a_run_leaves(vdr_columns, tmp_path):
    result = run_in(
        tmp_path,
        "+experiment=vdr_2b",
        "model=tiny_vlm",
        *SMALL,
        *QUICK,
        "dims=none",
        "dims.matryoshka_dims=[32,16]",
        "dims.truncate_dim=16",
        f"data.path={vdr_columns}",
    )
    run_dir = tmp_path / "run"
    for name in ("config.yaml", "composition.yaml", "environment.json", "metrics.jsonl", "ndcg_by_dimension.png"):
        assert (run_dir / name).stat().st_size > 0, name
    assert result["primary_metric"] == "ndcg@10"
    assert set(result["by_dim"]) == {"32", "16"}
    assert result["by_dim"]["32"]["final"] == result["final"]
    assert result["by_dim"]["32"]["baseline"] == result["baseline"]
    assert (result["num_queries"], result["num_documents"]) == (6, 30)
    assert set(result["seconds"]) >= {"baseline", "train", "evaluation"}
    assert result["throughput"]["pages_per_second"] > 0
    assert result["throughput"]["tokens_per_second"] > result["throughput"]["pages_per_second"]
    assert result["peak_memory_bytes"] > 1e8
    assert result["skipped_pages"] == []
    assert result["model"]["embedding_dimension"] == 32

    from pyarrow import parquet

    for stage in ("baseline", "final"):
        table = parquet.read_table(run_dir / "per_query" / f"{stage}.parquet").to_pylist()
        assert len(table) == 6 * 2
        for dim in ("32", "16"):
            values = [row["ndcg@10"] for row in table if row["dim"] == int(dim)]
            assert sum(values) / 6 == pytest.approx(result["by_dim"][dim][stage]["ndcg@10"])
        assert all(len(row["top"]) == 10 and row["top_scores"] == sorted(row["top_scores"])[::-1] for row in table)
        assert all([row["attribute/document"]] == row["relevant"] for row in table)

    from sentence_transformers import SentenceTransformer

    assert SentenceTransformer(str(run_dir / "model")).encode(["x"]).shape == (1, 16)
    steps = [row["step"] for row in rows_of(run_dir) if "eval/ndcg@10" in row["metrics"]]
    assert steps == [0, 1, 2]


def test_evaluate_alone_gives_the_baseline_of_a_training_run(vdr_columns, tmp_path):
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, *QUICK, "dims=halves", f"data.path={vdr_columns}"]
    trained = run_in(tmp_path / "train", *common)
    evaluated = run_in(tmp_path / "evaluate", *common, "task=evaluate")
    assert evaluated["baseline"] is None
    assert evaluated["final"] == trained["baseline"]
    assert not (tmp_path / "evaluate" / "run" / "model").exists()


def test_members_of_a_sweep_share_one_baseline(vdr_columns, tmp_path, monkeypatch, caplog):
    from mmexp.evaluation.encode import Encoder

    calls = []
    encode = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda self, *rest: calls.append(rest[2]) or encode(self, *rest))
    common = [
        "+experiment=vdr_2b",
        "model=tiny_vlm",
        *SMALL,
        "dims=halves",
        f"data.path={vdr_columns}",
        "task=evaluate",
    ]
    first = run_in(tmp_path, *common)
    assert len(calls) == 1
    (tmp_path / "run").rename(tmp_path / "first")
    again = run_in(tmp_path, *common, "seed=7", "dims=none")
    assert len(calls) == 1
    assert again["final"] == first["final"]
    (tmp_path / "run").rename(tmp_path / "second")
    run_in(tmp_path, *common, "model.max_pixels=4096")
    assert len(calls) == 2


def stop_after(step: int):
    """A callback that interrupts the process as a user would, after a step."""
    from transformers.trainer_callback import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            if state.global_step == step:
                raise KeyboardInterrupt

    return Stop()


def test_interrupted_and_resumed_equals_uninterrupted_step_for_step(vdr_columns, tmp_path, monkeypatch):
    common = [
        "+experiment=vdr_2b",
        "model=tiny_vlm",
        *SMALL,
        "dims=halves",
        f"data.path={vdr_columns}",
        "trainer.per_device_train_batch_size=4",
        "trainer.num_train_epochs=2",
        "trainer.logging_steps=1",
        "trainer.eval_steps=4",
        "trainer.save_steps=4",
    ]
    whole = run_in(tmp_path / "whole", *common)

    with monkeypatch.context() as patched:
        patched.setattr("mmexp.training.fit.optional_callbacks", lambda experiment, folder: [stop_after(7)])
        with pytest.raises(KeyboardInterrupt):
            run_in(tmp_path / "parts", *common)
    interrupted = json.loads((tmp_path / "parts" / "run" / "result.json").read_text())
    assert interrupted["status"] == "preempted"
    resumed = continue_in(tmp_path / "parts")

    assert resumed["status"] == "finished"
    assert losses_of(tmp_path / "parts" / "run") == losses_of(tmp_path / "whole" / "run")
    assert [step for step, _ in losses_of(tmp_path / "parts" / "run")] == list(range(1, 13))
    assert resumed["final"] == whole["final"]
    assert resumed["seconds"]["train"] > interrupted["seconds"]["train"]
    signatures = [(row["step"], tuple(row["metrics"])) for row in rows_of(tmp_path / "parts" / "run")]
    assert len(signatures) == len(set(signatures))


def test_a_run_that_was_interrupted_after_its_last_step_makes_no_other(vdr_columns, tmp_path, monkeypatch):
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, *QUICK, "dims=halves", f"data.path={vdr_columns}"]
    common += ["best_checkpoint=true"]
    whole = run_in(tmp_path / "whole", *common)
    with monkeypatch.context() as patched:
        patched.setattr("mmexp.run.save_model", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_in(tmp_path / "parts", *common)
    resumed = continue_in(tmp_path / "parts")
    assert resumed["final"] == whole["final"]
    assert losses_of(tmp_path / "parts" / "run") == losses_of(tmp_path / "whole" / "run")
    assert [step for step, _ in losses_of(tmp_path / "parts" / "run")] == [1, 2]


def test_a_folder_that_holds_a_run_takes_no_other(vdr_columns, tmp_path):
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, *QUICK, "dims=halves", f"data.path={vdr_columns}"]
    run_in(tmp_path, *common)
    with pytest.raises(ConfigError, match=r"holds a run already\. Continue it with: python -m mmexp\.resume"):
        run_in(tmp_path, *common)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["dims.halvings=0", "dims.matryoshka_dims=[64,32]"],
            r"dims\.matryoshka_dims=64 is larger than the model's embedding",
        ),
        (["data.num_negatives=5"], r"data\.num_negatives=5 is more than the data has"),
        (
            ["trainer.per_device_train_batch_size=25"],
            r"per_device_train_batch_size=25 is larger than the training data",
        ),
        (["trainer.lerning_rate=1"], r"trainer\.lerning_rate is no training argument\. Did you mean 'learning_rate'"),
        (["trainer.seed=1"], r"trainer\.seed is set by mmexp\. Use seed instead"),
        (["trainer.bf16=true"], r"trainer\.bf16=true needs a GPU"),
        (["trainer.dataloader_num_workers=0"], r"would decode pages in the main process"),
        (["trainer.eval_strategy=sometimes"], r"trainer\.\* keys contradict"),
        (["best_checkpoint=true", "trainer.eval_strategy=no"], r"trainer\.eval_strategy is no\. Use trainer\.eval_"),
        (["trainer.lr=1"], r"trainer\.lr is no training argument\. Did you mean 'learning_rate'"),
        (["trainer.accelerator_config={split_batches: true}"], r"trainer\.accelerator_config\.split_batches is how"),
        (["trainer.accelerator_config=file.json"], r"names a file\. Give its keys"),
    ],
)
def test_what_cannot_be_is_refused_and_the_run_folder_says_so(vdr_columns, tmp_path, overrides, message):
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, "dims=halves", f"data.path={vdr_columns}"]
    common += ["trainer.per_device_train_batch_size=4"]
    with pytest.raises(ConfigError, match=message):
        run_in(tmp_path, *common, *overrides)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert result["error"]["type"] == "ConfigError"


@pytest.mark.parametrize("evaluates_first", [False, True])
def test_what_is_not_a_number_ends_the_run_as_diverged(vdr_columns, tmp_path, evaluates_first):
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, *QUICK, "dims=halves", f"data.path={vdr_columns}"]
    with pytest.raises(Diverged, match=r"[Ll]ower trainer\.learning_rate"):
        run_in(
            tmp_path,
            *common,
            "loss.scale=1e38",
            f"trainer.eval_strategy={'steps' if evaluates_first else 'no'}",
            "trainer.eval_steps=1",
            "trainer.logging_steps=2",
        )
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"


def test_a_full_disk_leaves_the_last_good_checkpoint(vdr_columns, tmp_path, monkeypatch):
    import torch

    save = torch.save

    def fail_on_second_checkpoint(content, file, *rest, **options):
        if "checkpoint-2" in str(file):
            raise OSError(28, "No space left on device")
        return save(content, file, *rest, **options)

    monkeypatch.setattr(torch, "save", fail_on_second_checkpoint)
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, *QUICK, "dims=halves", f"data.path={vdr_columns}"]
    with pytest.raises(ConfigError, match=r"is full: the model could not be saved.*python -m mmexp\.resume"):
        run_in(tmp_path, *common)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [path.name for path in checkpoints.glob("checkpoint-*")] == ["checkpoint-1"]
    monkeypatch.setattr(torch, "save", save)
    assert continue_in(tmp_path)["status"] == "finished"


def test_the_best_checkpoint_is_kept_when_asked_for(vdr_columns, tmp_path):
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, "dims=halves", f"data.path={vdr_columns}"]
    result = run_in(
        tmp_path,
        *common,
        "best_checkpoint=true",
        "trainer.per_device_train_batch_size=4",
        "trainer.num_train_epochs=1",
        "trainer.eval_steps=1",
        "trainer.save_steps=1",
        "trainer.learning_rate=0.03",
    )
    evaluated = [
        row["metrics"]["eval/ndcg@10"] for row in rows_of(tmp_path / "run") if "eval/ndcg@10" in row["metrics"]
    ]
    assert len(set(evaluated[1:])) > 1
    assert result["final"]["ndcg@10"] == pytest.approx(max(evaluated[1:]), abs=1e-9)


def test_early_stopping_ends_training_when_the_primary_metric_stops_rising(vdr_columns, tmp_path):
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, "dims=halves", f"data.path={vdr_columns}"]
    run_in(
        tmp_path,
        *common,
        "early_stopping_patience=1",
        "trainer.per_device_train_batch_size=4",
        "trainer.num_train_epochs=3",
        "trainer.eval_steps=1",
        "trainer.save_steps=1",
        "trainer.learning_rate=1e-12",
    )
    evaluated = [row["step"] for row in rows_of(tmp_path / "run") if "eval/ndcg@10" in row["metrics"]]
    assert evaluated == [0, 1, 2]  # nothing is learned: the second evaluation is no better than the first


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_page_that_turns_out_bad_in_a_worker_is_named_in_one_line(tmp_path, split):
    from datasets import Image as ImageFeature
    from datasets import Value

    folder = tmp_path / "data"
    features = {"query": Value("string"), "image": ImageFeature(), "negative_0": ImageFeature()}
    for config, first in (("train", 0), ("eval", 500)):
        rows = vdr_columns_rows(8, 1, first)
        if config == split:
            rows["negative_0"][3]["bytes"] = rows["negative_0"][3]["bytes"][:150]
        write_config(folder, config, rows, features)
    write_readme(folder, ["train", "eval"])
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, "dims=halves", f"data.path={folder}"]
    common += ["trainer.per_device_train_batch_size=4"]
    with pytest.raises(ConfigError, match=rf"page '{split}/3/negative_0' cannot be decoded") as raised:
        run_in(tmp_path, *common)
    assert "\n" not in str(raised.value)
    (tmp_path / "run").rename(tmp_path / "failed")
    skipped = run_in(tmp_path, *common, "data.on_bad_page=skip")
    assert skipped["skipped_pages"] == [f"{split}/3/negative_0"]


ROOT = Path(__file__).parents[1]


def command(folder: Path, *arguments: str, module: str = "mmexp") -> list[str]:
    return [sys.executable, "-m", module, *arguments, f"output_root={folder}"]


def tiny_command(folder: Path, *overrides: str) -> list[str]:
    data = ["data.num_train_pages=60", "data.num_eval_pages=20", "dims=halves"]
    return command(folder, "+experiment=vdr_tiny", *SMALL, *data, "trainer.per_device_train_batch_size=4", *overrides)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_run_that_was_killed_is_resumed_by_its_folder(tmp_path):
    child = subprocess.Popen(
        tiny_command(tmp_path, "trainer.eval_strategy=no", "trainer.save_steps=2", "trainer.max_steps=8"),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("vdr_tiny/*/checkpoints/checkpoint-2/trainer_state.json")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    [run_dir] = (tmp_path / "vdr_tiny").iterdir()
    assert not (run_dir / "result.json").exists()
    resume = [sys.executable, "-m", "mmexp.resume", str(run_dir)]
    subprocess.run(resume, cwd=tmp_path, env=environment(), check=True, timeout=300)
    assert json.loads((run_dir / "result.json").read_text())["status"] == "finished"
    steps = [step for step, _ in losses_of(run_dir)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 8
    assert list((tmp_path / "vdr_tiny").iterdir()) == [run_dir]


def test_an_upload_that_fails_is_a_warning(vdr_columns, tmp_path, caplog):
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, *QUICK, "dims=halves", f"data.path={vdr_columns}"]
    result = run_in(tmp_path, *common, "hub.model_id=me/nothing")
    assert result["status"] == "finished"
    upload(thaw(tmp_path / "run"))
    assert "hub.model_id=me/nothing: the model could not be pushed" in caplog.text
