"""Training: the library's trainer, composed from its arguments, a lazily resolved data set and a few callbacks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentence_transformers.base.modules import Router
from transformers import EarlyStoppingCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback

from mmexp.data.workers import cores_beside
from mmexp.distributed import ranks
from mmexp.distributed.rank_trainer import on_ranks
from mmexp.schema import ConfigError
from mmexp.training.arguments import rows_per_epoch
from mmexp.training.callbacks import (
    AllStepsMade,
    Announce,
    Counter,
    EpochOfBatches,
    LogToRecord,
    MeasureTogether,
    NoStepMore,
    Profile,
    ProgressBar,
    StopWhenAsked,
    WorldSize,
)
from mmexp.training.checkpoints import newest_checkpoint, optimizer_of, raise_if_disk_full

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from sentence_transformers.base.model import BaseModel
    from sentence_transformers.base.trainer import BaseTrainer
    from sentence_transformers.base.training_args import BaseTrainingArguments
    from torch import nn

    from mmexp.evaluation.model_evaluator import ModelEvaluator
    from mmexp.experiment import Experiment
    from mmexp.kinds import Kind
    from mmexp.recording.record import Record

log = logging.getLogger(__name__)

# Enough for the model card's statistics and examples; more would decode pages before training starts.
CARD_ROWS = 3


def fit(
    kind: Kind,
    args: BaseTrainingArguments,
    model: BaseModel,
    loss: nn.Module,
    datasets: dict[str, Dataset],
    evaluator: ModelEvaluator[Any],
    record: Record,
) -> dict[str, float]:
    """Train `model` in place. Returns the throughput: pages, tokens and samples per second of training.

    `datasets` holds one lazily resolved data set, or several that are trained on together, by name.

    Raises `Diverged` on a loss that is not a number, `Preempted` where a signal stopped it, and `ConfigError` where the
    disk is full.
    """
    experiment = kind.experiment
    rows = rows_per_epoch([*map(len, datasets.values())], args, ranks.world_size())
    counter = Counter(model, rows, record)
    callbacks = [Announce(model, datasets, evaluator), counter, LogToRecord(record, counter), ProgressBar()]
    callbacks += [EpochOfBatches(), MeasureTogether(evaluator), StopWhenAsked(record.interruption), WorldSize()]
    callbacks += [*optional_callbacks(experiment, record.run_dir), NoStepMore()]
    trainer = build_trainer(kind, args, model, loss, datasets, evaluator, callbacks)
    check_engine(trainer, experiment.launch.engine)
    folder = record.run_dir / "checkpoints"
    checkpoint = newest_checkpoint(folder)
    if checkpoint is not None:
        check_continues(experiment)
        log.info("continuing %s", checkpoint)
    try:
        with cores_beside(args.dataloader_num_workers if kind.workers_preprocess else 0):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except AllStepsMade:
        end_without_a_step(trainer)
    except Exception as error:
        raise_if_disk_full(error, folder)
        raise
    record.interruption.raise_if_stopped()
    return counter.throughput()


def end_without_a_step(trainer: BaseTrainer) -> None:
    """What the library does after the last step, for a run that was interrupted after it."""
    if trainer.args.load_best_model_at_end:
        trainer._load_best_model()
    trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)


def check_engine(trainer: BaseTrainer, engine: str | None) -> None:
    """Raise where the processes train otherwise than was asked: accelerate falls back on less without a word."""
    found = trainer.accelerator.distributed_type.value
    expected = {None: ("NO",), "ddp": ("MULTI_GPU", "MULTI_CPU", "NO"), "fsdp2": ("FSDP",)}.get(engine, ("DEEPSPEED",))
    if found not in expected:
        raise RuntimeError(
            f"launch asks for {engine or 'one process'}, and accelerate prepared {found}, with "
            f"{trainer.args.world_size} processes. Start what launch.dry_run=true prints, with its environment."
        )


def check_continues(experiment: Experiment) -> None:
    """Raise `ConfigError` where a checkpoint cannot be continued."""
    quantization = getattr(experiment.model, "quantization", None)
    if quantization is not None:
        raise ConfigError(
            f"a run with model.quantization={quantization.value} cannot be continued: the library loads a checkpoint "
            "without its 4-bit weights. Start it anew, or use model.quantization=null (adapter=lora)."
        )


def build_trainer(
    kind: Kind,
    args: BaseTrainingArguments,
    model: BaseModel,
    loss: nn.Module,
    datasets: dict[str, Dataset],
    evaluator: ModelEvaluator[Any],
    callbacks: list[TrainerCallback],
) -> BaseTrainer:
    """The library's trainer over whole data sets, whose model card describes a few rows of each.

    Given whole data sets, the constructor decodes a thousand rows to pick examples for the card.
    """
    if any(isinstance(module, Router) for module in model.children()) and not args.router_mapping:
        [columns] = (dataset.column_names for dataset in datasets.values())
        args.router_mapping = {column: "query" if column == "query" else "document" for column in columns}
    few = {name: dataset.select(range(min(CARD_ROWS, len(dataset)))) for name, dataset in datasets.items()}
    checkpoint = newest_checkpoint(Path(str(args.output_dir)))
    of_ranks = args.world_size > 1 or kind.experiment.launch.engine not in (None, "ddp")
    of_ranks |= checkpoint is not None and optimizer_of(checkpoint) != "plain"
    trainer_class = on_ranks(kind.trainer_class) if of_ranks else kind.trainer_class
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=_for_trainer(few, args),
        loss=loss,
        evaluator=evaluator if args.eval_strategy != "no" else None,
        callbacks=callbacks,
    )
    trainer.train_dataset = trainer.preprocess_dataset(_for_trainer(datasets, args), dataset_name="train")
    for prints_what_is_logged in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(prints_what_is_logged)
    card: Any = model.model_card_data
    card.tags = [tag for tag in card.tags if not tag.startswith("dataset_size:")]
    card.add_tags(f"dataset_size:{sum(map(len, datasets.values()))}")
    for described, dataset in zip(card.train_datasets, datasets.values(), strict=True):
        described["size"] = len(dataset)
    return trainer


def _for_trainer(datasets: dict[str, Dataset], args: BaseTrainingArguments) -> Dataset | DatasetDict:
    """One data set as it is; by name where there are several, or where a prompt goes by the name."""
    from datasets import DatasetDict

    [first, *others] = datasets.values()
    by_name = isinstance(args.prompts, dict) and not set(datasets).isdisjoint(args.prompts)
    return DatasetDict(datasets) if others or by_name else first


def optional_callbacks(experiment: Experiment, run_dir: Path) -> list[TrainerCallback]:
    """What the experiment asks for beyond logging."""
    callbacks: list[TrainerCallback] = []
    if experiment.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(experiment.early_stopping_patience))
    if experiment.profile_steps is not None and ranks.is_main():
        callbacks.append(Profile(experiment.profile_steps, run_dir / "profile.json"))
    return callbacks
