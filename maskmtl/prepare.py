"""`maskmtl prepare`: one pass over a source of faces into a manifest, a uint8 pixel cache and landmarks."""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maskmtl import __version__
from maskmtl.duplicates import group_faces, thumbnail
from maskmtl.files import whole_folder, write_json
from maskmtl.manifest import FORMAT, INFO, LANDMARKS, MANIFEST, PIXELS, REJECTED, Progress, is_prepared
from maskmtl.masks.landmarks import FaceMesh, Landmarks
from maskmtl.photo import centre_square, find_faces, read_photo, shrink
from maskmtl.sources import Picture, read_source, stem
from maskmtl.splits import conflicting, parts_split, random_split
from maskmtl.tasks import TASKS
from maskmtl.workers import Workers

SIZE = 200  # px, UTKFace's own
CHUNK = 32  # pictures a worker takes at once,
BYTES = 64 * 2**20  # or fewer, when their files hold this much together


@dataclass(frozen=True)
class Prepared:
    """What prepare() did: faces taken, pictures rejected, faces whose landmarks are the template, faces excluded, and
    faces with a near-duplicate in another split (only where the source brought its own splits)."""

    faces: int
    rejected: int
    template: int
    excluded: int
    divided: int


@dataclass(frozen=True)
class _Face:
    path: str
    columns: dict[str, Any]
    pixels: np.ndarray
    landmarks: tuple[np.ndarray, float, str]
    digest: str


def prepare(
    source: Path,
    out: Path,
    *,
    align: bool | None = None,
    size: int = SIZE,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Read `source` (UTKFace archive, ZIP, folder, or CSV with a column 'path') into the folder `out`.

    align: find the face in each picture and crop it as UTKFace does. None: only for sources without UTKFace names.
    size: side of the cached crops, in px. seed: of the `random` protocol. workers: processes;
    more than one need a script with the usual `if __name__ == "__main__"`.
    The folder appears whole or not at all.

    Raises ValueError when the source can't be used, holds no usable face, or `out` is in the way; OSError when `out`
    can't be written or is a link or a mount.
    """
    if not 48 <= size <= 1024:
        raise ValueError(f"size should be in 48..1024 px, got {size}")
    if out.exists() and not (overwrite and (is_prepared(out) or not any(out.iterdir()))):
        hint = "add --overwrite to replace it" if is_prepared(out) else "name a new folder"
        raise ValueError(f"out should be a new folder, got {str(out)!r}, which exists: {hint}")
    pictures, total, aligned = read_source(Path(source))
    align = not aligned if align is None else align
    with whole_folder(out, replace=overwrite) as partial:
        return _write(pictures, total, partial, align=align, size=size, seed=seed, workers=workers, progress=progress)


def _write(
    pictures: Iterator[Picture],
    total: int | None,
    folder: Path,
    *,
    align: bool,
    size: int,
    seed: int,
    workers: int,
    progress: Progress | None,
) -> Prepared:
    rows: list[dict[str, Any]] = []
    thumbnails: list[np.ndarray] = []
    landmarks: list[tuple[np.ndarray, float, str]] = []
    rejected: list[tuple[str, str]] = []
    with open(folder / PIXELS, "wb") as pixels:
        for seen, result in enumerate(_decode_all(pictures, align, size, workers), start=1):
            if isinstance(result, _Face):
                rows.append({"path": result.path, "digest": result.digest, **result.columns})
                pixels.write(result.pixels.tobytes())
                thumbnails.append(thumbnail(result.pixels))
                landmarks.append(result.landmarks)
            else:
                rejected.append(result)
            if progress is not None:
                progress(seen, total)
    if not rows:
        first = f"; the first: {rejected[0][0]}: {rejected[0][1]}" if rejected else ""
        raise ValueError(f"source should hold at least one usable face, got none of {len(rejected)} pictures{first}")
    table = _manifest(pd.DataFrame(rows), np.stack(thumbnails), seed)
    table.to_parquet(folder / MANIFEST, index=False)
    found = Landmarks.stack(landmarks)
    found.save(folder / LANDMARKS)
    pd.DataFrame(rejected, columns=["path", "reason"]).to_csv(folder / REJECTED, index=False)
    sides = table.groupby("group_id")["random"].transform("nunique")
    done = Prepared(
        faces=len(rows),
        rejected=len(rejected),
        template=int((found.method == "template").sum()),
        excluded=int((table["excluded"] != "").sum()),
        divided=int((sides > 1).sum()),
    )
    options = {"format": FORMAT, "version": __version__, "size": size, "seed": seed, "aligned_here": align}
    write_json(folder / INFO, {**options, **asdict(done)})
    return done


def _manifest(table: pd.DataFrame, thumbnails: np.ndarray, seed: int) -> pd.DataFrame:
    names = table["path"].map(stem)
    table["face_id"] = table["path"].where(names.duplicated(keep=False), names)
    for name in TASKS:
        table[name] = table[name].astype(float) if name in table else np.nan
    groups = group_faces(thumbnails, table["digest"].to_numpy())
    table["group_id"] = table["face_id"].groupby(groups).transform("min")
    conflict = conflicting(table)
    table["excluded"] = np.where(conflict, "near-duplicates with conflicting annotations", "")
    own = table.get("split")
    table["random"] = random_split(table, seed=seed) if own is None else own
    table["parts"] = parts_split(table)
    table.loc[conflict, ["random", "parts"]] = None
    first = ["face_id", "group_id", "digest", "path", "excluded", *TASKS, "random", "parts"]
    return table[first + [c for c in table.columns if c not in (*first, "split")]]


def _some(pictures: Iterator[Picture], n: int) -> list[Picture]:
    """The next n pictures, or fewer where their files are large."""
    found: list[Picture] = []
    size = 0
    while len(found) < n and size < BYTES and (picture := next(pictures, None)) is not None:
        found.append(picture)
        size += len(picture.data)
    return found


def _decode_all(pictures: Iterator[Picture], align: bool, size: int, workers: int) -> Iterator[_Face | tuple[str, str]]:
    """Faces, or (path, reason), in the order of the pictures, by a pool that never holds more than it needs."""
    first = _some(pictures, 2 * CHUNK)
    more = _some(pictures, 1)
    if workers == 1 or not more:  # a pool would cost more than it saves
        for picture in chain(first, more, pictures):
            yield _decode(picture, align, size)
        return
    with Workers(workers) as pool:
        waiting: deque[Future] = deque()
        rest = chain(first, more, pictures)
        try:
            while chunk := _some(rest, CHUNK):
                waiting.append(pool.submit(_decode_chunk, chunk, align, size))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _decode_chunk(chunk: list[Picture], align: bool, size: int) -> list[_Face | tuple[str, str]]:
    return [_decode(picture, align, size) for picture in chunk]


@cache
def _mesh() -> FaceMesh:
    return FaceMesh()


def _decode(picture: Picture, align: bool, size: int) -> _Face | tuple[str, str]:
    if picture.reason is not None:
        return picture.path, picture.reason
    try:
        photo = read_photo(picture.data)
    except ValueError as error:
        return picture.path, str(error)
    if align:
        found = find_faces(photo)
        if len(found) != 1:
            return picture.path, f"the picture should show one face, got {len(found) or 'none'}"
        photo = found[0].crop
    crop = shrink(centre_square(photo), size)
    # of the file, not of its pixels: decoders differ from machine to machine
    digest = hashlib.blake2b(picture.data, digest_size=8).hexdigest()
    return _Face(picture.path, dict(picture.columns), crop, _mesh()(crop), digest)
