"""Means and differences over queries and seeds: with a 95% interval, a paired test, an effect size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        if self.p_holm >= 0.05:
            return NOT_SHOWN
        return BETTER if self.delta > 0 else WORSE


def estimates(samples: Sequence[np.ndarray]) -> list[Estimate]:
    """The mean of each sample with its interval. Samples are float64 (seeds, queries), of the same queries."""
    raise NotImplementedError


def differences(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], family_size: int | None = None
) -> list[Difference]:
    """The paired differences of samples, as a family of comparisons.

    Args:
        ours, theirs: each (seeds, queries), of the same queries. Where a pair has equally many seeds, they are paired
            too, in their order; else they are taken as independent.
        family_size: how many comparisons the correction is for; by default those that are given.
    """
    raise NotImplementedError
