"""Confidence intervals, as (low, high); (nan, nan) where the data give none."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

CELLS = 4_000_000  # resampled values held at once


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level should be between 0 and 1, got {level}")


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion, within 0..1 (Wilson 1927; Newcombe 1998a, method 3)."""
    _check_level(level)
    if not 0 <= successes <= n:
        raise ValueError(f"successes should be in 0..{n}, got {successes}")
    if n == 0:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    centre = p + z**2 / (2 * n)
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    scale = 1 + z**2 / n
    # 0 and 1 are exact for none and all of n, their rounding is not
    low = 0.0 if successes == 0 else (centre - half) / scale
    return low, 1.0 if successes == n else (centre + half) / scale


def bootstrap_mean(values: ArrayLike, seed: int, replicates: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean of `values` (N,) under resampling with replacement (Efron 1979).

    The order of the values does not matter. Values that are all equal, or a single one, show no spread to resample:
    (nan, nan), not a width of 0 that would pass for certainty.
    """
    _check_level(level)
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
