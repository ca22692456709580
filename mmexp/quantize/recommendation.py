"""Which size and precision to use: the smallest shown to be no worse than the full one by more than a margin."""

from __future__ import annotations

from collections.abc import Sequence

from mmexp.compare.statistics import Difference
from mmexp.quantize.settings import Row


def is_non_inferior(row: Row, margin: float) -> bool:
    """Whether the 95% interval of the paired difference to the full setting lies above -`margin`.

    That is a test of non-inferiority, at 2.5% for each setting by itself. It is stricter than to ask that none be shown
    to be worse: few queries, which show little, make it fail. A setting that scores as the full one does on every query
    passes, though the interval of such a difference allows for queries that were not seen.
    """
    return row.to_full is None or is_equal(row.to_full) or bool(row.to_full.low > -margin)


def is_equal(difference: Difference) -> bool:
    """Whether both score the same, query by query."""
    return difference.wins == difference.losses == 0


def recommended(rows: Sequence[Row], margin: float) -> Row:
    """The fewest bytes per document of those that pass; of equals, the highest mean. The full setting always passes."""
    passing = [row for row in rows if is_non_inferior(row, margin)]
    return min(passing, key=lambda row: (row.measured.bytes_per_document, -row.estimate.mean))
