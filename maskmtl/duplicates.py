"""Faces that are the same picture, or nearly: they share a group, and a group stands on one side of a split."""

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


def near_pairs(thumbnails: np.ndarray, *, threshold: float = NEAR, block: int = 2048) -> np.ndarray:
    """(N, 576) thumbnails -> (M, 2) index pairs i < j that correlate at `threshold` or more, mirrored or not."""
    mirrored = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(len(thumbnails), -1)
    pairs = []
    for start in range(0, len(thumbnails), block):
        rows = thumbnails[start : start + block]
        similarity = np.maximum(rows @ thumbnails[start:].T, rows @ mirrored[start:].T)
        i, j = np.nonzero(similarity >= threshold)
        keep = i < j
        pairs.append(np.stack([i[keep] + start, j[keep] + start], axis=1))
    return np.concatenate(pairs)


def group_faces(thumbnails: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """(N,) int group of each of N >= 1 faces: equal digests and near pairs are joined, transitively."""
    n = len(digests)
    _, same = np.unique(digests, return_inverse=True)
    first = np.full(same.max() + 1, n)
    np.minimum.at(first, same, np.arange(n))
    pairs = np.concatenate([near_pairs(thumbnails), np.stack([first[same], np.arange(n)], axis=1)])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]
