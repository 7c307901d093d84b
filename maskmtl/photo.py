"""From any photograph to face crops aligned as UTKFace aligns them."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from maskmtl.masks.detector import Box, suppress
from maskmtl.masks.landmarks import MIN_PRESENCE, FaceMesh, anchors, mean_face

MAX_SIDE = 2048  # px, a larger photo is reduced to this
MAX_PIXELS = 120_000_000  # of the file
CROP = 200  # px, the side of a UTKFace chip
MIN_EYES = 8.0  # px between the eyes, below which a face cannot be read
_FORMATS = ("JPEG", "PNG", "WEBP")
_OTHERS = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF"}
# what Pillow raises on broken files
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, struct.error, zlib.error)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# the mesh's counterparts of the points on which dlib makes a face chip, as UTKFace was made: nose, eyes, upper mouth
_ALIGNED = (
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 78, 82, 13, 312, 308),
)


@dataclass(frozen=True)
class FoundFace:
    """One face of a photo.

    Attributes:
        box: x, y, width, height of the landmarks, px of the photo.
        score: 0..1, the mesh's face score.
        crop: (200, 200, 3) uint8, aligned as a UTKFace chip.
        points: (468, 3) float32 landmarks in the crop, fractions of its side.
    """

    box: tuple[float, float, float, float]
    score: float
    crop: np.ndarray
    points: np.ndarray


def read_photo(data: bytes) -> np.ndarray:
    """Decode a JPEG, PNG or WebP file to (H, W, 3) uint8 RGB, upright, its long side at most 2048 px.

    Transparent pixels become white; 16-bit, CMYK, palette and grey pictures become 8-bit RGB.

    Raises:
        TypeError: data is not bytes.
        ValueError: the file is empty, cut off, of another kind, or has more than 120 megapixels (JPEG: about 179, as it
            is reduced while it is decoded).
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data should be the bytes of a picture file, got {type(data).__name__}")
    data = bytes(data)
    if not data:
        raise ValueError("photo should be a JPEG, PNG or WebP picture, got an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on size (checked here) and on damaged tags (not needed)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                return _decode(image)
    except UnidentifiedImageError:
        raise ValueError(f"photo should be a JPEG, PNG or WebP picture, got {_kind(data)}") from None
    except (Image.DecompressionBombError, MemoryError):
        most = MAX_PIXELS // 10**6
        raise ValueError(f"photo should have at most {most} megapixels, got more: save it smaller") from None
    except _DAMAGE as error:
        raise ValueError(f"photo should be a whole JPEG, PNG or WebP picture, got a damaged one ({error})") from error


def centre_square(photo: np.ndarray) -> np.ndarray:
    """The largest square in the middle of a picture (H, W, 3)."""
    height, width = photo.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def shrink(image: np.ndarray, size: int) -> np.ndarray:
    """(H, H, 3) uint8 -> (size, size, 3) uint8 by area averaging (cubic when it has to grow)."""
    if image.shape[0] == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC)


def find_faces(photo: np.ndarray) -> list[FoundFace]:
    """Every face of an (H, W, 3) uint8 RGB photo, largest first; an empty list when there is none.

    Looks at the whole picture, at a padded copy and at overlapping tiles; a face counts when the mesh confirms it.
    """
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        got = f"{photo.dtype} {photo.shape}" if isinstance(photo, np.ndarray) else type(photo).__name__
        raise ValueError(f"photo should be a uint8 array (H, W, 3), got {got}")
    if min(photo.shape[:2]) < 2 * MIN_EYES:
        return []
    long = max(photo.shape[:2])
    faces = _confirmed(photo, [*_search(photo, pad=long // 4), *_search(photo, windows=(long // 2, long // 4))])
    if not faces:
        faces = _confirmed(photo, [*_search(photo, pad=long), *_search(photo, windows=(long // 8,))])
    return sorted(faces, key=lambda face: -face.box[2] * face.box[3])


def align(photo: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crop a face as UTKFace does: the similarity that takes its landmarks nearest to the mean chip's.

    Args:
        photo: (H, W, 3) uint8.
        points: (468, 3) landmarks, px of the photo.

    Returns:
        The (200, 200, 3) uint8 crop and the (468, 3) float32 landmarks in it, as fractions of its side.
    """
    turn, shift = _similarity(points[list(_ALIGNED), :2], mean_face()[list(_ALIGNED), :2] * CROP)
    scale = float(np.hypot(*turn[0]))
    moved = np.column_stack([points[:, :2] @ turn.T + shift, points[:, 2] * scale]) / CROP
    corners = (np.array([[0, 0], [CROP, 0], [0, CROP], [CROP, CROP]]) - shift) @ np.linalg.inv(turn).T
    low = np.clip(np.floor(corners.min(axis=0)) - 2, 0, np.array(photo.shape[1::-1]) - 1).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2, low + 1, photo.shape[1::-1]).astype(int)
    part, shift = photo[low[1] : high[1], low[0] : high[0]], shift + turn @ low
    if scale < 0.7:  # reduce by areas first, so that the warp need not
        size = np.maximum(np.ceil(np.array(part.shape[1::-1]) * scale), 1).astype(int)
        turn = turn * (np.array(part.shape[1::-1]) / size)
        part = cv2.resize(part, size.tolist(), interpolation=cv2.INTER_AREA)
    shift = shift + turn @ np.full(2, 0.5) - 0.5  # OpenCV counts from the centre of the first pixel
    matrix = np.column_stack([turn, shift])
    crop = cv2.warpAffine(part, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return crop, moved.astype(np.float32)


def _decode(image: Image.Image) -> np.ndarray:
    image.draft(None, (MAX_SIDE, MAX_SIDE))  # a JPEG is decoded at 1/2, 1/4 or 1/8
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise Image.DecompressionBombError
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith(("I", "F")):  # 16 bits and more
        values = np.asarray(image, np.float32)
        image = Image.fromarray(np.clip(values / 257, 0, 255).round().astype(np.uint8))
    if "transparency" in image.info or image.mode in ("P", "PA", "LA", "La", "RGBa"):
        image = image.convert("RGBA")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    return np.array(image if turn is None else image.transpose(turn))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) when there is none or the tags are damaged."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except (*_DAMAGE, TypeError):
        return 1


def _kind(data: bytes) -> str:
    """What a file that is no JPEG, PNG or WebP may be."""
    if data[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file: save it as JPEG"
    for start, name in _OTHERS.items():
        if data.startswith(start):
            return f"a {name} file: save it as JPEG or PNG"
    return f"{len(data)} bytes of something else"


@lru_cache(maxsize=1)
def _mesh() -> FaceMesh:
    return FaceMesh()


def _search(photo: np.ndarray, *, pad: int = 0, windows: tuple[int, ...] = ()) -> Iterator[Box]:
    """Detections in the picture with `pad` px of border all round, or in half-overlapping square windows."""
    detect = _mesh().detect
    if pad:
        yield from detect(photo)
        padded = cv2.copyMakeBorder(photo, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        yield from (box.moved(1.0, np.full(2, -pad)) for box in detect(padded))
    height, width = photo.shape[:2]
    for size in windows:
        if size < 64:
            continue
        for top in _starts(height, size):
            for left in _starts(width, size):
                tile = photo[top : top + size, left : left + size]
                yield from (box.moved(1.0, np.array([left, top])) for box in detect(tile))


def _starts(length: int, size: int) -> np.ndarray:
    """Where windows of `size` begin so that they cover `length` and overlap by half or more."""
    steps = int(np.ceil(max(length - size, 0) / (size / 2)))
    return np.linspace(0, max(length - size, 0), steps + 1).astype(int)


def _confirmed(photo: np.ndarray, boxes: list[Box]) -> list[FoundFace]:
    """Keep the boxes in which the mesh sees a face, each face once."""
    faces: list[FoundFace] = []
    kept: list[Box] = []
    for box in sorted(suppress(boxes), key=lambda box: -box.score):
        points, presence = _mesh().fit(photo, box)
        if not _is_face(points, presence, box):
            continue
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        middle = (low + high) / 2
        if any(
            np.linalg.norm(middle - other.centre) < 0.4 * max(float((high - low).max()), other.side) for other in kept
        ):
            continue
        kept.append(Box(middle, high - low, presence, box.keypoints))
        crop, inside = align(photo, points)
        x, y, width, height = (float(value) for value in (*low, *(high - low)))
        faces.append(FoundFace((x, y, width, height), presence, crop, inside))
    return faces


def _is_face(points: np.ndarray, presence: float, box: Box) -> bool:
    """The mesh is sure; or, a mask lowering its score, mesh and detector agree on eyes and nose."""
    found = anchors(points)[:3]
    apart = float(np.linalg.norm(found[1] - found[0]))
    if apart < MIN_EYES:
        return False
    apart_from_box = float(np.linalg.norm(found - box.keypoints[:3], axis=1).max())
    return presence >= MIN_PRESENCE or (presence >= 0.05 and box.score >= 0.6 and apart_from_box <= 0.35 * apart)


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation with scale, (2, 2), and shift, (2,), that take source to target with the least squared error."""
    a, b = (points.astype(np.float64) - points.mean(axis=0) for points in (source, target))
    power = max(float((a**2).sum()), 1e-9)
    cos = float((a * b).sum()) / power
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
    turn = np.array([[cos, -sin], [sin, cos]])
    return turn, target.mean(axis=0) - turn @ source.mean(axis=0)
