"""A plain script in the published form, as one gives it to `accelerate launch`: DATA CHECKPOINT FOLDER.

It leaves the time at which its first step ended in FOLDER/first_step, and stops.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers.trainer_callback import TrainerCallback

from tests.benchmarks.pages import PIXELS
from tests.reference_vdr import ndcg_by_dimension


class NoteFirstStep(TrainerCallback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.is_world_process_zero:
            (self.folder / "first_step").write_text(str(time.time()))


def main(data: str, checkpoint: str, folder: str) -> None:
    model = SentenceTransformer(checkpoint, processor_kwargs=PIXELS)
    train, evaluation = (load_dataset(data, config, split="train") for config in ("train", "eval"))
    ndcg_by_dimension(model, evaluation, [32])
    loss = MatryoshkaLoss(model, CachedMultipleNegativesRankingLoss(model, mini_batch_num_tokens=16384), [32, 16, 8])
    args = SentenceTransformerTrainingArguments(
        output_dir=folder,
        max_steps=1,
        per_device_train_batch_size=8,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        ddp_backend="gloo" if "RANK" in os.environ else None,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    callbacks = [NoteFirstStep(Path(folder))]
    SentenceTransformerTrainer(model=model, args=args, train_dataset=train, loss=loss, callbacks=callbacks).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
