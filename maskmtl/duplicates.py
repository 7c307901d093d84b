"""Faces that are the same picture, or nearly: they share a group, and a group stands on one side of a split."""

from collections.abc import Iterator

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THUMBNAIL = 24  # px
NEAR = 0.97  # correlation of thumbnails from which two faces count as the same picture (docs/decisions/0003)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (576,) float32: grey, 24x24, zero mean, unit length; flat pictures give zeros."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    norm = np.linalg.norm(small)
    return small / norm if norm > 0 else small


def near_pairs(thumbnails: np.ndarray, *, threshold: float = NEAR, block: int = 512) -> Iterator[np.ndarray]:
    """(N, 576) thumbnails -> (M, 2) index pairs i < j that correlate at `threshold` or more, mirrored or not; those of
    one block of i at a time, since of N pictures that are all alike there are N^2 / 2."""
    mirrored = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(len(thumbnails), -1)
    for start in range(0, len(thumbnails), block):
        rows = thumbnails[start : start + block]
        similarity = np.maximum(rows @ thumbnails[start:].T, rows @ mirrored[start:].T)
        i, j = np.nonzero(similarity >= threshold)
        keep = i < j
        yield np.stack([i[keep] + start, j[keep] + start], axis=1)


def group_faces(thumbnails: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """(N,) int group of each of N >= 1 faces: equal digests and near pairs are joined, transitively."""
    _, group = np.unique(digests, return_inverse=True)
    for pairs in near_pairs(thumbnails):
        if len(pairs):
            group = _joined(group, pairs)
    return group


def _joined(group: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(N,) groups, those of each pair made one."""
    n, ends = int(group.max()) + 1, group[pairs]
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1][group]
