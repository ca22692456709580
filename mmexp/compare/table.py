"""The comparison in the terminal: what is better and by how much, what it cost, what is not ranked, what to know."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mmexp.compare.report.tables import shown
from mmexp.recording.status import facts
from mmexp.recording.wording import UNKNOWN, number, p_value
from mmexp.statistics.means import NOT_SHOWN
from mmexp.sweep.names import short_names

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mmexp.compare.comparison import Comparison, Row
    from mmexp.compare.report.tables import Table as Numbers
    from mmexp.compare.runs import Run
    from mmexp.compare.settings import Setting
    from mmexp.statistics.means import Difference, Estimate

# Of a file or a pipe, which has no width of its own.
WIDTH = 120
# More parameters than this are one column of words.
MAX_PARAMETERS = 4
# What a setting took, by column; and what tells models apart that were evaluated, and not trained.
COSTS: dict[str, Callable[[Row], float | None]] = {
    "hours": lambda row: row.cost.hours,
    "GPU-hours": lambda row: row.cost.gpu_hours,
    "pages/s": lambda row: row.cost.pages_per_second,
    "peak GB": lambda row: row.cost.peak_gb,
    "kWh": lambda row: row.cost.kwh,
    "GPU": lambda row: row.cost.gpu_kwh,
    "CPU": lambda row: row.cost.cpu_kwh,
    "RAM": lambda row: row.cost.ram_kwh,
    "kg CO2": lambda row: row.cost.co2_kg,
    "points/kWh": lambda row: row.cost.points_per_kwh,
}
MODELS: dict[str, Callable[[Row], float | None]] = {
    "parameters": lambda row: facts_of(row)["num_parameters"],
    "dimensions": lambda row: facts_of(row)["embedding_dimension"],
    "bytes/page": lambda row: facts_of(row)["bytes_per_document"],
}


def print_comparison(comparison: Comparison) -> None:
    """Print it."""
    console = _console()
    console.print(_quality(comparison))
    console.print(_costs(comparison))
    for note in comparison.notes:
        console.print(f"- {note}")
    if comparison.unfinished:
        console.print(unfinished_table(comparison.unfinished))


def print_breakdown(breakdown: Numbers) -> None:
    """Print what `--by` asks for: the first column names settings, the others hold intervals."""
    first, *groups = breakdown.columns
    table = _table(first, ["setting", *groups])
    for row in breakdown.rows:
        table.add_row(*map(shown, row))
    _console().print(table)


def _console() -> Console:
    """120 columns wide where the terminal does not say."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else shutil.get_terminal_size((WIDTH, 24)).columns
    return Console(markup=False, highlight=False, width=width)


def _quality(comparison: Comparison) -> Table:
    part = f" at {comparison.part}" if comparison.part else ""
    title = f"{comparison.metric}{part} on {len(comparison.query_ids)} queries, 95% intervals"
    named = comparison.reference.setting.label
    gains = ["gain over baseline"] if _is_trained(comparison) else []
    columns = [comparison.metric, *(["seeds"] if comparison.has_several_seeds else []), *gains]
    against = [f"against {named}"] if len(comparison.rows) > 1 else []
    table = _table(title, ["", *_setting_columns(comparison), *columns, *against])
    for rank, row in enumerate(comparison.rows, 1):
        seeds = [spread_words(row.estimate)] if comparison.has_several_seeds else []
        other = [_against(row, comparison)] if against else []
        gain = [difference_words(row.to_baseline)] if gains else []
        cells = [estimate_words(row.estimate), *seeds, *gain, *other]
        table.add_row(str(rank), *_setting_cells(row.setting, comparison), *cells)
    return table


def _costs(comparison: Comparison) -> Table:
    columns = COSTS if _is_trained(comparison) else MODELS | COSTS
    table = _table(_energy_title(comparison), ["", *_setting_columns(comparison), *columns])
    for rank, row in enumerate(comparison.rows, 1):
        table.add_row(
            str(rank), *_setting_cells(row.setting, comparison), *[number(of(row)) for of in columns.values()]
        )
    return table


def unfinished_table(runs: Iterable[Run]) -> Table:
    """The runs that are not ranked, and why."""
    table = _table("not ranked", ["run", "status", "why"])
    for run in runs:
        table.add_row(run.name, run.status, run.error or UNKNOWN)
    return table


def estimate_words(estimate: Estimate) -> str:
    """ "0.9470 [0.9310, 0.9600]"."""
    return f"{estimate.mean:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def spread_words(estimate: Estimate) -> str:
    """ "3 ±0.0042": how many seeds, and their standard deviation."""
    spread = "" if estimate.spread_over_seeds is None else f" ±{estimate.spread_over_seeds:.4f}"
    return f"{estimate.num_seeds}{spread}"


def difference_words(difference: Difference | None) -> str:
    """Two lines: "+0.0590 [+0.0410, +0.0770]" and "p<0.001 d=0.52 better" or "p=0.420 no difference shown"."""
    if difference is None:
        return UNKNOWN
    interval = f"{difference.delta:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    is_shown = difference.words != NOT_SHOWN and difference.effect_size is not None
    effect = f" d={difference.effect_size:.2f}" if is_shown else ""
    return f"{interval}\n{p_value(difference.p_holm)}{effect} {difference.words}"


def _against(row: Row, comparison: Comparison) -> str:
    return "reference" if row is comparison.reference else difference_words(row.to_reference)


def facts_of(row: Row) -> dict[str, float | None]:
    """What result.json says of the setting's model."""
    return facts(row.setting.runs[0].result)


def _is_trained(comparison: Comparison) -> bool:
    return any(row.to_baseline is not None for row in comparison.rows)


def _setting_columns(comparison: Comparison) -> list[str]:
    return short_names(list(comparison.axes)) if 0 < len(comparison.axes) <= MAX_PARAMETERS else ["setting"]


def _setting_cells(setting: Setting, comparison: Comparison) -> list[str]:
    if 0 < len(comparison.axes) <= MAX_PARAMETERS:
        return [UNKNOWN if value is None else str(value) for value in setting.parameters.values()]
    return [setting.label]


def _energy_title(comparison: Comparison) -> str:
    """Which parts of the energy are measured, and which estimated."""
    sources = [row.cost.energy_source for row in comparison.rows]
    words = {part: " or ".join(sorted({s[part] for s in sources if part in s})) for s in sources for part in s}
    return "cost" + (f" (energy: {', '.join(f'{part} {word}' for part, word in words.items())})" if words else "")


def _table(title: str, columns: list[str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
