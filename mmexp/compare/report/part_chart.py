"""Quality over the embedding size, or over the number of documents reranked, before and after training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmexp.compare.report.charts import (
    GREY,
    MOST_STYLES,
    Chart,
    LeftOut,
    error_bars,
    legend_below,
    looks_of,
    panels,
)
from mmexp.compare.report.naming import ranked_name
from mmexp.compare.report.part_scores import samples_by_size
from mmexp.compare.report.tables import Interval, Table
from mmexp.statistics.means import estimates

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mmexp.compare.comparison import Comparison, Row

PARTS = {"dim": "embedding size (dimensions)", "top_k": "documents reranked"}
STAGES = ("baseline", "final")

Curve = dict[int, Interval]
"""{embedding size or number of documents: metric}."""


def quality_over_parts(comparison: Comparison) -> Chart | LeftOut:
    """The metric of every setting over the sizes that it was evaluated at."""
    rows = comparison.rows
    kinds = {run.part for row in comparison.rows for run in row.setting.runs}
    kind = kinds.pop() if len(kinds) == 1 else ""
    title = f"{comparison.metric.upper()} over {PARTS.get(kind, PARTS['dim'])}"
    if kind not in PARTS:
        return LeftOut(title, "what is compared has no embedding sizes.")
    curves = curves_of(comparison, rows)
    sizes = sorted({size for curve in curves.values() for size in curve})
    if len(sizes) < 2:
        return LeftOut(title, "all is measured at one size.")
    names = [ranked_name(row, comparison) for row in rows]
    table = Table(
        ["setting", "stage", *(f"{size:,}" for size in sizes)],
        [[names[n], stage, *map(curve.get, sizes)] for (n, stage), curve in curves.items()],
    )
    figure, [axes] = panels(1, (7.5, 4.5), 1)
    _draw(axes, curves, rows, comparison)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel(PARTS[kind])
    axes.set_ylabel(comparison.metric.upper())
    legend_below(figure, axes)
    reading = (
        "Filled markers are after training, hollow ones and thin lines before; bars are 95% intervals, and lines are "
        "moved sideways a little so that they can be told apart."
        + (
            " Grey are the other settings, dotted before training; the table has them all."
            if len(rows) > MOST_STYLES
            else ""
        )
    )
    return Chart(f"quality_over_{kind}", title, reading, table, figure)


def curves_of(comparison: Comparison, rows: list[Row]) -> dict[tuple[int, str], Curve]:
    """{(position in `rows`, stage): curve}, of what was measured query by query."""
    curves: dict[tuple[int, str], Curve] = {}
    for stage in STAGES:
        samples = [samples_by_size(comparison, row.setting, stage) for row in rows]
        # Size by size: the same runs at two sizes do not tell of the seeds twice.
        for size in sorted({size for of_sizes in samples for size in of_sizes}):
            measured = [n for n, of_sizes in enumerate(samples) if size in of_sizes]
            found = estimates([samples[n][size] for n in measured])
            for n, estimate in zip(measured, found, strict=True):
                curves.setdefault((n, stage), {})[size] = Interval.of(estimate)
    return {place: curves[place] for place in sorted(curves)}


def _draw(axes: Axes, curves: dict[tuple[int, str], Curve], rows: list[Row], comparison: Comparison) -> None:
    looks = looks_of(rows, comparison)
    drawn = [n for n, style in looks.items() if style is not None]
    for (n, stage), curve in curves.items():
        sizes, values = sorted(curve), [curve[size] for size in sorted(curve)]
        style, is_final = looks[n], stage == "final"
        if style is None:
            means = [value.mean for value in values]
            axes.plot(sizes, means, color=GREY, linewidth=0.7, linestyle="-" if is_final else ":", alpha=0.6, zorder=1)
            continue
        shift = 2 ** (0.04 * (drawn.index(n) - (len(drawn) - 1) / 2))
        error_bars(
            axes,
            [size * shift for size in sizes],
            values,
            color=style.color,
            marker=style.marker,
            linestyle=style.dashes,
            linewidth=1.5 if is_final else 0.8,
            fillstyle="full" if is_final else "none",
            label=ranked_name(rows[n], comparison) if is_final else None,
        )
