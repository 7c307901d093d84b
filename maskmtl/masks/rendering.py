"""From a mask's surface and cloth to pixels in the photograph."""

from functools import lru_cache

import cv2
import numpy as np

from maskmtl.masks.kinds import KINDS
from maskmtl.masks.light import LUMA, Look
from maskmtl.masks.spec import MaskSpec
from maskmtl.masks.straps import BANDS, strap_paths
from maskmtl.masks.surface import Frame, Surface
from maskmtl.masks.texture import texture
from maskmtl.masks.wear import dress

_HEADROOM = 160  # cloth * shade / 160: 255 stands for a reflectance of 1.25
_WHITEST = 235  # grey levels: cloth never burns out
_FAINT = 6  # of 255, below which a strap or a shadow is left out


def render(
    image: np.ndarray, frame: Frame, look: Look, spec: MaskSpec, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a mask into the photo.

    Args:
        image: (H, H, 3) uint8.
        spec: without None.

    Returns:
        The (H, H, 3) uint8 picture, and (H, H) float32: alpha, the panel's share of each pixel, and trim, the share
        that straps and contact shadow take; 1 - alpha - trim is left of the photo.
    """
    side = len(image)
    picture = image.copy()
    alpha, trim = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    kind = KINDS[spec.kind]
    net, ends = dress(frame, spec, lift=float(np.rint(rng.uniform(-0.04, 0.04) * 1024) / 1024))
    surface = Surface(net)
    band = BANDS[kind.straps]
    paths = strap_paths(kind.straps, surface, ends, frame)
    blur, reach = max(look.blur, 0.5), 0.014 * side
    drawn = np.concatenate([surface.grid[..., :2].reshape(-1, 2), *paths])
    margin = 3 * blur + 3 * reach + 2
    low = np.clip(np.floor(drawn.min(axis=0) - margin), 0, side).astype(int)
    high = np.clip(np.ceil(drawn.max(axis=0) + margin), low, side).astype(int)
    cloth = texture(spec, tall=surface.extent[0], saturation=look.saturation, rng=rng)
    offset = rng.integers(0, _GRAIN_SIDE // 2, 2)
    part = image[low[1] : high[1], low[0] : high[0]]
    if part.size == 0 or not surface.facing.any():
        return picture, alpha, trim
    shape = part.shape[:2]

    panel = cv2.GaussianBlur(surface.coverage(low, shape), (0, 0), blur)
    panel[panel < 3] = 0
    cords = _cords([path - low for path in paths], shape, width=max(band.width * side, 0.5), blur=blur)
    shadow = cv2.GaussianBlur(cv2.max(panel, cords // 2), (0, 0), reach)
    fall = int(np.rint(0.35 * reach))
    shadow[fall:] = shadow[: shape[0] - fall].copy()
    shadow = np.clip(shadow.astype(np.float32) * np.float32(0.5625) - 10, 0, None) * np.float32(1 / 256)
    shadow[shadow < _FAINT / 256] = 0

    lit = _lit(cloth, surface, look, kind.gloss)
    x, y = surface.coordinates(low, shape, cloth.shape[:2])
    colour = cv2.remap(lit, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), blur), np.float32)
    if look.noise > 0.3:
        grain = _grain()[offset[0] :, offset[1] :]
        grain = np.tile(grain, (shape[0] // len(grain) + 1, shape[1] // grain.shape[1] + 1))[: shape[0], : shape[1]]
        colour = colour + (grain * np.float32(look.noise / 16))[..., None]

    colour = np.clip(colour, 0, _WHITEST)
    a = panel * np.float32(1 / 255)
    c = cords * np.float32(1 / 255)
    taken = (1 - a) * (1 - (1 - c) * (1 - shadow))
    bare = 1 - a - taken
    dark = (np.array(spec.rgb) * LUMA).sum() < 0.3
    strap = np.rint(255 * np.array(band.dark if dark else band.colour) * look.gain).astype(np.float32)
    mixed = bare[..., None] * part + (c * (1 - a))[..., None] * strap + a[..., None] * colour
    mixed = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
    touched = (a + taken > 0) & ((mixed != part).any(axis=-1) | (a > 0.5))
    picture[low[1] : high[1], low[0] : high[0]] = np.where(touched[..., None], mixed, part)
    alpha[low[1] : high[1], low[0] : high[0]] = np.where(touched, a, 0)
    trim[low[1] : high[1], low[0] : high[0]] = np.where(touched, taken, 0)
    return picture, alpha, trim


def _lit(cloth: np.ndarray, surface: Surface, look: Look, gloss: float) -> np.ndarray:
    """Reflectance -> grey levels under the photo's light, with a soft shoulder so that cloth never burns out."""
    rows, columns = cloth.shape[:2]
    shade = np.rint(look.shade(surface.normals) * 128).astype(np.uint8)
    shade = cv2.resize(shade, (columns, rows), interpolation=cv2.INTER_LINEAR_EXACT)
    values = np.arange(256)[:, None] * (look.gain * _HEADROOM / 128 / 255)
    tone = np.clip(values, 0, 1.4)
    tone = np.clip(np.rint(242 * tone * (1.5 - 0.5 * tone)), 0, 255).astype(np.uint8)
    lit = cv2.LUT(cv2.multiply(cloth, cv2.merge([shade] * 3), scale=1 / _HEADROOM), tone[None])
    if gloss:
        x, y, z = np.moveaxis(surface.normals, -1, 0)
        towards = np.clip(-0.85 * z - 0.45 * y + 0.3 * np.sign(look.light[1]) * x, 0, 1)
        for _ in range(4):
            towards = towards * towards
        glint = np.rint(110 * gloss * float(look.gain.mean()) * towards).astype(np.uint8)
        lit = cv2.add(lit, cv2.merge([cv2.resize(glint, (columns, rows), interpolation=cv2.INTER_LINEAR_EXACT)] * 3))
    return lit


_GRAIN_SIDE = 512


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """(512, 512) float32 whole numbers, deviation 16: film grain, a little smoothed."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).standard_normal((_GRAIN_SIDE, _GRAIN_SIDE)), (0, 0), 0.6)
    return np.rint(noise * (16 / noise.std())).astype(np.float32)


def _cords(paths: list[np.ndarray], shape: tuple[int, int], *, width: float, blur: float) -> np.ndarray:
    """(height, width) uint8 share of polylines `width` px thick."""
    canvas = np.zeros((shape[0] * 2, shape[1] * 2), np.uint8)
    lines = [np.rint((path + 0.5) * 16 - 4).astype(np.int32) for path in paths]
    if not lines:
        return np.zeros(shape, np.uint8)
    cv2.polylines(canvas, lines, False, 230, max(1, round(2 * width)), cv2.LINE_AA, shift=3)
    soft = cv2.GaussianBlur(cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA), (0, 0), blur)
    soft[soft < _FAINT] = 0
    return soft
