"""Two models on the same faces as one page: what the second changes, for whom, and whether conditions hold."""

from collections.abc import Iterator, Mapping

import pandas as pd

from analyses.fairness.metrics import DECLARED
from analyses.fairness.samples import ALL
from analyses.figures import mask_places
from analyses.report.charts import Dot, Row, dot_charts
from analyses.report.frames import comparison_frame
from analyses.report.markup import Html, joined, table, tag
from analyses.report.page import document
from analyses.report.words import capital, grouping_name, mask_name, metric_name, p_value, scale, under, verdict


def comparison_page(comparison: pd.DataFrame, conditions: Mapping[str, pd.DataFrame], date: str) -> str:
    """HTML of the table of `compare_models`; conditions: each with the rows of which it is true."""
    names = str(comparison["model"].iloc[0]) if len(comparison) else "nothing in common"
    made = list(_sections(comparison, conditions))
    about = (
        "Second model minus first, the same faces in pairs. Positive is more of the metric, which is not always better."
    )
    return document(f"Two models compared: {names}", about, date, made)


def _sections(comparison: pd.DataFrame, conditions: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, str, Html]]:
    if conditions:
        yield "conditions", "Conditions", _conditions(conditions)
    yield "all", "All faces", _all_faces(comparison)
    for by in [by for by in comparison["by"].unique() if by != ALL]:
        of_by = comparison[comparison["by"] == by]
        parts = [tag("p", "Beside each group stands n; hollow marks are groups of fewer than 100 faces.")]
        for task in of_by["task"].unique():
            parts += _groups(of_by[of_by["task"] == task], task, by)
        yield by.replace("*", "-"), f"By {grouping_name(by)}", joined(*parts)


def _conditions(conditions: Mapping[str, pd.DataFrame]) -> Html:
    rows = [
        (text, "holds, so the comparison fails" if len(found) else "does not hold", _where(found))
        for text, found in conditions.items()
    ]
    return table("Conditions under which the comparison fails", ["condition", "outcome", "where"], rows)


def _where(found: pd.DataFrame) -> str:
    return "; ".join(
        f"{row.task}, {under(row.mask)}, {row.group}: {scale(row.task, row.metric).cell(row, signed=True)}, n {row.n:,}"
        for row in found.itertuples()
    )


def _all_faces(comparison: pd.DataFrame) -> Html:
    frame = comparison_frame(comparison)
    return table("All faces", list(frame.columns), list(frame.itertuples(index=False, name=None)), heads=3)


def _groups(rows: pd.DataFrame, task: str, by: str) -> Iterator[Html]:
    metric = next((metric for metric in DECLARED if metric in set(rows["metric"])), None)
    if metric is None:
        return
    rows = rows[rows["metric"] == metric]
    of, places = scale(task, metric), mask_places(rows["mask"].unique())
    changes = rows[rows["statistic"] == "change"]
    against = rows[rows["statistic"] == "change_gap"].set_index(["group", "mask"])
    title = f"{capital(task)}: {metric_name(metric)}, second minus first"
    yield tag("h3", title)
    dots = [
        Row(
            f"{group} (n {of_group['n'].max():,})",
            tuple(Dot(places[row.mask], row.value, row.ci_low, row.ci_high, row.n) for row in of_group.itertuples()),
        )
        for group, of_group in changes.groupby("group", sort=False)
    ]
    axis = f"change in {of.points or metric_name(metric)}"
    names = {place: mask_name(mask) for mask, place in places.items()}
    yield from dot_charts(dots, f"{title}, by {grouping_name(by)}", axis, of, names, zero=True)
    body = []
    for row in changes.itertuples():
        other = against.loc[(row.group, row.mask)] if (row.group, row.mask) in against.index else None
        than_others = "–" if other is None else of.cell(other, signed=True)
        cells = (f"{row.n:,}", of.cell(row, signed=True), p_value(row.p_adjusted), verdict(row, of), than_others)
        body.append((row.group, mask_name(row.mask), *cells, row.flag))
    head = [grouping_name(by), "mask", "n", "change", "adjusted p", "verdict", "change against all others", "note"]
    yield table(f"{title}, by {grouping_name(by)}", head, body, heads=2)
    for row in rows[rows["statistic"].isin(["worst", "range"])].itertuples():
        name = {"worst": "Worst group", "range": "Range over groups"}[row.statistic]
        figure = f"{of.difference(row.value)} ({row.group}, n {row.n:,})"
        yield tag("p", f"{name}, {under(row.mask)}: {figure}; no interval, no test.")
