"""What a photograph tells of its light, colour cast, sharpness and noise, so that a drawn thing can share them."""

from dataclasses import dataclass

import cv2
import numpy as np

from maskmtl.masks.surface import FaceFrame

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SKIN = (
    *(10, 151, 9, 67, 297, 69, 299, 108, 337, 109, 338, 6, 197, 195, 5, 4),  # forehead and nose
    *(50, 280, 101, 330, 205, 425, 117, 346, 118, 347, 36, 266, 123, 352, 116, 345),  # upper cheeks
    *(187, 411, 147, 376, 213, 433, 207, 427),  # lower cheeks
)


@dataclass(frozen=True)
class Look:
    """The look of a photograph around a face.

    Attributes:
        gain: (3,) factor per channel, exposure and colour cast.
        saturation: 0 (a grey photo) .. 1.
        light: (4,) shade = light[0] + light[1:] @ normal, 1 on average over the face.
        blur: px, the Gaussian that its edges have gone through.
        noise: grey levels, standard deviation.
    """

    gain: np.ndarray
    saturation: float
    light: np.ndarray
    blur: float
    noise: float

    def shade(self, normals: np.ndarray) -> np.ndarray:
        """(..., 3) unit normals -> (...) brightness relative to the face's mean."""
        direct = 1 + 0.75 * (self.light[0] - 1 + normals @ self.light[1:])
        return np.clip(direct - 0.15 * np.maximum(normals[..., 1], 0), 0.45, 1.3)


def look(image: np.ndarray, frame: FaceFrame) -> Look:
    """Estimate the look of an (H, H, 3) uint8 photo of one face."""
    luma = (image @ LUMA).astype(np.float32)
    bright = float(np.percentile(luma[::2, ::2], 97))
    exposure = np.clip(0.2 + 0.82 * bright / 255, 0.3, 1.0)
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    upper = small[(small @ LUMA) >= np.percentile(small @ LUMA, 75)].mean(axis=0)
    cast = np.clip(1 + 0.25 * (upper / max(float(upper @ LUMA), 1.0) - 1), 0.85, 1.12)
    chroma = float(np.mean(small.max(axis=1) - small.min(axis=1))) / 255
    return Look(
        gain=exposure * cast,
        saturation=float(np.clip((chroma - 0.01) / 0.05, 0, 1)),
        light=_light(luma, frame),
        blur=_blur(luma),
        noise=_noise(luma) * min(image.shape[0] / 200, 1.0),  # in a small picture detail passes for noise
    )


def _light(luma: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """Fit luminance = a + b @ normal over the skin, on a head taken as a ball, robust to hair and shadows' edges."""
    side = luma.shape[0]
    points = frame.points[list(_SKIN)]
    centre = frame.at(5, out=-1.0)
    normals = points - centre
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    at = np.rint(points[:, :2]).astype(int)
    seen = ((at >= 0) & (at < side)).all(axis=1) & (normals[:, 2] < -0.1)
    if seen.sum() < 8:
        return np.array([1.0, 0, 0, 0])
    smooth = cv2.GaussianBlur(luma, (0, 0), 0.02 * side)
    value = smooth[at[seen, 1], at[seen, 0]].astype(np.float64)
    value /= max(float(np.median(value)), 4.0)
    basis = np.column_stack([np.ones(seen.sum()), normals[seen]])
    ridge = np.diag([1e-3, 1.0, 1.0, 1.0])
    weight = np.ones(len(value))
    for _ in range(4):
        weighted = basis * weight[:, None]
        light = np.linalg.solve(basis.T @ weighted + ridge, weighted.T @ value + ridge[0])
        residual = np.abs(value - basis @ light)
        weight = 1 / np.maximum(residual / 0.15, 1)
    return light / max(float(np.mean(basis @ light)), 0.2)


def _blur(luma: np.ndarray) -> float:
    """The width of the sharpest edges: a Gaussian edge of width s, blurred by 1 px, loses 1 - s / sqrt(s^2 + 1)."""
    before, after = (_steepest(picture) for picture in (luma, cv2.GaussianBlur(luma, (0, 0), 1.0)))
    ratio = min(after / max(before, 1e-3), 0.99)
    return float(np.clip(ratio / np.sqrt(1 - ratio**2), 0.4, max(2.0, 0.015 * luma.shape[0])))


def _steepest(luma: np.ndarray) -> float:
    slope = np.hypot(luma[1:, 1:] - luma[1:, :-1], luma[1:, 1:] - luma[:-1, 1:])
    return float(np.percentile(slope[::2, ::2], 99))


def _noise(luma: np.ndarray) -> float:
    """Immerkaer 1996, with the median instead of the mean so that texture counts less; at most 6 levels."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(luma, -1, kernel))
    return float(min(np.median(response[::2, ::2]) / 0.6745 / 6, 6.0))
