"""The library's training arguments: `trainer.*` checked, and what mmexp decides itself added."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.sampler import (
    MultiDatasetBatchSamplers,
    ProportionalBatchSampler,
    RoundRobinBatchSampler,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from mmexp.data.workers import batch_bytes, default_workers
from mmexp.distributed.rank_batches import mixed_rank_batches, rank_batches
from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.processes.interruption import is_rank
from mmexp.schema import ConfigError, did_you_mean
from mmexp.training.checkpoints import keep_global_batch
from mmexp.training.sampler import NoDuplicateIds, ShuffledBatches

if TYPE_CHECKING:
    from sentence_transformers.base.training_args import BaseTrainingArguments

    from mmexp.data.training import Examples
    from mmexp.experiment import Experiment
    from mmexp.kinds import Kind

log = logging.getLogger(__name__)

# What mmexp decides, and the key that decides it.
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

# How accelerate would deal batches out to ranks. They come dealt out, from rank_batches.
DEALING = ("split_batches", "dispatch_batches", "even_batches")
SAMPLERS = {"batch_sampler": ShuffledBatches, "no_duplicates": NoDuplicateIds}
MIXTURES = {
    MultiDatasetBatchSamplers.PROPORTIONAL: ProportionalBatchSampler,
    MultiDatasetBatchSamplers.ROUND_ROBIN: RoundRobinBatchSampler,
}


def rows_per_epoch(num_rows: Sequence[int], args: Any, num_ranks: int) -> int:
    """Rows that an epoch passes through the model, of data sets with so many rows.

    Not all of them where data sets take turns until one is exhausted, or where what fills no batch is dropped.
    """
    size = args.per_device_train_batch_size * num_ranks
    if args.dataloader_drop_last:
        num_rows = [count // size * size for count in num_rows]
    if args.multi_dataset_batch_sampler == MultiDatasetBatchSamplers.ROUND_ROBIN:
        turns = -(-min(num_rows) // size)
        num_rows = [min(count, turns * size) for count in num_rows]
    return sum(num_rows)


def training_arguments(experiment: Experiment, kind: Kind, run_dir: Path) -> BaseTrainingArguments:
    """Build the library's arguments. Raises `ConfigError` for a key or value of `trainer` that it does not take."""
    has_gpu = torch.accelerator.is_available()
    if experiment.trainer.get("bf16") and not has_gpu:
        raise ConfigError("trainer.bf16=true needs a GPU, and none is visible. Use trainer.bf16=false.")
    arguments: dict[str, Any] = {
        "dataloader_num_workers": default_workers(batch_bytes(experiment)),
        "dataloader_persistent_workers": True,
        "dataloader_pin_memory": has_gpu,
        "ddp_backend": None if has_gpu or not is_rank() else "gloo",
        "logging_nan_inf_filter": False,  # a NaN must be seen, not replaced by the average of the steps before it
        **experiment.trainer,
    }
    args = library_arguments(experiment, kind, run_dir, arguments)
    # Otherwise models would be loaded split for ZeRO-3, which cannot compute the baseline before training has begun.
    unset_hf_deepspeed_config()
    if args.n_gpu > 1:  # the library would cut every batch into one for each of them, by DataParallel
        log.warning("this process uses one of %d visible GPUs. launch=accelerate uses all of them", args.n_gpu)
        args._n_gpu = 1
    keep_global_batch(args, run_dir / "checkpoints")
    choose_samplers(args, args.world_size)
    return args


def library_arguments(
    experiment: Experiment, kind: Kind, run_dir: Path, trainer: dict[str, Any]
) -> BaseTrainingArguments:
    """The library's arguments: those of `trainer`, and what mmexp decides. Raises `ConfigError` as above."""
    check_keys(experiment.trainer, kind)
    arguments: dict[str, Any] = {
        **trainer,
        "output_dir": str(run_dir / "checkpoints"),
        "seed": experiment.seed,
        "report_to": "none",
        "dataloader_drop_last": True,  # as the library wants it of several ranks, whose batches could differ in size
        **kind.arguments(),
    }
    if arguments.get("dataloader_num_workers", 1) < 1:
        raise ConfigError("trainer.dataloader_num_workers=0 would decode pages in the main process. Use 1 or more.")
    if experiment.selects_best:
        for key in ("eval_strategy", "save_strategy"):
            if str(arguments.get(key, "no")) == "no":
                raise ConfigError(
                    "best_checkpoint and early_stopping_patience need evaluations and checkpoints in training, and "
                    f"trainer.{key} is no. Use trainer.eval_strategy=steps trainer.save_strategy=steps."
                )
        arguments |= {
            "load_best_model_at_end": True,
            "metric_for_best_model": PRIMARY_METRIC,
            "greater_is_better": True,
        }
    try:
        args = kind.arguments_class(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the trainer.* keys contradict each other: {error}") from error
    args.dataloader_drop_last = bool(experiment.trainer.get("dataloader_drop_last", False))
    return args


def choose_samplers(args: Any, num_ranks: int) -> None:
    """Put our samplers in the place of the library's: for batches without duplicates, and for all of several ranks."""
    name = args.batch_sampler.value
    num_epochs = math.ceil(args.num_train_epochs)
    if num_ranks > 1:
        if name not in SAMPLERS:
            raise ConfigError(
                f"trainer.batch_sampler={name} draws the batches of each process by itself. Use "
                f"trainer.batch_sampler={' or '.join(SAMPLERS)} with {num_ranks} processes, or one process."
            )
        mixture = MIXTURES[args.multi_dataset_batch_sampler]
        args.batch_sampler = partial(rank_batches, sampler=SAMPLERS[name], num_ranks=num_ranks, num_epochs=num_epochs)
        args.multi_dataset_batch_sampler = partial(mixed_rank_batches, sampler=mixture, num_ranks=num_ranks)
    elif name == "no_duplicates":
        args.batch_sampler = partial(NoDuplicateIds, num_epochs=num_epochs)


def check_keys(trainer: dict[str, Any], kind: Kind) -> None:
    """Raise `ConfigError` for a key that the library does not know, or that another key of the config decides."""
    known = {field.name for field in dataclasses.fields(kind.arguments_class)}
    for key in trainer:
        if key in DECIDED_ELSEWHERE:
            raise ConfigError(f"trainer.{key} is set by mmexp. Use {DECIDED_ELSEWHERE[key]} instead.")
        if key in kind.arguments():
            raise ConfigError(f"trainer.{key} is set by mmexp. Use reranking.{key} instead.")
        if key not in known:
            near = " Did you mean 'learning_rate'?" if key == "lr" else did_you_mean(key, known)
            raise ConfigError(f"trainer.{key} is no training argument.{near}")
    dealing = trainer.get("accelerator_config") or {}
    if isinstance(dealing, str):
        raise ConfigError(f"trainer.accelerator_config={dealing} names a file. Give its keys: {{non_blocking: true}}.")
    for key in set(DEALING).intersection(dealing):
        raise ConfigError(
            f"trainer.accelerator_config.{key} is how accelerate deals batches out to processes, and mmexp does that. "
            "Leave it out; trainer.per_device_train_batch_size is the rows of each process."
        )


def check_batch_size(args: BaseTrainingArguments, examples: dict[str, Examples], processes: int) -> None:
    """Raise `ConfigError` where a batch, of all ranks together, would hold more than all examples it is drawn from."""
    rows = args.per_device_train_batch_size
    asked = f"trainer.per_device_train_batch_size={rows}"
    for num_examples in map(len, examples.values()):
        if processes > num_examples:
            raise ConfigError(
                f"{processes} processes cannot share the training data, which has {num_examples} examples. Use "
                f"{num_examples} processes or less."
            )
        if rows * processes > num_examples:
            raise ConfigError(
                f"{asked if processes == 1 else f'{asked} in {processes} processes'} is larger than the training data, "
                f"which has {num_examples} examples. Use {num_examples // processes} or less."
            )
