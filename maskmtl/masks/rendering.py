"""From a mask's surface and cloth to pixels in the photograph."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Rendering:
    """A photo with a mask in it.

    Attributes:
        picture: (H, H, 3) uint8.
        low: (x, y) of the window in which anything was drawn.
        panel: (height, width) float32, the panel's share of each pixel in the window.
        trim: the same for straps and contact shadow; 1 - panel - trim is left of the photo.
    """

    picture: np.ndarray
    low: np.ndarray
    panel: np.ndarray
    trim: np.ndarray

    def shares(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(H, H) float32 of panel and trim over the whole photo `image`, 0 where its pixel stayed as it was."""
        window = _window(self.low, self.panel.shape)
        changed = (self.picture[window] != image[window]).any(axis=-1) | (self.panel > 0.5)
        alpha, trim = np.zeros(image.shape[:2], np.float32), np.zeros(image.shape[:2], np.float32)
        alpha[window], trim[window] = self.panel * changed, self.trim * changed
        return alpha, trim


def render(image: np.ndarray, frame: Frame, look: Look, spec: MaskSpec, rng: np.random.Generator) -> Rendering:
    """Draw a mask into the photo.

    Args:
        image: (H, H, 3) uint8.
        spec: without None.
    """
    side = len(image)
    picture = image.copy()
    kind = KINDS[spec.kind]
    net, ends = dress(frame, spec, lift=float(np.rint(rng.uniform(-0.04, 0.04) * 1024) / 1024))
    surface = Surface(net)
    band = BANDS[kind.straps]
    paths = strap_paths(kind.straps, surface, ends, frame)
    blur, reach = max(look.blur, 0.5), 0.014 * side
    drawn = np.concatenate([surface.grid[..., :2].reshape(-1, 2), *paths])
    margin = 3 * blur + 3 * reach + 2
    low = np.minimum(np.maximum(np.floor(drawn.min(axis=0) - margin), 0), side).astype(int)
    high = np.minimum(np.maximum(np.ceil(drawn.max(axis=0) + margin), low), side).astype(int)
    cloth = texture(spec, tall=surface.extent[0], saturation=look.saturation, rng=rng)
    offset = rng.integers(0, _GRAIN_SIDE // 2, 2)
    part = image[low[1] : high[1], low[0] : high[0]]
    shape = part.shape[:2]
    if part.size == 0 or not surface.facing.any():
        return Rendering(picture, low, np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    covered = surface.coverage(low, shape)
    panel = cv2.GaussianBlur(covered, (0, 0), blur)
    panel[panel < 3] = 0
    cords = _cords([path - low for path in paths], shape, width=max(band.width * side, 0.5), blur=blur)
    shadow = cv2.GaussianBlur(cv2.max(panel, cords // 2), (0, 0), reach)
    fall = int(np.rint(0.35 * reach))
    shadow[fall:] = shadow[: shape[0] - fall].copy()
    shadow = np.clip(shadow.astype(np.float32) * np.float32(0.5625) - 10, 0, None) * np.float32(1 / 256)
    shadow[shadow < _FAINT / 256] = 0

    lit = _lit(cloth, surface, look, kind.gloss)
    x, y = surface.coordinates(low, covered, cloth.shape[:2])
    colour = cv2.remap(lit, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colour = cv2.multiply(colour, cv2.merge([covered] * 3), scale=1 / 255)
    colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), blur), np.float32)  # times the panel's share
    a = panel * np.float32(1 / 255)
    if look.noise > 0.3:
        rows, columns = (np.arange(start, start + length) for start, length in zip(offset, shape, strict=True))
        grain = _grain().take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
        colour = colour + (grain * np.float32(look.noise / 16) * a)[..., None]

    colour = np.clip(colour, 0, (_WHITEST * a)[..., None])
    c = cords * np.float32(1 / 255)
    taken = (1 - a) * (1 - (1 - c) * (1 - shadow))
    bare = 1 - a - taken
    dark = (np.array(spec.rgb) * LUMA).sum() < 0.3
    strap = np.rint(np.array(band.dark if dark else band.colour) * (255 * look.gain)).astype(np.float32)
    mixed = bare[..., None] * part + (c * (1 - a))[..., None] * strap + colour
    picture[_window(low, shape)] = np.rint(mixed)
    return Rendering(picture, low, a, taken)


def _window(low: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    return slice(low[1], low[1] + shape[0]), slice(low[0], low[0] + shape[1])


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
