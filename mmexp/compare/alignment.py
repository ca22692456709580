"""The queries on which runs are compared: the same for all, or it is refused."""

from __future__ import annotations

from collections.abc import Sequence

from mmexp.compare.runs import Run
from mmexp.compare.scores import DIRECTION
from mmexp.schema import ConfigError

REMEDY = "Leave one out, or compare on the queries that all have with --common-queries."
NUM_NAMED = 3


def queries_of_all(runs: Sequence[Run], part: str | None, metric: str, on_common: bool) -> tuple[str, ...]:
    """The queries that all have, in the order of the first run. Raises `ConfigError` where they are not the same.

    `on_common` takes those that are: of equal id, text and relevant documents.
    """
    first = runs[0]
    _refuse_other_kinds(runs)
    if on_common:
        return _common(runs, _query_ids(first, part, metric))
    if other := next((run for run in runs if run.fingerprint != first.fingerprint), None):
        raise ConfigError(
            f"{first.name} and {other.name} have different evaluation data (data_fingerprint {first.fingerprint} and "
            f"{other.fingerprint}), so their scores say nothing of each other. {REMEDY}"
        )
    queries = _query_ids(first, part, metric)
    for run in runs:
        _refuse_missing(first, queries, run, _query_ids(run, part, metric))
    if first.part == DIRECTION:
        _refuse_other_candidates(runs)
    return queries


def _query_ids(run: Run, part: str | None, metric: str) -> tuple[str, ...]:
    scores = run.scores("final", part, metric)
    assert scores is not None
    return scores.query_ids


def _refuse_other_kinds(runs: Sequence[Run]) -> None:
    """A reranker's scores among drawn negatives are no scores of a search."""
    rerankers = [run for run in runs if run.part == DIRECTION]
    others = [run for run in runs if run.part != DIRECTION]
    if rerankers and others:
        raise ConfigError(
            f"{rerankers[0].name} is a reranker, scored among drawn documents, and {others[0].name} searches all "
            "pages, so their scores say nothing of each other. Compare them apart, or measure the reranker as the "
            "second stage of a search with +experiment=two_stage."
        )


def _refuse_missing(first: Run, queries: tuple[str, ...], run: Run, others: tuple[str, ...]) -> None:
    for there, asked, here, has in ((first, queries, run, others), (run, others, first, queries)):
        if asked != has and (missing := sorted(set(asked) - set(has))):
            words = ", ".join(missing[:NUM_NAMED]) + (", ..." if len(missing) > NUM_NAMED else "")
            raise ConfigError(f"{here.name} lacks {len(missing)} of the queries of {there.name}: {words}. {REMEDY}")


def _refuse_other_candidates(runs: Sequence[Run]) -> None:
    """Among more documents the same reranker scores lower."""
    counts = {run: (run.config.get("reranking") or {}).get("num_eval_negatives") for run in runs}
    first = runs[0]
    if other := next((run for run in runs if counts[run] != counts[first]), None):
        raise ConfigError(
            f"{first.name} ranks a query's positives among {counts[first]} drawn negatives and {other.name} among "
            f"{counts[other]} (reranking.num_eval_negatives), so their scores say nothing of each other. Compare them "
            "apart."
        )


def _common(runs: Sequence[Run], queries: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `queries` that mean the same in all runs."""
    content = runs[0].content()
    common = set(queries)
    for run in runs[1:]:
        other = run.content()
        common &= {query for query in common if query in other and other[query] == content[query]}
        if not common:
            raise ConfigError(
                f"{runs[0].name} and {run.name} have no query in common (of equal id, text and relevant documents), so "
                "nothing can be compared. Leave one out."
            )
    return tuple(query for query in queries if query in common)
