"""Confidence intervals, as (low, high); (nan, nan) where the data give none."""

import numpy as np
from numpy.typing import ArrayLike

from maskmtl.metrics import check_level, wilson

__all__ = ["bootstrap_mean", "wilson"]

CELLS = 4_000_000  # resampled values held at once


def bootstrap_mean(values: ArrayLike, seed: int, replicates: int = 2000, level: float = 0.95) -> tuple[float, float]:
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
