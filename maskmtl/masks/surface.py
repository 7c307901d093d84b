"""A mask's surface: a coarse net of 3-D control points over the face, and its projection into the picture."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

ROWS, COLUMNS = 15, 21  # the grid on which normals, light and outline are computed
_SUBPIXEL = 4  # outline is drawn at this multiple of the picture and averaged down


@dataclass(frozen=True)
class FaceFrame:
    """The axes of a face in the picture; `unit` is the distance of the outer eye corners, px.

    Attributes:
        points: (468, 3) px, x to the right, y down, z away from the camera; pixel centres at whole numbers.
        right, down, out: (3,) unit vectors: to the picture's right, to the chin, out of the face.
    """

    points: np.ndarray
    right: np.ndarray
    down: np.ndarray
    out: np.ndarray
    unit: float

    @classmethod
    def of(cls, points: np.ndarray, side: int) -> "FaceFrame":
        """The frame of one face's landmarks, (468, 3) in fractions of the side."""
        p = points.astype(np.float64) * side
        p[:, :2] -= 0.5
        across = p[263] - p[33]
        unit = max(float(np.linalg.norm(across)), 1e-3)
        right = across / unit
        down = p[152] - p[10]
        down = down - right * (down @ right)
        down = down / max(float(np.linalg.norm(down)), 1e-3)
        return cls(p, right, down, -np.cross(right, down), unit)

    def at(self, *indices: int, right: float = 0, down: float = 0, out: float = 0) -> np.ndarray:
        """The mean of some landmarks, moved along the face's axes by multiples of `unit`."""
        mean = self.points[list(indices)].mean(axis=0)
        return mean + self.unit * (right * self.right + down * self.down + out * self.out)


@dataclass(frozen=True)
class Surface:
    """A smooth surface through a (rows, columns, 3) px net of control points; v runs down, u to the picture's right."""

    net: np.ndarray

    def sample(self, rows: int, columns: int) -> np.ndarray:
        """(rows, columns, 3) points, evenly spaced in v and u."""
        v, u = _spline(self.net.shape[0], rows), _spline(self.net.shape[1], columns)
        return np.matmul(u, np.tensordot(v, self.net, axes=1))

    @cached_property
    def grid(self) -> np.ndarray:
        """(ROWS, COLUMNS, 3) points."""
        return self.sample(ROWS, COLUMNS)

    @cached_property
    def normals(self) -> np.ndarray:
        """(ROWS, COLUMNS, 3) unit normals out of the face, smoothed as cloth is."""
        normal = np.cross(np.gradient(self.grid, axis=0), np.gradient(self.grid, axis=1))
        normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
        normal = cv2.GaussianBlur(normal, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)
        return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)

    def coverage(self, shape: tuple[int, int]) -> np.ndarray:
        """(height, width) float32 in 0..1: how much of each pixel the side facing the camera covers."""
        scale = _SUBPIXEL if max(shape) <= 256 else 2
        canvas = np.zeros((shape[0] * scale, shape[1] * scale), np.uint8)
        corners = np.rint(((self.grid[..., :2] + 0.5) * scale - 0.5) * 8)
        corners = np.clip(corners, -(2**18), 2**18).astype(np.int32)
        quads = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2)
        a, b = (quads[:, :, 2] - quads[:, :, 0]).astype(float), (quads[:, :, 3] - quads[:, :, 1]).astype(float)
        facing = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0] > 0
        for quad in quads[facing]:
            cv2.fillConvexPoly(canvas, quad, 255, shift=3)
        return cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def project(self, texture: np.ndarray, shape: tuple[int, int], *, blur: float) -> np.ndarray:
        """Lay a (v, u, 3) float32 texture on the surface -> (height, width, 3) float32.

        Every texel is dropped into the pixel that it projects to; pixels are the mean of their texels, spread by a
        Gaussian of `blur` px, which also carries the colour over the outline. The mean is the area filter.
        """
        height, width = shape
        rows, columns = texture.shape[:2]
        points = self.sample(rows, columns)
        away = cv2.resize(self.normals[..., 2].astype(np.float32), (columns, rows)) > -0.02
        x, y = (np.clip(np.rint(points[..., k]), -1, shape[1 - k]).astype(np.int64) for k in (0, 1))
        pixel = y * width + x
        pixel[away | (x < 0) | (x >= width) | (y < 0) | (y >= height)] = height * width  # one bin for the unseen
        pixel = pixel.ravel()
        weights = (*np.moveaxis(texture, -1, 0).reshape(3, -1), None)
        sums = [np.bincount(pixel, weights=w, minlength=height * width + 1)[:-1] for w in weights]
        layer = np.stack(sums, axis=-1).reshape(height, width, 4).astype(np.float32)
        layer /= np.maximum(layer[..., 3:], 1)
        layer = cv2.GaussianBlur(layer, (0, 0), blur) + 1e-3 * cv2.blur(layer, (9, 9))  # the wide one fills holes
        return layer[..., :3] / np.maximum(layer[..., 3:], 1e-6)


@lru_cache(maxsize=256)
def _spline(controls: int, samples: int) -> np.ndarray:
    """(samples, controls) weights of a Catmull-Rom spline through evenly spaced controls, ends extrapolated."""
    t = np.linspace(0, controls - 1, samples)
    i = np.minimum(t.astype(int), controls - 2)
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
