"""One training step: the published form, a hand-tuned plain script, and ours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers.trainer_callback import TrainerCallback

from mmexp.data.workers import default_workers
from tests.benchmarks.pages import PIXELS, write_data, write_model
from tests.test_run import experiment_of

# The published recipe's batch size and seven sizes, in proportion.
BATCH_SIZE = 64
DIMS = [32, 24, 16, 12, 8, 6, 4]
NUM_STEPS = 8
TOKENS = 16384
# The tiny checkpoint of the parity test.
SIZES = {"hidden_size": 32, "num_layers": 1, "vision_hidden_size": 32, "vision_num_layers": 2}


class StepTimes(TrainerCallback):
    """The mean seconds of a step, from the end of the first, which warms up, to the end of the last."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.ends.append(time.perf_counter())

    def mean(self) -> float:
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def against_published(folder: Path) -> list[tuple[float, float]]:
    """The published form: one page a mini-batch, everything else at the library's defaults. Ours as model=tiny_vlm
    ships, which decodes JPEG pages no larger than the model needs them."""
    return compare(folder, 3, {"mini_batch_size": 1}, "data.jpeg_pixels=${model.max_pixels}")


def against_published_with_equal_pixels(folder: Path) -> list[tuple[float, float]]:
    """The same, where ours decodes all of a page too, which is then the most of a step."""
    return compare(folder, 3, {"mini_batch_size": 1})


def against_hand_tuned(folder: Path) -> list[tuple[float, float]]:
    """The best plain script: the same token budget and the same workers as ours."""
    workers = {"dataloader_num_workers": default_workers(1), "dataloader_persistent_workers": True}
    return compare(folder, 5, {"mini_batch_num_tokens": TOKENS}, batch_sampler="batch_sampler", **workers)


def compare(
    folder: Path, num_rounds: int, mini_batch: dict, *overrides: str, **arguments: Any
) -> list[tuple[float, float]]:
    """Seconds of a step of a plain script with these `mini_batch` and `arguments`, and of ours with `overrides`."""
    data, model = write_data(folder / "data", NUM_STEPS * BATCH_SIZE, 8), write_model(folder / "model", **SIZES)
    return [
        (
            plain_step(folder / f"plain-{n}", data, model, mini_batch, **arguments),
            our_step(folder / f"ours-{n}", data, model, *overrides),
        )
        for n in range(num_rounds)
    ]


def plain_step(folder: Path, data: Path, checkpoint: Path, mini_batch: dict, **arguments) -> float:
    """Seconds of a step of a plain script."""
    from datasets import load_dataset

    model = SentenceTransformer(str(checkpoint), processor_kwargs=PIXELS)
    dataset = load_dataset(str(data), "train", split="train")
    loss = MatryoshkaLoss(model, CachedMultipleNegativesRankingLoss(model, **mini_batch), DIMS)
    times = StepTimes()
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH_SIZE,
        report_to="none",
        save_strategy="no",
        logging_steps=1000,
        disable_tqdm=True,
        **{"batch_sampler": BatchSamplers.NO_DUPLICATES, **arguments},
    )
    SentenceTransformerTrainer(model=model, args=args, train_dataset=dataset, loss=loss, callbacks=[times]).train()
    return times.mean()


def our_step(folder: Path, data: Path, checkpoint: Path, *changed: str) -> float:
    """Seconds of a step of a whole run of ours, record, tracking and all."""
    from unittest.mock import patch

    from mmexp.composition import freeze
    from mmexp.run import run

    times = StepTimes()
    overrides = [
        "+experiment=vdr_2b",
        "model=hub",
        f"model.checkpoint={checkpoint}",
        *(f"model.{key}={value}" for key, value in PIXELS.items()),
        f"data.path={data}",
        "dims=none",
        f"dims.matryoshka_dims={DIMS}",
        f"loss.mini_batch_num_tokens={TOKENS}",
        "trainer.num_train_epochs=1",
        f"trainer.per_device_train_batch_size={BATCH_SIZE}",
        "trainer.bf16=false",
        "trainer.eval_strategy=no",
        "trainer.save_strategy=no",
        "tracking.grid=475",
        *changed,
    ]
    (folder / "run").mkdir(parents=True)
    with patch("mmexp.training.fit.optional_callbacks", lambda experiment, run_dir: [times]):
        run(freeze(experiment_of(folder, *overrides), folder / "run", overrides))
    return times.mean()
