"""Training: the library's trainer, composed from its arguments, a lazily resolved data set and a few callbacks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sentence_transformers import SentenceTransformerTrainer
from transformers import EarlyStoppingCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback

from mmexp.callbacks import Announce, Counter, LogToRecord, Profile, ProgressBar
from mmexp.checkpoints import newest_checkpoint, raise_if_disk_full
from mmexp.data.training import training_columns
from mmexp.workers import cores_beside

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
    from torch import nn

    from mmexp.data.splits import Split
    from mmexp.evaluate import Evaluator
    from mmexp.experiment import Experiment
    from mmexp.record import Record

log = logging.getLogger(__name__)

# Enough for the model card's statistics and examples; more would decode pages before training starts.
CARD_ROWS = 3


def fit(
    experiment: Experiment,
    args: SentenceTransformerTrainingArguments,
    model: SentenceTransformer,
    loss: nn.Module,
    split: Split,
    evaluator: Evaluator,
    record: Record,
) -> dict[str, float]:
    """Train `model` in place. Returns the throughput: pages, tokens and samples per second of training.

    Raises `Diverged` on a loss that is not a number, `ConfigError` where the disk is full.
    """
    counter = Counter(model, len(split.rows), record)
    callbacks = [Announce(model, split, evaluator), counter, LogToRecord(record, counter), ProgressBar()]
    callbacks += optional_callbacks(experiment, record.run_dir)
    trainer = build_trainer(args, model, loss, training_columns(split), evaluator, callbacks)
    folder = record.run_dir / "checkpoints"
    checkpoint = newest_checkpoint(folder) if experiment.resume else None
    if checkpoint is not None:
        log.info("continuing %s", checkpoint)
    try:
        with cores_beside(args.dataloader_num_workers):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Exception as error:
        raise_if_disk_full(error, folder)
        raise
    return counter.throughput()


def build_trainer(
    args: SentenceTransformerTrainingArguments,
    model: SentenceTransformer,
    loss: nn.Module,
    dataset: Dataset,
    evaluator: Evaluator,
    callbacks: list[TrainerCallback],
) -> SentenceTransformerTrainer:
    """The library's trainer over the whole data set, whose model card describes a few rows of it.

    Given the whole data set, the constructor decodes a thousand rows to pick examples for the card.
    """
    trainer = SentenceTransformerTrainer(
        model=model,
        args=args,
        train_dataset=dataset.select(range(min(CARD_ROWS, len(dataset)))),
        loss=loss,
        evaluator=evaluator if args.eval_strategy != "no" else None,
        callbacks=callbacks,
    )
    trainer.train_dataset = dataset
    for prints_what_is_logged in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(prints_what_is_logged)
    card = model.model_card_data
    card.tags = [tag for tag in card.tags if not tag.startswith("dataset_size:")]
    card.add_tags(f"dataset_size:{len(dataset)}")
    for described in card.train_datasets:
        described["size"] = len(dataset)  # type: ignore[assignment]
    return trainer


def optional_callbacks(experiment: Experiment, run_dir: Path) -> list[TrainerCallback]:
    """What the experiment asks for beyond logging."""
    callbacks: list[TrainerCallback] = []
    if experiment.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(experiment.early_stopping_patience))
    if experiment.profile_steps is not None:
        callbacks.append(Profile(experiment.profile_steps, run_dir / "profile.json"))
    return callbacks
