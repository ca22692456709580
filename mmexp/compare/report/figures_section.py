"""The page's figures, each with its numbers beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmexp.compare.report.charts import GREY, INK, KINDS, Chart, LeftOut
from mmexp.compare.report.html_table import table_of
from mmexp.compare.report.markup import Markup, element
from mmexp.compare.report.tables import Interval

PIXELS_PER_POINT = 1.5
"""Figures are no larger than this, so that their words are about as large as those of the page."""


def figures_section(charts: Sequence[tuple[Chart, str]], left_out: Sequence[LeftOut]) -> Markup:
    """All figures, given with their SVG, and a line for each that has nothing to show."""
    lines = [element("li", element("b", f"{chart.title}: "), chart.reason) for chart in left_out]
    return element(
        "section",
        element("h2", "Figures", id="figures"),
        *(_figure(chart, svg) for chart, svg in charts),
        element("p", "Without a figure:") if lines else None,
        element("ul", *lines, class_="notes") if lines else None,
    )


def inline(svg: str) -> Markup:
    """An SVG file of matplotlib's as part of a page: no wider than its place, in the colors of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    [width] = re.findall(r'<svg [^>]*? width="([\d.]+)pt"', svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = svg.replace("<svg ", f'<svg style="max-width: {PIXELS_PER_POINT * float(width):.0f}px" ', 1)
    # Figures number their parts alike, and an id may occur once in a page; those of equal definitions are equal.
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    return Markup(svg.replace(INK.lower(), "currentColor").replace(GREY.lower(), "var(--grey)"))


def _figure(chart: Chart, svg: str) -> Markup:
    names = [f"{chart.name}.{kind}" for kind in KINDS]
    links = [element("a", name, href=name) for name in names]
    is_wide = sum(isinstance(cell, Interval) for cell in chart.table.rows[-1]) > 1
    return element(
        "figure",
        element("h3", chart.title, id=chart.name),
        element(
            "div",
            element("div", inline(svg), class_="drawing", role="img", aria_label=chart.title),
            table_of(chart.table),
            class_="below" if is_wide else "beside",
        ),
        element("figcaption", chart.reading, " ", links[0], " ", links[1]),
    )
