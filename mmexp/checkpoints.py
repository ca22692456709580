"""Checkpoints: which one to continue from, and what is left of them when the disk is full."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME

from mmexp.schema import ConfigError


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint. The trainer's state is written last, so one without it is half-written."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    return max(complete, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def world_size_of(checkpoint: Path) -> int:
    """How many ranks wrote a checkpoint: each its random state."""
    return max(1, len(list(checkpoint.glob("rng_state*.pth"))))


def global_batch_of(checkpoint: Path) -> int:
    """Rows of a batch over all ranks that wrote a checkpoint."""
    state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text())
    return int(state["train_batch_size"]) * world_size_of(checkpoint)


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
