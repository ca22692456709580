"""The scores of a run at every size that it was evaluated at, in one reading of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison
    from mmexp.compare.settings import Setting

Samples = dict[int, np.ndarray]
"""{embedding size or number of documents reranked: scores (seeds, queries)}."""


def samples_by_size(comparison: Comparison, setting: Setting, stage: str) -> Samples:
    """The scores of a setting on the queries that are compared, at the sizes that all of its runs have."""
    found = [run.scores_by_size(stage, comparison.metric) for run in setting.runs]
    samples: Samples = {}
    for size in sorted(set.intersection(*map(set, found))):
        chosen = [scores[size].on(comparison.query_ids) for scores in found]
        values = [scores.values for scores in chosen if scores is not None]
        if len(values) == len(chosen):
            samples[size] = np.stack(values)
    return samples
