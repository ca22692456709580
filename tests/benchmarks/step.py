"""One training step: the published form, a hand-tuned plain script, and ours."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers.trainer_callback import TrainerCallback

from mmexp.arguments import default_workers
from tests.benchmarks.pages import PIXELS, write_data, write_model
from tests.test_run import experiment_of

BATCH_SIZE = 32
NUM_ROWS = 96
DIMS = [128, 64, 32, 16]
TOKENS = 4096


class StepTimes(TrainerCallback):
    """Seconds from the end of each step to the end of the next; the first step, which warms up, is not among them."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.ends.append(time.perf_counter())

    def median(self) -> float:
        return statistics.median(after - before for before, after in zip(self.ends, self.ends[1:], strict=False))


def against_published(folder: Path, num_rounds: int = 3) -> list[tuple[float, float]]:
    """The published form: one page a mini-batch, everything else at the library's defaults."""
    data, model = write_data(folder / "data", NUM_ROWS, 8), write_model(folder / "model")
    published = {"mini_batch_size": 1}
    return [
        (
            plain_step(folder / f"a{n}", data, model, published, epochs=2),
            our_step(folder / f"b{n}", data, model, epochs=4),
        )
        for n in range(num_rounds)
    ]


def against_hand_tuned(folder: Path, num_rounds: int = 5) -> list[tuple[float, float]]:
    """The best plain script: the same token budget and the same workers as ours."""
    data, model = write_data(folder / "data", NUM_ROWS, 8), write_model(folder / "model")
    tuned = {"mini_batch_num_tokens": TOKENS}
    workers = {"dataloader_num_workers": default_workers(1), "dataloader_persistent_workers": True}
    rounds = []
    for n in range(num_rounds):
        plain = plain_step(folder / f"a{n}", data, model, tuned, epochs=8, batch_sampler="batch_sampler", **workers)
        rounds.append((plain, our_step(folder / f"b{n}", data, model, epochs=8)))
    return rounds


def plain_step(folder: Path, data: Path, checkpoint: Path, mini_batch: dict, epochs: int, **arguments) -> float:
    """Seconds of a step of a plain script."""
    from datasets import load_dataset

    model = SentenceTransformer(str(checkpoint), processor_kwargs=PIXELS)
    dataset = load_dataset(str(data), "train", split="train")
    loss = MatryoshkaLoss(model, CachedMultipleNegativesRankingLoss(model, **mini_batch), DIMS)
    times = StepTimes()
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH_SIZE,
        report_to="none",
        save_strategy="no",
        logging_steps=1000,
        disable_tqdm=True,
        **{"batch_sampler": BatchSamplers.NO_DUPLICATES, **arguments},
    )
    SentenceTransformerTrainer(model=model, args=args, train_dataset=dataset, loss=loss, callbacks=[times]).train()
    return times.median()


def our_step(folder: Path, data: Path, checkpoint: Path, epochs: int) -> float:
    """Seconds of a step of a whole run of ours, record, tracking and all."""
    from unittest.mock import patch

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
        f"trainer.num_train_epochs={epochs}",
        f"trainer.per_device_train_batch_size={BATCH_SIZE}",
        "trainer.bf16=false",
        "trainer.eval_strategy=no",
        "trainer.save_strategy=no",
        "tracking.grid=475",
    ]
    (folder / "run").mkdir(parents=True)
    with patch("mmexp.fit.optional_callbacks", lambda experiment, run_dir: [times]):
        run(experiment_of(folder, *overrides), folder / "run", overrides)
    return times.median()
