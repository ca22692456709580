"""Quality against cost, and against the size of the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mmexp.compare.report.charts import (
    GREY,
    Chart,
    LeftOut,
    energy_unit,
    error_bars,
    legend_below,
    logarithmic,
    panels,
    style,
)
from mmexp.compare.report.naming import cut_off, ranked_name, setting_name
from mmexp.compare.report.tables import Cell, Interval, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mmexp.compare.comparison import Comparison, Row
    from mmexp.compare.cost import Cost

MOST_INTERVALS = 30
"""Settings of which interval and rank are drawn; of more, those of the front."""

WIDE = 20
"""Costs that are farther apart than this many times are on a logarithmic axis."""


def quality_over_cost(comparison: Comparison) -> Chart | LeftOut:
    """The metric of every setting over what it took, with the Pareto front."""
    title = f"{comparison.metric.upper()} against cost"
    if len(comparison.rows) == 1:
        return LeftOut(title, "there is one setting, so no choice to be made.")
    costs = _costs(comparison)
    known = {name: sum(of(row.cost) is not None for row in comparison.rows) for name, of in costs.items()}
    label = max(known, key=lambda name: known[name])
    if known[label] == 0:
        return LeftOut(title, "no run says what it took.")
    ranked = [(rank, row, costs[label](row.cost)) for rank, row in enumerate(comparison.rows, 1)]
    points = [(rank, row, cost) for rank, row, cost in ranked if cost is not None]
    front = pareto_front([cost for *_, cost in points], [row.estimate.mean for _, row, _ in points])
    table = Table(
        ["setting", label, comparison.metric.upper(), "kg CO2", "front"],
        [
            [ranked_name(row, comparison), cost, Interval.of(row.estimate), row.cost.co2_kg, "✓" * (n in front)]
            for n, (_, row, cost) in enumerate(points)
        ],
    )
    figure, [axes] = panels(1, (7, 4), 1)
    _scatter(axes, points, front, comparison)
    axes.set_xlabel(f"{label}, of one run")
    axes.set_ylabel(comparison.metric.upper())
    legend_below(figure, axes)
    missing = len(ranked) - len(points)
    reading = (
        "Numbers are ranks; bars are 95% intervals. Nothing that costs less beats by its mean what is on the Pareto "
        "front." + (f" {missing} settings do not say what they took, and are not drawn." if missing else "")
    )
    return Chart("quality_over_cost", title, reading, table, figure)


def _costs(comparison: Comparison) -> dict[str, Callable[[Cost], float | None]]:
    """What a setting may be said to cost, the better measure first."""
    unit, per_kwh = energy_unit(row.cost.kwh for row in comparison.rows)
    return {
        f"energy ({unit})": lambda cost: None if cost.kwh is None else cost.kwh * per_kwh,
        "time (hours)": lambda cost: cost.hours,
    }


def pareto_front(costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """The points that nothing beats: no other costs at most as much and is better, or costs less and is as good.

    In the order of their costs. Points that are equal in both are all on it.
    """
    order = sorted(range(len(costs)), key=lambda n: (costs[n], -qualities[n]))
    front: list[int] = []
    for n in order:
        best = front[-1] if front else None
        if best is None or qualities[n] > qualities[best] or (costs[n], qualities[n]) == (costs[best], qualities[best]):
            front.append(n)
    return front


def _scatter(axes: Axes, points: list[tuple[int, Row, float]], front: list[int], comparison: Comparison) -> None:
    costs, values = [cost for *_, cost in points], [Interval.of(row.estimate) for _, row, _ in points]
    others = [n for n in range(len(points)) if n not in front]
    told = range(len(points)) if len(points) <= MOST_INTERVALS else front
    color, marker, dashes = style(0)
    groups: list[tuple[list[int], dict[str, Any]]] = [
        (others, {"color": GREY, "marker": "x", "linestyle": "", "label": "not on the front"}),
        (front, {"color": color, "marker": marker, "linestyle": dashes, "label": "Pareto front"}),
    ]
    for chosen, looks in groups:
        barred = [n for n in chosen if n in told]
        bars = [values[n] for n in barred]
        error_bars(axes, [costs[n] for n in barred], bars, fmt="none", ecolor=looks["color"])
        means = [values[n].mean for n in chosen]
        axes.plot([costs[n] for n in chosen], means, drawstyle="steps-post", **looks)
    for cost, value, row in zip(costs, values, (row for _, row, _ in points), strict=True):
        if row is comparison.reference:
            ring: dict[str, Any] = {"markersize": 12, "fillstyle": "none", "linestyle": "", "color": style(1).color}
            axes.plot([cost], [value.mean], "o", label="reference", **ring)
    if min(costs) > 0 and max(costs) / min(costs) > WIDE:
        logarithmic(axes)
    for n in told:
        axes.annotate(str(points[n][0]), (costs[n], values[n].mean), (5, 4), textcoords="offset points", fontsize=8)


def quality_over_size(comparison: Comparison) -> Chart | LeftOut:
    """The metric over the parameters of the model, before and after training."""
    title = f"Model size against {comparison.metric.upper()}"
    sized = [(rank, row, model_of(row)) for rank, row in enumerate(comparison.rows, 1)]
    points = [(rank, row, *model) for rank, row, model in sized if model is not None]
    sizes = {parameters for *_, parameters in points}
    if len(sizes) < 2:
        return LeftOut(title, "all models are of one size.")
    rows: list[list[Cell]] = [
        [f"{rank}: {name}", parameters, Interval.of(row.baseline) if row.baseline else None, Interval.of(row.estimate)]
        for rank, row, name, parameters in points
    ]
    metric = comparison.metric.upper()
    table = Table(["model", "parameters", f"{metric} before", f"{metric} after"], rows)
    figure, [axes] = panels(1, (7, 4), 1)
    before = [(parameters, row.baseline) for _, row, _, parameters in points if row.baseline is not None]
    after = [(parameters, row.estimate) for _, row, _, parameters in points]
    for place, (stage, values) in enumerate((("baseline", before), ("final", after))):
        looks = style(1 - place)
        if values:
            intervals = [Interval.of(estimate) for _, estimate in values]
            error_bars(axes, [size for size, _ in values], intervals, fmt=looks.marker, color=looks.color, label=stage)
    middle = math.sqrt(min(sizes) * max(sizes))
    for rank, row, name, parameters in points[:MOST_INTERVALS]:
        side, offset = ("right", -6) if parameters > middle else ("left", 6)
        point = (parameters, row.estimate.mean)
        axes.annotate(f"{rank}: {name}", point, (offset, 3), textcoords="offset points", ha=side, fontsize=8)
    logarithmic(axes)
    axes.margins(x=0.1)
    axes.set_xlabel("parameters of the model")
    axes.set_ylabel(comparison.metric.upper())
    legend_below(figure, axes)
    reading = "Bars are 95% intervals; the sizes are on a logarithmic axis."
    return Chart("quality_over_size", title, reading, table, figure)


def model_of(row: Row) -> tuple[str, int] | None:
    """The model of a setting, its checkpoint where it has one, and its parameters; None where they are not known."""
    run = row.setting.runs[0]
    parameters = (run.result.get("model") or {}).get("parameters")
    checkpoint = str((run.config.get("model") or {}).get("checkpoint") or "").rstrip("/")
    # Of a run that was trained here, model/ is the checkpoint.
    name = checkpoint.removesuffix("/model").rpartition("/")[2] or setting_name(row.setting)
    return (cut_off(name), int(parameters)) if parameters else None
