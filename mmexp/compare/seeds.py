"""The error of a mean over queries and seeds, both drawn from many: two random effects that cross.

The mean of S seeds by Q queries has variance (MS_seeds + MS_queries - MS_error) / (S Q). With few seeds the first of
these is hardly known, and where it counts, t with Satterthwaite's degrees of freedom covers the truth in as few as 88%
of cases (2 seeds) and 92% (3 seeds). So the mean square of the seeds is integrated over what it may be: a generalized
interval, which is t where there is one seed, t over seeds where they matter alone, and errs on the wide side in
between.

Source: Weerahandi 1993, Generalized Confidence Intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import special

# Where the distribution of a mean square is evaluated, as shares of it: dense in both tails, for small p.
_LOGITS = {1: np.linspace(-30, 30, 201), 2: np.linspace(-20, 20, 61)}


@dataclass(frozen=True)
class SeedError:
    """What the seeds of one sample add to the variance of its mean."""

    mean_square: float
    """Of the seeds."""

    error: float
    """Mean square of what neither seeds nor queries explain."""

    num_seeds: int
    num_queries: int

    def variances(self, shares: np.ndarray) -> np.ndarray:
        """The variance that seeds add, at shares of what it may be."""
        degrees = self.num_seeds - 1
        possible = self.mean_square * degrees / special.chdtri(degrees, 1 - shares)
        return np.maximum(possible - self.error, 0) / (self.num_seeds * self.num_queries)


def seed_error(sample: np.ndarray) -> SeedError | None:
    """Of a sample (seeds, queries); None for one seed or one query, from which it cannot be told."""
    num_seeds, num_queries = sample.shape
    if num_seeds == 1 or num_queries == 1:
        return None
    of_seeds, of_queries = sample.mean(axis=1, keepdims=True), sample.mean(axis=0)
    rest = sample - of_seeds - of_queries + sample.mean()
    return SeedError(
        mean_square=num_queries * float(of_seeds.var(ddof=1)),
        error=float((rest**2).sum()) / ((num_seeds - 1) * (num_queries - 1)),
        num_seeds=num_seeds,
        num_queries=num_queries,
    )


@dataclass(frozen=True)
class MeanError:
    """How far a mean may be from the truth."""

    query_variance: float
    """Variance of the mean over queries, from the spread of the queries' own means."""

    num_queries: int
    seeds: Sequence[SeedError]
    """Of each of the (at most two) samples that the mean is of."""

    def p(self, deviation: float) -> float:
        """How probable it is, two-sided, to be so far from the truth or farther."""
        variances, weights = self._possible()
        return float(2 * special.stdtr(self.num_queries - 1, -abs(deviation) / np.sqrt(variances)) @ weights)

    def half_width(self, level: float = 0.95) -> float:
        """Of the interval around the mean."""
        low, high = 0.0, float(np.sqrt(self.query_variance))
        while self.p(high) > 1 - level:
            high *= 2
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.p(middle) > 1 - level else (low, middle)
        return high

    @property
    def widening(self) -> float:
        """How many times wider than by the queries alone the interval is; 1 without seeds."""
        return self.half_width() / MeanError(self.query_variance, self.num_queries, ()).half_width()

    def _possible(self) -> tuple[np.ndarray, np.ndarray]:
        """What the variance of the mean may be, and how probable each value is."""
        if not self.seeds:
            return np.array([self.query_variance]), np.ones(1)
        shares = special.expit(_LOGITS[len(self.seeds)])
        density = shares * (1 - shares)
        density /= density.sum()
        of_each = [seeds.variances(shares) for seeds in self.seeds]
        variances = np.array([sum(values) for values in product(*of_each)])
        weights = np.array([np.prod(values) for values in product(*[density] * len(self.seeds))])
        return self.query_variance + variances, weights
