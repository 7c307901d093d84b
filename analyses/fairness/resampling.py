"""Sums of per-face statistics over groups, and the same under resampling of source faces."""

import numpy as np
import torch
from numpy.typing import NDArray

HELD = 4_000_000  # faces drawn at once


def sums_of(statistics: NDArray[np.floating], groups: NDArray[np.integer], n_groups: int) -> NDArray[np.float64]:
    """Sums (n_groups, S) of statistics (F, S) over the faces of each group; groups (F,) in 0..n_groups - 1."""
    found = np.zeros((n_groups, statistics.shape[1]))
    np.add.at(found, groups, statistics)
    return found


def draws(faces: int, replicates: int, seed: int) -> NDArray[np.uint8]:
    """(faces, replicates) how often each face is drawn, when as many are drawn again with replacement (Efron 1979).

    From all faces, not group by group: a small group would show too little spread.
    """
    rng, found = np.random.default_rng(seed), np.zeros((faces, replicates), np.uint8)
    at_once = max(1, HELD // max(1, faces))
    for first in range(0, replicates, at_once):
        drawn = rng.integers(faces, size=(min(at_once, replicates - first), faces), dtype=np.int32)
        drawn += faces * np.arange(len(drawn), dtype=np.int32)[:, None]
        found[:, first : first + at_once] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).T
    return found


def resampled_sums(
    statistics: NDArray[np.floating], groups: NDArray[np.integer], n_groups: int, times: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Sums (n_groups, R, S) of statistics (F, S) in each replicate of `times` (F, R), see `draws`.

    A face is a row with all that is known of it, bare and masked, so that differences are paired.
    """
    found = np.zeros((n_groups, times.shape[1], statistics.shape[1]), np.float32)
    for group in range(n_groups):
        here = np.flatnonzero(groups == group)
        weights = torch.from_numpy(times[here].astype(np.float32))
        found[group] = (weights.T @ torch.from_numpy(statistics[here].astype(np.float32))).numpy()
    return found
