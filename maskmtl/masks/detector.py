"""Finds faces in a picture of any size: BlazeFace, short range."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

WEIGHTS = Path(__file__).parent / "weights"
INPUT = 128  # px, the side of the network's input


@dataclass(frozen=True)
class Box:
    """A detected face, in pixels of the picture it was found in.

    Attributes:
        centre: (2,) x, y.
        size: (2,) width, height.
        score: 0..1.
        keypoints: (6, 2) right eye, left eye, nose tip, mouth, right ear, left ear ("right" is the person's own).
    """

    centre: np.ndarray
    size: np.ndarray
    score: float
    keypoints: np.ndarray

    @property
    def side(self) -> float:
        """The longer side, px."""
        return float(self.size.max())

    @property
    def roll(self) -> float:
        """The angle of the line through the eyes, radians, clockwise in the picture."""
        right, left = self.keypoints[:2]
        return float(np.arctan2(left[1] - right[1], left[0] - right[0]))

    def moved(self, scale: float, offset: np.ndarray) -> "Box":
        """The same box after x -> scale * x + offset."""
        return Box(self.centre * scale + offset, self.size * scale, self.score, self.keypoints * scale + offset)


class FaceDetector:
    """BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047), 128 px input, run by OpenCV; threads may share one."""

    def __init__(self) -> None:
        self._lock = Lock()

    @cached_property
    def _net(self) -> cv2.dnn.Net:
        return cv2.dnn.readNetFromTFLite(str(WEIGHTS / "face_detection_short_range.tflite"))

    @cached_property
    def _anchors(self) -> np.ndarray:
        """(896, 2) centres in 0..1: two a cell on the 16 x 16 grid, six on the 8 x 8 grid."""
        grids = []
        for cells, repeat in ((16, 2), (8, 6)):
            y, x = np.mgrid[:cells, :cells]
            centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
            grids.append(np.repeat(centres, repeat, axis=0))
        return np.concatenate(grids)

    def __call__(self, picture: np.ndarray, *, threshold: float = 0.5) -> list[Box]:
        """Faces in an (H, W, 3) uint8 RGB picture, best first; a face smaller than about a tenth of it is missed."""
        height, width = picture.shape[:2]
        scale = INPUT / max(height, width)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (INPUT - inner[0]) // 2, (INPUT - inner[1]) // 2
        canvas = np.zeros((INPUT, INPUT, 3), np.uint8)
        small = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        canvas[top : top + inner[1], left : left + inner[0]] = small
        blob = cv2.dnn.blobFromImage(canvas, 1 / 127.5, mean=(127.5, 127.5, 127.5))
        with self._lock:
            self._net.setInput(blob)
            logits, values = self._net.forward(["classificators", "regressors"])
        scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -50, 50)))
        keep = scores >= threshold
        raw = values.reshape(-1, 8, 2)[keep] / INPUT
        raw[:, 0] += self._anchors[keep]
        raw[:, 2:] += self._anchors[keep][:, None]
        offset = -np.array([left, top]) / scale
        boxes = [
            Box(r[0], r[1], float(s), r[2:]).moved(INPUT / scale, offset)
            for r, s in zip(raw, scores[keep], strict=True)
        ]
        return suppress(boxes)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    low = np.maximum(a.centre - a.size / 2, b.centre - b.size / 2)
    high = np.minimum(a.centre + a.size / 2, b.centre + b.size / 2)
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / (float(np.prod(a.size) + np.prod(b.size)) - shared + 1e-9)


def suppress(boxes: list[Box], *, threshold: float = 0.3) -> list[Box]:
    """Weighted non-maximum suppression: each cluster of overlapping boxes becomes its score-weighted mean."""
    rest = sorted(boxes, key=lambda box: -box.score)
    kept = []
    while rest:
        best = rest[0]
        cluster = [box for box in rest if box is best or overlap(best, box) > threshold]
        rest = [box for box in rest if not any(box is member for member in cluster)]
        weights = np.array([box.score for box in cluster])
        weights = weights / weights.sum()
        centre, size, keypoints = (
            np.tensordot(weights, np.stack([getattr(box, name) for box in cluster]), axes=1)
            for name in ("centre", "size", "keypoints")
        )
        kept.append(Box(centre, size, best.score, keypoints))
    return kept
