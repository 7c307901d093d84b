"""From a predictions table to arrays: the answers of each task, and the groups of its faces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analyses.fairness.groups import check_finite, group_labels
from analyses.fairness.metrics import Floats, Sample
from analyses.fairness.tables import BARE, probability_matrix
from maskmtl.metrics import UNLABELLED, check_indices
from maskmtl.tasks import TASKS, Classes

ALL = "all"
MOST_GROUPS = 500  # of a grouping: their replicates are held at once
KEYS = ("face_id", "task", "y_true", "y_pred")
_OWN = (*KEYS, "probabilities", "mask", "model", "draw")  # not groupings


@dataclass(frozen=True)
class Grouping:
    """A partition of faces. at (F,): which of `groups` each is in, -1 where an annotation is missing."""

    name: str
    groups: tuple[str, ...]
    at: NDArray[np.integer]


class Predictions:
    """One model's predictions, checked. faces: the face_ids, sorted; a sample's arrays follow them."""

    def __init__(self, table: pd.DataFrame) -> None:
        check_columns(table)
        self._table = table
        self._at, self.faces = _codes(table["face_id"], sort=True)
        self._mask, masks = _codes(table["mask"] if "mask" in table else np.full(len(table), BARE))
        self._task, tasks = _codes(table["task"])
        self._draw, draws = _codes(table["draw"] if "draw" in table else np.zeros(len(table), int), sort=True)
        self.masks, self.tasks, self._n_draws = list(map(str, masks)), list(map(str, tasks)), len(draws)
        self._check()

    def _check(self) -> None:
        cell = (self._draw.astype(np.int64) * len(self.tasks) + self._task) * len(self.masks) + self._mask
        if (again := pd.Series(cell * len(self.faces) + self._at).duplicated()).any():
            keys = [key for key in ("task", "mask", "draw", "face_id") if key in self._table]
            first = self._table.loc[again.to_numpy(), keys].iloc[0].to_dict()
            raise ValueError(
                f"predictions should have one row per face, task and mask (and draw, for several drawn masks), "
                f"got several of {first}"
            )
        check_finite(self._table)

    def samples(self, task: str) -> dict[str, Sample]:
        """Mask -> the answers of all faces (F,), NaN where there is no annotation or no answer.

        Of several drawn masks the first is the one that is scored.
        """
        of_task = self._task == self.tasks.index(task)
        rows = self._table[of_task & (self._draw == 0)]
        at, masks = self._at[of_task & (self._draw == 0)], self._mask[of_task & (self._draw == 0)]
        probabilities = _probabilities(rows, task)
        classes = self._class_names(task)
        if classes or probabilities is not None:
            classes = _checked_classes(rows, task, probabilities, classes)
        found = {}
        for code in pd.unique(masks):
            here = masks == code
            found[self.masks[code]] = Sample(
                self._scatter(at[here], rows["y_true"].to_numpy(float)[here]),
                self._scatter(at[here], rows["y_pred"].to_numpy(float)[here]),
                classes,
                None if probabilities is None else self._scatter(at[here], probabilities[here]),
            )
        return found

    def _class_names(self, task: str) -> tuple[str, ...]:
        """As TASKS has them or a table that was read with names."""
        if task in TASKS:
            target = TASKS[task].target
            return target.names if isinstance(target, Classes) else ()
        return tuple(self._table.attrs.get("classes", {}).get(task, ()))

    def draws(self, task: str, mask: str) -> Floats:
        """(F, D) the answers to each drawn mask, NaN where there is none."""
        rows = (self._task == self.tasks.index(task)) & (self._mask == self.masks.index(mask))
        found = np.full((len(self.faces), self._n_draws), np.nan)
        found[self._at[rows], self._draw[rows]] = self._table["y_pred"].to_numpy(float)[rows]
        return found[:, ~np.isnan(found).all(axis=0)]

    def _scatter(self, at: NDArray[np.integer], values: Floats) -> Floats:
        found = np.full((len(self.faces), *values.shape[1:]), np.nan, values.dtype)
        found[at] = values
        return found

    def grouping(self, name: str) -> Grouping:
        """Groups of a task's annotations, of 'age_band', of a column, or of several of them joined by '*'; or ALL."""
        if name == ALL:
            return Grouping(ALL, (ALL,), np.zeros(len(self.faces), int))
        parts = name.split("*")
        labels = pd.DataFrame({part: self._labels(part) for part in parts})
        known = (labels != UNLABELLED).all(axis=1).to_numpy()
        groups = labels[known].groupby(parts, observed=True, sort=True)
        at = np.full(len(labels), -1)
        at[known] = groups.ngroup()
        names = [", ".join(map(str, key if isinstance(key, tuple) else (key,))) for key in groups.size().index]
        if len(names) > MOST_GROUPS:
            raise ValueError(f"by {name!r} should have at most {MOST_GROUPS} groups, got {len(names):,}: join some")
        return Grouping(name, tuple(names), at)

    def _labels(self, name: str) -> pd.Series:
        column = "age" if name == "age_band" and name not in {*self.tasks, *self._table} else name
        if column in self.tasks:
            rows = self._task == self.tasks.index(column)
            values = pd.Series(self._scatter(self._at[rows], self._table["y_true"].to_numpy(float)[rows]))
            if column not in TASKS and (names := self._class_names(column)):
                values = values.map(dict(enumerate(names)))
        elif column in self._table and column not in _OWN:
            values = self._constant(column)
        else:
            columns = sorted(set(self._table).difference(_OWN))
            raise ValueError(
                f"by should be among the tasks {sorted(self.tasks)}, the columns {columns} or 'age_band', got {name!r}"
            )
        return group_labels(pd.DataFrame({column: values}), name)

    def _constant(self, column: str) -> pd.Series:
        codes, values = pd.factorize(self._table[column])
        of_face = np.empty(len(self.faces), int)
        of_face[self._at] = codes
        if (of_face[self._at] != codes).any():
            raise ValueError(f"by {column!r} should be the same in all rows of a face")
        return pd.Series(values).reindex(of_face).reset_index(drop=True)


def check_columns(table: pd.DataFrame, needed: Sequence[str] = KEYS) -> None:
    """ValueError for a predictions table that lacks one."""
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"predictions should have the columns {list(needed)}, got no {missing[0]!r}")


def first_draw(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first of several drawn masks, the one that is scored."""
    return table[table["draw"] == table["draw"].min()].drop(columns="draw") if "draw" in table else table


def usual_groupings(table: pd.DataFrame) -> list[str]:
    """Those of ethnicity, gender and age_band that a predictions table has annotations of, and ethnicity*gender.

    age_band is a column or task of that name, or made of ages in years.
    """
    tasks = set(table.loc[table["y_true"].notna(), "task"].unique())
    annotated = tasks | set(table).difference(_OWN)
    years = "age" in tasks or ("age" in table and pd.api.types.is_numeric_dtype(table["age"]))
    found = [name for name in ("ethnicity", "gender") if name in annotated]
    both = ["ethnicity*gender"] if len(found) == 2 else []
    return [*found, *(["age_band"] if years or "age_band" in annotated else []), *both]


def _codes(values: ArrayLike, sort: bool = False) -> tuple[NDArray[np.int32], pd.Index]:
    codes, found = pd.factorize(values, sort=sort)
    return codes.astype(np.int32), pd.Index(found)


def _probabilities(rows: pd.DataFrame, task: str) -> Floats | None:
    """(N, K), or None where the table has none for this task."""
    if "probabilities" not in rows or rows["probabilities"].isna().all():
        return None
    try:
        return probability_matrix(rows["probabilities"]).astype(np.float32)
    except ValueError as error:
        raise ValueError(f"{error}, for {task!r}") from error


def _checked_classes(
    rows: pd.DataFrame, task: str, probabilities: Floats | None, names: tuple[str, ...]
) -> tuple[str, ...]:
    """The names of a task's classes, or numbers where they have none; ValueError for answers that are no class."""
    known = {name: rows[name].dropna().to_numpy(float) for name in ("y_true", "y_pred")}
    highest = int(max(values.max(initial=1) for values in known.values()))
    n = (len(names) or highest + 1) if probabilities is None else probabilities.shape[1]
    for name, values in known.items():
        check_indices(f"{name} of {task!r}", values, n)
    return names if len(names) == n else tuple(map(str, range(n)))
