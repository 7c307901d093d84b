"""The pleated three-layer surgical mask."""

import cv2
import numpy as np

from maskmtl.masks.kinds.base import COLUMNS, ROWS, Kind, Material, U, V
from maskmtl.masks.surface import Face

# ear, above it, cheek, low cheek, side, jaw, low jaw, rim, wide and near the nose, mouth corner, rim nearer, keel
_SIDES = (
    (137, 123, 50, 187, 177, 215, 172, 149, 101, 126, 214, 148, 171),  # the picture's left
    (366, 352, 280, 411, 401, 435, 397, 378, 330, 355, 434, 377, 396),
)
_PLEATS = (0.30, 0.47, 0.64)  # v of the folds


def _net(face: Face) -> np.ndarray:
    """(5, 9, 3) control points: top edge, nose tip, mouth, chin, under the chin."""
    at = face.at
    nose, chin = at(4, 1, out=0.06), at(199, 175, out=0.09)
    lip = 0.5 * (nose + chin) + face.out(0.05)

    def half(side: int) -> list[list[np.ndarray]]:
        ear, ear_high, cheek, low_cheek, jaw_side, jaw, jaw_low, rim, wide, near, mouth, rim_mid, keel = _SIDES[side]
        s = 1 - 2 * side  # towards the nose
        return [
            [
                at(ear, ear_high, down=-0.10, out=0.02),
                at(cheek, ear_high, down=-0.03, out=0.05),
                at(wide, out=0.07),
                at(near, wide, down=-0.09, right=0.06 * s, out=0.08),
            ],
            [
                at(jaw_side, right=-0.025 * s, out=0.03),
                at(low_cheek, out=0.06),
                0.55 * at(low_cheek, out=0.08) + 0.45 * nose,
                0.28 * at(low_cheek, out=0.08) + 0.72 * nose,
            ],
            [
                at(jaw, right=-0.02 * s, out=0.02),
                at(mouth, out=0.07),
                0.55 * at(mouth, out=0.10) + 0.45 * lip,
                0.27 * at(mouth, out=0.10) + 0.73 * lip,
            ],
            [
                at(jaw, jaw_low, right=-0.04 * s),
                at(jaw_low, rim, right=-0.04 * s, out=0.04),
                0.5 * at(rim, out=0.04) + 0.5 * at(rim_mid, out=0.05),
                0.5 * at(rim_mid, out=0.05) + 0.5 * at(keel, out=0.06),
            ],
            [
                at(jaw_low, right=-0.05 * s, down=0.02),
                at(rim, right=-0.07 * s, down=0.07, out=-0.02),
                at(rim_mid, rim, right=-0.04 * s, down=0.09, out=-0.02),
                at(rim_mid, right=-0.02 * s, down=0.10, out=-0.02),
            ],
        ]

    left, right = half(0), half(1)
    centre = [at(197, 195, out=0.03), nose, lip, chin, at(152, down=0.10, out=-0.02)]
    return np.array([[*a, c, *b[::-1]] for a, c, b in zip(left, centre, right, strict=True)])


def _material(rng: np.random.Generator) -> Material:
    """Pleats, hems, nose wire, weave and creases."""
    bent = V - 0.02 * (U**2 - 0.3)
    pleats = np.zeros((ROWS, COLUMNS), np.float64)
    for fold in _PLEATS:
        below = (bent - fold - rng.uniform(-0.015, 0.015)) / 0.10
        shadow = np.where(below > 0, np.exp(-((below / 0.5) ** 2)), np.exp(-((below / 0.10) ** 2)))
        pleats += rng.uniform(0.14, 0.2) * (0.5 * np.exp(-(((below + 0.35) / 0.3) ** 2)) - shadow)
    relief = 1 + pleats * (0.55 + 0.45 * U**2)
    edge = np.minimum(V, 1 - V)
    relief += 0.04 * (edge < 0.06) - 0.12 * np.exp(-(((edge - 0.065) / 0.012) ** 2))
    rim = 1 - np.abs(U)
    relief += 0.02 * (rim < 0.05) - 0.05 * np.exp(-(((rim - 0.055) / 0.012) ** 2))
    relief += 0.04 * np.exp(-(((V - 0.09) / 0.02) ** 2)) * np.clip((0.45 - np.abs(U)) / 0.1, 0, 1)
    creases = cv2.resize(rng.standard_normal((10, 7), np.float64), (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    weave = rng.standard_normal((ROWS, COLUMNS), np.float64)
    return Material(relief + 0.018 * creases + 0.012 * weave)


SURGICAL = Kind(
    net=_net,
    material=_material,
    colours={"blue": 0.55, "white": 0.25, "green": 0.20},
    patterns={"plain": 1.0},
    straps="ears",
)
