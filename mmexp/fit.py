"""Training: the library's trainer, composed from its arguments, a lazily resolved data set and a few callbacks."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import EarlyStoppingCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerCallback

from mmexp.callbacks import Counter, LogToRecord, Profile
from mmexp.data.splits import Split
from mmexp.data.training import training_columns
from mmexp.evaluate import Evaluator
from mmexp.metrics import PRIMARY_METRIC
from mmexp.sampler import NoDuplicateIds
from mmexp.schema import ConfigError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from mmexp.experiment import Experiment
    from mmexp.record import Record

log = logging.getLogger(__name__)

# What mmexp decides itself, and the key that decides it.
DECIDED_ELSEWHERE = {
    "output_dir": "hydra.run.dir",
    "seed": "seed",
    "data_seed": "seed",
    "report_to": "tracking",
    "run_name": "name",
    "push_to_hub": "hub.model_id",
    "load_best_model_at_end": "best_checkpoint",
    "metric_for_best_model": "best_checkpoint",
    "greater_is_better": "best_checkpoint",
}
# Enough for the model card's statistics and examples; more would decode pages before training starts.
CARD_ROWS = 3
MAX_WORKERS = 8


def training_arguments(experiment: Experiment, run_dir: Path) -> SentenceTransformerTrainingArguments:
    """Build the library's arguments from `experiment.trainer`. Raises `ConfigError` for a key or value it does not take."""
    known = {field.name for field in dataclasses.fields(SentenceTransformerTrainingArguments)}
    for key in experiment.trainer:
        if key in DECIDED_ELSEWHERE:
            raise ConfigError(f"trainer.{key} is set by mmexp. Use {DECIDED_ELSEWHERE[key]} instead.")
        if key not in known:
            raise ConfigError(f"trainer.{key} is no training argument.{did_you_mean(key, known)}")
    has_gpu = torch.accelerator.is_available()
    if experiment.trainer.get("bf16") and not has_gpu:
        raise ConfigError("trainer.bf16=true needs a GPU, and none is visible. Use trainer.bf16=false.")
    arguments = {
        "output_dir": str(run_dir / "checkpoints"),
        "seed": experiment.seed,
        "report_to": "none",
        "dataloader_num_workers": default_workers(),
        "dataloader_persistent_workers": True,
        "dataloader_pin_memory": has_gpu,
        "logging_nan_inf_filter": False,  # a NaN must be seen, not replaced by the average of the steps before it
        "include_for_metrics": [],
        **experiment.trainer,
    }
    if arguments["dataloader_num_workers"] < 1:
        raise ConfigError("trainer.dataloader_num_workers=0 would decode pages in the main process. Use 1 or more.")
    if arguments.get("batch_sampler") == "no_duplicates":
        num_epochs = int(-(-float(arguments.get("num_train_epochs", 3)) // 1))
        arguments["batch_sampler"] = partial(NoDuplicateIds, num_epochs=num_epochs)
    if experiment.selects_best:
        arguments |= {
            "load_best_model_at_end": True,
            "metric_for_best_model": PRIMARY_METRIC,
            "greater_is_better": True,
        }
    try:
        return SentenceTransformerTrainingArguments(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the trainer.* keys contradict each other: {error}") from error


def default_workers() -> int:
    """Data workers for this process: the cores it may use less one for the main process, shared by the node's processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MAX_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


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
    dataset = training_columns(split)
    if len(dataset) < args.per_device_train_batch_size:
        raise ConfigError(
            f"trainer.per_device_train_batch_size={args.per_device_train_batch_size} is larger than the training data, "
            f"which has {len(dataset)} rows. Use {len(dataset)} or less."
        )
    counter = Counter(model, record)
    trainer = build_trainer(
        args,
        model,
        loss,
        dataset,
        evaluator,
        [counter, LogToRecord(record, counter), *optional_callbacks(experiment, Path(args.output_dir))],
    )
    checkpoint = newest_checkpoint(Path(args.output_dir)) if experiment.resume else None
    announce(trainer, split, evaluator, checkpoint)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Exception as error:
        raise_if_disk_full(error, Path(args.output_dir))
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
    card = model.model_card_data
    card.tags = [tag for tag in card.tags if not tag.startswith("dataset_size:")]
    card.add_tags(f"dataset_size:{len(dataset)}")
    for described in card.train_datasets:
        described["size"] = len(dataset)
    return trainer


def optional_callbacks(experiment: Experiment, folder: Path) -> list[TrainerCallback]:
    """What the experiment asks for beyond logging."""
    callbacks: list[TrainerCallback] = []
    if experiment.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(experiment.early_stopping_patience))
    if experiment.profile_steps is not None:
        callbacks.append(Profile(experiment.profile_steps, folder.parent / "profile.json"))
    return callbacks


def announce(trainer: SentenceTransformerTrainer, split: Split, evaluator: Evaluator, checkpoint: Path | None) -> None:
    """The first line: what is about to happen, and how much of it."""
    args = trainer.args
    steps_per_epoch = -(-len(trainer.get_train_dataloader()) // args.gradient_accumulation_steps)
    steps = args.max_steps if args.max_steps > 0 else -(-int(steps_per_epoch * args.num_train_epochs * 1000) // 1000)
    pages = len(split.rows) * (1 + len(split.rows[0].negatives))
    every = (
        args.eval_steps if args.eval_steps and args.eval_steps >= 1 else max(1, round(steps * (args.eval_steps or 1)))
    )
    evaluations = int(steps // every) if args.eval_strategy == "steps" else 0
    log.info(
        "training: %d steps of %d queries, %d pages an epoch; %d evaluations of %d queries over %d documents%s",
        steps,
        args.per_device_train_batch_size,
        pages,
        evaluations,
        len(evaluator.queries),
        len(evaluator.corpus),
        f"; continuing {checkpoint}" if checkpoint else "",
    )


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint. The trainer's state is written last, so one without it is half-written."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    return max(complete, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def raise_if_disk_full(error: Exception, folder: Path) -> None:
    """Turn the many forms of "no space left" into one, and take away the half-written checkpoint."""
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ or causes[-1].__context__:
        causes.append(causes[-1].__cause__ or causes[-1].__context__)  # type: ignore[arg-type]
    if not any("No space left" in str(cause) or getattr(cause, "errno", None) == 28 for cause in causes):
        return
    for partial_checkpoint in folder.glob("checkpoint-*"):
        if not (partial_checkpoint / TRAINER_STATE_NAME).exists():
            shutil.rmtree(partial_checkpoint)
    kept = newest_checkpoint(folder)
    raise ConfigError(
        f"the disk of {folder} is full: a checkpoint could not be saved. The last good one is {kept}. Make room, or set "
        f"trainer.save_total_limit=1 or trainer.save_only_model=true, then: python -m mmexp.resume {folder.parent}"
    ) from error
