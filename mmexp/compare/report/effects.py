"""What each swept axis does to quality: means over the other axes, computed query by query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmexp.compare.report.tables import Interval
from mmexp.compare.settings import Scalar
from mmexp.compare.statistics import estimates

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison
    from mmexp.compare.settings import Setting


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


def effect(comparison: Comparison, axes: tuple[str, ...]) -> Effect | None:
    """The effect of one axis, or of two together. None: no combination of the others has all of their values."""
    blocks: dict[tuple[Scalar, ...], dict[tuple[Scalar, ...], Setting]] = {}
    for row in comparison.rows:
        parameters = row.setting.parameters
        others = tuple(parameters[key] for key in independent(comparison) if key not in axes)
        blocks.setdefault(others, {})[tuple(parameters[axis] for axis in axes)] = row.setting
    order = {axis: {value: n for n, value in enumerate(comparison.axes[axis])} for axis in axes}
    values = sorted(
        {key for block in blocks.values() for key in block},
        key=lambda key: [order[axis][value] for axis, value in zip(axes, key, strict=True)],
    )
    whole = [block for block in blocks.values() if len(block) == len(values)]
    # Two axes are crossed where each value of one meets each of the other.
    crossed = np.prod([len({value[n] for value in values}) for n in range(len(axes))]) == len(values)
    if not whole or len(values) < 2 or not crossed:
        return None
    samples = [mean_over(comparison, [block[value] for block in whole]) for value in values]
    return Effect(axes, values, [Interval.of(estimate) for estimate in estimates(samples)], len(whole))


def mean_over(comparison: Comparison, settings: Sequence[Setting]) -> np.ndarray:
    """The mean score of every query over settings: (seeds, queries), or (1, queries) where they differ in seeds."""
    scores = [comparison.scores(setting, "final") for setting in settings]
    samples = [sample for sample in scores if sample is not None]
    if len({tuple(setting.seeds) for setting in settings}) > 1:
        samples = [sample.mean(axis=0, keepdims=True) for sample in samples]
    return np.mean(samples, axis=0)


def independent(comparison: Comparison) -> list[str]:
    """The axes, without those that say the same as another, such as `data.jpeg_pixels=${model.max_pixels}`.

    Of two that say the same, what was typed is kept.
    """
    rows = comparison.rows
    typed = {
        override.lstrip("+~").partition("=")[0]
        for row in rows
        for run in row.setting.runs
        for override in run.result.get("overrides") or []
    }
    kept: dict[tuple[int, ...], str] = {}
    for axis in sorted(comparison.axes, key=lambda axis: axis not in typed):
        numbers: dict[Scalar, int] = {}
        partition = tuple(numbers.setdefault(row.setting.parameters[axis], len(numbers)) for row in rows)
        kept.setdefault(partition, axis)
    return [axis for axis in comparison.axes if axis in kept.values()]
