"""What a sweep shows at its end: its members compared, and why some have failed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from mmexp.recording.status import error_words


def print_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Print the members ranked, with what is noise and what each cost; one table for each evaluation data.

    Members without scores are listed with their status.
    """
    from mmexp.compare.by_data import compare_by_data
    from mmexp.compare.runs import find_runs
    from mmexp.compare.table import print_comparison, unfinished_table

    found = compare_by_data(find_runs([path / row["folder"] for row in rows]))
    for comparison in found.comparisons.values():
        print_comparison(replace(comparison, unfinished=[]))
    for why in found.refused.values():
        print(f"not compared: {why}")
    if found.not_compared:
        Console(markup=False, highlight=False).print(unfinished_table(found.not_compared))
    if len(found.comparisons) > 1:
        print(f"The members have {len(found.comparisons)} evaluation data; scores of one say nothing of another.")
    print(f"{path}: compare them again, or with others, with: python -m mmexp.compare {path}")


def print_failures(path: Path, failed: list[dict[str, Any]]) -> None:
    """Print which members did not finish and why, and how to try them again."""
    for row in failed:
        print(f"mmexp: {row['folder']} {row['status']}: {error_words(row['error'])}", file=sys.stderr)
    print(
        f"mmexp: members that did not finish: {len(failed)}. The folder of each has its log, and its traceback in "
        f"result.json. Try them again with: python -m mmexp.resume {path}",
        file=sys.stderr,
    )
