"""Draw a face mask on a photograph of a face."""

import hashlib
from collections.abc import Callable

import numpy as np

from maskmtl.masks.landmarks import POINTS, FaceMesh, Landmarks
from maskmtl.masks.rendering import Overlay
from maskmtl.masks.surgical import surgical

MASKS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], Overlay]] = {"surgical": surgical}

__all__ = ["MASKS", "FaceMesh", "Landmarks", "Overlay", "mask_rng", "overlay"]


def overlay(image: np.ndarray, landmarks: np.ndarray, *, kind: str, rng: np.random.Generator) -> Overlay:
    """Draw a mask on an aligned face.

    Args:
        image: (H, H, 3) uint8 RGB.
        landmarks: (468, 3), that face's points as fractions of the side; they may lie outside the image.
        kind: a name in MASKS.
        rng: decides colour and small variations; the same state gives the same pixels.

    Raises:
        ValueError: for any other image, landmarks or kind.
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
    if kind not in MASKS:
        raise ValueError(f"kind should be one of {sorted(MASKS)}, got {kind!r}")
    return MASKS[kind](image, landmarks, rng)


def mask_rng(seed: int, face_id: str, kind: str) -> np.random.Generator:
    """The generator for one face and kind: independent of the order in which faces come."""
    digest = hashlib.blake2b(f"{seed}|{face_id}|{kind}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
