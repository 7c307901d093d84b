"""A second renderer, made to differ from maskmtl.masks: flat templates laid over six points by a homography.

After the algorithm that MaskTheFace (Anwar and Raychowdhury 2020, arXiv 2008.11104) describes, with templates drawn
here: no 3-D surface, light, noise, blur or shadow, only a gain of brightness.
"""

import cv2
import numpy as np

from tests.maskmtl.mask_measures import BRIDGE, JAW

KINDS = ("surgical", "cloth", "n95")
WIDTH, HEIGHT = 320, 240  # px of a template
EYES, TIP, LOWER_LIP, CHIN = (33, 133, 362, 263), 4, 17, 152
# left upper, nose bridge, right upper, right lower, chin, left lower, on the template
SIX = np.array([[40, 70], [160, 20], [280, 70], [258, 165], [160, 222], [62, 165]], np.float32)
_COLOURS = {
    "surgical": [(70, 150, 215), (235, 240, 245), (95, 185, 165)],
    "cloth": [(25, 25, 28), (150, 30, 40), (40, 60, 130), (90, 90, 60), (200, 170, 140)],
    "n95": [(240, 240, 238), (225, 222, 205)],
}
_SHAPES = {  # the left half of an outline, from the nose bridge down
    "surgical": [(160, 14), (100, 44), (34, 62), (56, 172), (105, 215), (160, 230)],
    "cloth": [(160, 10), (135, 22), (90, 58), (28, 74), (50, 165), (115, 222), (160, 234)],
    "n95": [(160, 16), (120, 46), (66, 92), (60, 140), (92, 198), (160, 228)],
}
_STRAPS = {"surgical": (2, 3), "cloth": (3, 4), "n95": (2, 4)}  # corners of the outline from which straps go
_STRAP_ENDS = ((6, 40), (18, 190))


def six_points(points: np.ndarray) -> np.ndarray:
    """(6, 2): where a face of (468, 3) landmarks has SIX; the jaw line is cut at two heights."""
    eyes = points[list(EYES), :2]
    bridge, jaw = points[list(BRIDGE), :2].mean(axis=0), points[list(JAW), :2]
    along = eyes[2:].mean(axis=0) - eyes[:2].mean(axis=0)
    upper = (bridge + points[TIP, :2]) / 2
    left, right = _on_jaw(jaw, upper, along)
    low_left, low_right = _on_jaw(jaw, points[LOWER_LIP, :2], along)
    return np.stack([left, bridge, right, low_right, points[CHIN, :2], low_left]).astype(np.float32)


def flat_overlay(image: np.ndarray, points: np.ndarray, *, mask: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The (H, H, 3) uint8 photo with a flat mask, and its (H, H) float32 alpha. mask: one of KINDS."""
    rng = np.random.default_rng(seed)
    template, cover = _template(mask, rng)
    side = len(image)
    homography, _ = cv2.findHomography(SIX, six_points(points) * side - 0.5)
    if homography is None:
        return image.copy(), np.zeros((side, side), np.float32)
    colour = cv2.warpPerspective(template, homography, (side, side), borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpPerspective(cover, homography, (side, side))[..., None] / np.float32(255)
    inside = alpha[..., 0] > 0.5
    if inside.any():
        gain = 1 + (float(image.max(axis=-1).mean()) - float(colour[inside].max(axis=-1).mean())) / 255
        colour = np.clip(colour * gain, 0, 255)
    mixed = (1 - alpha) * image + alpha * colour
    return np.rint(mixed).astype(np.uint8), alpha[..., 0]


def _on_jaw(jaw: np.ndarray, at: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the line through `at` crosses the jaw line first and last; the jaw's ends where it misses it."""
    across = np.array([-along[1], along[0]])
    height = (jaw - at) @ across
    cuts = np.flatnonzero(height[:-1] * height[1:] < 0)
    if len(cuts) < 2:
        return jaw[0], jaw[-1]
    found = []
    for i in (cuts[0], cuts[-1]):
        share = height[i] / (height[i] - height[i + 1])
        found.append(jaw[i] + share * (jaw[i + 1] - jaw[i]))
    return found[0], found[1]


def _template(mask: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(HEIGHT, WIDTH, 3) and (HEIGHT, WIDTH) uint8: colour and cover."""
    if mask not in KINDS:
        raise ValueError(f"mask should be one of {list(KINDS)}, got {mask!r}")
    base = np.array(_COLOURS[mask][rng.integers(len(_COLOURS[mask]))])
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = np.clip(base + rng.integers(-12, 13, 3), 0, 255)
    dark = tuple(int(c * 0.7) for c in base)
    half = np.array(_SHAPES[mask], np.int32)
    outline = np.concatenate([half, (WIDTH - half[::-1, 0:1]) * [1, 0] + half[::-1] * [0, 1]]).astype(np.int32)
    cover = np.zeros((HEIGHT, WIDTH), np.uint8)
    for corner, (x, y) in zip(_STRAPS[mask], _STRAP_ENDS, strict=True):
        u, v = half[corner].tolist()
        cv2.line(cover, (u, v), (x, y), 255, 4, cv2.LINE_AA)
        cv2.line(cover, (WIDTH - u, v), (WIDTH - x, y), 255, 4, cv2.LINE_AA)
    cv2.fillPoly(cover, [outline], 255, cv2.LINE_AA)
    if mask == "surgical":
        for y in (85, 120, 155):
            cv2.polylines(picture, [np.array([(30, y), (160, y + 12), (290, y)])], False, dark, 3, cv2.LINE_AA)
    elif mask == "cloth":
        cv2.line(picture, (160, 0), (160, HEIGHT), dark, 2, cv2.LINE_AA)
        cv2.polylines(picture, [outline], True, dark, 6, cv2.LINE_AA)
    else:
        cv2.ellipse(picture, (160, 135), (80, 75), 0, 0, 360, dark, 2, cv2.LINE_AA)
        cv2.polylines(picture, [np.array([(120, 60), (160, 34), (200, 60)])], False, (150, 150, 155), 6, cv2.LINE_AA)
    return picture, cover
