"""Checkpoints: which one to continue from, and what is left of them when the disk is full."""

from __future__ import annotations

import errno
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from transformers.trainer import TRAINER_STATE_NAME

from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from sentence_transformers.base.training_args import BaseTrainingArguments

log = logging.getLogger(__name__)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint. The trainer's state is written last, so one without it is half-written."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    return max(complete, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def world_size_of(checkpoint: Path) -> int:
    """How many ranks wrote a checkpoint: `WorldSize` says so in the trainer's state."""
    state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text())
    return int(state["stateful_callbacks"]["WorldSize"]["attributes"]["world_size"])


def optimizer_of(checkpoint: Path) -> str:
    """Whose optimizer's states a checkpoint has: deepspeed, fsdp, or plain, which is torch's own and DDP's."""
    if any(checkpoint.glob("global_step*")):
        return "deepspeed"
    is_fsdp = (checkpoint / "optimizer.bin").exists() or any(checkpoint.glob("optimizer_*"))
    return "fsdp" if is_fsdp else "plain"


def global_batch_of(checkpoint: Path) -> int:
    """Rows of a batch over all ranks that wrote a checkpoint."""
    state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text())
    return int(state["train_batch_size"]) * world_size_of(checkpoint)


def keep_global_batch(args: BaseTrainingArguments, folder: Path) -> None:
    """Give every rank of a run that continues as many rows that all together have those of its batches before, however
    many ranks there were.

    Steps, schedule and samples then go on where they were. Raises `ConfigError` where the rows cannot be shared out.
    """
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None or world_size_of(checkpoint) == args.world_size:
        return
    rows, before = global_batch_of(checkpoint), world_size_of(checkpoint)
    if rows % args.world_size:
        possible = [str(n) for n in range(1, rows + 1) if rows % n == 0]
        raise ConfigError(
            f"the {rows} rows of a batch cannot be shared out to {args.world_size} processes: {checkpoint} was "
            f"written by {before}. Continue with {', '.join(possible)} processes (launch.num_processes=...)."
        )
    args.per_device_train_batch_size = rows // args.world_size
    log.warning(
        "%s was written by %d processes, and there are %d now. Each takes %d rows in place of %d: batches and schedule "
        "go on as they were, but for the last rows of an epoch where they do not divide by the processes. Sums are "
        "rounded in another order, and what is drawn at random in the model differs.",
        *(checkpoint, before, args.world_size, args.per_device_train_batch_size, rows // before),
    )


def raise_if_disk_full(error: Exception, folder: Path) -> None:
    """Turn the many forms of "no space left" into one `ConfigError`, and take away the half-written checkpoint."""
    if not any(is_disk_full(cause) for cause in causes_of(error)):
        return
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / TRAINER_STATE_NAME).exists():
            shutil.rmtree(checkpoint)
    raise ConfigError(
        f"the disk of {folder} is full: the model could not be saved. The last good checkpoint is "
        f"{newest_checkpoint(folder)}. Make room, or set trainer.save_total_limit=1 or trainer.save_only_model=true, "
        f"then: python -m mmexp.resume {folder.parent}"
    ) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether one exception says so: as an OSError, or in the words of a library that writes with its own code."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, what it was raised from, what that was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
