"""Tables of numbers, as figures are drawn from them and as the page shows them."""

from __future__ import annotations

from dataclasses import dataclass

from mmexp.recording.wording import UNKNOWN, number
from mmexp.statistics.means import Estimate


@dataclass(frozen=True)
class Interval:
    """A number with its 95% interval."""

    mean: float
    low: float
    high: float
    signed: bool = False
    """Whether it is shown with its sign: a difference."""

    @staticmethod
    def of(estimate: Estimate) -> Interval:
        return Interval(estimate.mean, estimate.low, estimate.high)


Cell = str | int | float | bool | Interval | None


@dataclass(frozen=True)
class Table:
    """Columns, and rows with a cell for each of them."""

    columns: list[str]
    rows: list[list[Cell]]


def shown(cell: Cell) -> str:
    """A cell in words: numbers with about four digits that count, "-" for what is not known."""
    match cell:
        case None:
            return UNKNOWN
        case Interval():
            sign = "+" if cell.signed else ""
            return f"{cell.mean:{sign}.4f} [{cell.low:{sign}.4f}, {cell.high:{sign}.4f}]"
        case bool() | str():
            return str(cell)
        case _:
            return number(cell)
