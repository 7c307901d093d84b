"""The half-face respirator of rubber, with two filters and an exhalation valve between them."""

import cv2
import numpy as np

from maskmtl.masks.kinds.base import COLUMNS, ROWS, Kind, Material, U, V
from maskmtl.masks.kinds.shapes import around, bare, inside, lay, line, outline
from maskmtl.masks.surface import Face

# landmarks of the rim from cheek to jaw, then along the top edge and under the chin to the middle; the filter's
_SIDES = (
    (
        ((50, 205), (187,), (192, 214), (135, 210), (150, 170)),
        ((101, 36), (142, 100), (126, 114), (188, 217)),
        ((149,), (149, 176), (176,), (148,)),
        (216, 212),
    ),
    (
        ((280, 425), (411,), (416, 434), (364, 430), (379, 395)),
        ((330, 266), (371, 329), (355, 343), (412, 437)),
        ((378,), (378, 400), (400,), (377,)),
        (436, 432),
    ),
)  # the picture's left, right
_FILTERS = ((0.48, 0.14, 0.30), (0.30, 0.31, 0.33), (0.78, 0.77, 0.74), (0.46, 0.43, 0.18), (0.13, 0.13, 0.14))
_RADIUS = 0.17  # of a filter's control points


def _net(face: Face) -> np.ndarray:
    """(5, 11, 3) control points: rim, three columns of the filter, what joins it to the middle, the middle."""
    at = face.at
    nose = at(4, 1, out=0.09)
    chin = at(199, 200, down=0.04, out=0.14)
    middle = [nose, 0.5 * (nose + chin) + face.out(0.10), chin]

    def half(side: int) -> list[list[np.ndarray]]:
        (rims, top, under, filters), s = _SIDES[side], 1 - 2 * side  # s: towards the nose
        rows = [[at(*rims[0], out=0.03), *(at(*i, out=0.04 + 0.01 * k) for k, i in enumerate(top))]]
        for y, rim, centre in zip((-1, 0, 1), rims[1:4], middle, strict=True):
            lid = [
                at(*filters, right=s * _RADIUS * x, down=0.05 + _RADIUS * y, out=0.24 + 0.05 * x - 0.02 * y * y)
                for x in (-1, 0, 1)
            ]
            rows.append([at(*rim, out=0.03), *lid, 0.4 * lid[2] + 0.6 * centre - face.out(0.03)])
        rows.append([at(*rims[4]), *(at(*i, down=0.04 + 0.01 * k, out=-0.01) for k, i in enumerate(under))])
        return rows

    left, right = half(0), half(1)
    middle = [at(197, 6, out=0.03), *middle, at(152, down=0.08, out=-0.01)]
    return np.array([[*a, c, *b[::-1]] for a, c, b in zip(left, middle, right, strict=True)])


def _material(rng: np.random.Generator) -> Material:
    """Rubber with a rolled rim and ribs; filters with rings, and a slotted valve in the middle."""
    rim, rib = outline(6), np.abs(U) - 0.10 - 0.12 * V
    mottle = cv2.resize(rng.standard_normal((8, 10), np.float64), (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    relief = 0.9 + 0.03 * mottle + 0.45 * line(rim - 0.035, 0.03) - 0.40 * line(rim - 0.095, 0.025)
    relief += (0.30 * line(rib, 0.02) - 0.25 * line(rib - 0.04, 0.02)) * inside(V - 0.33, 0.06)
    fixture = bare()
    lid = np.array(_FILTERS[rng.integers(len(_FILTERS))])
    rings = int(rng.integers(2, 5))
    for s in (-1, 1):
        x, y = around(0.6 * s, 0.5, (_RADIUS / 0.2, 0), (0, _RADIUS / 0.25))
        radius, lit = _round(x / 0.20, y / 0.20)
        cover = 0.95 - 0.8 * (y + 0.5 * x) + 0.14 * np.cos(2 * np.pi * rings * radius) * (radius > 0.24)
        cover += 0.35 * lit * (line(radius - 0.78, 0.05) - line(radius - 0.22, 0.05))
        body = np.where(radius[..., None] < 0.82, cover[..., None] * lid, (0.17 + 0.12 * lit)[..., None])
        body = body * (1 - 0.6 * line(radius - 0.84, 0.035))[..., None]
        relief *= 1 - 0.5 * inside(_round(x / 0.20, y / 0.20 - 0.12)[0] - 1.1, 0.3)
        lay(fixture, body, inside(radius - 1, 0.08))
    x, y = around(0, 0.60, (4.5, 0), (0, 13.0))
    radius, lit = _round(x, y)
    valve = 0.20 + 0.12 * lit * line(radius - 0.88, 0.12) - 0.10 * line(radius - 0.70, 0.05)
    valve -= 0.13 * inside(np.abs(np.mod(x * 2.5 + 0.5, 1) - 0.5) - 0.2, 0.15) * inside(radius - 0.58, 0.1)
    relief *= 1 - 0.35 * inside(_round(x, y - 0.15)[0] - 1.15, 0.3)
    lay(fixture, valve[..., None] * np.ones(3), inside(radius - 1, 0.1))
    return Material(relief, fixture)


def _round(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the middle, and how much a slope away from it faces a light above and to the left, -1..1."""
    radius = np.sqrt(x**2 + y**2)
    return radius, (-0.5 * x - 0.8 * y) / np.maximum(radius, 0.05)


GAS = Kind(
    net=_net,
    material=_material,
    colours={"black": 0.85, "navy": 0.08, "grey": 0.07},
    patterns={"plain": 1.0},
    straps="harness",
    gloss=0.8,
)
