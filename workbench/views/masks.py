"""One face in every kind of mask: a look at what the overlay draws."""

from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
import pandas as pd
import streamlit as st

from analyses.face import percent
from analyses.figures import WEARS
from maskmtl.dataset import LUMA
from maskmtl.masks import COLOURS, MASKS, PATTERNS, MaskSpec, Overlay, mask_seed, overlay
from maskmtl.masks.landmarks import MIN_PRESENCE
from maskmtl.masks.sheet import sheet
from maskmtl.tasks import TASKS
from workbench import lab, parts, resources
from workbench.address import kept
from workbench.chooser import ChosenFace, choose_face
from workbench.sidebar import current_model

USUAL = "as usual"
PANEL, TRIM = np.array([255, 255, 255], np.float32), np.array([230, 159, 0], np.float32)
METHODS = {
    "mesh": "by the face mesh",
    "detector+mesh": "by the face detector and the face mesh",
    "template": "not found: those of an average face",
}


def choose_masks() -> tuple[tuple[MaskSpec, ...], int] | None:
    """Every kind with the chosen colour, pattern and wear, and the seed; None while the colour is no colour."""
    one, two, three, four = st.container(key="mask_choice").columns(4)
    seed = kept(
        one.number_input, "Mask drawing", 0, 9999, key="masks_seed",
        help="The seed: colour, pattern and fit vary from number to number; the same number draws the same masks.",
    )  # fmt: skip
    wear = kept(two.selectbox, "Wear", list(WEARS), format_func=WEARS.__getitem__, key="masks_wear")
    colour = kept(
        three.selectbox, "Colour", [USUAL, *COLOURS], accept_new_options=True, key="masks_colour",
        help="As usual: what each kind mostly comes in, by chance. Any other colour can be typed: #aa3300.",
    )  # fmt: skip
    pattern = kept(four.selectbox, "Pattern", [USUAL, *PATTERNS], key="masks_pattern")
    given = {"colour": colour.strip().lower(), "pattern": pattern}
    fixed = {name: value for name, value in given.items() if value != USUAL}
    try:
        return tuple(MaskSpec(kind, wear=wear, **fixed) for kind in MASKS), int(seed)
    except ValueError as error:
        st.error(parts.plain(f"These masks can't be drawn: {error}."))
        return None


def draw(face: ChosenFace, spec: MaskSpec, seed: int) -> Overlay | str:
    """The face with a mask on, drawn as everywhere, or the reason why not."""
    try:
        drawn = mask_seed(seed, face.face_id, spec)
        return overlay(face.crop, face.points, mask=spec, seed=drawn, presence=face.presence)
    except ValueError as error:
        return f"Not drawn: {error}."


def region(image: np.ndarray, drawn: Overlay) -> np.ndarray:
    """The panel's region in white, what straps and shadow take in orange, over the darkened face."""
    grey = (image @ np.array(LUMA, np.float32) * 0.45)[..., None]
    trim, alpha = drawn.trim[..., None], drawn.alpha[..., None]
    return np.rint((grey * (1 - trim) + TRIM * trim) * (1 - alpha) + PANEL * alpha).clip(0, 255).astype(np.uint8)


def figure(image: np.ndarray, alt: str, title: str, *lines: str) -> str:
    """A picture and its caption."""
    uri = resources.data_uri(image, len(image), quality=95)
    small = "".join(f"<small>{escape(line)}</small>" for line in lines)
    return (
        f'<figure><img src="{uri}" alt="{escape(alt)}"><figcaption><b>{escape(parts.capital(title))}</b>{small}'
        "</figcaption></figure>"
    )


def bare(face: ChosenFace) -> str:
    return figure(
        face.crop,
        "The face, bare",
        "bare",
        f"Landmarks: {METHODS[face.method]}",
        f"Confidence {face.presence:.2f} of 1",
    )


def masked(image: np.ndarray, kind: str, drawn: Overlay | str, *, show_region: bool) -> str:
    """One kind's picture and facts, or the reason why there is none."""
    name = parts.mask_words(kind)
    if isinstance(drawn, str):
        title = escape(parts.capital(name))
        return f"<figure><figcaption><b>{title}</b><small>{escape(drawn)}</small></figcaption></figure>"
    made_of = f"{drawn.spec.colour}, {drawn.spec.pattern}"
    cover = f"covers {percent(drawn.coverage)}"
    if show_region:
        return figure(region(image, drawn), f"The region of the mask, {name}", name, made_of, cover)
    return figure(drawn.image, f"The face, {name}", name, made_of, cover)


def warn(face: ChosenFace) -> None:
    """What is to be known of the landmarks before one looks at the fit."""
    if face.method == "template":
        st.warning(
            "No landmarks were found in this picture: every mask is drawn where an average face would have it, and may "
            "sit wrongly."
        )
    elif face.presence < MIN_PRESENCE:
        st.warning(f"The landmarks are uncertain (confidence {face.presence:.2f} of 1): check how the masks sit.")


def facts(face: ChosenFace, specs: Sequence[MaskSpec], drawn: Sequence[Overlay | str]) -> pd.DataFrame:
    """One row a kind: what overlay() needs to draw it again, and what it says of it."""
    rows = []
    for spec, result in zip(specs, drawn, strict=True):
        row = {"face_id": face.face_id, "method": face.method, "presence": face.presence, "kind": spec.kind}
        if isinstance(result, str):
            rows.append({**row, "reason": result})
        else:
            made = result.spec
            rows.append(
                {
                    **row, "mask": str(made), "colour": made.colour, "pattern": made.pattern, "wear": made.wear,
                    "coverage": result.coverage, "seed": result.seed,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def sheet_png(face: ChosenFace, specs: Sequence[MaskSpec], seed: int) -> bytes:
    """The gallery as one picture."""
    _, png = cv2.imencode(".png", sheet(face.crop, face.points, specs, seed, face_id=face.face_id)[..., ::-1])
    return png.tobytes()


def page() -> None:
    st.markdown(
        "One face in every kind of mask that can be drawn, because the same face then exists bare and masked; and what "
        "each of them changes in a model's answers."
    )
    face = choose_face(TASKS)
    if face is None:
        return
    choice = choose_masks()
    if choice is None:
        return
    specs, seed = choice
    key = (*map(str, specs), seed, face.key())
    drawn = resources.remember("masks_drawn", key, lambda: [draw(face, spec, seed) for spec in specs])
    show_region = kept(st.toggle, "Show mask region", key="masks_region")
    warn(face)
    cards = [masked(face.crop, spec.kind, one, show_region=show_region) for spec, one in zip(specs, drawn, strict=True)]
    st.html(f'<div class="gallery">{bare(face)}{"".join(cards)}</div>')
    if show_region:
        st.caption("White: the mask's exact region. Orange: what straps and the shadow of its edge take of the photo.")
    st.caption(
        f"{parts.plain(face.note)} Covers: the share of the skin below the eyes that the mask hides. The masks are "
        "drawn, not photographed: they follow the landmarks and take the photo's light, but hands and hair in front of "
        "the face are covered too, and real masks may sit or look otherwise."
    )
    if st.session_state.get("model_ready"):
        _, model = current_model()
        lab.show(model, face, specs, seed)
    with st.container(horizontal=True):
        shown = [spec for spec, one in zip(specs, drawn, strict=True) if isinstance(one, Overlay)]
        parts.download("Sheet (PNG)", "masks.png", lambda: sheet_png(face, shown, seed), "image/png")
        parts.csv("Facts of each mask (CSV)", "masks.csv", lambda: facts(face, specs, drawn))


page()
