"""How much worse than the full embeddings a setting may be, as far as its queries can tell.

A t interval misses rare losses: where one query in a hundred loses all, 300 queries show three such losses or fewer in
two of three cases, and the spread that t goes by is too small just when the losses are. So losses and gains are also
counted as rare events: a gamma limit, which for queries that lose all is the exact one for their number, and allows
for one more of them than was seen, as losses that were seen do not tell how large others may be. The lower of both
limits counts. So n queries show no margin below -log(alpha) / n: at 2.5%, 0.012 for 300 queries.

Source: Fay and Feuer 1997, Confidence Intervals for Directly Standardized Rates; Zou and Donner 2008, Construction of
Confidence Limits about Effect Measures, for the difference of losses and gains.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from mmexp.statistics.means import TOLERANCE


def lower_limit(differences: np.ndarray, alpha: float) -> float:
    """What the mean of paired differences, float64 (queries,), is below with a probability of at most `alpha`.

    Where nothing differs, queries that were not seen may lose all.
    """
    differences = np.where(np.abs(differences) < TOLERANCE, 0.0, differences)
    if len(differences) == 1 or not differences.any():
        return max(-1.0, float(differences.mean()) - (1 - alpha ** (1 / len(differences))))
    return max(-1.0, min(_t_limit(differences, alpha), _limit_of_rare(differences, alpha)))


def _t_limit(differences: np.ndarray, alpha: float) -> float:
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return float(differences.mean() + special.stdtrit(len(differences) - 1, alpha) * error)


def _limit_of_rare(differences: np.ndarray, alpha: float) -> float:
    """Of gains less losses, each as the sum of rare events."""
    losses, gains = np.maximum(-differences, 0), np.maximum(differences, 0)
    more_losses = _most(losses, alpha) - losses.sum()
    fewer_gains = gains.sum() - _least(gains, alpha)
    return float(differences.mean() - np.hypot(more_losses, fewer_gains) / len(differences))


def _most(sizes: np.ndarray, alpha: float) -> float:
    """The upper limit of the sum of events of these sizes, one more of size 1 allowed for."""
    total, squares = sizes.sum() + 1, (sizes**2).sum() + 1
    return squares / total * special.gammainccinv(total**2 / squares, alpha)


def _least(sizes: np.ndarray, alpha: float) -> float:
    """The lower limit of the sum of events of these sizes."""
    total, squares = sizes.sum(), (sizes**2).sum()
    return squares / total * special.gammaincinv(total**2 / squares, alpha) if total else 0.0
