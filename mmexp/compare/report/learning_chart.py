"""Learning curves: quality over the samples seen, and over the energy used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmexp.compare.report.charts import (
    GREY,
    Chart,
    LeftOut,
    best_and_reference,
    energy_unit,
    legend_below,
    looks_of,
    panels,
    spread_of_settings,
)
from mmexp.compare.report.naming import ranked_name
from mmexp.compare.report.tables import Cell, Table
from mmexp.compare.runs import Run
from mmexp.recording.unreadable import UnreadableFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mmexp.compare.comparison import Comparison, Row

SAMPLES, ENERGY = "x/samples_seen", "x/energy_kwh"
History = list[dict[str, Any]]
Histories = dict[Run, History]
"""The rows of metrics.jsonl of the runs whose file can be read."""

Point = tuple[float, float | None, float]
"""Samples seen, energy used, the metric."""


def learning_curves(comparison: Comparison) -> Chart | LeftOut:
    """The metric at every evaluation in training, of every setting."""
    metric = comparison.metric.upper()
    title = f"Learning curves of {metric}"
    rows = best_and_reference(comparison)
    histories, broken = read_histories(rows)
    curves = {n: learning_curve(row, comparison.metric, histories) for n, row in enumerate(rows)}
    curves = {n: points for n, points in curves.items() if len(points) > 1}
    if not curves:
        return LeftOut(title, f"no run was evaluated in training.{broken}")
    unit, per_kwh = energy_unit(kwh for points in curves.values() for _, kwh, _ in points)
    labels = {SAMPLES: "training samples seen", ENERGY: f"energy used ({unit})"}
    curves = {n: [_in_unit(point, per_kwh) for point in points] for n, points in curves.items()}
    cells: list[list[Cell]] = [
        [ranked_name(rows[n], comparison), *point] for n, points in curves.items() for point in points
    ]
    has_energy = any(used is not None for points in curves.values() for _, used, _ in points)
    figure, grid = panels(1 + has_energy, (3.7, 3.6), 2)
    for axes, key in zip(grid, labels, strict=False):
        _draw(axes, curves, key, rows, comparison)
        axes.set_xlabel(labels[key])
    grid[0].set_ylabel(metric)
    legend_below(figure, grid[0])
    reading = (
        "Each point is an evaluation; those of several seeds are means."
        + ("" if has_energy else " No run says what energy it used.")
        + spread_of_settings(comparison, rows)
        + broken
    )
    table = Table(["setting", *labels.values(), metric], cells)
    return Chart("learning_curves", title, reading, table, figure)


def read_histories(rows: Sequence[Row]) -> tuple[Histories, str]:
    """What the runs logged; and in words, which of them are left out, as that cannot be read."""
    histories: Histories = {}
    broken = []
    for run in (run for row in rows for run in row.setting.runs):
        try:
            histories[run] = run.history()
        except UnreadableFile as error:
            broken.append(f"{run.name} ({error.file.name} cannot be read: {error.why})")
    return histories, f" Left out: {', '.join(broken)}." if broken else ""


def learning_curve(row: Row, metric: str, histories: Histories) -> list[Point]:
    """The evaluations of a setting in training, in their order: means over its seeds, at what all of them have seen.
    Energy is in kWh."""
    curves = [_evaluations(histories[run], f"eval/{metric}") for run in row.setting.runs if run in histories]
    common = sorted(set.intersection(*map(set, curves))) if curves else []
    return [_mean_point(samples, [curve[samples] for curve in curves]) for samples in common]


def _in_unit(point: Point, per_kwh: float) -> Point:
    samples, kwh, value = point
    return samples, None if kwh is None else kwh * per_kwh, value


def _mean_point(samples: float, of_seeds: list[tuple[float | None, float]]) -> Point:
    used = [kwh for kwh, _ in of_seeds if kwh is not None]
    values = [value for _, value in of_seeds]
    return samples, sum(used) / len(used) if len(used) == len(of_seeds) else None, sum(values) / len(values)


def _evaluations(history: History, name: str) -> dict[float, tuple[float | None, float]]:
    """{samples seen: (kWh, metric)}."""
    rows = [row["metrics"] for row in history]
    return {row[SAMPLES]: (row.get(ENERGY), row[name]) for row in rows if None not in (row.get(name), row.get(SAMPLES))}


def _draw(axes: Axes, curves: dict[int, list[Point]], key: str, rows: list[Row], comparison: Comparison) -> None:
    looks = looks_of(rows, comparison)
    for n, points in curves.items():
        drawn = [(samples if key == SAMPLES else used, value) for samples, used, value in points]
        known = [(x, value) for x, value in drawn if x is not None]
        places, values = [x for x, _ in known], [value for _, value in known]
        style = looks[n]
        if style is None:
            axes.plot(places, values, color=GREY, linewidth=0.7, alpha=0.6, zorder=1)
        else:
            label = ranked_name(rows[n], comparison)
            axes.plot(places, values, color=style.color, marker=style.marker, linestyle=style.dashes, label=label)
