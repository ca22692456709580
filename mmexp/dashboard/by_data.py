"""Runs compared with those of the same evaluation data alone: scores on different queries make no ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmexp.compare.comparison import Comparison, compare
from mmexp.compare.runs import Run
from mmexp.schema import ConfigError

MOST_NAMES = 3


@dataclass
class ComparedByData:
    """The comparisons of a project."""

    comparisons: dict[str, Comparison] = field(default_factory=dict)
    """By what the runs were evaluated on, that of the newest run first."""

    not_compared: list[Run] = field(default_factory=list)
    """The runs without a result, whatever their data."""

    refused: dict[str, str] = field(default_factory=dict)
    """{evaluation data: why its runs cannot be compared}."""


def compare_by_data(runs: Sequence[Run]) -> ComparedByData:
    """Compare runs, oldest first, data by data."""
    by_fingerprint: dict[str, list[Run]] = {}
    for run in reversed(runs):
        if run.status == "finished" and run.fingerprint is not None:
            by_fingerprint.setdefault(run.fingerprint, []).insert(0, run)
    found = ComparedByData()
    for fingerprint, group in by_fingerprint.items():
        name = _name_of(group)
        name = f"{name}, {fingerprint}" if name in found.comparisons or name in found.refused else name
        try:
            comparison = compare(group)
        except ConfigError as error:
            found.refused[name] = str(error)
        else:
            found.comparisons[name] = comparison
            found.not_compared += comparison.unfinished
    grouped = {run for group in by_fingerprint.values() for run in group}
    found.not_compared += [run for run in runs if run not in grouped]
    return found


def _name_of(runs: Sequence[Run]) -> str:
    """The experiments, and how many queries their data has: "vdr_tiny, 300 queries"."""
    experiments = list(dict.fromkeys(str(run.result.get("experiment")) for run in runs))
    more = [f"{len(experiments) - MOST_NAMES} more"] if len(experiments) > MOST_NAMES else []
    queries = runs[0].result.get("num_queries")
    return ", ".join([*experiments[:MOST_NAMES], *more, *([f"{queries} queries"] if queries else [])])
