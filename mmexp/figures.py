"""Figures of one run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmexp.metrics import PRIMARY_METRIC
from mmexp.report import Report

MARKERS = "os^D"


def plot(stages: dict[str, Report], run_dir: Path) -> None:
    """Draw the primary metric by embedding size or by direction, for every stage, into ndcg_by_dimension.png or
    ndcg_by_direction.png."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    metrics: dict[str, Mapping[Any, dict[str, float]]] = {stage: report.metrics for stage, report in stages.items()}
    if next(iter(stages.values())).part == "dim":
        _lines_over_dimensions(axes, metrics)
        file = run_dir / "ndcg_by_dimension.png"
    else:
        _bars_by_direction(axes, metrics)
        file = run_dir / "ndcg_by_direction.png"
    axes.set_ylim(0, 1)
    axes.set_ylabel(PRIMARY_METRIC.upper())
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)


def _lines_over_dimensions(axes: Any, stages: dict[str, Mapping[int, dict[str, float]]]) -> None:
    for (stage, by_dim), marker in zip(stages.items(), MARKERS, strict=False):
        dims = sorted(by_dim)
        axes.plot(dims, [by_dim[dim][PRIMARY_METRIC] for dim in dims], marker=marker, label=stage)
    axes.set_xscale("log", base=2)
    dims = sorted(next(iter(stages.values())))
    axes.set_xticks(dims, [str(dim) for dim in dims])
    axes.minorticks_off()
    axes.set_xlabel("embedding size (dimensions)")


def _bars_by_direction(axes: Any, stages: dict[str, Mapping[str, dict[str, float]]]) -> None:
    width = 0.8 / len(stages)
    for n, (stage, by_direction) in enumerate(stages.items()):
        places = [place + n * width for place in range(len(by_direction))]
        axes.bar(places, [metrics[PRIMARY_METRIC] for metrics in by_direction.values()], width, label=stage)
    directions = list(next(iter(stages.values())))
    axes.set_xticks([place + (len(stages) - 1) * width / 2 for place in range(len(directions))], directions)
