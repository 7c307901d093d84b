"""A mask's surface: a coarse net of 3-D control points over the face, and its projection into the picture.

Numbers that decide pixels are rounded before they do (control points to 1/64 px), and what follows is whole numbers or
plain arithmetic, so that the same face and seed give the same pixels whatever vector unit a machine has.
"""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from math import sqrt

import cv2
import numpy as np

from maskmtl.masks.landmarks import POINTS

ROWS, COLUMNS = 13, 19  # the grid on which normals, light and outline are computed
FRACTION = 16  # steps of a texture coordinate within a texel
_FINE = 32  # the same for one that is interpolated


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
        a, b, c = (p[263] - p[33]).tolist()
        unit = max(sqrt(a * a + b * b + c * c), 1e-3)
        a, b, c = a / unit, b / unit, c / unit
        d, e, f = (p[152] - p[10]).tolist()
        along = a * d + b * e + c * f
        d, e, f = d - along * a, e - along * b, f - along * c
        tall = max(sqrt(d * d + e * e + f * f), 1e-3)
        d, e, f = d / tall, e / tall, f / tall
        return cls(p, np.array([[a, b, c], [d, e, f], [c * e - b * f, a * f - c * d, b * d - a * e]]), unit)


@dataclass(frozen=True)
class Surface:
    """A smooth surface through a (rows, columns, 3) px net of control points; v runs down, u to the picture's right."""

    net: np.ndarray

    def sample(self, rows: int, columns: int) -> np.ndarray:
        """(rows, columns, 3) points, evenly spaced in v and u."""
        v, u = spline(self.net.shape[0], rows), spline(self.net.shape[1], columns)
        return np.matmul(u, (v @ self.net.reshape(len(self.net), -1)).reshape(rows, -1, 3))

    @cached_property
    def grid(self) -> np.ndarray:
        """(ROWS, COLUMNS, 3) points."""
        return self.sample(ROWS, COLUMNS)

    @cached_property
    def normals(self) -> np.ndarray:
        """(ROWS, COLUMNS, 3) unit normals out of the face, smoothed as cloth is."""
        down = (_slopes(ROWS) @ self.grid.reshape(ROWS, -1)).reshape(self.grid.shape)
        right = np.matmul(_slopes(COLUMNS), self.grid)
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
        middle = area.size // 2
        return area > 0.02 * np.partition(np.abs(area), middle, axis=None)[middle]

    def _blocks(self) -> list[tuple[int, int, int, int]]:
        """Blocks of cells that face the camera: rows and columns of their outer points, the last column exclusive."""
        padded = np.zeros((ROWS - 1, COLUMNS + 1), np.int8)
        padded[:, 1:-1] = self.facing
        turns = np.flatnonzero(np.diff(padded.ravel()))
        blocks: list[tuple[int, int, int, int]] = []
        for start, end in zip(turns[::2] + 1, turns[1::2] + 1, strict=True):  # a run of cells in a row
            row, first, last = int(start) // (COLUMNS + 1), int(start) % (COLUMNS + 1) - 1, int(end) % (COLUMNS + 1)
            if blocks and blocks[-1][1:] == (row, first, last):  # goes on from the row above
                blocks[-1] = (blocks[-1][0], row + 1, first, last)
            else:
                blocks.append((row, row + 1, first, last))
        return blocks

    def coverage(self, low: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """(height, width) uint8 0..255 from pixel `low` (x, y): how much of each the side facing the camera covers."""
        scale = 4 if max(shape) <= 256 else 2
        canvas = np.zeros((shape[0] * scale, shape[1] * scale), np.uint8)
        corners = np.rint(((self.grid[..., :2] - (low - 0.5)) * scale - 0.5) * 8)
        corners = np.clip(corners, -(2**18), 2**18).astype(np.int32)
        for top, bottom, first, last in self._blocks():
            right, left = corners[top + 1 : bottom, last - 1], corners[top + 1 : bottom, first][::-1]
            rim = [corners[top, first:last], right, corners[bottom, first:last][::-1], left]
            cv2.fillPoly(canvas, [np.concatenate(rim)], 255, shift=3)
        return cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA)

    def coordinates(
        self, low: np.ndarray, wanted: np.ndarray, texture: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where in a texture of (rows, columns) each wanted pixel looks: x and y, (height, width) float32 texels.

        Points of the surface are dropped into pixels (of twice the size in a large picture), farthest first, so that
        the near ones stay; a rim of one pixel takes the points that are not seen.

        Args:
            low: (x, y) of the first pixel.
            wanted: (height, width) uint8, not 0 where the surface is seen; elsewhere the answer means nothing.
            texture: its rows and columns.
        """
        shape = wanted.shape
        step = 2 if max(shape) > 64 else 1
        height, width = -(-shape[0] // step), -(-shape[1] // step)
        rows, columns = (8 * (int(1.25 * length / step) // 8 + 1) for length in self.extent)
        points = self.sample(rows, columns)
        xy = np.rint((points[..., :2] - (low - 0.5 - 0.5 * step)) * (1 / step))  # 1 for the first pixel, 0 for the rim
        x, y = (np.clip(xy[..., i], 0, length + 1).astype(np.int32) for i, length in enumerate((width, height)))
        pixel = (y * (width + 2) + x).ravel()
        point = ((1 << 40) + (np.arange(rows) << 20)[:, None] + np.arange(columns)).ravel()  # known, row, column
        if not self.open:
            facing = cv2.resize(self.facing.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
            depth = np.clip(np.rint(points[..., 2] * 16), -(2**15), 2**15 - 1).astype(np.int16)
            order = np.argsort(depth, axis=None, kind="stable")[::-1]
            pixel, point = (pixel * facing.ravel())[order], point[order]
        nearest = np.zeros((height + 2) * (width + 2), np.int64)
        nearest[pixel] = point
        nearest = nearest.reshape(height + 2, width + 2)[1:-1, 1:-1]
        column, row, known = nearest & 0xFFFFF, nearest >> 20 & 0xFFFFF, nearest >> 40
        layers = [_texels(columns, texture[1])[column], _texels(rows, texture[0])[row], known.astype(np.float32)]
        if step == 1:
            return _smoothed(cv2.merge(layers), wanted > 0)
        wanted = cv2.copyMakeBorder(wanted, 0, shape[0] % 2, 0, shape[1] % 2, cv2.BORDER_REPLICATE)
        wanted = cv2.dilate(wanted, np.ones((5, 5), np.uint8))[::2, ::2]  # with the neighbours that a pixel leans on
        x, y = (
            cv2.resize(np.rint(layer * _FINE), (width * 2, height * 2), interpolation=cv2.INTER_LINEAR)
            for layer in _smoothed(cv2.merge(layers), wanted > 0)
        )
        return x[: shape[0], : shape[1]] * np.float32(1 / _FINE), y[: shape[0], : shape[1]] * np.float32(1 / _FINE)


@lru_cache(maxsize=1024)
def _texels(points: int, length: int) -> np.ndarray:
    """(points,) float32 whole numbers, evenly over `length` texels, in steps of 1 / FRACTION."""
    return np.rint(np.linspace(0, (length - 1) * FRACTION, points)).astype(np.float32)


def _smoothed(layers: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y, texels, from (height, width, 3) of x, y, 0-or-1 known: the mean of what is known in 3 x 3 pixels, or
    where nothing is but something is wanted, in wider windows."""
    sums = cv2.boxFilter(layers, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    for size in (9, 17):
        empty = wanted & (sums[..., 2] == 0)
        if not empty.any():
            break
        wide = cv2.boxFilter(layers, -1, (size, size), normalize=False, borderType=cv2.BORDER_CONSTANT)
        sums[empty] = wide[empty]
    share = np.float32(1 / FRACTION) / np.maximum(sums[..., 2], 1)
    return sums[..., 0] * share, sums[..., 1] * share


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) at length 1."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return vectors / np.maximum(np.sqrt(x * x + y * y + z * z), 1e-6)[..., None]


@cache
def _slopes(points: int) -> np.ndarray:
    """(points, points) weights of central differences, one-sided at the ends."""
    return np.asarray(np.gradient(np.eye(points), axis=0))


@lru_cache(maxsize=1024)
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
