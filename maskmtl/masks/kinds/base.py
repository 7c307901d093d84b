"""What a kind of mask is made of."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskmtl.masks.surface import Face

ROWS, COLUMNS = 160, 224  # texels of a texture
V = np.linspace(0, 1, ROWS, dtype=np.float64)[:, None]  # down the mask
U = np.linspace(-1, 1, COLUMNS, dtype=np.float64)[None]  # to the picture's right


@dataclass(frozen=True)
class Material:
    """The cloth of one variant of a kind.

    Attributes:
        relief: (ROWS, COLUMNS) float64, factor around 1: folds, seams, hems, weave.
        fixture: (ROWS, COLUMNS, 4) float32 RGBA reflectance 0..1 of rigid parts over the cloth, or None.
    """

    relief: np.ndarray
    fixture: np.ndarray | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of mask.

    Attributes:
        net: face -> (R, C, 3) control points; rows run evenly down, with the nose tip at 1/4, the mouth at 1/2 and the
            chin at 3/4; columns run evenly from the picture's left to its right. Linear: only places of `face`, sums
            and constant multiples.
        material: draws one variant.
        colours, patterns: names and their probabilities.
        straps: 'ears', 'head', 'harness', or 'tied' for none.
        gloss: 0 cloth .. 1 rubber.
    """

    net: Callable[[Face], np.ndarray]
    material: Callable[[np.random.Generator], Material]
    colours: dict[str, float]
    patterns: dict[str, float]
    straps: str
    gloss: float = 0.0
