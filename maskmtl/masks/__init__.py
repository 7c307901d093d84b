"""Draw a face mask on a photograph of a face."""

import hashlib
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate

import cv2
import numpy as np

from maskmtl.masks.kinds import KINDS
from maskmtl.masks.landmarks import POINTS, FaceMesh, Landmarks
from maskmtl.masks.light import look
from maskmtl.masks.rendering import render
from maskmtl.masks.spec import COLOURS, MIXED, PATTERNS, WEARS, MaskSpec
from maskmtl.masks.surface import Frame

__all__ = [
    "COLOURS",
    "MASKS",
    "MIXED",
    "PATTERNS",
    "WEARS",
    "FaceMesh",
    "Landmarks",
    "MaskSpec",
    "Overlay",
    "mask_seed",
    "overlay",
]

MASKS = tuple(KINDS)
# the mesh's outline of the face from ear to ear under the chin, and back under the eyes over the nose bridge
_BELOW_EYES = [
    *(234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454),
    *(345, 346, 347, 348, 349, 350, 357, 6, 128, 121, 120, 119, 118, 117, 116),
]


@dataclass(frozen=True)
class Overlay:
    """A masked face.

    Attributes:
        image: (H, H, 3) uint8; a pixel whose alpha and trim are 0 is the photo's own.
        alpha: (H, H) float32 in 0..1, the share of each pixel that the mask's panel hides.
        trim: (H, H) float32 in 0..1, the share that straps and the panel's contact shadow take of the photo.
        spec: kind, colour, pattern and wear, as decided.
        coverage: share of the face's skin below the eyes, as far as the picture shows it, that the panel hides, 0..1.
        presence: how sure the landmarks are, 0..1, as given to overlay().
        seed: what overlay() needs to draw the same pixels again.
    """

    image: np.ndarray
    alpha: np.ndarray
    trim: np.ndarray
    spec: MaskSpec
    coverage: float
    presence: float
    seed: int


def overlay(
    image: np.ndarray, landmarks: np.ndarray, *, mask: str | MaskSpec, seed: int, presence: float = 1.0
) -> Overlay:
    """Draw a mask on an aligned face.

    Args:
        image: (H, H, 3) uint8 RGB.
        landmarks: (468, 3), that face's points as fractions of the side; they may lie outside the image.
        mask: a kind of MASKS or 'mixed', with colour, pattern and wear where given (MaskSpec.parse).
        seed: decides what the mask leaves open and small variations; the same seed gives the same pixels.
        presence: how sure the landmarks are, 0..1; kept in the result.

    Raises:
        ValueError: for any other image, landmarks or mask.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image should be a uint8 array (H, H, 3), got {got}")
    if image.shape[0] != image.shape[1] or image.shape[0] < 16:
        raise ValueError(f"image should be square, 16 px or more, got {image.shape[1]} x {image.shape[0]} px")
    landmarks = np.asarray(landmarks)
    if landmarks.shape != (POINTS, 3):
        raise ValueError(f"landmarks should have shape ({POINTS}, 3), one face's points, got {landmarks.shape}")
    if not np.isfinite(landmarks).all():
        raise ValueError("landmarks should be finite, got NaN or infinity")
    rng = np.random.default_rng(seed)
    spec = decided(MaskSpec.parse(mask), rng)
    frame = Frame.of(landmarks, len(image))
    drawn = render(image, frame, look(image, frame), spec, rng)
    alpha, trim = drawn.shares(image)
    return Overlay(drawn.picture, alpha, trim, spec, _coverage(alpha, frame), float(presence), int(seed))


def mask_seed(seed: int, face_id: str, mask: str | MaskSpec) -> int:
    """The seed for one face and kind of mask, 64 bits, whatever the order in which faces come.

    Colour, pattern and wear do not count, so that masks that differ in one of these are alike in all else.
    """
    kind = MaskSpec.parse(mask).kind
    return int.from_bytes(hashlib.blake2b(f"{seed}|{face_id}|{kind}".encode(), digest_size=8).digest(), "big")


def decided(spec: MaskSpec, rng: np.random.Generator) -> MaskSpec:
    """The spec with what it leaves open drawn by chance."""
    name = MASKS[rng.integers(len(MASKS))]
    name = name if spec.kind == MIXED else spec.kind
    colour, pattern = (_drawn(odds, rng) for odds in (KINDS[name].colours, KINDS[name].patterns))
    return MaskSpec(name, spec.colour or colour, spec.pattern or pattern, spec.wear)


def _drawn(odds: dict[str, float], rng: np.random.Generator) -> str:
    steps = list(accumulate(odds.values()))
    return list(odds)[bisect(steps, rng.random() * steps[-1])]


def _coverage(alpha: np.ndarray, frame: Frame) -> float:
    skin = np.zeros(alpha.shape, np.uint8)
    cv2.fillPoly(skin, [np.rint(np.clip(frame.points[_BELOW_EYES, :2], -(2**14), 2**14)).astype(np.int32)], 1)
    return round(float(cv2.mean(alpha, skin)[0]), 4)
