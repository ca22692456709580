"""The table in the terminal, and what is recommended, in words."""

from __future__ import annotations

import numpy as np

from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.quantize.non_inferiority import lower_limit
from mmexp.quantize.recommendation import is_equal, is_non_inferior
from mmexp.quantize.report import Quantization
from mmexp.quantize.search import TOP_K
from mmexp.quantize.settings import Row, alpha_of_each
from mmexp.recording.wording import number

TITLES = (
    *("dim", "precision", PRIMARY_METRIC, "95% interval", "% of\nfull", "delta,\nat least"),
    *("bytes\nper page", "GB per\nmillion", "ms per\nquery", "no worse"),
)
NUM_COLUMNS = 120


def print_table(found: Quantization) -> None:
    """Print every setting, what is recommended in bold, and the words below it."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    title = f"{found.run_dir}: embedding size and precision"
    table = Table(*(Column(name, no_wrap=True) for name in TITLES), title=title, box=box.HORIZONTALS)
    for row in found.rows:
        table.add_row(*_cells(row, found.margin), style="bold" if row is found.recommended else "")
    console = Console()
    console.width = max(console.width, NUM_COLUMNS)  # where a terminal is narrower, it breaks lines, not numbers
    console.print(table)
    print(words(found))


def _cells(row: Row, margin: float) -> list[str]:
    estimate, measured = row.estimate, row.measured
    return [
        str(row.setting.dim),
        row.setting.precision + (", rescored" if row.setting.rescored else ""),
        f"{estimate.mean:.4f}",
        f"{estimate.low:.3f}-{estimate.high:.3f}",
        "-" if row.percent_of_full is None else f"{row.percent_of_full:.1f}",
        "-" if row.lower_limit is None else f"{row.lower_limit:+.4f}",
        f"{measured.bytes_per_document:,}",
        number(measured.bytes_per_document / 1000),
        number(1000 * measured.seconds_per_query),
        _verdict(row, margin),
    ]


def _verdict(row: Row, margin: float) -> str:
    if row.to_full is None:
        return "full"
    if is_non_inferior(row, margin):
        return "shown"
    return "equal here" if is_equal(row) else "-"


def _least_margin(found: Quantization) -> float:
    """What a setting that scores as the full one on every query is shown to lose at most."""
    return -lower_limit(np.zeros(len(found.rows[0].measured.scores)), alpha_of_each(len(found.rows)))


def words(found: Quantization) -> str:
    """What is recommended and why, what is sure, and how the searches were made."""
    num_rescored = TOP_K * found.rescore_multiplier
    return " ".join(
        [
            _recommendation(found.recommended, found),
            _certainty(found.surest, found),
            f"Search: exact, in one thread, of {len(found.encoded.document_ids):,} pages; rescored: {num_rescored}.",
        ]
    )


def _recommendation(best: Row, found: Quantization) -> str:
    if best.to_full is None:
        return f"Recommended: {best.setting}: every smaller one is shown to be worse by more than {found.margin}."
    saved = found.rows[0].measured.bytes_per_document / best.measured.bytes_per_document
    difference = f"{best.to_full.delta:+.4f} [{best.to_full.low:+.4f}, {best.to_full.high:+.4f}]"
    return (
        f"Recommended: {best.setting}, {best.measured.bytes_per_document:,} bytes per page, {saved:.3g} times smaller: "
        f"the smallest that is not shown to be worse than the full one by more than {found.margin} ({difference})."
    )


def _certainty(best: Row, found: Quantization) -> str:
    num_queries = len(best.measured.scores)
    why = f"an error of 2.5% for all {len(found.rows) - 1} settings together"
    if best.lower_limit is None:
        return (
            f"No smaller one is shown to be within that margin ({why}): {num_queries} queries can show no margin below "
            f"{_least_margin(found):.4f}."
        )
    if is_non_inferior(best, found.margin):
        return f"The smallest that is shown to be within that margin ({why}): {best.setting}."
    return (
        f"The smallest that is equal to the full one on all {num_queries} queries: {best.setting}. That shows that it "
        f"loses at most {-best.lower_limit:.4f} on others ({why})."
    )
