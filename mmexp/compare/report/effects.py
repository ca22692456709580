"""What each swept axis does to quality: means over the other axes, computed query by query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from mmexp.compare.report.tables import Interval
from mmexp.compare.settings import Scalar
from mmexp.statistics.means import estimates

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison
    from mmexp.compare.settings import Setting


Block = dict[tuple[Scalar, ...], "Setting"]
"""{values of some axes: the setting that has them}, all other axes being equal."""


@dataclass(frozen=True)
class Effect:
    """Means over all combinations of the other axes in which every one of `values` was run.

    Combinations that lack one are left out, because means over different ones say nothing of the axis.
    """

    axes: tuple[str, ...]
    """One axis for a main effect, two for an interaction."""

    values: list[tuple[Scalar, ...]]
    """Values of the axes, sorted by the first."""

    intervals: list[Interval]
    """The metric at each of `values`."""

    num_settings: int
    """How many settings each of `intervals` is the mean of."""


def effects(comparison: Comparison, of: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], Effect | None]:
    """The effect of each axis, or of each pair of axes, in `of`.

    None: no combination of the other axes has all of their values.
    """
    independent = list(varied_together(comparison))
    blocks = {axes: whole_blocks(comparison, axes, [key for key in independent if key not in axes]) for axes in of}
    return {axes: _effect(comparison, axes, whole) if whole else None for axes, whole in blocks.items()}


def _effect(comparison: Comparison, axes: tuple[str, ...], whole: Sequence[Block]) -> Effect:
    values = list(whole[0])
    # No two of these are means of the same settings, so all of them tell how much seeds matter.
    samples = [mean_over(comparison, [block[value] for block in whole]) for value in values]
    intervals = [Interval.of(estimate) for estimate in estimates(samples, comparison.strata)]
    return Effect(axes, values, intervals, len(whole))


def whole_blocks(comparison: Comparison, axes: tuple[str, ...], others: Sequence[str]) -> list[Block]:
    """For each combination of the other axes that has all values of `axes`, its setting at each of them, in order."""
    blocks: dict[tuple[Scalar, ...], Block] = {}
    for row in comparison.rows:
        parameters = row.setting.parameters
        block = blocks.setdefault(tuple(parameters[key] for key in others), {})
        block[tuple(parameters[axis] for axis in axes)] = row.setting
    run = {value for block in blocks.values() for value in block}
    values = [value for value in product(*(comparison.axes[axis] for axis in axes)) if value in run]
    # Two axes are crossed where each value of one meets each of the other.
    is_crossed = prod(len({value[n] for value in values}) for n in range(len(axes))) == len(values)
    if len(values) < 2 or not is_crossed:
        return []
    return [{value: block[value] for value in values} for block in blocks.values() if len(block) == len(values)]


def mean_over(comparison: Comparison, settings: Sequence[Setting]) -> np.ndarray:
    """The mean score of every query over settings: (seeds, queries), of as many seeds as all have, and of the same
    seeds as far as they do."""
    count = min(len(setting.runs) for setting in settings)
    shared = set.intersection(*(set(setting.seeds) for setting in settings))
    samples = []
    for setting in settings:
        places = [n for n, seed in enumerate(setting.seeds) if seed in shared]
        chosen = [*places, *(n for n in range(len(setting.runs)) if n not in places)][:count]
        if (scores := comparison.scores(setting, "final")) is not None:
            samples.append(scores[chosen])
    return np.mean(samples, axis=0)


def varied_together(comparison: Comparison) -> dict[str, list[str]]:
    """The axes that vary apart from one another, each with those that say the same, such as
    `data.jpeg_pixels=${model.max_pixels}`. Of those, one that was typed stands for all."""
    rows = comparison.rows
    typed = {
        override.lstrip("+~").partition("=")[0]
        for row in rows
        for run in row.setting.runs
        for override in run.result.get("overrides") or []
    }
    groups: dict[tuple[int, ...], list[str]] = {}
    for axis in sorted(comparison.axes, key=lambda axis: axis not in typed):
        numbers: dict[Scalar, int] = {}
        partition = tuple(numbers.setdefault(row.setting.parameters[axis], len(numbers)) for row in rows)
        groups.setdefault(partition, []).append(axis)
    groups_of = {first: others for first, *others in groups.values()}
    return {axis: groups_of[axis] for axis in comparison.axes if axis in groups_of}
