"""The audit's verdicts counted, and its most important gaps in plain words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analyses.fairness.audit import GAP, QUESTION, UNCLEAR, select
from analyses.fairness.metrics import DECLARED
from analyses.fairness.samples import ALL
from analyses.report.words import DASH, UNITS, Scale, capital, count, grouping_name, metric_name, scale, under
from maskmtl.metrics import UNLABELLED
from maskmtl.tasks import TASKS

BETWEEN = ("gap", "change_gap")  # the statistics that set a group against all others
NO_GAP, TOO_FEW = "no gap", "too few"


@dataclass(frozen=True)
class Finding:
    """A gap in words, and the audit's row that it is read from."""

    text: str
    task: str
    mask: str
    by: str
    group: str
    metric: str
    statistic: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    p_adjusted: float
    family: str
    tests: int  # of the family that p is adjusted for


def findings(audit: pd.DataFrame, k: int = 3, units: Mapping[str, str] = UNITS) -> list[Finding]:
    """The k most important gaps of one model's audit, in plain words; fewer where there are fewer.

    Rows of one group against all others with the verdict 'gap': declared before exploratory, groups that fare worse
    before those that fare better, then by how many margins the gap has at least, which is the interval's end nearer to
    0. Each task is told once before any is told again, then each grouping of a task.
    """
    gaps = audit[audit["statistic"].isin(BETWEEN) & (audit["verdict"] == GAP)].copy()
    if k < 1 or gaps.empty:
        return []
    sides = np.sign(gaps["ci_low"]) == np.sign(gaps["ci_high"])
    least = gaps[["ci_low", "ci_high"]].abs().min(axis=1).where(sides, 0.0)
    worse = {"higher": gaps["value"] < 0, "lower": gaps["value"] > 0}
    gaps["worse"] = np.select([gaps["better"] == better for better in worse], list(worse.values()), False)
    gaps["least"] = least / gaps["margin"].where(gaps["margin"] > 0, 1.0)
    gaps["declared"] = gaps["metric"].isin(DECLARED)
    gaps = gaps.sort_values(["declared", "worse", "least"], ascending=False, kind="stable")
    gaps = gaps[~gaps.duplicated(["task", "by", "group", "statistic", "declared"])]
    gaps = gaps[~_mirrored(gaps)].copy()
    rounds = (["declared", "worse", "task"], ["declared", "worse", "task", "by"])
    gaps["told"] = sum(gaps.duplicated(keys).astype(int) for keys in rounds)
    order = gaps.sort_values(["declared", "worse", "told"], ascending=[False, False, True], kind="stable")
    return [_finding(row, audit, units) for row in order.head(k).itertuples()]


def _mirrored(gaps: pd.DataFrame) -> pd.Series:
    """Which rows say of the second of two groups what was said of the first."""
    size = gaps["value"].abs().round(9)
    return gaps.assign(size=size).duplicated([*QUESTION, "metric", "size"])


def _finding(row: Any, audit: pd.DataFrame, units: Mapping[str, str]) -> Finding:
    of, tests = scale(row.task, row.metric, units), _tests(row, audit)
    same = {name: getattr(row, name) for name in ("task", "mask", "by", "group", "metric")}
    own = select(audit, **same, statistic="value" if row.statistic == "gap" else "change")
    text = f"{_told(row, next(own.itertuples()), of, audit)} {_evidence(row.family, tests)}"
    taken = ("task", "mask", "by", "group", "metric", "statistic", "value", "ci_low", "ci_high", "p_adjusted", "family")
    return Finding(text=text, n=int(row.n), tests=tests, **{name: getattr(row, name) for name in taken})


def _tests(row: Any, audit: pd.DataFrame) -> int:
    """How many tests the p of a row is adjusted for."""
    keys = [*QUESTION, "metric"] if row.family == "declared" else ["model", "statistic", "family"]
    asked = select(audit, **{name: getattr(row, name) for name in keys})
    return 1 if row.family == "declared" and len(asked) == 2 else int(asked["p_value"].notna().sum())


def _evidence(family: str, tests: int) -> str:
    if family == "declared":
        return (
            "It was the only test of its question."
            if tests == 1
            else f"The evidence holds after correction for the {tests} tests of this question."
        )
    return f"Exploratory: it holds at the false discovery rate among {count(tests, 'test')}."


def faces_of(by: str, group: str, tasks: set[str]) -> str:
    """'faces annotated “black, female” (ethnicity × gender)'."""
    annotated = all(part in tasks or part == "age_band" for part in by.split("*"))
    return f"faces {'annotated' if annotated else 'of'} “{group}” ({grouping_name(by)})"


def _told(row: Any, own: Any, of: Scale, audit: pd.DataFrame) -> str:
    faces = faces_of(row.by, row.group, {*TASKS, *audit["task"]})
    n, interval = f"n {row.n:,}", of.sizes(row.value, row.ci_low, row.ci_high)
    size = of.size(row.value) if interval == DASH else f"{of.size(row.value)} ({interval})"
    if row.statistic == "change_gap":
        change = f"{of.difference(own.value)} ({of.interval(own.ci_low, own.ci_high, signed=True)}, {n})"
        end = f"{size} {'below' if row.value < 0 else 'above'} its change for all others."
        return (
            f"{capital(row.task)}, {under(row.mask)} against bare: for {faces} the mask changes the "
            f"{metric_name(row.metric)} by {change}, {end}"
        )
    value, interval = of.value(own.value), of.interval(own.ci_low, own.ci_high)
    start, figure = f"{capital(row.task)}, {under(row.mask)}: ", f"{value} ({interval}, {n})"
    if row.metric == "accuracy":
        end = f"{size} {'less' if row.value < 0 else 'more'} often than all others."
        return f"{start}{faces} are read correctly in {figure}, {end}"
    if row.metric == "mae":
        end = f"{size} {'more' if row.value > 0 else 'less'} than all others."
        return f"{start}{faces} are misread by {figure} on average, {end}"
    end = f"{size} {'above' if row.value > 0 else 'below'} that of all others."
    return f"{start}for {faces} the figure '{metric_name(row.metric)}' is {figure}, {end}"


def comparisons(audit: pd.DataFrame) -> pd.DataFrame:
    """Each group against all others, one row a comparison, with `outcome`: GAP, NO_GAP, UNCLEAR or TOO_FEW.

    Of two groups, which mirror each other, the first row stands for both.
    """
    rows = audit[audit["statistic"].isin(BETWEEN) & (audit["by"] != ALL) & (audit["group"] != UNLABELLED)]
    question = [*QUESTION, "metric"]
    two = rows.groupby(question, sort=False)["group"].transform("size") == 2
    rows = rows[~(two & rows.duplicated(question))]
    outcome = np.select(
        [rows["verdict"] == GAP, rows["verdict"] == UNCLEAR, rows["verdict"] != ""], [GAP, UNCLEAR, NO_GAP], TOO_FEW
    )
    return rows.assign(outcome=outcome, declared=rows["metric"].isin(DECLARED))


def verdicts(audit: pd.DataFrame, *, declared: bool = True) -> dict[str, int]:
    """How many comparisons of the declared metrics, or of all others, ended with which outcome."""
    rows = comparisons(audit)
    counts = rows.loc[rows["declared"] == declared, "outcome"].value_counts()
    return {outcome: int(counts.get(outcome, 0)) for outcome in (GAP, NO_GAP, UNCLEAR, TOO_FEW)}


def detectable(audit: pd.DataFrame, units: Mapping[str, str] = UNITS) -> Iterator[str]:
    """Which gaps the tests of each task's groups find: 'age: 0.5 to 1.6 years of mean absolute error'."""
    rows = audit[(audit["statistic"] == "gap") & audit["metric"].isin(DECLARED) & audit["detectable"].notna()]
    for (task, metric), of_task in rows.groupby(["task", "metric"], sort=False):
        of = scale(str(task), str(metric), units)
        least, most = of_task["detectable"].min(), of_task["detectable"].max()
        size = of.size(most) if of.plain(least) == of.plain(most) else f"{of.plain(least)} to {of.size(most)}"
        yield f"{task}: {size} of {metric_name(str(metric))}"


def in_brief(audit: pd.DataFrame, units: Mapping[str, str] = UNITS) -> str:
    """What the comparisons of declared metrics came to, and which gaps they could have shown."""
    if not (audit["by"] != ALL).any():
        return "No groups were asked for, so that none was compared."
    counts = verdicts(audit)
    tested = sum(counts.values()) - counts[TOO_FEW]
    if not tested:
        return "No group could be compared with the others: no grouping has two groups of 20 annotated faces or more."
    found = f"{counts[GAP]:,} of {count(tested, 'comparison')} of a group with all others show a gap."
    if not counts[GAP]:
        found = f"No gap was found in {count(tested, 'comparison')}. That is no proof that there is none."
    reach = "; ".join(detectable(audit, units))
    power = f"With a power of 80 % one test finds a gap of this size, from the largest group to the smallest: {reach}."
    return f"{found} {power}" if reach else found
