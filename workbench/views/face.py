"""One face, bare and masked: what the model reads, what the mask changes, and where each answer comes from."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analyses.attribution.names import METHOD_NAMES
from analyses.attribution.regions import REGIONS
from analyses.face import FaceReading, check_maps, percent, read_face, signed
from analyses.figures import OPACITY, map_overlay, map_scale
from maskmtl.inference import wide
from maskmtl.masks import MASKS
from maskmtl.networks import MaskMTL
from workbench import cohort, parts, resources
from workbench.address import kept
from workbench.chooser import choose_face
from workbench.parts import mask_words
from workbench.sidebar import current_model

AT_ONCE = 3  # methods shown side by side
REGION_NAMES = {"mouth_chin": "mouth, chin", "hair_background": "hair, background"}
FEW = 0.02  # of the picture: the lift of a smaller region says little


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
        st.caption(parts.plain(note))


def show_task(reading: FaceReading, energy: pd.DataFrame, task: str) -> dict[str, DeltaGenerator]:
    """One task: answers, probabilities, and what lies in which region; gives a place for each method's maps."""
    with st.container(border=True, key=f"task_{task}"):
        left, right = st.columns([4, 5], gap="medium")
        with left:
            st.subheader(task.capitalize())
            given = {mask_words(mask): reading.answer(task, mask) for mask in reading.masks}
            annotation = reading.annotation(task)
            parts.answers({**given, "annotated": annotation} if annotation else given)
            if reading.has_classes(task):
                parts.probabilities(reading.probabilities(task), label=f"{task}, probability of each class")
        places = {method: right.empty() for method in reading.attributions}
        with st.expander(f"How much of each map of {task} lies where"):
            parts.table(region_table(energy[energy["task"] == task]), label=f"{task}, energy by region")
    return places


def show_waiting(reading: FaceReading, method: str) -> None:
    """The faces, where their maps will stand once they are checked."""
    st.markdown(f"**{METHOD_NAMES[method]}**")
    columns = st.columns(len(reading.masks), wrap=False)
    for column, mask, image in zip(columns, reading.masks, reading.images, strict=True):
        name = mask_words(mask)
        caption, alt = f"{parts.capital(name)}: being checked …", f"{METHOD_NAMES[method]}, {name}: being checked"
        column.image(image, width="stretch", caption=caption, alt=alt)


def show_maps(reading: FaceReading, checks: pd.DataFrame | None, task: str, method: str, opacity: float) -> None:
    """One method's maps on one scale; those that failed the checks in grey, with the reason."""
    if checks is not None:
        checks = checks[(checks["task"] == task) & (checks["method"] == method)].set_index("mask")
    maps, unit = reading.maps(task, method), reading.attributions[method].unit
    full = map_scale(*maps.values())
    st.markdown(f"**{METHOD_NAMES[method]}**")
    for column, mask, image in zip(st.columns(len(maps), wrap=False), maps, reading.images, strict=True):
        if unit != "score":
            about = f"{unit}, the same for every task"
        elif reading.has_classes(task):
            about = f"for {reading.explained(task, mask)}"
        else:
            about = "for a higher age"
        picture = map_overlay(image, maps[mask], scale=full, opacity=opacity)
        trusted = checks is None or bool(checks.loc[mask, "passed"])
        empty = "no positive evidence " if map_scale(maps[mask]) == 0 else ""
        column.image(
            picture if trusted else np.repeat(picture.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2),
            width="stretch", alt=f"{METHOD_NAMES[method]} {about}, {mask_words(mask)}",
            caption=f"{parts.capital(mask_words(mask))}: {empty}{about}{'' if checks is not None else ', not checked'}",
        )  # fmt: skip
        if checks is not None:
            with column:
                parts.badge(trusted, *check_words(checks.loc[mask]))
    if full > 0:
        of_score = "logit" if reading.has_classes(task) else "output"
        parts.scale(full, f"of the {of_score}" if unit == "score" else unit)


def check_words(found: pd.Series) -> tuple[str, str]:
    """The figures of a map's checks in a line, and why it failed."""
    if pd.isna(found["faithfulness"]):
        return "not measured", found["reason"]
    return f"{signed(found['faithfulness'])} σ from random maps", found["reason"]


def region_table(energy: pd.DataFrame) -> pd.DataFrame:
    """Regions as rows, a column for each map: the share of its positive energy, and the lift."""
    found = {"region": [parts.capital(REGION_NAMES.get(region, region)) for region in REGIONS]}
    for (method, mask), of_map in energy.groupby(["method", "mask"], sort=False):
        by_region = of_map.set_index("region")
        found[f"{METHOD_NAMES[method]}, {mask_words(mask)}"] = [
            "not in the picture"
            if row.area == 0
            else "no positive evidence"
            if pd.isna(row.share)
            else percent(row.share) + ("\nsmall region" if row.area < FEW else f"\n{row.lift:.1f} × its area")
            for row in (by_region.loc[region] for region in REGIONS)
        ]
    return pd.DataFrame(found)


def show_downloads(reading: FaceReading, energy: pd.DataFrame, checks: pd.DataFrame | None, model: MaskMTL) -> None:
    with st.container(horizontal=True):
        parts.csv("Predictions (CSV)", "face-predictions.csv", lambda: wide(reading.predictions, reading.specs))
        parts.csv("Map values (CSV)", "face-maps.csv", reading.map_table)
        parts.csv("Regions (CSV)", "face-regions.csv", lambda: energy)
        if checks is not None:
            parts.csv("Checks (CSV)", "face-checks.csv", lambda: checks)


def page() -> None:
    st.markdown("What does a model read from a face, where does it look, and what does a mask change?")
    name, model = current_model()
    chosen = choose_face(model.specs)
    if chosen is None:
        return
    left, right = st.container(key="reading").columns([3, 2], wrap=False)
    text = kept(
        left.selectbox, "Mask", MASKS, format_func=mask_words, accept_new_options=True, key="face_mask",
        help="A kind, or one typed with colour, pattern and wear: cloth:checks:red, n95:nose_out, kn95:#aa3300.",
    )  # fmt: skip
    seed = kept(
        right.number_input, "Mask drawing", 0, 9999, key="face_seed",
        help="Colour and fit of the mask vary from drawing to drawing; the same number draws the same mask.",
    )  # fmt: skip
    left, right = st.columns([3, 2])
    methods = kept(
        left.multiselect, "Maps", parts.methods_for(model), default=["hirescam"], format_func=METHOD_NAMES.__getitem__,
        max_selections=AT_ONCE, key="face_maps",
        help=f"Up to {AT_ONCE} methods side by side. Occlusion passes the checks most often, and takes longest.",
    )  # fmt: skip
    opacity = kept(right.slider, "Opacity of the maps", 0.0, 1.0, OPACITY, 0.05, key="face_opacity")
    checked = kept(
        st.toggle, "Check the maps against chance", True, key="face_check",
        help="A few seconds for each method; ten times as long for occlusion, SHAP and integrated gradients.",
    )  # fmt: skip
    mask = parts.drawable(text)
    if mask is None:
        return
    methods = [method for method in methods if method in parts.methods_for(model)]
    if not methods:
        st.info("Choose a method under Maps to see where the answers come from.")
        return

    def read(progress: parts.Progress) -> FaceReading:
        return read_face(
            model, chosen.crop, chosen.points, masks=("none", mask), seed=int(seed), methods=methods,
            face_id=chosen.face_id, labels=chosen.labels, progress=progress, turn=resources.one_at_a_time,
        )  # fmt: skip

    key = (resources.version(name), mask, seed, tuple(methods), chosen.key())
    reading = parts.derive("face_reading", key, "Reading the face", " maps of all tasks", read)
    if reading is None:
        return
    energy = resources.remember("face_energy", key, reading.energy)
    show_faces(reading, chosen.note)
    cohort.show(name, model, dict(zip(reading.masks, reading.images, strict=True)), key)
    st.header("What the model reads, and from where")
    bar = st.empty()
    places = {
        (task, method): place for task in reading.specs for method, place in show_task(reading, energy, task).items()
    }

    def check_before_they_show() -> pd.DataFrame:
        for (_, method), place in places.items():
            with place.container():
                show_waiting(reading, method)
        return check(reading, model, bar)

    checks = resources.remember("face_checks", key, check_before_they_show) if checked else None
    for (task, method), place in places.items():
        with place.container():
            show_maps(reading, checks, task, method, opacity)
    grids = "; ".join(
        f"{METHOD_NAMES[method]} at {', '.join(sorted(set(maps.layers.values())))}, {maps.grid()} values"
        for method, maps in reading.attributions.items()
    )
    st.caption(
        f"{grids}, over the crop, enlarged; both faces of a task share one colour scale. Colour marks what raises the "
        "score of the answer named under it; what lowers it stands only in the map values. Bands along the border come "
        "in part from the network's zero padding. Grad-CAM averages gradients over the whole face; heads that read "
        "places apart do not: compare it with HiResCAM. A map shows association in this model, not a cause."
    )
    if checks is not None:
        st.caption(
            "Checks: a map passes if it changes when the network's weights are redrawn at random, if hiding what it "
            "marks costs the score at least 3 standard deviations more than hiding what equally smooth random maps "
            "mark, and if it stands noise too faint to see. A map that fails is shown in grey: do not read it."
        )
    show_downloads(reading, energy, checks, model)


def check(reading: FaceReading, model: MaskMTL, place: DeltaGenerator) -> pd.DataFrame:
    """The checks, with progress and a button to do without them at `place`."""
    leave = partial(st.session_state.update, {"face_check": False})
    words, stop = "Checking the maps against chance", "Show them unchecked"
    with parts.stoppable(place, words, "", stop, "checking", leave) as progress:
        return check_maps(model, reading, progress=progress, turn=resources.one_at_a_time)


page()
