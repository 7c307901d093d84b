"""The cloth of one mask: its kind's material in its colour and pattern, flat and unlit."""

from functools import cache

import cv2
import numpy as np

from maskmtl.masks.kinds import KINDS
from maskmtl.masks.kinds.base import COLUMNS, ROWS
from maskmtl.masks.light import LUMA
from maskmtl.masks.patterns import paint
from maskmtl.masks.spec import MaskSpec

VARIANTS = 8  # materials of a kind, drawn once
_UNIT = 128  # relief 1
_SHEEN = 0.05  # reflectance of the fibres whatever their dye, so that folds show on black cloth


def texture(spec: MaskSpec, *, tall: float, saturation: float, rng: np.random.Generator) -> np.ndarray:
    """(rows, columns, 3) uint8, reflectance * 255; halved in size as often as it stays as fine as `tall` pixels ask.

    spec: without None. saturation: 0 (a grey photo) .. 1.
    """
    assert spec.pattern is not None and spec.rgb is not None
    level = min(max(int(ROWS / max(tall, 1)), 1).bit_length() - 1, 3)
    relief, fixture = _material(spec.kind, int(rng.integers(VARIANTS)), level)
    colour = np.array(spec.rgb) * rng.uniform(0.93, 1.05) * (1 + rng.uniform(-0.03, 0.03, 3))
    colour = np.clip(colour, 0.02, 0.96)
    if spec.pattern == "plain":
        grey = float((colour * LUMA).sum())
        colour = grey + saturation * (colour - grey)
        steps = np.arange(256)[:, None] * ((colour + _SHEEN) * 255 / _UNIT) - _SHEEN * 255
        cloth = cv2.LUT(relief, np.clip(np.rint(steps), 0, 255).astype(np.uint8)[None])
    else:
        cloth = _faded(paint(spec.pattern, colour, rng, level=level), saturation)
        cloth = cv2.multiply(cloth, relief, scale=1 / _UNIT)
    if fixture is not None:
        rigid, share = _faded(fixture[..., :3], saturation).astype(np.uint16), fixture[..., 3:].astype(np.uint16)
        cloth = ((cloth * (255 - share) + rigid * share + 127) // 255).astype(np.uint8)
    return cloth


@cache
def _material(kind: str, variant: int, level: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Relief (rows, columns, 3), 128 = 1, and fixture (rows, columns, 4), both uint8."""
    material = KINDS[kind].material(np.random.default_rng([variant, list(KINDS).index(kind)]))
    assert material.relief.shape == (ROWS, COLUMNS)
    relief = np.clip(np.rint(material.relief * _UNIT), 0, 255).astype(np.uint8)
    relief = cv2.merge([_smaller(relief, level)] * 3)
    if material.fixture is None:
        return relief, None
    return relief, _smaller(np.clip(np.rint(material.fixture * 255), 0, 255).astype(np.uint8), level)


def _smaller(picture: np.ndarray, level: int) -> np.ndarray:
    """Halved `level` times."""
    if level == 0:
        return picture
    return cv2.resize(picture, (COLUMNS >> level, ROWS >> level), interpolation=cv2.INTER_AREA)


def _faded(picture: np.ndarray, saturation: float) -> np.ndarray:
    """(..., 3) uint8 with less colour."""
    if saturation >= 1:
        return picture
    values = picture.astype(np.int32)
    grey = (values[..., :1] * 77 + values[..., 1:2] * 150 + values[..., 2:] * 29) // 256
    return (grey + (values - grey) * round(16 * saturation) // 16).astype(np.uint8)
