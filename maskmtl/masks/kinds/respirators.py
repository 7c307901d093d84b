"""Filtering respirators: the moulded N95 cup with and without a valve, the folded KN95 and the FFP2 duckbill."""

import cv2
import numpy as np

from maskmtl.masks.kinds.base import COLUMNS, ROWS, Kind, Material, U, V
from maskmtl.masks.kinds.shapes import around, bare, inside, lay, line, outline
from maskmtl.masks.surface import Face

# landmarks, from the outer rim to the middle: along the top edge; rim at nose, mouth and chin; under the chin
_CUP = (
    (
        (50, 187),
        (50, 101),
        (100, 101),
        (114,),
        (147, 187),
        (213, 192),
        (138, 135),
        (136, 150),
        (150,),
        (149, 176),
        (148,),
    ),
    (
        (280, 411),
        (280, 330),
        (329, 330),
        (343,),
        (376, 411),
        (433, 416),
        (367, 364),
        (365, 379),
        (379,),
        (378, 400),
        (377,),
    ),
)  # the picture's left, right
_FOLD = (
    (
        (137, 123),
        (50, 123),
        (101,),
        (114, 126),
        (177, 215),
        (215, 138),
        (172, 138),
        (172, 136),
        (150,),
        (149, 176),
        (148,),
    ),
    (
        (366, 352),
        (280, 352),
        (330,),
        (343, 355),
        (401, 435),
        (435, 367),
        (397, 367),
        (397, 365),
        (379,),
        (378, 400),
        (377,),
    ),
)
_SHARES = (0.28, 0.56, 0.80)  # of the way from the rim to the middle


def _net(face: Face, sides: tuple, middle: list[np.ndarray], domes: tuple[float, float, float]) -> np.ndarray:
    """(5, 9, 3) control points; `domes` is how far each row's shoulder stands out, at nose, mouth and chin."""
    at = face.at

    def half(side: int) -> list[list[np.ndarray]]:
        top, rims, under = sides[side][:4], sides[side][4:7], sides[side][7:]
        s = 1 - 2 * side  # towards the nose
        rows = [[at(*i, out=0.02 + 0.01 * k) for k, i in enumerate(top)]]
        for rim, centre, dome in zip(rims, middle[1:4], domes, strict=True):
            edge = at(*rim, right=-0.01 * s, out=0.02)
            rises = (0.9 * dome, dome, 0.55 * dome)
            rows.append(
                [edge, *((1 - w) * edge + w * centre + face.out(r) for w, r in zip(_SHARES, rises, strict=True))]
            )
        falls = ((-0.02, 0.03, 0), (-0.02, 0.07, -0.01), (0, 0.08, -0.02), (0, 0.09, -0.02))
        rows.append([at(*i, right=r * s, down=d, out=o) for i, (r, d, o) in zip(under, falls, strict=True)])
        return rows

    left, right = half(0), half(1)
    return np.array([[*a, c, *b[::-1]] for a, c, b in zip(left, middle, right, strict=True)])


def _middle(
    face: Face, *, top: tuple[float, float], nose: float, lip: float, chin: float, low: float
) -> list[np.ndarray]:
    """Five points from the nose bridge to below the chin; `top` and `low` move along the face, the rest stands out."""
    nose_at, chin_at = face.at(4, 1, out=nose), face.at(199, 200, down=0.05, out=chin)
    lip_at = 0.5 * (nose_at + chin_at) + face.out(lip)
    return [face.at(197, down=top[0], out=top[1]), nose_at, lip_at, chin_at, face.at(152, down=low, out=-0.02)]


def _cup(face: Face) -> np.ndarray:
    middle = _middle(face, top=(-0.01, 0.03), nose=0.10, lip=0.07, chin=0.22, low=0.09)
    return _net(face, _CUP, middle, (0.13, 0.17, 0.13))


def _folded(face: Face) -> np.ndarray:
    middle = _middle(face, top=(-0.02, 0.04), nose=0.12, lip=0.09, chin=0.16, low=0.10)
    return _net(face, _FOLD, middle, (0.06, 0.05, 0.04))


def _bill(face: Face) -> np.ndarray:
    middle = _middle(face, top=(-0.01, 0.03), nose=0.10, lip=0.15, chin=0.18, low=0.10)
    return _net(face, _FOLD, middle, (0.10, 0.17, 0.09))


def _felt(rng: np.random.Generator) -> np.ndarray:
    """Pressed fibres and slight dents, around 0."""
    fibres = cv2.GaussianBlur(rng.standard_normal((ROWS, COLUMNS), np.float64), (0, 0), 0.8)
    dents = cv2.resize(rng.standard_normal((7, 9), np.float64), (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    return 0.03 * fibres + 0.012 * dents


def _clip(rng: np.random.Generator, *, half: float) -> np.ndarray:
    """(ROWS, COLUMNS, 4) an aluminium strip over the nose, `half` its length in u, brighter where it bends."""
    y = V - 0.095 - 0.05 * U**2
    grey = 0.60 + 0.20 * line(y + 0.008, 0.009) - 0.18 * line(y - 0.016, 0.009) + 0.10 * line(np.abs(U) - 0.08, 0.06)
    fixture = bare()
    lay(
        fixture,
        (grey + rng.uniform(-0.04, 0.04))[..., None] * np.ones(3),
        inside(np.abs(y) - 0.02, 0.010) * inside(np.abs(U) - half, 0.03),
    )
    return fixture


def _moulded(rng: np.random.Generator) -> np.ndarray:
    """The relief of a cup: a pressed flange, the groove within it, an embossed rib, and less light at its foot."""
    rim, rib = outline(7), rng.uniform(0.20, 0.26)
    relief = 1 + _felt(rng) - 0.20 * np.exp(-np.maximum(rim, 0) / 0.16)
    relief += 0.05 * line(U, 0.5) * line(V - 0.36, 0.22) - 0.08 * np.clip((V - 0.6) / 0.4, 0, 1)
    relief += 0.14 * (rim < 0.055) - 0.16 * line(rim - 0.065, 0.014) + 0.06 * line(rim - 0.10, 0.02)
    return relief + 0.08 * line(rim - rib, 0.012) - 0.10 * line(rim - rib - 0.028, 0.016)


def _cup_material(rng: np.random.Generator) -> Material:
    return Material(_moulded(rng), _clip(rng, half=0.34))


def _valve_material(rng: np.random.Generator) -> Material:
    """The cup with a square-round exhalation valve, right of the middle and low."""
    x, y = around(0.17, 0.585, (4.2, -1.1), (-0.25, 11.9))  # 1 is half a side
    box = (np.abs(x) ** 4 + np.abs(y) ** 4) ** 0.25  # 1 on the outline
    grey = 0.80 - 0.05 * (x + y) - 0.25 * line(box - 0.98, 0.10) + 0.14 * line(box - 0.84, 0.06) * (x + y < 0)
    grey -= 0.22 * line(box - 0.72, 0.05)
    slot = inside(np.abs(np.mod(y * 3 + 0.5, 1) - 0.5) - 0.17, 0.12) * inside(0.08 - np.abs(x), 0.06)
    grey -= 0.45 * slot * inside(box - 0.60, 0.1)
    tint = ((1.0, 1.0, 1.0), (0.98, 1.0, 1.03), (1.03, 1.0, 0.93))[rng.integers(3)]
    fixture = _clip(rng, half=0.34)
    lay(fixture, grey[..., None] * np.array(tint), inside(box - 1, 0.08))
    cast = inside((np.abs(x + 0.02) ** 4 + np.abs(y - 0.12) ** 4) ** 0.25 - 1.14, 0.4)
    return Material((_moulded(rng) * (1 - 0.36 * cast)), fixture)


def _dots() -> np.ndarray:
    """(ROWS, COLUMNS) bool: the points of a weld."""
    return np.mod(np.arange(ROWS)[:, None] + np.arange(COLUMNS)[None], 4) < 2


def _pulled(rng: np.random.Generator, folds: tuple[tuple[float, float], ...], reach: np.ndarray) -> np.ndarray:
    """Slight folds, each from v in the middle, leaning outwards; `reach` is their strength."""
    relief = np.zeros((ROWS, COLUMNS))
    for v, lean in folds:
        along = V - v - lean * np.abs(U) + rng.uniform(-0.03, 0.03)
        relief += rng.uniform(0.06, 0.14) * reach * (line(along + 0.02, 0.025) - line(along, 0.025))
    return relief


def _folded_material(rng: np.random.Generator) -> Material:
    """A welded seam down the middle, dotted welds along the edges, and a nose wire under the cloth."""
    side = np.abs(U)
    relief = 1 + _felt(rng) - 0.15 * side**2 - 0.06 * np.clip((V - 0.6) / 0.4, 0, 1)
    relief += 0.16 * line(side, 0.018) - 0.22 * line(side - 0.048, 0.016) - 0.05 * line(side - 0.05, 0.08)
    edge = np.minimum(np.minimum(V - 0.045 + 0.02 * U**2, 0.96 - V), (0.94 - side) * 0.7)
    relief -= line(edge, 0.010) * np.where(_dots(), 0.24, 0.08) - 0.05 * (edge < -0.01)
    y = V - 0.115 - 0.03 * U**2
    relief += inside(side - 0.42, 0.03) * (0.10 * line(y + 0.012, 0.012) - 0.17 * line(y - 0.014, 0.010))
    relief += _pulled(rng, ((0.36, -0.12), (0.47, 0.02), (0.64, 0.14)), np.clip(1.6 * side - 0.3, 0, 1))
    fixture = bare()  # pressed edges shine a little, which shows on dark cloth
    shine = 0.16 * line(side, 0.018) + 0.12 * line(edge + 0.02, 0.008) + 0.10 * line(edge, 0.008) * _dots()
    lay(fixture, np.full((ROWS, COLUMNS, 3), 0.62), shine)
    return Material(relief, fixture)


def _bill_material(rng: np.random.Generator) -> Material:
    """Two panels welded along the bill's edge, with slanting welds at the sides and a clip over the nose."""
    side = np.abs(U)
    seam = V - 0.50 - 0.03 * U**2 + rng.uniform(-0.01, 0.01)
    below = 1 - inside(seam, 0.02)
    relief = 1.06 + _felt(rng) - below * (0.08 + 0.16 * np.exp(-np.maximum(seam, 0) / 0.14))
    relief += 0.14 * line(seam + 0.020, 0.014) - 0.10 * line(seam + 0.05, 0.010) - 0.22 * line(seam - 0.008, 0.012)
    weld = 0.84 - side - 0.5 * np.abs(seam)  # both panels are closed along it
    relief -= line(weld, 0.014) * np.where(_dots(), 0.30, 0.12) - 0.06 * line(weld - 0.035, 0.018)
    relief -= 0.09 * (weld < 0) + 0.05 * line(weld, 0.1)
    hem = np.minimum(V - 0.04, 0.965 - V)
    relief += 0.05 * (hem < 0) - 0.18 * line(hem, 0.010)
    relief += _pulled(rng, ((0.30, 0.16), (0.70, -0.18)), 1 - side)
    return Material(relief, _clip(rng, half=0.30))


_PLAIN = {"plain": 1.0}
N95 = Kind(_cup, _cup_material, {"white": 0.85, "beige": 0.05, "teal": 0.10}, _PLAIN, "head")
N95_VALVE = Kind(_cup, _valve_material, {"white": 0.80, "grey": 0.10, "beige": 0.10}, _PLAIN, "head")
KN95 = Kind(_folded, _folded_material, {"white": 0.75, "black": 0.17, "grey": 0.08}, _PLAIN, "ears", gloss=0.12)
DUCKBILL = Kind(_bill, _bill_material, {"white": 0.60, "blue": 0.25, "orange": 0.05, "green": 0.10}, _PLAIN, "head")
