"""One face, bare and masked: what the model reads, what the mask changes, and where each answer comes from."""

from typing import Any

import numpy as np
import streamlit as st

from analyses.attribution import METHODS
from analyses.face import FaceReading, describe, read_face
from analyses.figures import map_overlay, map_scale, mask_name
from maskmtl.inference import wide
from maskmtl.masks import MASKS
from maskmtl.networks import MaskMTL
from maskmtl.photo import centre_square
from workbench import parts, resources
from workbench.sidebar import current_model

DEMO, PHOTO = "Demo faces", "Your photo"
ANY = "any"
FILTERS = {"age_band": "Age", "gender": "Gender", "ethnicity": "Ethnicity"}
SHOWN = 8  # demo faces offered at once
MAPS = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}  # METHODS by their names in the literature
UNITS = {True: "of the logit", False: "of the output"}  # by whether a task has classes


def choose_demo(model: MaskMTL) -> dict[str, Any] | None:
    """Filters and a strip of faces to pick from."""
    try:
        with st.spinner("Opening the demo faces …"):
            faces, groups = resources.faces("demo"), resources.demo_groups()
    except (ValueError, OSError) as error:
        st.warning(f"The demo faces can't be shown: {error}. You can still use a photo of your own.")
        return None
    kept = groups
    with st.container(key="filters"):
        for column, (by, name) in zip(st.columns(3, wrap=False), FILTERS.items(), strict=True):
            options = [ANY, *sorted(groups[by].unique(), key=lambda group: (group == "unlabelled", _order(group)))]
            value = column.selectbox(name, options, key=f"demo_{by}", persist_state="session")
            kept = kept if value == ANY else kept[kept[by] == value]
    if kept.empty:
        st.info("No demo face is annotated so. Set one of the three back to ‘any’.")
        return None
    order = kept.sample(frac=1, random_state=st.session_state.get("demo_shuffle", 0)).index[:SHOWN].to_list()
    row = st.pills(
        "Composite faces: click one", order, default=order[0], required=True, key="demo_face", persist_state="session",
        format_func=lambda i: f"![{' '.join(groups.loc[i])}]({resources.demo_thumbnail(i)})",
    )  # fmt: skip
    st.button("Show others", icon=":material/shuffle:", on_click=_shuffle, disabled=len(kept) <= SHOWN)
    row = order[0] if row not in order else row
    face = faces.table.loc[row]
    labels = {task: float(face[task]) for task in model.specs if task in faces.table}
    note = f"Annotated {describe(model.specs, labels)}."
    if "n" in face:
        note += f" A composite of {int(face['n'])} faces: it shows nobody."
    return {
        "crop": np.asarray(faces.images[row]), "points": faces.landmarks.points[row], "face_id": face["face_id"],
        "labels": labels, "note": note,
    }  # fmt: skip


def _order(group: str) -> tuple[int, str]:
    return (int(group.split("-")[0].rstrip("+")) if group[0].isdigit() else 0, group)


def _shuffle() -> None:
    st.session_state["demo_shuffle"] = st.session_state.get("demo_shuffle", 0) + 1
    st.session_state.pop("demo_face", None)


def choose_photo() -> dict[str, Any] | None:
    """An upload, and which of its faces. The picture stays in this session's memory."""
    file = st.file_uploader(
        "A photo: JPEG, PNG or WebP. It stays in this session's memory and is written nowhere.",
        ["jpg", "jpeg", "png", "webp"], key="photo", max_upload_size=50,
    )  # fmt: skip
    if file is None:
        st.session_state.pop("photo_found", None)
        return None
    try:
        with st.spinner("Looking for faces …"):
            looked = resources.remember("photo_found", file.file_id, lambda: resources.found_faces(file.getvalue()))
    except ValueError as error:
        st.error(f"This file can't be used: {error}.")
        return None
    photo, found = looked
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
    return {"crop": chosen.crop, "points": chosen.points, "note": note}


def _aligned_crop(photo: np.ndarray) -> dict[str, Any] | None:
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
    points, own = resources.landmarks(crop)
    where = "" if own else " No landmarks were found, so the mask is drawn where an average face would have it."
    note = "Used as an aligned crop." + where
    return {"crop": crop, "points": points, "note": note}


def show_faces(reading: FaceReading, note: str) -> None:
    """The variants side by side and the changes in words."""
    pictures, words = st.columns([3, 2], gap="medium", vertical_alignment="center")
    columns = pictures.columns(len(reading.masks), wrap=False)
    for column, mask, image in zip(columns, reading.masks, reading.images, strict=True):
        name = mask_name(mask)
        column.image(image, caption=name.capitalize(), width="stretch", alt=f"The face, {name}")
    with words:
        for mask in reading.masks[1:]:
            st.subheader(f"What a {mask} mask changes")
            st.markdown("\n".join(f"- **{task}** {reading.change(task, mask)}" for task in reading.specs))
        st.caption(note)


def show_task(reading: FaceReading, task: str) -> None:
    """One task: answers, probabilities, maps on one scale."""
    with st.container(border=True, key=f"task_{task}"):
        left, right = st.columns([4, 5], gap="medium")
        with left:
            st.subheader(task.capitalize())
            given = {mask_name(mask): reading.answer(task, mask) for mask in reading.masks}
            annotation = reading.annotation(task)
            parts.answers({**given, "annotated": annotation} if annotation else given)
            if reading.has_classes(task):
                parts.probabilities(reading.probabilities(task), label=f"{task}, probability of each class")
        maps = reading.maps(task)
        full = map_scale(*maps.values())
        with right:
            for column, mask, image in zip(st.columns(len(maps), wrap=False), maps, reading.images, strict=True):
                about = f"for {reading.explained(task, mask)}" if reading.has_classes(task) else "for a higher age"
                empty = map_scale(maps[mask]) == 0
                column.image(
                    map_overlay(image, maps[mask], scale=full), width="stretch",
                    alt=f"{map_name(reading.attribution.method)} {about}, {mask_name(mask)}",
                    caption=f"{mask_name(mask).capitalize()}: " + ("no positive evidence " if empty else "") + about,
                )  # fmt: skip
            if full > 0:
                parts.scale(full, UNITS[reading.has_classes(task)])


def show_downloads(reading: FaceReading, model: MaskMTL) -> None:
    with st.container(horizontal=True):
        parts.csv("Predictions (CSV)", "face-predictions.csv", lambda: wide(reading.predictions, model))
        parts.csv("Map values (CSV)", "face-maps.csv", reading.map_table)


def map_name(method: str) -> str:
    return MAPS.get(method, method)


def page() -> None:
    st.title("Face")
    st.markdown("What does a model read from a face, where does it look, and what does a mask change?")
    name, model = current_model()
    source = st.segmented_control(
        "Where the face comes from", [DEMO, PHOTO], default=DEMO, required=True, key="face_source",
        label_visibility="collapsed", persist_state="session",
    )  # fmt: skip
    chosen = choose_demo(model) if source == DEMO else choose_photo()
    if chosen is None:
        return
    left, middle, right = st.container(key="reading").columns(3, wrap=False)
    kind = left.selectbox("Mask", list(MASKS), key="face_mask", persist_state="session")
    seed = middle.number_input(
        "Mask drawing", 0, 9999, key="face_seed", persist_state="session",
        help="Colour and fit of the mask vary from drawing to drawing; the same number draws the same mask.",
    )  # fmt: skip
    method = right.selectbox("Map", list(METHODS), format_func=map_name, key="face_map", persist_state="session")
    note = chosen.pop("note")

    def read() -> FaceReading:
        with resources.one_at_a_time():
            return read_face(model, masks=("none", kind), seed=int(seed), method=method, **chosen)

    reading = resources.remember("face_reading", (name, kind, seed, method, chosen["crop"].tobytes()), read)
    show_faces(reading, note)
    st.header("What the model reads, and from where")
    for task in reading.specs:
        show_task(reading, task)
    st.caption(
        f"{map_name(method)} at the layer {reading.attribution.layer}, {reading.grid()} values over the crop, "
        "enlarged; both faces of a task share one colour scale. Colour marks what raises the score of the answer named "
        "under it; what lowers it stands only in the map values. Bands along the border come in part from the "
        "network's zero padding. Grad-CAM averages gradients over the whole face, which this network's dense heads do "
        "not: compare it with HiResCAM. A map shows association in this model, not a cause."
    )
    show_downloads(reading, model)


page()
