"""`maskmtl mask`: draw masks on every face of a data set, say what was drawn, and audit who got none.

A run's folder holds
    images/<face>-<mask>.png or .jpg, and images/<face>-none.*: the bare twin, encoded with the same settings,
    alphas/<face>-<mask>.png: 8-bit RGB; red is the panel's alpha times 255, green the trim's (straps and shadow), blue
        0. A pixel that is black here is the photo's own,
    overlays.parquet: SCHEMA, one row per face and mask; a face that could not be masked has its reason,
    audit.csv: audit(),
    mask.json: the settings,
and, until it is done, parts/: what a stopped run goes on from.
"""

import hashlib
import json
import os
import re
import shutil
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maskmtl import __version__
from maskmtl.files import write_atomic, write_bytes, write_json, write_text
from maskmtl.manifest import Faces, Pixels, Progress, is_prepared, load_faces, open_faces
from maskmtl.masks import MASKS, FaceMesh, Landmarks, MaskSpec, Overlay, mask_seed, overlay
from maskmtl.masks.sheet import sheet
from maskmtl.metrics import AGE_BANDS, UNLABELLED, age_band, wilson
from maskmtl.photo import CROP, centre_square, find_faces, read_photo, shrink
from maskmtl.workers import Workers

IMAGES, ALPHAS, PARTS, TABLE, AUDIT, SETTINGS = (
    "images",
    "alphas",
    "parts",
    "overlays.parquet",
    "audit.csv",
    "mask.json",
)
FORMATS = {"png": [], "jpg": [cv2.IMWRITE_JPEG_QUALITY, 95]}
ALL = "all"
LABELS = ("age", "gender", "ethnicity")
LIMIT = 0.015  # a group's rate this far above the mean is pointed out
SHEET_FACES = 4
CHUNK = 64  # overlays that a worker draws at once
SCHEMA = pa.schema(
    [
        ("face_id", pa.string()),
        ("mask", pa.string()),  # as asked for
        ("kind", pa.string()),  # from here to coverage: as drawn, null where it failed
        ("colour", pa.string()),
        ("pattern", pa.string()),
        ("wear", pa.string()),
        ("coverage", pa.float64()),
        ("presence", pa.float64()),
        ("method", pa.string()),  # of the landmarks; null for a picture that was not taken
        ("seed", pa.uint64()),  # overlay()'s
        ("image", pa.string()),  # paths in the run's folder
        ("alpha", pa.string()),
        ("bare", pa.string()),
        ("status", pa.string()),  # masked or failed
        ("reason", pa.string()),
        *((label, pa.float64()) for label in LABELS),
    ]
)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def parse_masks(names: Iterable[str]) -> tuple[str, ...]:
    """The masks' texts without repeats, 'all' being every kind; ValueError for an unknown one, and for none."""
    given = [kind for name in names for kind in (MASKS if name == ALL else (name,))]
    masks = tuple(dict.fromkeys(str(MaskSpec.parse(name)) for name in given))
    if not masks:
        raise ValueError(f"kinds should be 'all' or name at least one of {list(MASKS)}, got none")
    return masks


def open_picture(path: Path) -> tuple[Faces, bool]:
    """The largest face of one picture file, and whether one was found: else the picture's middle is taken for a crop.

    ValueError when the file is no readable picture.
    """
    from maskmtl.sources import parse_utkface, stem  # this imports torch, which workers need not

    data = path.read_bytes()
    photo = read_photo(data)
    found = find_faces(photo)
    if found:
        crop, landmarks = found[0].crop, (found[0].points, found[0].score, "detector+mesh")
    else:
        crop = shrink(centre_square(photo), CROP)
        landmarks = FaceMesh()(crop)
    labels, reason = parse_utkface(path.name)
    known = {name: labels[name] if reason is None else np.nan for name in LABELS}
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    name = stem(path.name)
    row = {"face_id": name, "group_id": name, "digest": digest, "path": path.name, "split": None, "excluded": ""}
    rejected = pd.DataFrame(columns=["path", "reason"])
    faces = Faces(pd.DataFrame([{**row, **known}]), Pixels(crop[None]), Landmarks.stack([landmarks]), rejected, name)
    return faces, bool(found)


def open_source(
    source: str, out: Path, *, protocol: str = "random", workers: int = 1, progress: Progress | None = None
) -> Faces:
    """open_faces() for a run into `out`: a source that is not prepared is prepared there, once and by all workers.

    ValueError for a source that can't be used, for a folder of pictures that `out` lies in, and where `out` holds a
    stopped run over another source.
    """
    path = Path(source)
    if source == "demo" or is_prepared(path):
        return open_faces(source, protocol, progress=progress)
    if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
        raise ValueError(f"out should lie outside the pictures' folder {str(path)!r}, got {str(out)!r}")
    from maskmtl.prepare import prepare

    folder, origin, own = out / PARTS / "faces", out / PARTS / "source", str(path.resolve())
    if not is_prepared(folder):
        write_bytes(origin, os.fsencode(own))
        prepare(path, folder, workers=workers, progress=progress)
    elif (before := os.fsdecode(origin.read_bytes())) != own:
        raise ValueError(f"source should be {before!r}, as in the run that stopped in {str(out)!r}, got {source!r}")
    faces = load_faces(folder, protocol)
    rejected = faces.rejected
    if len(rejected) and path.suffix.lower() == ".csv":
        rejected = _with_labels(rejected, path)
    return replace(faces, table=faces.table.assign(split=None, excluded=""), rejected=rejected)


def _with_labels(rejected: pd.DataFrame, source: Path) -> pd.DataFrame:
    """The pictures that were not taken, with the CSV's own labels: the audit needs to know whom they show."""
    from maskmtl.sources import label_problem, read_source

    labels: dict[str, dict[str, Any]] = {}
    for picture in read_source(source)[0]:
        found = {name: picture.columns.get(name, np.nan) for name in LABELS}
        if all(isinstance(value, float) for value in found.values()) and not label_problem(found):
            labels.setdefault(picture.path, found)
    return rejected.assign(**{n: [labels.get(p, {}).get(n, np.nan) for p in rejected["path"]] for n in LABELS})


def choose(faces: Faces, split: str) -> Faces:
    """The faces of a split, or 'all', with the pictures that were not taken; ValueError when there are none."""
    if split == "all":
        return faces
    chosen = replace(faces.in_split(split), rejected=faces.rejected.iloc[:0])
    if not len(chosen):
        raise ValueError(f"split should be 'all' for faces without splits, got {split!r}: `maskmtl prepare` makes them")
    return chosen


def check_out(out: Path, settings: dict[str, Any]) -> None:
    """ValueError when `out` holds anything but a run with these settings."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"out should be a folder, got the file {str(out)!r}")
    if not (out / SETTINGS).is_file():
        if set(os.listdir(out)) - {PARTS}:
            raise ValueError(f"out should be a new folder or an earlier run's, got {str(out)!r}, which holds others")
        return
    try:
        before = json.loads((out / SETTINGS).read_text())
        other = {name: before[name] for name, value in settings.items() if before[name] != value}
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"out should have a readable {SETTINGS}, got {str(out / SETTINGS)!r}: {error!r}") from error
    if other:
        words = ", ".join(f"{name} {settings[name]!r} (it has {was!r})" for name, was in other.items())
        raise ValueError(f"out should be a run with the same settings, got {str(out)!r} and {words}: name a new folder")


def settings_of(masks: Sequence[str], seed: int, picture: str) -> dict[str, Any]:
    """What has to be the same when a run is resumed, besides the faces."""
    if picture not in FORMATS:
        raise ValueError(f"format should be one of {list(FORMATS)}, got {picture!r}")
    return {"version": __version__, "masks": list(masks), "seed": seed, "format": picture}


def mask_faces(
    faces: Faces,
    out: Path,
    *,
    masks: Sequence[str],
    seed: int = 0,
    picture: str = "png",
    workers: int = 1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Draw each mask on each face into the folder `out`, or go on where such a run stopped.

    Args:
        masks: 'all', kinds or MaskSpec texts.
        picture: png, or jpg (quality 95).
        workers: processes; more than one need a script with the usual `if __name__ == "__main__"`.

    Returns the table (SCHEMA). ValueError when `out` is in the way or holds a run with other settings.
    """
    if workers < 1:
        raise ValueError(f"workers should be at least 1, got {workers}")
    masks = parse_masks(masks)
    settings = settings_of(masks, seed, picture) | {"faces": _fingerprint(faces, masks)}
    check_out(out, settings)
    if not (out / TABLE).is_file():
        write_json(out / SETTINGS, settings)
        _draw_all(faces, out, masks, seed=seed, picture=picture, workers=workers, progress=progress)
    table = pq.read_table(out / TABLE).to_pandas()
    write_text(out / AUDIT, audit(table).to_csv(index=False))
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return table


@dataclass(frozen=True)
class _Chunk:
    """Some faces for a worker."""

    images: np.ndarray
    landmarks: Landmarks
    rows: list[dict[str, Any]]  # face_id and labels
    names: list[str]  # of their files
    part: Path


def _draw_all(
    faces: Faces,
    out: Path,
    masks: Sequence[str],
    *,
    seed: int,
    picture: str,
    workers: int,
    progress: Progress | None,
) -> None:
    for name in (IMAGES, ALPHAS, PARTS):
        (out / name).mkdir(exist_ok=True)
        for left in (out / name).glob(".*.partial"):  # of a run that was killed
            if left.is_file():
                left.unlink()
    step = max(1, CHUNK // len(masks))
    parts = [out / PARTS / f"{start:07d}.parquet" for start in range(0, len(faces), step)]
    waiting = [i for i, part in enumerate(parts) if not part.is_file()]
    done = min(len(faces), (len(parts) - len(waiting)) * step)
    rows = faces.table[["face_id", *LABELS]].to_dict("records")
    names = file_names([row["face_id"] for row in rows])

    def chunks() -> Iterator[_Chunk]:
        for i in waiting:
            of = slice(i * step, (i + 1) * step)
            yield _Chunk(faces.images[of], faces.landmarks.select(of), rows[of], names[of], parts[i])

    draw = partial(_draw_chunk, out=out, masks=masks, seed=seed, picture=picture)
    with closing(_in_order(draw, chunks(), workers if len(waiting) > 1 else 1)) as drawn:
        for n in drawn:
            done += n
            if progress is not None:
                progress(min(done, len(faces)), len(faces))
    tables = [pq.read_table(part, schema=SCHEMA) for part in parts]
    tables.append(pa.Table.from_pylist(list(_not_taken(faces, masks, seed)), SCHEMA))
    write_atomic(out / TABLE, lambda path: pq.write_table(pa.concat_tables(tables), path))


def _in_order(function: Any, jobs: Iterator[_Chunk], workers: int) -> Generator[int, None, None]:
    """map() by a pool that never holds more jobs than it needs."""
    if workers == 1:
        yield from map(function, jobs)
        return
    with Workers(workers) as pool:
        waiting: deque[Future] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _draw_chunk(chunk: _Chunk, *, out: Path, masks: Sequence[str], seed: int, picture: str) -> int:
    """Draw and write some faces, then their rows; how many faces."""
    rows = []
    for i, (image, face, name) in enumerate(zip(chunk.images, chunk.rows, chunk.names, strict=True)):
        points, presence, method = (getattr(chunk.landmarks, n)[i] for n in ("points", "presence", "method"))
        bare = f"{IMAGES}/{name}-none.{picture}"
        write_bytes(out / bare, _encoded(image, picture))
        for mask in masks:
            own = mask_seed(seed, face["face_id"], mask)
            drawn = _draw(image, points, mask, own, float(presence))
            known = {"presence": float(presence), "method": str(method), "bare": bare, "seed": own}
            known |= {**face, "mask": mask}
            if isinstance(drawn, str):
                rows.append({**known, "status": "failed", "reason": drawn})
                continue
            stem = f"{name}-{mask.replace(':', '-').replace('#', '')}"
            paths = {"image": f"{IMAGES}/{stem}.{picture}", "alpha": f"{ALPHAS}/{stem}.png"}
            write_bytes(out / paths["image"], _encoded(drawn.image, picture))
            write_bytes(out / paths["alpha"], _encoded(alpha_picture(drawn), "png"))
            spec = drawn.spec
            of_mask = {"kind": spec.kind, "colour": spec.colour, "pattern": spec.pattern, "wear": spec.wear}
            rows.append({**known, **of_mask, **paths, "coverage": drawn.coverage, "status": "masked"})
    write_atomic(chunk.part, lambda path: pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path))
    return len(chunk.rows)


def _draw(image: np.ndarray, points: np.ndarray, mask: str, seed: int, presence: float) -> Overlay | str:
    """The overlay, or why there is none: one face must not stop the others."""
    try:
        return overlay(image, points, mask=mask, seed=seed, presence=presence)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def alpha_picture(drawn: Overlay) -> np.ndarray:
    """(H, H, 3) uint8: alpha and trim times 255, and 0; a share too small for that is 1, as it changed the photo."""
    shares = np.stack([drawn.alpha, drawn.trim, np.zeros_like(drawn.alpha)], axis=2)
    return np.maximum(np.rint(shares * 255), shares > 0).astype(np.uint8)


def _encoded(image: np.ndarray, picture: str) -> bytes:
    done, data = cv2.imencode(f".{picture}", image[..., ::-1], FORMATS[picture])
    if not done:
        raise OSError(f"OpenCV can't write {picture}")
    return data.tobytes()


def file_names(face_ids: Sequence[str]) -> list[str]:
    """A name for the files of each face, unique on any file system: the id itself where it can be one."""
    plain = [face_id if _PLAIN.fullmatch(face_id) else "" for face_id in face_ids]
    folded = pd.Series(plain).str.lower()
    taken = folded.duplicated(keep=False) | (folded == "")
    return [_marked(face_id) if odd else face_id for face_id, odd in zip(face_ids, taken, strict=True)]


def _marked(face_id: str) -> str:
    mark = hashlib.blake2b(face_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_]+', '_', face_id)[:80] or '_'}-{mark}"


def _fingerprint(faces: Faces, masks: Sequence[str]) -> str:
    """Of the faces, their landmarks, what was not taken, and the way masks are drawn: the first face in each."""
    digest = hashlib.blake2b(repr(faces.images.shape).encode(), digest_size=8)
    digest.update(faces.table[["face_id", "digest", *LABELS]].to_csv(index=False).encode())
    digest.update(faces.rejected[["path", "reason"]].to_csv(index=False).encode())
    for array in (faces.landmarks.points, faces.landmarks.presence, faces.landmarks.method):
        digest.update(np.ascontiguousarray(array).tobytes())
    for mask in masks:
        drawn = _draw(faces.images[0], faces.landmarks.points[0], mask, 0, 1.0)
        digest.update(drawn.encode() if isinstance(drawn, str) else drawn.image.tobytes())
    return digest.hexdigest()


def _not_taken(faces: Faces, masks: Sequence[str], seed: int) -> Iterator[dict[str, Any]]:
    """Rows of the pictures that were not taken; labels from the source's table, else from a UTKFace name."""
    if faces.rejected.empty:
        return
    from maskmtl.sources import parse_utkface

    taken = set(faces.table["face_id"])
    for row in faces.rejected.to_dict("records"):
        face_id = row["path"]
        while face_id in taken:  # a CSV may name a picture twice
            face_id += " (again)"
        taken.add(face_id)
        labels, problem = (row, None) if LABELS[0] in row else parse_utkface(row["path"])
        known = {name: labels[name] if problem is None else np.nan for name in LABELS}
        for mask in masks:
            drawn = {"mask": mask, "seed": mask_seed(seed, face_id, mask)}
            yield {"face_id": face_id, **drawn, **known, "status": "failed", "reason": row["reason"]}


def audit(table: pd.DataFrame) -> pd.DataFrame:
    """How many faces got no mask, and how many one by the template, overall and per annotated group.

    A face counts once, whatever the number of masks: as 'failed' when any of its masks failed, else as 'template' when
    the landmarks are the mean face's.

    Returns one row per group and metric: by, group, metric, n (faces), count, rate, ci_low, ci_high (Wilson, 95 %) and
    difference, the rate minus that of all faces; rates are 0..1. A label that no face has makes no groups.
    """
    faces = table.assign(failed=table["status"] == "failed", template=table["method"] == "template")
    faces = faces.groupby("face_id", sort=False).agg(
        {"failed": "any", "template": "any", **dict.fromkeys(LABELS, "first")}
    )
    faces["template"] &= ~faces["failed"]
    rows = []
    for by, groups in _groups(faces):
        for group, members in groups:
            for metric in ("failed", "template"):
                n, count = len(members), int(members[metric].sum())
                low, high = wilson(count, n)
                rate = count / n if n else np.nan
                rows.append((by, group, metric, n, count, rate, low, high, rate - faces[metric].mean()))
    columns = ["by", "group", "metric", "n", "count", "rate", "ci_low", "ci_high", "difference"]
    return pd.DataFrame(rows, columns=columns)


def _groups(faces: pd.DataFrame) -> Iterator[tuple[str, list[tuple[str, pd.DataFrame]]]]:
    from maskmtl.tasks import TASKS, Classes

    yield "all", [("all", faces)]
    for label in ("ethnicity", "gender", "age"):
        if faces[label].isna().all():
            continue
        target = TASKS[label].target
        if isinstance(target, Classes):
            order, name = target.names, label
            groups = faces[label].map(dict(enumerate(order))).fillna(UNLABELLED).to_numpy()
        else:
            order, name = AGE_BANDS, "age_band"
            groups = age_band(faces[label])
        yield name, [(group, faces[groups == group]) for group in (*order, UNLABELLED) if (groups == group).any()]


def audit_text(figures: pd.DataFrame) -> str:
    """The audit as a table to read: percentages with their intervals, and the difference to the mean in points."""
    lines = [f"{'':<12}{'faces':>8}   {'failed (95 % interval)':<28}{'template (95 % interval)':<28}"]
    for (by, group), of_group in figures.groupby(["by", "group"], sort=False):
        cells = ""
        for row in of_group.to_dict("records"):
            interval = f"{100 * row['rate']:.2f} % ({100 * row['ci_low']:.2f}-{100 * row['ci_high']:.2f})"
            cells += f"{interval:<20}{'' if by == 'all' else format(100 * row['difference'], '+.2f'):>6}  "
        lines.append(f"{group:<12}{of_group['n'].iloc[0]:>8}   {cells}".rstrip())
    for row in figures[figures["difference"] > LIMIT].to_dict("records"):
        above = f"{100 * row['difference']:.2f} points above the mean, n {row['n']}"
        lines.append(f"{row['group']}: {row['metric']} lies {above}")
    return "\n".join(lines)


def report(table: pd.DataFrame) -> dict[str, Any]:
    """What a run did, for JSON: counts, reasons with their number of overlays, the most frequent first, and audit()."""
    failed = table["status"] == "failed"
    figures = audit(table)
    return {
        "faces": int(table["face_id"].nunique()),
        "overlays": len(table),
        "masked": int((~failed).sum()),
        "failed": int(failed.sum()),
        "template": int((table["method"] == "template").sum()),
        "reasons": {str(reason): int(n) for reason, n in table.loc[failed, "reason"].value_counts().items()},
        "audit": figures.astype(object).where(figures.notna(), None).to_dict("records"),
    }


def write_sheet(faces: Faces, path: Path, masks: Sequence[str], seed: int) -> None:
    """A PNG of one face in every mask or, of several faces, the first ones, a row each."""
    columns = None if len(faces) == 1 else len(masks) + 1
    rows = [
        sheet(faces.images[i], faces.landmarks.points[i], masks, seed, face_id=face_id, columns=columns)
        for i, face_id in enumerate(faces.table["face_id"][:SHEET_FACES])
    ]
    write_bytes(path, _encoded(np.concatenate(rows), "png"))
