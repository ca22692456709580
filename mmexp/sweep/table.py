"""What a sweep shows at its end: a row for each member, and why some have failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mmexp.sweep.names import SHORT

# Columns by key, and their format.
TRAINED = {"baseline": ".4f", "final": ".4f", "delta": "+.4f", "hours": ".2f"}
EVALUATED = {
    "final": ".4f",
    "num_parameters": ",.0f",
    "embedding_dimension": ",.0f",
    "bytes_per_document": ",.0f",
    "pages_per_second": ",.3g",
    "hours": ".2f",
}


def print_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Print the members: what the sweep varies, status, the primary metric before and after, hours.

    Where models were evaluated and none was trained, the best is first, with its size and speed.
    """
    from rich.console import Console
    from rich.table import Table

    keys = list(dict.fromkeys(key for row in rows for key in row["parameters"]))
    numbers = TRAINED
    if all(row["baseline"] is None for row in rows) and any(row["final"] is not None for row in rows):
        numbers, rows = EVALUATED, sorted(rows, key=lambda row: row["final"] or 0, reverse=True)
    titles = [name.replace("_", " ") for name in numbers]  # so that narrow terminals break them
    table = Table(*[SHORT.get(key, key) for key in keys], "status", *titles, title=str(path))
    for row in rows:
        swept = [str(row["parameters"].get(key, "-")) for key in keys]
        table.add_row(
            *swept,
            row["status"],
            *["-" if row[name] is None else format(row[name], form) for name, form in numbers.items()],
        )
    Console().print(table)


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
