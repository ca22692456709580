"""Figures of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.evaluation.report import Metrics, Report
from mmexp.statistics.means import reach

MARKERS = "os^D"


def plot(stages: dict[str, Report], run_dir: Path) -> None:
    """Draw the primary metric by embedding size or by direction, for every stage, with its 95% interval over queries
    where they are known, into ndcg_by_dimension.png or ndcg_by_direction.png."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    if next(iter(stages.values())).part == "dim":
        _lines_over_dimensions(axes, stages)
        file = run_dir / "ndcg_by_dimension.png"
    else:
        _bars_by_direction(axes, stages)
        file = run_dir / "ndcg_by_direction.png"
    axes.set_ylim(0, 1)
    axes.set_ylabel(PRIMARY_METRIC.upper())
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)


def _lines_over_dimensions(axes: Any, stages: dict[str, Report]) -> None:
    for (stage, report), marker in zip(stages.items(), MARKERS, strict=False):
        dims = sorted(report.metrics)
        means, errors = _means_and_errors(report, dims)
        axes.errorbar(dims, means, yerr=errors, marker=marker, capsize=2.5, elinewidth=1, label=stage)
    axes.set_xscale("log", base=2)
    dims = sorted(next(iter(stages.values())).metrics)
    axes.set_xticks(dims, [str(dim) for dim in dims])
    axes.minorticks_off()
    axes.set_xlabel("embedding size (dimensions), 95% intervals over queries")


def _bars_by_direction(axes: Any, stages: dict[str, Report]) -> None:
    width = 0.8 / len(stages)
    directions = list(next(iter(stages.values())).metrics)
    for n, (stage, report) in enumerate(stages.items()):
        places = [place + n * width for place in range(len(directions))]
        means, errors = _means_and_errors(report, directions)
        axes.bar(places, means, width, yerr=errors, capsize=2.5, label=stage)
    axes.set_xticks([place + (len(stages) - 1) * width / 2 for place in range(len(directions))], directions)


def _means_and_errors(report: Report, parts: Sequence[Any]) -> tuple[list[float], list[list[float]] | None]:
    """The means of the parts, and how far their intervals reach below and above; None where queries are not known."""
    metrics: Mapping[Any, Metrics] = report.metrics
    means = [metrics[part][PRIMARY_METRIC] for part in parts]
    found = report.estimates(PRIMARY_METRIC)
    if len(found) < len(parts):
        return means, None
    return means, reach(found[part] for part in parts)
