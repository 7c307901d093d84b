"""Two models on the same faces: what the second changes, in pairs, for each group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analyses.fairness.audit import COLUMNS, audit
from analyses.fairness.samples import check_columns, first_draw
from analyses.fairness.tables import BARE, probability_matrix

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
    flips (share of answers that are another class) and drift. Groupings are those of `first`. Classes that both name
    (`attrs["classes"]`) are the same where their names are. What one of them lacks is not compared: see `common`.

    Raises:
        ValueError: where nothing is in common, annotations differ, a table mixes models, or as `audit`.
    """
    names = [_name(table) for table in (first, second)]
    names = [f"{name} ({letter})" for name, letter in zip(names, "AB", strict=True)] if names[0] == names[1] else names
    first, second = _with_common_classes(first, second)
    keys, classes = ["face_id", "task", "mask"], second.attrs.get("classes", {}) | first.attrs.get("classes", {})
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


@dataclass(frozen=True)
class Common:
    """How many faces of two predictions tables are compared, and which (task, mask) of the first the second lacks."""

    n: int
    n_first: int
    n_second: int
    lacking: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        tasks = list(dict.fromkeys(task for task, _ in self.lacking))
        masks = [", ".join(mask for of, mask in self.lacking if of == task) for task in tasks]
        missing = "; ".join(f"{task} under {of_task}" for task, of_task in zip(tasks, masks, strict=True))
        counts = f"compared {self.n:,} of {self.n_first:,} and {self.n_second:,} faces"
        return counts + (f"; B lacks {missing}" if missing else "")


def common(first: pd.DataFrame, second: pd.DataFrame) -> Common:
    """Of the tables of `compare_models`."""
    tables = [table.assign(mask=table.get("mask", BARE)) for table in (first, second)]
    faces = [set(table["face_id"]) for table in tables]
    cells = [table[["task", "mask"]].drop_duplicates().astype(str) for table in tables]
    there = set(cells[1].itertuples(index=False, name=None))
    lacking = tuple(cell for cell in cells[0].itertuples(index=False, name=None) if cell not in there)
    return Common(len(faces[0] & faces[1]), len(faces[0]), len(faces[1]), lacking)


def _name(table: pd.DataFrame) -> str:
    check_columns(table)
    names = table["model"].unique() if "model" in table else ["model"]
    if len(names) > 1:
        raise ValueError(f"each table should hold one model's predictions, got {sorted(map(str, names))}")
    return str(names[0]) if len(names) else "model"


def _with_common_classes(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with the classes of either, by name, in the order of the first, where each names those of a task."""
    theirs = [table.attrs.get("classes", {}) for table in (first, second)]
    differ = [task for task in theirs[0] if task in theirs[1] and list(theirs[0][task]) != list(theirs[1][task])]
    for task in differ:
        names = list(dict.fromkeys([*theirs[0][task], *theirs[1][task]]))
        first, second = _recoded(first, task, theirs[0][task], names), _recoded(second, task, theirs[1][task], names)
    return first, second


def _recoded(table: pd.DataFrame, task: str, own: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """With the answers of a task as indices of `names`, which hold its own classes, and 0 for the others."""
    at, rows = np.array([names.index(name) for name in own]), (table["task"] == task).to_numpy()
    found = {}
    for column in ("y_true", "y_pred"):
        found[column] = table[column].to_numpy(float).copy()
        known = rows & ~np.isnan(found[column])
        found[column][known] = at[found[column][known].astype(int)]
    if "probabilities" in table and (given := rows & table["probabilities"].notna().to_numpy()).any():
        wide = np.zeros((int(given.sum()), len(names)))
        wide[:, at] = probability_matrix(table.loc[given, "probabilities"])
        found["probabilities"] = table["probabilities"].astype(object).to_numpy(copy=True)
        found["probabilities"][given] = pd.Series(list(wide)).to_numpy()
    recoded = table.assign(**found)
    recoded.attrs["classes"] = {**table.attrs["classes"], task: list(names)}
    return recoded


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
    size = (pairs["statistic"] == "worst") & (pairs["better"] == "zero")
    second, first = (pairs[name].where(~size, pairs[name].abs()) for name in ("value", "value_first"))
    return pairs.assign(value=second - first, group=group, family="", verdict="", **empty)
