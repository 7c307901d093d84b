"""Faces of a run, to look through: which were read wrongly, with what confidence, of which group."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analyses.assessment import confidence
from analyses.fairness.groups import UNLABELLED, group_labels
from maskmtl.tasks import Classes, TaskSpec

GROUPS = ("age_band", "gender", "ethnicity")
CHANGED = "changed by the mask"
SHOWS = ("all", "wrong", "right", CHANGED)
ORDERS = ("as they come", "most wrong first", "least sure first", "surest first")
FAR = 10.0  # years: an age that is farther off counts as wrong


def browse(predictions: pd.DataFrame, faces: pd.DataFrame, spec: TaskSpec, mask: str) -> pd.DataFrame:
    """One row a face, in the order of `faces`: what `filtered` takes.

    Columns: row (of `faces`), face_id, answer and annotation in words ('' without one), bare (the answer to the bare
    face, where that was run), y_pred, y_true, error (years; NaN for classes), confidence (of a class; else NaN),
    wrong (False without an annotation), changed (another class than bare, or 5 years and more), and GROUPS as
    categories in words.
    """
    of_mask = _answers(predictions, spec, mask).loc[faces["face_id"]]
    table = pd.DataFrame({"row": np.arange(len(faces)), "face_id": faces["face_id"].to_numpy()})
    table["y_pred"], table["y_true"] = of_mask["y_pred"].to_numpy(), of_mask["y_true"].to_numpy()
    table["answer"], table["annotation"] = _words(spec, table["y_pred"]), _words(spec, table["y_true"])
    table["confidence"] = confidence(of_mask)
    classes = isinstance(spec.target, Classes)
    table["error"] = np.nan if classes else table["y_pred"] - table["y_true"]
    known = table["y_true"].notna()
    table["wrong"] = known & (table["y_pred"] != table["y_true"] if classes else table["error"].abs() > FAR)
    bare = _answers(predictions, spec, "none") if mask != "none" else predictions.iloc[:0]
    if len(bare):
        before = bare.loc[faces["face_id"], "y_pred"].to_numpy()
        table["bare"] = _words(spec, before)
        table["changed"] = table["y_pred"] != before if classes else np.abs(table["y_pred"] - before) >= FAR / 2
    else:
        table["bare"], table["changed"] = "", False
    for by in GROUPS:
        known_by = by == "age_band" or by in faces
        table[by] = group_labels(faces, by).array if known_by else pd.Categorical([UNLABELLED] * len(faces))
    return table


def filtered(
    table: pd.DataFrame,
    *,
    show: str = "all",
    order: str = ORDERS[0],
    groups: Mapping[str, str] | None = None,
    confident: tuple[float, float] = (0.0, 1.0),
) -> pd.DataFrame:
    """Rows of `browse`: of SHOWS, of these groups, whose confidence lies in the range, in one of ORDERS.

    Raises ValueError for another `show` or `order`.
    """
    for name, value, allowed in (("show", show, SHOWS), ("order", order, ORDERS)):
        if value not in allowed:
            raise ValueError(f"{name} should be one of {list(allowed)}, got {value!r}")
    keep = pd.Series(True, table.index)
    if show == "wrong":
        keep = table["wrong"]
    elif show == "right":
        keep = table["y_true"].notna() & ~table["wrong"]
    elif show == CHANGED:
        keep = table["changed"]
    for by, group in (groups or {}).items():
        keep = keep & (table[by] == group)
    if confident != (0.0, 1.0):
        keep = keep & table["confidence"].between(*confident)
    found = table[keep]
    if order == "most wrong first":
        far = found["error"].abs().fillna(found["wrong"] * found["confidence"])
        return found.loc[far.sort_values(ascending=False, kind="stable").index]
    if order in ("least sure first", "surest first"):
        return found.sort_values("confidence", ascending=order.startswith("least"), kind="stable")
    return found


def _answers(predictions: pd.DataFrame, spec: TaskSpec, mask: str) -> pd.DataFrame:
    """By face_id, the rows of one task and mask."""
    return predictions[(predictions["task"] == spec.name) & (predictions["mask"] == mask)].set_index("face_id")


def _words(spec: TaskSpec, values: ArrayLike) -> np.ndarray:
    """(N,) of class names, or whole numbers with their unit; '' for NaN. One text for each value that occurs."""
    found, where = np.unique(np.rint(values), return_inverse=True)
    return np.array([_word(spec, value) for value in found], object)[where]


def _word(spec: TaskSpec, value: float) -> str:
    if np.isnan(value):
        return ""
    target = spec.target
    return target.names[int(value)] if isinstance(target, Classes) else f"{value:.0f} {target.unit}"
