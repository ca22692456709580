"""The page: one HTML file that needs nothing else, and no network."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.compare.report.markup import Markup, element, joined
from mmexp.compare.report.naming import setting_name

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison

PARTS = ("ranking", "cost", "figures", "queries", "breakdowns")


def document(comparison: Comparison, sections: list[Markup]) -> str:
    """The whole document."""
    metric = comparison.metric.upper()
    at = f" at {comparison.part}" if comparison.part else ""
    num_runs = sum(len(row.setting.runs) for row in comparison.rows)
    facts = (
        f"{metric}{at} of {len(comparison.rows)} settings ({num_runs} runs) on {len(comparison.query_ids):,} queries, "
        f"reference: {setting_name(comparison.reference.setting)}. Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    )
    links = [element("a", part, href=f"#{part}") for part in PARTS]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"mmexp: comparison of {len(comparison.rows)} settings"),
        element("style", Markup(Path(__file__).with_name("page.css").read_text())),
    )
    files = joined(" Numbers: ", element("a", "comparison.csv", href="comparison.csv"), ".")
    header = element("header", element("h1", "Comparison"), element("p", facts, files), element("nav", *links))
    return f"<!doctype html>\n{element('html', head, element('body', header, element('main', *sections)), lang='en')}\n"
