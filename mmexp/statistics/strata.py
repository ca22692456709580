"""Groups of queries whose sizes are fixed, not drawn: the directions of a reranker, the tasks and languages of a
benchmark. Each counts a fixed share of the mean, however many queries it has.

Were the weights of queries resampled with their scores, how many queries of each group are drawn would count as
chance, which it is not: intervals of unequal groups would be several times too wide.

Source: Cochran 1977, Sampling Techniques, chapter 5 (stratified means, collapsed strata, degrees of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Strata:
    """Which group each query is of, and what each group counts."""

    of_query: np.ndarray
    """int64 (queries,): 0 to the number of groups - 1."""

    shares: np.ndarray
    """float64 (groups,): of each group in the mean, 1 together."""

    @classmethod
    def of(cls, groups: np.ndarray, weights: np.ndarray | None = None) -> Strata:
        """From the group of every query, any integers, and its weight, of any scale: each (queries,). Without weights
        all groups count alike."""
        _, of_query = np.unique(groups, return_inverse=True)
        sums = np.ones(of_query.max() + 1) if weights is None else np.bincount(of_query, weights)
        return cls(of_query, sums / sums.sum())

    @cached_property
    def weights(self) -> np.ndarray:
        """Of the queries in the mean, 1 on average: float64 (queries,)."""
        return (len(self.of_query) * self.shares / np.bincount(self.of_query))[self.of_query]

    def on(self, chosen: np.ndarray) -> Strata:
        """Of the queries at the positions `chosen`. Groups that are left keep their shares to one another."""
        left, of_query = np.unique(self.of_query[chosen], return_inverse=True)
        return Strata(of_query, self.shares[left] / self.shares[left].sum())

    def as_drawn(self, sample: np.ndarray) -> np.ndarray:
        """Values (..., queries) whose plain mean over queries, and its error, are those of the strata's.

        Each is the mean and what its query deviates from its own group: in proportion to its weight, and as much as
        makes the variance of the plain mean the sum of share^2 x variance / size.
        """
        weighted = sample * self.weights
        means = (weighted @ self._members) / self._sizes
        expanded = np.sqrt(self._sizes / self._degrees * (1 - 1 / len(self.of_query)))
        deviations = (weighted - means[..., self._pooled]) * expanded[self._pooled]
        return weighted.mean(axis=-1, keepdims=True) + deviations

    def degrees_of_freedom(self, sample: np.ndarray) -> np.ndarray:
        """Of the variance of the mean of values (..., queries), by Satterthwaite."""
        squares = (self.as_drawn(sample) - (sample * self.weights).mean(axis=-1, keepdims=True)) ** 2
        variances = squares @ self._members
        total, parts = variances.sum(axis=-1) ** 2, (variances**2 / self._degrees).sum(axis=-1)
        return np.divide(total, parts, out=np.full(np.shape(total), self._degrees.min()), where=parts > 0)

    @property
    def effective_size(self) -> float:
        """How many queries without strata would miss what is rare as easily as these may."""
        return len(self.of_query) / float(self.weights.max())

    @cached_property
    def _pooled(self) -> np.ndarray:
        """Groups whose variance is estimated together: those of one query, which shows none, and the smallest other
        where there is but one such."""
        sizes = np.bincount(self.of_query)
        group = np.arange(len(sizes))
        if (sizes == 1).any() and len(sizes) > 1:
            smallest = np.argsort(sizes, kind="stable")[: max(2, np.count_nonzero(sizes == 1))]
            group[smallest] = smallest[0]
        return np.unique(group, return_inverse=True)[1][self.of_query]

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.bincount(self._pooled).astype(np.float64)

    @property
    def _degrees(self) -> np.ndarray:
        return np.maximum(self._sizes - 1, 1)

    @cached_property
    def _members(self) -> np.ndarray:
        """1 where a query is of a group: float64 (queries, groups)."""
        return np.eye(len(self._sizes))[self._pooled]
