"""The scores of a run at every size that it was evaluated at, in one reading of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmexp.compare.scores import Scores, shared

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison
    from mmexp.compare.runs import Run
    from mmexp.compare.settings import Setting

Samples = dict[int, np.ndarray]
"""{embedding size or number of documents reranked: scores (seeds, queries)}."""


def samples_by_size(comparison: Comparison, setting: Setting, stage: str) -> Samples:
    """The scores of a setting on the queries that are compared, at the sizes that all of its runs have."""
    found = [scores_by_size(run, stage, comparison.metric) for run in setting.runs]
    samples: Samples = {}
    for size in sorted(set.intersection(*map(set, found))):
        chosen = [scores[size].on(comparison.query_ids) for scores in found]
        values = [scores.values for scores in chosen if scores is not None]
        if len(values) == len(chosen):
            samples[size] = np.stack(values)
    return samples


def scores_by_size(run: Run, stage: str, metric: str) -> dict[int, Scores]:
    """Every query's score at each size; empty where the stage was not measured query by query."""
    from pyarrow import compute, parquet

    if not run.file(stage).exists():
        return {}
    table = parquet.read_table(run.file(stage), columns=["query_id", run.part, metric], use_threads=False)
    first, found = None, {}
    for size in map(int, run.parts):
        rows = table.filter(compute.equal(table[run.part], size))
        ids = rows["query_id"].combine_chunks()
        # Every size asks the same queries: their ids are made Python's once.
        if first is None or not ids.equals(first[0]):
            first = ids, shared(tuple(ids.to_pylist()))
        values = rows[metric].to_numpy().astype(np.float64)
        found[size] = Scores(first[1], values)
    return found
