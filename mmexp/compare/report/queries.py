"""Single queries: those on which two settings differ most, and those on which all fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmexp.compare.report.answers import Answers
from mmexp.compare.report.naming import setting_name

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison
    from mmexp.compare.settings import Setting

NUM_QUERIES = 5
"""Queries in each list."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    setting: Setting
    stage: str
    name: str


@dataclass(frozen=True)
class QueryResult:
    """One query, and what two sides made of it."""

    query_id: str
    text: str | None
    relevant: list[str]
    scores: tuple[float, float]
    """The metric of both sides, means over seeds."""

    top: tuple[list[str], list[str]]
    """The best documents of both sides, of the first seed."""


@dataclass(frozen=True)
class Disagreement:
    """The queries on which two sides differ most."""

    sides: list[Side]
    """Two."""

    first_better: list[QueryResult]
    second_better: list[QueryResult]


@dataclass(frozen=True)
class Failure:
    """A query that no setting answers well."""

    query_id: str
    text: str | None
    relevant: list[str]
    best_score: float
    """Of any setting."""

    top: list[str]
    """The best documents of the best setting."""


def sides_of(comparison: Comparison) -> list[Side]:
    """Who is compared query by query: the best setting with the reference.

    Where that is the best itself, with the next; where there is no other, with what it was before training. The best
    alone where not even that was measured.
    """
    best = comparison.rows[0]
    other = next((row for row in (comparison.reference, *comparison.rows[1:]) if row is not best), None)
    if other is not None:
        return [Side(row.setting, "final", setting_name(row.setting)) for row in (best, other)]
    before = [Side(best.setting, "baseline", "before training")] if best.baseline is not None else []
    return [Side(best.setting, "final", "after training"), *before]


def disagreement(comparison: Comparison) -> Disagreement | None:
    """The queries on which the two sides differ most, in both directions. None: there is one side."""
    sides = sides_of(comparison)
    if len(sides) < 2:
        return None
    samples = [scores_of(comparison, side).mean(axis=0) for side in sides]
    gaps = samples[0] - samples[1]
    order = np.argsort(-gaps, kind="stable")
    picked = [n for n in order[:NUM_QUERIES] if gaps[n] > 0], [n for n in order[::-1][:NUM_QUERIES] if gaps[n] < 0]
    ids = [comparison.query_ids[n] for n in (*picked[0], *picked[1])]
    answers = [Answers.of(side.setting.runs[0], side.stage, comparison.part, ids) for side in sides]

    def result(n: int) -> QueryResult:
        query = comparison.query_ids[n]
        first, second = (side[query] for side in answers)
        scores = float(samples[0][n]), float(samples[1][n])
        return QueryResult(query, first.text, first.relevant, scores, (first.top, second.top))

    return Disagreement(sides, *([result(n) for n in numbers] for numbers in picked))


def shared_failures(comparison: Comparison) -> list[Failure]:
    """The queries whose best score of any setting is lowest, worst first; none that any setting answers perfectly."""
    sides = [Side(row.setting, "final", row.setting.label) for row in comparison.rows]
    best = np.max([scores_of(comparison, side).mean(axis=0) for side in sides], axis=0)
    worst = [n for n in np.argsort(best, kind="stable")[:NUM_QUERIES] if best[n] < 1]
    ids = [comparison.query_ids[n] for n in worst]
    answers = Answers.of(comparison.rows[0].setting.runs[0], "final", comparison.part, ids)
    return [
        Failure(query, answers[query].text, answers[query].relevant, float(best[n]), answers[query].top)
        for n, query in zip(worst, ids, strict=True)
    ]


def scores_of(comparison: Comparison, side: Side) -> np.ndarray:
    """The metric of the queries that are compared: (seeds, queries)."""
    found = comparison.scores(side.setting, side.stage)
    assert found is not None, "a setting is compared without its scores"
    return found
