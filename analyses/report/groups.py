"""Groups beside each other: figures, what masks change, error at 18 and 25, calibration, each as figure and table."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np

from analyses.fairness.audit import GAP, select
from analyses.fairness.coupling import WRONG
from analyses.fairness.groups import FEW
from analyses.fairness.metrics import DECLARED
from analyses.fairness.samples import ALL
from analyses.report.charts import Dot, Row, dot_charts
from analyses.report.data import ReportData
from analyses.report.findings import comparisons
from analyses.report.frames import worst_group
from analyses.report.markup import Html, folded, joined, table, tag
from analyses.report.words import (
    DASH,
    SPACE,
    Scale,
    capital,
    count,
    grouping_name,
    mask_name,
    metric_name,
    p_value,
    under,
    verdict,
)  # fmt: skip
from maskmtl.metrics import UNLABELLED

MOST, WORST, BEST = 25, 20, 3  # groups in one figure: all up to MOST, else the worst and the best
LISTED = 12  # names in one sentence
LABEL = 42  # characters of a name in a figure
PASSES = ("minors_read_18", "minors_read_25", "adults_read_under_18", "adults_read_under_25")
MOVES = ("flips", "drift", "spread")
CALIBRATION = ("calibration_error", "brier")

Cells = Mapping[tuple[str, str], Any]  # (group, mask) -> a row of the audit


def groups(data: ReportData) -> Html:
    parts = []
    for i, task in enumerate(data.tasks):
        metric = data.headline(task)
        found = [_grouping(data, task, by, metric) for by in data.groupings]
        if any(found):
            parts += [tag("h3", f"{capital(task)}: {metric_name(metric)}", id=f"groups-{i + 1}"), *found]
    explored = _explored(data)
    return joined(*parts, *([tag("h3", "Exploratory gaps"), explored] if parts and explored else []))


def _grouping(data: ReportData, task: str, by: str, metric: str) -> Html:
    name, of = grouping_name(by), data.scale(task, metric)
    own = _cells(data, task, by, metric, "value")
    if not own:
        return Html()
    title = f"{capital(metric_name(metric))} of {task} by {name}"
    gaps = _cells(data, task, by, metric, "gap")
    better = next(iter(own.values())).better
    parts = [tag("h4", f"By {name}"), *_chart(data, task, by, metric, own, title, better)]
    if summary_ := _over_groups(data, task, by, metric):
        parts.append(summary_)
    rows = []
    for (group, mask), row in own.items():
        gap = gaps.get((group, mask))
        rest = [DASH] * 4
        if gap is not None:
            rest = [of.cell(gap, signed=True), p_value(gap.p_adjusted), of.size(gap.detectable), verdict(gap, of)]
        band = of.interval(row.null_low, row.null_high)
        rows.append((group, mask_name(mask), f"{row.n:,}", of.cell(row), band, *rest))
    head = [
        name, "mask", "n", metric_name(metric), "expected by chance", "minus all others", "adjusted p",
        "smallest detectable gap", "verdict",
    ]  # fmt: skip
    parts.append(folded(f"Table: {title}", table(title, head, rows, heads=2)))
    if others := _other_metrics(data, task, by, metric):
        parts.append(folded(f"Table: other metrics of {task} by {name}", others))
    return joined(*parts)


def _cells(data: ReportData, task: str, by: str, metric: str, statistic: str) -> Cells:
    """In the order of groups, then of masks."""
    rows = data.rows(task=task, by=by, metric=metric, statistic=statistic)
    order = {group: i for i, group in enumerate(rows["group"].unique())}
    found = sorted(rows.itertuples(), key=lambda row: (order[row.group], data.masks.index(row.mask)))
    return {(row.group, row.mask): row for row in found}


def _chart(
    data: ReportData, task: str, by: str, metric: str, cells: Cells, title: str, better: str, *, change: bool = False
) -> Iterator[Html]:
    """Of the groups with a figure, and what it leaves out."""
    of = data.scale(task, metric)
    by_group: dict[str, list[Any]] = {}
    for (group, _), row in cells.items():
        if group != UNLABELLED and not isnan(row.value):
            by_group.setdefault(group, []).append(row)
    shown = _chosen(by_group, better)
    rows = [
        Row(
            f"{_short(group)} · {_sizes(by_group[group])}",
            tuple(
                Dot(
                    data.series[row.mask],
                    row.value,
                    row.ci_low,
                    row.ci_high,
                    row.n,
                    (row.null_low, row.null_high),
                )
                for row in by_group[group]
            ),
        )
        for group in shown
    ]
    statistic = "change" if change else "value"
    whole = data.rows(task=task, by=ALL, metric=metric, statistic=statistic).set_index("mask")["value"]
    unit = of.points if change else of.unit
    axis = metric_name(metric) + (", masked minus bare" if change else "") + (f", {unit}" if unit else "")
    names = {place: mask_name(mask) for mask, place in data.series.items()}
    overall = {place: whole.get(mask, np.nan) for mask, place in data.series.items()}
    yield from dot_charts(rows, title, axis, of, names, overall=overall, zero=change or better == "zero")
    if len(shown) < len(by_group):
        yield tag(
            "p",
            f"Of {len(by_group)} groups the figure shows the {WORST} that fare worst and the {BEST} that fare best "
            f"({under(by_group[shown[0]][0].mask)}); the table has all.",
        )
    small = {group for group, _ in cells} - by_group.keys() - {UNLABELLED}
    if small and len(small) <= LISTED:
        yield tag("p", f"Too few faces to judge (under {FEW}): {'; '.join(sorted(small))}.")
    elif small:
        yield tag("p", f"{count(len(small), 'group')} of under {FEW} faces can't be judged; the table names them.")
    elif not rows:
        yield tag("p", "No group has a figure.")


def _chosen(by_group: Mapping[str, Sequence[Any]], better: str) -> list[str]:
    if len(by_group) <= MOST:
        return list(by_group)

    def badness(group: str) -> float:
        value = by_group[group][0].value
        return {"higher": -value, "lower": value, "zero": abs(value)}[better]

    ranked = sorted(by_group, key=badness, reverse=True)
    return [*ranked[:WORST], *ranked[-BEST:]]


def _short(name: str) -> str:
    return name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"


def _sizes(rows: Sequence[Any]) -> str:
    low, high = min(row.n for row in rows), max(row.n for row in rows)
    return f"n {low:,}" if low == high else f"n {low:,}–{high:,}"


def _over_groups(data: ReportData, task: str, by: str, metric: str) -> Html:
    rows = []
    for name in (metric, "equalized_odds"):
        of = data.scale(task, name)
        own = data.rows(task=task, by=by, metric=name)
        for mask in data.masks:
            found = {row.statistic: row for row in own[own["mask"] == mask].itertuples()}
            if (span := found.get("range")) is None:
                continue
            worst, mean = worst_group(own[own["mask"] == mask], of), found.get("mean_of_groups")
            ratio, largest = (found[key].value if key in found else np.nan for key in ("ratio", "max_to_geomean"))
            rows.append((
                metric_name(name), mask_name(mask), f"{span.n:,}", worst, f"{of.size(span.value)}, {span.group}",
                of.size(span.null_high), p_value(span.p_adjusted), verdict(span, of),
                *(DASH if isnan(value) else f"{value:.2f}" for value in (ratio, largest)),
                of.cell(mean) if mean else DASH,
            ))  # fmt: skip
    if not rows:
        return Html()
    head = [
        "metric", "mask", "n", "worst group", "range, worst to best", "range by chance, up to", "adjusted p",
        "verdict", "ratio", "largest over mean error", "mean of groups",
    ]  # fmt: skip
    return table(f"{task} by {grouping_name(by)}, over all groups of {FEW} faces or more", head, rows, heads=2)


def _other_metrics(data: ReportData, task: str, by: str, metric: str) -> Html:
    own = data.rows(task=task, by=by, statistic="value")
    apart = {metric, *MOVES, *(PASSES if task == "age" else ())}
    metrics = [name for name in own["metric"].unique() if name not in apart]
    return _values(data, task, by, metrics, f"{task} by {grouping_name(by)}: other metrics") if metrics else Html()


def _values(data: ReportData, task: str, by: str, metrics: Sequence[str], caption: str) -> Html:
    """Groups and masks in rows, metrics in columns."""
    columns = [(_cells(data, task, by, metric, "value"), data.scale(task, metric)) for metric in metrics]
    keys = dict.fromkeys(key for cells, _ in columns for key in cells)
    rows = []
    for group, mask in keys:
        found = [(cells.get((group, mask)), of) for cells, of in columns]
        n = max(row.n for row, _ in found if row)
        shown = [_figure_and_n(row, of, n) for row, of in found]
        rows.append((group, mask_name(mask), f"{n:,}", *shown))
    head = [grouping_name(by) if by != ALL else "group", "mask", "n", *map(metric_name, metrics)]
    return table(caption, head, rows, heads=2)


def _figure_and_n(row: Any, of: Scale, n: int) -> str:
    """With its own n where that is not `n`, as where a figure is about minors only."""
    if row is None:
        return DASH
    return of.cell(row) + (f", n{SPACE}{row.n:,}" if row.n != n else "")


def _explored(data: ReportData) -> Html:
    compared = comparisons(data.audit)
    gaps = compared[~compared["declared"] & (compared["outcome"] == GAP) & (compared["statistic"] == "gap")]
    if gaps.empty:
        return Html()
    rows = []
    for row in gaps.itertuples():
        of = data.scale(row.task, row.metric)
        shown = of.cell(row, signed=True)
        name = (row.task, mask_name(row.mask), grouping_name(row.by), row.group, metric_name(row.metric))
        rows.append((*name, f"{row.n:,}", shown, p_value(row.p_adjusted)))
    head = ["task", "mask", "grouping", "group", "metric", "n", "minus all others", "adjusted p"]
    title = f"Table: {count(len(rows), 'gap')} in metrics that were not declared"
    return folded(title, table("Gaps in metrics that were not declared", head, rows, heads=5))


def masks(data: ReportData) -> Html:
    parts = []
    for task in data.tasks:
        found = [_changes(data, task, by, data.headline(task)) for by in data.groupings]
        whole = _changes_of_all(data, task)
        if whole or any(found):
            parts += [tag("h3", f"{capital(task)}, masked minus bare"), whole, *found]
    return joined(*parts)


def _changes_of_all(data: ReportData, task: str) -> Html:
    rows = []
    for row in data.rows(task=task, by=ALL, statistic="change").itertuples():
        of = data.scale(task, row.metric)
        cells = (of.cell(row, signed=True), p_value(row.p_adjusted), of.size(row.detectable), verdict(row, of))
        rows.append((metric_name(row.metric), mask_name(row.mask), f"{row.n:,}", *cells))
    for metric in MOVES:
        for row in data.rows(task=task, by=ALL, statistic="value", metric=metric).itertuples():
            cell = data.scale(task, metric).cell(row)
            rows.append((metric_name(metric), mask_name(row.mask), f"{row.n:,}", cell, DASH, DASH, DASH))
    if not any(cells[3] != DASH for cells in rows):
        return Html()
    head = [
        "metric",
        "mask",
        "n",
        "masked minus bare, or figure",
        "adjusted p",
        "smallest detectable change",
        "verdict",
    ]
    return table(f"{task}: what a mask changes, all faces", head, rows, heads=2)


def _changes(data: ReportData, task: str, by: str, metric: str) -> Html:
    name, of = grouping_name(by), data.scale(task, metric)
    own, against = (_cells(data, task, by, metric, statistic) for statistic in ("change", "change_gap"))
    moves = {move: _cells(data, task, by, move, "value") for move in MOVES}
    moves = {move: cells for move, cells in moves.items() if cells}
    if not own and not moves:
        return Html()
    parts = [tag("h4", f"By {name}")]
    title = f"Change of {metric_name(metric)} of {task} by {name}"
    if own:
        better = next(iter(own.values())).better
        parts += _chart(data, task, by, metric, own, title, better, change=True)
    rows = []
    for group, mask in own or next(iter(moves.values())):
        change, gap = own.get((group, mask)), against.get((group, mask))
        cells = [DASH] * 3
        if change is not None:
            cells = [of.cell(change, signed=True), p_value(change.p_adjusted), verdict(change, of)]
        rest = [DASH] * 3
        if gap is not None:
            rest = [of.cell(gap, signed=True), p_value(gap.p_adjusted), verdict(gap, of)]
        moved = [data.scale(task, move).cell(found[group, mask]) for move, found in moves.items()]
        n = change.n if change is not None else next(iter(moves.values()))[group, mask].n
        rows.append((group, mask_name(mask), f"{n:,}", *cells, *rest, *moved))
    head = [
        name, "mask", "n", f"change of {metric_name(metric)}", "adjusted p", "verdict", "minus the others' change",
        "adjusted p", "verdict", *map(metric_name, moves),
    ]  # fmt: skip
    parts.append(folded(f"Table: {title}", table(title, head, rows, heads=2)))
    return joined(*parts)


def age(data: ReportData) -> Html:
    if not data.annotated.get("age"):
        return Html()
    parts = [
        tag(
            "p",
            "Of faces annotated as under 18, how many are read as 18 or older, and as 25 or older (the age below which "
            "some shops ask for a document); of the others, how many are read as younger. Annotated ages are mostly "
            "apparent ages, and no single face's age can be verified with such a model.",
        ),
        _values(data, "age", ALL, PASSES, "Error at 18 and 25, all faces"),
    ]
    for by in data.groupings:
        name = grouping_name(by)
        signed = _cells(data, "age", by, "signed_error", "value")
        if not signed:
            continue
        title = f"Mean error of age, predicted minus annotated, by {name}"
        parts += [tag("h3", f"By {name}"), *_chart(data, "age", by, "signed_error", signed, title, "zero")]
        figures = _values(data, "age", by, ("signed_error", *PASSES), f"Error at 18 and 25, and mean error, by {name}")
        parts.append(folded(f"Table: error at 18 and 25, and mean error, by {name}", figures))
    return joined(*parts)


def calibration(data: ReportData) -> Html:
    parts = []
    for task in data.tasks:
        if data.rows(task=task, by=ALL, metric=CALIBRATION[0], statistic="value")["value"].isna().all():
            continue
        parts += [tag("h3", capital(task)), _values(data, task, ALL, CALIBRATION, f"Calibration of {task}, all faces")]
        for by in data.groupings:
            own = _cells(data, task, by, CALIBRATION[0], "value")
            name = grouping_name(by)
            title = f"Calibration error of {task} by {name}"
            figures = _values(data, task, by, CALIBRATION, f"Calibration of {task} by {name}")
            parts += [tag("h4", f"By {name}"), *_chart(data, task, by, CALIBRATION[0], own, title, "lower")]
            parts.append(folded(f"Table: calibration of {task} by {name}", figures))
    return joined(*parts)


def coupling(data: ReportData) -> Html:
    """Each task on the faces that another reads wrong, beside those that it reads right."""
    if data.coupling is None or data.coupling.empty:
        return Html()
    head = ["task", "mask", "read wrong by", "figure", "n", "against those read right", "adjusted p", "verdict"]
    rows = []
    found = data.coupling[(data.coupling["group"] == WRONG) & data.coupling["metric"].isin(DECLARED)]
    own = {(row.task, row.mask, row.by, row.metric): row for row in select(found, statistic="value").itertuples()}
    for gap in select(found, statistic="gap").itertuples():
        of, row = data.scale(gap.task, gap.metric), own[gap.task, gap.mask, gap.by, gap.metric]
        cells = (f"{metric_name(row.metric)} {of.cell(row)}", f"{row.n:,}", of.cell(gap, signed=True))
        tested = p_value(gap.p_adjusted), verdict(gap, of)
        rows.append((gap.task, mask_name(gap.mask), gap.by.removesuffix(" read"), *cells, *tested))
    told = (
        "Errors that come together do not say which brings which: a poor photograph harms every head. "
        "Faces read wrong by one head against those that it reads right, under the same mask."
    )
    return joined(tag("p", told), table("Errors that come together", head, rows, heads=3))
