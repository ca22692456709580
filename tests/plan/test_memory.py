"""What a plan says of memory, against what the library's own training then allocates."""

from __future__ import annotations

import pytest

from mmexp.plan.planning import planned
from tests.plan.measured import measured_peak
from tests.test_run import BARE, SMALL, experiment_of

SETTINGS = {
    "larger_batch_of_more_pixels": ["loss=mnrl", "trainer.per_device_train_batch_size=5", "model.max_pixels=49152"],
    "gradient_checkpointing": ["loss=mnrl", "trainer.gradient_checkpointing=true", "model.num_layers=2"],
    "matryoshka_and_negatives": ["loss=mnrl", "dims=halves", "data.num_negatives=1"],
    "mini_batches": ["loss.mini_batch_num_tokens=64"],
    "gradcache": ["loss.mini_batch_num_tokens=64", "loss.recompute=gradcache"],
    "lora": ["loss=mnrl", "adapter=lora"],
    "frozen_vision_accumulation_and_sgd": [
        *("loss=mnrl", "freeze=[vision]", "trainer.gradient_accumulation_steps=2", "trainer.optim=sgd"),
    ],
    "reranker": ["+experiment=reranker_tiny"],
    "multi_vector": ["+experiment=multivector_tiny"],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_planned_memory_is_within_a_fifth_of_what_is_measured(name, tmp_path):
    overrides = SETTINGS[name]
    embedder = ["+experiment=vdr_tiny", "dims=none", "data.num_negatives=0"]
    chosen = [] if overrides[0].startswith("+experiment") else embedder
    small = ["data.num_train_pages=40", "data.num_eval_pages=5", "trainer.per_device_train_batch_size=3"]
    small = [*BARE, *SMALL, *small, "trainer.max_steps=2", "tracking=none"]
    experiment = experiment_of(tmp_path, *chosen, *small, *overrides)
    found = planned(experiment)
    measured, inputs = measured_peak(experiment, tmp_path)
    assert found["peak_memory_bytes"] == pytest.approx(measured, rel=0.2)
    without_inputs = found["peak_memory_bytes"] - found["memory"]["inputs"]
    assert inputs == 0 or without_inputs == pytest.approx(measured - inputs, rel=0.2)
