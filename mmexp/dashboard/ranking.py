"""The comparison as a table of Trackio's: few narrow columns, for it is cut off where it is wider than its page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmexp.compare.table import MAX_PARAMETERS, UNKNOWN, number
from mmexp.sweep.names import SHORT

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison, Row
    from mmexp.compare.runs import Run
    from mmexp.compare.statistics import Difference


def ranking(comparison: Comparison) -> list[dict[str, str]]:
    """A row for each setting, best first; in each the same columns in the same order, as Trackio needs them."""
    return [_row(comparison, rank, row) for rank, row in enumerate(comparison.rows, 1)]


def not_compared(runs: Iterable[Run]) -> list[dict[str, str]]:
    """The runs that have no result, and why."""
    return [{"run": run.name, "status": run.status, "why": run.error or UNKNOWN} for run in runs]


def _row(comparison: Comparison, rank: int, row: Row) -> dict[str, str]:
    estimate, cost = row.estimate, row.cost
    reference = comparison.rows.index(comparison.reference) + 1
    return {
        "#": str(rank),
        **_setting(comparison, row),
        comparison.metric.upper(): f"{estimate.mean:.4f}",
        "95% interval": f"{estimate.low:.3f} to {estimate.high:.3f}",
        **({"seeds": str(estimate.num_seeds)} if _has_seeds(comparison) else {}),
        "gain": UNKNOWN if row.to_baseline is None else f"{row.to_baseline.delta:+.3f}",
        f"against #{reference}": "reference" if rank == reference else _in_words(row.to_reference),
        "hours": number(cost.hours),
        "kWh": number(cost.kwh),
        "peak GB": number(None if cost.peak_memory_bytes is None else cost.peak_memory_bytes / 1e9),
    }


def _has_seeds(comparison: Comparison) -> bool:
    return any(row.estimate.num_seeds > 1 for row in comparison.rows)


def _setting(comparison: Comparison, row: Row) -> dict[str, str]:
    """What was varied, by short names where those say which is meant."""
    keys = list(comparison.axes)
    if not 0 < len(keys) <= MAX_PARAMETERS:
        return {"setting": row.setting.label.replace("__", " ")}
    short = [SHORT.get(key, key.rpartition(".")[2]) for key in keys]
    names = short if len(set(short)) == len(short) else keys
    return {name: str(row.setting.parameters[key]) for name, key in zip(names, keys, strict=True)}


def _in_words(difference: Difference | None) -> str:
    return UNKNOWN if difference is None else f"{difference.delta:+.3f}, {difference.words}"
