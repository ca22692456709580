"""A run and its repeat in the terminal."""

from __future__ import annotations

from mmexp.repeat.agreement import Agreement, Verdict
from mmexp.repeat.conditions import Change
from mmexp.repeat.numbers import LOSS


def print_agreement(agreement: Agreement, changes: list[Change]) -> None:
    """Print the losses by step, all sorts of numbers, and the verdict in words."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    losses = Table("step", "original", "repeat", "difference", title=LOSS)
    ours = agreement.repeat.get(LOSS, {})
    for step, value in agreement.original.get(LOSS, {}).items():
        again = ours.get(step, float("nan"))
        losses.add_row(step.removeprefix("step "), f"{value:.6g}", f"{again:.6g}", f"{again - value:+.1e}")
    if losses.row_count:
        console.print(losses)
    table = Table("numbers", agreement.metric, "repeat", "equal", "largest difference", title="original and repeat")
    for row in agreement.compared:
        values = [numbers.get(row.what, {}).get(agreement.metric) for numbers in (agreement.original, agreement.repeat)]
        shown = ["-" if value is None else f"{value:.4f}" for value in values]
        table.add_row(row.what, *shown, f"{row.num_equal} of {row.num_numbers}", f"{row.largest_difference:.1e}")
    console.print(table)
    print(words(agreement, changes))


def words(agreement: Agreement, changes: list[Change]) -> str:
    """The verdict, and what it rests on."""
    parts = [f"verdict: {agreement.verdict.value}."]
    if agreement.verdict is not Verdict.equal:
        parts.append(difference_in_words(agreement))
        if agreement.first_step_apart is not None:
            parts.append(f"The losses part at {agreement.first_step_apart}.")
    if changes:
        parts.append(f"Changed since: {', '.join(map(str, changes))}.")
    if agreement.must_be_equal and agreement.verdict is not Verdict.equal:
        parts.append("On a CPU and in one process all must be equal to the digit: something was not as it was.")
    return " ".join(parts)


def difference_in_words(agreement: Agreement) -> str:
    """What the interval says, and no more."""
    found, metric = agreement.difference, agreement.metric
    if found is None:
        return f"{metric} is measured on other queries, and cannot be compared."
    bounds = f"{metric} of the repeat is {found.delta:+.4f}, 95% interval {found.low:+.4f} to {found.high:+.4f}"
    if not found.low <= 0 <= found.high:
        return f"{bounds}, which leaves 0 out."
    if agreement.must_be_equal:
        return f"{bounds}."
    return f"{bounds}: no difference is shown, and one of up to {max(-found.low, found.high):.4f} is not ruled out."
