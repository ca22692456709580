"""What each engine holds and sends, computed by hand; settings that contradict each other."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from mmexp.__main__ import CONF
from mmexp.composition import freeze, thaw
from mmexp.mine.settings import MiningExperiment
from mmexp.plan.communication import sent_bytes
from mmexp.plan.cost import Work, grams_per_kwh, stated_seconds
from mmexp.plan.memory import BUCKET, MAX_LIVE, Weights, held
from mmexp.plan.planning import planned
from mmexp.plan.schedule import times
from mmexp.plan.settings import Plan
from mmexp.plan.step import TracedStep
from mmexp.schema import ConfigError
from mmexp.typed_config import register, to_experiment
from tests.test_run import experiment_of

MILLION = 10**6
# A thousand million weights in bfloat16, of which 900 million train, with AdamW's two states; 10 layers of 80 million.
WEIGHTS = Weights(
    count=1000 * MILLION,
    trainable=900 * MILLION,
    num_bytes=2000 * MILLION,
    trainable_bytes=1800 * MILLION,
    saved_bytes=2000 * MILLION,
    adapter_bytes=0,
    largest_layer=80 * MILLION,
    beside_layers=200 * MILLION,
)
STEP = TracedStep(
    peak=7000 * MILLION,
    working={"inputs": 10 * MILLION, "activations": 1000 * MILLION, "loss": 1 * MILLION},
    weights=2000 * MILLION,
    gradients=1800 * MILLION,
    optimizer=3600 * MILLION,
    flops=8 * 10**12,
    forward_flops=2 * 10**12,
    recomputed=0.75,
    tokens=40_000,
    tokens_per_column=[20.0, 300.0, 300.0],
    num_mini_batches=12,
    rows=64,
    traced_rows=64,
    gathered_bytes=80 * MILLION,
)
# (weights, gradients, optimizer, buffers) in millions of bytes, on 4 processes that compute in bfloat16. ZeRO keeps
# 2 bytes of every weight, 2 of every gradient, and 12 for the optimizer: float32 weights and AdamW's two states.
BY_ENGINE = {
    "ddp": (2000, 1800, 3600, 1800),
    "zero1": (2000, 1800, 12 * 900 / 4, 2 * BUCKET / MILLION),
    "zero2": (2000, 1800 / 4, 12 * 900 / 4, 2 * BUCKET / MILLION),
    "zero3": (2000 / 4, 1800 / 4, 12 * 900 / 4, 2 * BUCKET / MILLION + 2 * min(1000, MAX_LIVE / MILLION)),
    # Weights that train are in float32: 4 bytes of 900 million, and 2 of the others.
    "fsdp2": ((3600 + 200) / 4, 3600 / 4, 7200 / 4, 2 * (200 + 3 * 80)),
}


@pytest.mark.parametrize("engine", BY_ENGINE)
def test_memory_by_engine_is_that_computed_by_hand(engine):
    found = held(STEP, WEIGHTS, engine, processes=4, half=True, offload=False)
    in_millions = [n / MILLION for n in (found.weights, found.gradients, found.optimizer, found.buffers)]
    assert in_millions == pytest.approx(BY_ENGINE[engine])
    assert found.offloaded == 0
    working = 1011 * MILLION
    expected = 7000 * MILLION + 1800 * MILLION if engine == "ddp" else sum(BY_ENGINE[engine]) * MILLION + working
    assert found.peak == pytest.approx(expected)


@pytest.mark.parametrize(("engine", "moved"), [("zero2", 2700), ("zero3", 500 + 2700), ("fsdp2", 950 + 900 + 1800)])
def test_offloading_moves_what_the_engine_splits_into_the_nodes_memory(engine, moved):
    on_gpu = held(STEP, WEIGHTS, engine, processes=4, half=True, offload=False)
    offloaded = held(STEP, WEIGHTS, engine, processes=4, half=True, offload=True)
    assert offloaded.offloaded == pytest.approx(moved * MILLION)
    assert on_gpu.peak - offloaded.peak == pytest.approx(moved * MILLION)


def test_one_process_holds_what_was_traced():
    found = held(STEP, WEIGHTS, None, processes=1, half=True, offload=False)
    assert found.peak == STEP.peak
    assert found.buffers == 0


def test_what_is_sent_is_that_of_the_page_on_paper():
    """64 processes, 4.2 GB of gradients; ZeRO-3 gathers the weights for every one of 12 mini-batches three times."""
    weights = Weights(2100 * MILLION, 2100 * MILLION, 4200 * MILLION, 4200 * MILLION, 4200 * MILLION, 0, 0, 0)
    whole = TracedStep(**{**vars(STEP), "recomputed": 1.0})
    sent = {
        engine: sent_bytes(whole, weights, engine, 64, True, 1)
        for engine in ("ddp", "zero1", "zero2", "zero3", "fsdp2")
    }
    assert sent["ddp"]["gradients"] == pytest.approx(8.3e9, rel=0.01)
    for engine in ("zero1", "zero2"):
        assert sent[engine]["gradients"] + sent[engine]["weights"] == pytest.approx(8.3e9, rel=0.01)
    for engine in ("zero3", "fsdp2"):
        assert sent[engine]["gradients"] == pytest.approx(4.1e9, rel=0.01)
        assert sent[engine]["weights"] == pytest.approx(12 * 3 * 4.1e9, rel=0.01)
    assert set(sent_bytes(STEP, weights, None, 1, True, 1).values()) == {0}


@pytest.mark.parametrize(
    ("strategy", "steps", "every", "per_epoch", "expected"),
    [("steps", 10, 4, 5, 3), ("steps", 8, 4, 5, 2), ("epoch", 10, 4, 5, 2), ("epoch", 11, 4, 5, 3), ("no", 9, 4, 5, 0)],
)
def test_what_is_due_every_so_often_is_due_at_the_end_too(strategy, steps, every, per_epoch, expected):
    assert times(strategy, steps, every, per_epoch) == expected


def test_a_plan_needs_no_grid_for_its_co2_is_then_unknown_and_a_training_needs_one(tmp_path):
    measures = ["tracking.codecarbon=true", "tracking.grid=null"]
    tracking = experiment_of(tmp_path, "task=plan", *measures).tracking
    assert grams_per_kwh(tracking) is None
    for overrides in (measures, ["task=plan", "tracking.codecarbon=true", "tracking.grid=Spain"]):
        with pytest.raises(ConfigError, match=r"tracking\.grid"):
            experiment_of(tmp_path, *overrides)


def test_mining_is_not_planned():
    register(MiningExperiment)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("mine", overrides=["+experiment=vdr_tiny", "task=plan"])
    with pytest.raises(ConfigError, match="task=plan plans a training, and mining trains nothing"):
        to_experiment(config)


def test_time_is_rows_over_rows_per_second_or_operations_over_those_of_all_processes():
    work = Work(1000, None, 8 * 10**15, 2, None, None, processes=4)
    assert stated_seconds(work, Plan(samples_per_second=50)) == 20
    assert stated_seconds(work, Plan(tflops=10, mfu=0.5)) == pytest.approx(8e15 / (10e12 * 0.5 * 4))
    assert stated_seconds(work, Plan()) is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["plan.tflops=9", "plan.samples_per_second=3"], "Give one of them"),
        (["plan.mfu=1.5", "plan.tflops=9"], "plan.mfu=0.4"),
        (["plan.num_rows=0"], "not above 0"),
        (
            ["+experiment=two_stage_tiny", "model.checkpoint=a", "two_stage.reranker.checkpoint=b"],
            "task=plan cannot be",
        ),
        (["loss=cosent"], "data.label_column"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(overrides, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        experiment_of(tmp_path, "task=plan", *overrides)


def test_a_plan_like_no_training_is_refused_and_a_training_does_not_care(tmp_path):
    experiment = experiment_of(tmp_path, "tracking=none", "plan.like=nowhere")
    with pytest.raises(ConfigError, match="no folder of a finished training"):
        planned(experiment)
    freeze(experiment, tmp_path, [])
    assert thaw(tmp_path).experiment == experiment
