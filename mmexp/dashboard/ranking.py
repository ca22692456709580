"""The comparison as two tables of Trackio's, quality and cost: each few narrow columns, as it is cut off where it is
wider than its page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmexp.compare.table import COSTS, MAX_PARAMETERS, difference_words, estimate_words
from mmexp.recording.wording import UNKNOWN, number
from mmexp.sweep.names import short_names

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison, Row
    from mmexp.compare.runs import Run
    from mmexp.statistics.means import Difference

SHOWN_COSTS = ("hours", "GPU-hours", "pages/s", "peak GB", "kWh", "kg CO2", "points/kWh")
"""Energy by part is in the dashboard's own bars."""


def ranking(comparison: Comparison) -> list[dict[str, str]]:
    """A row for each setting, best first; in each the same columns in the same order, as Trackio needs them."""
    return [_quality(comparison, rank, row) for rank, row in enumerate(comparison.rows, 1)]


def cost(comparison: Comparison) -> list[dict[str, str]]:
    """What one run of each setting took, in the order of the ranking."""
    return [
        {"#": str(rank), **_setting(comparison, row), **{name: number(COSTS[name](row)) for name in SHOWN_COSTS}}
        for rank, row in enumerate(comparison.rows, 1)
    ]


def not_compared(runs: Iterable[Run]) -> list[dict[str, str]]:
    """The runs that have no result, and why."""
    return [{"run": run.name, "status": run.status, "why": run.error or UNKNOWN} for run in runs]


def _quality(comparison: Comparison, rank: int, row: Row) -> dict[str, str]:
    reference = comparison.rows.index(comparison.reference) + 1
    return {
        "#": str(rank),
        **_setting(comparison, row),
        comparison.metric.upper(): estimate_words(row.estimate),
        **({"seeds": str(row.estimate.num_seeds)} if comparison.has_several_seeds else {}),
        "gain over baseline": _in_words(row.to_baseline),
        f"against #{reference}": "reference" if rank == reference else _in_words(row.to_reference),
    }


def _setting(comparison: Comparison, row: Row) -> dict[str, str]:
    """What was varied, by short names where those say which is meant."""
    keys = list(comparison.axes)
    if not 0 < len(keys) <= MAX_PARAMETERS:
        return {"setting": row.setting.label.replace("__", " ")}
    return {name: str(row.setting.parameters[key]) for name, key in zip(short_names(keys), keys, strict=True)}


def _in_words(difference: Difference | None) -> str:
    """On one line: interval, p, effect size where there is one, and whether it is a difference."""
    return difference_words(difference).replace("\n", ", ")
