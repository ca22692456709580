"""The comparison: settings ranked, each with its interval, its gain, its difference to a reference, and its cost.

For those who build on it:
- `Scores` has raw `values` and `weights`; statistics take `scores.weighted`. `Scores.query_ids` is a tuple.
- `Difference` has also wins, ties and losses; `words` is a property.
- `statistics.estimates` and `differences` take many samples (seeds, queries) at once: one resampling serves them all.
- `Comparison.scores(setting, stage, part, metric)` gives such a sample on the queries that are compared.
- Without a named reference it is the best setting, so the family that is corrected for is all pairs of settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmexp.compare.cost import Cost
from mmexp.compare.runs import Run
from mmexp.compare.settings import Scalar, Setting
from mmexp.compare.statistics import Difference, Estimate


@dataclass(frozen=True)
class Row:
    """One setting."""

    setting: Setting
    estimate: Estimate
    """After training."""

    baseline: Estimate | None
    """Before; None where it was not measured query by query, as with task=evaluate."""

    to_baseline: Difference | None
    to_reference: Difference | None
    """None for the reference itself."""

    cost: Cost


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""

    metric: str
    part: str | None
    """The embedding size, direction or number of documents reranked; None: the whole model of each."""

    rows: list[Row]
    """Best first."""

    reference: Row
    unfinished: list[Run]
    """All runs that have no scores to compare, with their status and error."""

    query_ids: tuple[str, ...]
    """The queries that are compared."""

    axes: dict[str, list[Scalar]]
    """What was varied: {config key: its values, sorted}."""

    notes: list[str]
    """What a reader must know, a sentence each."""

    def scores(
        self, setting: Setting, stage: str, part: str | None = None, metric: str | None = None
    ) -> np.ndarray | None:
        """The weighted scores of a setting on the queries that are compared: (seeds, queries); None where any is missing.

        `part` and `metric` are by default those of the comparison.
        """
        raise NotImplementedError


def compare(
    runs: Sequence[Run],
    reference: str | None = None,
    metric: str | None = None,
    part: str | None = None,
    on_common_queries: bool = False,
) -> Comparison:
    """Compare runs, those that are equal but for the seed as one setting.

    Args:
        runs: as `find_runs` gives them.
        reference: name or folder of a run, or label of a setting; by default the best.
        metric: a metric of the per-query scores; by default the primary one.
        part: one embedding size, direction or number of documents reranked; by default the whole model.
        on_common_queries: where the evaluation data differ, compare on the queries that all have.

    Raises `ConfigError` where nothing is finished, or what is cannot be compared.
    """
    raise NotImplementedError
