"""One face in many masks, as one labelled picture."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskmtl.masks import MaskSpec, mask_seed, overlay

SMALLEST = 160  # px, the least side of a cell: a label needs that width
_GAP, _FONT, _LINES = 10, 15, 2  # px, px, lines of a label
_LINE = _FONT + 4
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


def sheet(
    image: np.ndarray,
    points: np.ndarray,
    masks: Sequence[str | MaskSpec],
    seed: int,
    *,
    face_id: str = "",
    columns: int | None = None,
) -> np.ndarray:
    """The bare face and the face in each mask, under each what was drawn, as (H, W, 3) uint8.

    Args:
        image, points: an aligned face and its landmarks, as overlay() takes them.
        masks: as overlay() takes them.
        seed, face_id: a mask is drawn with mask_seed(seed, face_id, mask), as everywhere.
        columns: cells in a row; None makes the sheet about square.
    """
    cells = [(image, "bare")]
    for mask in masks:
        drawn = overlay(image, points, mask=mask, seed=mask_seed(seed, face_id, mask))
        cells.append((drawn.image, str(drawn.spec)))
    columns = columns or math.ceil(math.sqrt(len(cells)))
    side = max(len(image), SMALLEST)
    width, height = side + _GAP, side + _LINES * _LINE + _GAP
    rows = math.ceil(len(cells) / columns)
    page = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _PAPER)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(_FONT)
    for i, (picture, text) in enumerate(cells):
        x, y = _GAP + i % columns * width, _GAP + i // columns * height
        if len(picture) < side:
            picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
        page.paste(Image.fromarray(picture), (x, y))
        for k, line in enumerate(_wrapped(text, font, side)):
            pen.text((x, y + side + 3 + k * _LINE), line, _INK, font)
    return np.asarray(page)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text in lines of at most `width` px, broken after colons."""
    lines = [""]
    for part in (f"{part}:" for part in text.split(":")):
        if lines[-1] and font.getlength((lines[-1] + part).rstrip(":")) > width:
            lines.append("")
        lines[-1] += part
    lines[-1] = lines[-1].removesuffix(":")
    return lines
