"""What a sweep shows at its end: a row for each member, and why some have failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mmexp.sweep.names import SHORT


def print_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Print the members: what the sweep varies, status, the primary metric before and after, hours."""
    from rich.console import Console
    from rich.table import Table

    keys = list(dict.fromkeys(key for row in rows for key in row["parameters"]))
    numbers = {"baseline": ".4f", "final": ".4f", "delta": "+.4f", "hours": ".2f"}
    table = Table(*[SHORT.get(key, key) for key in keys], "status", *numbers, title=str(path))
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
