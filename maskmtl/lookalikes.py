"""Faces that look alike: descriptors, and small groups from a narrow cell found greedily by them."""

import heapq
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from maskmtl.masks.landmarks import mean_face
from maskmtl.warping import Warp, colour, oval, recolour

GRID = 24  # px, the resolution at which appearance is compared
OUTSIDE = 0.7  # weight of hair and background
TAKEN, SHAPE, GLASSES = 0.35, 4.0, 40.0  # weights: colours as taken, shape in px of 200, glasses in 0..1
BRIDGE = (168, 197)  # landmarks between the eyes and further down the nose: a pair of glasses crosses between them
KIN = 0.8  # correlation of two faces' appearance, less the cell's mean, from which they may be the same person
SPAN = 4  # years between the youngest and the oldest of a group


def sharpness(image: np.ndarray) -> float:
    """Standard deviation of a face's finest detail over that of its grey levels; most chips have 0.03 to 0.12."""
    side = image.shape[0]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = grey[int(0.15 * side) : int(0.92 * side), int(0.2 * side) : int(0.8 * side)]
    return float((grey - cv2.GaussianBlur(grey, (0, 0), 0.005 * side)).std() / max(grey.std(), 1.0))


class Describer:
    """Turns a face into a vector whose Euclidean distance says how alike two faces look, in about grey levels.

    It holds the colours of the face moved into the mean shape, hair and background included, with exposure and colour
    cast matched; the colours as taken, coarser; the shape itself, which also tells pose and expression; and whether
    glasses are worn.
    """

    appearance = slice(0, 3 * GRID**2)

    def __init__(self) -> None:
        self._mean = mean_face()
        self._warp = Warp(self._mean, 4 * GRID)
        self._inside = oval(self._mean, GRID)
        self._weight = np.where(self._inside, 1, OUTSIDE)[..., None]
        (x, top), (_, bottom) = np.round(4 * GRID * self._mean[list(BRIDGE), :2]).astype(int)
        self._bridge = slice(top - 3, bottom + 1), slice(x - 2, x + 3)

    def __call__(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """A face (H, H, 3) uint8 with its landmarks -> (D,) float32."""
        small = cv2.resize(image, (8 * GRID, 8 * GRID), interpolation=cv2.INTER_AREA)
        large = self._warp(small, points)
        face = cv2.resize(large, (GRID, GRID), interpolation=cv2.INTER_AREA)
        matched = recolour(face, colour(face, self._inside), np.array([[128.0] * 3, [40.0] * 3])) * self._weight
        taken = TAKEN * cv2.resize(face, (6, 6), interpolation=cv2.INTER_AREA)
        shape = SHAPE * 200 * (points[:, :2] - self._mean[:, :2])
        glasses = np.array([GLASSES * self._glasses(large)])
        parts = (matched, taken, shape, glasses)
        return np.concatenate([part.ravel() / np.sqrt(part.size) for part in parts]).astype(np.float32)

    def _glasses(self, face: np.ndarray) -> float:
        """The strongest level edge across the bridge of the nose, against the face's contrast, up to 1."""
        grey = face.mean(axis=-1)
        edge = np.abs(np.diff(grey[self._bridge].mean(axis=1))).max()
        inside = oval(self._mean, len(grey))
        return min(float(edge / max(grey[inside].std(), 1.0)), 1.0)


@dataclass(frozen=True, order=True)
class Group:
    """Rows that look alike, and the mean distance among them."""

    distance: float
    rows: tuple[int, ...]


class Cell:
    """The faces of one gender and ethnicity, from which groups are taken, the tightest first.

    table: age and group_id of n faces. vectors: (n, D), by Describer. size: faces in a group.
    free: (n,) bool; a caller sets to False what it has used or doesn't want.
    """

    def __init__(self, table: pd.DataFrame, vectors: np.ndarray, size: int) -> None:
        self.size = size
        self.free = np.ones(len(table), bool)
        self._ages = table["age"].to_numpy()
        ids = table["group_id"].to_numpy()
        looks = vectors[:, Describer.appearance] - vectors[:, Describer.appearance].mean(axis=0)
        looks /= np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-9)
        self._kin = (ids[:, None] == ids) | (looks @ looks.T >= KIN)
        squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
        product = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
        self._distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * product, 0))
        groups = (self.grow(seed) for seed in range(len(table)))
        self._heap = [(group, seed) for seed, group in enumerate(groups) if group is not None]
        heapq.heapify(self._heap)

    def tightest(self, low: float, high: float) -> Group | None:
        """The tightest group of free faces whose mean age, rounded, lies in low..high; None where there is none."""
        found, later = None, []
        while self._heap and found is None:
            group, seed = heapq.heappop(self._heap)
            rows = list(group.rows)
            if not self.free[rows].all():  # grow again from what is left; it can only be looser
                if self.free[seed] and (again := self.grow(seed)) is not None:
                    heapq.heappush(self._heap, (again, seed))
                continue
            later.append((group, seed))
            if low <= round(float(self._ages[rows].mean())) <= high:
                found = group
        for item in later:
            heapq.heappush(self._heap, item)
        return found

    def grow(self, seed: int) -> Group | None:
        """The group around one face that greedily keeps the distances small, or None where there are too few faces."""
        groups = []
        for low in np.arange(self._ages[seed] - SPAN, self._ages[seed] + 1):
            allowed = self.free & (self._ages >= low) & (self._ages <= low + SPAN)
            rows, total, summed = [], 0.0, np.zeros(len(allowed))
            row = seed
            while True:
                total += float(summed[row])
                rows.append(row)
                if len(rows) == self.size:
                    groups.append(Group(total / (self.size * (self.size - 1) / 2), tuple(sorted(rows))))
                    break
                summed += self._distance[row]
                allowed &= ~self._kin[row]  # a face is its own kin
                if not allowed.any():
                    break
                row = int(np.where(allowed, summed, np.inf).argmin())
        return min(groups, default=None)
