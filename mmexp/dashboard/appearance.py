"""What Trackio's server asks its environment for: the order of the plots, and the colours of the runs."""

from __future__ import annotations

# Results first, then what they were a moment ago, then how they came about.
PLOT_ORDER = (
    "final/ndcg@10",
    "final/delta",
    "final/energy_kwh",
    "final/gpu_kwh",
    "final/cpu_kwh",
    "final/ram_kwh",
    "final/hours",
    "final/peak_memory_gb",
    "final/samples_per_second",
    "matryoshka/ndcg@10",
    "matryoshka/baseline_ndcg@10",
    "eval/ndcg@10",
    "eval/*",
    "train/loss",
    "train/*",
    "x/*",
)

# Runs take the colours in the order of the list. Grey is that of 00-comparison, which is first and draws no line. The
# others are those of Okabe and Ito, which people with any colour blindness tell apart (https://jfly.uni-koeln.de/color),
# but for black and yellow: one is hard to see in the dark theme, the other in the light one.
PALETTE = ("#777777", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

ENVIRONMENT = {"TRACKIO_PLOT_ORDER": ",".join(PLOT_ORDER), "TRACKIO_COLOR_PALETTE": ",".join(PALETTE)}
