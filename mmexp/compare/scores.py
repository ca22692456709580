"""The scores of every query of an evaluation, read from per_query/*.parquet: only the columns that are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from mmexp.schema import ConfigError, did_you_mean

DIRECTION = "direction"


@dataclass(frozen=True)
class Scores:
    """One metric of one evaluation, query by query."""

    query_ids: tuple[str, ...]
    """Of a reranker "direction/query_id". Runs with the same queries share one tuple."""

    values: np.ndarray
    """float64 (queries,), each between 0 and 1."""

    weights: np.ndarray
    """float64 (queries,), 1 on average: `(values * weights).mean()` is what result.json says. All 1 but for a reranker
    with directions of different sizes, whose mean is the mean over directions."""

    directions: np.ndarray | None = None
    """int64 (queries,): which direction of a reranker a query belongs to. None: it has none."""

    @property
    def weighted(self) -> np.ndarray:
        """What statistics are computed from: float64 (queries,)."""
        return self.values * self.weights

    def on(self, query_ids: tuple[str, ...]) -> Scores | None:
        """The scores of these queries, in their order; None where one is missing."""
        if query_ids == self.query_ids:
            return self
        place = {query: n for n, query in enumerate(self.query_ids)}
        if not all(query in place for query in query_ids):
            return None
        chosen = np.array([place[query] for query in query_ids], dtype=np.int64)
        if self.directions is None:
            return Scores(query_ids, self.values[chosen], self.weights[chosen])
        return _by_direction(query_ids, self.values[chosen], self.directions[chosen])


def read_scores(file: Path, part: str, value: int | str | None, metric: str) -> Scores:
    """The metric of every query where column `part` is `value`; of all directions where that is None.

    Raises `ConfigError` where the file has no such metric.
    """
    names = parquet.read_schema(file).names
    if metric not in names:
        raise ConfigError(
            f"{file} has no metric {metric!r}.{did_you_mean(metric, names)} Choose another with --metric."
        )
    table = parquet.read_table(file, columns=["query_id", part, metric], use_threads=False)
    if value is not None:
        table = table.filter(compute.equal(table[part], value))
    values = table[metric].to_numpy().astype(np.float64)
    if part != DIRECTION:
        return Scores(shared(tuple(table["query_id"].to_pylist())), values, np.ones(len(values)))
    directions = table[part].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return _by_direction(shared(tuple(unit_ids(table))), values, directions)


def _by_direction(query_ids: tuple[str, ...], values: np.ndarray, directions: np.ndarray) -> Scores:
    """Weighted so that each direction counts as much as any other."""
    sizes = np.bincount(directions)
    return Scores(query_ids, values, len(values) / (np.count_nonzero(sizes) * sizes[directions]), directions)


def read_content(file: Path, part: str) -> dict[str, tuple[Any, ...]]:
    """What each query asks, by its id: its text where that is known, its relevant documents, how many are ranked."""
    schema = parquet.read_schema(file)
    columns = [name for name in ("query", "relevant", "num_candidates") if name in schema.names]
    table = parquet.read_table(file, columns=["query_id", part, *columns], use_threads=False)
    if part != DIRECTION:  # every size asks the same
        table = table.filter(compute.equal(table[part], table[part][0]))
    cells = [[_hashable(value) for value in table[name].to_pylist()] for name in columns]
    ids = unit_ids(table) if part == DIRECTION else table["query_id"].to_pylist()
    return dict(zip(ids, zip(*cells, strict=True), strict=True))


def unit_ids(table: pa.Table) -> Sequence[str]:
    """ "direction/query_id" of each row."""
    directions, queries = (table[name].to_pylist() for name in (DIRECTION, "query_id"))
    return [f"{direction}/{query}" for direction, query in zip(directions, queries, strict=True)]


def _hashable(value: Any) -> Any:
    return tuple(sorted(value)) if isinstance(value, list) else value


@lru_cache(maxsize=64)
def shared(query_ids: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all that are equal, so that hundreds of runs hold and compare their queries cheaply."""
    return query_ids
