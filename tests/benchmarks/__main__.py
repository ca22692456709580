"""Ours beside plain scripts, in the same process on the same data: `python -m tests.benchmarks [NAME...]`.

Prints, for each benchmark, the median of reference and ours, their ratio with its spread over the rounds, and what is
asked of it. Uses the real pages of shared/data/ocr_pages where they are at hand, else made-up ones.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import tests.conftest  # noqa: F401  first: it gives the Hub's libraries an empty cache, which they read when imported
from tests.benchmarks import comparing, evaluation, launching, sampling, scaling, step

BENCHMARKS: dict[str, tuple[Callable[[Path], list[tuple[float, float]]], str]] = {
    "step_against_published": (step.against_published, "at least 10x"),
    "step_of_equal_pixels_against_published": (step.against_published_with_equal_pixels, "as fast as decoding lets"),
    "step_against_hand_tuned": (step.against_hand_tuned, "at least 0.98x"),
    "evaluation_at_7_sizes": (evaluation.against_seven_evaluators, "at least 5x"),
    "member_in_one_process": (launching.member_in_one_process, "at least 0.77x, 1.3 times the plain script's seconds"),
    "member_in_two_processes": (launching.member_in_two_processes, "the same"),
    "two_processes": (scaling.two_processes, "no less than one process on the same cores"),
    "first_batch_of_10000_rows": (sampling.first_batch, "ours under 1 s, no page decoded"),
    "compare_200_runs": (comparing.compare_200_runs, "ours under 10 s and 1 GiB"),
}


def main(names: list[str]) -> None:
    """One benchmark here, or several in a fresh process each: a process that has grown forks slowly."""
    if len(names) == 1:
        measure(names[0])
        return
    for name in names or BENCHMARKS:
        subprocess.run([sys.executable, "-m", "tests.benchmarks", name], check=True)


def measure(name: str) -> None:
    """Run one benchmark and print its line."""
    benchmark, asked = BENCHMARKS[name]
    with tempfile.TemporaryDirectory() as folder:
        rounds = benchmark(Path(folder))
    reference, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratios = sorted(a / b for a, b in rounds)
    print(
        f"{name}: reference {reference:.3f} s, ours {ours:.3f} s, ratio {statistics.median(ratios):.2f}x "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} rounds); asked: {asked}",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
