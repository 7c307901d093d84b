"""Two to five models on the same faces: how each fares, and what the others change against the first."""

from typing import NamedTuple
from uuid import uuid4

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analyses.assessment import Assessment, assess, headline
from analyses.fairness.audit import select
from analyses.fairness.metrics import DECLARED
from analyses.fairness.models import common, compare_models
from analyses.fairness.samples import ALL, usual_groupings
from analyses.figures import audit_figure
from analyses.report.frames import change_frame, comparison_frame
from analyses.report.words import capital, grouping_name, metric_name, scale
from maskmtl.evaluation import choose
from maskmtl.manifest import Faces
from workbench import parts, resources
from workbench.address import keep, kept, kept_text, kept_texts
from workbench.assessed import Order, choose_order
from workbench.chooser import WORDS, open_set

SLOT, GO, MADE, MOST = "compare_result", "compare_go", "compared", 5
UNSEEN = WORDS | {"unseen": "faces none of these models has seen"}


class Wanted(NamedTuple):
    """What to compare. (A tuple: Streamlit makes classes anew, and compares by value.)

    stamps: of the models' cards, as a run that trains on changes its own.
    """

    models: tuple[str, ...]
    order: Order
    stamps: tuple[int, ...]


class Compared(NamedTuple):
    """Several models on the same faces; changes are of each but the first, against it."""

    id: str
    title: str
    wanted: Wanted
    assessments: dict[str, Assessment]
    changes: dict[str, pd.DataFrame]
    lacking: dict[str, str]  # what is not compared, of those that lack something


def choose_models() -> list[str]:
    try:
        offered = resources.offered_models()
    except (ValueError, OSError):  # the sidebar has told
        offered = {}
    names = list(offered)
    chosen: list[str] = kept(
        st.multiselect, "Models: the first is what the others are held against", names, default=names[:2],
        max_selections=MOST, format_func=lambda name: offered.get(name, name), key="compare_models",
        help="Models that come with the project, and runs that have weights.",
    )  # fmt: skip
    if gone := [name for name in kept_texts("compare_models") if name not in offered]:
        st.warning(parts.plain(f"The link names models that are not here: {', '.join(gone)}. They are left out."))
    return chosen


def run(wanted: Wanted, bar: DeltaGenerator) -> Compared:
    """Predict with each on the faces that none of them has seen, and compare in pairs; ValueError or OSError."""
    offered, (names, order, _) = resources.offered_models(), wanted
    faces, chosen = unseen_by_all(names, order, bar)
    clock, assessments = parts.Clock(), {}
    for i, name in enumerate(names):
        model = resources.model(name)

        def predicting(done: int, total: int, i: int = i, label: str = offered[name]) -> None:
            left = clock.left(i * total + done, len(names) * total)
            share = (i + done / total) / len(names)
            bar.progress(share, f"{label}: {done:,} of {total:,} faces, {len(order.masks)} variants each{left}")

        predictions = resources.predict_in_turns(model, chosen, order.masks, order.seed, predicting)
        assessments[name] = assess(predictions.assign(model=offered[name]), chosen.table, model.specs, seed=order.seed)
    bar.progress(1.0, "Comparing in pairs …")
    first, changes, lacking = assessments[names[0]].predictions, {}, {}
    by = [name for name in usual_groupings(first) if "*" not in name]
    for name in names[1:]:
        second = assessments[name].predictions
        changes[name] = compare_models(first, second, by=by, seed=order.seed)
        if (of_both := common(first, second)).lacking:
            lacking[name] = str(of_both)
    title = f"{faces.name}: {UNSEEN[order.faces.split]}, {len(chosen):,} of {len(faces):,}"
    return Compared(uuid4().hex, title, wanted, assessments, changes, lacking)


def unseen_by_all(names: tuple[str, ...], order: Order, bar: DeltaGenerator) -> tuple[Faces, Faces]:
    """All faces, and those that may be asked of every model."""
    faces = open_set(order.faces, parts.opening(bar))
    keep = np.ones(len(faces), bool)
    for name in names:
        keep &= faces.table["face_id"].isin(choose(faces, name, order.faces.split).table["face_id"]).to_numpy()
    if not keep.any():
        raise ValueError(f"{faces.name} has no face that none of these models has seen: choose other faces, or all")
    return faces, faces.select(keep)


def show_headlines(found: Compared, offered: dict[str, str]) -> None:
    st.header("How each fares")
    rows = []
    for name, assessment in found.assessments.items():
        if not assessment.tasks:
            continue
        table = headline(assessment)
        table.insert(0, "model", offered[name])
        rows.append(table)
    if not rows:
        st.info("These faces carry no annotations: only how far the answers differ can be told.")
        return
    table = pd.concat(rows, ignore_index=True).fillna("–")
    parts.table(table, label="Headline figures of each model per mask")
    st.caption("Second lines are 95 % intervals. Whether two models differ is told by pairs, below: not by these.")


def show_changes(found: Compared, offered: dict[str, str]) -> None:
    first = offered[found.wanted.models[0]]
    names = list(found.changes)
    chosen = names[0]
    if len(names) > 1:
        chosen = kept(
            st.segmented_control, f"Against {first}", names, default=names[0], required=True, key="compare_second",
            format_func=offered.__getitem__,
        )  # fmt: skip
    second, changes = offered[chosen], found.changes[chosen]
    st.header(parts.plain(f"What {second} changes against {first}"))
    if chosen in found.lacking:
        st.caption(parts.plain(f"A: {first}, B: {second}. {parts.capital(found.lacking[chosen])}."))
    main = changes["metric"].isin([*DECLARED, "flips", "drift"])
    parts.table(comparison_frame(changes[main]), label=f"{second} minus {first}, over all faces, in pairs")
    with st.expander("All metrics"):
        parts.table(comparison_frame(changes[~main]), label=f"{second} minus {first}, further metrics")
    st.caption(
        "The same faces in pairs. Positive is more of the metric, which is not always better. In brackets: 95 % "
        "intervals. A change where the adjusted p is at most .05, no change larger than the margin where the interval "
        "lies within it, else not enough evidence, with the smallest change that this many faces would probably show."
    )
    parts.csv(
        "The comparison (CSV)",
        "comparison.csv",
        lambda: pd.concat(found.changes.values(), ignore_index=True),
        f"{' '.join(offered.values())} {found.title.partition(':')[0]}",
    )
    rows = changes[(changes["statistic"] == "change") & (changes["by"] != ALL)]
    if rows.empty:
        return
    st.subheader("For whom")
    one, two, three = st.columns(3)
    task = kept(one.selectbox, "Task", list(rows["task"].unique()), format_func=capital, key="compare_task")
    rows = rows[rows["task"] == task]
    by = kept(two.selectbox, "Grouping", list(rows["by"].unique()), format_func=grouping_name, key="compare_by")
    metrics = list(rows[rows["by"] == by]["metric"].unique())
    metric = kept(three.selectbox, "Metric", metrics, format_func=metric_name, key="compare_metric")
    of_metric, of = select(changes, task=task, by=by, metric=metric), scale(task, metric)
    axis = f"{metric_name(metric)}, second minus first{f', {of.points}' if of.points else ''}"
    dots = of_metric[of_metric["statistic"] == "change"]
    alt = f"{axis}: {task} by {grouping_name(by)}"
    parts.chart(audit_figure(dots, axis=axis, factor=of.factor, zero=True), alt, "compare_groups")
    st.caption("Dots: each group’s own change with its 95 % interval; hollow below 100 faces.")
    with st.container(key="fair_changes"):
        parts.table(change_frame(of_metric, of="second minus first"), label=alt)


def page() -> None:
    st.markdown("Two to five models on the same faces: face by face, with what the evidence allows to say.")
    names = choose_models()
    order = choose_order(UNSEEN)
    ready = order is not None and len(names) > 1
    pressed = st.button("Compare", type="primary", icon=":material/compare_arrows:", disabled=not ready)
    go = (ready and st.session_state.pop(GO, False)) or kept_text(MADE) is not None
    if len(names) < 2:
        st.info("Choose at least two models. A variant of your own: ‘Retrain a variant’ in the sidebar.")
        return
    stamps = tuple(resources.version(name)[1] for name in names)
    wanted = Wanted(tuple(names), order, stamps) if order is not None else None
    last: Compared | None = st.session_state.get(SLOT)
    begin = ready and (pressed or (go and (last is None or last.wanted != wanted)))
    found: Compared | None = parts.run_into(SLOT, wanted if begin else None, run)
    if found is None:
        return
    if found.wanted == wanted and not found.wanted.order.faces.is_upload:
        keep(MADE, "yes")
    offered = {name: resources.called(name) for name in found.wanted.models}
    st.markdown(parts.plain(found.title))
    if found.wanted != wanted:
        st.caption("This is the last comparison; the choices above, or a model, have changed since.")
    show_headlines(found, offered)
    show_changes(found, offered)


page()
