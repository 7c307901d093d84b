"""Mitigation after training: fitted on some faces, for others. `compare_models` measures what it brings and costs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses.fairness.groups import FEW
from analyses.fairness.metrics import Floats
from analyses.fairness.samples import ALL, Predictions, check_columns
from analyses.fairness.tables import probability_matrix
from maskmtl.metrics import UNLABELLED, has_classes

TEMPERATURES = 0.05, 20.0
_NEEDED = ("model", "mask", "face_id", "task", "y_true", "y_pred", "probabilities")
_SMALLEST = 1e-12  # for the logarithm of a probability that was rounded to 0


@dataclass(frozen=True)
class Answers:
    """N faces of one model, mask and class task: y_true (NaN without annotation), y_pred and group (N,); probabilities
    (N, K), or None where the answers are no longer read from them."""

    y_true: Floats
    y_pred: Floats
    group: NDArray
    probabilities: Floats | None


Mitigation = Callable[[Answers, Answers, int], Answers]  # labelled answers to fit on, those to change, seed


def fit_temperature(probabilities: Floats, y_true: Floats) -> float:
    """The temperature in TEMPERATURES that minimises the negative log-likelihood (Guo et al. 2017, section 4.2).

    The likelihood is concave in 1 / temperature. Logarithms of the probabilities (N, K) are logits up to a constant.
    """
    from scipy.optimize import minimize_scalar

    right = np.arange(len(y_true)), y_true.astype(int)
    low, high = TEMPERATURES
    found = minimize_scalar(
        lambda inverse: -np.log(tempered(probabilities, 1 / inverse)[right].clip(_SMALLEST)).mean(),
        bounds=(1 / high, 1 / low),
        method="bounded",
    )
    return float(1 / found.x)


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """softmax(log p / temperature): above 1 less confident, below 1 more; the order of the classes stays."""
    logits = np.log(probabilities.clip(_SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def temperature(fit: Answers, answers: Answers, seed: int) -> Answers:
    """Temperature scaling, for each group its own; y_pred stays as it is.

    A group of fewer than FEW annotated faces to fit on gets the temperature of all faces.
    """
    assert fit.probabilities is not None and answers.probabilities is not None
    of_all = fit_temperature(fit.probabilities, fit.y_true)
    changed = np.empty_like(answers.probabilities)
    for group in np.unique(answers.group):
        here, there = answers.group == group, fit.group == group
        enough = there.sum() >= FEW
        own = fit_temperature(fit.probabilities[there], fit.y_true[there]) if enough else of_all
        changed[here] = tempered(answers.probabilities[here], own)
    return replace(answers, probabilities=changed)


def thresholds(fit: Answers, answers: Answers, seed: int, *, constraints: str) -> Answers:
    """A threshold for each group, by Fairlearn's ThresholdOptimizer (Hardt et al. 2016), as accurate as `constraints`
    allows; the positive class is the second one.

    What it costs, whatever it brings: it needs the group of each face when it answers, which for ethnicity is legally
    doubtful; it draws some answers by chance, so one face may get two answers; and the probabilities no longer belong
    to the answers, so there are none. For research.
    """
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.base import BaseEstimator

    class Score(BaseEstimator):
        """A fitted classifier whose input is the probability itself."""

        def fit(self, X: Floats, y: Floats) -> "Score":
            return self

        def predict_proba(self, X: Floats) -> Floats:
            return np.concatenate([1 - X, X], axis=1)

        def __sklearn_is_fitted__(self) -> bool:
            return True

    assert fit.probabilities is not None and answers.probabilities is not None
    if (n_classes := fit.probabilities.shape[1]) != 2:
        raise ValueError(f"task should have two classes for {constraints!r}, got {n_classes}")
    for group in np.unique(answers.group):
        counts = np.bincount(fit.y_true[fit.group == group].astype(int), minlength=2)
        if counts.min() < FEW:
            raise ValueError(
                f"fit should have at least {FEW} annotated faces of each class in each group of predictions, "
                f"got {counts.tolist()} in {str(group)!r}: leave that group out or choose another grouping"
            )
    optimizer = ThresholdOptimizer(
        estimator=Score(), constraints=constraints, prefit=True, predict_method="predict_proba"
    )
    optimizer.fit(fit.probabilities[:, 1:], fit.y_true.astype(int), sensitive_features=fit.group)
    drawn = optimizer.predict(answers.probabilities[:, 1:], sensitive_features=answers.group, random_state=seed)
    return replace(answers, y_pred=np.asarray(drawn, float), probabilities=None)


MITIGATIONS: dict[str, Mitigation] = {
    "temperature": temperature,
    "equalized_odds": partial(thresholds, constraints="equalized_odds"),
    "true_positive_rate_parity": partial(thresholds, constraints="true_positive_rate_parity"),
    "demographic_parity": partial(thresholds, constraints="demographic_parity"),
}


def mitigate(
    fit: pd.DataFrame, predictions: pd.DataFrame, *, task: str, method: str, by: str = ALL, seed: int = 0
) -> pd.DataFrame:
    """`predictions` with the answers of a class task changed by a method of MITIGATIONS that was fitted on `fit`.

    Args:
        fit, predictions: long predictions tables with probabilities and without faces in common. Each model and mask of
            `predictions` is fitted on the rows of the same model and mask.
        by: 'all', or what the method treats apart: 'age_band', a task of the table (its annotations), a column that is
            constant for a face, or several joined by '*'. A group must be known when the method answers.
        seed: of methods that draw answers.

    Raises:
        ValueError: for an unknown method or grouping, one that gives the task's own annotation away, faces (or
            near-duplicates, by group_id) in both tables, a model or mask that `fit` lacks, or too small groups.
    """
    if method not in MITIGATIONS:
        raise ValueError(f"method should be one of {list(MITIGATIONS)}, got {method!r}")
    if task in (parts := by.split("*")) or (task == "age" and "age_band" in parts):
        raise ValueError(f"by should not give the annotation of {task!r} away, got {by!r}")
    for key in ("face_id", "group_id"):
        if key in fit and key in predictions and (both := set(fit[key]) & set(predictions[key])):
            raise ValueError(
                f"fit and predictions should have no {key} in common, which would flatter, got {len(both)}, "
                f"{min(both)!r} among them"
            )
    table = predictions.reset_index(drop=True)
    to_fit, to_change = _of_task(fit, task), _of_task(table, task)
    y_pred = table["y_pred"].to_numpy(float, copy=True)
    probabilities = table["probabilities"].astype(object).to_numpy(copy=True)
    for model in to_change["model"].unique():
        groups = [_groups(whole[whole["model"] == model], by) for whole in (fit, table)]
        of_model = to_change[to_change["model"] == model]
        for mask, rows in of_model.groupby("mask", sort=False, observed=True):
            known = to_fit[(to_fit["model"] == model) & (to_fit["mask"] == mask) & to_fit["y_true"].notna()]
            if known.empty:
                raise ValueError(
                    f"fit should have annotated faces of {task!r} for {model!r} and mask {mask!r}, got none"
                )
            changed = MITIGATIONS[method](_answers(known, groups[0]), _answers(rows, groups[1]), seed)
            y_pred[rows.index] = changed.y_pred
            found = [None] * len(rows) if changed.probabilities is None else changed.probabilities.tolist()
            for i, row in zip(rows.index, found, strict=True):
                probabilities[i] = row
    return table.assign(y_pred=y_pred, probabilities=probabilities).set_index(predictions.index)


def _of_task(table: pd.DataFrame, task: str) -> pd.DataFrame:
    check_columns(table, _NEEDED)
    rows = table[table["task"] == task]
    if rows.empty:
        raise ValueError(f"task should be one of {sorted(table['task'].unique())}, got {task!r}")
    return rows


def _groups(table: pd.DataFrame, by: str) -> pd.Series:
    """The group of each face of one model's predictions, by face_id."""
    predictions = Predictions(table)
    found = predictions.grouping(by)
    return pd.Series(np.array([*found.groups, UNLABELLED])[found.at], predictions.faces)


def _answers(rows: pd.DataFrame, group_of: pd.Series) -> Answers:
    if not has_classes(rows):
        raise ValueError(f"task should have probabilities, got none for {rows['task'].iloc[0]!r}")
    return Answers(
        rows["y_true"].to_numpy(float),
        rows["y_pred"].to_numpy(float),
        group_of.loc[rows["face_id"]].to_numpy().astype(str),
        probability_matrix(rows["probabilities"]),
    )
