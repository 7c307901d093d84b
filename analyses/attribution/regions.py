"""Which part of a face a map points at: regions from landmarks, and a map's energy in each."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import pandas as pd
import torch

from analyses.attribution.result import Attribution
from maskmtl.masks import Overlay, mask_seed, overlay
from maskmtl.masks.landmarks import POINTS

REGIONS = ("mask", "eyes", "forehead", "nose", "mouth_chin", "cheeks", "hair_background")
COLUMNS = ("face_id", "mask", "task", "method", "region", "positive", "negative", "share", "area", "lift")
SAMPLES, ACROSS = 3, 600  # at least so many samples along the side of a pixel, and of the picture

# A region is the convex hull of some landmarks of MediaPipe's face mesh, less the regions that follow it. Of a turned
# face a hull follows the contour, where the mesh's own outlines fold inwards. Indices of the person's right, the middle
# and the left.
_HULLS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("cheeks", tuple(range(POINTS))),
    (
        "forehead",
        (
            *(109, 67, 103, 54, 21, 162, 156, 70, 63, 105, 66, 107, 55, 193),
            *(10, 151, 9, 8, 168),
            *(338, 297, 332, 284, 251, 389, 383, 300, 293, 334, 296, 336, 285, 417),
        ),
    ),
    (
        "mouth_chin",
        (
            *(97, 98, 206, 216, 212, 210, 169, 150, 149, 176, 148, 61, 32),
            *(2, 164, 0, 17, 200, 199, 152),
            *(326, 327, 426, 436, 432, 430, 394, 379, 378, 400, 377, 291, 262),
        ),
    ),
    ("eyes", (70, 63, 105, 66, 107, 55, 193, 245, 244, 233, 232, 231, 230, 229, 228, 31, 35, 156)),
    ("eyes", (300, 293, 334, 296, 336, 285, 417, 465, 464, 453, 452, 451, 450, 449, 448, 261, 265, 383)),
    (
        "nose",
        (
            *(193, 245, 188, 217, 209, 115, 48, 129, 64, 98, 97),
            *(168, 6, 195, 5, 4, 1, 2),
            *(417, 465, 412, 437, 429, 344, 278, 358, 294, 327, 326),
        ),
    ),
)


def face_regions(points: np.ndarray, side: int, alpha: np.ndarray | None = None) -> np.ndarray:
    """How much of each pixel each of REGIONS takes, (R, side, side) float32 in 0..1; they sum to 1 in every pixel.

    A partition of an aligned face: the mask first, by its own alpha; of what it leaves, the eyes with the brows, the
    nose, the mouth and chin between the folds at their sides, the forehead from the brows to the mesh's upper edge,
    which often lies below the hairline, the rest of the face as cheeks, and all around it, with ears, neck and a mask's
    straps there. Glasses and beards count to the skin that they cover.

    Args:
        points: (468, >=2), x and y as fractions of the side; they may lie outside the picture.
        side: of the result, px.
        alpha: (side, side) in 0..1, what a mask hides of each pixel, as `Overlay.alpha`; None for a bare face.

    Raises:
        ValueError: for any other points, side or alpha.
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or len(points) != POINTS or points.shape[1] < 2:
        raise ValueError(f"points should be ({POINTS}, 2 or 3), one face's landmarks, got {points.shape}")
    if not np.isfinite(points[:, :2]).all():
        raise ValueError("points should be finite, got NaN or infinity")
    if side < 1:
        raise ValueError(f"side should be at least 1 px, got {side}")
    samples = max(SAMPLES, -(-ACROSS // side))  # along a pixel's side
    fine = samples * side
    region = np.full((fine, fine), REGIONS.index("hair_background"))
    for name, landmarks in _HULLS:
        hull = cv2.convexHull(points[list(landmarks), :2].astype(np.float32))[:, 0]
        region[_inside(hull.astype(float) * fine, fine)] = REGIONS.index(name)
    row = np.arange(fine) // samples
    pixel = side * row[:, None] + row
    counts = np.bincount((len(REGIONS) * pixel + region).ravel(), minlength=len(REGIONS) * side * side)
    shares = counts.reshape(side, side, len(REGIONS)).transpose(2, 0, 1) / samples**2
    return (shares if alpha is None else _hidden(shares, alpha)).astype(np.float32)


def _hidden(shares: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """A bare face's shares (R, side, side) with a mask on."""
    alpha, side = np.asarray(alpha, dtype=float), shares.shape[-1]
    if alpha.shape != (side, side) or not ((alpha >= 0) & (alpha <= 1)).all():
        got = f"{alpha.min()}..{alpha.max()}" if alpha.shape == (side, side) else alpha.shape
        raise ValueError(f"alpha should be ({side}, {side}) in 0..1, got {got}: make regions at its own size")
    shares = shares * (1 - alpha)
    shares[REGIONS.index("mask")] = alpha
    return shares


def worn_with_regions(
    image: np.ndarray, points: np.ndarray, face_id: str, masks: Sequence[str], *, seed: int, side: int
) -> list[tuple[np.ndarray, np.ndarray, Overlay | None]]:
    """For each mask a face (H, H, 3) uint8 that wears it, as `wear` draws it, its regions (R, side, side) float32 as of
    `face_regions`, and what was drawn.

    For 'none' the face as it is, and nothing drawn. ValueError as of `overlay` and `face_regions`.
    """
    bare = face_regions(points, side)
    found: list[tuple[np.ndarray, np.ndarray, Overlay | None]] = []
    for mask in masks:
        if mask == "none":
            found.append((image, bare, None))
        else:
            drawn = overlay(image, points, mask=mask, seed=mask_seed(seed, face_id, mask))
            alpha = on_grid(drawn.alpha, (side, side)).clip(0, 1)
            found.append((drawn.image, _hidden(bare, alpha).astype(np.float32), drawn))
    return found


def _inside(hull: np.ndarray, side: int) -> np.ndarray:
    """Corners (K, 2) of a convex shape, px -> (side, side) bool, the pixels whose centres it holds."""
    centre = np.arange(side) + 0.5
    (x0, y0), (x1, y1) = hull.T[..., None], np.roll(hull, -1, axis=0).T[..., None]
    crosses = (np.minimum(y0, y1) <= centre) & (centre < np.maximum(y0, y1))  # edges x rows
    x = x0 + np.divide(centre - y0, y1 - y0, out=np.zeros(crosses.shape), where=crosses) * (x1 - x0)
    left, right = np.where(crosses, x, np.inf).min(axis=0), np.where(crosses, x, -np.inf).max(axis=0)
    return (left[:, None] <= centre) & (centre < right[:, None])


def on_grid(regions: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Area averages on another grid over the same picture: (..., H, W) -> (..., h, w) float32, finer or coarser.

    Shares that sum to 1 in every pixel still do in every cell.
    """
    if regions.ndim < 2 or 0 in regions.shape[-2:] or len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"regions should be (..., H, W) and shape (h, w), at least 1, got {regions.shape} and {shape}")
    down, across = (torch.from_numpy(_averages(*sizes)) for sizes in zip(regions.shape[-2:], shape, strict=True))
    # by torch: the threads of NumPy's product would go on spinning, and slow down the network's next pass fourfold
    return (down @ torch.as_tensor(regions, dtype=torch.float64) @ across.T).float().numpy()


@lru_cache(maxsize=32)
def _averages(size: int, cells: int) -> np.ndarray:
    """(cells, size): the share that each pixel of a line has in each cell of equal width; rows sum to 1."""
    edges, start = np.arange(cells + 1) / cells * size, np.arange(size)
    overlap = np.minimum(edges[1:, None], start + 1) - np.maximum(edges[:-1, None], start)
    return overlap.clip(0) * (cells / size)


def region_energy(
    values: np.ndarray,
    regions: np.ndarray,
    face_id: Sequence[str],
    *,
    mask: str | Sequence[str],
    task: str | Sequence[str],
    method: str | Sequence[str],
) -> pd.DataFrame:
    """How much of each map lies in each region, tidy: one row per map and region, with COLUMNS.

    positive, negative: sums of the map's positive and negative part over the region, both >= 0, in the map's unit; over
        regions, positive - negative adds up to the map's sum.
    share: of the map's positive energy, 0..1; NaN in every region of a map that has none: it points nowhere.
    area: the region's share of the picture, 0..1.
    lift: share / area: 1 is what a map without preference gives; NaN for a region that the picture does not show. The
        smaller the area, the less a lift says.

    Args:
        values: (B, h, w) signed raw maps.
        regions: (B, R, h, w), each face's own `face_regions` `on_grid` of the maps.
        face_id: B ids.
        mask, task, method: one text for all maps, or B; mask is 'none' for bare faces.

    Raises:
        ValueError: for shapes that do not fit, values that are not finite, regions that do not sum to 1.
    """
    values, regions = np.asarray(values), np.asarray(regions)
    n = len(values)
    if values.ndim != 3 or regions.shape != (n, len(REGIONS), *values.shape[1:]):
        raise ValueError(
            f"values and regions should be (B, h, w) and (B, {len(REGIONS)}, h, w), "
            f"got {values.shape} and {regions.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("values should be finite, got NaN or infinity")
    if not np.allclose(regions.sum(axis=1), 1, rtol=0, atol=1e-5):
        raise ValueError("regions should sum to 1 in every cell, as face_regions and on_grid make them")

    def inside(energy: np.ndarray) -> np.ndarray:
        return np.einsum("bhw,brhw->br", energy, regions, dtype=float)

    positive, negative = inside(np.maximum(values, 0)), inside(np.maximum(-values, 0))
    area = regions.mean(axis=(2, 3), dtype=float)
    total = positive.sum(axis=1, keepdims=True)
    share = np.divide(positive, total, out=np.full_like(positive, np.nan), where=total > 0)
    lift = np.divide(share, area, out=np.full_like(share, np.nan), where=area > 0)

    labels = {"face_id": face_id, "mask": mask, "task": task, "method": method}
    measures = {"positive": positive, "negative": negative, "share": share, "area": area, "lift": lift}
    return pd.DataFrame(
        {
            **{name: np.repeat(_per_map(name, given, n), len(REGIONS)) for name, given in labels.items()},
            "region": np.tile(np.array(REGIONS, object), n),
            **{name: found.ravel() for name, found in measures.items()},
        }
    )


def map_energy(
    attribution: Attribution, regions: np.ndarray, face_id: Sequence[str], mask: str | Sequence[str]
) -> pd.DataFrame:
    """`region_energy` of all maps of an attribution; `regions` (B, R, H, W) of any grid, as `face_regions`."""
    grids = {values.shape[1:] for values in attribution.values.values()}
    on = {grid: on_grid(regions, grid) for grid in grids}
    tables = [
        region_energy(values, on[values.shape[1:]], face_id, mask=mask, task=task, method=attribution.method)
        for task, values in attribution.values.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _per_map(name: str, given: str | Sequence[str], n: int) -> np.ndarray:
    found = np.asarray(given, dtype=object)
    if found.shape not in ((), (n,)) or (name == "face_id" and found.shape == ()):
        raise ValueError(f"{name} should be one for each of {n} maps, got {found.shape}")
    return np.broadcast_to(found, n)
