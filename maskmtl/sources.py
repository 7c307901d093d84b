"""Where faces come from: the UTKFace archive, a folder, a ZIP, or a CSV; each picture with its annotations.

Nothing is guessed: a name or row that lacks an annotation is reported with its reason.
"""

import io
import lzma
import os
import re
import stat
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pandas as pd

from maskmtl.splits import PROTOCOLS, SPLITS
from maskmtl.tasks import TASKS, Classes, Scalar

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
LARGEST = 100  # MB of a picture's file, unpacked: a ZIP of a few kB can hold gigabytes
TWICE = "the archive has a file of this name already"
_UTKFACE = re.compile(r"\d{1,3}_[\d_]*\d{8,}")  # of names that lack a field as well
_NAMED = ("age", "gender", "ethnicity")  # what UTKFace's names hold, in this order
_CAPTURED = re.compile(r"\d{8,}")


@dataclass(frozen=True)
class Picture:
    """One picture before it is decoded: bytes and annotations, or the reason why it can't be used."""

    path: str
    data: bytes = b""
    columns: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None


def is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not PurePosixPath(name).name.startswith(".")


def stem(path: str) -> str:
    """The path without its folder's suffixes: a/b.jpg.chip.jpg -> a/b."""
    pure = PurePosixPath(path)
    name = pure.name.split(".")[0]
    if name.lower().endswith(("jpg", "png")) and name[:-3].isascii() and name[:-3][-1:].isdigit():
        name = name[:-3]  # one name of the official archive lacks its dot
    return str(pure.with_name(name.strip() or pure.name))


def label_problem(labels: Mapping[str, Any]) -> str | None:
    """Why these labels can't be used, or None. A missing label (NaN) is allowed; one out of range is not."""
    for name, value in labels.items():
        if pd.isna(value):
            continue
        target = TASKS[name].target
        if isinstance(target, Classes):
            valid = value in range(len(target.names))
            expected = f"0..{len(target.names) - 1} ({', '.join(target.names)})"
        else:
            valid = target.low <= value <= target.high
            expected = f"{target.low:g}..{target.high:g} {target.unit}"
        if not valid:
            return f"{name} should be in {expected}, got {value:g}"
    return None


def looks_like_utkface(names: list[str]) -> bool:
    """True when most names start as UTKFace's do: numbers, the first an age, the last a time of capture."""
    hits = sum(bool(_UTKFACE.match(PurePosixPath(name).name)) for name in names)
    return hits * 2 > len(names)


def parse_utkface(path: str) -> tuple[dict[str, Any], str | None]:
    """Annotations in a name [age]_[gender]_[ethnicity]_[yyyymmddHHMMSSFFF].jpg(.chip.jpg), and a reason if unusable."""
    fields = PurePosixPath(stem(path)).name.split("_")
    if len(fields) != 4 or not all(fields):
        present = sum(bool(f) for f in fields)
        return {}, f"the name should have 4 fields, age_gender_ethnicity_captured, got {present}"
    if not all(f.isdecimal() for f in fields[:3]) or not _CAPTURED.match(fields[3]):
        return {}, f"the name should have numbers age_gender_ethnicity_yyyymmdd..., got {'_'.join(fields)!r}"
    labels: dict[str, Any] = {name: float(f) for name, f in zip(_NAMED, fields, strict=False)}
    return {**labels, "captured": fields[3]}, label_problem(labels)


def read_source(source: Path) -> tuple[Iterator[Picture], int, bool]:
    """Open a source of faces.

    Returns:
        its pictures, their number, and whether they are aligned crops with UTKFace names.
    """
    if not source.exists():
        raise ValueError(f"source should be an archive, a folder or a CSV, got {str(source)!r}, which does not exist")
    if source.is_dir():
        closed: list[OSError] = []
        below = [Path(folder) / name for folder, _, names in os.walk(source, onerror=closed.append) for name in names]
        files = sorted(path for path in below if is_image(path.name) and path.is_file())
        names = [_printable(p.relative_to(source).as_posix()) for p in files]
        if not names:
            raise ValueError(
                f"folder should hold pictures ({', '.join(IMAGE_SUFFIXES)}), got none in {str(source)!r}"
                + (f", where {len(closed)} folders can't be read" if closed else "")
            )
        utkface = looks_like_utkface(names)
        hidden = (_closed(source, error) for error in closed)
        return chain(_from_folder(files, names, utkface), hidden), len(names) + len(closed), utkface
    if source.name.lower().endswith(ARCHIVE_SUFFIXES):
        return _read_archive(source)
    if source.suffix.lower() == ".zip":
        return _read_zip(source)
    if source.suffix.lower() == ".csv":
        table = _read_csv(source)
        return _from_table(table, lambda path: _read_file(source.parent / path)), len(table), False
    raise ValueError(f"source should be a folder, a .zip, a .tar.gz or a .csv, got {str(source)!r}")


def _utkface_picture(path: str, data: bytes) -> Picture:
    columns, reason = parse_utkface(path)
    return Picture(path, data, columns, reason)


def _closed(source: Path, error: OSError) -> Picture:
    """Of a folder that can't be looked into: it stands among what was not taken."""
    name = _printable(Path(error.filename).relative_to(source).as_posix())
    return Picture(name, reason=f"the folder can't be read: {error.strerror}")


def _too_large() -> str:
    return f"it is larger than {LARGEST} MB"


def _read_file(path: Path) -> bytes:
    """OSError where it is no file, such as a device or a pipe, or too large."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError("it is no file")
    if about.st_size > LARGEST * 2**20:
        raise OSError(_too_large())
    return path.read_bytes()


def _from_folder(files: list[Path], names: list[str], utkface: bool) -> Iterator[Picture]:
    for file, name in zip(files, names, strict=True):
        try:
            data = _read_file(file)
        except OSError as error:
            yield Picture(name, reason=f"the file can't be read: {error.strerror or error}")
            continue
        yield _utkface_picture(name, data) if utkface else Picture(name, data)


def _read_archive(source: Path) -> tuple[Iterator[Picture], int, bool]:
    """As a folder; paths are below the folder that all of it lies in, where there is one."""
    names = [PurePosixPath(member.name) for _, member in _members(source)]
    if not names:
        raise ValueError(f"archive should hold pictures ({', '.join(IMAGE_SUFFIXES)}), got none in {str(source)!r}")
    above = 1 if len({name.parts[0] for name in names}) == 1 and min(len(name.parts) for name in names) > 1 else 0
    utkface = looks_like_utkface([str(name) for name in names])
    return _from_archive(source, above, utkface), len(names), utkface


def _from_archive(source: Path, above: int, utkface: bool) -> Iterator[Picture]:
    taken: set[str] = set()
    for archive, member in _members(source):
        path = _printable(str(PurePosixPath(*PurePosixPath(member.name).parts[above:])))
        if path in taken:
            yield Picture(path, reason=TWICE)
            continue
        taken.add(path)
        if member.size > LARGEST * 2**20:
            yield Picture(path, reason=f"the file can't be read: {_too_large()}")
            continue
        file = archive.extractfile(member)
        assert file is not None  # it is a file
        yield _utkface_picture(path, file.read()) if utkface else Picture(path, file.read())


def _members(source: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The pictures of an archive, in its order; it is read from its beginning."""
    try:
        with tarfile.open(source, "r|*") as archive:
            yield from ((archive, member) for member in archive if member.isfile() and is_image(member.name))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(
            f"archive should be a whole .tar.gz, got {str(source)!r}, which breaks off: {error}"
        ) from error


def _printable(name: str) -> str:
    """A name whose bytes are no UTF-8 can't stand in a table: 'J\xf6rg.jpg' with its backslash."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _read_zip(source: Path) -> tuple[Iterator[Picture], int, bool]:
    """As a folder; where it holds one CSV, that tells which pictures count, by paths beside it, and what they show."""
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise ValueError(f"archive should be a whole .zip, got {str(source)!r}: {error}") from error
    files = [name for name in archive.namelist() if not PurePosixPath(name).name.startswith(".")]
    tables = [name for name in files if name.lower().endswith(".csv")]
    names = sorted(name for name in files if is_image(name))
    if len(tables) > 1:
        raise ValueError(f"archive should hold at most one CSV, which tells what its pictures show, got {tables}")
    if tables:
        try:
            table = _read_csv(io.BytesIO(_unpack(archive, tables[0])), f"{source}/{tables[0]}")
        except OSError as error:
            raise ValueError(f"the archive's CSV should be readable, got {tables[0]!r}: {error}") from error
        beside = PurePosixPath(tables[0]).parent
        return _from_table(table, lambda path: _unpack(archive, str(beside / path))), len(table), False
    if not names:
        raise ValueError(f"archive should hold pictures ({', '.join(IMAGE_SUFFIXES)}), got none in {str(source)!r}")
    utkface = looks_like_utkface(names)
    return _from_zip(archive, names, utkface), len(names), utkface


def _from_zip(archive: zipfile.ZipFile, names: list[str], utkface: bool) -> Iterator[Picture]:
    taken: set[str] = set()
    for name in names:
        if name in taken:
            yield Picture(name, reason=TWICE)
            continue
        taken.add(name)
        try:
            data = _unpack(archive, name)
        except OSError as error:
            yield Picture(name, reason=f"the file can't be read: {error}")
            continue
        yield _utkface_picture(name, data) if utkface else Picture(name, data)


def _unpack(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file; OSError where it is broken, encrypted, missing or too large."""
    try:
        with archive.open(name) as file:
            data = file.read(LARGEST * 2**20 + 1)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, KeyError) as error:
        raise OSError(str(error.args[0]) if error.args else repr(error)) from error
    if len(data) > LARGEST * 2**20:
        raise OSError(_too_large())
    return data


def csv_paths(source: Path) -> list[str]:
    """The pictures that a CSV names, as they will be read. ValueError for one that can't be used."""
    return list(map(str, _read_csv(source)["path"]))


def _read_csv(source: Path | IO[bytes], name: str = "") -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields beyond the header's
            table = pd.read_csv(source, dtype={"path": str, "captured": str}, low_memory=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(
            f"CSV should have a header with a column 'path', got {name or str(source)!r}: {error}"
        ) from error
    if "path" not in table or table["path"].isna().any():
        raise ValueError(f"CSV should have a column 'path', filled in every row, got columns {list(table.columns)}")
    reserved = sorted({"digest", "group_id", "face_id", "excluded", *PROTOCOLS} & set(table.columns))
    if reserved:
        raise ValueError(f"CSV columns {reserved} are names that the manifest makes itself: rename them")
    if "split" in table and not (known := table["split"].dropna()).isin(SPLITS).all():
        raise ValueError(
            f"CSV column 'split' should hold {', '.join(SPLITS)} or nothing, got {sorted({str(v) for v in known})}"
        )
    return table


def _from_table(table: pd.DataFrame, read: Callable[[str], bytes]) -> Iterator[Picture]:
    taken: set[str] = set()
    for row in table.to_dict("records"):
        path = str(row.pop("path"))
        labels, reason = _own_labels(row)
        if path in taken:
            reason = reason or "the path stands in an earlier row as well"
        data = b""
        if reason is None:
            try:
                data = read(path)
            except (OSError, ValueError) as error:  # the latter for a path that can be none
                reason = f"the file can't be read: {getattr(error, 'strerror', None) or error}"
        if reason is None:
            taken.add(path)
        yield Picture(path, data, {**row, **labels}, reason)


def _own_labels(row: Mapping[str, Any]) -> tuple[dict[str, float], str | None]:
    """Labels of a CSV row: numbers as UTKFace codes them, or the classes' names."""
    labels: dict[str, float] = {}
    for name, spec in TASKS.items():
        value = row.get(name, float("nan"))
        if isinstance(value, str):
            names = spec.target.names if isinstance(spec.target, Classes) else ()
            text = value.strip().lower()
            if text in names:
                value = names.index(text)
            else:
                try:
                    value = float(text)
                except ValueError:
                    target = spec.target
                    expected = f"a number of {target.unit}" if isinstance(target, Scalar) else f"one of {list(names)}"
                    return {}, f"{name} should be {expected}, got {value!r}"
        labels[name] = float(value)
    captured = row.get("captured")
    if isinstance(captured, str) and not _CAPTURED.match(captured):
        return {}, f"captured should be yyyymmdd..., got {captured!r}"
    return labels, label_problem(labels)
