"""Every size and precision, measured: quality with its interval, the size of the index, and the time of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmexp.evaluation.metrics import PRIMARY_METRIC, Ranking, per_query_metrics
from mmexp.quantize.encoding import Encoded
from mmexp.quantize.indexes import INDEXES, BinaryIndex
from mmexp.quantize.non_inferiority import lower_limit
from mmexp.quantize.search import Search, prepared
from mmexp.statistics.means import Difference, Estimate, differences, estimates

# That any of the lower limits of a table is above the truth has at most this probability.
ALPHA = 0.025
# What is compared by the codes of both sides can be put into a new order by the queries in full.
RESCORED = (BinaryIndex,)


@dataclass(frozen=True)
class Setting:
    """How embeddings are kept and compared."""

    dim: int
    precision: str
    """float32, bfloat16, int8 or binary."""

    rescored: bool
    """Whether the best documents by their codes are put into a new order by the query in float32."""

    def __str__(self) -> str:
        return f"{self.dim} dimensions in {self.precision}{' with rescoring' if self.rescored else ''}"


@dataclass
class Measured:
    """One setting, searched."""

    setting: Setting
    bytes_per_document: int
    seconds_per_query: float
    ranking: Ranking
    scores: np.ndarray
    """The primary metric of every query: float64 (queries,)."""


@dataclass
class Row:
    """One setting beside the full one."""

    measured: Measured
    estimate: Estimate
    to_full: Difference | None
    """Paired by query. None for the full setting itself."""

    percent_of_full: float | None
    """None where the full embeddings find nothing."""

    lower_limit: float | None = None
    """What the difference is at least: with 97.5%, in all rows of the table at once. None for the full setting."""

    @property
    def setting(self) -> Setting:
        return self.measured.setting


def measure(encoded: Encoded, dims: Sequence[int], rescore_multiplier: int) -> list[Measured]:
    """Search the corpus at every size and precision: the full one first, then by falling size and precision."""
    return [measured for dim in dims for measured in _at_size(encoded, dim, rescore_multiplier)]


def _at_size(encoded: Encoded, dim: int, rescore_multiplier: int) -> Iterator[Measured]:
    queries, documents = (prepared(side, dim, encoded.similarity) for side in (encoded.queries, encoded.documents))
    for index_class in INDEXES:
        index = index_class(documents)
        for rescored in (False, True) if index_class in RESCORED else (False,):
            search = Search(index, rescore_multiplier if rescored else None)
            ranking = search.rank(queries, encoded.document_ids)
            yield Measured(
                Setting(dim, index.precision, rescored),
                index.bytes_per_document,
                search.seconds_per_query(queries),
                ranking,
                per_query_metrics(ranking, encoded.relevant)[PRIMARY_METRIC],
            )


def alpha_of_each(num_settings: int) -> float:
    """The level of each lower limit (Bonferroni), of so many settings, one of which is the full one."""
    return ALPHA / max(1, num_settings - 1)


def compared(measured: Sequence[Measured]) -> list[Row]:
    """Every setting with its interval, and its paired difference to the first, which is the full one."""
    samples = [one.scores[np.newaxis] for one in measured]  # of one seed
    means = estimates(samples)
    to_full = [None, *differences(samples[1:], samples[0])]
    alpha = alpha_of_each(len(measured))
    limits = [None, *(lower_limit(one.scores - measured[0].scores, alpha) for one in measured[1:])]
    full = means[0].mean
    return [
        Row(one, estimate, difference, 100 * estimate.mean / full if full else None, limit)
        for one, estimate, difference, limit in zip(measured, means, to_full, limits, strict=True)
    ]
