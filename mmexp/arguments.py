"""The library's training arguments: `trainer.*` checked, and what mmexp decides itself added."""

from __future__ import annotations

import dataclasses
import logging
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from mmexp.checkpoints import global_batch_of, newest_checkpoint, world_size_of
from mmexp.interruption import is_rank
from mmexp.metrics import PRIMARY_METRIC
from mmexp.sampler import NoDuplicateIds
from mmexp.schema import ConfigError, did_you_mean
from mmexp.workers import batch_bytes, default_workers

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


def training_arguments(experiment: Experiment, kind: Kind, run_dir: Path) -> BaseTrainingArguments:
    """Build the library's arguments. Raises `ConfigError` for a key or value of `trainer` that it does not take."""
    trainer = experiment.trainer
    check_keys(trainer, kind)
    has_gpu = torch.accelerator.is_available()
    if trainer.get("bf16") and not has_gpu:
        raise ConfigError("trainer.bf16=true needs a GPU, and none is visible. Use trainer.bf16=false.")
    arguments: dict[str, Any] = {
        "dataloader_num_workers": default_workers(batch_bytes(experiment)),
        "dataloader_persistent_workers": True,
        "dataloader_pin_memory": has_gpu,
        "ddp_backend": None if has_gpu or not is_rank() else "gloo",
        "logging_nan_inf_filter": False,  # a NaN must be seen, not replaced by the average of the steps before it
        **trainer,
        "output_dir": str(run_dir / "checkpoints"),
        "seed": experiment.seed,
        "report_to": "none",
        **kind.arguments(),
    }
    if arguments["dataloader_num_workers"] < 1:
        raise ConfigError("trainer.dataloader_num_workers=0 would decode pages in the main process. Use 1 or more.")
    if arguments.get("batch_sampler") == "no_duplicates":
        num_epochs = math.ceil(float(arguments.get("num_train_epochs", 3)))
        arguments["batch_sampler"] = partial(NoDuplicateIds, num_epochs=num_epochs)
    if experiment.selects_best:
        arguments |= {
            "load_best_model_at_end": True,
            "metric_for_best_model": PRIMARY_METRIC,
            "greater_is_better": True,
        }
    try:
        args = kind.arguments_class(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the trainer.* keys contradict each other: {error}") from error
    # Otherwise models would be loaded split for ZeRO-3, which cannot compute the baseline before training has begun.
    unset_hf_deepspeed_config()
    checkpoint = newest_checkpoint(run_dir / "checkpoints")
    if checkpoint is not None:
        keep_global_batch(args, checkpoint)
    return args


def keep_global_batch(args: BaseTrainingArguments, checkpoint: Path) -> None:
    """Give every rank as many rows that all together have those of the batches before, however many ranks there were.

    Steps, schedule and samples then go on where they were. Raises `ConfigError` where the rows cannot be shared out.
    """
    rows, before = global_batch_of(checkpoint), world_size_of(checkpoint)
    if before == args.world_size:
        return
    if rows % args.world_size:
        possible = [str(n) for n in range(1, rows + 1) if rows % n == 0]
        raise ConfigError(
            f"the {rows} rows of a batch cannot be shared out to {args.world_size} processes: {checkpoint} was "
            f"written by {before}. Continue with {', '.join(possible)} processes (launch.num_processes=...)."
        )
    args.per_device_train_batch_size = rows // args.world_size
    log.warning(
        "%s was written by %d processes, and there are %d now. Each takes %d rows in place of %d: batches and schedule "
        "stay the same; sums are rounded in another order, and what is drawn at random in the model differs.",
        *(checkpoint, before, args.world_size, args.per_device_train_batch_size, rows // before),
    )


def check_keys(trainer: dict[str, Any], kind: Kind) -> None:
    """Raise `ConfigError` for a key that the library does not know, or that another key of the config decides."""
    known = {field.name for field in dataclasses.fields(kind.arguments_class)}
    for key in trainer:
        if key in DECIDED_ELSEWHERE:
            raise ConfigError(f"trainer.{key} is set by mmexp. Use {DECIDED_ELSEWHERE[key]} instead.")
        if key in kind.arguments():
            raise ConfigError(f"trainer.{key} is set by mmexp. Use reranking.{key} instead.")
        if key not in known:
            raise ConfigError(f"trainer.{key} is no training argument.{did_you_mean(key, known)}")


def check_batch_size(args: BaseTrainingArguments, examples: dict[str, Examples]) -> None:
    """Raise `ConfigError` where a batch would hold more than all of the examples that it is drawn from."""
    for of_direction in examples.values():
        if len(of_direction) < args.per_device_train_batch_size:
            raise ConfigError(
                f"trainer.per_device_train_batch_size={args.per_device_train_batch_size} is larger than the training "
                f"data, which has {len(of_direction)} examples. Use {len(of_direction)} or less."
            )
