"""An audit's rows of one task, grouping and metric as tables of words, for pages that draw their own."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analyses.fairness.metrics import MOVES
from analyses.fairness.samples import ALL
from analyses.report.words import (
    DASH,
    SPACE,
    UNITS,
    Scale,
    capital,
    mask_name,
    metric_name,
    p_value,
    scale,
    under,
    verdict,
)


def group_frame(rows: pd.DataFrame, *, units: Mapping[str, str] = UNITS) -> pd.DataFrame:
    """A row per group and mask: its figure, its gap to all others, what could have been found, and the verdict.

    A second line in a cell is an interval or the adjusted p.
    """
    return _frame(rows, "value", "gap", "against all others", units)


def change_frame(
    rows: pd.DataFrame, *, of: str = "masked minus bare", units: Mapping[str, str] = UNITS
) -> pd.DataFrame:
    """The same of what each mask, or a second model, changes; and that against all others."""
    return _frame(rows, "change", "change_gap", "change against all others", units, of)


def comparison_frame(comparison: pd.DataFrame) -> pd.DataFrame:
    """What a second model changes over all faces (`compare_models`): a row per task, mask and metric."""
    found = []
    for row in comparison[(comparison["by"] == ALL) & comparison["value"].notna()].itertuples():
        of, moved = scale(str(row.task), str(row.metric)), row.metric in MOVES
        name = {"flips": "classes that differ", "drift": "mean distance between the answers"}.get(str(row.metric))
        found.append({
            "task": row.task,
            "mask": mask_name(str(row.mask)),
            "metric": name or metric_name(str(row.metric)),
            "n": f"{row.n:,}",
            "second minus first": of.cell(row, signed=not moved),
            "adjusted p": p_value(row.p_adjusted),
            "verdict": verdict(row, of),
        })  # fmt: skip
    return pd.DataFrame(found)


def _frame(
    rows: pd.DataFrame, own: str, gap: str, title: str, units: Mapping[str, str], change: str = ""
) -> pd.DataFrame:
    found = []
    gaps = {(row.group, row.mask): row for row in rows[rows["statistic"] == gap].itertuples()}
    for row in rows[rows["statistic"] == own].itertuples():
        of, other = scale(str(row.task), str(row.metric), units), gaps.get((row.group, row.mask))
        judged = row if own == "change" else other
        found.append({
            "group": row.group,
            "mask": mask_name(str(row.mask)),
            "n": f"{row.n:,}",
            change or metric_name(str(row.metric)): _cell(row, of, own == "change"),
            title: DASH if other is None else _cell(other, of, True),
            "smallest detectable": DASH if judged is None else of.size(judged.detectable),
            "verdict": DASH if judged is None else _verdict(judged, of),
            "note": row.flag,
        })  # fmt: skip
    return pd.DataFrame(found)


def _cell(row: Any, of: Scale, signed: bool) -> str:
    value = of.difference(row.value) if signed else of.value(row.value)
    interval = of.interval(row.ci_low, row.ci_high, signed=signed)
    return value if interval == DASH else f"{value}\n{interval}"


def _verdict(row: Any, of: Scale) -> str:
    words = verdict(row, of)
    return words if words == DASH else f"{words}\nadjusted p {p_value(row.p_adjusted)}"


def over_groups(rows: pd.DataFrame, *, units: Mapping[str, str] = UNITS) -> Iterator[str]:
    """A sentence per mask: worst group, and range with what chance alone would show."""
    for mask, of_mask in rows.groupby("mask", sort=False):
        found = {row.statistic: row for row in of_mask.itertuples()}
        if "range" not in found:
            continue
        spread = found["range"]
        of = scale(str(spread.task), str(spread.metric), units)
        parts = [f"{capital(under(str(mask)))}: "]
        if "worst" in found:
            parts.append(f"worst {worst_group(of_mask, of)}; ")
        parts.append(
            f"range {of.size(spread.value)} ({spread.group}, n {spread.n:,}), "
            f"by chance up to {of.size(spread.null_high)}, p {p_value(spread.p_adjusted)}: {verdict(spread, of)}"
        )
        yield "".join(parts) + "."


def worst_group(rows: pd.DataFrame, of: Scale) -> str:
    """Of one mask's rows: the worst group with its own figure, interval and n."""
    worst = set(rows.loc[rows["statistic"] == "worst", "group"])
    own = rows[(rows["statistic"] == "value") & rows["group"].isin(worst)]
    return next((f"{row.group}, {of.cell(row)}, n{SPACE}{row.n:,}" for row in own.itertuples()), DASH)
