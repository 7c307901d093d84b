"""Printed cloth laid flat, drawn in whole labels at twice the size, coloured, then halved.

The geometry of a few variants is kept; a call chooses one, shifts it and gives it colours.
"""

import colorsys
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import cv2
import numpy as np

from maskmtl.masks.kinds.base import COLUMNS, ROWS
from maskmtl.masks.light import LUMA
from maskmtl.masks.spec import PATTERNS

_VARIANTS = 16  # of a pattern's geometry
_MARGIN = 64  # labels around the cloth, for the shift
_HEIGHT, _WIDTH = 2 * ROWS + _MARGIN, 2 * COLUMNS + _MARGIN
_STEP = np.array([200 / COLUMNS, 110 / ROWS]) / 2  # mm from label to label: x, y
_SIZE = _STEP * [_WIDTH, _HEIGHT]  # mm
_X = (np.arange(_WIDTH) * _STEP[0])[None]
_Y = (np.arange(_HEIGHT) * _STEP[1])[:, None]
_LABELS = 5  # 0 the ground, 1.. the other colours


def paint(pattern: str, colour: np.ndarray, rng: np.random.Generator, *, level: int = 0) -> np.ndarray:
    """(rows, columns, 3) uint8, reflectance * 255, of cloth 200 mm wide and 110 mm high.

    Args:
        pattern: one of PATTERNS.
        colour: (3,) the ground's reflectance in 0..1; the other colours are derived from it.
        level: how often rows and columns are ROWS and COLUMNS halved.

    Raises:
        ValueError: for any other pattern.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern should be one of {list(PATTERNS)}, got {pattern!r}")
    ground = np.clip(np.asarray(colour, np.float64), 0, 1)
    if pattern == "plain":
        return np.broadcast_to(_bytes(ground), (ROWS >> level, COLUMNS >> level, 3)).copy()
    labels = _geometry(pattern, int(rng.integers(_VARIANTS)))
    spread = _MARGIN // 8 if pattern == "print" else _MARGIN // 2  # a large motif stays near the middle
    top, left = _MARGIN // 2 + rng.integers(-spread, spread + 1, 2)
    labels = labels[top : top + 2 * ROWS : 1 << level, left : left + 2 * COLUMNS : 1 << level]
    palette = np.zeros((256, 3), np.uint8)
    palette[:_LABELS] = _bytes((_tones if pattern == "camouflage" else _contrasts)(ground, rng))
    if pattern == "checks":
        mean = palette[:2].astype(np.int32).sum(axis=0) // 2  # where two bands of the weave cross, one of them shows
        palette[3] = palette[1]
        palette[1] = mean
    elif pattern == "print":
        palette[4] = 230 if palette[1] @ LUMA < 140 else palette[0]  # teeth
    coloured = cv2.applyColorMap(np.ascontiguousarray(labels), palette[:, None])
    return cv2.resize(coloured, (COLUMNS >> level, ROWS >> level), interpolation=cv2.INTER_AREA)


def _bytes(reflectance: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(reflectance, 0, 1) * 255).astype(np.uint8)


def _contrasts(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(_LABELS, 3): the ground, its main partner, a second, one between, a leaf green."""
    hue, saturation, _ = colorsys.rgb_to_hsv(*ground)
    dark = float(ground @ LUMA) < 0.45
    turn = (0.0, 0.08, -0.08, 0.33, 0.5)[int(rng.integers(5))]
    if rng.random() < 0.4:
        first = np.full(3, rng.uniform(0.80, 0.92) if dark else rng.uniform(0.08, 0.2))
    else:
        strength = min(max(saturation, 0.35) * rng.uniform(0.8, 1.2), 0.85)
        first = np.array(colorsys.hsv_to_rgb(hue + turn, strength, rng.uniform(0.75, 0.95)))
    first = _apart(first, ground, 0.28 if dark else -0.28)
    second_hue = hue + turn + rng.choice([-0.12, 0.12, 0.4])
    second = np.array(colorsys.hsv_to_rgb(second_hue, rng.uniform(0.35, 0.7), rng.uniform(0.6, 0.95)))
    second = _apart(second, ground, 0.18 if dark else -0.18)
    leaf = np.array(colorsys.hsv_to_rgb(rng.uniform(0.25, 0.42), rng.uniform(0.3, 0.6), 0.62 if dark else 0.4))
    return np.stack([ground, first, second, 0.45 * ground + 0.55 * first, leaf])


def _apart(colour: np.ndarray, ground: np.ndarray, distance: float) -> np.ndarray:
    """The colour, at least a signed `distance` in luminance from the ground."""
    wanted, luminance = float(ground @ LUMA) + distance, float(colour @ LUMA)
    if distance > 0 and luminance < wanted:
        return colour + (1 - colour) * min((wanted - luminance) / (1 - luminance), 1)
    if distance < 0 and luminance > wanted:
        return colour * max(wanted / luminance, 0)
    return colour


def _tones(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(_LABELS, 3): the ground and tones of it, as camouflage has: darker, lighter, brownish, near black."""
    warm = np.array(colorsys.hsv_to_rgb(rng.uniform(0.06, 0.12), 0.4, 1.0))
    grey = float(ground @ LUMA)
    darker = 0.55 * ground if grey > 0.2 else 0.5 * ground + 0.22
    lighter = ground + 0.45 * (1 - ground) if grey < 0.6 else 0.72 * ground
    brown = 0.55 * warm * rng.uniform(0.6, 0.8) + 0.3 * ground
    black = 0.25 * ground if grey > 0.2 else ground + 0.32
    return np.stack([ground, darker, lighter, brown, black])


@cache
def _geometry(pattern: str, variant: int) -> np.ndarray:
    """(_HEIGHT, _WIDTH) uint8 labels."""
    return _DRAWN[pattern](np.random.default_rng([variant, PATTERNS.index(pattern)]))


def _turned(rng: np.random.Generator, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates, mm, along two axes turned by `angle`, degrees, with a chance shift."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    a, b = rng.uniform(0, 50, 2)
    return c * _X + s * _Y + a, c * _Y - s * _X + b


def _checks(rng: np.random.Generator) -> np.ndarray:
    """Gingham or tartan, straight or on the bias: 1 one band, 3 two crossing, 2 a thin line."""
    x, y = _turned(rng, rng.choice([0, 0, 45]) + rng.uniform(-3, 3))
    pitch, share = rng.uniform(8, 24), rng.uniform(0.22, 0.29)
    across, along = (x / pitch) % 1 < share, (y / pitch) % 1 < share
    labels = (across.astype(np.uint8) + along).astype(np.uint8)
    labels[labels == 2] = 3
    if rng.random() < 0.4 and pitch > 12:
        middle = 0.5 + share / 2
        labels[(np.abs((x / pitch) % 1 - middle) * pitch < 0.5) | (np.abs((y / pitch) % 1 - middle) * pitch < 0.5)] = 2
    return labels


def _stripes(rng: np.random.Generator) -> np.ndarray:
    x, _ = _turned(rng, rng.choice([0, 0, 90, 90, 45, -45]) + rng.uniform(-4, 4))
    pitch, share = rng.uniform(5, 20), rng.uniform(0.22, 0.45)
    labels = ((x / pitch) % 1 < share).astype(np.uint8)
    if rng.random() < 0.4 and pitch > 10:
        labels[np.abs((x / pitch) % 1 - (1 + share) / 2) * pitch < 0.7] = 2
    return labels


def _dots(rng: np.random.Generator) -> np.ndarray:
    """Every second row shifted by half."""
    x, y = _turned(rng, rng.choice([0, 30, 45]) + rng.uniform(-4, 4))
    pitch, share = rng.uniform(6, 18), rng.uniform(0.22, 0.34)
    row = np.floor(y / pitch)
    dx, dy = (x / pitch + 0.5 * (row % 2)) % 1 - 0.5, (y / pitch) % 1 - 0.5
    labels = (dx * dx + dy * dy < share * share).astype(np.uint8)
    if rng.random() < 0.3:
        labels[(labels > 0) & (row % 2 > 0)] = 2
    return labels


def _floral(rng: np.random.Generator) -> np.ndarray:
    """Flowers (1, 2) with hearts (3) and pairs of leaves (4), strewn on a shaken grid."""
    labels = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    pitch, petals = rng.uniform(13, 30), int(rng.integers(4, 8))
    notch = rng.uniform(0.3, 0.5)
    for x, y, k in _strewn(pitch, rng):
        radius, turn = pitch * rng.uniform(0.24, 0.40), rng.uniform(0, 2 * np.pi)
        for side in (-1, 1):
            if rng.random() < 0.7:
                _fill(labels, _leaf() * radius, (x, y), turn + side, 4, ahead=1.15 * radius)
        t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        r = radius * (1 - notch + notch * np.abs(np.cos(petals * t / 2)))
        _fill(labels, np.column_stack([r * np.cos(t), r * np.sin(t)]), (x, y), turn, 1 + k % 2)
        _fill(labels, _round(0.26 * radius), (x, y), 0, 3)
        if rng.random() < 0.5:
            _fill(labels, _round(0.10 * pitch), (x + pitch / 2, y + 0.1 * pitch), 0, 2)
    return labels


def _camouflage(rng: np.random.Generator) -> np.ndarray:
    """Blobs of four tones over the ground, each a level of smooth noise."""
    labels = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    blob = rng.uniform(9, 22)  # mm
    cells = np.ceil(_SIZE / blob).astype(int) + 2
    for label, share in ((1, 0.30), (2, 0.26), (3, 0.22), (4, 0.13)):
        noise = np.zeros((_HEIGHT, _WIDTH), np.float64)
        for octave, weight in ((1, 1.0), (2, 0.45), (5, 0.14)):
            coarse = rng.standard_normal((cells[1] * octave, int(cells[0] * octave * 0.8)), np.float64)
            noise += weight * cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
        labels[noise > np.quantile(noise, 1 - share)] = label
    return labels


def _print(rng: np.random.Generator) -> np.ndarray:
    """One large motif in the middle, or several: a grin, paws, hearts, stars, glyphs, paisley drops."""
    labels = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    motif = (_grin, _paws, _hearts, _stars, _glyphs, _paisley)[int(rng.integers(6))]
    motif(labels, rng)
    return labels


def _grin(labels: np.ndarray, rng: np.random.Generator) -> None:
    """A toothed smile under the nose."""
    x0, y0 = _SIZE * (0.5, 0.46)
    half, sag, thick = rng.uniform(34, 48), rng.uniform(9, 18), rng.uniform(9, 14)
    t = (_X - x0) / half
    upper = y0 + sag * (1 - t**2) - sag / 2 - 0.5 * thick * (1 - t**2)
    lower = upper + thick * np.clip(1 - t**2, 0, 1)
    beyond = np.maximum(upper - _Y, _Y - lower)
    inside = (np.abs(t) < 1) & (beyond < 0)
    labels[(np.abs(t) < 1.06) & (beyond < 1.8)] = 1
    labels[inside] = 4
    teeth = rng.uniform(8, 12)
    middle = np.abs(_Y - (upper + lower) / 2) < 0.8
    labels[inside & ((np.abs((_X - x0) / teeth % 1 - 0.5) * teeth < 0.9) | middle)] = 1


def _paws(labels: np.ndarray, rng: np.random.Generator) -> None:
    for x, y, size in _places(rng, (17, 24)):
        turn = rng.uniform(-0.4, 0.4)
        t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        pad = np.column_stack([np.cos(t), 0.8 * np.sin(t) + 0.22 * np.cos(2 * t)]) * 0.52
        _fill(labels, np.add(pad, (0, 0.35)) * size, (x, y), turn, 1)
        for across, up in ((-0.72, -0.12), (-0.27, -0.55), (0.27, -0.55), (0.72, -0.12)):
            toe = np.column_stack([0.19 * np.cos(t) + across, 0.27 * np.sin(t) + up])
            _fill(labels, toe * size, (x, y), turn, 1)


def _hearts(labels: np.ndarray, rng: np.random.Generator) -> None:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    down = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    heart = np.column_stack([16 * np.sin(t) ** 3, -down]) / 16
    for x, y, size in _places(rng, (15, 22)):
        turn = rng.uniform(-0.25, 0.25)
        _fill(labels, heart * size, (x, y), turn, 1)
        _fill(labels, heart * size * 0.62, (x, y), turn, 2)


def _stars(labels: np.ndarray, rng: np.random.Generator) -> None:
    t = np.linspace(-np.pi / 2, 1.5 * np.pi, 10, endpoint=False)
    star = np.column_stack([np.cos(t), np.sin(t)]) * np.where(np.arange(10) % 2, 0.42, 1)[:, None]
    for x, y, size in _places(rng, (17, 26)):
        turn = rng.uniform(-0.3, 0.3)
        _fill(labels, star * size, (x, y), turn, 1)
        _fill(labels, star * size * 0.55, (x, y), turn, 2)


_GLYPHS = (  # strokes in a box of -1..1
    [[(-1, 1), (-1, -1), (1, 1), (1, -1)]],
    [[(-1, -1), (-1, 1)], [(1, -1), (1, 1)], [(-1, 0), (1, 0)]],
    [[(-1, -1), (1, 1)], [(1, -1), (-1, 1)]],
    [[(-1, 1), (0, -1), (1, 1)]],
    [[(1, -1), (-1, -1), (-1, 0), (1, 0), (1, 1), (-1, 1)]],
    [[(-1, -1), (1, -1)], [(0, -1), (0, 1)]],
    [[(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]],
    [[(-1, -1), (1, -1), (-1, 1), (1, 1)]],
    [[(1, -1), (-1, -1), (-1, 1), (1, 1)], [(-1, 0), (0.6, 0)]],
    [[(0, -1), (1, 0), (0, 1), (-1, 0), (0, -1)]],
)


def _glyphs(labels: np.ndarray, rng: np.random.Generator) -> None:
    """A word of broad strokes across the front."""
    letters = rng.integers(0, len(_GLYPHS), rng.integers(3, 6))
    width, tall, thick = 34 / len(letters), rng.uniform(9, 15), rng.uniform(1.6, 2.6)
    for k, letter in enumerate(letters):
        centre = (_SIZE[0] / 2 + (k - (len(letters) - 1) / 2) * 2.9 * width, 0.5 * _SIZE[1])
        for stroke in _GLYPHS[letter]:
            points = np.array(stroke) * (width, tall)
            for a, b in pairwise(points):
                along = (b - a) / max(float(np.hypot(*(b - a))), 1e-6) * thick
                across = along[::-1] * (-1, 1)
                bar = np.stack([a - along + across, b + along + across, b + along - across, a - along - across])
                _fill(labels, bar, centre, 0, 1)


def _paisley(labels: np.ndarray, rng: np.random.Generator) -> None:
    """Drops with a bent tip, ringed and dotted, as on a kerchief."""
    pitch = rng.uniform(24, 34)
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    taper = (1 - np.cos(t)) / 2  # 0 at the tip
    drop = np.column_stack([0.5 * np.sin(t) * taper**0.8, 2 * taper - 1])
    drop[:, 0] += 0.45 * (1 - taper) ** 2
    for x, y, _ in _strewn(pitch, rng):
        turn, size = rng.uniform(0, 2 * np.pi), 0.40 * pitch
        for scale, label in ((1.0, 1), (0.82, 0), (0.64, 3), (0.40, 1), (0.2, 2)):
            _fill(labels, np.add(drop * scale, (0, 0.18 * (1 - scale))) * size, (x, y), turn, label)
        for angle in np.linspace(0, 2 * np.pi, 10, endpoint=False):
            ring = np.array([np.cos(angle) * 0.66, 0.15 + np.sin(angle) * 1.05]) * size
            _fill(labels, _round(0.6) + ring, (x, y), turn, 1)


def _places(rng: np.random.Generator, sizes: tuple[float, float]) -> list[tuple[float, float, float]]:
    """Centres and size, mm: one in the middle and one on each cheek, or a big one alone."""
    x, y = _SIZE * (0.5, 0.5)
    size = rng.uniform(*sizes)
    if rng.random() < 0.4:
        return [(x + rng.uniform(-12, 12), y, 1.25 * size)]
    return [(x, y, size), *((x + s * rng.uniform(48, 56), y + rng.uniform(-16, 14), 0.65 * size) for s in (-1, 1))]


def _strewn(pitch: float, rng: np.random.Generator) -> list[tuple[float, float, int]]:
    """Places, mm, on a hexagonal grid shaken a little, and their running number."""
    places: list[tuple[float, float, int]] = []
    for row, y in enumerate(np.arange(0, _SIZE[1] + pitch, 0.87 * pitch)):
        for x in np.arange(-0.5 * pitch * (row % 2), _SIZE[0] + pitch, pitch):
            dx, dy = rng.uniform(-0.12, 0.12, 2) * pitch
            places.append((float(x + dx), float(y + dy), len(places)))
    return places


def _leaf() -> np.ndarray:
    t = np.linspace(0, np.pi, 16)
    edge = np.column_stack([-np.cos(t), 0.34 * np.sin(t)])
    return np.concatenate([edge, edge[::-1] * (1, -1)]) * 0.5


def _round(radius: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.column_stack([np.cos(t), np.sin(t)]) * radius


def _fill(
    labels: np.ndarray, outline: np.ndarray, at: tuple[float, float], turn: float, label: int, *, ahead: float = 0
) -> None:
    """Fill an (n, 2) mm outline, pushed `ahead` along x, turned by `turn` radians and moved to `at`."""
    c, s = np.cos(turn), np.sin(turn)
    points = np.add(outline, (ahead, 0)) @ np.array([[c, s], [-s, c]]) + at
    cv2.fillPoly(labels, [np.rint(points / _STEP * 16).astype(np.int32)], label, shift=4)


_DRAWN: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "checks": _checks,
    "stripes": _stripes,
    "dots": _dots,
    "floral": _floral,
    "camouflage": _camouflage,
    "print": _print,
}
