"""The error of a mean over queries and seeds, both drawn from many: two random effects that cross.

The mean of S seeds by Q queries has variance (MS_seeds + MS_queries - MS_error) / (S Q). With few seeds the first of
these is hardly known, and where it counts, t with Satterthwaite's degrees of freedom covers the truth in as few as 88%
of cases (2 seeds) and 92% (3 seeds). So the mean square of the seeds is integrated over what it may be (spread.py). Of
one sample alone that is a generalized interval, which is t where there is one seed, t over seeds where they matter
alone, and errs on the wide side in between.

Source: Weerahandi 1993, Generalized Confidence Intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import special

from mmexp.statistics.spread import Possible, possible_mean_squares

# At which shares the distribution of a mean square is evaluated, by how many there are: dense in both tails, for small
# p.
LOGITS = {1: np.linspace(-30, 30, 101), 2: np.linspace(-20, 20, 41)}
# Of Newton's method, which at most doubles the interval in a step, and ends long before.
MAX_STEPS = 100
TOLERANCE = 1e-6
# Scores of one query that are closer are the same but for rounding.
SAME = 1e-9
# Samples with several seeds that tell how much seeds matter, of one with a single seed too: fewer tell too little.
ENOUGH_TO_TELL = 3
# Of the mean square of what is left: a smaller one of the seeds is chance, and its logarithm says nothing.
LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class MeanSquares:
    """Of a sample (seeds, queries), by a two-way analysis of variance."""

    of_seeds: float
    error: float
    """Of what neither seeds nor queries explain."""

    num_seeds: int
    num_queries: int


@dataclass(frozen=True)
class SeedError:
    """What the seeds of one sample add to the variance of its mean."""

    squares: MeanSquares
    possible: Possible
    """Mean squares of the seeds."""

    def variances(self, num_samples: int) -> np.ndarray:
        """What they may add, at the shares of LOGITS[num_samples]."""
        from_seeds = np.maximum(self.possible.at(LOGITS[num_samples]) - self.squares.error, 0)
        return from_seeds / (self.squares.num_seeds * self.squares.num_queries)


@lru_cache
def _weights(num_samples: int) -> np.ndarray:
    """Of each combination of shares."""
    shares = special.expit(LOGITS[num_samples])
    density = shares * (1 - shares)
    density /= density.sum()
    return density if num_samples == 1 else np.outer(density, density).ravel()


def mean_squares(sample: np.ndarray) -> MeanSquares | None:
    """Of a sample (seeds, queries).

    None for one seed or one query, from which they cannot be told, and for seeds that do not differ.
    """
    num_seeds, num_queries = sample.shape
    if num_seeds == 1 or num_queries == 1 or np.ptp(sample, axis=0).max() < SAME:
        return None
    of_seeds, of_queries = sample.mean(axis=1, keepdims=True), sample.mean(axis=0)
    rest = sample - of_seeds - of_queries + sample.mean()
    return MeanSquares(
        of_seeds=num_queries * float(of_seeds.var(ddof=1)),
        error=float((rest**2).sum()) / ((num_seeds - 1) * (num_queries - 1)),
        num_seeds=num_seeds,
        num_queries=num_queries,
    )


def seed_errors(samples: Sequence[np.ndarray]) -> list[SeedError | None]:
    """Of samples (seeds, queries) of settings that were trained apart, each of which tells of the others too.

    None where there are no `mean_squares`; but one seed among `ENOUGH_TO_TELL` other samples has those of the others.
    """
    found = [mean_squares(sample) for sample in samples]
    known = [squares for squares in found if squares is not None]
    if len(known) >= ENOUGH_TO_TELL:
        found = [
            as_others(known) if squares is None and len(sample) == 1 else squares
            for squares, sample in zip(found, samples, strict=True)
        ]
    told = [squares for squares in found if squares is not None]
    seen = np.array([max(squares.of_seeds, LEAST_SHARE * squares.error) for squares in told])
    possible = iter(possible_mean_squares(seen, np.array([squares.num_seeds - 1 for squares in told])))
    return [None if squares is None else SeedError(squares, next(possible)) for squares in found]


def as_others(known: Sequence[MeanSquares]) -> MeanSquares:
    """Of a sample of one seed, which has no degrees of freedom of its own, and so says nothing."""
    return MeanSquares(
        of_seeds=float(np.median([squares.of_seeds for squares in known])),
        error=float(np.mean([squares.error for squares in known])),
        num_seeds=1,
        num_queries=known[0].num_queries,
    )


@dataclass(frozen=True)
class MeanError:
    """How far a mean may be from the truth."""

    query_variance: float
    """Variance of the mean over queries, from the spread of the queries' own means."""

    degrees: float
    """Of freedom of that variance: the number of queries less 1, where they are of no strata."""

    seeds: Sequence[SeedError]
    """Of each of the (at most two) samples that the mean is of."""

    def p(self, deviation: float) -> float:
        """How probable it is, two-sided, to be so far from the truth or farther."""
        of_each = 2 * special.stdtr(self.degrees, -abs(deviation) / np.sqrt(self._variances))
        return float(of_each @ _weights(len(self.seeds)) if self.seeds else of_each[0])

    def half_width(self, level: float = 0.95) -> float:
        """Of the interval around the mean: where p is 1 - level, by Newton's method.

        p is convex in the deviation, so from what is too narrow no step goes too far.
        """
        half = self.half_width_over_queries(level)
        for _ in range(MAX_STEPS if self.seeds else 0):
            step = (self.p(half) - (1 - level)) / self._slope(half)
            half += step
            if step < TOLERANCE * half:
                break
        return half

    def half_width_over_queries(self, level: float = 0.95) -> float:
        """Of the interval that leaves out the seeds."""
        return float(special.stdtrit(self.degrees, (1 + level) / 2) * np.sqrt(self.query_variance))

    def _slope(self, deviation: float) -> float:
        """By how much p falls for each unit of the deviation: twice the density of t."""
        degrees, scales = self.degrees, np.sqrt(self._variances)
        log_peak = special.gammaln((degrees + 1) / 2) - special.gammaln(degrees / 2) - np.log(np.pi * degrees) / 2
        log_shape = -(degrees + 1) / 2 * np.log1p((deviation / scales) ** 2 / degrees)
        return float(2 * np.exp(log_peak + log_shape) / scales @ _weights(len(self.seeds)))

    @cached_property
    def _variances(self) -> np.ndarray:
        """What the variance of the mean may be, at each combination of shares."""
        of_each = [seeds.variances(len(self.seeds)) for seeds in self.seeds]
        if not of_each:
            return np.array([self.query_variance])
        sums = of_each[0] if len(of_each) == 1 else np.add.outer(*of_each).ravel()
        return self.query_variance + sums
