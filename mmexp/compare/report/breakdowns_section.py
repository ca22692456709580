"""The page's breakdowns: the metric by what the data says of its queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmexp.compare.report.breakdowns import Breakdown
from mmexp.compare.report.html_table import table_of
from mmexp.compare.report.markup import Markup, element


def breakdowns_section(metric: str, breakdowns: Sequence[Breakdown], left_out: Mapping[str, str]) -> Markup:
    """A table for every column, and a line for each that says nothing."""
    lines = [element("li", element("b", f"{column}: "), reason, ".") for column, reason in left_out.items()]
    num_groups = sum(len(breakdown.groups) for breakdown in breakdowns)
    what = (
        f"{metric.upper()} with 95% intervals, each by itself. The words are corrected for all {num_groups} groups of "
        "all columns (Holm)."
    )
    return element(
        "section",
        element("h2", "Breakdowns", id="breakdowns"),
        element("p", what if breakdowns else "The data says nothing of its queries to break results down by."),
        *(element("div", element("h3", f"By {b.column}"), table_of(b.table), class_="breakdown") for b in breakdowns),
        element("p", "Without a breakdown:") if lines else None,
        element("ul", *lines, class_="notes") if lines else None,
    )
