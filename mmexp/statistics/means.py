"""Means and differences over queries and seeds: with a 95% interval, a paired test, an effect size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mmexp.statistics.bootstrap import bootstrap_interval
from mmexp.statistics.seeds import MeanError, SeedError, seed_errors
from mmexp.statistics.sign_flip import sign_flip_p
from mmexp.statistics.strata import Strata

ALPHA = 0.05
# Scores that are computed in another order differ by less.
TOLERANCE = 1e-9
BETTER, WORSE, NOT_SHOWN = "better", "worse", "no difference shown"


@dataclass(frozen=True)
class Estimate:
    """A mean over queries, and over seeds where there are several, with its 95% interval."""

    mean: float
    low: float
    high: float
    spread_over_seeds: float | None
    """Standard deviation of the means of the seeds. None for one seed: the interval then counts queries alone."""

    num_seeds: int
    num_queries: int


class WithEnds(Protocol):
    """A mean with its interval, such as `Estimate`."""

    @property
    def mean(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


@dataclass(frozen=True)
class Difference:
    """A paired difference of means, ours minus theirs, with its 95% interval."""

    delta: float
    low: float
    high: float
    p: float
    """Of no difference, two-sided."""

    p_holm: float
    """Corrected for all comparisons of the family."""

    effect_size: float | None
    """Cohen's d_z: mean over standard deviation of the differences of the queries (means over seeds). 0 where all
    differences are 0; None where they are all the same and not 0, or where there is one query."""

    wins: int
    """Queries on which ours is better."""

    ties: int
    losses: int

    @property
    def words(self) -> str:
        """ "better", "worse" or "no difference shown"."""
        if self.p_holm >= ALPHA:
            return NOT_SHOWN
        return BETTER if self.delta > 0 else WORSE


def estimates(samples: Sequence[np.ndarray], strata: Strata | None = None) -> list[Estimate]:
    """The mean of each sample with its interval. Samples are float64 (seeds, queries), of the same queries.

    One seed has a bootstrap interval over queries. Several have that of their mean, and what the seeds add, which
    all samples tell together (`mmexp.statistics.seeds`): those with several seeds must be of settings that were trained
    apart. Where all queries have one score, the interval says what could have been missed. Of queries in `strata` the
    means are those over strata, whose sizes are fixed.
    """
    if not samples:
        return []
    of_queries = np.stack([sample.mean(axis=0) for sample in samples])
    degrees = None if strata is None else strata.degrees_of_freedom(of_queries)
    lows, highs = bootstrap_interval(_as_drawn(of_queries, strata).T, degrees)
    errors = seed_errors([_as_drawn(sample, strata) for sample in samples])
    found = zip(samples, lows, highs, errors, strict=True)
    return [_estimate(sample, float(low), float(high), error, strata) for sample, low, high, error in found]


def _as_drawn(sample: np.ndarray, strata: Strata | None) -> np.ndarray:
    return sample if strata is None else strata.as_drawn(sample)


def _estimate(sample: np.ndarray, low: float, high: float, error: SeedError | None, strata: Strata | None) -> Estimate:
    drawn = _as_drawn(sample, strata)
    of_queries = drawn.mean(axis=0)
    mean = float(of_queries.mean())
    if np.ptp(of_queries) < TOLERANCE:
        low, high = _unseen(mean, 0.0, 1.0, _effective_size(sample, strata))
    elif error is not None:
        of_mean = _mean_error(sample.mean(axis=0), strata, error)
        # The errors of queries and of seeds are independent, and only that of the queries is skewed.
        of_seeds = of_mean.half_width() ** 2 - of_mean.half_width_over_queries() ** 2
        low, high = mean - np.sqrt((mean - low) ** 2 + of_seeds), mean + np.sqrt((high - mean) ** 2 + of_seeds)
    num_seeds, num_queries = sample.shape
    spread = float(drawn.mean(axis=1).std(ddof=1)) if num_seeds > 1 else None
    return Estimate(mean, max(0.0, low), min(1.0, high), spread, num_seeds, num_queries)


def reach(found: Iterable[WithEnds]) -> list[list[float]]:
    """How far intervals reach below and above their means, for error bars: [below, above].

    An interval need not hold the mean of one that is all but constant, by rounding.
    """
    ends = [(max(0.0, one.mean - one.low), max(0.0, one.high - one.mean)) for one in found]
    return [[below for below, _ in ends], [above for _, above in ends]]


def differences(
    ours: Sequence[np.ndarray],
    reference: np.ndarray,
    family_size: int | None = None,
    strata: Strata | None = None,
) -> list[Difference]:
    """The differences of settings to one that was trained apart, paired by query, as a family of comparisons.

    One seed each is tested by flipping signs, and has a t interval: differences of queries are not skewed as scores
    are, but mostly 0, and then t covers where a bootstrap does not. Where there are several seeds, both count them;
    they are not paired, so what luck two settings share makes intervals wider than need be, and never narrower.

    Args:
        ours: each (seeds, queries), of the same queries as the reference.
        reference: (seeds, queries).
        family_size: how many comparisons the correction is for; by default those that are given.
        strata: of the queries, where the means are those over strata, whose sizes are fixed.
    """
    *of_ours, of_reference = seed_errors([_as_drawn(sample, strata) for sample in (*ours, reference)])
    found = [
        _difference(mine, reference, [error for error in (of_mine, of_reference) if error], strata)
        for mine, of_mine in zip(ours, of_ours, strict=True)
    ]
    return corrected(found, family_size)


def gains(after: Sequence[np.ndarray], before: Sequence[np.ndarray], strata: Strata | None = None) -> list[Difference]:
    """The differences of settings to what the same runs were before: as `differences`, but seeds are paired too.

    Each of `after` is (seeds, queries), as its own of `before`.
    """
    errors = seed_errors([_as_drawn(ours - theirs, strata) for ours, theirs in zip(after, before, strict=True)])
    found = zip(after, before, errors, strict=True)
    return corrected([_difference(ours, theirs, [error] if error else [], strata) for ours, theirs, error in found])


def _difference(ours: np.ndarray, theirs: np.ndarray, seeds: Sequence[SeedError], strata: Strata | None) -> Difference:
    of_queries = ours.mean(axis=0) - theirs.mean(axis=0)
    of_queries = np.where(np.abs(of_queries) < TOLERANCE, 0.0, of_queries)
    weights = np.ones(len(of_queries)) if strata is None else strata.weights
    delta = float((weights * of_queries).mean())
    if np.ptp(_as_drawn(of_queries, strata)) < TOLERANCE:
        low, high = _unseen(delta, -1.0, 1.0, _effective_size(ours, strata))
        p = sign_flip_p(weights * of_queries)
    else:
        error = _mean_error(of_queries, strata, *seeds)
        half = error.half_width()
        low, high = delta - half, delta + half
        p = error.p(delta) if seeds else sign_flip_p(weights * of_queries)
    wins, losses = int((of_queries > 0).sum()), int((of_queries < 0).sum())
    ties = len(of_queries) - wins - losses
    return Difference(
        delta, max(-1.0, low), min(1.0, high), p, p, _effect_size(of_queries, weights), wins, ties, losses
    )


def _mean_error(of_queries: np.ndarray, strata: Strata | None, *seeds: SeedError) -> MeanError:
    num_queries = len(of_queries)
    degrees = num_queries - 1 if strata is None else float(strata.degrees_of_freedom(of_queries))
    return MeanError(float(_as_drawn(of_queries, strata).var(ddof=1)) / num_queries, degrees, seeds)


def _effective_size(sample: np.ndarray, strata: Strata | None) -> float:
    return sample.shape[1] if strata is None else strata.effective_size


def _effect_size(of_queries: np.ndarray, weights: np.ndarray) -> float | None:
    if not of_queries.any():
        return 0.0
    if np.ptp(of_queries) < TOLERANCE:
        return None
    mean = (weights * of_queries).mean()
    return float(mean / np.sqrt((weights * (of_queries - mean) ** 2).sum() / (len(of_queries) - 1)))


def _unseen(value: float, least: float, most: float, num_queries: float) -> tuple[float, float]:
    """The ends of an interval around what every query has shown.

    A share of queries below 1 - 0.025 ** (1 / n) is missed by n of them in more than one of 40 cases, and they may
    have any score.
    """
    share = 1 - ((1 - 0.95) / 2) ** (1 / num_queries)
    return value - share * (value - least), value + share * (most - value)


def corrected(found: Sequence[Difference], family_size: int | None = None) -> list[Difference]:
    """Differences, of the same queries or not, as one family of comparisons: with their p corrected by `holm`."""
    ps = holm([one.p for one in found], family_size)
    return [replace(one, p_holm=p) for one, p in zip(found, ps, strict=True)]


def holm(ps: Sequence[float], family_size: int | None = None) -> list[float]:
    """Holm's corrected p, in the order given.

    With a larger `family_size` the p that are not given are taken for 1, which is on the safe side.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    size = family_size or len(ps)
    corrected, so_far = [0.0] * len(ps), 0.0
    for rank, n in enumerate(sorted(range(len(ps)), key=lambda n: ps[n])):
        so_far = max(so_far, min(1.0, (size - rank) * ps[n]))
        corrected[n] = so_far
    return corrected
