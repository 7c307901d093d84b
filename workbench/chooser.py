"""Which face or set of faces a page is about. Pages share the choice."""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from analyses.face import describe
from maskmtl.evaluation import CHOICES
from maskmtl.manifest import Faces, Progress
from maskmtl.photo import centre_square, shrink
from maskmtl.splits import PROTOCOLS
from maskmtl.tasks import TaskSpec
from workbench import parts, resources
from workbench.address import keep, kept, kept_text
from workbench.uploads import UPLOAD, choose_upload, uploaded

DEMO, PHOTO, PICKED = "Demo faces", "Your photo", "From the data set"
FOLDER, UPLOADED = "A folder", "Upload"
ANY = "any"
FILTERS = {"age_band": "Age", "gender": "Gender", "ethnicity": "Ethnicity"}
SHOWN = 8  # demo faces offered at once
LARGEST = 400  # px of a picture that is taken as an aligned crop


@dataclass(frozen=True)
class ChosenFace:
    """An aligned face.

    Attributes:
        crop: (H, H, 3) uint8.
        points, presence, method: its landmarks, (468, 3), their confidence 0..1, and how they were found.
        face_id: what its masks are drawn by.
        note: where it comes from, in a sentence or two.
        labels: annotations by task.
    """

    crop: np.ndarray
    points: np.ndarray
    presence: float
    method: str
    face_id: str
    note: str
    labels: Mapping[str, float] = field(default_factory=dict)

    def key(self) -> Hashable:
        """What tells it from other faces."""
        return self.face_id, self.crop.tobytes(), self.points.tobytes(), tuple(self.labels.items())


class ChosenSet(NamedTuple):
    """A set of faces, as `open_set` and `choose` take it. (A tuple: Streamlit makes classes anew, and compares by
    value.)"""

    source: str
    protocol: str
    split: str

    @property
    def is_upload(self) -> bool:
        """Whether it belongs to its session, so that no address may name it."""
        return self.source.startswith(UPLOAD)


def open_set(chosen: ChosenSet, progress: Progress | None = None) -> Faces:
    """All faces of the source. ValueError or OSError if it can't be opened."""
    if chosen.is_upload:
        return uploaded(chosen.source)
    return resources.faces(chosen.source, chosen.protocol, progress)


def pick(chosen: ChosenSet, face_id: str) -> None:
    """Make a face of a set the one that pages show."""
    st.session_state["face_picked"] = (chosen.source, chosen.protocol, face_id)
    st.session_state["face_source"] = PICKED


def choose_face(specs: Mapping[str, TaskSpec]) -> ChosenFace | None:
    """The widgets for a face, annotated in words by `specs`; None while there is none. Pages share the choice."""
    if (linked := kept_text("face")) and linked.count("|") >= 2:
        source, protocol, face_id = linked.rsplit("|", 2)
        st.session_state["face_picked"] = source, protocol, face_id
    picked: tuple[str, str, str] | None = st.session_state.get("face_picked")
    where = kept(
        st.segmented_control, "Where the face comes from", [DEMO, PHOTO, *([PICKED] if picked else [])], default=DEMO,
        required=True, key="face_source", label_visibility="collapsed",
    )  # fmt: skip
    if where == PICKED and picked:
        return _picked(*picked, specs)
    return _choose_demo(specs) if where == DEMO else _choose_photo()


def _picked(source: str, protocol: str, face_id: str, specs: Mapping[str, TaskSpec]) -> ChosenFace | None:
    """A face that was picked from a set, or that a link names."""
    place, chosen = st.empty(), ChosenSet(source, protocol, "all")
    try:
        faces = open_set(chosen, parts.opening(place))
        place.empty()
    except (ValueError, OSError) as error:
        st.error(parts.plain(f"This face can't be shown: {error}."))
        return None
    rows = np.flatnonzero(faces.table["face_id"].astype(str) == face_id)
    if not len(rows):
        st.error(parts.plain(f"There is no face {face_id} in {faces.name}."))
        return None
    if not chosen.is_upload:
        keep("face", "|".join((source, protocol, face_id)))
    return _face_of(faces, int(rows[0]), specs, f"Face {face_id} of {faces.name}. ")


def _face_of(faces: Faces, row: int, specs: Mapping[str, TaskSpec], note: str = "") -> ChosenFace:
    face, found = faces.table.iloc[row], faces.landmarks
    labels = {task: float(face[task]) for task in specs if task in faces.table}
    known = describe(specs, labels)
    note += "No annotations." if known == "no annotations" else f"Annotated {known}."
    if "n" in face and faces.name == "demo":
        note += f" A composite of {int(face['n'])} faces: it shows nobody."
    return ChosenFace(
        np.asarray(faces.images[row]), found.points[row], float(found.presence[row]), str(found.method[row]),
        str(face["face_id"]), note, labels,
    )  # fmt: skip


def _choose_demo(specs: Mapping[str, TaskSpec]) -> ChosenFace | None:
    """Filters and a strip of faces to pick from."""
    try:
        with st.spinner("Opening the demo faces …"):
            faces, groups = resources.faces("demo"), resources.demo_groups()
    except (ValueError, OSError) as error:
        st.warning(parts.plain(f"The demo faces can't be shown: {error}. You can still use a photo of your own."))
        return None
    left = groups
    with st.container(key="filters"):
        for column, (by, name) in zip(st.columns(3, wrap=False), FILTERS.items(), strict=True):
            options = [ANY, *sorted(groups[by].unique(), key=lambda group: (group == "unlabelled", _order(group)))]
            value = kept(column.selectbox, name, options, key=f"demo_{by}")
            left = left if value == ANY else left[left[by] == value]
    if left.empty:
        st.info("No demo face is annotated so. Set one of the three back to ‘any’.")
        return None
    order = _shuffled(left, st.session_state.get("demo_shuffle", 0))
    wanted = kept_text("demo_face")
    row = int(wanted) if wanted and wanted.isdecimal() and len(wanted) < 9 else st.session_state.get("demo_face")
    if row in left.index and row not in order:  # a link's, or the one shown when the filters changed
        order = [row, *order[:-1]]
    row = kept(
        st.pills, "Composite faces: click one", order, default=order[0], required=True, key="demo_face",
        usual=_shuffled(left, 0)[:1],
        format_func=lambda i: f"![{' '.join(groups.loc[i])}]({resources.demo_thumbnail(i)})",
    )  # fmt: skip
    st.button("Show others", icon=":material/shuffle:", on_click=_shuffle, disabled=len(left) <= SHOWN)
    return _face_of(faces, order[0] if row not in order else row, specs)


def _shuffled(faces: pd.DataFrame, times: int) -> list[Any]:
    """The rows of some faces, others each time."""
    rows: list[Any] = faces.sample(frac=1, random_state=times).index[:SHOWN].to_list()
    return rows


def _order(group: str) -> tuple[int, str]:
    return (int(group.split("-")[0].rstrip("+")) if group[0].isdigit() else 0, group)


def _shuffle() -> None:
    st.session_state["demo_shuffle"] = st.session_state.get("demo_shuffle", 0) + 1
    st.session_state.pop("demo_face", None)


def _choose_photo() -> ChosenFace | None:
    """An upload, and which of its faces. The picture stays in this session's memory, also when the page is left and
    Streamlit empties the uploader."""
    file = st.file_uploader(
        "A photo: JPEG, PNG or WebP. It stays in this session's memory and is written nowhere.",
        ["jpg", "jpeg", "png", "webp"], key="photo", max_upload_size=50, on_change=_forget_photo,
    )  # fmt: skip
    if file is not None:
        try:
            with st.spinner("Looking for faces …"):
                resources.remember("photo_found", file.file_id, lambda: resources.found_faces(file.getvalue()))
        except ValueError as error:
            st.error(parts.plain(f"This file can't be used: {error}."))
            return None
    looked = st.session_state.get("photo_found")
    if looked is None:
        return None
    if file is None:
        st.button("Remove the photo", icon=":material/delete:", on_click=_forget_photo)
    photo, found = looked[1]
    if not found:
        return _aligned_crop(photo)
    chosen = found[0]
    if len(found) > 1:
        st.info(f"{len(found)} faces were found. Which one?", icon=":material/groups:")
        number = st.pills(
            "Faces, largest first", range(len(found)), default=0, required=True, key="photo_face",
            format_func=lambda i: f"![face {i + 1}]({resources.data_uri(found[i].crop, resources.THUMBNAIL)}) {i + 1}",
        )  # fmt: skip
        chosen = found[number or 0]
        note = f"Face {(number or 0) + 1} of {len(found)}, cropped and aligned as UTKFace does."
    else:
        note = "One face was found, cropped and aligned as UTKFace does."
    return ChosenFace(chosen.crop, chosen.points, chosen.score, "detector+mesh", _face_id(chosen.crop), note)


def _forget_photo() -> None:
    st.session_state.pop("photo_found", None)


def _aligned_crop(photo: np.ndarray) -> ChosenFace | None:
    st.warning(
        "No face was found in this picture. Try another one, with the face larger and seen from the front. "
        "Or, if it is a face crop already, use its middle square as it is."
    )
    if min(photo.shape[:2]) < 48:
        st.caption(f"At {photo.shape[1]} × {photo.shape[0]} px it is too small to be used as a crop: 48 px are needed.")
        return None
    if not st.toggle("Use the picture as an aligned crop", key="as_crop"):
        return None
    crop = centre_square(photo)
    crop = shrink(crop, min(len(crop), LARGEST))
    points, presence, method = resources.landmarks(crop)
    where = "" if method != "template" else (
        " No landmarks were found, so the mask is drawn where an average face would have it."
    )  # fmt: skip
    return ChosenFace(crop, points, presence, method, _face_id(crop), "Used as an aligned crop." + where)


def _face_id(crop: np.ndarray) -> str:
    """As `read_face` names a picture without a name: the same picture gets the same mask."""
    return "face-" + hashlib.blake2b(np.ascontiguousarray(crop).tobytes(), digest_size=4).hexdigest()


WORDS = {
    "unseen": "faces the model has not seen",
    "all": "all faces",
    "train": "the training split",
    "val": "the validation split",
    "test": "the test split",
}


def choose_set(words: Mapping[str, str] = WORDS) -> ChosenSet | None:
    """The widgets for a set of faces, whose splits are told in `words`; None while there is none."""
    kind = kept(
        st.segmented_control, "Faces", [DEMO, FOLDER, UPLOADED], default=DEMO, required=True, key="set_kind",
        label_visibility="collapsed",
    )  # fmt: skip
    source, splits, protocol = "demo", False, PROTOCOLS[0]
    if kind == FOLDER:
        source = kept(
            st.text_input, "Folder on the machine that runs the workbench", key="set_folder",
            placeholder="/path/to/faces",
            help="Made by `maskmtl prepare`, or any folder of pictures; UTKFace names give annotations.",
        )  # fmt: skip
        source = resources.typed(source)
        if not source:
            return None
        if problem := resources.folder_problem(source):
            st.error(parts.plain(problem))
            return None
        splits = resources.has_splits(source)
    elif kind == UPLOADED:
        name = choose_upload()
        if name is None:
            return None
        source = name
    left, right = st.columns(2)
    options = list(CHOICES) if splits else ["unseen", "all"]
    split = kept(left.selectbox, "Which faces", options, format_func=words.__getitem__, key="set_split")
    if splits:
        protocol = kept(
            right.selectbox, "Protocol", PROTOCOLS, key="set_protocol",
            help="random: splits drawn by chance. parts: by the day of capture, later faces than any that were learnt.",
        )  # fmt: skip
    return ChosenSet(source, protocol, split)
