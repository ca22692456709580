"""The plans of a sweep's members, one after another in this process, and their sum."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.plan.planning import FILE, planned
from mmexp.plan.report import gigabytes, hours, number
from mmexp.recording.run_files import write_whole
from mmexp.sweep.names import SHORT, values

if TYPE_CHECKING:
    from mmexp.sweep.folder import Asked

SUMMED = {
    "train_seconds": ("cost", "train_seconds"),
    "evaluation_seconds": ("cost", "evaluation_seconds"),
    "kwh": ("cost", "kwh"),
    "co2_kg": ("cost", "co2_kg"),
    "disk": ("disk", "total"),
    "steps": ("schedule", "steps"),
    "pages": ("schedule", "pages"),
}


def plan_members(asked: Sequence[Asked], folder: Path) -> None:
    """Plan all members and print the table.

    plan.json is left in the folder of the sweep, and nothing of a member: a sweep that runs there takes up none of it.
    """
    members = [
        {"hash": one.hash, "parameters": values(one.parameters), "overrides": one.overrides, **planned(one.experiment)}
        for one in asked
    ]
    sums = {name: total([member[group][key] for member in members]) for name, (group, key) in SUMMED.items()}
    sums["peak_memory_bytes"] = max(member["peak_memory_bytes"] for member in members)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE, json.dumps({"status": "planned", "members": members, "sum": sums}, indent=2))
    print_members(members, sums, folder / FILE)


def total(numbers: list[Any]) -> Any:
    """The sum; None where one of them is not known."""
    return None if None in numbers else sum(numbers)


def print_members(members: list[dict[str, Any]], sums: dict[str, Any], file: Path) -> None:
    """Print a row for each member, and the sum; of memory, the most."""
    from rich.console import Console
    from rich.table import Table

    keys = list(dict.fromkeys(key for member in members for key in member["parameters"]))
    table = Table(*[SHORT.get(key, key) for key in keys], "steps", "memory", "time", "kWh", "kg CO2e", "disk")
    for member in members:
        table.add_row(*[str(member["parameters"].get(key, "-")) for key in keys], *cells(summed(member)))
    table.add_section()
    table.add_row(*["sum" if n == 0 else "" for n in range(len(keys))], *cells(sums))
    Console().print(table)
    for assumption in dict.fromkeys(words for member in members for words in member["assumptions"]):
        print(f"assumed: {assumption}")
    print(f"kept in {file}")


def summed(member: dict[str, Any]) -> dict[str, Any]:
    """What is summed, of one member."""
    found = {name: member[group][key] for name, (group, key) in SUMMED.items()}
    return {**found, "peak_memory_bytes": member["peak_memory_bytes"]}


def cells(found: dict[str, Any]) -> list[str]:
    """The columns of the table."""
    seconds = total([found["train_seconds"], found["evaluation_seconds"]])
    return [
        number(found["steps"]),
        gigabytes(found["peak_memory_bytes"]),
        hours(seconds),
        number(found["kwh"]),
        number(found["co2_kg"]),
        gigabytes(found["disk"]),
    ]
