"""Which size and precision to use: the smallest that is not shown to be worse than the full one by more than a margin,
and the smallest that is shown not to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmexp.quantize.settings import Row


def recommended(rows: Sequence[Row], margin: float) -> Row:
    """The fewest bytes per document of those that are not shown to be worse than the full one by more than `margin`.

    The 95% interval of their difference does not lie below -margin. Few queries show little, and so rule out little.
    """
    return _smallest(row for row in rows if row.to_full is None or row.to_full.high >= -margin)


def surest(rows: Sequence[Row], margin: float) -> Row:
    """The fewest bytes per document of those that are non-inferior or equal. The full setting is always one of them."""
    return _smallest(row for row in rows if is_non_inferior(row, margin) or is_equal(row))


def is_non_inferior(row: Row, margin: float) -> bool:
    """Whether what the setting may lose is shown to be less than `margin`.

    That is a test of non-inferiority: that any setting passes which is worse by `margin` or more has a probability of
    2.5%, for all settings together, so the smallest of those that pass may be picked.
    """
    return row.lower_limit is None or row.lower_limit > -margin


def is_equal(row: Row) -> bool:
    """Whether it scores as the full one on every query. That shows nothing of queries that were not asked."""
    return row.to_full is not None and row.to_full.wins == row.to_full.losses == 0


def _smallest(rows: Iterable[Row]) -> Row:
    """Of equals, the highest mean."""
    return min(rows, key=lambda row: (row.measured.bytes_per_document, -row.estimate.mean))
