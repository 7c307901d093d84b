"""Do the heads of one network fail together? The faces that one task reads wrong, in all other tasks."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd

from analyses.fairness.audit import COLUMNS, figures, select
from analyses.fairness.comparison import Settings
from analyses.fairness.samples import KEYS, Predictions, first_draw
from analyses.fairness.tables import BARE

WRONG, RIGHT = "read wrong", "read right"


def coupling(
    predictions: pd.DataFrame,
    *,
    seed: int = 0,
    replicates: int = 2000,
    level: float = 0.95,
    margins: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """The columns of `audit` for every other task, by whether a class task is read right: `by` is '<task> read'.

    Statistics value and gap, of the groups 'read wrong' and 'read right' under each mask. A gap says that errors come
    together, not which brings which: a poor photograph harms all heads. `margins` may be of metrics that are not here.
    """
    settings = Settings(seed, replicates, level, dict(margins or {}))
    table = predictions.assign(mask=predictions.get("mask", BARE), model=predictions.get("model", ""))
    own, parts = [name for name in (*KEYS, "probabilities", "model") if name in table], []
    for mask, model in product(table["mask"].unique(), sorted(table["model"].unique())):
        rows = first_draw(select(table, mask=mask, model=model))[own]
        answers = Predictions(rows)
        for task in answers.tasks:
            (sample,) = answers.samples(task).values()
            known, name = ~np.isnan(sample.y_true + sample.y_pred), f"{task} read"
            others = rows[rows["task"] != task]
            if not sample.classes or others.empty or not known.any():
                continue
            read = pd.Series(np.where(sample.y_true == sample.y_pred, RIGHT, WRONG), answers.faces)[known]
            others = others.assign(**{name: others["face_id"].map(read)})
            found = select(figures(others, [name], settings), by=name)
            kept = found["statistic"].isin(["value", "gap"]) & found["group"].isin([WRONG, RIGHT])
            parts.append(found[kept].assign(mask=mask))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
