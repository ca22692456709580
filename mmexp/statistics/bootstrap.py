"""Bootstrap intervals over queries: BCa, from one resampling that all samples share."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import special

NUM_RESAMPLES = 2000
# Queries of which fewer hardly show how their scores are spread: BCa covers the truth in 75% (2) to 91% (5) of cases.
ENOUGH_TO_RESAMPLE = 8
# Resamples drawn at once: their weights are a matrix (resamples, queries).
BLOCK = 250


def bootstrap_interval(
    samples: np.ndarray, degrees: np.ndarray | None = None, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of BCa intervals of the means of samples, (queries, samples).

    `degrees` of freedom of each sample's variance are by default the number of queries less 1.

    NDCG close to 1 is skewed, which percentile and t intervals miss: of 300 queries with a mean of 0.98 they cover the
    truth in 92% and 91% of cases, BCa in 94%. The quantiles are widened for few queries (the expanded percentiles of
    Hesterberg 2015, What Teachers Should Know about the Bootstrap). Very few also have no less than t says.

    Source: Efron 1987, Better Bootstrap Confidence Intervals.
    """
    num_queries = len(samples)
    means = samples.mean(axis=0)
    centred = samples - means
    resampled = np.sort(_resampled_means(centred), axis=0)
    below = (resampled < 0).mean(axis=0) + 0.5 * (resampled == 0).mean(axis=0)
    bias = special.ndtri(below.clip(1 / NUM_RESAMPLES, 1 - 1 / NUM_RESAMPLES))
    squares, cubes = (centred**2).sum(axis=0), (centred**3).sum(axis=0)
    acceleration = np.divide(cubes, 6 * squares**1.5, out=np.zeros_like(cubes), where=squares > 0)
    degrees_of_all = max(1, num_queries - 1)
    quantile = special.stdtrit(degrees_of_all if degrees is None else degrees, (1 + level) / 2)
    quantile *= np.sqrt(num_queries / degrees_of_all)
    low, high = (
        means + _quantile(resampled, special.ndtr(bias + shifted / (1 - acceleration * shifted)))
        for shifted in (bias - quantile, bias + quantile)
    )
    if 1 < num_queries < ENOUGH_TO_RESAMPLE:
        half = special.stdtrit(degrees_of_all if degrees is None else degrees, (1 + level) / 2) * np.sqrt(
            squares / degrees_of_all / num_queries
        )
        low, high = np.minimum(low, means - half), np.maximum(high, means + half)
    return low, high


def _resampled_means(centred: np.ndarray) -> np.ndarray:
    """Means of the resamples: (NUM_RESAMPLES, samples). In float32, for speed: what is centred loses nothing by it."""
    narrow = centred.astype(np.float32)
    return np.concatenate([weights @ narrow for weights in _weights(len(centred))])


@lru_cache(maxsize=2)
def _weights(num_queries: int) -> list[np.ndarray]:
    """How often each query is drawn in each resample, over the number of queries; in blocks of resamples."""
    generator = np.random.default_rng(0)
    blocks = []
    for _ in range(NUM_RESAMPLES // BLOCK):
        drawn = generator.integers(num_queries, size=(BLOCK, num_queries)) + num_queries * np.arange(BLOCK)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=BLOCK * num_queries).reshape(BLOCK, num_queries)
        blocks.append((counts / num_queries).astype(np.float32))
    return blocks


def _quantile(ordered: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The quantile of each column at its own share, between neighbours in proportion."""
    place = (share * (len(ordered) + 1) - 1).clip(0, len(ordered) - 1)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    columns = np.arange(ordered.shape[1])
    return ordered[lower, columns] + (place - lower) * (ordered[upper, columns] - ordered[lower, columns])
