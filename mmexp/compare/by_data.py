"""Runs compared with those of the same evaluation data alone: scores on different queries make no ranking."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from mmexp.compare.comparison import Comparison, compare, find_reference, has_scores
from mmexp.compare.runs import Run
from mmexp.compare.scores import DIRECTION
from mmexp.schema import ConfigError

MOST_NAMES = 3


@dataclass
class ComparedByData:
    """The comparisons of runs that may have different evaluation data."""

    comparisons: dict[str, Comparison] = field(default_factory=dict)
    """By what the runs were evaluated on, that of the newest run first."""

    not_compared: list[Run] = field(default_factory=list)
    """The runs without a result, whatever their data."""

    refused: dict[str, str] = field(default_factory=dict)
    """{evaluation data: why its runs cannot be compared}."""

    notes: list[str] = field(default_factory=list)
    """What a reader must know of all of them."""


def compare_by_data(
    runs: Sequence[Run], reference: str | None = None, metric: str | None = None, part: str | None = None
) -> ComparedByData:
    """Compare runs, oldest first, data by data; with `reference` those that were evaluated on its data.

    Arguments as of `compare`. Raises `ConfigError` for a reference that is not among the runs.
    """
    found, groups = ComparedByData(), _by_data(runs)
    for (fingerprint, _), group in groups.items():
        name = _name_of(group)
        name = f"{name}, {fingerprint}" if name in found.comparisons or name in found.refused else name
        try:
            found.comparisons[name] = _compare(group, reference, metric, part)
            found.not_compared += found.comparisons[name].unfinished
        except ConfigError as error:
            found.refused[name] = str(error)
    if reference is not None and found.comparisons:
        find_reference([row for comparison in found.comparisons.values() for row in comparison.rows], reference)
    compared = {run for group in groups.values() for run in group}
    found.not_compared += [run for run in runs if run not in compared]
    return found


def _compare(runs: Sequence[Run], reference: str | None, metric: str | None, part: str | None) -> Comparison:
    """With their best where the reference is none of them."""
    if reference is not None:
        with suppress(ConfigError):
            return compare(runs, reference, metric, part)
    return compare(runs, None, metric, part)


def _by_data(runs: Sequence[Run]) -> dict[tuple[str | None, bool], list[Run]]:
    """Runs with scores by their evaluation data, that of the newest first; rerankers, which are scored among drawn
    documents, apart from what searches all."""
    groups: dict[tuple[str | None, bool], list[Run]] = {}
    for run in reversed(runs):
        if has_scores(run):
            groups.setdefault((run.fingerprint, run.part == DIRECTION), []).insert(0, run)
    return groups


def _name_of(runs: Sequence[Run]) -> str:
    """The experiments, and how many queries their data has: "vdr_tiny, 300 queries"."""
    experiments = list(dict.fromkeys(str(run.result.get("experiment")) for run in runs))
    more = [f"{len(experiments) - MOST_NAMES} more"] if len(experiments) > MOST_NAMES else []
    queries = runs[0].result.get("num_queries")
    return ", ".join([*experiments[:MOST_NAMES], *more, *([f"{queries} queries"] if queries else [])])
