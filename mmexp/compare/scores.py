"""The scores of every query of an evaluation, read from per_query/*.parquet: only the columns that are needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from mmexp.compare.strata import Strata
from mmexp.schema import ConfigError, did_you_mean

DIRECTION, TASK = "direction", "task"
# Parts that have queries of their own; the others ask the same queries of several sizes.
OWN_QUERIES = (DIRECTION, TASK)


@dataclass(frozen=True)
class Scores:
    """One metric of one evaluation, query by query."""

    query_ids: tuple[str, ...]
    """Of a reranker "direction/query_id", of a benchmark "task/query_id". Runs with the same queries share a tuple."""

    values: np.ndarray
    """float64 (queries,), each between 0 and 1."""

    strata: Strata | None = None
    """The directions of a reranker, or the tasks and languages of a benchmark: the mean that result.json has is one
    over them. None: it is one over queries."""

    def on(self, query_ids: tuple[str, ...]) -> Scores | None:
        """The scores of these queries, in their order; None where one is missing."""
        if query_ids == self.query_ids:
            return self
        place = {query: n for n, query in enumerate(self.query_ids)}
        if not all(query in place for query in query_ids):
            return None
        chosen = np.array([place[query] for query in query_ids], dtype=np.int64)
        return Scores(query_ids, self.values[chosen], self.strata and self.strata.on(chosen))


def read_scores(file: Path, part: str, value: int | str | None, metric: str) -> Scores:
    """The metric of every query where column `part` is `value`; of all directions or tasks where that is None.

    Raises `ConfigError` where the file has no such metric.
    """
    of_task = ["weight", "split", "subset"] if part == TASK else []
    with parquet.ParquetFile(file, read_dictionary=["query_id"]) as stored:
        names = stored.schema_arrow.names
        if metric not in names:
            raise ConfigError(
                f"{file} has no metric {metric!r}.{did_you_mean(metric, names)} Choose another with --metric."
            )
        table = stored.read(columns=["query_id", part, metric, *of_task], use_threads=False)
    # With numpy, as Arrow's own filter takes half a second to look whether there is pandas.
    of_part = np.asarray(table[part])
    kept = np.ones(len(of_part), dtype=bool) if value is None else of_part == value
    values = np.asarray(table[metric], dtype=np.float64)[kept]
    queries = table["query_id"].unify_dictionaries().combine_chunks()
    words = queries.dictionary.to_pylist()
    query_ids = [words[code] for code in np.asarray(queries.indices)[kept]]
    if part not in OWN_QUERIES:
        return Scores(shared(tuple(query_ids)), values)
    names_of, parts = np.unique(of_part[kept].astype(str), return_inverse=True)
    units = shared(tuple(f"{names_of[n]}/{query}" for n, query in zip(parts, query_ids, strict=True)))
    if part == TASK:
        languages = [np.asarray(table[name])[kept].astype(str) for name in ("split", "subset")]
        _, strata = np.unique(np.stack([parts.astype(str), *languages]), axis=1, return_inverse=True)
        return Scores(units, values, Strata.of(strata, np.asarray(table["weight"], dtype=np.float64)[kept]))
    return Scores(units, values, Strata.of(parts, 1 / np.bincount(parts)[parts]))


def finite(scores: Scores, metric: str, file: Path) -> Scores:
    """The scores. Raises `ConfigError` where some are no numbers, which nothing can be computed from."""
    if not_finite := int((~np.isfinite(scores.values)).sum()):
        raise ConfigError(
            f"{metric} of {not_finite} of {len(scores.values)} queries is no finite number in {file}. Leave this run "
            "out, evaluate it again (task=evaluate model=hub model.checkpoint=RUN_DIR), or give another --metric."
        )
    return scores


def read_content(file: Path, part: str) -> dict[str, tuple[Any, ...]]:
    """What each query asks, by its id: its text where that is known, its relevant documents, how many are ranked."""
    with parquet.ParquetFile(file) as stored:
        columns = [name for name in ("query", "relevant", "num_candidates") if name in stored.schema_arrow.names]
        table = stored.read(columns=["query_id", part, *columns], use_threads=False)
    cells = [[_hashable(value) for value in table[name].to_pylist()] for name in columns]
    ids = table["query_id"].to_pylist()
    if part in OWN_QUERIES:
        ids = [f"{value}/{query}" for value, query in zip(table[part].to_pylist(), ids, strict=True)]
    # Every size asks the same, so a query that comes again says nothing new.
    return dict(zip(ids, zip(*cells, strict=True), strict=True))


def _hashable(value: Any) -> Any:
    return tuple(sorted(value)) if isinstance(value, list) else value


@lru_cache(maxsize=64)
def shared(query_ids: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all that are equal, so that hundreds of runs hold and compare their queries cheaply."""
    return query_ids
