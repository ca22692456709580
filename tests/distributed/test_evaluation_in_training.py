"""Evaluation in training, where an engine has wrapped or sharded the model."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.model_evaluator import no_phase
from mmexp.kinds import kind_of
from mmexp.models.facts import model_facts, weights_checksum
from mmexp.training.arguments import training_arguments
from mmexp.training.callbacks import EpochOfBatches, MeasureTogether
from mmexp.training.fit import build_trainer
from tests.distributed.engines import ENGINES
from tests.distributed.processes import run_ranks
from tests.test_run import SMALL, experiment_of

NUM_STEPS = 3
WRAPPED = {
    "ddp": ("MULTI_CPU", "DistributedDataParallel"),
    **dict.fromkeys(("zero1", "zero2", "zero3"), ("DEEPSPEED", "DeepSpeedEngine")),
    "fsdp2": ("FSDP", "FSDPSentenceTransformer"),
}
# Each layer's parameters are gathered by themselves.
LAYERS_OF_FSDP = {
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "Qwen3VLVisionBlock,Qwen3VLTextDecoderLayer",
}
TRAINING = [
    "loss=mnrl",
    "data.num_train_pages=50",
    "data.num_eval_pages=25",
    "data.num_negatives=0",
    "trainer.per_device_train_batch_size=4",
    f"trainer.max_steps={NUM_STEPS}",
    "trainer.warmup_steps=1",  # the first step moves nothing
    "trainer.learning_rate=1e-2",
    "trainer.eval_strategy=steps",
    "trainer.eval_steps=1",
    "trainer.save_strategy=no",
]


class Remember(TrainerCallback):
    """What the trainer was told at every evaluation, and a checksum of the weights then."""

    def __init__(self) -> None:
        self.told: list[dict[str, float]] = []
        self.checksums: list[str] = []

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        self.told.append(kwargs["metrics"])
        self.checksums.append(weights_checksum(kwargs["model"]))


def trained(folder: Path) -> dict[str, Any]:
    """What the evaluations before, in and after a training find."""
    multiprocessing.set_start_method("fork", force=True)
    os.environ.update(LAYERS_OF_FSDP)
    experiment = experiment_of(folder, *SMALL, *TRAINING)
    kind = kind_of(experiment)
    args = training_arguments(experiment, kind, folder)
    data = experiment.data.build()
    model = kind.build_model()
    evaluator = kind.build_evaluator(data.evaluation, model_facts(model), Encoder(1), no_phase)
    baseline = evaluator.flat(evaluator.evaluate(model))
    evaluator._last = None  # or the first evaluation in training, of the same weights, would not be computed
    remember = Remember()
    datasets = kind.training_data(kind.examples(data.train), model, Encoder(1), no_phase)
    callbacks = [EpochOfBatches(), MeasureTogether(evaluator), remember]
    trainer = build_trainer(kind, args, model, kind.build_loss(model), datasets, evaluator, callbacks)
    trainer.train()
    encoded: list[Any] = []
    evaluator.compute = lambda model: encoded.append(model)  # type: ignore[method-assign]
    found = {"baseline": baseline, "told": remember.told, "checksums": remember.checksums}
    found["final"] = evaluator.flat(evaluator.evaluate(model))
    return found | {
        "encoded for final": len(encoded),
        "engine": trainer.accelerator.distributed_type.value,
        "wrapper": type(trainer.model_wrapped).__name__,
    }


# The model is whole under ZeRO-1 and 2, as under DDP.
SLOW = ("zero1", "zero2")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in ENGINES]
)
def engine(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def ranks(engine, tmp_path_factory) -> list[dict[str, Any]]:
    return run_ranks(trained, 2, engine, folder=tmp_path_factory.mktemp(engine))


def test_the_engine_is_the_one_that_was_asked_for(ranks, engine):
    assert {(rank["engine"], rank["wrapper"]) for rank in ranks} == {WRAPPED[engine]}


def test_a_wrapped_or_sharded_model_is_measured_as_it_was_before(ranks):
    """The first step moves nothing; the others do, or the claim would be empty."""
    for rank in ranks:
        first, *later = ({key: told[f"eval_{key}"] for key in rank["baseline"]} for told in rank["told"])
        assert first == pytest.approx(rank["baseline"], abs=1e-6)
        assert len(later) == NUM_STEPS - 1
        assert later[-1] != pytest.approx(first, abs=1e-6)


def test_every_rank_is_told_the_same_at_every_evaluation(ranks):
    for first, other in zip(*(rank["told"] for rank in ranks), strict=True):
        assert {key: value for key, value in first.items() if "@" in key} == {
            key: value for key, value in other.items() if "@" in key
        }


def test_ranks_agree_on_weights_which_change_with_every_step(ranks):
    assert ranks[0]["checksums"] == ranks[1]["checksums"]
    assert len(set(ranks[0]["checksums"])) == NUM_STEPS


def test_the_final_evaluation_of_a_model_that_was_just_evaluated_costs_nothing(ranks):
    for rank in ranks:
        assert rank["encoded for final"] == 0
        assert rank["final"] == {key: rank["told"][-1][f"eval_{key}"] for key in rank["final"]}
