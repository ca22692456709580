"""The page's queries: where two settings differ most, and where all fail, with their pages."""

from __future__ import annotations

from collections.abc import Sequence

from mmexp.compare.report.markup import Markup, element
from mmexp.compare.report.queries import Disagreement, Failure, QueryResult
from mmexp.compare.report.thumbnails import Thumbnails


def queries_section(
    metric: str, disagreement: Disagreement | None, failures: Sequence[Failure], pages: Thumbnails
) -> Markup:
    """Both lists, and why pages are not shown where they are not."""
    return element(
        "section",
        element("h2", "Queries", id="queries"),
        element("p", f"Pages are not shown: {pages.problem}", class_="reading") if pages.problem else None,
        *(_disagreement(disagreement, metric, pages) if disagreement else ()),
        element("h3", "Failures that all share"),
        element("p", f"The queries whose best {metric.upper()} of any setting is lowest.", class_="reading"),
        element("div", *(_failure(failure, metric, pages) for failure in failures), class_="failures"),
        None if failures else element("p", "None: every query is answered perfectly by some setting."),
    )


def _disagreement(found: Disagreement, metric: str, pages: Thumbnails) -> list[Markup]:
    first, second = (side.name for side in found.sides)
    parts = []
    for results, better, worse in ((found.first_better, first, second), (found.second_better, second, first)):
        parts.append(element("h3", f"Where {better} is better than {worse}"))
        parts += [_result(result, (first, second), metric, pages) for result in results]
        if not results:
            parts.append(element("p", "On no query."))
    return parts


def _result(result: QueryResult, names: tuple[str, str], metric: str, pages: Thumbnails) -> Markup:
    columns = [_column("the page that answers it", result.relevant, (), pages)]
    for name, score, top in zip(names, result.scores, result.top, strict=True):
        columns.append(_column(f"{name}: {metric.upper()} {score:.3f}", top, result.relevant, pages))
    return _query(result.query_id, result.text, columns)


def _failure(failure: Failure, metric: str, pages: Thumbnails) -> Markup:
    found = f"the best setting's: {metric.upper()} at most {failure.best_score:.3f}"
    columns = [
        _column("the page that answers it", failure.relevant, (), pages),
        _column(found, failure.top, failure.relevant, pages),
    ]
    return _query(failure.query_id, failure.text, columns)


def _query(query_id: str, text: str | None, columns: list[Markup]) -> Markup:
    head = element("p", element("b", text or "(no text)"), " ", element("small", query_id))
    return element("article", head, element("div", *columns, class_="columns"))


def _column(title: str, ids: Sequence[str], relevant: Sequence[str], pages: Thumbnails) -> Markup:
    shown = [_page(id_, id_ in relevant, pages) for id_ in ids]
    return element("div", element("small", title), element("div", *shown, class_="pages"))


def _page(id_: str, is_relevant: bool, pages: Thumbnails) -> Markup:
    picture = pages[id_]
    mark = " ✓" if is_relevant else ""
    image = element("img", src=picture, alt=f"page {id_}") if picture else None
    return element("div", image, element("small", id_, mark), class_="page relevant" if is_relevant else "page")
