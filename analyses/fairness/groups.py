"""One row per model, task, mask, group and metric, with its interval and n."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analyses.fairness.intervals import bootstrap_mean, wilson
from maskmtl.metrics import AGE_BANDS, UNLABELLED, age_band, has_classes
from maskmtl.tasks import TASKS, Classes

FEW, MODERATE = 20, 100  # fewer faces than this: no judgement; a wide interval
COLUMNS = ("model", "task", "mask", "metric", "value", "ci_low", "ci_high", "n", "flag")

Metric = tuple[str, float, tuple[float, float], int]  # name, value, interval, n


def group_labels(faces_table: pd.DataFrame, by: str) -> pd.Series:
    """The group of each face as an ordered category, named.

    `by` is a class task of TASKS (values are indices or names of its classes, or other words, which are groups as they
    are), any other column of the table, or 'age_band', which is made of 'age' where the table has no such column. No
    annotation is 'unlabelled'.

    Raises:
        ValueError: for a column that the table lacks, numbers that are no class index, or ages that are no numbers.
    """
    column = "age" if by == "age_band" and by not in faces_table else by
    if column not in faces_table or by in COLUMNS:
        usable = sorted(set(faces_table).difference(COLUMNS))
        raise ValueError(f"by should be 'age_band' or one of the faces table's columns {usable}, got {by!r}")
    values, target = faces_table[column], TASKS[by].target if by in TASKS else None
    if column != by:
        labels, order = age_band(_years(values)), list(AGE_BANDS)
    elif isinstance(target, Classes) and (names := _class_names(values, target.names)) is not None:
        labels, order = names.fillna(UNLABELLED), list(target.names)
    else:
        labels = values.map(str, na_action="ignore").astype(object).fillna(UNLABELLED)
        order = sorted(set(labels) - {UNLABELLED})
    return pd.Series(pd.Categorical(labels, [*order, UNLABELLED], ordered=True), faces_table.index, name=by)


def _years(values: pd.Series) -> pd.Series:
    years = pd.to_numeric(values, errors="coerce")
    if (words := values[years.isna() & values.notna()]).size:
        raise ValueError(f"age should hold years for 'age_band', got {words.iloc[0]!r}: group by 'age' instead")
    return years


def _class_names(values: pd.Series, names: Sequence[str]) -> pd.Series | None:
    """Of classes by index, or by name in any case of letters; None for other words."""
    values = values.astype(object)
    known = values.dropna()
    if known.isin(range(len(names))).all():
        return values.map(dict(enumerate(names)))
    if not known.map(lambda value: isinstance(value, str)).all():
        raise ValueError(f"{values.name} should hold class indices 0..{len(names) - 1}, got {list(values.unique())}")
    words = values.map(lambda word: word.strip().casefold(), na_action="ignore")
    of_word = {name.casefold(): name for name in names}
    return words.map(of_word) if words.dropna().isin(of_word.keys()).all() else None


def check_finite(predictions: pd.DataFrame) -> None:
    """ValueError for answers that are none."""
    if not np.isfinite(predictions["y_pred"].to_numpy(float)).all():
        raise ValueError("y_pred should be finite, got NaN or infinity: the model's weights may have diverged")


def group_table(
    predictions: pd.DataFrame, faces_table: pd.DataFrame, by: str = "ethnicity", *, seed: int = 0
) -> pd.DataFrame:
    """Scores per group of faces, tidy: model, task, mask, <by>, metric, value, ci_low, ci_high, n, flag.

    `predictions` is the long table of `predict`, `faces_table` a manifest's; a face's group is its annotation, never a
    prediction. Intervals are at 95 %. Metric of a class task: accuracy (Wilson). Of a value, in its unit: mae, and
    signed_error, prediction minus annotation (bootstrap). Beside bare faces each mask also gets accuracy_change or
    mae_change, masked minus bare over the faces that have both (paired bootstrap): a mask harms where accuracy falls
    or mae rises. Faces without the task's label are left out; a group with none keeps its row, with n = 0.
    `flag` is 'n<20: too few to judge', 'n<100: wide' or ''.
    """
    if len(again := faces_table["face_id"][faces_table["face_id"].duplicated()]):
        raise ValueError(f"faces_table should have one row per face, got several of {again.iloc[0]!r}")
    if unknown := set(predictions["face_id"]) - set(faces_table["face_id"]):
        raise ValueError(f"predictions should be of faces in faces_table, got {len(unknown)} others: {min(unknown)!r}")
    check_finite(predictions)
    group_of = group_labels(faces_table, by).set_axis(faces_table["face_id"])

    rows = []
    for (model, task), of_task in predictions.groupby(["model", "task"], sort=False):
        # faces x masks: a pair of columns is a paired sample, NaN where there is no annotation
        errors = of_task.assign(error=of_task["y_pred"] - of_task["y_true"]).pivot(
            index="face_id", columns="mask", values="error"
        )
        groups = group_of.loc[errors.index].cat.remove_unused_categories()
        metrics = _class_metrics if has_classes(of_task) else _value_metrics
        for mask in of_task["mask"].unique():
            for group in groups.cat.categories:
                of_group = errors[(groups == group).to_numpy()]
                bare = of_group["none"] if "none" in errors and mask != "none" else None
                for metric, value, (low, high), n in metrics(of_group[mask], bare, seed):
                    rows.append((model, task, mask, group, metric, value, low, high, n, flag(n)))
    return pd.DataFrame(rows, columns=[*COLUMNS[:3], by, *COLUMNS[3:]])


def _class_metrics(errors: pd.Series, bare: pd.Series | None, seed: int) -> Iterator[Metric]:
    hits = _hits(errors).dropna()
    yield "accuracy", hits.mean(), wilson(hits.sum(), len(hits)), len(hits)
    if bare is not None:
        yield _mean("accuracy_change", _hits(errors) - _hits(bare), seed)


def _hits(errors: pd.Series) -> pd.Series:
    return (errors == 0).astype(float).where(errors.notna())


def _value_metrics(errors: pd.Series, bare: pd.Series | None, seed: int) -> Iterator[Metric]:
    yield _mean("mae", errors.abs(), seed)
    yield _mean("signed_error", errors, seed)
    if bare is not None:
        yield _mean("mae_change", errors.abs() - bare.abs(), seed)


def _mean(metric: str, values: pd.Series, seed: int) -> Metric:
    known = values.dropna()
    return metric, known.mean(), bootstrap_mean(known, seed), len(known)


def flag(n: int) -> str:
    """What a group's size says of its figures: 'n<20: too few to judge', 'n<100: wide' or ''."""
    if n < FEW:
        return f"n<{FEW}: too few to judge"
    return f"n<{MODERATE}: wide" if n < MODERATE else ""
