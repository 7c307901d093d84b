"""Groups of faces: the mean map of each, bare and masked, and where a mask changes it."""

from functools import partial
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analyses.assessment import GROUPINGS
from analyses.attribution import options_of
from analyses.attribution.atlas import AtlasResult, atlas
from analyses.attribution.names import METHOD_NAMES
from analyses.face import percent
from analyses.fairness.groups import FEW
from analyses.figures import AGAINST, FOR, map_overlay, map_scale, outlined
from maskmtl.evaluation import choose
from maskmtl.masks import MASKS
from maskmtl.metrics import UNLABELLED
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes
from workbench import parts, resources
from workbench.address import keep, kept, kept_text
from workbench.chooser import WORDS, ChosenSet, choose_set, open_set
from workbench.parts import capital, mask_words
from workbench.sidebar import current_model

SLOT, MADE = "atlas_result", "averaged"
SHOWN = 300  # faces at most, unless told: about a minute on two cores
CAPTION = (
    ", raw values averaged over the faces of a group, all groups of a task on one scale, over an average of the "
    "composite demo faces. Masked faces are asked for the answer that the bare face got. In the last column a line "
    "encloses the pixels in which bare and masked differ: vermilion where the mask takes evidence away, blue where it "
    "adds some (permutation test by source face, false discovery rate 5 % over the pixels of one map). More faces find "
    "more: do not compare enclosed areas between groups of different size. A group is an annotation, not anyone’s "
    "identity; a map shows association in this model, not a cause."
)


class Order(NamedTuple):
    """What to average. (A tuple: Streamlit makes classes anew, and compares by value.)"""

    faces: ChosenSet
    mask: str
    by: str
    method: str
    most: int


def choose_order(model: MaskMTL) -> Order | None:
    faces = choose_set()
    if faces is None:
        return None
    left, middle, right = st.columns(3)
    text = kept(left.selectbox, "Mask", MASKS, format_func=mask_words, accept_new_options=True, key="atlas_mask")
    by = kept(middle.selectbox, "Groups", list(GROUPINGS), format_func=GROUPINGS.__getitem__, key="atlas_by")
    methods = [method for method in parts.methods_for(model) if "regions" not in options_of(method)]
    method = kept(
        right.selectbox, "Maps", methods, index=methods.index("hirescam"), format_func=METHOD_NAMES.__getitem__,
        key="atlas_method",
        help="Integrated gradients, gradient SHAP, occlusion and ablation take many times as long as the others.",
    )  # fmt: skip
    most = kept(
        st.number_input, "Faces at most", FEW, 1_000_000, SHOWN, 50, key="atlas_most",
        help=f"Taken at even steps through the set. Groups below {FEW} faces are not tested.",
    )  # fmt: skip
    mask = parts.drawable(text)
    return None if mask is None else Order(faces, mask, by, method, int(most))


def run(order: Order, bar: DeltaGenerator, *, name: str, model: MaskMTL) -> dict[str, Any]:
    """Average; ValueError or OSError for faces that can't be used."""
    faces = open_set(order.faces, parts.opening(bar))
    clock = parts.Clock()

    def explaining(done: int, total: int) -> None:
        bar.progress(done / total, f"Explaining: {done:,} of {total:,} pictures{clock.left(done, total)}")

    chosen = choose(faces, name, order.faces.split)
    rows = np.unique(np.linspace(0, len(chosen) - 1, min(order.most, len(chosen))).round().astype(int))
    result = atlas(
        model, chosen.select(rows), masks=("none", order.mask), by=order.by, method=order.method,
        batch_size=resources.TURN, progress=explaining, turn=resources.one_at_a_time,
    )  # fmt: skip
    title = f"{model.name} on {faces.name}: {WORDS[order.faces.split]}, {len(rows):,} of {len(chosen):,}"
    return {"title": title, "atlas": result, "order": order, "model": name, "units": units_of(model, result)}


def units_of(model: MaskMTL, result: AtlasResult) -> dict[str, str]:
    """Task -> what its maps are in."""
    outputs = {task: "logit" if isinstance(model.specs[task].target, Classes) else "output" for task in result.mean}
    unit = result.about["unit"]
    return {task: f"of the {output}" if unit == "score" else unit for task, output in outputs.items()}


def show_group(result: AtlasResult, task: str, group: str, scales: tuple[float, float], mask: str) -> None:
    """A row: mean map bare, mean map masked, and what the mask changes."""
    n = result.n[result.groups.index(group)]
    st.markdown(f"**{parts.plain(group)}**, n {n:,}" + (f": fewer than {FEW} faces, not tested" if n < FEW else ""))
    face = resources.mean_demo_face()
    columns = st.columns(3, wrap=False)
    for column, worn in zip(columns, ("none", mask), strict=False):
        values = result.mean[task][result.groups.index(group), result.masks.index(worn)]
        caption = capital(mask_words(worn)) + ("" if map_scale(values) else ", no positive evidence")
        column.image(
            map_overlay(face, values, scale=scales[0]), width="stretch", caption=caption,
            alt=f"Mean map of {task}, {group}, {mask_words(worn)}",
        )  # fmt: skip
    change = result.mask_change(task, group, mask)
    found = change.found()
    words = f"differs in {percent(found.mean())} of the picture" if n >= FEW else "not tested"
    columns[2].image(
        outlined(map_overlay(face, change.difference * found, scale=scales[1], mode="signed"), found), width="stretch",
        caption=f"Bare − masked: {words}", alt=f"Bare minus masked, {task}, {group}: {words}",
    )  # fmt: skip


def show_keys(scales: tuple[float, float], unit: str) -> None:
    """What full colour stands for: of the mean maps, and of the last column."""
    mean, change = scales
    if mean > 0:
        parts.scale(mean, f"{unit}, bare and masked")
    if change > 0:
        ramp = f"rgb{AGAINST}, #808080, rgb{FOR}"
        st.html(
            f'<p class="key"><span>−{change:.3g}</span>'
            f'<span class="ramp" style="background:linear-gradient(90deg, {ramp})"></span>'
            f"<span>+{change:.3g} {escape(unit)}, bare − masked</span></p>"
        )


def show(found: dict[str, Any], order: Order | None, name: str) -> None:
    result: AtlasResult = found["atlas"]
    made: Order = found["order"]
    st.header("Where the model looks")
    st.markdown(parts.plain(found["title"]))
    if (order, name) != (made, found["model"]):
        st.caption("This is the last atlas; the choices above have changed since.")
    if result.groups == (UNLABELLED,):
        by = GROUPINGS[made.by].lower()
        st.info(f"These faces carry no annotation of {by}, so that there are no groups: all stand as ‘{UNLABELLED}’.")
    tasks = list(result.mean)
    task = kept(
        st.segmented_control, "Task", tasks, default=tasks[0], required=True, key="atlas_task",
        format_func=capital, label_visibility="collapsed",
    )  # fmt: skip
    task = task if task in tasks else tasks[0]
    means, changes = result.mean[task], result.change[task][:, 1:]
    scales = (
        map_scale(*means.reshape(-1, *means.shape[2:])),
        map_scale(*changes.reshape(-1, *changes.shape[2:]), mode="signed"),
    )
    with st.container(key="atlas_maps"):
        for group in result.groups:
            show_group(result, task, group, scales, made.mask)
        show_keys(scales, found["units"][task])
    st.caption(f"{METHOD_NAMES[made.method]}{CAPTION}")
    with st.container(horizontal=True):
        parts.csv("Summary (CSV)", "atlas.csv", result.table)
        parts.csv("Mean maps (CSV)", "atlas-maps.csv", partial(map_table, result))


def map_table(result: AtlasResult) -> pd.DataFrame:
    """Long: task, group, mask, n, row, column, mean, error, change, p."""
    frames = []
    for task, means in result.mean.items():
        for g, (group, n) in enumerate(zip(result.groups, result.n, strict=True)):
            for m, mask in enumerate(result.masks):
                row, column = np.indices(means.shape[2:]).reshape(2, -1)
                of_map = {"task": task, "group": group, "mask": mask, "n": n, "row": row, "column": column}
                arrays = {"mean": result.mean, "error": result.error, "change": result.change, "p": result.p}
                frames.append(pd.DataFrame(of_map | {name: of[task][g, m].ravel() for name, of in arrays.items()}))
    return pd.concat(frames, ignore_index=True)


def page() -> None:
    st.markdown("Where does a model look in each group of faces, and what does a mask change?")
    name, model = current_model()
    order = choose_order(model)
    pressed = st.button("Make the atlas", type="primary", icon=":material/play_arrow:", disabled=order is None)
    last = st.session_state.get(SLOT)
    linked = kept_text(MADE) is not None and (last is None or (last["order"], last["model"]) != (order, name))
    found = parts.run_into(SLOT, order if pressed or linked else None, partial(run, name=name, model=model))
    if found is not None:
        current = (found["order"], found["model"]) == (order, name)
        if current and not found["order"].faces.is_upload:
            keep(MADE, "yes")
        show(found, order, name)
    elif not pressed:
        st.caption("The demo faces take about half a minute: choose groups and a mask, then make the atlas.")


page()
