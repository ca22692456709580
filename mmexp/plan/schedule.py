"""Steps, evaluations and checkpoints of a training: the library's own arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import TrainerState

from mmexp.training.arguments import rows_per_epoch

if TYPE_CHECKING:
    from mmexp.experiment import Experiment
    from mmexp.plan.preparation import Prepared


@dataclass
class Schedule:
    """How often what happens."""

    steps: int
    steps_per_epoch: int
    rows_per_step: int
    """At most, of all processes."""
    rows: int
    """That the training sees in all."""
    pages: int
    """Documents of those rows, of whatever they are."""
    evaluations: int
    """That are computed: the baseline, those in training, and the final one where its model is not evaluated yet."""
    checkpoints: int
    """That are written."""
    kept_checkpoints: int
    """That are left at the end."""


def schedule_of(prepared: Prepared, processes: int) -> Schedule:
    """From the batches of the run's own sampler."""
    args: Any = prepared.args
    batches = len(prepared.trainer.get_train_dataloader()) // processes
    steps_per_epoch = max(1, -(-batches // args.gradient_accumulation_steps))
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * steps_per_epoch)
    num_rows = rows_per_epoch([*map(len, prepared.examples.values())], args, processes)
    rows_per_step = args.per_device_train_batch_size * processes * args.gradient_accumulation_steps
    rows = min(steps * rows_per_step, math.ceil(steps / steps_per_epoch) * num_rows)
    state = TrainerState()
    state.compute_steps(args, steps)
    in_training = times(args.eval_strategy.value, steps, state.eval_steps, steps_per_epoch) + bool(args.eval_on_start)
    checkpoints = times(args.save_strategy.value, steps, state.save_steps, steps_per_epoch)
    return Schedule(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        rows_per_step=rows_per_step,
        rows=rows,
        pages=round(rows * documents_per_row(prepared)),
        evaluations=1 + in_training + needs_final_evaluation(prepared.kind.experiment, in_training),
        checkpoints=checkpoints,
        kept_checkpoints=min(checkpoints, args.save_total_limit or checkpoints),
    )


def times(strategy: str, steps: int, every: float, steps_per_epoch: int) -> int:
    """How often in so many steps; with the last one, where steps count."""
    if strategy == "steps":
        return math.ceil(steps / every)
    return math.ceil(steps / steps_per_epoch) if strategy in ("epoch", "best") else 0


def needs_final_evaluation(experiment: Experiment, in_training: int) -> bool:
    """Whether the model that is saved is another than the one evaluated last."""
    merges = experiment.adapter is not None and experiment.adapter.merge
    return not in_training or merges or experiment.selects_best


def documents_per_row(prepared: Prepared) -> float:
    """Documents beside the query, on average."""
    lengths = [
        sum(len(cell) if isinstance(cell, list) else 1 for cell in row[1:])
        for examples in prepared.examples.values()
        for row in examples.rows
    ]
    return sum(lengths) / len(lengths)
