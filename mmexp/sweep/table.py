"""What a sweep shows at its end: its members compared, and why some have failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from mmexp.schema import ConfigError


def print_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Print the members ranked, with what is noise and what each cost; one table for each evaluation data.

    Members without scores are listed with their status.
    """
    from mmexp.compare.comparison import compare, has_scores
    from mmexp.compare.runs import Run, find_runs
    from mmexp.compare.table import print_comparison, unfinished_table

    runs = find_runs([path / row["folder"] for row in rows])
    by_data: dict[str | None, list[Run]] = {}
    for run in filter(has_scores, runs):
        by_data.setdefault(run.fingerprint, []).append(run)
    for of_data in by_data.values():
        try:
            print_comparison(compare(of_data))
        except ConfigError as error:
            print(f"not compared: {error}")
    if others := [run for run in runs if not has_scores(run)]:
        Console(markup=False, highlight=False).print(unfinished_table(others))
    if len(by_data) > 1:
        print(f"The members have {len(by_data)} different evaluation data; scores of one say nothing of another.")
    print(f"{path}: compare them again, or with others, with: python -m mmexp.compare {path}")


def print_failures(path: Path, failed: list[dict[str, Any]]) -> None:
    """Print which members did not finish and why, and how to try them again."""
    for row in failed:
        words = " ".join(row["error"]["message"].split())
        print(f"mmexp: {row['folder']} {row['status']}: {row['error']['type']}: {words}", file=sys.stderr)
    print(
        f"mmexp: members that did not finish: {len(failed)}. The folder of each has its log, and its traceback in "
        f"result.json. Try them again with: python -m mmexp.resume {path}",
        file=sys.stderr,
    )
