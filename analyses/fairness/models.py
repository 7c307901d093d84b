"""Two models on the same faces: what the second changes, in pairs, for each group."""

from collections.abc import Mapping, Sequence

import pandas as pd

from analyses.fairness.audit import COLUMNS, audit
from analyses.fairness.samples import check_columns, first_draw
from analyses.fairness.tables import BARE

SECOND = "second"
OF_GROUPINGS = ("worst", "range")  # whose difference is told without a test: the groups may be others


def compare_models(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    seed: int = 0,
    replicates: int = 2000,
    level: float = 0.95,
    margins: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """What `second` changes, face by face: the columns of `audit`, `model` being '<second> − <first>'.

    Both are predictions tables of one model each; faces, tasks and masks that both have are compared. `statistic` is
    change (second minus first, tested in pairs as a mask's change is), change_gap (the group's change minus the
    others'), worst and range (their differences; no interval, since the worst group may be another one), and value for
    flips (share of answers that are another class) and drift. Groupings are those of `first`.

    Raises:
        ValueError: where nothing is in common, annotations differ, a table mixes models, or as `audit`.
    """
    names = [_name(table) for table in (first, second)]
    names = [f"{name} ({letter})" for name, letter in zip(names, "AB", strict=True)] if names[0] == names[1] else names
    keys, classes = ["face_id", "task", "mask"], first.attrs.get("classes", {})
    first, second = (first_draw(table.assign(mask=table.get("mask", BARE))) for table in (first, second))
    own = [*keys, "y_true", "y_pred", *(["probabilities"] if "probabilities" in second else [])]
    both = first[keys].merge(second[keys])
    if both.empty:
        raise ValueError("two models should be compared on the same faces, tasks and masks, got none in common")
    groupings = first.drop(columns=["y_pred", "probabilities", "model"], errors="ignore")
    second = groupings.drop(columns="y_true").merge(second[own], on=keys)
    first = first.merge(both, on=keys)
    _check_annotations(first, second)
    first, second = _with_common_probabilities(first, second)

    parts = []
    for mask in dict.fromkeys(both["mask"]):
        pair = [first[first["mask"] == mask].assign(mask=BARE), second[second["mask"] == mask].assign(mask=SECOND)]
        table = pd.concat(pair, ignore_index=True).drop(columns="model", errors="ignore")
        table.attrs["classes"] = classes
        rows = audit(table, by=by, seed=seed, replicates=replicates, level=level, margins=margins)
        kept = rows["statistic"].isin(["change", "change_gap"]) | rows["metric"].isin(["flips", "drift"])
        parts += [part.assign(mask=mask) for part in (rows[kept & (rows["mask"] == SECOND)], _of_groupings(rows))]
    return pd.concat(parts, ignore_index=True).assign(model=f"{names[1]} − {names[0]}")[list(COLUMNS)]


def _name(table: pd.DataFrame) -> str:
    check_columns(table)
    names = table["model"].unique() if "model" in table else ["model"]
    if len(names) > 1:
        raise ValueError(f"each table should hold one model's predictions, got {sorted(map(str, names))}")
    return str(names[0]) if len(names) else "model"


def _with_common_probabilities(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both without the probabilities of tasks for which one of them lacks some."""
    if "probabilities" not in first or "probabilities" not in second:
        return tuple(table.drop(columns="probabilities", errors="ignore") for table in (first, second))
    lacking = {task for table in (first, second) for task in table.loc[table["probabilities"].isna(), "task"].unique()}
    return tuple(
        table.assign(probabilities=table["probabilities"].astype(object).where(~table["task"].isin(lacking), None))
        for table in (first, second)
    )


def _check_annotations(first: pd.DataFrame, second: pd.DataFrame) -> None:
    keys = ["face_id", "task", "mask"]
    pairs = first[[*keys, "y_true"]].merge(second[[*keys, "y_true"]], on=keys, suffixes=("", "_other"))
    differ = (pairs["y_true"] != pairs["y_true_other"]) & ~(pairs["y_true"].isna() & pairs["y_true_other"].isna())
    if differ.any():
        raise ValueError(
            f"both tables should carry the same annotations, got {differ.sum()} that differ, "
            f"the first of {pairs.loc[differ, keys].iloc[0].to_dict()}"
        )


def _of_groupings(rows: pd.DataFrame) -> pd.DataFrame:
    """Second minus first of the figures that are about a whole grouping."""
    rows = rows[rows["statistic"].isin(OF_GROUPINGS) & ~rows["metric"].isin(["flips", "drift"])]
    keys = ["task", "by", "metric", "statistic"]
    pairs = rows[rows["mask"] == SECOND].merge(
        rows.loc[rows["mask"] == BARE, [*keys, "value", "group"]], on=keys, suffixes=("", "_first")
    )
    same = pairs["group"] == pairs["group_first"]
    group = pairs["group"].where(same, pairs["group_first"] + " → " + pairs["group"])
    empty = dict.fromkeys(["null_low", "null_high", "p_value", "p_adjusted"], float("nan"))
    return pairs.assign(value=pairs["value"] - pairs["value_first"], group=group, family="", verdict="", **empty)
