"""Comparing 200 runs of 5,000 queries at 5 embedding sizes: how long, and how much memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.compare.run_folders import ndcg_scores, write_run

NUM_RUNS, NUM_QUERIES, SIZES = 200, 5000, (128, 64, 32, 16, 8)
SECONDS_ASKED, NUM_ROUNDS = 10.0, 3
COMMAND = (
    "import re, sys\nfrom mmexp.compare.__main__ import main\nmain(sys.argv[1:])\n"
    "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
)


def compare_200_runs(folder: Path) -> list[tuple[float, float]]:
    """(seconds asked for, ours) of each round; the peak of memory is printed."""
    generator = np.random.default_rng(0)
    before = {size: ndcg_scores(generator, (NUM_QUERIES,), 0.7) for size in SIZES}
    for n in range(NUM_RUNS):
        final = {size: ndcg_scores(generator, (NUM_QUERIES,), 0.8 + n / 2000) for size in SIZES}
        write_run(folder / "runs" / f"run-{n:03d}", final, before, {"trainer.learning_rate": n * 1e-5})
    return [(SECONDS_ASKED, _seconds(folder)) for _ in range(NUM_ROUNDS)]


def _seconds(folder: Path) -> float:
    command = [sys.executable, "-c", COMMAND, str(folder / "runs"), "--output", str(folder / "comparison")]
    started = time.perf_counter()
    called = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    print(f"peak memory {int(called.stderr.split()[-1]) / 1024**2:.2f} GiB", flush=True)
    return seconds
