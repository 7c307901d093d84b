"""Sewn and tied fabric: the shaped cotton mask and the bandana."""

from collections.abc import Callable

import cv2
import numpy as np

from maskmtl.masks.kinds.base import COLUMNS, ROWS, Kind, Material, U, V
from maskmtl.masks.surface import Face

_COLOURS = {
    **{
        "black": 0.24,
        "navy": 0.13,
        "white": 0.10,
        "grey": 0.10,
        "red": 0.08,
        "blue": 0.06,
        "burgundy": 0.05,
        "pink": 0.05,
    },
    **{
        "teal": 0.04,
        "olive": 0.04,
        "beige": 0.04,
        "green": 0.02,
        "purple": 0.02,
        "yellow": 0.01,
        "orange": 0.01,
        "brown": 0.01,
    },
}


def _net_cloth(face: Face) -> np.ndarray:
    """(5, 9, 3) control points: top edge, nose tip, mouth, chin, under the chin; stitched to a ridge in the middle."""
    at = face.at
    nose, chin = at(4, 1, out=0.08), at(199, 175, out=0.08)
    lip = 0.5 * (nose + chin) + face.out(0.07)

    def half(side: int) -> list[list[np.ndarray]]:
        on = _half(face, side)
        low, mouth, rim = on(187, 205, out=0.07), on(214, 212, out=0.09), on(149, 150, out=0.03)
        return [
            [
                on(234, 227, right=0.03, down=0.03, out=0.01),
                on(116, 123, down=-0.02, out=0.04),
                on(118, 101, down=-0.01, out=0.05),
                on(114, 126, down=-0.04, out=0.05),
            ],
            [
                on(93, 137, right=0.02, out=0.01),
                on(147, 187, out=0.04),
                0.55 * low + 0.45 * nose,
                0.26 * low + 0.74 * nose,
            ],
            [
                on(132, 177, right=0.02, down=0.02, out=0.01),
                on(192, 213, out=0.05),
                0.58 * mouth + 0.42 * lip,
                0.28 * mouth + 0.72 * lip,
            ],
            [
                on(58, right=0.02, out=0.01),
                on(136, 135, out=0.03),
                0.6 * rim + 0.4 * on(140, out=0.06),
                0.5 * on(171, 140, out=0.06) + 0.5 * chin,
            ],
            [
                on(58, 172, right=0.02, out=-0.01),
                on(136, right=-0.01, down=0.05, out=-0.02),
                on(149, down=0.09, out=-0.03),
                on(148, down=0.10, out=-0.02),
            ],
        ]

    left, right = half(0), half(1)
    centre = [at(6, 197, down=0.03, out=0.04), nose, lip, chin, at(152, down=0.09, out=-0.02)]
    net = np.array([[*a, c, *b[::-1]] for a, c, b in zip(left, centre, right, strict=True)])
    return _even(net, (0.19, 0.46, 0.72))


def _net_bandana(face: Face) -> np.ndarray:
    """(5, 11, 3) control points: from the knot over the nose bridge and back to it; a point below the chin."""
    at = face.at
    nose, chin = at(4, 1, out=0.06), at(199, 175, out=0.10)
    lip = 0.5 * (nose + chin) + face.out(0.06)

    def half(side: int) -> list[list[np.ndarray]]:
        on = _half(face, side)
        low, mouth = on(187, 205, out=0.07), on(214, 212, out=0.10)
        return [
            [
                on(234, right=-0.06, down=-0.02, out=-0.55),
                on(234, right=-0.02, down=-0.05, out=-0.08),
                on(116, down=-0.02, out=0.05),
                on(118, 101, down=-0.03, out=0.06),
                on(114, down=-0.03, out=0.05),
            ],
            [
                on(93, right=-0.06, out=-0.55),
                on(93, right=-0.03, out=-0.08),
                on(147, 187, out=0.06),
                0.55 * low + 0.45 * nose,
                0.26 * low + 0.74 * nose,
            ],
            [
                on(132, right=-0.04, down=-0.02, out=-0.55),
                on(132, right=-0.03, out=-0.08),
                on(192, 213, out=0.08),
                0.58 * mouth + 0.42 * lip,
                0.28 * mouth + 0.72 * lip,
            ],
            [
                on(58, right=-0.02, down=-0.02, out=-0.55),
                on(58, right=-0.05, down=0.03, out=-0.05),
                on(136, 135, right=-0.02, down=0.04, out=0.06),
                0.6 * on(149, 150, down=0.03, out=0.06) + 0.4 * on(140, out=0.09),
                0.5 * on(171, 140, out=0.09) + 0.5 * chin,
            ],
            [
                on(58, down=0.10, out=-0.55),
                on(172, right=-0.03, down=0.10, out=-0.10),
                on(150, 136, right=-0.02, down=0.22, out=-0.02),
                on(176, down=0.38, out=0.03),
                on(148, down=0.50, out=0.06),
            ],
        ]

    left, right = half(0), half(1)
    centre = [at(6, 197, down=0.02, out=0.04), nose, lip, chin, at(152, down=0.56, out=0.06)]
    net = np.array([[*a, c, *b[::-1]] for a, c, b in zip(left, centre, right, strict=True)])
    return _even(net, (0.12, 0.30, 0.48, 0.72))


def _even(net: np.ndarray, inner: tuple[float, ...]) -> np.ndarray:
    """The (R, C, places) net with its columns evenly spaced along the cloth, so that a pattern keeps its proportions.

    inner: where the columns between the middle (0) and the side (1) lie.
    """
    found = np.array([-1, *(-x for x in inner[::-1]), 0, *inner, 1])
    wanted = np.linspace(-1, 1, len(found))
    weights = np.stack([np.interp(wanted, found, unit) for unit in np.eye(len(found))], axis=1)
    return np.einsum("ij,rjp->rip", weights, net)


def _half(face: Face, side: int) -> Callable[..., np.ndarray]:
    """face.at() for one half, 0 the picture's left, given the left's landmarks; `right` is towards the nose."""

    def on(*left: int, right: float = 0, down: float = 0, out: float = 0) -> np.ndarray:
        indices = left if side == 0 else tuple(_MIRROR[i] for i in left)
        return face.at(*indices, right=right * (1 - 2 * side), down=down, out=out)

    return on


# the picture's left -> right
_MIRROR = {
    **{234: 454, 227: 447, 116: 345, 123: 352, 118: 347, 101: 330, 114: 343, 126: 355, 93: 323, 137: 366, 147: 376},
    **{187: 411, 205: 425, 132: 361, 177: 401, 192: 416, 213: 433, 214: 434, 212: 432, 58: 288, 136: 365, 135: 364},
    **{149: 378, 150: 379, 140: 369, 171: 396, 172: 397, 148: 377, 176: 400},
}


def _crease(distance: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """A fold seen in light from above: bright before it, dark behind; distance grows downward."""
    d = distance / width
    return 0.6 * np.exp(-((d + 0.9) ** 2)) - np.exp(-(np.where(d > 0, d / 1.3, d / 0.35) ** 2))


def _stitches(distance: np.ndarray, along: np.ndarray, width: float) -> np.ndarray:
    """A seam: dashes in a shallow groove; distance 0 on the seam, `along` counts stitches."""
    return np.exp(-((distance / width) ** 2)) * np.where(along % 1 < 0.62, 0.4, 1.0)


def _weave(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Threads both ways, a little uneven, and soft unevenness of the cloth."""
    rows, columns = rng.standard_normal((ROWS, 1)), rng.standard_normal((1, COLUMNS))
    soft = cv2.resize(rng.standard_normal((9, 12)), (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    return strength * (0.5 * rows + 0.5 * columns + 0.7 * rng.standard_normal((ROWS, COLUMNS))) + 0.025 * soft


def _material_cloth(rng: np.random.Generator) -> Material:
    """Centre seam, hems along every edge, and folds that fan out from the ear loops over the cheeks."""
    relief = 1 + _weave(rng, 0.022)
    relief -= 0.34 * np.exp(-((U / 0.010) ** 2)) - 0.12 * np.exp(-(((np.abs(U) - 0.030) / 0.016) ** 2))
    relief -= 0.16 * _stitches(np.abs(U) - 0.052, V * 40, 0.009)
    for edge, length, stitch in ((np.minimum(V, 1 - V), 0.06, U * 34), (1 - np.abs(U), 0.085, V * 30)):
        relief += 0.05 * (edge < length) - 0.22 * _stitches(edge - length, stitch, 0.013)
        relief -= 0.12 * np.exp(-((edge / 0.012) ** 2))
    inward = 1 - np.abs(U)  # 0 at the ear
    for side in (-1, 1):
        for start in rng.permutation([0.14, 0.30, 0.47, 0.64, 0.82])[: rng.integers(3, 6)]:
            aim, bend = 0.5 + rng.uniform(-0.12, 0.12), rng.uniform(-0.15, 0.15)
            path = start + (aim - start) * 0.8 * inward + bend * inward * (0.7 - inward)
            reach = rng.uniform(0.45, 0.8)
            fade = np.clip((inward - 0.06) / 0.06, 0, 1) * np.clip((reach - inward) / 0.35, 0, 1) * (side * U > 0)
            width = rng.uniform(0.028, 0.055) * (0.6 + 0.8 * inward)
            relief += rng.uniform(0.16, 0.32) * fade * _crease(V - path, width)
    return Material(relief)


def _material_bandana(rng: np.random.Generator) -> Material:
    """A rolled hem over the nose, swags hanging from ear to ear, deeper downward, and falling folds below the chin."""
    relief = 1 + _weave(rng, 0.016)
    relief += 0.05 * (V < 0.05) - 0.18 * np.exp(-(((V - 0.055) / 0.012) ** 2))
    relief -= 0.12 * np.exp(-(((1 - V) / 0.014) ** 2)) + 0.07 * _stitches(1 - V - 0.035, U * 34, 0.007)
    wobble = cv2.resize(rng.uniform(-1, 1, (4, 7)), (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    for k, lowest in enumerate((0.22, 0.36, 0.50, 0.63, 0.76)):
        lowest += rng.uniform(-0.045, 0.045)
        tilt, hang = rng.uniform(-0.05, 0.05), rng.uniform(0.55, 0.85)
        across = np.abs(U - rng.uniform(-0.12, 0.12)) ** 1.6
        path = lowest - hang * lowest * across + tilt * U + 0.04 * wobble
        middle, spread = rng.uniform(-0.45, 0.45), rng.uniform(0.35, 0.7)
        lean = 1 if k % 2 else np.where(U * middle > 0, 1, 0.5)
        fade = 0.25 + 0.75 * lean * np.exp(-(((np.abs(U) - abs(middle)) / spread) ** 2))
        relief += rng.uniform(0.16, 0.28) * fade * _crease(V - path, rng.uniform(0.026, 0.05))
    below = np.clip((V - 0.62) / 0.2, 0, 1)
    for centre in (-0.34, -0.17, 0.02, 0.18, 0.36):
        path = (centre + rng.uniform(-0.04, 0.04)) * (1 - 0.35 * (V - 0.7))
        relief += rng.uniform(0.08, 0.2) * below * _crease(U - path, rng.uniform(0.025, 0.05))
    return Material(relief)


CLOTH = Kind(
    net=_net_cloth,
    material=_material_cloth,
    colours=_COLOURS,
    patterns={
        "plain": 0.52,
        "checks": 0.08,
        "stripes": 0.08,
        "dots": 0.08,
        "floral": 0.09,
        "camouflage": 0.07,
        "print": 0.08,
    },
    straps="ears",
)
BANDANA = Kind(
    net=_net_bandana,
    material=_material_bandana,
    colours=_COLOURS,
    patterns={
        "plain": 0.30,
        "checks": 0.12,
        "stripes": 0.08,
        "dots": 0.14,
        "floral": 0.10,
        "camouflage": 0.10,
        "print": 0.16,
    },
    straps="tied",
)
