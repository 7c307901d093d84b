"""Two-sided p-values of differences, and their adjustment for many. NaN in, NaN out."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

MANY = 50  # expected faces in the smallest cell, from which the score test takes over from the exact one

Floats = NDArray[np.float64]


def normal(z: ArrayLike) -> Floats:
    """P(|Z| >= |z|) of a standard normal Z."""
    from scipy.stats import norm

    return 2 * norm.sf(np.abs(z))


def two_shares(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """Whether two independent shares differ: Fisher's exact test, mid-p (Lancaster 1961); of many faces the score test.

    Mid-p, because the plain exact test alarms far less often than its level says.
    """
    total, all_hits = n + other_n, hits + other_hits
    if min(n, other_n) == 0:
        return float("nan")
    if all_hits in (0, total):
        return 1.0
    if min(n, other_n) * min(all_hits, total - all_hits) / total >= MANY:
        share = all_hits / total
        error = np.sqrt(share * (1 - share) * (1 / n + 1 / other_n))
        return float(normal((hits / n - other_hits / other_n) / error))
    from scipy.special import gammaln

    low, high = max(0, n - (total - all_hits)), min(n, all_hits)
    k = np.arange(low, high + 1)
    cells = [k, n - k, all_hits - k, other_n - all_hits + k]  # of the hypergeometric law, up to a factor
    logs = -sum(gammaln(cell + 1.0) for cell in cells)
    chances = np.exp(logs - logs.max())
    return _mid_p(chances / chances.sum(), hits - low)


def mcnemar(first: int, second: int) -> float:
    """Whether two shares of the same faces differ, from the faces that are hits in the first or the second alone.

    The exact test, mid-p (Fagerland, Lydersen and Laake 2013).
    """
    if first + second == 0:
        return 1.0
    if first + second > 10_000:
        return float(normal((first - second) / (first + second) ** 0.5))
    from scipy.stats import binom

    return _mid_p(binom.pmf(np.arange(first + second + 1), first + second, 0.5), first)


def _mid_p(chances: Floats, at: int) -> float:
    tail = min(chances[:at].sum(), chances[at + 1 :].sum()) + chances[at] / 2
    return float(min(1.0, 2 * tail))


def holm(p: ArrayLike) -> Floats:
    """Adjusted so that the chance of any false alarm in the family stays at the level (Holm 1979)."""
    return _adjusted(p, lambda ranked: np.maximum.accumulate(ranked * np.arange(len(ranked), 0, -1)))


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted so that the share of false alarms among alarms stays at the level (Benjamini and Hochberg 1995)."""

    def steps_up(ranked: Floats) -> Floats:
        m = len(ranked)
        return np.minimum.accumulate((ranked * m / np.arange(1, m + 1))[::-1])[::-1]

    return _adjusted(p, steps_up)


def _adjusted(p: ArrayLike, steps: Callable[[Floats], Floats]) -> Floats:
    values = np.asarray(p, dtype=float)
    found = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    found[order] = np.minimum(steps(values[order]), 1)
    return found


def power_factor(level: float, power: float = 0.8) -> float:
    """The difference, in standard errors, that a test at `level` confidence finds with this power."""
    quantile = NormalDist().inv_cdf
    return quantile((1 + level) / 2) + quantile(power)
