"""The comparison as a page to look at, with figures.

charts.py             what figures share; cost_chart, effects_chart, part_chart, learning_chart: one kind each
effects.py            what each swept axis does
part_scores.py        the scores of a run at every size
queries.py            where two settings differ, and where all fail; answers.py: what runs answered
breakdowns.py         results by what the data says of its queries
thumbnails.py         small pictures of pages
tables.py naming.py   numbers as figures and page show them, and what settings are called there
page.py page.css      the page, from its sections: results_, figures_, queries_ and breakdowns_section
markup.py             HTML; html_table.py and interval_bar.py make it of tables and intervals
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

from mmexp.compare.report import answers
from mmexp.compare.report.breakdowns import Columns, breakdowns
from mmexp.compare.report.breakdowns_section import breakdowns_section
from mmexp.compare.report.charts import SETTINGS, Chart, LeftOut, remove_old, save
from mmexp.compare.report.cost_chart import quality_over_cost, quality_over_size
from mmexp.compare.report.effects_chart import interactions, main_effects
from mmexp.compare.report.figures_section import figures_section
from mmexp.compare.report.learning_chart import learning_curves
from mmexp.compare.report.markup import Markup
from mmexp.compare.report.page import document
from mmexp.compare.report.part_chart import quality_over_parts
from mmexp.compare.report.queries import disagreement, shared_failures, sides_of
from mmexp.compare.report.queries_section import queries_section
from mmexp.compare.report.results_section import results_section
from mmexp.compare.report.thumbnails import Thumbnails
from mmexp.recording.run_files import write_whole

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison

CHARTS: tuple[Callable[[Comparison], Chart | LeftOut], ...] = (
    quality_over_cost,
    quality_over_parts,
    quality_over_size,
    main_effects,
    interactions,
    learning_curves,
)


def draw(comparison: Comparison) -> list[Chart | LeftOut]:
    """Every figure of the comparison, or why there is none."""
    with matplotlib.rc_context(SETTINGS):
        return [chart(comparison) for chart in CHARTS]


def write(comparison: Comparison, folder: Path, shows_pages: bool = True) -> None:
    """Write index.html, and every figure as PNG and SVG, into `folder`, which exists.

    `shows_pages=False` leaves the data unread, so that queries come without pictures of their pages.
    """
    found = draw(comparison)
    remove_old(folder)
    drawn = [(chart, save(chart, folder)) for chart in found if isinstance(chart, Chart)]
    left_out = [chart for chart in found if isinstance(chart, LeftOut)]
    sections = [
        results_section(comparison),
        figures_section(drawn, left_out),
        _queries(comparison, shows_pages),
        _breakdowns(comparison),
    ]
    write_whole(folder / "index.html", document(comparison, sections))


def _queries(comparison: Comparison, shows_pages: bool) -> Markup:
    differing, failures = disagreement(comparison), shared_failures(comparison)
    run = comparison.reference.setting.runs[0]
    results = [*failures, *(differing.first_better + differing.second_better if differing else ())]
    texts = {answers.id_in_data(run, result.query_id): result.text for result in results}
    pages = Thumbnails.of(run, texts) if shows_pages else Thumbnails(None, "they were not asked for (--no-pages).")
    return queries_section(comparison.metric, differing, failures, pages)


def _breakdowns(comparison: Comparison) -> Markup:
    columns, sides = Columns.of(comparison), sides_of(comparison)
    reasons = {column: columns.reason_against(column) for column in columns}
    shown = breakdowns(comparison, columns, [column for column, why in reasons.items() if why is None], sides)
    left_out = {column: reason for column, reason in reasons.items() if reason is not None}
    return breakdowns_section(comparison.metric, shown, left_out)
