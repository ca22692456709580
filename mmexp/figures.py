"""Figures of one run."""

from __future__ import annotations

from pathlib import Path

from mmexp.metrics import PRIMARY_METRIC

MARKERS = "os^D"


def plot_by_dimension(stages: dict[str, dict[int, dict[str, float]]], file: Path) -> None:
    """Draw the primary metric over the embedding size, one line per stage ({stage: {dimension: {metric: value}}})."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for (stage, by_dim), marker in zip(stages.items(), MARKERS, strict=False):
        dims = sorted(by_dim)
        axes.plot(dims, [by_dim[dim][PRIMARY_METRIC] for dim in dims], marker=marker, label=stage)
    axes.set_xscale("log", base=2)
    dims = sorted(next(iter(stages.values())))
    axes.set_xticks(dims, [str(dim) for dim in dims])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.set_xlabel("embedding size (dimensions)")
    axes.set_ylabel(PRIMARY_METRIC.upper())
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)
