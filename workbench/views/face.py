"""One face, bare and masked: what the model reads, what the mask changes, and where each answer comes from."""

import streamlit as st

from analyses.attribution import METHODS
from analyses.face import FaceReading, read_face
from analyses.figures import map_overlay, map_scale
from maskmtl.inference import wide
from maskmtl.masks import MASKS, MaskSpec
from maskmtl.networks import MaskMTL
from workbench import parts, resources
from workbench.chooser import choose_face
from workbench.parts import mask_words
from workbench.sidebar import current_model

MAPS = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}  # METHODS by their names in the literature
UNITS = {True: "of the logit", False: "of the output"}  # by whether a task has classes


def show_faces(reading: FaceReading, note: str) -> None:
    """The variants side by side and the changes in words."""
    pictures, words = st.columns([3, 2], gap="medium", vertical_alignment="center")
    columns = pictures.columns(len(reading.masks), wrap=False)
    for column, mask, image in zip(columns, reading.masks, reading.images, strict=True):
        name = mask_words(mask)
        column.image(image, caption=parts.capital(name), width="stretch", alt=f"The face, {name}")
    with words:
        for mask in reading.masks[1:]:
            st.subheader(f"What the mask changes: {mask_words(mask)}")
            st.markdown("\n".join(f"- **{task}** {reading.change(task, mask)}" for task in reading.specs))
        st.caption(note)


def show_task(reading: FaceReading, task: str) -> None:
    """One task: answers, probabilities, maps on one scale."""
    with st.container(border=True, key=f"task_{task}"):
        left, right = st.columns([4, 5], gap="medium")
        with left:
            st.subheader(task.capitalize())
            given = {mask_words(mask): reading.answer(task, mask) for mask in reading.masks}
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
                    alt=f"{map_name(reading.attribution.method)} {about}, {mask_words(mask)}",
                    caption=f"{parts.capital(mask_words(mask))}: " + ("no positive evidence " if empty else "") + about,
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
    chosen = choose_face(model.specs)
    if chosen is None:
        return
    left, middle, right = st.container(key="reading").columns(3, wrap=False)
    text = left.selectbox(
        "Mask", MASKS, format_func=mask_words, accept_new_options=True, key="face_mask", persist_state="session",
        help="A kind, or one typed with colour, pattern and wear: cloth:checks:red, n95:nose_out, kn95:#aa3300.",
    )  # fmt: skip
    seed = middle.number_input(
        "Mask drawing", 0, 9999, key="face_seed", persist_state="session",
        help="Colour and fit of the mask vary from drawing to drawing; the same number draws the same mask.",
    )  # fmt: skip
    method = right.selectbox("Map", list(METHODS), format_func=map_name, key="face_map", persist_state="session")
    try:
        mask = str(MaskSpec.parse(text))
    except ValueError as error:
        st.error(f"This mask can't be drawn: {error}.")
        return

    def read() -> FaceReading:
        with resources.one_at_a_time():
            return read_face(
                model, chosen.crop, chosen.points, masks=("none", mask), seed=int(seed), method=method,
                face_id=chosen.face_id, labels=chosen.labels,
            )  # fmt: skip

    reading = resources.remember("face_reading", (name, mask, seed, method, chosen.crop.tobytes()), read)
    show_faces(reading, chosen.note)
    st.header("What the model reads, and from where")
    for task in reading.specs:
        show_task(reading, task)
    layers = ", ".join(sorted(set(reading.attribution.layers.values())))
    st.caption(
        f"{map_name(method)} at {layers}, {reading.grid()} values over the crop, "
        "enlarged; both faces of a task share one colour scale. Colour marks what raises the score of the answer named "
        "under it; what lowers it stands only in the map values. Bands along the border come in part from the "
        "network's zero padding. Grad-CAM averages gradients over the whole face; heads that read places apart do "
        "not: compare it with HiResCAM. A map shows association in this model, not a cause."
    )
    show_downloads(reading, model)


page()
