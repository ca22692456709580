"""The scores of every query of an evaluation, read from per_query/*.parquet: only the columns that are needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from mmexp.data.attributes import PREFIX
from mmexp.schema import ConfigError, did_you_mean
from mmexp.statistics.strata import Strata

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

    Raises `ConfigError` where the file has no such metric, and what reading a broken file raises.
    """
    table = _read(file, part, metric)
    # With numpy, as Arrow's own filter takes half a second to look whether there is pandas.
    of_part = np.asarray(table[part])
    kept = np.ones(len(of_part), dtype=bool) if value is None else of_part == value
    numbers = np.asarray(table[metric], dtype=np.float64)
    values = numbers[kept]
    if not len(values):
        raise ValueError(f"it has no {metric} of {part} {value}")
    # Of all sizes, as figures show them; of the tasks of a benchmark, some may lack a metric.
    _refuse_infinite(values if part in OWN_QUERIES else numbers, metric)
    words, codes = _queries(table)
    query_ids = [words[code] for code in codes[kept]]
    if part not in OWN_QUERIES:
        return Scores(shared(tuple(query_ids)), values)
    names_of, parts = np.unique(of_part[kept].astype(str), return_inverse=True)
    units = shared(tuple(f"{names_of[n]}/{query}" for n, query in zip(parts, query_ids, strict=True)))
    if part == TASK:
        languages = [np.asarray(table[name])[kept].astype(str) for name in ("split", "subset")]
        _, strata = np.unique(np.stack([parts.astype(str), *languages]), axis=1, return_inverse=True)
        return Scores(units, values, Strata.of(strata, np.asarray(table["weight"], dtype=np.float64)[kept]))
    return Scores(units, values, Strata.of(parts))


def read_scores_by_size(file: Path, part: str, sizes: Iterable[int], metric: str) -> dict[int, Scores]:
    """The same for each of several sizes, at one reading. Raises as `read_scores` does."""
    table = _read(file, part, metric)
    of_part, numbers = np.asarray(table[part]), np.asarray(table[metric], dtype=np.float64)
    _refuse_infinite(numbers, metric)
    words, codes = _queries(table)
    query_ids: dict[bytes, tuple[str, ...]] = {}  # every size asks the same queries: made Python's once
    found = {}
    for size in sizes:
        kept = of_part == size
        asked = codes[kept]
        if (key := asked.tobytes()) not in query_ids:
            query_ids[key] = shared(tuple(words[code] for code in asked))
        found[size] = Scores(query_ids[key], numbers[kept])
    return found


def _read(file: Path, part: str, metric: str) -> pa.Table:
    of_task = ["weight", "split", "subset"] if part == TASK else []
    with parquet.ParquetFile(file, read_dictionary=["query_id"]) as stored:
        refuse_unknown(metric, stored.schema_arrow, file)
        return stored.read(columns=["query_id", part, metric, *of_task], use_threads=False)


def _queries(table: pa.Table) -> tuple[list[str], np.ndarray]:
    """The distinct ids of queries, and which of them each row has."""
    queries = table["query_id"].unify_dictionaries().combine_chunks()
    return queries.dictionary.to_pylist(), np.asarray(queries.indices)


def _refuse_infinite(values: np.ndarray, metric: str) -> None:
    if not (is_finite := np.isfinite(values)).all():
        raise ValueError(f"{metric} is no finite number in {int((~is_finite).sum())} of {len(values)} rows")


def refuse_unknown(metric: str, schema: pa.Schema, file: Path) -> None:
    """Raise `ConfigError` for what is no metric, such as another column."""
    metrics = [column.name for column in schema if pa.types.is_floating(column.type) and is_metric(column.name)]
    if metric not in metrics:
        raise ConfigError(
            f"{file} has no metric {metric!r}.{did_you_mean(metric, metrics)} It has {', '.join(metrics)}. Choose one "
            "with --metric."
        )


def is_metric(column: str) -> bool:
    """Of a column of numbers: whether it says how good the answer is, and not what the data says of the query."""
    return column != "weight" and not column.startswith(PREFIX)


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
