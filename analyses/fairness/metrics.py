"""The metrics of an audit. Each is a function of sums of per-face statistics, so that a group, an intersection and a
bootstrap replicate are computed by the same few lines, and metrics that share statistics are resampled once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]

BINS = 15  # of confidence
CLOSE = 5.0  # years
ADULT, CHALLENGE = 18, 25  # years: the legal age, and the age below which a shop asks for a document


@dataclass(frozen=True)
class Sample:
    """Faces of one task.

    y_true and y_pred (N,): indices of `classes`, or values in the task's unit. probabilities (N, K), where the table
    has them. Of masked faces the bare answers (N,) and those to D drawn masks (N, D).
    """

    y_true: Floats
    y_pred: Floats
    classes: tuple[str, ...] = ()
    probabilities: Floats | None = None
    bare: Floats | None = None
    draws: Floats | None = None

    @property
    def n_classes(self) -> int:
        return len(self.classes)


Statistics = Callable[[Sample], Floats]  # (N, S): what is summed over the faces of a group
Value = Callable[[Floats], Floats]  # sums (..., S) -> (...)


def _one_hot(at: Floats, n: int) -> Floats:
    found = np.zeros((len(at), n), np.float32)
    found[np.arange(len(at)), at.astype(int)] = 1
    return found


def confusion_cells(sample: Sample) -> Floats:
    """(N, K * K) one-hot: the annotated class, then the predicted one."""
    return _one_hot(sample.y_true * sample.n_classes + sample.y_pred, sample.n_classes**2)


def of_answers(probabilities: Floats, y_pred: ArrayLike) -> Floats:
    """(N,) the probability of each answer, of probabilities (N, K) and class indices (N,)."""
    return probabilities[np.arange(len(probabilities)), np.asarray(y_pred, dtype=int)]


def confidence_bins(sample: Sample) -> Floats:
    """(N, 1 + BINS): one, and by how much the confidence of the prediction exceeds its being right, in its bin."""
    assert sample.probabilities is not None
    confidence = of_answers(sample.probabilities, sample.y_pred)
    found = np.zeros((len(confidence), 1 + BINS), np.float32)
    found[:, 0] = 1
    bins = np.minimum(confidence * BINS, BINS - 1).astype(int)
    found[np.arange(len(bins)), 1 + bins] = confidence - (sample.y_pred == sample.y_true)
    return found


def squared_distances(sample: Sample) -> Floats:
    """(N, 2): one, and the squared distance of the probabilities from the annotation."""
    assert sample.probabilities is not None
    truth = _one_hot(sample.y_true, sample.n_classes)
    return _columns(1, ((sample.probabilities - truth) ** 2).sum(axis=1))


def errors(sample: Sample) -> Floats:
    """(N, 4): one, absolute error, signed error, and whether it is at most CLOSE."""
    signed = sample.y_pred - sample.y_true
    return _columns(1, np.abs(signed), signed, np.abs(signed) <= CLOSE)


def passes(sample: Sample) -> Floats:
    """(N, 6): minors, those read as ADULT and as CHALLENGE or older; adults, those read as younger than either."""
    minor = sample.y_true < ADULT
    old = [sample.y_pred >= age for age in (ADULT, CHALLENGE)]
    return _columns(minor, *(minor & it for it in old), ~minor, *(~minor & ~it for it in old))


def flips(sample: Sample) -> Floats:
    """(N, 2): one, and the share of drawn masks under which the class is not the bare face's."""
    assert sample.bare is not None and sample.draws is not None
    return _columns(1, (sample.draws != sample.bare[:, None]).mean(axis=1))


def drifts(sample: Sample) -> Floats:
    """(N, 3): one, mean distance of the answers to drawn masks from the bare one, and their standard deviation."""
    assert sample.bare is not None and sample.draws is not None
    spread = sample.draws.std(axis=1, ddof=1) if sample.draws.shape[1] > 1 else 0
    return _columns(1, np.abs(sample.draws - sample.bare[:, None]).mean(axis=1), spread)


def _columns(*values: ArrayLike) -> Floats:
    return np.stack(np.broadcast_arrays(*values), axis=1).astype(np.float32)


def matrix(sums: Floats) -> Floats:
    """(..., K, K) of sums of confusion_cells; a resampled count is at least 0."""
    k = round(sums.shape[-1] ** 0.5)
    return np.maximum(sums, 0).reshape(*sums.shape[:-1], k, k)


def _hits(sums: Floats) -> Floats:
    return np.trace(matrix(sums), axis1=-2, axis2=-1)


def _balanced_accuracy(sums: Floats) -> Floats:
    cells = matrix(sums)
    return _mean_of_defined(np.diagonal(cells, axis1=-2, axis2=-1), cells.sum(axis=-1))


def _macro_f1(sums: Floats) -> Floats:
    cells = matrix(sums)
    hits = np.diagonal(cells, axis1=-2, axis2=-1)
    return _mean_of_defined(2 * hits, cells.sum(axis=-1) + cells.sum(axis=-2))


def _mean_of_defined(above: Floats, below: Floats) -> Floats:
    """Mean over the last axis of above / below, where below is not 0."""
    defined = below > 0
    ratios = np.divide(above, below, out=np.zeros_like(above), where=defined)
    return ratios.sum(axis=-1) / defined.sum(axis=-1)


def _calibration_error(sums: Floats) -> Floats:
    return np.abs(sums[..., 1:]).sum(axis=-1) / sums[..., 0]


def _column(at: int) -> Value:
    return lambda sums: sums[..., at]


def _total(sums: Floats) -> Floats:
    return sums.sum(axis=-1)


@dataclass(frozen=True)
class Metric:
    """statistics: what is summed. value: sums (..., S) -> (...), NaN of nothing. n: the faces it is about.

    better: 'higher', 'lower', or 'zero' for what should be near 0. margin: a difference up to which two groups are
    served alike, unless a caller says otherwise. source: where it is defined. hits: for a share of faces, which of the
    n they are; both are linear, so that of one face they are 0 or 1. inflated: chance adds to it, more in small groups.
    """

    statistics: Statistics
    value: Value
    n: Value
    better: str
    source: str
    margin: float = 0.05
    hits: Value | None = None
    inflated: bool = False


def _share(statistics: Statistics, hits: Value, n: Value, better: str, source: str) -> Metric:
    return Metric(statistics, lambda sums: hits(sums) / n(sums), n, better, source, hits=hits)


def _mean(statistics: Statistics, at: int, better: str, source: str, margin: float = 0.05) -> Metric:
    return Metric(statistics, lambda sums: sums[..., at] / sums[..., 0], _column(0), better, source, margin)


CLASS_METRICS: dict[str, Metric] = {
    "accuracy": _share(confusion_cells, _hits, _total, "higher", "share of right classes"),
    "balanced_accuracy": Metric(confusion_cells, _balanced_accuracy, _total, "higher", "mean recall"),
    "macro_f1": Metric(confusion_cells, _macro_f1, _total, "higher", "mean F1 of classes"),
    "calibration_error": Metric(
        confidence_bins, _calibration_error, _column(0), "lower", "Naeini et al. 2015, 15 bins", inflated=True
    ),
    "brier": _mean(squared_distances, 1, "lower", "Brier 1950, summed over classes"),
}
VALUE_METRICS: dict[str, Metric] = {
    "mae": _mean(errors, 1, "lower", "mean absolute error", margin=1.0),
    "signed_error": _mean(errors, 2, "zero", "mean of prediction minus annotation", margin=1.0),
    "within_5": _share(errors, _column(3), _column(0), "higher", "share off by at most 5"),
}
AGE_METRICS: dict[str, Metric] = {
    **VALUE_METRICS,
    "minors_read_18": _share(passes, _column(1), _column(0), "lower", "of those under 18"),
    "minors_read_25": _share(passes, _column(2), _column(0), "lower", "of those under 18"),
    "adults_read_under_18": _share(passes, _column(4), _column(3), "lower", "of those of 18 and over"),
    "adults_read_under_25": _share(passes, _column(5), _column(3), "lower", "of those of 18 and over"),
}
MOVES: dict[str, Metric] = {  # what a mask does to the answers, whatever the annotation
    "flips": _mean(flips, 1, "lower", "share of masked answers that are another class than the bare one"),
    "drift": _mean(drifts, 1, "lower", "mean distance of masked answers from the bare one", margin=1.0),
    "spread": _mean(drifts, 2, "lower", "mean standard deviation over several drawn masks", margin=1.0),
}
OF_SEVERAL_CLASSES = ("macro_f1",)  # metrics that mean nothing where all faces are annotated with one class
DECLARED = ("accuracy", "mae")  # the metrics of the declared family of tests, fixed before any result is seen


def metrics_of(task: str, sample: Sample) -> dict[str, Metric]:
    """The metrics that a task's sample allows, by name: of masked and bare answers compared where it has both."""
    if sample.bare is not None and sample.draws is not None:
        names = ["flips"] if sample.classes else ["drift", *(["spread"] if sample.draws.shape[1] > 1 else [])]
        return {name: MOVES[name] for name in names}
    if not sample.classes:
        return AGE_METRICS if task == "age" else VALUE_METRICS
    need = (confidence_bins, squared_distances)
    return {
        name: metric
        for name, metric in CLASS_METRICS.items()
        if sample.probabilities is not None or metric.statistics not in need
    }
