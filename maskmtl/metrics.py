"""Scores of one task, as plain functions of two arrays.

`y_true` holds the annotations, `y_pred` the predictions: (N,) class indices, or values in the task's unit. Faces
without an annotation (NaN in `y_true`) are left out; a score of no faces is NaN.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

UNLABELLED = "unlabelled"
AGE_BANDS = ("0-12", "13-17", "18-24", "25-34", "35-49", "50-64", "65+")
_FROM_AGE = (0, 13, 18, 25, 35, 50, 65)  # a face of 12.9 years is 12 years old


def labelled(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays as float, without the faces whose `y_true` is NaN; ValueError when their lengths differ."""
    true, pred = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
    if true.ndim != 1 or true.shape != pred.shape:
        raise ValueError(f"y_true and y_pred should be two arrays of one length, got {true.shape} and {pred.shape}")
    keep = ~np.isnan(true)
    return true[keep], pred[keep]


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of faces whose predicted class is the annotated one, 0..1."""
    true, pred = labelled(y_true, y_pred)
    return _mean(true == pred)


def check_indices(name: str, values: NDArray[np.float64], n_classes: int) -> None:
    """ValueError, about `name`, for values (N,) that are not all classes below n_classes."""
    if not np.isin(values, np.arange(n_classes)).all():
        raise ValueError(f"{name} should hold class indices 0..{n_classes - 1}, got {np.unique(values)}")


def confusion(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Counts (n_classes, n_classes): rows are annotations, columns predictions; ValueError for any other index."""
    true, pred = labelled(y_true, y_pred)
    for name, values in (("y_true", true), ("y_pred", pred)):
        check_indices(name, values, n_classes)
    cells = (true * n_classes + pred).astype(np.int64)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class(y_true: ArrayLike, y_pred: ArrayLike, names: Sequence[str]) -> pd.DataFrame:
    """One row per class: class, precision, recall, f1 (0..1) and support (faces annotated so).

    A ratio of nothing is NaN: the precision of a class never predicted, the recall of one never annotated.
    """
    matrix = confusion(y_true, y_pred, len(names))
    hits, support, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        ratios = {"precision": hits / predicted, "recall": hits / support, "f1": 2 * hits / (support + predicted)}
    return pd.DataFrame({"class": list(names), **ratios, "support": support})


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int) -> float:
    """Unweighted mean F1 of the classes that are annotated or predicted at least once, 0..1."""
    f1 = per_class(y_true, y_pred, [str(index) for index in range(n_classes)])["f1"].dropna()
    return _mean(f1.to_numpy())


def mae(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean absolute error, in the task's unit."""
    true, pred = labelled(y_true, y_pred)
    return _mean(np.abs(pred - true))


def signed_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean of prediction minus annotation, in the task's unit: positive when faces are taken for older."""
    true, pred = labelled(y_true, y_pred)
    return _mean(pred - true)


def share_within(y_true: ArrayLike, y_pred: ArrayLike, distance: float = 5.0) -> float:
    """Share of faces at most `distance` (in the task's unit) from their annotation, 0..1."""
    true, pred = labelled(y_true, y_pred)
    return _mean(np.abs(pred - true) <= distance)


def check_level(level: float) -> None:
    """ValueError for a confidence level outside 0..1."""
    if not 0 < level < 1:
        raise ValueError(f"level should be between 0 and 1, got {level}")


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion, (low, high) in 0..1 (Wilson 1927; Newcombe 1998a, method 3); NaN of nothing."""
    check_level(level)
    if not 0 <= successes <= n:
        raise ValueError(f"successes should be in 0..{n}, got {successes}")
    if n == 0:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    centre = p + z**2 / (2 * n)
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    scale = 1 + z**2 / n
    # 0 and 1 are exact for none and all of n, their rounding is not
    low = 0.0 if successes == 0 else (centre - half) / scale
    return low, 1.0 if successes == n else (centre + half) / scale


def age_band(ages: ArrayLike) -> np.ndarray:
    """The AGE_BANDS of ages (N,) in years, as (N,) str; NaN is 'unlabelled'. ValueError for a negative age."""
    years = np.asarray(ages, dtype=float)
    if (years < 0).any():
        raise ValueError(f"ages should be at least 0, got {years.min()}")
    # NaN sorts behind every bound, so it lands in the last band before it is named
    bands = np.array(AGE_BANDS)[np.searchsorted(_FROM_AGE, years, side="right") - 1]
    return np.where(np.isnan(years), UNLABELLED, bands)


def has_classes(predictions: pd.DataFrame) -> bool:
    """Whether the rows of one task in a predictions table predict classes: those carry probabilities, values do not."""
    return "probabilities" in predictions and bool(predictions["probabilities"].notna().any())


def errors(predictions: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Per task of a predictions table, for each labelled face: 0 or 1 for classes, else the absolute error."""
    found = {}
    for task, rows in predictions[predictions["y_true"].notna()].groupby("task", sort=False):
        y, guess = rows["y_true"].to_numpy(float), rows["y_pred"].to_numpy(float)
        found[str(task)] = (y != guess).astype(float) if has_classes(rows) else np.abs(y - guess)
    return found


def summary(predictions: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """The headline scores of one model, per mask: {mask: {<task>_accuracy or <task>_mae, <task>_n, ..., n}}.

    `predictions` is the long table of `maskmtl.inference.predict`. n counts faces, <task>_n those annotated for the
    task; without any, its score is None. ValueError when the table mixes models.
    """
    if "model" in predictions and predictions["model"].nunique() > 1:
        raise ValueError(f"predictions should come from one model, got {sorted(predictions['model'].unique())}")
    result: dict[str, dict[str, float | int | None]] = {}
    for mask, rows in predictions.groupby("mask", sort=False):
        scores: dict[str, float | int | None] = {}
        for task, of_task in rows.groupby("task", sort=False):
            name, score = ("accuracy", accuracy) if has_classes(of_task) else ("mae", mae)
            n = int(of_task["y_true"].notna().sum())
            scores[f"{task}_{name}"] = score(of_task["y_true"], of_task["y_pred"]) if n else None
            scores[f"{task}_n"] = n
        result[str(mask)] = {**scores, "n": int(rows["face_id"].nunique())}
    return result
