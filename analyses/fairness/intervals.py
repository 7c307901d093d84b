"""Confidence intervals, as (low, high); (nan, nan) where the data give none."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from maskmtl.metrics import check_level, wilson

__all__ = ["bootstrap_mean", "newcombe", "newcombe_paired", "square_and_add", "wilson"]

Interval = tuple[float, float]

CELLS = 4_000_000  # resampled values held at once


def square_and_add(value: float, of_value: Interval, other: float, of_other: Interval) -> Interval:
    """Of the difference value - other of two independent figures, from the interval of each (Zou and Donner 2008)."""
    low = value - other - float(np.hypot(value - of_value[0], of_other[1] - other))
    return low, value - other + float(np.hypot(of_value[1] - value, other - of_other[0]))


def newcombe(hits: int, n: int, other_hits: int, other_n: int, level: float = 0.95) -> Interval:
    """Of the difference hits / n - other_hits / other_n of two independent shares (Newcombe 1998b, method 10)."""
    if n == 0 or other_n == 0:
        return float("nan"), float("nan")
    shares = (hits / n, wilson(hits, n, level)), (other_hits / other_n, wilson(other_hits, other_n, level))
    return square_and_add(*shares[0], *shares[1])


def newcombe_paired(cells: Sequence[int], level: float = 0.95) -> Interval:
    """Of the difference of two shares of the same faces, first - second (Newcombe 1998c, method 10).

    cells: how many faces are hits in both, in the first alone, in the second alone, in neither.
    """
    both, first, second, neither = cells
    n = both + first + second + neither
    if n == 0:
        return float("nan"), float("nan")
    p, q = (both + first) / n, (both + second) / n
    (p_low, p_high), (q_low, q_high) = wilson(both + first, n, level), wilson(both + second, n, level)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    product = float(both * neither - first * second)
    if product > 0:
        product = max(product - n / 2, 0.0)
    phi = product / margins**0.5 if margins else 0.0

    def half(a: float, b: float) -> float:
        return float(np.sqrt(max(a * a - 2 * phi * a * b + b * b, 0)))

    return p - q - half(p - p_low, q_high - q), p - q + half(p_high - p, q - q_low)


def bootstrap_mean(values: ArrayLike, seed: int, replicates: int = 2000, level: float = 0.95) -> Interval:
    """Percentile interval of the mean of `values` (N,) under resampling with replacement (Efron 1979).

    The order of the values does not matter. Values that are all equal, or a single one, show no spread to resample:
    (nan, nan), not a width of 0 that would pass for certainty.
    """
    check_level(level)
    if replicates < 1:
        raise ValueError(f"replicates should be at least 1, got {replicates}")
    sample = np.sort(np.asarray(values, dtype=float))
    if sample.ndim != 1:
        raise ValueError(f"values should be (N,), got {sample.shape}")
    n = len(sample)
    if n == 0 or sample[0] == sample[-1]:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    rows = max(1, CELLS // n)
    means = np.concatenate(
        [
            sample[rng.integers(n, size=(min(rows, replicates - start), n), dtype=np.int32)].mean(axis=1)
            for start in range(0, replicates, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
