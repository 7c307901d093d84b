"""From a mask's surface and texture to pixels in the photograph."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from maskmtl.masks.light import LUMA, Look
from maskmtl.masks.surface import Surface


@dataclass(frozen=True)
class Overlay:
    """A masked face.

    Attributes:
        image: (H, W, 3) uint8; a pixel with alpha 0 is the photo's own.
        alpha: (H, W) float32 in 0..1, what hides the face: panel, ear loops and the panel's narrow contact shadow.
        kind: the mask's name in MASKS.
        colour: the colour's name.
    """

    image: np.ndarray
    alpha: np.ndarray
    kind: str
    colour: str


def texels(surface: Surface, side: int) -> tuple[int, int]:
    """How many texels (v, u) a texture needs, so that every pixel gets at least one."""
    grid = surface.grid[..., :2]
    tall = np.linalg.norm(np.diff(grid, axis=0), axis=-1).sum(axis=0).max()
    wide = np.linalg.norm(np.diff(grid, axis=1), axis=-1).sum(axis=1).max()
    rows, columns = (int(np.clip(16 * np.ceil(1.3 * length / 16), 48, 3 * side + 48)) for length in (tall, wide))
    return rows, columns


def render(
    image: np.ndarray,
    look: Look,
    surface: Surface,
    texture: np.ndarray,
    loops: Sequence[np.ndarray],
    *,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a panel and its ear loops into the photo.

    Args:
        image: (H, H, 3) uint8.
        texture: (v, u, 3) float32, reflectance in 0..1 (see `texels` for its size).
        loops: polylines, each (n, 2) px.

    Returns:
        The (H, H, 3) uint8 picture and the (H, H) float32 alpha.
    """
    side = image.shape[0]
    blur, reach = max(look.blur, 0.5), 0.014 * side
    drawn = np.concatenate([surface.grid[..., :2].reshape(-1, 2), *loops])
    margin = 4 * blur + 4 * reach + 2
    low = np.clip(np.floor(drawn.min(axis=0) - margin), 0, side).astype(int)
    high = np.clip(np.ceil(drawn.max(axis=0) + margin), low, side).astype(int)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    picture, alpha = image.copy(), np.zeros((side, side), np.float32)
    part = image[window]
    if part.size == 0:
        return picture, alpha
    shape = part.shape[:2]
    here = Surface(surface.net - [*low, 0])

    panel = np.minimum(cv2.GaussianBlur(here.coverage(shape), (0, 0), blur), 1)
    panel[panel < 0.01] = 0
    cords = _cords([loop - low for loop in loops], shape, width=max(0.009 * side, 0.5), blur=blur)
    drop = np.array([[1, 0, 0], [0, 1, 0.35 * reach]])
    shadow = cv2.warpAffine(cv2.GaussianBlur(np.maximum(panel, 0.4 * cords), (0, 0), reach), drop, shape[::-1])
    shadow = np.clip(0.55 * shadow - 0.04, 0, None)

    gain = look.gain.astype(np.float32)
    colour = here.project(_lit(texture, here, look), shape, blur=blur)
    if look.noise > 0.3:
        grain = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 0.6) * (2 * look.noise)
        colour += grain[..., None]
    bare = (1 - panel) * (1 - cords) * (1 - shadow)
    mixed = bare[..., None] * part + (cords * (1 - panel))[..., None] * (215 * gain) + panel[..., None] * colour
    alpha[window] = 1 - bare
    picture[window] = np.where(bare[..., None] < 1, np.rint(np.clip(mixed, 0, 255)).astype(np.uint8), part)
    return picture, alpha


def _lit(texture: np.ndarray, surface: Surface, look: Look) -> np.ndarray:
    """Reflectance -> grey levels under the photo's light, with a soft shoulder so that cloth never burns out."""
    rows, columns = texture.shape[:2]
    shade = cv2.resize(look.shade(surface.normals).astype(np.float32), (columns, rows))
    if look.saturation < 1:
        grey = (texture @ LUMA)[..., None]
        texture = grey + np.float32(look.saturation) * (texture - grey)
    lit = np.clip(texture * shade[..., None] * look.gain.astype(np.float32), 0, 1.4)
    return 242 * lit * (1.5 - 0.5 * lit)


def _cords(loops: Sequence[np.ndarray], shape: tuple[int, int], *, width: float, blur: float) -> np.ndarray:
    """(height, width) float32 alpha of polylines `width` px thick."""
    canvas = np.zeros((shape[0] * 2, shape[1] * 2), np.uint8)
    paths = [np.rint((loop + 0.5) * 16 - 4).astype(np.int32) for loop in loops]
    cv2.polylines(canvas, paths, False, 255, max(1, round(2 * width)), cv2.LINE_AA, shift=3)
    alpha = cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    soft = 0.9 * cv2.GaussianBlur(alpha, (0, 0), blur)
    return np.where(soft < 0.02, np.float32(0), soft)
