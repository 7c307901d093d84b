"""A data set, bare and masked: run it, look through its faces, take the predictions home."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analyses.assessment import headline
from analyses.gallery import CHANGED, FAR, ORDERS, SHOWS, browse, filtered
from maskmtl.dataset import wear
from maskmtl.inference import wide
from maskmtl.tasks import Scalar
from workbench import parts, resources
from workbench.address import kept
from workbench.assessed import Order, Ran, choose_order, ran
from workbench.chooser import ANY, FILTERS, pick
from workbench.parts import capital, mask_words
from workbench.sidebar import current_model

SHOWN = 15  # faces on a page of the gallery: masks are drawn anew, 5 ms each
SIDE = 150  # px of a picture in the gallery: five fit beside each other at most


def show_results(run: Ran, order: Order | None, name: str) -> None:
    st.header("Results")
    st.markdown(parts.plain(run.title))
    if (order, name) != (run.order, run.model):
        st.caption("These are the results of the last run; the choices above have changed since.")
    if run.assessment.tasks:
        figures = resources.remember("headline", run.id, partial(headline, run.assessment))
        parts.table(figures, label="Headline figures per mask with 95 % intervals")
        with st.container(horizontal=True):
            st.page_link("views/performance.py", label="Performance", icon=":material/speed:")
            st.page_link("views/fairness.py", label="Fairness", icon=":material/balance:")
            st.page_link("views/report.py", label="Report", icon=":material/description:")
    else:
        st.info("These faces carry no annotations to compare with. The predictions can be downloaded.")
    with st.container(horizontal=True):
        parts.csv(
            "Predictions (CSV)", "predictions.csv", lambda: wide(run.assessment.predictions, run.specs), run.short
        )
        parquet = partial(run.assessment.predictions.to_parquet, index=False)
        parts.download("Predictions (Parquet)", "predictions.parquet", parquet, of=run.short)
    if len(run.rejected):
        with st.expander(f"Pictures that were not taken: {len(run.rejected):,}"):
            st.dataframe(run.rejected, hide_index=True, alt="Pictures that were not taken, each with its reason")
            parts.csv("Not taken (CSV)", "rejected.csv", lambda: run.rejected, run.faces.name)


def choose_shown(run: Ran) -> tuple[str, pd.DataFrame]:
    """The gallery's filters: the mask, and the rows of `browse` that are left."""
    specs = run.specs
    with st.container(key="gallery_choice"):
        one, two, three, four = st.columns(4)
    task = kept(one.selectbox, "Task", list(specs), format_func=capital, key="gallery_task")
    masks = list(run.assessment.masks)
    mask = kept(two.selectbox, "Mask", masks, format_func=mask_words, key="gallery_mask")
    make = partial(browse, run.assessment.predictions, run.faces.table, specs[task], mask)
    table = resources.remember("gallery_table", (run.id, task, mask), make)
    shows = SHOWS if table["changed"].any() else [show for show in SHOWS if show != CHANGED]
    show = kept(three.selectbox, "Show", shows, format_func=capital, key="gallery_show")
    orders = ORDERS if table["confidence"].notna().any() else ORDERS[:2]  # a value has no confidence
    order = kept(four.selectbox, "Order", orders, format_func=capital, key="gallery_order")
    groups = {}
    with st.container(key="gallery_groups"):
        columns = st.columns(4)
        for column, (by, name) in zip(columns, FILTERS.items(), strict=False):
            options = [ANY, *table[by].cat.remove_unused_categories().cat.categories]
            value = kept(column.selectbox, name, options, key=f"gallery_{by}")
            if value != ANY:
                groups[by] = value
        confident = (0.0, 1.0)
        if table["confidence"].notna().any():
            low = kept(columns[3].slider, "Confidence from", 0.0, 1.0, 0.0, 0.05, key="gallery_low")
            high = kept(columns[3].slider, "to", 0.0, 1.0, 1.0, 0.05, key="gallery_high")
            confident = (low, high)
    if isinstance(target := specs[task].target, Scalar):
        st.caption(
            f"Wrong: by more than {FAR:g} {target.unit}. Changed by the mask: by {FAR / 2:g} {target.unit} or more."
        )
    chosen = (run.id, task, mask, show, order, *groups.items(), *confident)
    if st.session_state.setdefault("gallery_chosen", chosen) != chosen:  # other faces begin with their first page
        st.session_state["gallery_chosen"], st.session_state["gallery_page"] = chosen, 1
    return mask, filtered(table, show=show, order=order, groups=groups, confident=confident)


def show_gallery(run: Ran) -> None:
    st.header("Faces")
    mask, found = choose_shown(run)
    st.markdown(f"**{len(found):,} of {len(run.faces):,} faces**")
    if found.empty:
        st.info("No face is left: set a filter back to ‘any’, widen the confidence, or show all.")
        return
    pages = -(-len(found) // SHOWN)
    number = 1
    if pages > 1:
        number = kept(st.number_input, f"Page, of {pages:,}", 1, pages, key="gallery_page")
    rows = found.iloc[(number - 1) * SHOWN : number * SHOWN]
    with st.container(key="gallery"), st.container(horizontal=True):
        for face in rows.itertuples():
            with st.container(width=SIDE, gap="xxsmall"):
                st.image(picture(run, int(face.row), mask), width=SIDE, alt=f"Face {face.face_id}, {mask_words(mask)}")
                parts.html_lines(*words(face))
                turn = partial(pick, run.order.faces, str(face.face_id))
                if st.button(
                    "Open",
                    key=f"open_{face.row}",
                    on_click=turn,
                    help=parts.plain(f"Face {face.face_id} on the page Face"),
                ):
                    if mask != "none":
                        st.session_state["face_mask"], st.session_state["face_seed"] = mask, run.order.seed
                    st.switch_page("views/face.py")
    parts.csv("These faces (CSV)", "faces.csv", lambda: found.drop(columns="row"), run.short)


def picture(run: Ran, row: int, mask: str) -> str:
    """A face as the model saw it, as a data URI."""
    faces = run.faces
    face_id = str(faces.table["face_id"].iloc[row])
    worn = wear(faces.images[row], faces.landmarks.points[row], face_id, mask, run.order.seed)
    return resources.data_uri(worn, 2 * SIDE)


def words(face: Any) -> list[str]:
    """The lines under a picture: the answer, the annotation, and what the mask changed."""
    sure = "" if pd.isna(face.confidence) else f", {parts.percent(face.confidence)} sure"
    lines = [f"{face.answer}{sure}"]
    if face.annotation:
        lines.append(f"{'✗ annotated' if face.wrong else 'annotated'} {face.annotation}")
    if face.changed:
        lines.append(f"⇄ bare: {face.bare}")
    return lines


def page() -> None:
    st.markdown("Run a model over many faces, bare and masked, and look through what it says.")
    name, model = current_model()
    order = choose_order()
    device = next(model.parameters()).device
    left, right = st.columns([1, 3], vertical_alignment="center")
    pressed = left.button("Run", type="primary", icon=":material/play_arrow:", disabled=order is None, width="stretch")
    right.caption(f"Runs on {resources.device_words(device)}.")
    run = ran(order if pressed else None)
    if run is None:
        if not pressed:
            st.info("Choose faces and masks, then press Run. The demo faces take about ten seconds.")
        return
    show_results(run, order, name)
    show_gallery(run)


page()
