"""Intervals as bars in the rows of a table, all on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmexp.compare.report.markup import Markup, element

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison, Row

BAR_WIDTH, BAR_HEIGHT = 150, 16


def bar_scale(comparison: Comparison) -> tuple[float, float]:
    """The lowest and the highest end of any interval."""
    lows, highs = zip(*((row.estimate.low, row.estimate.high) for row in comparison.rows), strict=True)
    low, high = min(lows), max(highs)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def bar(row: Row, reference: Row, scale: tuple[float, float]) -> Markup:
    """An interval as a line with its mean, beside a line through the mean of the reference."""

    def place(value: float) -> str:
        share = (value - scale[0]) / (scale[1] - scale[0])
        return f"{3 + share * (BAR_WIDTH - 6):.1f}"

    def line(x1: float, x2: float, margin: int, class_: str) -> Markup:
        middle = str(BAR_HEIGHT // 2)
        y1, y2 = (middle, middle) if x1 != x2 else (str(margin), str(BAR_HEIGHT - margin))
        return element("line", x1=place(x1), x2=place(x2), y1=y1, y2=y2, class_=class_)

    of, mean = row.estimate, reference.estimate.mean
    return element(
        "svg",
        line(mean, mean, 0, "at-reference"),
        line(of.low, of.high, 0, "range") if of.low != of.high else None,
        line(of.mean, of.mean, 2, "mean"),
        **{"width": str(BAR_WIDTH), "height": str(BAR_HEIGHT), "aria-hidden": "true"},
    )
