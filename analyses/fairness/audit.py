"""From a predictions table to one row per task, mask, group and metric, each with its n and an interval."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analyses.fairness.groups import FEW, flag
from analyses.fairness.intervals import wilson
from analyses.fairness.metrics import Metric, Sample, Statistics, metrics_of
from analyses.fairness.resampling import draws, resampled_sums, sums_of
from maskmtl.metrics import UNLABELLED, age_band, check_level, has_classes
from maskmtl.tasks import TASKS, Classes

COLUMNS = (
    "model", "task", "mask", "by", "group", "metric", "value", "ci_low", "ci_high", "n", "better", "flag",
)  # fmt: skip
ALL = "all"
BARE = "none"
_KEYS = ("face_id", "task", "y_true", "y_pred")


def audit(
    predictions: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    seed: int = 0,
    replicates: int = 2000,
    level: float = 0.95,
) -> pd.DataFrame:
    """How well predictions agree with the annotations in each group: tidy rows of COLUMNS, the same whatever is asked.

    Args:
        predictions: long, one row per face, task and mask: face_id, task, y_true (NaN where there is no annotation),
            y_pred; if there are any mask ('none' is bare), model, and probabilities (K numbers a row of a class task).
        by: groupings. Each is a column of the table that is constant for a face, a task of the table (groups are then
            its annotations), 'age_band', or several joined by '*': their intersections. All faces come first.
        seed, replicates: of the bootstrap, which draws faces again with all their rows.
        level: of the intervals: Wilson's for shares of faces, else the bootstrap's percentiles; NaN without spread.

    The metrics are those of `metrics_of`; where there are bare and masked answers, `<metric>_change` is masked minus
    bare over the faces that have both, in pairs. n counts the faces a value is about. Below 20 there is a row with n
    and no figures. Groups are annotations of pictures, never predictions and not identities.

    Raises:
        ValueError: for a missing column, two rows of one face, task and mask, answers that are not finite, or a
            grouping that is unknown or not constant.
    """
    check_level(level)
    table = _checked(predictions)
    rows = [
        (model, *row)
        for model, of_model in table.groupby("model", sort=False)
        for row in _model_rows(of_model, by, seed, replicates, level)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _checked(predictions: pd.DataFrame) -> pd.DataFrame:
    if missing := [name for name in _KEYS if name not in predictions]:
        raise ValueError(f"predictions should have the columns {list(_KEYS)}, got no {missing[0]!r}")
    table = predictions.assign(
        mask=predictions.get("mask", BARE),
        model=predictions.get("model", ""),
        y_true=predictions["y_true"].astype(float),
    )
    keys = ["model", "task", "mask", "face_id"]
    if (again := table.duplicated(keys)).any():
        first = table.loc[again, keys].iloc[0].to_dict()
        raise ValueError(f"predictions should have one row per face, task and mask, got several of {first}")
    if not np.isfinite(table["y_pred"].astype(float)).all():
        raise ValueError("y_pred should be finite, got NaN or infinity: the model's weights may have diverged")
    return table


@dataclass(frozen=True)
class Grouping:
    """Groups of one name; at: which of them each face is in (F,)."""

    name: str
    groups: list[str]
    at: np.ndarray


def labels_of(predictions: pd.DataFrame, name: str) -> pd.Series:
    """The group of each face of one model's predictions, by face_id, as an ordered category."""
    if name in predictions and name not in (*COLUMNS, *_KEYS, "probabilities"):
        per_face = predictions.groupby("face_id", sort=False)[name]
        if (per_face.nunique(dropna=False) > 1).any():
            raise ValueError(f"by {name!r} should be the same in all rows of a face")
        values = per_face.first()
        return values.map(str, na_action="ignore").fillna(UNLABELLED).astype("category").cat.as_ordered()
    task = "age" if name == "age_band" else name
    rows = predictions[predictions["task"] == task]
    if rows.empty:
        tasks, columns = sorted(predictions["task"].unique()), sorted(set(predictions).difference(COLUMNS, _KEYS))
        raise ValueError(f"by should be among the tasks {tasks}, the columns {columns} or 'age_band', got {name!r}")
    truth = rows.groupby("face_id", sort=False)["y_true"].first().reindex(predictions["face_id"].unique())
    if name == "age_band":
        return pd.Series(age_band(truth), truth.index).astype("category").cat.as_ordered()
    target = TASKS[name].target if name in TASKS else None
    names = dict(enumerate(target.names)) if isinstance(target, Classes) else {}
    order = sorted(truth.dropna().unique())
    words = {index: names.get(int(index), f"{index:g}") for index in order}
    present = [*words.values(), *([UNLABELLED] if truth.isna().any() else [])]
    return truth.map(words).fillna(UNLABELLED).astype(pd.CategoricalDtype(present, ordered=True))


def _groupings(predictions: pd.DataFrame, faces: pd.Index, by: Sequence[str]) -> list[Grouping]:
    found = [Grouping(ALL, [ALL], np.zeros(len(faces), int))]
    for name in by:
        parts = name.split("*")
        labels = pd.DataFrame({part: labels_of(predictions, part).reindex(faces) for part in parts})
        groups = labels.groupby(parts, observed=True)
        found.append(Grouping(name, [", ".join(group) for group, _ in groups], groups.ngroup().to_numpy()))
    return found


Row = tuple[str, str, str, str, str, float, float, float, int, str, str]  # COLUMNS after the model


def _model_rows(
    predictions: pd.DataFrame, by: Sequence[str], seed: int, replicates: int, level: float
) -> Iterator[Row]:
    faces = pd.Index(predictions["face_id"].unique())
    groupings, times = _groupings(predictions, faces, by), draws(len(faces), replicates, seed)
    for task, of_task in predictions.groupby("task", sort=False):
        has_probabilities = has_classes(of_task)
        classes = has_probabilities or (task in TASKS and isinstance(TASKS[str(task)].target, Classes))
        metrics = metrics_of(str(task), classes, has_probabilities)
        for statistics in dict.fromkeys(metric.statistics for metric in metrics.values()):
            chosen = {name: metric for name, metric in metrics.items() if metric.statistics is statistics}
            blocks = _blocks(_per_face(of_task, faces, statistics, classes))
            stacked = np.concatenate([block for _, _, block in blocks], axis=1)
            ends = np.cumsum([block.shape[1] for _, _, block in blocks])[:-1]
            for grouping in groupings:
                of = grouping.at, len(grouping.groups)
                exact = np.split(sums_of(stacked, *of), ends, axis=-1)
                drawn = np.split(resampled_sums(stacked, *of, times), ends, axis=-1)
                for (mask, change, _), sums, resampled in zip(blocks, exact, drawn, strict=True):
                    for name, metric in chosen.items():
                        shown = f"{name}_change" if change else name
                        figures = _figures(metric, change, sums, resampled, level)
                        for group, found in zip(grouping.groups, figures, strict=True):
                            labels = str(task), mask, grouping.name, group, shown
                            yield (*labels, *found, metric.better, flag(found[-1]))


def _per_face(
    of_task: pd.DataFrame, faces: pd.Index, statistics: Statistics, classes: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mask -> statistics (F, S), 0 for a face without an annotation or an answer, and which faces have both (F,)."""
    probabilities, n_classes = None, 0
    if has_classes(of_task):
        probabilities = np.array(of_task["probabilities"].tolist(), dtype=float)
    if classes:
        highest = int(np.nanmax(of_task[["y_true", "y_pred"]].to_numpy(float)))
        n_classes = max(2, highest + 1) if probabilities is None else probabilities.shape[1]
        _check_classes(of_task, n_classes)
    truth, answers = of_task["y_true"].to_numpy(float), of_task["y_pred"].to_numpy(float)
    known = ~np.isnan(truth)
    values = statistics(
        Sample(truth[known], answers[known], n_classes, None if probabilities is None else probabilities[known])
    )
    masks, at = of_task["mask"].to_numpy()[known], faces.get_indexer(of_task["face_id"])[known]
    found = {}
    for mask in of_task["mask"].unique():
        here = masks == mask
        sums, present = np.zeros((len(faces), values.shape[1]), np.float32), np.zeros(len(faces), bool)
        sums[at[here]], present[at[here]] = values[here], True
        found[str(mask)] = sums, present
    return found


def _check_classes(of_task: pd.DataFrame, n_classes: int) -> None:
    for name in ("y_true", "y_pred"):
        if not of_task[name].dropna().isin(range(n_classes)).all():
            raise ValueError(
                f"{name} of {of_task['task'].iloc[0]!r} should hold class indices 0..{n_classes - 1}, "
                f"got {sorted(of_task[name].dropna().unique())}"
            )


def _blocks(per_mask: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[tuple[str, bool, np.ndarray]]:
    """Mask, whether it is a change, and what is summed: of each mask (F, S); of a change (F, 2 S), masked then bare, of
    the faces that have both."""
    found = [(mask, False, values) for mask, (values, _) in per_mask.items()]
    if BARE in per_mask:
        bare, seen_bare = per_mask[BARE]
        for mask, (values, seen) in per_mask.items():
            if mask != BARE:
                both = (seen & seen_bare)[:, None]
                found.append((mask, True, np.concatenate([values * both, bare * both], axis=1)))
    return found


def _figures(
    metric: Metric, change: bool, sums: np.ndarray, resampled: np.ndarray, level: float
) -> Iterator[tuple[float, float, float, int]]:
    """value, low, high and n of each group, from its sums (G, S) and those of its replicates (G, R, S)."""

    def value(of: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            if not change:
                return metric.value(of)
            masked, bare = np.split(of, 2, axis=-1)
            return metric.value(masked) - metric.value(bare)

    counts = metric.n(sums[..., : sums.shape[-1] // 2] if change else sums).astype(int)
    for found, replicated, n in zip(value(sums), value(resampled), counts, strict=True):
        if n < FEW:
            yield np.nan, np.nan, np.nan, int(n)
            continue
        low, high = np.nanquantile(replicated, [(1 - level) / 2, (1 + level) / 2])
        if metric.proportion and not change:
            low, high = wilson(round(found * n), int(n), level)
        elif np.ptp(replicated) == 0:
            low = high = np.nan
        yield float(found), float(low), float(high), int(n)
