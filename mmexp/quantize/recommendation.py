"""Which size and precision to use: the smallest shown to be no worse than the full one by more than a margin, or that
scores the same on every query."""

from __future__ import annotations

from collections.abc import Sequence

from mmexp.quantize.settings import Row


def is_non_inferior(row: Row, margin: float) -> bool:
    """Whether what the setting may lose is shown to be less than `margin`.

    That is a test of non-inferiority: that any setting passes which is worse by `margin` or more has a probability of
    2.5%, for all settings together, so the smallest of those that pass may be picked. It is stricter than to ask that
    none be shown to be worse: few queries, which show little, make it fail.
    """
    return row.lower_limit is None or row.lower_limit > -margin


def is_equal(row: Row) -> bool:
    """Whether it scores as the full one on every query. That shows nothing of queries that were not asked."""
    return row.to_full is not None and row.to_full.wins == row.to_full.losses == 0


def recommended(rows: Sequence[Row], margin: float) -> Row:
    """The fewest bytes per document of those that are non-inferior or equal; of equals, the highest mean. The full
    setting is always one of them."""
    passing = [row for row in rows if is_non_inferior(row, margin) or is_equal(row)]
    return min(passing, key=lambda row: (row.measured.bytes_per_document, -row.estimate.mean))
