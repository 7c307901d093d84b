"""How each group fares, what a mask changes for it, and what the evidence allows to say."""

from collections.abc import Hashable
from functools import partial

import pandas as pd
import streamlit as st

from analyses.fairness.audit import select
from analyses.fairness.samples import ALL
from analyses.figures import audit_figure
from analyses.report.findings import findings, in_brief
from analyses.report.frames import change_frame, group_frame, over_groups
from analyses.report.words import capital, grouping_name, metric_name, scale
from workbench import parts, resources
from workbench.address import kept
from workbench.audited import audited, choose_groupings, choose_source

VALUES = "value", "change"


def show_summary(audit: pd.DataFrame, key: Hashable, of: str) -> None:
    """`key` tells this audit from others."""
    st.header("In brief")
    told, brief = resources.remember("fair_brief", key, lambda: (findings(audit), in_brief(audit)))
    for finding in told:
        st.markdown(f"- {parts.plain(finding.text)}")
    st.markdown(parts.plain(brief))
    with st.container(horizontal=True):
        parts.csv("All figures (CSV)", "audit.csv", lambda: audit, of)
        parts.download("All figures (Parquet)", "audit.parquet", partial(audit.to_parquet, index=False), of=of)


def show_group(audit: pd.DataFrame) -> None:
    st.header("Group by group")
    by_group = audit[audit["statistic"].isin(VALUES) & (audit["by"] != ALL)]
    if by_group.empty:
        st.info("Choose at least one grouping above.")
        return
    with st.container(key="fair_choice"):
        left, middle, right = st.columns(3)
    task = kept(left.selectbox, "Task", list(by_group["task"].unique()), key="fair_task", format_func=capital)
    rows = by_group[by_group["task"] == task]
    groupings, metrics = list(rows["by"].unique()), list(rows["metric"].unique())
    by = kept(middle.selectbox, "Grouping", groupings, key="fair_grouping", format_func=grouping_name)
    metric = kept(right.selectbox, "Metric", metrics, key="fair_metric", format_func=metric_name)
    rows, of = select(audit, task=task, by=by, metric=metric), scale(task, metric)
    own = rows[rows["statistic"] == "value"]
    whole = select(audit, task=task, by=ALL, metric=metric, statistic="value")
    overall = whole.set_index("mask")["value"].to_dict()
    axis = f"{metric_name(metric)}{f', {of.unit}' if of.unit else ''}"
    parts.chart(
        audit_figure(own, axis=axis, factor=of.factor, overall=overall),
        f"{axis} of {task} by {grouping_name(by)}",
        "fair_own",
    )
    st.caption(
        "Dots: each group’s own figure with its 95 % interval; hollow below 100 faces. Grey: where 95 % of such groups "
        "would lie if groups made no difference. Dashed: all faces."
    )
    for sentence in over_groups(rows):
        st.markdown(parts.plain(sentence))
    with st.container(key="fair_groups"):
        parts.table(group_frame(rows), label=f"{axis} of {task} by {grouping_name(by)}")
    changes = rows[rows["statistic"] == "change"]
    if len(changes):
        st.subheader("What a mask changes")
        axis = f"{metric_name(metric)}, masked − bare{f', {of.points}' if of.points else ''}"
        parts.chart(
            audit_figure(changes, axis=axis, factor=of.factor, zero=True),
            f"{axis}, {task} by {grouping_name(by)}",
            "fair_change",
        )
        with st.container(key="fair_changes"):
            parts.table(change_frame(rows), label=f"{axis} of {task} by {grouping_name(by)}")
    st.caption(
        "Against all others: the group minus everyone else of the grouping. Verdicts: a gap where the adjusted p is at "
        "most .05; no gap larger than the margin where the interval lies within it; else there is not enough evidence, "
        "and the smallest gap that this many faces would probably have shown stands beside it. Below 20 faces there is "
        "n and no judgement. A group is the annotation of a picture, not anyone’s identity."
    )


def page() -> None:
    st.markdown(
        "For whom does a model fail, and what does a mask change for them? Every gap with its n and its evidence."
    )
    source = choose_source()
    if source is None:
        return
    by = choose_groupings(source)
    audit = audited(source, by)
    if audit is None:
        return
    st.markdown(parts.plain(source.name))
    model = str(audit["model"].iloc[0])
    show_summary(audit, (source.key, by, model), f"{model} {source.faces}")
    show_group(audit)


page()
