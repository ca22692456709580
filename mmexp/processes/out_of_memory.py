"""A run that ends for want of memory goes on from its newest checkpoint with half the mini-batch.

A cached loss gives the same loss and gradients whatever its mini-batches are, so the batch stays as it is.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from mmexp.composition import write
from mmexp.recording.status import read_result

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.losses import Loss

log = logging.getLogger(__name__)

ERROR = "OutOfMemoryError"  # torch's
MAX_HALVINGS = 5
# About one page of the smallest size; less cuts no smaller.
MIN_TOKENS = 128


def with_half_the_mini_batch(composition: Composition) -> Composition | None:
    """What to go on with after a run that lacked memory; it is written into the run's folder, and says what was halved.

    None where the run ended otherwise, or before training, where that was done already, where its mini-batch cannot be
    halved any more, and for a dry run.
    """
    result = read_result(composition.run_dir)
    lacked_memory = (result.get("error") or {}).get("type") == ERROR and "train" in result.get("seconds", ["train"])
    if composition.experiment.launch.dry_run or not lacked_memory:
        return None
    halving = _halving(composition.experiment.loss)
    if len(result.get("halvings", [])) < len(composition.halvings):
        return None
    if halving is None or len(composition.halvings) >= MAX_HALVINGS:
        return None
    log.warning("out of memory: going on with loss.%(key)s=%(after)d in place of %(before)d", halving)
    experiment = composition.experiment
    loss = dataclasses.replace(experiment.loss, **{halving["key"]: halving["after"]})
    changed = dataclasses.replace(
        composition,
        experiment=dataclasses.replace(experiment, loss=loss),
        halvings=[*composition.halvings, halving],
    )
    write(changed)
    return changed


def _halving(loss: Loss) -> dict[str, Any] | None:
    """Which field of a cached loss to halve: the one that it cuts its mini-batches by."""
    key = "mini_batch_num_tokens" if getattr(loss, "mini_batch_size", None) is None else "mini_batch_size"
    before = getattr(loss, key, None)
    if before is None or before // 2 < (MIN_TOKENS if key == "mini_batch_num_tokens" else 1):
        return None
    return {"key": key, "before": before, "after": before // 2}
