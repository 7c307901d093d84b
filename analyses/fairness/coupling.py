"""Do the heads of one network fail together? The faces that one task reads wrong, in all other tasks."""

import pandas as pd

from analyses.fairness.audit import COLUMNS, audit
from analyses.fairness.samples import BARE, KEYS, Predictions, first_draw

WRONG, RIGHT = "read wrong", "read right"


def coupling(predictions: pd.DataFrame, *, seed: int = 0, replicates: int = 2000, level: float = 0.95) -> pd.DataFrame:
    """The columns of `audit` for every other task, by whether a class task is read right: `by` is '<task> read'.

    Statistics value and gap, of the groups 'read wrong' and 'read right' under each mask. A gap says that errors come
    together, not which brings which: a poor photograph harms all heads.
    """
    parts = []
    masks = list(dict.fromkeys(predictions["mask"])) if "mask" in predictions else [BARE]
    for mask in masks:
        of_mask = predictions[predictions["mask"] == mask] if "mask" in predictions else predictions
        of_mask = first_draw(of_mask)
        own = [name for name in (*KEYS, "probabilities", "model") if name in of_mask]
        for _, table in of_mask[own].groupby("model") if "model" in own else [("", of_mask[own])]:
            for task in Predictions(table).class_tasks():
                rows = table[(table["task"] == task) & table["y_true"].notna()]
                read = pd.Series((rows["y_true"] == rows["y_pred"]).map({True: RIGHT, False: WRONG}))
                name = f"{task} read"
                others = table[table["task"] != task]
                others = others.assign(**{name: others["face_id"].map(read.set_axis(rows["face_id"]))})
                if others.empty or read.empty:
                    continue
                found = audit(others, by=[name], seed=seed, replicates=replicates, level=level)
                kept = (found["by"] == name) & found["statistic"].isin(["value", "gap"])
                parts.append(found[kept & found["group"].isin([WRONG, RIGHT])].assign(mask=mask))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
