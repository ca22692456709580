"""The figure: NDCG@10 over the bytes that a page takes in the index, a line for each precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmexp.metrics import PRIMARY_METRIC
from mmexp.quantize.settings import Row

# Colours of Okabe and Ito, which the colour-blind tell apart; marker and dashes do so in grey.
STYLES = {
    ("float32", False): ("float32", "#000000", "o", "-"),
    ("bfloat16", False): ("bfloat16", "#56B4E9", "s", "--"),
    ("int8", False): ("int8", "#E69F00", "^", ":"),
    ("int8", True): ("int8, rescored", "#D55E00", "v", "-."),
    ("binary", False): ("binary", "#009E73", "D", (0, (5, 1, 1, 1, 1, 1))),
    ("binary", True): ("binary, rescored", "#0072B2", "P", (0, (8, 2))),
}


def draw(rows: Sequence[Row], recommended: Row, margin: float, folder: Path) -> None:
    """Draw the table into quantization.png and quantization.svg."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for key, (label, color, marker, dashes) in STYLES.items():
        line = [row for row in rows if (row.setting.precision, row.setting.rescored) == key]
        sizes, means = [r.measured.bytes_per_document for r in line], [r.estimate.mean for r in line]
        errors = [[max(0, r.estimate.mean - r.estimate.low) for r in line]]
        errors += [[max(0, r.estimate.high - r.estimate.mean) for r in line]]
        axes.errorbar(
            sizes, means, yerr=errors, label=label, color=color, marker=marker, linestyle=dashes, capsize=3, alpha=0.9
        )
    full = rows[0].estimate.mean
    axes.axhline(
        full - margin, color="0.5", linewidth=1, linestyle=(0, (1, 3)), label=f"full less the margin, {margin}"
    )
    axes.plot(
        recommended.measured.bytes_per_document,
        recommended.estimate.mean,
        linestyle="none",
        marker="o",
        markersize=16,
        markerfacecolor="none",
        markeredgecolor="0.2",
        label=f"recommended: {recommended.setting}",
    )
    axes.set_xscale("log", base=2)
    sizes = sorted({row.measured.bytes_per_document for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
    axes.minorticks_off()
    axes.set_xlabel("index size (bytes per page)")
    axes.set_ylabel(f"{PRIMARY_METRIC.upper()} (0 to 1), 95% interval over queries")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    for name in ("quantization.png", "quantization.svg"):
        figure.savefig(folder / name, dpi=150)
