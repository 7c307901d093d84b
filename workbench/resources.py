"""Every cache and the lock. Nothing that a person uploads comes here: uploads live in the session's own state."""

import base64
import gc
import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd
import streamlit as st
import torch

from analyses.fairness.groups import group_labels
from analyses.reference import FILE, Reference, load_reference
from maskmtl.checkpoint import CARD, available_models, load_model, model_folder
from maskmtl.inference import predict
from maskmtl.manifest import Faces, Progress, is_prepared, open_faces, state_of
from maskmtl.masks import FaceMesh
from maskmtl.networks import MaskMTL
from maskmtl.paths import MODELS
from maskmtl.photo import FoundFace, find_faces, read_photo
from maskmtl.runs import Run, Runs

T = TypeVar("T")
TURN = 32  # faces for which a run over a data set holds the lock
THUMBNAIL = 96  # px
OPEN = 3  # data sets kept open


@st.cache_resource
def _lock() -> threading.Lock:
    return threading.Lock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Sessions share models, whose hooks and modes belong to one call at a time, and the face mesh."""
    with _lock():
        yield


@st.cache_resource(max_entries=8, show_spinner="Loading the model …")
def _model(name: str, stamp: int) -> MaskMTL:
    return load_model(name)


def model(name: str) -> MaskMTL:
    """A model by name or run folder, loaded once and when its files change. ValueError or OSError if it can't be."""
    return _model(*version(name))


def version(name: str) -> tuple[str, int]:
    """A model as it is now: a run that trains on writes better weights into the same folder."""
    return name, _stamp(MODELS / name / CARD) or _stamp(Path(name) / CARD)


@st.cache_resource(max_entries=4, show_spinner=False)
def _reference(name: str, stamp: int, model_stamp: int) -> Reference | None:
    return load_reference(model_folder(name), model(name))


def reference(name: str) -> Reference | None:
    """What is known beforehand of faces a model has not seen; None where nothing is. ValueError for a broken one."""
    folder = model_folder(name)
    return _reference(name, _stamp(folder / FILE), _stamp(folder / CARD))


@st.cache_resource(show_spinner=False)
def settle() -> None:
    """Spare the garbage collector, which runs after every page, what is loaded once: libraries, models."""
    if st.runtime.exists():  # a server, not a test: what a test makes should go with it
        gc.collect()
        gc.freeze()


def model_or_none(name: str) -> MaskMTL | None:
    """The model, or None where it can't be loaded."""
    try:
        return model(name) if name else None
    except (ValueError, OSError):
        return None


def offered_models() -> dict[str, str]:
    """Models to choose from: a name or a run's folder, and what it is called. Those of the project come first.

    ValueError or OSError where their cards can't be read.
    """
    names = {str(card["name"]): str(card["name"]) for card in available_models()}
    return names | {str(run.folder): f"{run.name} (run)" for run in known_runs()[0] if run.has_model()}


def offered_as(name: str) -> str:
    """How `offered_models` calls a model that is named by a run's name or another path; '' where it offers none."""
    try:
        folder = model_folder(name).resolve()
    except ValueError:  # it has been deleted since
        return ""
    return next((one for one in offered_models() if model_folder(one).resolve() == folder), "")


def known_runs() -> tuple[list[Run], str]:
    """All runs, newest first, and ''; none of them, and the reason, where they can't be listed."""
    try:
        return Runs().all(), ""
    except (ValueError, OSError) as error:
        return [], str(error)


def default_model() -> str:
    """The project's default, or '' where there is none."""
    return next(iter(offered_models()), "")


def called(name: str) -> str:
    """How the pages call a model that is named by its name or folder."""
    try:
        return offered_models().get(name, short(name))
    except (ValueError, OSError):
        return short(name)


def short(source: str) -> str:
    """A name stays, a path is told by its last part."""
    return Path(source).name or source


@dataclass
class _Sets:
    """The sets of faces that are open, and a lock for each that is being opened; `lock` is for these two."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    opened: dict[Hashable, Faces] = field(default_factory=dict)
    opening: dict[Hashable, threading.Lock] = field(default_factory=dict)


@st.cache_resource
def _sets() -> _Sets:
    return _Sets()


def faces(source: str, protocol: str = "random", progress: Progress | None = None) -> Faces:
    """A folder of the machine that runs the workbench, or 'demo'. ValueError or OSError if it can't be opened.

    The last few stay open. Who wants a set that another session is opening waits for it, and may stop waiting in
    `progress`. (Not by `cache_resource`, which forbids the progress bar.)
    """
    key, sets = (source, protocol, _state(source)), _sets()
    with sets.lock:
        if key in sets.opened:
            return sets.opened[key]
        mine = sets.opening.setdefault(key, threading.Lock())
    while not mine.acquire(timeout=1):
        if progress is not None:
            progress(0, None)
    try:
        with sets.lock:
            found = sets.opened.get(key)
        if found is None:
            found = open_faces(source, protocol, progress=progress)
            with sets.lock:
                while len(sets.opened) >= OPEN:
                    del sets.opened[next(iter(sets.opened))]
                sets.opened[key] = found
        return found
    finally:
        with sets.lock:
            sets.opening.pop(key, None)
        mine.release()


def _state(source: str) -> str | int:
    """Another one when faces have changed on disk; a prepared folder, where training keeps drawn masks, has its own."""
    if source == "demo":
        return 0
    try:
        return _stamp(Path(source)) if is_prepared(Path(source)) else state_of(Path(source))
    except OSError:  # `open_faces` says what is wrong
        return 0


def device_words(device: torch.device) -> str:
    """What the models run on, by name: 'the GPU (NVIDIA A10)'."""
    if device.type == "cuda":
        return f"the GPU ({torch.cuda.get_device_name(device)})"
    why = "the GPU's memory ran out" if torch.cuda.is_available() else "there is no GPU"
    threads = torch.get_num_threads()
    return f"the CPU ({threads} {'thread' if threads == 1 else 'threads'}), as {why}"


def typed(path: str) -> str:
    """A path or name from what a person types: '~' is the home of who runs the workbench."""
    return os.path.expanduser(path.strip())


def folder_problem(path: str) -> str | None:
    """Why nothing can be read at a path, or None."""
    try:
        if Path(path).is_dir():
            with os.scandir(path) as entries:
                next(entries, None)
        elif Path(path).exists() and not Path(path).is_file():  # a pipe would keep us waiting
            return f"{path} is neither a folder nor a file."
        else:
            Path(path).open("rb").close()
    except FileNotFoundError:
        return f"There is nothing at {path}."
    except PermissionError:
        return f"The workbench has no right to read {path}: grant it, or copy the faces elsewhere."
    except (OSError, ValueError) as error:
        return f"{path} can't be opened: {getattr(error, 'strerror', None) or error}."
    return None


def has_splits(path: str) -> bool:
    """Whether a path is a folder that `maskmtl prepare` made; only those have splits."""
    try:
        return is_prepared(Path(path))
    except OSError:  # a folder that may be listed and not entered
        return False


@st.cache_data
def demo_groups() -> pd.DataFrame:
    """The demo faces' age band, gender and ethnicity in words, one row each."""
    table = faces("demo").table
    return pd.DataFrame({by: group_labels(table, by).astype(str) for by in ("age_band", "gender", "ethnicity")})


@st.cache_data(max_entries=2000, show_spinner=False)
def demo_thumbnail(row: int) -> str:
    """A demo face as a data URI."""
    return data_uri(faces("demo").images[row], THUMBNAIL)


@st.cache_data(show_spinner=False)
def mean_demo_face() -> np.ndarray:
    """(H, H, 3) uint8, the average of the demo faces: what averages of maps are drawn over."""
    return np.rint(faces("demo").images[:].mean(axis=0)).astype(np.uint8)


def data_uri(image: np.ndarray, size: int, quality: int = 85) -> str:
    """(H, H, 3) uint8 RGB as a JPEG data URI of `size` px."""
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def found_faces(data: bytes) -> tuple[np.ndarray, list[FoundFace]]:
    """A photo file and the faces in it; ValueError if it is no whole picture."""
    with one_at_a_time():  # a large picture takes a gigabyte while it is read
        photo = read_photo(data)
        return photo, find_faces(photo)


@st.cache_resource
def _mesh() -> FaceMesh:
    return FaceMesh()


def landmarks(crop: np.ndarray) -> tuple[np.ndarray, float, str]:
    """Landmarks of an aligned crop, their confidence 0..1, and how they were found."""
    with one_at_a_time():
        return _mesh()(crop)


def predict_in_turns(
    model: MaskMTL, chosen: Faces, masks: Sequence[str], seed: int, progress: Callable[[int, int], object]
) -> pd.DataFrame:
    """predict() that lets other sessions in between; `progress` may raise to stop it."""
    parts = []
    for start in range(0, len(chosen), TURN):
        progress(start, len(chosen))
        turn = chosen.select(np.arange(start, min(start + TURN, len(chosen))))
        with one_at_a_time():
            parts.append(predict(model, turn, masks=masks, seed=seed))
    progress(len(chosen), len(chosen))
    return pd.concat(parts, ignore_index=True)


def remember(slot: str, key: Hashable, make: Callable[[], T]) -> T:
    """`make()`, kept in this session until `key` changes: one value for each slot."""
    kept = st.session_state.get(slot)
    if kept is None or kept[0] != key:
        st.session_state[slot] = None  # free the old value first
        kept = st.session_state[slot] = (key, make())
    return kept[1]


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
