"""468 landmarks of each aligned face, and how they were found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from threading import Lock
from zipfile import BadZipFile

import cv2
import numpy as np

from maskmtl.masks.detector import WEIGHTS, Box, FaceDetector

METHODS = ("mesh", "detector+mesh", "template")
POINTS = 468
INPUT = 192  # px, the side of the mesh's input
RIGHT_EYE, LEFT_EYE, NOSE_TIP, MOUTH = (33, 133), (362, 263), (1,), (61, 291)  # corners, "right" is the person's own
MIN_PRESENCE = 0.9
MAX_DRIFT = 0.2  # of the side of an aligned crop: how far eyes and nose may lie from the mean face
_FIXED_CENTRE, _FIXED_SIDE = np.array([0.495, 0.575]), 1.35  # where a UTKFace chip has its face, of the side
_MARGIN = 1.5  # region given to the mesh / box around the face


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of N faces.

    Attributes:
        points: (N, 468, 3) float32; x, y as fractions of the image side, z in the same unit, smaller = nearer.
        presence: (N,) float32 in 0..1, the mesh's own face score.
        method: (N,) str, one of METHODS; 'template' is the mean face, put where nothing was found.
    """

    points: np.ndarray
    presence: np.ndarray
    method: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.points)
        if self.points.shape != (n, POINTS, 3) or self.presence.shape != (n,) or self.method.shape != (n,):
            raise ValueError(
                f"points, presence, method should have shapes (N, {POINTS}, 3), (N,), (N,), "
                f"got {self.points.shape}, {self.presence.shape}, {self.method.shape}"
            )

    def __len__(self) -> int:
        return len(self.points)

    def select(self, rows: np.ndarray | slice | Sequence[int]) -> "Landmarks":
        """The landmarks of some rows: indices, a slice or a boolean array."""
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        return Landmarks(self.points[rows], self.presence[rows], self.method[rows])

    @classmethod
    def concat(cls, parts: Sequence["Landmarks"]) -> "Landmarks":
        """One Landmarks from several, in order."""
        if not parts:
            return cls(np.zeros((0, POINTS, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, "<U13"))
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("points", "presence", "method")))

    @classmethod
    def stack(cls, found: Sequence[tuple[np.ndarray, float, str]]) -> "Landmarks":
        """One Landmarks from the results of FaceMesh."""
        if not found:
            return cls.concat([])
        points, presence, method = zip(*found, strict=True)
        return cls(np.stack(points).astype(np.float32), np.array(presence, np.float32), np.array(method, "<U13"))

    def save(self, path: str | PathLike) -> None:
        """Write an .npz, points as float16 (0.1 px of a 200 px crop)."""
        codes = np.array([METHODS.index(method) for method in self.method], np.uint8)
        with open(path, "wb") as file:
            np.savez(file, points=self.points.astype(np.float16), presence=self.presence, method=codes)

    @classmethod
    def load(cls, path: str | PathLike) -> "Landmarks":
        """Read what save() wrote. ValueError for a file that is not whole."""
        try:
            with np.load(path, allow_pickle=False) as data:
                points, presence, method = data["points"].astype(np.float32), data["presence"], data["method"]
        except (BadZipFile, EOFError, KeyError) as error:
            raise ValueError(f"landmarks should be a whole file, got {str(path)!r}: {error}") from error
        return cls(points, presence, np.array(METHODS, "<U13")[method])


def mean_face() -> np.ndarray:
    """(468, 3) float32, the mean landmarks of aligned UTKFace chips, in fractions of the side."""
    return np.load(WEIGHTS / "mean_face.npy", allow_pickle=False)


def anchors(points: np.ndarray) -> np.ndarray:
    """(468, >=2) landmarks -> (5, 2): right eye, left eye, nose tip, right and left mouth corner."""
    groups = (RIGHT_EYE, LEFT_EYE, NOSE_TIP, MOUTH[:1], MOUTH[1:])
    return np.stack([points[list(group), :2].mean(axis=0) for group in groups])


class FaceMesh:
    """MediaPipe's face mesh (Kartynnik et al. 2019, arXiv 1907.06724), run by OpenCV; threads may share one."""

    def __init__(self) -> None:
        self._lock = Lock()

    @cached_property
    def _net(self) -> cv2.dnn.Net:
        return cv2.dnn.readNetFromTFLite(str(WEIGHTS / "face_landmark.tflite"))

    @cached_property
    def detect(self) -> FaceDetector:
        """The face detector: picture (H, W, 3) uint8 -> list of Box."""
        return FaceDetector()

    @cached_property
    def _mean(self) -> np.ndarray:
        return mean_face()

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, float, str]:
        """Landmarks of an aligned square crop, (H, H, 3) uint8 RGB.

        Returns:
            (468, 3) float32 points in fractions of the side, presence in 0..1, and the method (one of METHODS).
        """
        _check(image)
        side = image.shape[0]
        points, presence = self._refine(image, _FIXED_CENTRE * side, _FIXED_SIDE * side, 0.0)
        if self._plausible(points / side, presence):
            return points / np.float32(side), presence, "mesh"
        pad = side // 4
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        for box in self.detect(padded, threshold=0.4):
            points, found = self.fit(image, box.moved(1.0, np.full(2, -pad)))
            if self._plausible(points / side, found):
                return points / np.float32(side), found, "detector+mesh"
        return self._mean.copy(), presence, "template"

    def many(self, images: np.ndarray, *, progress: Callable[[int, int], object] | None = None) -> Landmarks:
        """Landmarks of (N, H, H, 3) aligned crops."""
        found = []
        for image in images:
            found.append(self(image))
            if progress is not None:
                progress(len(found), len(images))
        return Landmarks.stack(found)

    def fit(self, picture: np.ndarray, box: Box) -> tuple[np.ndarray, float]:
        """Landmarks of a detected face: (468, 3) float32 in pixels of the picture, and presence in 0..1."""
        return self._refine(picture, box.centre, _MARGIN * box.side, box.roll)

    def _plausible(self, points: np.ndarray, presence: float) -> bool:
        drift = np.linalg.norm(anchors(points)[:3] - anchors(self._mean)[:3], axis=1)
        return presence >= MIN_PRESENCE and bool(drift.max() <= MAX_DRIFT)

    def _refine(self, picture: np.ndarray, centre: np.ndarray, side: float, roll: float) -> tuple[np.ndarray, float]:
        """Two passes, the second on the region that the first one found."""
        points, _ = self._pass(picture, centre, side, roll)
        eyes = anchors(points)
        across = eyes[1] - eyes[0]
        roll = float(np.arctan2(across[1], across[0]))
        turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        upright = points[:, :2] @ turn.T
        low, high = upright.min(axis=0), upright.max(axis=0)
        return self._pass(picture, turn.T @ ((low + high) / 2), _MARGIN * float((high - low).max()), roll)

    def _pass(self, picture: np.ndarray, centre: np.ndarray, side: float, roll: float) -> tuple[np.ndarray, float]:
        scale = INPUT / max(side, 1.0)
        if scale < 0.5:  # bilinear sampling would alias
            factor = 2 * scale
            small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            points, presence = self._pass(small, centre * factor, side * factor, roll)
            return points / np.float32(factor), presence
        turn = scale * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        shift = INPUT / 2 - turn @ centre
        pixels = shift + turn @ np.full(2, 0.5) - 0.5  # OpenCV counts from the centre of the first pixel
        region = cv2.warpAffine(
            picture, np.column_stack([turn, pixels]), (INPUT, INPUT), borderMode=cv2.BORDER_REPLICATE
        )
        with self._lock:
            self._net.setInput(cv2.dnn.blobFromImage(region, 1 / 255))
            logit, values = self._net.forward(["conv2d_31", "conv2d_21"])
        points = values.reshape(POINTS, 3).astype(np.float64)
        points[:, :2] = (points[:, :2] - shift) @ np.linalg.inv(turn).T
        points[:, 2] /= scale
        return points.astype(np.float32), float(1 / (1 + np.exp(-np.clip(logit.item(), -50, 50))))


def _check(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image should be a uint8 array (H, W, 3), got {got}")
    if image.shape[0] != image.shape[1] or image.shape[0] < 2:
        raise ValueError(f"image should be an aligned square crop, got {image.shape[1]} x {image.shape[0]} px")
