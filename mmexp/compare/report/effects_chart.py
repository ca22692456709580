"""Main effects of the swept axes, and their pairwise interactions."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from mmexp.compare.report.charts import MOST_STYLES, Chart, LeftOut, error_bars, panels, style
from mmexp.compare.report.effects import Effect, effects, varied_together
from mmexp.compare.report.naming import axis_names
from mmexp.compare.report.tables import Cell, Table
from mmexp.compare.settings import Scalar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mmexp.compare.comparison import Comparison

MOST_PANELS = 12
PANEL, TALL_PANEL = (3.6, 2.6), (3.6, 3.1)
COLUMNS = 2


def main_effects(comparison: Comparison) -> Chart | LeftOut:
    """A panel for every swept axis."""
    title = "Main effects of what was swept"
    found = effects(comparison, [(axis,) for axis in varied_together(comparison)])
    known = [of_axis for of_axis in found.values() if of_axis is not None]
    if not known:
        why = "no two settings differ in one axis alone." if comparison.axes else "nothing was swept."
        return LeftOut(title, why)
    drawn, metric, names = known[:MOST_PANELS], comparison.metric.upper(), axis_names(comparison.axes)
    figure, grid = panels(len(drawn), PANEL, COLUMNS)
    for axes, of_axis in zip(grid, drawn, strict=True):
        places, looks = range(len(of_axis.values)), style(0)
        error_bars(axes, places, of_axis.intervals, color=looks.color, marker=looks.marker)
        _name_values(axes, names[of_axis.axes[0]], [value for (value,) in of_axis.values])
    for axes in grid[::COLUMNS]:
        axes.set_ylabel(metric)
    rows: list[list[Cell]] = [
        [names[of_axis.axes[0]], value, interval, of_axis.num_settings]
        for of_axis in drawn
        for (value,), interval in zip(of_axis.values, of_axis.intervals, strict=True)
    ]
    unpaired = [names[axis] for (axis,), of_axis in found.items() if of_axis is None]
    reading = (
        "Each point is the mean over the combinations of the other axes in which all values of this one were run; bars "
        "are 95% intervals."
        + (f" Not drawn, because no such combination was run: {', '.join(unpaired)}." if unpaired else "")
        + _not_drawn(len(known) - len(drawn))
        + _together(comparison, names)
    )
    return Chart("main_effects", title, reading, Table(["axis", "value", metric, "settings"], rows), figure)


def interactions(comparison: Comparison) -> Chart | LeftOut:
    """A panel for every two swept axes that were crossed."""
    title = "Pairwise interactions of what was swept"
    pairs = effects(comparison, combinations(varied_together(comparison), 2))
    crossed = [pair for pair in pairs.values() if pair is not None and len(_lines(pair)) <= MOST_STYLES]
    if not crossed:
        return LeftOut(title, "of no two swept axes was every value of one run with every value of the other.")
    drawn, metric, names = crossed[:MOST_PANELS], comparison.metric.upper(), axis_names(comparison.axes)
    figure, grid = panels(len(drawn), TALL_PANEL, COLUMNS)
    for axes, pair in zip(grid, drawn, strict=True):
        _draw_pair(axes, pair, names)
    for axes in grid[::COLUMNS]:
        axes.set_ylabel(metric)
    rows: list[list[Cell]] = [
        [f"{names[pair.axes[0]]} {first} × {names[pair.axes[1]]} {second}", interval, pair.num_settings]
        for pair in drawn
        for (first, second), interval in zip(pair.values, pair.intervals, strict=True)
    ]
    reading = (
        "Lines that are not parallel say that what one axis does depends on the other; bars are 95% intervals, and "
        "points are moved sideways a little so that they can be told apart." + _not_drawn(len(crossed) - len(drawn))
    )
    return Chart("interactions", title, reading, Table(["values of two axes", metric, "settings"], rows), figure)


def _lines(pair: Effect) -> list[Scalar]:
    """The values of the second axis, each of which is a line."""
    return list(dict.fromkeys(second for _, second in pair.values))


def _draw_pair(axes: Axes, pair: Effect, names: dict[str, str]) -> None:
    firsts, seconds = list(dict.fromkeys(first for first, _ in pair.values)), _lines(pair)
    by_value = dict(zip(pair.values, pair.intervals, strict=True))
    for n, second in enumerate(seconds):
        places = [place + 0.06 * (n - (len(seconds) - 1) / 2) for place in range(len(firsts))]
        color, marker, dashes = style(n)
        values = [by_value[first, second] for first in firsts]
        error_bars(axes, places, values, color=color, marker=marker, linestyle=dashes, label=_short(second))
    _name_values(axes, names[pair.axes[0]], firsts)
    looks: dict[str, Any] = {"fontsize": 7.5, "title_fontsize": 7.5, "columnspacing": 1.2}
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "alignment": "left", "ncols": 3}
    axes.legend(title=names[pair.axes[1]], **place, **looks)


def _name_values(axes: Axes, name: str, values: list[Scalar]) -> None:
    axes.set_xticks(range(len(values)), [_short(value) for value in values])
    axes.margins(x=0.2)
    axes.set_xlabel(name)


def _together(comparison: Comparison, names: dict[str, str]) -> str:
    """A sentence on what cannot be told from an axis."""
    pairs = {axis: others for axis, others in varied_together(comparison).items() if others}
    words = (f"{names[axis]} with {', '.join(names[other] for other in others)}" for axis, others in pairs.items())
    return f" What was varied together cannot be told apart: {'; '.join(words)}." if pairs else ""


def _not_drawn(count: int) -> str:
    return f" {count} more are not drawn." if count else ""


def _short(value: Scalar) -> str:
    words = f"{value:g}" if isinstance(value, float) else str(value)
    return words if len(words) <= 12 else f"{words[:11]}…"
