"""Writing so that a reader sees the old file or the new one, never half of one."""

import fcntl
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

TEMPORARY = "maskmtl-"  # how our temporary folders begin
FRESH = 60.0  # s in which one may not be locked yet
UMASK = os.umask(0)  # can only be read by setting it
os.umask(UMASK)


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary name beside `path`, then move the result into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        write(partial)
        partial.chmod(0o666 & ~UMASK)  # some writers make private files
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder beside `path` to fill, which becomes it when the block ends well; else all is as it was.

    replace: whether what is there already, a folder of its own and no link, may go. Raises FileExistsError otherwise.
    """
    if path.is_symlink() or os.path.ismount(path):
        raise FileExistsError(f"{str(path)!r} is a link or a mount, which can't be replaced: name a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _beside(path), None
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            if not replace:
                raise FileExistsError(f"{str(path)!r} exists by now: name a new folder")
            old = _beside(path)
            os.rename(path, old)
        try:
            os.rename(partial, path)
        except OSError:
            if old is not None:
                os.rename(old, path)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if old is not None and path.exists():
            shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A name of our own for what is not whole yet."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}.partial")


def write_bytes(path: Path, data: bytes) -> None:
    write_atomic(path, lambda partial: partial.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """As .npy, without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def temporary_folder() -> tuple[Path, Callable[[], None]]:
    """A folder of our own for what must not last, and what removes it. While it lasts it is locked: `sweep` tells."""
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)

    return folder, remove


def sweep() -> None:
    """Remove the temporary folders of processes that were killed, or that went with the machine, before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        try:
            if time.time() - folder.stat().st_mtime < FRESH:
                continue
            lock = os.open(folder, os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # of another user, or gone
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
