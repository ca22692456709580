"""What all figures share: what they are, and how lines are told apart without color."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from mmexp.compare.report.tables import Interval, Table
from mmexp.statistics.means import reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mmexp.compare.comparison import Comparison, Row

INK, GREY = "#1b1f24", "#8a929c"
"""The page gives these two other values in the dark."""

# Okabe and Ito's colors, which people with any color vision tell apart; yellow is too faint on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "os^DvP"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))
MOST_STYLES = len(COLORS)
MOST_SETTINGS = 12
"""Figures with a line for every setting show the best ones, where there are more."""
LONG_NAME = 40
"""Characters of a name in a legend, two of which have room side by side."""

SMALL_KWH = 0.01
"""Below, ticks in kWh are so long that they overlap."""

KINDS = ("png", "svg")
NAMES = (
    *("quality_over_cost", "quality_over_dim", "quality_over_top_k", "quality_over_size"),
    *("main_effects", "interactions", "learning_curves"),
)
"""Of the files of all figures that there are."""

SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "grid.alpha": 0.25,
    "grid.color": GREY,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "mmexp",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Chart:
    """A figure with the table that it is drawn from."""

    name: str
    """Of its files; one of `NAMES`."""

    title: str
    reading: str
    """How it is read, and what it does not show."""

    table: Table
    figure: Figure


@dataclass(frozen=True)
class LeftOut:
    """A figure that has nothing to show."""

    title: str
    reason: str


class Style(NamedTuple):
    """What tells one line from others."""

    color: str
    marker: str
    dashes: Any


def style(position: int) -> Style:
    """The style of one of at most `MOST_STYLES` lines."""
    return Style(COLORS[position], MARKERS[position], DASHES[position])


def panels(count: int, size: tuple[float, float], columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of `size` inches that share their vertical axis, at most `columns` side by side.

    It is as wide as for `columns`, and a panel by itself too: what shows figures at one width would enlarge its words.
    """
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    grid = figure.subplots(rows, min(count, columns), sharey=True, squeeze=False)
    for unused in grid.flat[count:]:
        unused.remove()
    for axes in grid.flat[:count]:
        axes.grid(True)
    return figure, list(grid.flat[:count])


def error_bars(axes: Axes, places: Sequence[float], values: Sequence[Interval], **looks: Any) -> Any:
    """Draw means with their intervals."""
    means = [value.mean for value in values]
    looks = {"capsize": 2.5, "elinewidth": 1} | looks
    return axes.errorbar(places, means, yerr=reach(values), **looks)


def best_and_reference(comparison: Comparison, most: int = MOST_SETTINGS) -> list[Row]:
    """The best `most` settings, and the reference."""
    rows = comparison.rows[:most]
    return rows if comparison.reference in rows else [*rows, comparison.reference]


def looks_of(rows: Sequence[Row], comparison: Comparison) -> dict[int, Style | None]:
    """How the settings are drawn, by their position in `rows`. Where they are too many to tell apart, all but the
    three best and the reference are grey: None."""
    if len(rows) <= MOST_STYLES:
        return {n: style(n) for n in range(len(rows))}
    picked = list(dict.fromkeys([0, 1, 2, rows.index(comparison.reference)]))
    return {n: style(picked.index(n)) if n in picked else None for n in range(len(rows))}


def spread_of_settings(comparison: Comparison, rows: Sequence[Row]) -> str:
    """A sentence on what is left out of a figure with a line for every setting."""
    left_out = len(comparison.rows) - len(rows)
    return f" Of {len(comparison.rows)} settings, the best {MOST_SETTINGS} and the reference." if left_out else ""


def energy_unit(kwhs: Iterable[float | None]) -> tuple[str, float]:
    """The unit that energies are shown in, and what a kWh is of it: kWh, or Wh where all are small."""
    largest = max((kwh for kwh in kwhs if kwh is not None), default=1.0)
    return ("kWh", 1.0) if largest >= SMALL_KWH else ("Wh", 1000.0)


def logarithmic(axes: Axes) -> None:
    """Give `axes` a logarithmic horizontal axis, with numbers in words: 300M."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: in_short(value)))
    axes.minorticks_off()


def in_short(value: float) -> str:
    """20,000,000 as "20M"."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend of what `axes` shows, below all panels."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:  # those shown are none of the settings that are named
        return
    columns = 2 if max(map(len, labels)) <= LONG_NAME else 1
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, fontsize=8)


def remove_old(folder: Path) -> None:
    """Remove the figures of an earlier comparison, some of which may have nothing to show now."""
    for name in NAMES:
        for kind in KINDS:
            (folder / f"{name}.{kind}").unlink(missing_ok=True)


def save(chart: Chart, folder: Path) -> str:
    """Write a chart as PNG and SVG; return the SVG."""
    with matplotlib.rc_context(SETTINGS):
        stream = io.StringIO()
        chart.figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
        chart.figure.set_layout_engine("none")  # it is laid out now, which takes as long as drawing it
        chart.figure.savefig(folder / f"{chart.name}.png", dpi=150)
    svg = stream.getvalue()
    (folder / f"{chart.name}.svg").write_text(svg)
    return svg
