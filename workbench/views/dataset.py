"""A data set, bare and masked: predictions of every face, and how well they agree with the annotations."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analyses.assessment import ALL, GROUPINGS, Assessment, assess, headline, in_words, scores_in_words
from analyses.figures import confusion_figure, error_figure, group_figure, mask_name
from maskmtl.checkpoint import best_device
from maskmtl.dataset import check_masks
from maskmtl.evaluation import choose
from maskmtl.inference import wide
from maskmtl.masks import MASKS
from maskmtl.networks import MaskMTL
from workbench import parts, resources
from workbench.chooser import WORDS, ChosenSet, choose_set
from workbench.sidebar import current_model


class Order(NamedTuple):
    """What to run. (A tuple, because Streamlit makes this class anew on every run of the page.)"""

    faces: ChosenSet
    masks: tuple[str, ...]
    seed: int


def choose_order() -> Order | None:
    """The widgets above the button; None while something is missing."""
    faces = choose_set()
    if faces is None:
        return None
    middle, right = st.columns([2, 1])
    names = ["none", *MASKS]
    chosen = middle.multiselect(
        "Masks", names, default=names[:2], format_func=parts.mask_words, accept_new_options=True, key="set_masks",
        help="Kinds, or typed with colour, pattern and wear: cloth:checks:red, n95:nose_out.",
    )  # fmt: skip
    seed = right.number_input("Mask drawing", 0, 9999, key="set_seed", help="The same number draws the same masks.")
    if not chosen:
        st.info("Choose at least one mask, or bare faces.")
        return None
    try:
        masks = check_masks(sorted(chosen, key=[*names, *chosen].index))
    except ValueError as error:
        st.error(f"This mask can't be drawn: {error}.")
        return None
    return Order(faces, masks, int(seed))


def run(order: Order, bar: DeltaGenerator, *, name: str, model: MaskMTL) -> dict[str, Any]:
    """Predict and assess; ValueError or OSError for faces that can't be used."""

    def opening(done: int, total: int | None) -> None:
        of_all = f" of {total:,}" if total else ""
        bar.progress(done / total if total else 0.0, f"Reading faces: {done:,}{of_all}")

    def predicting(done: int, total: int) -> None:
        bar.progress(done / total, f"Predicting: {done:,} of {total:,} faces, {len(order.masks)} variants each")

    faces = resources.faces(order.faces.source, order.faces.protocol, opening)
    chosen = choose(faces, name, order.faces.split)
    predictions = resources.predict_in_turns(model, chosen, order.masks, order.seed, predicting)
    bar.progress(1.0, "Intervals …")
    assessment = assess(predictions, chosen.table, model.specs, seed=order.seed)
    title = f"{model.name} on {faces.name}: {WORDS[order.faces.split]}, {len(chosen):,} of {len(faces):,}"
    return {
        "id": uuid4().hex,
        "title": title,
        "assessment": assessment,
        "rejected": faces.rejected,
        "order": order,
        "model": name,
    }


def chart(figure: go.Figure, alt: str, key: str) -> None:
    st.plotly_chart(figure, config={"displayModeBar": False}, alt=alt, key=key)


def show_headline(result: Assessment) -> None:
    parts.table(headline(result), label="Headline figures per mask with 95 % intervals")
    st.caption("Second lines are 95 % intervals: Wilson for accuracy, bootstrap for the mean absolute error of age.")
    parts.csv("Headline (CSV)", "overall.csv", lambda: result.overall.drop(columns=ALL))


def show_predictions(result: Assessment, model: MaskMTL) -> None:
    with st.container(horizontal=True):
        parts.csv("Predictions (CSV)", "predictions.csv", lambda: wide(result.predictions, model))
        parquet = partial(result.predictions.to_parquet, index=False)
        parts.download("Predictions (Parquet)", "predictions.parquet", parquet)


def show_classes(result: Assessment) -> None:
    for task, matrices in result.confusions.items():
        st.subheader(f"{task.capitalize()}: who is taken for whom")
        for pair in _pairs(list(matrices)):
            for column, mask in zip(st.columns(2, gap="medium"), pair, strict=False):
                with column:
                    st.markdown(f"**{mask_name(mask).capitalize()}**")
                    figure = confusion_figure(matrices[mask], result.class_names(task))
                    chart(figure, f"Confusion matrix of {task}, {mask_name(mask)}", f"confusion_{task}_{mask}")
                    rows = result.per_class.query("task == @task and mask == @mask")
                    parts.table(scores_in_words(rows), label=f"Precision, recall and F1 of {task}, {mask_name(mask)}")
    with st.container(horizontal=True):
        parts.csv("Confusion counts (CSV)", "confusion.csv", result.confusion_table)
        parts.csv("Precision, recall, F1 (CSV)", "per-class.csv", lambda: result.per_class)


def _pairs(masks: Sequence[str]) -> list[Sequence[str]]:
    return [masks[i : i + 2] for i in range(0, len(masks), 2)]


def show_values(result: Assessment) -> None:
    for task in (task for task in result.tasks if not result.class_names(task)):
        st.subheader(f"{task.capitalize()}: error")
        rows = result.predictions[result.predictions["task"] == task]
        figure = error_figure(rows, unit=result.unit(task))
        chart(figure, f"Distribution of the error of {task} per mask", f"error_{task}")


def show_groups(result: Assessment) -> None:
    st.caption(
        "A group is the annotation of a picture, not anyone’s identity. Hollow marks and notes flag groups below 100 "
        "faces; below 20 there is no judgement. A mask harms where accuracy falls or the age error rises."
    )
    for tab, (by, title) in zip(st.tabs(list(GROUPINGS.values())), GROUPINGS.items(), strict=True):
        with tab:
            task = st.segmented_control(
                "Task",
                result.tasks,
                default=result.tasks[0],
                required=True,
                key=f"group_task_{by}",
                label_visibility="collapsed",
            )
            rows = result.groups[by].query("task == @task")
            for column, metric in zip(st.columns(2, gap="medium"), _metrics(rows), strict=False):
                with column:
                    figure = group_figure(rows[rows["metric"] == metric], by, unit=result.unit(str(task)))
                    chart(figure, f"{metric} of {task} by {title.lower()}", f"group_{by}_{task}_{metric}")
            parts.table(in_words(rows, by), label=f"{task} by {title.lower()}")
            make = partial(result.groups.__getitem__, by)
            parts.csv(f"By {title.lower()}, all tasks (CSV)", f"by-{by}.csv", make)


def link_to_fairness() -> None:
    label = "Intersections, more metrics, and what the evidence allows to say: Fairness"
    st.page_link("views/fairness.py", label=label, icon=":material/balance:")


def _metrics(rows: pd.DataFrame) -> list[str]:
    return [metric for metric in rows["metric"].unique() if metric != "signed_error"]


def show_rejected(rejected: pd.DataFrame) -> None:
    if len(rejected):
        with st.expander(f"Pictures that were not taken: {len(rejected):,}"):
            st.dataframe(rejected, hide_index=True, alt="Pictures that were not taken, each with its reason")
            parts.csv("Not taken (CSV)", "rejected.csv", lambda: rejected)


def show(result: dict[str, Any], order: Order | None, name: str, model: MaskMTL) -> None:
    assessment: Assessment = result["assessment"]
    st.header("Results")
    st.markdown(result["title"])
    if (order, name) != (result["order"], result["model"]):
        st.caption("These are the results of the last run; the choices above have changed since.")
    if not assessment.tasks:
        st.info("These faces carry no annotations to compare with. The predictions can be downloaded.")
    else:
        show_headline(assessment)
    show_predictions(assessment, resources.model(result["model"]))
    show_rejected(result["rejected"])
    if assessment.tasks:
        st.header("Classes")
        show_classes(assessment)
        show_values(assessment)
        st.header("By group")
        show_groups(assessment)
        link_to_fairness()


def page() -> None:
    st.title("Data set")
    st.markdown("How well does a model agree with the annotations of many faces, bare and masked, and for whom?")
    name, model = current_model()
    order = choose_order()
    device = best_device()
    left, right = st.columns([1, 3], vertical_alignment="center")
    pressed = left.button("Run", type="primary", icon=":material/play_arrow:", disabled=order is None, width="stretch")
    right.caption(f"Runs on {'the GPU' if device.type == 'cuda' else 'the CPU, as there is no GPU'}.")
    result = parts.run_into("set_result", order if pressed else None, partial(run, name=name, model=model))
    if result is not None:
        show(result, order, name, model)


page()
