"""How a loss cuts a batch into mini-batches, and so how much of it must be traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmexp.losses.mini_batches import MiniBatches, Recompute
from mmexp.plan.batch import tokens_by_column

if TYPE_CHECKING:
    from mmexp.plan.batch import Batch
    from mmexp.plan.preparation import Prepared

# Rows of a batch that are traced where all of them are embedded at once: what is held grows with each as with these.
TRACED_ROWS = 8


def rows_to_trace(prepared: Prepared, batch: Batch) -> int:
    """As many rows as fill a mini-batch with one column and leave others to compute twice; a few, where a batch is
    embedded at once. All of a reranker's, whose loss forms the pairs."""
    if not prepared.kind.workers_preprocess:
        return batch.num_rows
    budget = budget_of(prepared)
    if budget is None:
        return min(batch.num_rows, TRACED_ROWS)
    widest = max(sum(column) for column in sizes_of(prepared, batch)) / batch.num_rows
    return min(batch.num_rows, int(budget / widest) + 2)


def budget_of(prepared: Prepared) -> int | None:
    """What a mini-batch of the loss holds at most, in tokens or inputs. None: it embeds a batch at once."""
    loss = prepared.kind.experiment.loss
    if not isinstance(loss, MiniBatches):
        return None
    return loss.mini_batch_size or loss.mini_batch_num_tokens


def sizes_of(prepared: Prepared, batch: Batch) -> list[list[int]]:
    """What each input of each column takes of that."""
    loss = prepared.kind.experiment.loss
    if getattr(loss, "mini_batch_size", None) is not None:
        return [[1] * batch.num_rows for _ in batch.columns]
    return tokens_of(prepared, batch) or [[1] * batch.num_rows for _ in batch.columns]


def tokens_of(prepared: Prepared, batch: Batch) -> list[list[int]] | None:
    """Tokens of each input of each column; None for a reranker."""
    if not prepared.kind.workers_preprocess:
        return None
    return [column.tolist() for column in tokens_by_column(batch.columns, prepared.model)]


def recomputed(prepared: Prepared, batch: Batch) -> float:
    """Share of the forward pass that the loss computes a second time: all but the last mini-batch, or all of it.

    What gradient checkpointing of single layers computes again counts as backward.
    """
    budget, loss = budget_of(prepared), prepared.kind.experiment.loss
    if budget is None or not isinstance(loss, MiniBatches):
        return 0.0
    if loss.recompute is Recompute.gradcache:
        return 1.0
    return max(0.0, 1 - budget / sum(map(sum, sizes_of(prepared, batch))))


def num_mini_batches(prepared: Prepared, tokens: list[list[int]] | None) -> int:
    """Forward passes of a batch: one for each column, or one for each mini-batch."""
    budget = budget_of(prepared)
    columns = tokens or [[1]]
    if budget is None:
        return len(columns)
    if prepared.kind.experiment.loss.mini_batch_size is not None:  # type: ignore[attr-defined]
        return sum(-(-len(column) // budget) for column in columns)
    return sum(max(1, -(-sum(column) // budget)) for column in columns)


def embeds_at_once(prepared: Prepared) -> bool:
    """Whether all inputs of a batch are in memory at a time."""
    return budget_of(prepared) is None
