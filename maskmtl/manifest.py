"""A data set on disk: one table of faces, their pixels and landmarks."""

import hashlib
import json
import mmap
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from maskmtl.files import temporary_folder, whole_folder
from maskmtl.masks.landmarks import Landmarks
from maskmtl.paths import DEMO, cache_folder
from maskmtl.splits import PROTOCOLS, SPLITS

MANIFEST, PIXELS, LANDMARKS, REJECTED, INFO = (
    "manifest.parquet",
    "faces.u8",
    "landmarks.npz",
    "rejected.csv",
    "prepare.json",
)
FORMAT = 1
Progress = Callable[[int, int | None], object]


class Pixels:
    """(N, S, S, 3) uint8 RGB images that are read from disk when they are indexed; select() copies none."""

    dtype = np.dtype(np.uint8)

    def __init__(self, images: np.ndarray, rows: np.ndarray | None = None) -> None:
        self._images = images
        self._rows = np.arange(len(images)) if rows is None else rows
        self.shape = (len(self._rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | np.integer | slice | np.ndarray | Sequence[int]) -> np.ndarray:
        """One image for an integer, else a stack of them; a copy, so that the mapped pages can be given back."""
        found = np.array(self._images[self._rows[key]])
        mapped = self._images.base
        # what was read counts as this process's memory until the system wants it
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
        return found

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def select(self, rows: np.ndarray) -> "Pixels":
        return Pixels(self._images, self._rows[rows])


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces ready for use; row i of the table, of the images and of the landmarks are the same face.

    table: face_id, group_id, digest (of the picture file), path, split, excluded (a reason, or ""), age (years),
        gender, ethnicity (float, NaN where there is no annotation), and whatever columns the source had.
    images: Pixels, (N, S, S, 3) uint8 RGB, aligned as UTKFace does.
    landmarks: Landmarks of N faces.
    rejected: path and reason of each picture that was not taken.
    """

    table: pd.DataFrame
    images: Pixels
    landmarks: Landmarks
    rejected: pd.DataFrame
    name: str

    def __len__(self) -> int:
        return len(self.table)

    @property
    def digests(self) -> np.ndarray:
        """(N,) uint64, of the picture files, as lists of seen pictures hold them."""
        return np.array([int(digest, 16) for digest in self.table["digest"]], np.uint64)

    def identity(self, tasks: Iterable[str]) -> str:
        """Of pictures and labels together, in any order of the faces: 32 hex digits."""
        order = np.argsort(self.digests, kind="stable")
        told = hashlib.blake2b(self.digests[order].tobytes(), digest_size=16)
        for task in tasks:
            told.update(self.table[task].to_numpy(float)[order].tobytes())
        return told.hexdigest()

    def select(self, rows: np.ndarray | Sequence[int]) -> "Faces":
        """The faces at these indices, or where a boolean array is True."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        table = self.table.iloc[rows].reset_index(drop=True)
        return Faces(table, self.images.select(rows), self.landmarks.select(rows), self.rejected, self.name)

    def in_split(self, split: str) -> "Faces":
        """The faces of one split."""
        if split not in SPLITS:
            raise ValueError(f"split should be one of {list(SPLITS)}, got {split!r}")
        return self.select((self.table["split"] == split).to_numpy())


def is_prepared(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() and (folder / INFO).is_file()


def load_faces(folder: Path, protocol: str = "random") -> Faces:
    """Open a prepared folder; the pixels are mapped, not read."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol should be one of {list(PROTOCOLS)}, got {protocol!r}")
    if not is_prepared(folder):
        raise ValueError(f"faces should be a folder made by `maskmtl prepare`, got {str(folder)!r}")
    info = json.loads((folder / INFO).read_text())
    if info["format"] != FORMAT:
        raise ValueError(f"prepared folder should have format {FORMAT}, got {info['format']}: prepare it again")
    table = pd.read_parquet(folder / MANIFEST)
    table.insert(4, "split", table[protocol])
    table = table.drop(columns=list(PROTOCOLS))
    shape = (len(table), info["size"], info["size"], 3)
    images = np.memmap(folder / PIXELS, np.uint8, "r", shape=shape) if len(table) else np.zeros(shape, np.uint8)
    rejected = pd.read_csv(folder / REJECTED)
    return Faces(table, Pixels(images), Landmarks.load(folder / LANDMARKS), rejected, folder.resolve().name)


def training_folder(source: str, cache: Path, *, progress: Progress | None = None) -> Path:
    """The prepared folder of a source, with the splits that prepare() made: what a model can be trained on.

    A folder that is prepared is its own; 'demo' lies in the user's cache; other sources are prepared once into `cache`,
    and again when a file of theirs has changed; of a CSV that is the CSV. ValueError or OSError for what can't be.
    """
    from maskmtl.prepare import prepare

    if source == "demo":
        with suppress(OSError, RuntimeError):  # the latter for a user without a home
            return _demo_folder(progress)
    path, align = (DEMO / "faces.csv", False) if source == "demo" else (Path(source), None)
    if is_prepared(path):
        return path
    if not path.exists():
        raise ValueError(f"faces should be 'demo', a prepared folder, pictures or a CSV, got {source!r}: not there")
    folder = cache / state_of(path)
    try:
        if not is_prepared(folder):
            prepare(path, folder, align=align, progress=progress)
    except (ValueError, OSError):
        if not is_prepared(folder):  # by another process meanwhile
            raise
    return folder


def state_of(source: Path) -> str:
    """Another text whenever the file, or any file below the folder, has changed. Of a CSV that is the CSV alone."""
    told = hashlib.blake2b(os.fsencode(f"{FORMAT} {source.absolute()}"), digest_size=6)
    for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
        about = file.lstat()
        told.update(os.fsencode(f"{file.relative_to(source)} {about.st_size} {about.st_mtime_ns}"))
    return told.hexdigest()


def save_faces(faces: Faces, out: Path) -> None:
    """Copy the prepared folder that holds these faces (all of it, whatever was selected) to a new folder `out`.

    Raises ValueError where `out` is in the way, OSError where it can't be written; then nothing is left.
    """
    if out.exists():
        raise ValueError(f"out should be a new folder, got {str(out)!r}, which exists")
    if not isinstance(faces.images._images, np.memmap):
        raise ValueError("faces should come from a prepared folder, got faces in memory")
    with whole_folder(out) as partial:
        shutil.copytree(Path(str(faces.images._images.filename)).parent, partial, dirs_exist_ok=True)


def open_faces(source: str | os.PathLike, protocol: str = "random", *, progress: Progress | None = None) -> Faces:
    """Open a prepared folder, 'demo' (the composite faces), or any source that `maskmtl prepare` reads.

    Sources that are not prepared are prepared on the fly: the demo faces once, into the user's cache folder; others,
    and the demo faces where that folder can't be written, into a temporary folder that goes with the returned object.
    They have no splits.
    """
    if str(source) == "demo":
        try:
            folder = _demo_folder(progress)
        except (OSError, RuntimeError):  # the latter for a user without a home
            demo = DEMO / "faces.csv"
            return replace(_open_unprepared(demo, protocol, align=False, progress=progress), name="demo")
        faces = load_faces(folder, protocol)
        return replace(faces, table=faces.table.assign(split=None), name="demo")
    path = Path(source)
    return load_faces(path, protocol) if is_prepared(path) else _open_unprepared(path, protocol, progress=progress)


def _demo_folder(progress: Progress | None) -> Path:
    """Of the demo faces, prepared once into the user's cache. ValueError where the project has none."""
    from maskmtl.prepare import prepare  # prepare itself imports this module

    index = DEMO / "faces.csv"
    if not index.is_file():
        raise ValueError("faces should be 'demo', whose folder data/demo is missing: run `maskmtl demo` to make it")
    folder = cache_folder() / f"demo-{FORMAT}-{index.stat().st_mtime_ns:x}"
    if not is_prepared(folder):
        prepare(index, folder, align=False, progress=progress, overwrite=True)
    return folder


def _open_unprepared(
    path: Path, protocol: str, *, align: bool | None = None, progress: Progress | None = None
) -> Faces:
    from maskmtl.prepare import prepare

    temporary, remove = temporary_folder()
    try:
        folder = temporary / (path.resolve().name.split(".")[0] or "faces")
        prepare(path, folder, align=align, progress=progress)
        faces = load_faces(folder, protocol)
    except BaseException:
        remove()
        raise
    weakref.finalize(faces.images._images, remove)
    return replace(faces, table=faces.table.assign(split=None, excluded=""))
