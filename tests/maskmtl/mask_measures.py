"""Measures of a drawn mask: what of the face it covers, its outline, and whether its record tells the truth.

Regions are polygons of the mesh, cut at the picture's edge. A pixel is covered where alpha > 0.5.
"""

import cv2
import numpy as np

from maskmtl.masks import Overlay
from maskmtl.masks.surface import Frame

# the mesh's counterparts of dlib's jaw points 1..15 (from the picture's left) and nose bridge points 27..30
JAW = (234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454)
BRIDGE = (168, 197, 195, 4)
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
NOSE_TIP = (5, 275, 1, 45)
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
NEAR_WHITE = 235  # the least of a pixel's three channels is above it
NEAR = 7  # px, how far a boundary pixel looks for the panel's own interior

# mean coverage of the lower face, of shared measurements: MaskTheFace on 486 faces, and a trial on 497 (dlib regions)
MASKTHEFACE_COVERAGE = {"surgical": 0.789, "cloth": 0.799, "n95": 0.664, "kn95": 0.821}
TRIAL_COVERAGE = {"surgical": 0.900, "cloth": 0.892, "n95": 0.769, "kn95": 0.831}
# what the mean must exceed; kinds without a published figure take that of the kind they are cut like
LEAST_COVERAGE = {
    **TRIAL_COVERAGE,
    "n95_valve": TRIAL_COVERAGE["n95"],
    "duckbill": TRIAL_COVERAGE["n95"],
    "gas": MASKTHEFACE_COVERAGE["n95"],  # stands on a narrow rim
    "bandana": TRIAL_COVERAGE["cloth"],
}
LIPS_COVERED, LIPS_SHARE = 0.98, 0.995  # this much of the lips, in this share of faces
EYE_OVERLAP, EYE_SHARE = 0.05, 0.004  # more than this of either eye, in at most this share of faces
LEAST_IOU = 0.98


def yaw(points: np.ndarray) -> float:
    """How far a face, (468, 3), turns to the picture's right, degrees."""
    out = Frame.of(points, 200).axes[2]
    return float(np.degrees(np.arctan2(out[0], -out[2])))


def measure(photo: np.ndarray, points: np.ndarray, drawn: Overlay) -> dict[str, float]:
    """Measures of one overlay on an (H, H, 3) uint8 photo with a face's (468, 3) points.

    lower_face, lips, nose_tip: share covered, 0..1, NaN where the picture does not show the region. eyes: share of the
    more covered eye. halo: near-white pixels with 0 < alpha < 1 where neither the photo nor the panel's interior
    nearby is near-white. leaks: changed pixels whose alpha and trim are 0. iou: intersection over union of changed
    pixels and those with alpha or trim. outside: share of the panel beyond the face's outline (the hull of its points,
    widened by 5 % of the eyes' distance), above the mouth. pieces: connected parts of the panel.
    """
    panel = drawn.alpha > 0.5
    centre = points[list(BRIDGE), :2].mean(axis=0, keepdims=True)
    jaw = np.concatenate([points[list(JAW), :2], centre])
    changed = (drawn.image != photo).any(axis=-1)
    recorded = (drawn.alpha > 0) | (drawn.trim > 0)
    return {
        "lower_face": _share(panel, jaw),
        "lips": _share(panel, points[list(LIPS), :2]),
        "nose_tip": _share(panel, points[list(NOSE_TIP), :2]),
        "eyes": float(np.nanmax([0.0, *(_share(panel, points[list(eye), :2]) for eye in EYES)])),
        "halo": float(halo(photo, drawn).sum()),
        "leaks": float((changed & ~recorded).sum()),
        "iou": float((changed & recorded).sum() / max((changed | recorded).sum(), 1)),
        "outside": _outside(panel, points),
        "pieces": float(cv2.connectedComponents(panel.astype(np.uint8))[0] - 1),
    }


def halo(photo: np.ndarray, drawn: Overlay) -> np.ndarray:
    """(H, H) bool: the halo pixels of measure()."""
    interior = np.where(drawn.alpha >= 0.99, drawn.image.min(axis=-1), 0).astype(np.uint8)
    nearby = cv2.dilate(interior, np.ones((2 * NEAR + 1,) * 2, np.uint8))
    boundary = (drawn.alpha > 0) & (drawn.alpha < 1)
    white = drawn.image.min(axis=-1) > NEAR_WHITE
    return boundary & white & (photo.min(axis=-1) <= NEAR_WHITE) & (nearby <= NEAR_WHITE)


def region(polygon: np.ndarray, side: int) -> np.ndarray:
    """(side, side) bool of a (n, 2) polygon in fractions of the side, with its outline's pixels."""
    mask = np.zeros((side, side), np.uint8)
    corners = np.clip(np.rint(polygon * side - 0.5), -(2**14), 2**14).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1)
    return mask > 0


def _share(panel: np.ndarray, polygon: np.ndarray) -> float:
    inside = region(polygon, len(panel))
    return float(panel[inside].mean()) if inside.any() else float("nan")


def _outside(panel: np.ndarray, points: np.ndarray) -> float:
    side = len(panel)
    hull = cv2.convexHull(points[:, :2].astype(np.float32))[:, 0]
    wide = 0.05 * float(np.linalg.norm(points[263, :2] - points[33, :2])) * side
    size = 2 * round(wide) + 1
    face = cv2.dilate(region(hull, side).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    mouth = int(np.clip(points[[13, 14], 1].mean() * side, 0, side))
    return float((panel & (face == 0))[:mouth].sum() / max(panel.sum(), 1))
