"""`maskmtl demo`: faces that show nobody, each the equal-weight mean of several look-alikes of the test split."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from maskmtl.duplicates import THUMBNAIL, thumbnail
from maskmtl.files import write_atomic, write_bytes
from maskmtl.lookalikes import Cell, Describer, sharpness
from maskmtl.manifest import Faces, Progress
from maskmtl.masks.landmarks import mean_face
from maskmtl.tasks import TASKS, Classes
from maskmtl.warping import Warp, colour, congeal, oval, recolour

SOURCES = 5  # faces in a composite
COUNT = 450  # composites
BANDS = (0, 3, 6, 13, 18, 25, 35, 50, 65, 80)  # years, the first of each age band among which composites are shared out
WORK, SIDE, QUALITY = 200, 160, 90  # px of the sources, px and JPEG quality of the composites
INDEX = "faces.csv"
COLUMNS = ("path", "age", "gender", "ethnicity", "age_min", "age_max", "sources", "n")

MIN_SHARPNESS = 0.032  # below, a source is left out as blurred
MAX_GHOST = 21.0  # grey levels; above, a composite is dropped as a ghost
MAX_LONE = 5.0  # grey levels; above, a composite is dropped for a detail of one source: a watermark, a hand, a hat
MAX_LIKENESS = 0.96  # correlation; from there on, a composite is dropped as too near to one face

HAZE = (1.5, 3.0, 6.0)  # px, blur around the face, the more the sources disagree there
CALM, WILD = 8.0, 35.0  # grey levels of disagreement from which haze begins, and from which it is full
DETAIL = 3.0  # px, what is finer counts as detail
UNSHARP, UNSHARP_RADIUS = 0.6, 1.5  # strength and px: gives back the contrast of fine detail that averaging took


@dataclass(frozen=True)
class Composite:
    """A mean face and how well its sources agreed.

    image: (SIDE, SIDE, 3) uint8.
    ghost: standard deviation among the sources, mean over the face, in grey levels.
    lone: amplitude that detail of a single source has in the mean, 99th percentile over the face, in grey levels.
    odd: the source that stands out most.
    """

    image: np.ndarray
    ghost: float
    lone: float
    odd: int


def blend(images: np.ndarray, points: np.ndarray) -> Composite:
    """The mean of n faces, each with the same weight: (n, H, H, 3) uint8 and (n, 468, >=2) landmarks.

    Each is moved into their mean shape and given their mean colour and contrast, then congealed. Around the face, where
    hair and backgrounds disagree, the mean is blurred; an unsharp mask follows.
    """
    shape = points[..., :2].mean(axis=0)
    inside = oval(shape, WORK)
    warp = Warp(shape, WORK)
    stack = np.stack([warp(image, own) for image, own in zip(images, points, strict=True)])
    colours = np.stack([colour(face, inside) for face in stack])
    stack = np.stack([recolour(face, own, colours.mean(axis=0)) for face, own in zip(stack, colours, strict=True)])
    stack = congeal(stack)
    spread = stack.std(axis=0).mean(axis=-1)
    mean = _haze(stack.mean(axis=0), spread, inside)
    mean = mean + UNSHARP * (mean - cv2.GaussianBlur(mean, (0, 0), UNSHARP_RADIUS))
    mean = cv2.resize(mean, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    lone, odd = _lone_detail(stack.mean(axis=-1), inside)
    return Composite(np.clip(np.round(mean), 0, 255).astype(np.uint8), float(spread[inside].mean()), lone, odd)


def _haze(mean: np.ndarray, spread: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Blur outside of the face by the local spread; only pixels outside are mixed, so that no skin leaks."""
    outside = cv2.GaussianBlur((~inside).astype(np.float32), (0, 0), 1)[..., None]
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 3)
    amount = np.clip((cv2.GaussianBlur(spread, (0, 0), 5) - CALM) / (WILD - CALM), 0, 1) * np.clip(away / 10, 0, 1)
    level = len(HAZE) * amount
    mixed = mean * np.clip(1 - level, 0, 1)[..., None]
    for i, sigma in enumerate(HAZE, start=1):
        weight = np.maximum(cv2.GaussianBlur(outside, (0, 0), sigma), 1e-3)[..., None]
        blurred = cv2.GaussianBlur(mean * outside, (0, 0), sigma) / weight
        mixed += blurred * np.clip(1 - np.abs(level - i), 0, 1)[..., None]
    return mixed


def _lone_detail(grey: np.ndarray, inside: np.ndarray) -> tuple[float, int]:
    """(n, h, w) sources -> Composite.lone and .odd: local detail of the busiest source beyond the second busiest."""
    fine = [face - cv2.GaussianBlur(face, (0, 0), DETAIL) for face in grey]
    energy = np.sqrt([cv2.GaussianBlur(f * f, (0, 0), DETAIL) for f in fine])[:, inside]
    second, first = np.partition(energy, -2, axis=0)[-2:]
    lone = (first - second) / len(grey)
    limit = np.percentile(lone, 99)
    owners = energy[:, lone >= limit].argmax(axis=0)
    return float(limit), int(np.bincount(owners, minlength=len(grey)).argmax())


class Likeness:
    """How like a composite is to each face of a data set: correlation of thumbnails, of the picture and of the face."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._whole = np.stack([thumbnail(image) for image in images])
        self._inside = oval(mean_face(), THUMBNAIL).ravel()
        self._face = _unit(self._whole[:, self._inside])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(2, N) correlations with the N faces: of the whole picture, and within the oval of the face."""
        own = thumbnail(image)
        return np.stack([self._whole @ own, self._face @ _unit(own[None, self._inside])[0]])


def _unit(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)


def make_demo(
    faces: Faces, out: Path, *, seed: int, count: int = COUNT, progress: Progress | None = None
) -> pd.DataFrame:
    """Write up to `count` composite faces of the test split to the folder `out`: 0001.jpg ... and faces.csv.

    Each is made of SOURCES faces of one gender and ethnicity within lookalikes.SPAN years, none used twice. They are
    shared out in turns among gender x ethnicity x age band, the tightest groups first. Where one fails a limit above,
    the source that stands out (or is too like it) is put aside and the next group has its turn. `seed` orders the turns
    and the file names.

    Returns:
        the table of faces.csv, and of each composite: distance, ghost, lone; its correlation with the nearest source
        and the nearest face of all, of the picture (like_source, like_any) and within the face (face_source, face_any).

    Raises ValueError when the test split is too small to make any, or `out` holds files that are not composites.
    """
    if out.exists() and any(out.iterdir()) and not (out / INDEX).is_file():
        raise ValueError(
            f"out should be a new folder or one of composites with {INDEX}, got {str(out)!r}: name another"
        )
    rng = np.random.default_rng(seed)
    rows, looks = _describe(faces, progress, total=len(faces) + count)
    table = faces.table.iloc[rows]
    likeness = Likeness(faces.images)
    cells = {
        key: (rows[i], Cell(table.iloc[i], looks[i], SOURCES))
        for key, i in table.groupby(["gender", "ethnicity"]).indices.items()
    }
    bands = list(zip(BANDS, (*(first - 1 for first in BANDS[1:]), np.inf), strict=True))
    turns = [(key, *band) for key in cells for band in bands]
    made: list[tuple[dict[str, Any], np.ndarray]] = []
    while turns and len(made) < count:
        rng.shuffle(turns)
        for turn in list(turns):
            key, low, high = turn
            one = _next(faces, *cells[key], likeness, low, high)
            if one is None:
                turns.remove(turn)
            elif len(made) < count:
                made.append(one)
            if progress is not None:
                progress(len(faces) + len(made), len(faces) + count)
    if not made:
        raise ValueError(f"faces should hold look-alikes in the split 'test', got {len(rows)} usable faces there")
    return _write(out, [made[i] for i in rng.permutation(len(made))])


def _describe(faces: Faces, progress: Progress | None, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the faces that may be sources, and their (n, D) descriptors."""
    table = faces.table
    usable = (table["split"] == "test") & (table["excluded"] == "") & table[list(TASKS)].notna().all(axis=1)
    usable &= faces.landmarks.method != "template"
    describe = Describer()
    rows, looks = [], []
    for row, may in enumerate(usable):
        if may and sharpness(faces.images[row]) >= MIN_SHARPNESS:
            rows.append(row)
            looks.append(describe(faces.images[row], faces.landmarks.points[row]))
        if progress is not None:
            progress(row + 1, total)
    return np.array(rows, int), np.stack(looks) if looks else np.zeros((0, 0), np.float32)


def _next(
    faces: Faces, rows: np.ndarray, cell: Cell, likeness: Likeness, low: float, high: float
) -> tuple[dict[str, Any], np.ndarray] | None:
    """The next composite of a cell within an age band that passes the limits: its record and picture."""
    while (group := cell.tightest(low, high)) is not None:
        members = np.array(group.rows)
        sources = rows[members]
        composite = blend(faces.images[sources], faces.landmarks.points[sources])
        like = likeness(composite.image)
        if composite.ghost > MAX_GHOST or composite.lone > MAX_LONE:
            cell.free[members[composite.odd]] = False
        elif like.max() >= MAX_LIKENESS:
            cell.free[members[like[:, sources].max(axis=0).argmax()]] = False
        else:
            cell.free[members] = False
            figures = {"distance": group.distance, "ghost": composite.ghost, "lone": composite.lone}
            for name, values in zip(("like", "face"), like, strict=True):
                figures |= {f"{name}_source": float(values[sources].max()), f"{name}_any": float(values.max())}
            return {**_record(faces.table.iloc[sources]), **figures}, composite.image
    return None


def _record(sources: pd.DataFrame) -> dict[str, Any]:
    """What faces.csv says of the composite of these faces."""
    classes = {
        name: spec.target.names[int(sources[name].iloc[0])]
        for name, spec in TASKS.items()
        if isinstance(spec.target, Classes)
    }
    ages = sources["age"]
    own = {"age_min": int(ages.min()), "age_max": int(ages.max()), "sources": ";".join(sources["face_id"])}
    return {"age": round(float(ages.mean())), **classes, **own, "n": len(sources)}


def _write(out: Path, made: list[tuple[dict[str, Any], np.ndarray]]) -> pd.DataFrame:
    out.mkdir(parents=True, exist_ok=True)
    records = []
    for number, (record, image) in enumerate(made, start=1):
        path = f"{number:04d}.jpg"
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        write_bytes(out / path, data.tobytes())
        records.append({"path": path, **record})
    table = pd.DataFrame(records)
    write_atomic(out / INDEX, lambda partial: table[list(COLUMNS)].to_csv(partial, index=False))
    for old in {path.name for path in out.glob("[0-9][0-9][0-9][0-9].jpg")} - set(table["path"]):
        (out / old).unlink()
    return table
