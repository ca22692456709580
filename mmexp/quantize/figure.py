"""The figure: NDCG@10 over the embedding size, and over the bytes that a page takes in the index, by precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.quantize.settings import Row
from mmexp.statistics.means import reach

# Colours of Okabe and Ito, which the colour-blind tell apart; marker and dashes do so in grey.
STYLES: dict[tuple[str, bool], tuple[str, str, str, Any]] = {
    ("float32", False): ("float32", "#000000", "o", "-"),
    ("bfloat16", False): ("bfloat16", "#56B4E9", "s", "--"),
    ("int8", False): ("int8", "#E69F00", "^", ":"),
    ("binary", False): ("binary", "#009E73", "D", (0, (5, 1, 1, 1, 1, 1))),
    ("binary", True): ("binary, rescored", "#0072B2", "P", (0, (8, 2))),
}
# Points of one size are drawn side by side, a twentieth of a doubling apart.
STEP = 2 ** (1 / 20)


def draw(rows: Sequence[Row], recommended: Row, margin: float, folder: Path) -> None:
    """Draw the table into quantization.png and quantization.svg."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, rows, recommended, margin, lambda row: row.setting.dim)
    _panel(right, rows, recommended, margin, lambda row: row.measured.bytes_per_document)
    left.set_xlabel("embedding size (dimensions)")
    right.set_xlabel("index size (bytes per page)")
    left.set_ylabel(f"{PRIMARY_METRIC.upper()} (0 to 1), 95% interval over queries")
    left.legend(fontsize="small")
    for name in ("quantization.png", "quantization.svg"):
        figure.savefig(folder / name, dpi=150)


def _panel(axes: Any, rows: Sequence[Row], recommended: Row, margin: float, size: Callable[[Row], int]) -> None:
    """NDCG@10 over `size`: a line for each precision, the margin, and a ring around what is recommended."""
    shifts = {key: STEP ** (n - (len(STYLES) - 1) / 2) for n, key in enumerate(STYLES)}
    for key, (label, color, marker, dashes) in STYLES.items():
        line = [row for row in rows if _precision(row) == key]
        look = {"color": color, "marker": marker, "linestyle": dashes, "capsize": 3}
        places, means = [size(row) * shifts[key] for row in line], [row.estimate.mean for row in line]
        axes.errorbar(places, means, yerr=reach(row.estimate for row in line), label=label, **look)
    axes.axhline(
        rows[0].estimate.mean - margin, color="0.5", linestyle=(0, (1, 3)), label=f"full less the margin, {margin}"
    )
    ring = {"marker": "o", "markersize": 16, "markerfacecolor": "none", "markeredgecolor": "0.2", "linestyle": "none"}
    place = size(recommended) * shifts[_precision(recommended)]
    axes.plot(place, recommended.estimate.mean, label=f"recommended: {recommended.setting}", **ring)
    axes.set_xscale("log", base=2)
    ticks = sorted({size(row) for row in rows})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=45)
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def _precision(row: Row) -> tuple[str, bool]:
    return row.setting.precision, row.setting.rescored
