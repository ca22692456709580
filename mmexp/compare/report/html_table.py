"""Tables of numbers as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from mmexp.compare.report.markup import Markup, element, joined
from mmexp.compare.report.tables import Cell, Interval, Table, shown


def table_of(numbers: Table) -> Markup:
    """A table of numbers."""
    return table(numbers.columns, [element("tr", *cells_of(row)) for row in numbers.rows])


def table(heads: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """A table that scrolls where it is wider or longer than its place."""
    head = element("thead", element("tr", *(element("th", _breakable(words)) for words in heads)))
    return element("div", element("table", head, element("tbody", *rows)), class_="scroll")


def _breakable(words: str) -> Markup:
    """Long names of config keys may break at their underscores."""
    first, *others = words.split("_")
    return joined(first, *(joined(Markup("_<wbr>"), other) for other in others))


def cells_of(cells: Sequence[Cell]) -> list[Markup]:
    """Cells of one row of a table."""
    return [element("td", _cell(cell), class_=None if isinstance(cell, str) else "number") for cell in cells]


def _cell(cell: Cell) -> Markup | str:
    """Of an interval, the mean stands out."""
    words = shown(cell)
    if not isinstance(cell, Interval):
        return words
    mean, _, interval = words.partition(" ")
    return joined(mean, " ", element("small", interval))
