"""The metrics of an audit. Each is a function of sums of per-face statistics, so that a group, an intersection and a
bootstrap replicate are computed by the same few lines, and metrics that share statistics are resampled once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

BINS = 15  # of confidence
CLOSE = 5.0  # years
ADULT, CHALLENGE = 18, 25  # years: the legal age, and the age below which a shop asks for a document


@dataclass(frozen=True)
class Sample:
    """Labelled faces of one task: y_true and y_pred (N,), class indices below n_classes or values in the task's unit;
    probabilities (N, K) of a class task where the table has them."""

    y_true: Floats
    y_pred: Floats
    n_classes: int = 0
    probabilities: Floats | None = None


Statistics = Callable[[Sample], Floats]  # (N, S): what is summed over the faces of a group


def confusion_cells(sample: Sample) -> Floats:
    """(N, K * K) one-hot: the annotated class, then the predicted one."""
    k = sample.n_classes
    return np.eye(k * k, dtype=np.float32)[(sample.y_true * k + sample.y_pred).astype(int)]


def confidence_bins(sample: Sample) -> Floats:
    """(N, 3 * BINS): faces, confidence of the prediction and whether it is right, each in its bin of confidence."""
    assert sample.probabilities is not None
    confidence = sample.probabilities.max(axis=1)
    at = np.minimum((confidence * BINS).astype(int), BINS - 1)
    values = np.stack([np.ones_like(confidence), confidence, sample.y_pred == sample.y_true], axis=1)
    return (values[:, :, None] * np.eye(BINS)[at][:, None, :]).reshape(len(at), -1)


def squared_distances(sample: Sample) -> Floats:
    """(N, 2): one, and the squared distance of the probabilities from the annotation."""
    assert sample.probabilities is not None
    truth = np.eye(sample.n_classes)[sample.y_true.astype(int)]
    return np.stack([np.ones(len(truth)), ((sample.probabilities - truth) ** 2).sum(axis=1)], axis=1)


def errors(sample: Sample) -> Floats:
    """(N, 4): one, absolute error, signed error, and whether it is at most CLOSE."""
    signed = sample.y_pred - sample.y_true
    return np.stack([np.ones_like(signed), np.abs(signed), signed, np.abs(signed) <= CLOSE], axis=1)


def passes(sample: Sample) -> Floats:
    """(N, 6): minors, those read as ADULT and as CHALLENGE or older; adults, those read as younger than either."""
    minor = sample.y_true < ADULT
    old = [sample.y_pred >= age for age in (ADULT, CHALLENGE)]
    return np.stack([minor, *(minor & it for it in old), ~minor, *(~minor & ~it for it in old)], axis=1).astype(float)


def _matrix(sums: Floats) -> Floats:
    k = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], k, k)


def _accuracy(sums: Floats) -> Floats:
    return np.trace(_matrix(sums), axis1=-2, axis2=-1) / sums.sum(axis=-1)


def _balanced_accuracy(sums: Floats) -> Floats:
    matrix = _matrix(sums)
    return _mean_of_defined(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))


def _macro_f1(sums: Floats) -> Floats:
    matrix = _matrix(sums)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    return _mean_of_defined(2 * hits, matrix.sum(axis=-1) + matrix.sum(axis=-2))


def _mean_of_defined(above: Floats, below: Floats) -> Floats:
    """Mean over the last axis of above / below, where below is not 0."""
    defined = below > 0
    ratios = np.divide(above, below, out=np.zeros_like(above), where=defined)
    return ratios.sum(axis=-1) / defined.sum(axis=-1)


def _calibration_error(sums: Floats) -> Floats:
    n, confidence, right = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, BINS), -2, 0)
    return np.abs(confidence - right).sum(axis=-1) / n.sum(axis=-1)


def _ratio(sums: Floats, above: int, below: int = 0) -> Floats:
    return sums[..., above] / sums[..., below]


def _total(sums: Floats) -> Floats:
    return sums.sum(axis=-1)


def _column(sums: Floats, at: int = 0) -> Floats:
    return sums[..., at]


def _binned(sums: Floats) -> Floats:
    return sums[..., :BINS].sum(axis=-1)


@dataclass(frozen=True)
class Metric:
    """statistics: what is summed. value: sums (..., S) -> (...), NaN of nothing. n: the faces it is about.

    better: 'higher', 'lower', or 'zero' for what should be near 0. proportion: whether value is a share of n faces,
    which has a score interval. source: where it is defined.
    """

    statistics: Statistics
    value: Callable[[Floats], Floats]
    n: Callable[[Floats], Floats]
    better: str
    source: str
    proportion: bool = False


CLASS_METRICS: dict[str, Metric] = {
    "accuracy": Metric(confusion_cells, _accuracy, _total, "higher", "share of right classes", proportion=True),
    "balanced_accuracy": Metric(confusion_cells, _balanced_accuracy, _total, "higher", "mean recall"),
    "macro_f1": Metric(confusion_cells, _macro_f1, _total, "higher", "mean F1 of classes"),
    "calibration_error": Metric(confidence_bins, _calibration_error, _binned, "lower", "Naeini et al. 2015, 15 bins"),
    "brier": Metric(squared_distances, partial(_ratio, above=1), _column, "lower", "Brier 1950, summed over classes"),
}  # fmt: skip
VALUE_METRICS: dict[str, Metric] = {
    "mae": Metric(errors, partial(_ratio, above=1), _column, "lower", "mean absolute error"),
    "signed_error": Metric(errors, partial(_ratio, above=2), _column, "zero", "mean of prediction minus annotation"),
    "within_5": Metric(errors, partial(_ratio, above=3), _column, "higher", "share off by at most 5", proportion=True),
}
_MINORS, _ADULTS = _column, partial(_column, at=3)
AGE_METRICS: dict[str, Metric] = {
    **VALUE_METRICS,
    "minors_read_18": Metric(passes, partial(_ratio, above=1, below=0), _MINORS, "lower", "of those under 18", True),
    "minors_read_25": Metric(passes, partial(_ratio, above=2, below=0), _MINORS, "lower", "of those under 18", True),
    "adults_read_under_18": Metric(passes, partial(_ratio, above=4, below=3), _ADULTS, "lower", "of 18 and over", True),
    "adults_read_under_25": Metric(passes, partial(_ratio, above=5, below=3), _ADULTS, "lower", "of 18 and over", True),
}


def metrics_of(task: str, classes: bool, probabilities: bool) -> dict[str, Metric]:
    """The metrics that a task's predictions allow, by name."""
    if not classes:
        return AGE_METRICS if task == "age" else VALUE_METRICS
    need = (confidence_bins, squared_distances)
    return {name: metric for name, metric in CLASS_METRICS.items() if probabilities or metric.statistics not in need}
