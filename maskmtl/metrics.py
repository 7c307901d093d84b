"""Scores of one task, as plain functions of two arrays.

`y_true` holds the annotations, `y_pred` the predictions: (N,) class indices, or values in the task's unit. Faces
without an annotation (NaN in `y_true`) are left out; a score of no faces is NaN.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


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


def confusion(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Counts (n_classes, n_classes): rows are annotations, columns predictions; ValueError for any other index."""
    true, pred = labelled(y_true, y_pred)
    for name, values in (("y_true", true), ("y_pred", pred)):
        if not np.isin(values, np.arange(n_classes)).all():
            raise ValueError(f"{name} should hold class indices 0..{n_classes - 1}, got {np.unique(values)}")
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


def has_classes(predictions: pd.DataFrame) -> bool:
    """Whether the rows of one task in a predictions table predict classes: those carry probabilities, values do not."""
    return "probabilities" in predictions and bool(predictions["probabilities"].notna().any())


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
