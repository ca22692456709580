"""How much seeds may matter: what the mean square of seeds may be expected to be, given those that were seen.

Of one sample alone, that is its mean square times degrees of freedom over chi square. Of the samples of several
settings, each says something of the others: the logarithms of their expected mean squares are taken as normal, with a
centre and a width that are integrated over. Where settings agree, each is known about as well as by the seeds of all;
where they do not, hardly better than by its own. Without this, two seeds of each of 12 settings would give every
setting an interval two to three times as wide as it need be.

Sources: Gelman 2006, Prior Distributions for Variance Parameters in Hierarchical Models; Smyth 2004, Linear Models and
Empirical Bayes Methods, which moderates variances so, with estimates in place of integrals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

# The width, of logarithms of variances, is half-normal with this scale: that seeds of one setting differ twice as much
# (in standard deviation) as those of another is nothing unusual.
SCALE_OF_WIDTH = 1.0
WIDTHS = (np.arange(16) + 0.5) / 16 * 4 * SCALE_OF_WIDTH
# Of the grid of logarithms, and how far it goes below and above what was seen: far, for small p.
STEP = 0.2
BELOW, ABOVE = 8.0, 25.0
MOST_ABOVE_CENTRE = 12.0
SHARES_OF_CHI = np.linspace(-30, 30, 301)


@dataclass(frozen=True, eq=False)
class Possible:
    """What one expected mean square may be, as a distribution."""

    logits: np.ndarray
    """Of shares of the distribution: float64, ascending."""

    logs: np.ndarray
    """Logarithms of the mean squares that have these shares below them."""

    def at(self, logits: np.ndarray) -> np.ndarray:
        """The mean squares below which the shares with these logits lie."""
        return np.exp(np.interp(logits, self.logits, self.logs))


def possible_mean_squares(seen: np.ndarray, degrees: np.ndarray) -> list[Possible]:
    """What each expected mean square may be.

    Args:
        seen: mean squares of samples that are independent of one another, each above 0: float64 (samples,).
        degrees: of freedom of each; 0 for one that says nothing, and of which only the others tell.
    """
    if len(seen) == 1:
        return [of_one(float(seen[0]), float(degrees[0]))]
    return of_several(seen, degrees) if len(seen) else []


def of_one(seen: float, degrees: float) -> Possible:
    """What an expected mean square may be of which nothing is known but this one."""
    quantiles = special.chdtri(degrees, special.expit(SHARES_OF_CHI))
    return Possible(SHARES_OF_CHI, np.log(seen * degrees / quantiles))


def of_several(seen: np.ndarray, degrees: np.ndarray) -> list[Possible]:
    """The same of several, each of which counts for the others as far as they agree."""
    logs = np.log(seen)
    grid = np.arange(logs.min() - BELOW, logs.max() + ABOVE, STEP)
    centres = grid[grid < logs.max() + MOST_ABOVE_CENTRE]
    likelihoods = _likelihoods(grid, logs, degrees)  # (samples, grid)
    normal = np.exp(-(((grid - centres[:, None]) / WIDTHS[:, None, None]) ** 2) / 2) / WIDTHS[:, None, None]
    normal = normal.reshape(-1, len(grid))  # (widths x centres, grid)
    of_widths = np.repeat(-((WIDTHS / SCALE_OF_WIDTH) ** 2) / 2, len(centres))
    of_each = np.log(np.maximum(likelihoods @ normal.T, np.finfo(np.float64).tiny))  # (samples, widths x centres)
    of_others = of_widths + of_each.sum(axis=0) - of_each
    weights = np.exp(of_others - of_others.max(axis=1, keepdims=True))
    return [_possible(grid, density) for density in likelihoods * (weights @ normal)]


def _likelihoods(grid: np.ndarray, logs: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Of each expected mean square on the grid, by chi square: (samples, grid), at most 1."""
    apart = logs[:, None] - grid
    return np.exp(degrees[:, None] / 2 * (apart + 1 - np.exp(apart)))


def _possible(grid: np.ndarray, density: np.ndarray) -> Possible:
    kept = density > density.max() * 1e-200
    density = density[kept]
    # Both tails are summed from their own end, as small shares are lost beside 1.
    below = np.cumsum(density) - density / 2
    above = np.cumsum(density[::-1])[::-1] - density / 2
    return Possible(np.log(below / above), grid[kept])
