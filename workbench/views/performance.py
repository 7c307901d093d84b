"""How well a model agrees with the annotations: who is taken for whom, how far off it is, what confidence is worth."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analyses.assessment import ALL, Assessment, headline, reliability, scores_in_words
from analyses.figures import confusion_figure, error_figure, mask_name, reliability_figure
from workbench import parts, resources
from workbench.address import kept
from workbench.assessed import ran_or_offer
from workbench.parts import capital


def show_headline(result: Assessment, of: str) -> None:
    parts.table(headline(result), label="Headline figures per mask with 95 % intervals")
    st.caption("Second lines are 95 % intervals: Wilson for accuracy, bootstrap for the mean absolute error of age.")
    parts.csv("Headline (CSV)", "overall.csv", lambda: result.overall.drop(columns=ALL), of)


class OfClasses(NamedTuple):
    """What is drawn of a task with classes."""

    confusions: dict[str, go.Figure]
    reliability: pd.DataFrame
    curve: go.Figure


def of_classes(result: Assessment, task: str) -> OfClasses:
    matrices, names = result.confusions[task], result.class_names(task)
    table = reliability(result.predictions.query("task == @task"))
    confusions = {mask: confusion_figure(matrix, names) for mask, matrix in matrices.items()}
    return OfClasses(confusions, table, reliability_figure(table))


def show_confusions(result: Assessment, task: str, figures: Mapping[str, go.Figure], of: str) -> None:
    st.header("Who is taken for whom")
    for pair in _pairs(list(figures)):
        for column, mask in zip(st.columns(2, gap="medium"), pair, strict=False):
            with column:
                st.markdown(f"**{capital(mask_name(mask))}**")
                parts.chart(figures[mask], f"Confusion matrix of {task}, {mask_name(mask)}", f"confusion_{mask}")
                rows = result.per_class.query("task == @task and mask == @mask")
                parts.table(scores_in_words(rows), label=f"Precision, recall and F1 of {task}, {mask_name(mask)}")
    with st.container(horizontal=True):
        parts.csv("Confusion counts (CSV)", "confusion.csv", result.confusion_table, of)
        parts.csv("Precision, recall, F1 (CSV)", "per-class.csv", lambda: result.per_class, of)


def show_reliability(task: str, table: pd.DataFrame, curve: go.Figure, of: str) -> None:
    st.header("What confidence is worth")
    parts.chart(curve, f"Reliability of {task}: share right by confidence, per mask", "reliability")
    st.caption(
        "Each mark: a tenth of the faces, by the probability that the model gave its answer, and how many of these "
        "answers were right, with 95 % Wilson intervals. Below the dotted line the model is more sure than it is right."
    )
    parts.csv("Reliability (CSV)", "reliability.csv", lambda: table, of)


def show_errors(result: Assessment, task: str) -> None:
    st.header("How far it is off")
    rows = result.predictions[result.predictions["task"] == task]
    figure = error_figure(rows, unit=result.unit(task))
    parts.chart(figure, f"Distribution of the error of {task} per mask", f"error_{task}")
    st.caption("Right of zero: taken for older than annotated.")


def _pairs(masks: Sequence[str]) -> list[Sequence[str]]:
    return [masks[i : i + 2] for i in range(0, len(masks), 2)]


def page() -> None:
    st.markdown("How well does a model agree with the annotations of many faces, bare and masked?")
    run = ran_or_offer()
    if run is None:
        return
    result = run.assessment
    st.markdown(parts.plain(run.title))
    if not result.tasks:
        st.info("These faces carry no annotations to compare with. The predictions stand on the page Data set.")
        return
    show_headline(result, run.short)
    task = kept(
        st.segmented_control, "Task", list(result.tasks), default=result.tasks[0], required=True, key="perf_task",
        format_func=capital,
    )  # fmt: skip
    task = task if task in result.tasks else result.tasks[0]
    if result.class_names(task):
        drawn = resources.remember(f"perf_{task}", run.id, partial(of_classes, result, task))
        show_confusions(result, task, drawn.confusions, run.short)
        show_reliability(task, drawn.reliability, drawn.curve, run.short)
    else:
        show_errors(result, task)
    st.page_link("views/fairness.py", label="For whom it fails: Fairness", icon=":material/balance:")


page()
