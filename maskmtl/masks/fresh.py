"""Masks drawn anew on many small faces: the batch form of overlay(), for training on the fly."""

from collections.abc import Sequence

import numpy as np

from maskmtl.masks import MaskSpec, decided
from maskmtl.masks.light import Look, look
from maskmtl.masks.rendering import render
from maskmtl.masks.surface import Frame


class FreshMasks:
    """Faces that can be given a new mask at any time; what a photo tells of its light is read once and kept.

    Args:
        images: (N, S, S, 3) uint8, small faces.
        points: (N, 468, 3) their landmarks, fractions of the side.
    """

    def __init__(self, images: np.ndarray, points: np.ndarray) -> None:
        if len(images) != len(points):
            raise ValueError(f"images and points should be as many, got {len(images)} and {len(points)}")
        self._images, self._points = images, points
        self._looks: list[Look | None] = [None] * len(images)

    def __len__(self) -> int:
        return len(self._images)

    def draw(self, rows: np.ndarray, masks: Sequence[str], seeds: np.ndarray) -> np.ndarray:
        """(n, S, S, 3) uint8: faces `rows` wearing `masks`, 'none' for bare; pixels as from overlay()."""
        return np.stack([self._one(int(r), m, int(s)) for r, m, s in zip(rows, masks, seeds, strict=True)])

    def _one(self, row: int, mask: str, seed: int) -> np.ndarray:
        image = self._images[row]
        if mask == "none":
            return image
        frame = Frame.of(self._points[row], len(image))
        seen = self._looks[row]
        if seen is None:
            seen = self._looks[row] = look(image, frame)
        rng = np.random.default_rng(seed)
        return render(image, frame, seen, decided(MaskSpec.parse(mask), rng), rng).picture
