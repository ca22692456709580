"""Main effects of the swept axes, and their pairwise interactions."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from mmexp.compare.report.charts import MOST_STYLES, Chart, LeftOut, error_bars, panels, style
from mmexp.compare.report.effects import Effect, effect, independent
from mmexp.compare.report.tables import Cell, Table
from mmexp.compare.settings import Scalar

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison

MOST_PANELS = 12
PANEL = (3.0, 2.7)


def main_effects(comparison: Comparison) -> Chart | LeftOut:
    """A panel for every swept axis."""
    title = "Main effects of what was swept"
    found = [(axis, effect(comparison, (axis,))) for axis in independent(comparison)]
    effects = [of_axis for _, of_axis in found if of_axis is not None]
    if not effects:
        return LeftOut(title, _why_none(comparison))
    drawn = effects[:MOST_PANELS]
    rows: list[list[Cell]] = [
        [of_axis.axes[0], value, interval, of_axis.num_settings]
        for of_axis in drawn
        for (value,), interval in zip(of_axis.values, of_axis.intervals, strict=True)
    ]
    metric = comparison.metric.upper()
    figure, grid = panels(len(drawn), PANEL, 4)
    for axes, of_axis in zip(grid, drawn, strict=True):
        places = range(len(of_axis.values))
        looks = style(0)
        error_bars(axes, places, of_axis.intervals, color=looks.color, marker=looks.marker)
        axes.set_xticks(places, [_short(value) for (value,) in of_axis.values])
        axes.margins(x=0.2)
        axes.set_xlabel(of_axis.axes[0])
    for axes in grid[::4]:
        axes.set_ylabel(metric)
    unpaired = [axis for axis, of_axis in found if of_axis is None]
    reading = (
        "Each point is the mean over the combinations of the other axes in which all values of this one were run; bars "
        "are 95% intervals."
        + (f" Not drawn, because no such combination was run: {', '.join(unpaired)}." if unpaired else "")
        + (f" The first {MOST_PANELS} of {len(effects)} axes." if len(effects) > len(drawn) else "")
    )
    table = Table(["axis", "value", metric, "settings in the mean"], rows)
    return Chart("main_effects", title, reading, table, figure)


def interactions(comparison: Comparison) -> Chart | LeftOut:
    """A panel for every two swept axes that were crossed."""
    title = "Pairwise interactions of what was swept"
    pairs = [effect(comparison, pair) for pair in combinations(independent(comparison), 2)]
    crossed = [pair for pair in pairs if pair is not None and _num_lines(pair) <= MOST_STYLES]
    if not crossed:
        return LeftOut(
            title, "no two axes were swept of which every value of one was run with every value of the other."
        )
    drawn = crossed[:MOST_PANELS]
    rows: list[list[Cell]] = [
        [pair.axes[0], first, pair.axes[1], second, interval, pair.num_settings]
        for pair in drawn
        for (first, second), interval in zip(pair.values, pair.intervals, strict=True)
    ]
    metric = comparison.metric.upper()
    figure, grid = panels(len(drawn), (3.6, 3.2), 3)
    for axes, pair in zip(grid, drawn, strict=True):
        firsts = list(dict.fromkeys(first for first, _ in pair.values))
        seconds = list(dict.fromkeys(second for _, second in pair.values))
        by_value = dict(zip(pair.values, pair.intervals, strict=True))
        for n, second in enumerate(seconds):
            looks = style(n)
            places = [place + 0.08 * (n - (len(seconds) - 1) / 2) for place in range(len(firsts))]
            values = [by_value[first, second] for first in firsts]
            dashes = looks.dashes
            error_bars(
                axes, places, values, color=looks.color, marker=looks.marker, linestyle=dashes, label=_short(second)
            )
        axes.set_xticks(range(len(firsts)), [_short(first) for first in firsts])
        axes.margins(x=0.15)
        axes.set_xlabel(pair.axes[0])
        axes.legend(title=pair.axes[1], fontsize=7, title_fontsize=7, ncols=2)
    for axes in grid[::3]:
        axes.set_ylabel(metric)
    reading = (
        "Lines that are not parallel say that what one axis does depends on the other; bars are 95% intervals, and "
        "points are moved sideways a little so that they can be told apart."
        + (f" {len(crossed) - len(drawn)} more pairs are not drawn." if len(crossed) > len(drawn) else "")
    )
    table = Table(["axis", "value", "other axis", "its value", metric, "settings in the mean"], rows)
    return Chart("interactions", title, reading, table, figure)


def _num_lines(pair: Effect) -> int:
    return len({second for _, second in pair.values})


def _why_none(comparison: Comparison) -> str:
    if not comparison.axes:
        return "nothing was swept."
    return "no two settings differ in one axis alone."


def _short(value: Scalar) -> str:
    words = f"{value:g}" if isinstance(value, float) else str(value)
    return words if len(words) <= 12 else f"{words[:11]}…"
