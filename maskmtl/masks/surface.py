"""A mask's surface: a coarse net of 3-D control points over the face, and its projection into the picture.

Numbers that decide pixels are rounded before they do (control points to 1/64 px), and what follows is whole numbers or
plain arithmetic, so that the same face and seed give the same pixels whatever vector unit a machine has.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

from maskmtl.masks.landmarks import POINTS

ROWS, COLUMNS = 13, 19  # the grid on which normals, light and outline are computed
FRACTION = 16  # steps of a texture coordinate within a texel


class Face:
    """A face whose landmarks are yet unknown: its places are weights on them, and sums and multiples are places too.

    A place is a (471,) vector: weights of the 468 landmarks, then distances along the face's axes, in units of the
    distance of the outer eye corners.
    """

    def at(self, *indices: int, right: float = 0, down: float = 0, out: float = 0) -> np.ndarray:
        """The mean of some landmarks, moved to the picture's right, to the chin and out of the face."""
        place = np.zeros(POINTS + 3)
        np.add.at(place, list(indices), 1 / len(indices))
        place[POINTS:] = right, down, out
        return place

    def out(self, distance: float) -> np.ndarray:
        """A distance out of the face, to be added to a place."""
        place = np.zeros(POINTS + 3)
        place[-1] = distance
        return place


@dataclass(frozen=True)
class Frame:
    """A face in the picture.

    Attributes:
        points: (468, 3) px, x to the right, y down, z away from the camera; pixel centres at whole numbers.
        axes: (3, 3) unit vectors in rows: to the picture's right, to the chin, out of the face.
        unit: the distance of the outer eye corners, px.
    """

    points: np.ndarray
    axes: np.ndarray
    unit: float

    @classmethod
    def of(cls, landmarks: np.ndarray, side: int) -> "Frame":
        """The frame of one face's landmarks, (468, 3) in fractions of the side."""
        p = landmarks.astype(np.float64) * side
        p[:, :2] -= 0.5
        right = p[263] - p[33]
        unit = max(_length(right), 1e-3)
        right = right / unit
        down = p[152] - p[10]
        down = down - right * (down * right).sum()
        down = down / max(_length(down), 1e-3)
        (a, b, c), (d, e, f) = right, down
        out = np.array([c * e - b * f, a * f - c * d, b * d - a * e])
        return cls(p, np.stack([right, down, out]), unit)


@dataclass(frozen=True)
class Surface:
    """A smooth surface through a (rows, columns, 3) px net of control points; v runs down, u to the picture's right."""

    net: np.ndarray

    def sample(self, rows: int, columns: int) -> np.ndarray:
        """(rows, columns, 3) points, evenly spaced in v and u."""
        v, u = spline(self.net.shape[0], rows), spline(self.net.shape[1], columns)
        return np.matmul(u, np.tensordot(v, self.net, axes=1))

    @cached_property
    def grid(self) -> np.ndarray:
        """(ROWS, COLUMNS, 3) points."""
        return self.sample(ROWS, COLUMNS)

    @cached_property
    def normals(self) -> np.ndarray:
        """(ROWS, COLUMNS, 3) unit normals out of the face, smoothed as cloth is."""
        down, right = _slope(self.grid), _slope(self.grid.swapaxes(0, 1)).swapaxes(0, 1)
        (a, b, c), (d, e, f) = np.moveaxis(down, -1, 0), np.moveaxis(right, -1, 0)
        normal = np.stack([b * f - c * e, c * d - a * f, a * e - b * d], axis=-1)
        return _unit(cv2.GaussianBlur(_unit(normal), (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE))

    @cached_property
    def extent(self) -> tuple[float, float]:
        """Its greatest height and width along the surface as seen, px."""
        xy = self.grid[..., :2]
        down, right = xy[1:] - xy[:-1], xy[:, 1:] - xy[:, :-1]
        tall = np.sqrt(down[..., 0] ** 2 + down[..., 1] ** 2).sum(axis=0).max()
        wide = np.sqrt(right[..., 0] ** 2 + right[..., 1] ** 2).sum(axis=1).max()
        return float(tall), float(wide)

    @cached_property
    def open(self) -> bool:
        """Whether all of it faces the camera."""
        return bool(self.facing.all())

    @cached_property
    def facing(self) -> np.ndarray:
        """(ROWS - 1, COLUMNS - 1) bool: which cells turn their outer side to the camera, and not as a sliver."""
        p = self.grid[..., :2]
        a, b = p[1:, 1:] - p[:-1, :-1], p[1:, :-1] - p[:-1, 1:]
        area = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
        return area > 0.02 * np.median(np.abs(area))

    def coverage(self, low: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """(height, width) uint8 0..255 from pixel `low` (x, y): how much of each the side facing the camera covers."""
        scale = 4 if max(shape) <= 256 else 2
        canvas = np.zeros((shape[0] * scale, shape[1] * scale), np.uint8)
        corners = np.rint(((self.grid[..., :2] - (low - 0.5)) * scale - 0.5) * 8)
        corners = np.clip(corners, -(2**18), 2**18).astype(np.int32)
        if self.open:
            rim = [corners[0], corners[1:, -1], corners[-1, -2::-1], corners[-2:0:-1, 0]]
            cv2.fillPoly(canvas, [np.concatenate(rim)], 255, shift=3)
        else:
            turns = np.flatnonzero(np.diff(np.pad(self.facing, ((0, 0), (1, 1))).astype(np.int8).ravel()))
            for start, end in zip(turns[::2] + 1, turns[1::2] + 1, strict=True):  # each run of cells in a row
                row, first, last = start // (COLUMNS + 1), start % (COLUMNS + 1) - 1, end % (COLUMNS + 1)
                run = [corners[row, first:last], corners[row + 1, first:last][::-1]]
                cv2.fillPoly(canvas, [np.concatenate(run)], 255, shift=3)
        return cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA)

    def coordinates(
        self, low: np.ndarray, shape: tuple[int, int], texture: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where in a texture of (rows, columns) each pixel from `low` looks: x and y, (height, width) float32 texels.

        Points of the surface are dropped into pixels (of twice the size in a large picture), farthest first, so that
        the near ones stay; pixels between and a few around take the mean of their neighbours.
        """
        step = 2 if max(shape) > 64 else 1
        height, width = -(-shape[0] // step), -(-shape[1] // step)
        rows, columns = (8 * (int(1.25 * length / step) // 8 + 1) for length in self.extent)
        points = self.sample(rows, columns)
        xy = np.rint((points[..., :2] - (low - 0.5)) / step - 0.5).astype(np.int64)
        x, y = xy[..., 0], xy[..., 1]
        seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        if not self.open:
            facing = cv2.resize(self.facing.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
            seen &= facing > 0
        pixel, texels = (y * width + x)[seen], _texels(rows, columns, texture)[seen]
        if not self.open:
            depth = np.clip(np.rint(points[..., 2][seen] * 16), -(2**15), 2**15 - 1).astype(np.int16)
            order = np.argsort(depth, kind="stable")[::-1]
            pixel, texels = pixel[order], texels[order]
        known = np.zeros((height * width, 3), np.float32)
        known[pixel] = texels
        layers = _filled(known.reshape(height, width, 3), (3, 9, 17) if step == 2 else (3, 9))
        if step == 2:
            layers = cv2.resize(layers, (width * 2, height * 2), interpolation=cv2.INTER_LINEAR)
            layers = layers[: shape[0], : shape[1]]
        return layers[..., 0] * np.float32(1 / FRACTION), layers[..., 1] * np.float32(1 / FRACTION)


@lru_cache(maxsize=1024)
def _texels(rows: int, columns: int, texture: tuple[int, int]) -> np.ndarray:
    """(rows, columns, 3) float32 whole numbers: x and y in a texture in steps of 1 / FRACTION, and 1 for known."""
    x = np.rint(np.linspace(0, (texture[1] - 1) * FRACTION, columns))
    y = np.rint(np.linspace(0, (texture[0] - 1) * FRACTION, rows))
    texels = np.ones((rows, columns, 3), np.float32)
    texels[..., 0], texels[..., 1] = x, y[:, None]
    return texels


def _filled(layers: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Fill (height, width, 3) of x, y, 0-or-1 known: holes by the mean of 3 x 3 and then wider windows; then smooth."""
    for size in sizes:
        sums = cv2.boxFilter(layers, -1, (size, size), normalize=False, borderType=cv2.BORDER_CONSTANT)
        near = (layers[..., 2] == 0) & (sums[..., 2] > 0)
        around = sums[near]
        layers[near] = np.rint(around / around[:, 2:])
    return np.rint(cv2.boxFilter(layers, -1, (3, 3), normalize=False) * np.float32(1 / 9))


def _length(vector: np.ndarray) -> float:
    return float(np.sqrt((vector * vector).sum()))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) at length 1."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return vectors / np.maximum(np.sqrt(x * x + y * y + z * z), 1e-6)[..., None]


def _slope(grid: np.ndarray) -> np.ndarray:
    """Central differences along the first axis."""
    return np.concatenate([grid[1:2] - grid[:1], (grid[2:] - grid[:-2]) / 2, grid[-1:] - grid[-2:-1]])


@lru_cache(maxsize=512)
def spline(controls: int, samples: int, start: float = 0.0) -> np.ndarray:
    """(samples, controls) weights of a Catmull-Rom spline through evenly spaced controls, ends extrapolated.

    start: the first sample, as a share of the way.
    """
    t = np.linspace(start * (controls - 1), controls - 1, samples)
    i = np.clip(t.astype(int), 0, controls - 2)
    f = t - i
    basis = np.stack([-f + 2 * f**2 - f**3, 2 - 5 * f**2 + 3 * f**3, f + 4 * f**2 - 3 * f**3, -(f**2) + f**3]) / 2
    weights = np.zeros((samples, controls + 2))
    for k in range(4):
        weights[np.arange(samples), i + k] += basis[k]
    inner = weights[:, 1:-1].copy()
    inner[:, 0] += 2 * weights[:, 0]
    inner[:, 1] -= weights[:, 0]
    inner[:, -1] += 2 * weights[:, -1]
    inner[:, -2] -= weights[:, -1]
    return inner
