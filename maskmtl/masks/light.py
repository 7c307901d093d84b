"""What a photograph tells of its light, colour cast, sharpness and noise, so that a drawn thing can share them."""

from dataclasses import dataclass

import cv2
import numpy as np

from maskmtl.masks.surface import Frame

LUMA = np.array([77, 150, 29]) / 256  # BT.601, in numbers that multiply without rounding
_SKIN = [
    *(10, 151, 9, 67, 297, 69, 299, 108, 337, 109, 338, 6, 197, 195, 5, 4),  # forehead and nose
    *(50, 280, 101, 330, 205, 425, 117, 346, 118, 347, 36, 266, 123, 352, 116, 345),  # upper cheeks
    *(187, 411, 147, 376, 213, 433, 207, 427),  # lower cheeks
]
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class Look:
    """The look of a photograph around a face, in steps coarse enough to be the same on every machine.

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
        x, y, z = np.moveaxis(normals, -1, 0)
        direct = 1 + 0.75 * (self.light[0] - 1 + self.light[1] * x + self.light[2] * y + self.light[3] * z)
        return np.clip(direct - 0.15 * np.maximum(y, 0), 0.45, 1.3)


def look(image: np.ndarray, frame: Frame) -> Look:
    """Estimate the look of an (H, H, 3) uint8 photo of one face."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    bright = _percentile(luma[::2, ::2], 0.97)
    exposure = np.clip(0.2 + 0.82 * bright / 255, 0.3, 1.0)
    small = image if len(image) < 32 else cv2.resize(image, (32, 32), interpolation=cv2.INTER_NEAREST_EXACT)
    pixels = small.reshape(-1, 3).astype(np.int64)
    brightness = pixels[:, 0] * 77 + pixels[:, 1] * 150 + pixels[:, 2] * 29
    upper = pixels[brightness >= np.sort(brightness)[3 * len(pixels) // 4]]
    total = upper.sum(axis=0) / len(upper)
    cast = np.clip(1 + 0.25 * (total / max(float((total * LUMA).sum()), 1.0) - 1), 0.85, 1.12)
    chroma = (pixels.max(axis=1) - pixels.min(axis=1)).sum() / len(pixels) / 255
    return Look(
        gain=np.rint(exposure * cast * 256) / 256,
        saturation=float(np.rint(np.clip((chroma - 0.02) / 0.08, 0, 1) * 16) / 16),
        light=np.rint(_light(luma, frame) * 256) / 256,
        blur=float(np.rint(_blur(luma) * 8) / 8),
        noise=float(
            np.rint(_noise(luma) * min(len(image) / 200, 1.0) * 8) / 8
        ),  # in a small picture detail passes for it
    )


def _percentile(values: np.ndarray, share: float) -> int:
    """The value below or at which a share of small whole numbers lies."""
    counts = np.bincount(values.ravel())
    return int(np.searchsorted(np.cumsum(counts), share * values.size))


def _light(luma: np.ndarray, frame: Frame) -> np.ndarray:
    """Fit luminance = a + b @ normal over the skin, on a head taken as a ball, robust to hair and shadows' edges."""
    side = len(luma)
    points = frame.points[_SKIN]
    normals = points - (frame.points[5] - frame.unit * frame.axes[2])
    normals /= np.maximum(np.sqrt((normals * normals).sum(axis=1, keepdims=True)), 1e-6)
    at = np.rint(np.clip(points[:, :2], -1, side)).astype(int)
    seen = ((at >= 0) & (at < side)).all(axis=1) & (normals[:, 2] < -0.1)
    if seen.sum() < 8:
        return np.array([1.0, 0, 0, 0])
    smooth = cv2.blur(luma, (2 * (side // 50) + 1,) * 2) if side >= 50 else luma
    value = smooth[at[seen, 1], at[seen, 0]].astype(np.float64)
    value /= max(float(np.median(value)), 4.0)
    basis = np.column_stack([np.ones(seen.sum()), normals[seen]])
    ridge = np.diag([1e-3, 1.0, 1.0, 1.0])
    weight = np.ones(len(value))
    for _ in range(3):
        weighted = basis * weight[:, None]
        light = np.linalg.solve(basis.T @ weighted + ridge, weighted.T @ value + ridge[0])
        weight = 1 / np.maximum(np.abs(value - basis @ light) / 0.15, 1)
    return light / max(float(np.mean(basis @ light)), 0.2)


def _blur(luma: np.ndarray) -> float:
    """The width of the sharpest edges: a Gaussian edge of width s, blurred by 1 px, loses 1 - s / sqrt(s^2 + 1)."""
    before, after = (_steepest(picture) for picture in (luma, cv2.GaussianBlur(luma, (5, 5), 1.0)))
    ratio = min(after / max(before, 1), 0.99)
    return float(np.clip(ratio / np.sqrt(1 - ratio**2), 0.4, max(2.0, 0.015 * len(luma))))


def _steepest(luma: np.ndarray) -> int:
    down, right = cv2.absdiff(luma[1:, :-1], luma[:-1, :-1]), cv2.absdiff(luma[:-1, 1:], luma[:-1, :-1])
    return _percentile(np.maximum(down, right)[::2, ::2], 0.99)


def _noise(luma: np.ndarray) -> float:
    """Immerkaer 1996, with the median instead of the mean so that texture counts less; at most 6 levels."""
    response = cv2.convertScaleAbs(cv2.filter2D(luma[: len(luma) // 2 * 2 : 1], cv2.CV_16S, _LAPLACIAN))
    return min(_percentile(response[::2, ::2], 0.5) / 0.6745 / 6, 6.0)
