"""From a predictions table to figures of every group, the gaps between groups, what a mask changes, and verdicts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses.fairness import significance
from analyses.fairness.comparison import Block, Columns, Compared, Settings
from analyses.fairness.groups import flag
from analyses.fairness.metrics import DECLARED, OF_SEVERAL_CLASSES, Sample, metrics_of
from analyses.fairness.resampling import permutations
from analyses.fairness.samples import ALL, Grouping, Predictions
from analyses.fairness.tables import BARE
from maskmtl.metrics import UNLABELLED, check_level

COLUMNS = (
    "model", "task", "mask", "by", "group", "metric", "statistic", "value", "ci_low", "ci_high", "n", "null_low",
    "null_high", "p_value", "p_adjusted", "family", "detectable", "margin", "verdict", "better", "flag",
)  # fmt: skip
GAP, UNCLEAR = "gap", "not enough evidence"
QUESTION = ["model", "task", "mask", "by", "statistic"]  # the tests of one question are one family


def select(table: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows that have these values in these columns."""
    keep = np.ones(len(table), bool)
    for column, wanted in where.items():
        keep &= (table[column] == wanted).to_numpy()
    return table[keep]


def no_gap(margin: float) -> str:
    return f"no gap larger than {margin:g}"


def audit(
    predictions: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    seed: int = 0,
    replicates: int = 2000,
    level: float = 0.95,
    margins: Mapping[str, float] | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> pd.DataFrame:
    """How well predictions agree with the annotations in each group: tidy rows of COLUMNS, the same whatever is asked.

    Args:
        predictions: long, one row per face, task and mask: face_id, task, y_true (NaN where there is no annotation),
            y_pred; if there are any mask ('none' is bare), model, draw (of several drawn masks), and probabilities (K
            numbers a row of a class task).
        by: groupings. Each is a column of the table that is constant for a face, a task of the table (groups are then
            its annotations), 'age_band', or several joined by '*': their intersections. All faces come first.
        seed, replicates: of the bootstrap and the permutations.
        level: of intervals; 1 - level is that of the tests.
        margins: metric -> the difference up to which groups count as served alike, in the metric's unit (otherwise
            Metric.margin: .05 of shares, and 1 of errors, whatever the unit of the task).
        progress: called before each model, task and mask with how many are done and all of them; may raise to stop.

    A row's `statistic` says what its value is of the metric:

    - value: the group's own. change: masked minus bare, over the faces that have both, in pairs.
    - gap: the group minus all others of the grouping. change_gap: the same of changes (difference in differences).
    - of a grouping, whose groups `group` names: worst; range (best minus worst); ratio (the smaller over the larger);
      mean_of_groups (each of one weight, as NIST's age evaluation); max_to_geomean (of errors, as NIST's Part 8).

    Intervals: Wilson's of a share, Newcombe's of a difference of shares, else percentiles of the Poisson bootstrap over
    faces; none where there is no spread, of worst, range and ratio, which chance makes look worse, and of gaps of the
    calibration error, to which chance adds more in smaller groups. null_low and null_high: between which the value lies
    at this level when faces change places between groups at random. p_value: of shares Fisher's exact test, of their
    changes McNemar's, both mid-p; of a range its permutations; else the normal law, by the larger of the bootstrap's
    and the permutation's standard error. p_adjusted: Holm over the groups of one question for the metrics in DECLARED,
    else Benjamini-Hochberg over all of a statistic. detectable: the difference that one such test finds with a power of
    80 %. verdict: 'gap' where p_adjusted is at most 1 - level; 'no gap larger than <margin>' where the interval lies
    within the margin; else 'not enough evidence'.

    Where groups are a task's own classes there is no macro F1 of it: each holds one class alone, and the others that it
    is taken for would count as classes that are never found.

    n counts the faces a value is about. Below 20 there is a row with n, no figures and no test. Groups are annotations
    of pictures, never predictions and not identities; faces without the annotation are in no comparison.

    Raises:
        ValueError: for a missing column, two rows of one face, task and mask, answers that are not finite, a grouping
            that is unknown or not constant, a margin of no metric.
    """
    settings = Settings(seed, replicates, level, dict(margins or {}))
    found = figures(predictions, by, settings, progress)
    if unknown := settings.margins.keys() - set(found["metric"]):
        raise ValueError(f"margins should be of metrics {sorted(set(found['metric']))}, got {min(unknown)!r}")
    return found


def figures(
    predictions: pd.DataFrame,
    by: Sequence[str],
    settings: Settings,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> pd.DataFrame:
    """What `audit` returns and raises, but margins may be of metrics that these predictions do not have."""
    check_level(settings.level)
    if settings.replicates < 1:
        raise ValueError(f"replicates should be at least 1, got {settings.replicates}")
    models = predictions["model"].unique() if "model" in predictions else [""]
    parts: list[Columns] = []
    try:
        for m, model in enumerate(models):
            own = Predictions(predictions if len(models) == 1 else predictions[predictions["model"] == model])
            n = len(own.tasks) * len(own.masks)
            steps = iter([partial(progress, done, n * len(models)) for done in range(m * n, (m + 1) * n)])
            parts += [{"model": model, **part} for part in _of_model(own, by, settings, steps)]
    finally:
        permutations.cache_clear()
    return _judged(_joined(parts), settings.level)[list(COLUMNS)]


def _of_model(
    predictions: Predictions, by: Sequence[str], settings: Settings, steps: Iterator[Callable[[], object]]
) -> Iterator[Columns]:
    groupings = [predictions.grouping(name) for name in dict.fromkeys((ALL, *by))]
    for task in predictions.tasks:
        for block in _blocks(predictions, task, steps):
            for grouping in groupings:
                yield from _of_grouping(block, grouping, settings)


def _blocks(predictions: Predictions, task: str, steps: Iterator[Callable[[], object]]) -> Iterator[Block]:
    samples = predictions.samples(task)
    known = {mask: ~np.isnan(sample.y_true + sample.y_pred) for mask, sample in samples.items()}
    for mask, sample in samples.items():
        next(steps)()
        metrics = metrics_of(task, sample)
        for statistics in dict.fromkeys(metric.statistics for metric in metrics.values()):
            shared = {name: metric for name, metric in metrics.items() if metric.statistics is statistics}
            of_mask = statistics(_some(sample, known[mask]))
            yield Block(task, mask, False, shared, np.flatnonzero(known[mask]), of_mask, sample.classes)
            if mask != BARE and BARE in samples:
                both = known[mask] & known[BARE]
                half = of_mask.shape[1]
                pair = np.empty((int(both.sum()), 2 * half), np.float32)
                pair[:, :half], pair[:, half:] = of_mask[both[known[mask]]], statistics(_some(samples[BARE], both))
                yield Block(task, mask, True, shared, np.flatnonzero(both), pair)
        if mask != BARE and BARE in samples:
            draws = predictions.draws(task, mask)
            both = ~np.isnan(draws).any(axis=1) & ~np.isnan(samples[BARE].y_pred)
            moved = replace(_some(sample, both), bare=samples[BARE].y_pred[both], draws=draws[both])
            metrics = metrics_of(task, moved)
            statistics = next(iter(metrics.values())).statistics
            yield Block(task, mask, False, metrics, np.flatnonzero(both), statistics(moved))


def _some(sample: Sample, here: NDArray[np.bool_]) -> Sample:
    p = sample.probabilities
    return Sample(sample.y_true[here], sample.y_pred[here], sample.classes, None if p is None else p[here])


def _of_grouping(block: Block, grouping: Grouping, settings: Settings) -> Iterator[Columns]:
    if block.task in grouping.name.split("*"):
        kept = {name: metric for name, metric in block.metrics.items() if name not in OF_SEVERAL_CLASSES}
        block = replace(block, metrics=kept)
    at, rows = grouping.at[block.faces], block.statistics
    if (np.diff(at) < 0).any():
        order = np.argsort(at, kind="stable")
        at, rows = at[order], rows[order]
    sizes = np.bincount(at + 1, minlength=len(grouping.groups) + 1)
    parts = [(grouping.groups, rows[sizes[0] :], sizes[1:])] if grouping.groups else []
    if (grouping.at < 0).any():
        parts.append(((UNLABELLED,), rows[: sizes[0]], sizes[:1]))
    for names, of_part, of_sizes in parts:
        for part in Compared(block, names, of_part, of_sizes, settings).parts():
            yield {"task": block.task, "mask": block.mask, "by": grouping.name, **part}


def _joined(parts: list[Columns]) -> pd.DataFrame:
    sizes = [np.size(part["n"]) for part in parts]
    found = {}
    for name in (*COLUMNS, "bound"):
        missing = {"group": "", "n": 0}.get(name, np.nan)
        columns = [np.broadcast_to(part.get(name, missing), size) for part, size in zip(parts, sizes, strict=True)]
        found[name] = np.concatenate(columns) if columns else np.empty(0)
    return pd.DataFrame(found)


def _judged(rows: pd.DataFrame, level: float) -> pd.DataFrame:
    """The rows with adjusted p-values, their family, and the verdicts."""
    tested = rows["p_value"].notna()
    declared = rows["metric"].isin(DECLARED)
    sizes = rows.groupby([*QUESTION, "metric"])["group"].transform("size")
    rows["family"] = np.where(tested, np.where(declared, "declared", "exploratory"), "")
    for _, question in rows[tested & declared].groupby([*QUESTION, "metric"], sort=False):
        # with two groups, one's gap is the other's: a single test
        mirrored = sizes[question.index[0]] == 2 and question["statistic"].iloc[0] in ("gap", "change_gap")
        rows.loc[question.index, "p_adjusted"] = (
            question["p_value"] if mirrored else significance.holm(question["p_value"])
        )
    for _, others in rows[tested & ~declared].groupby(["model", "statistic"], sort=False):
        rows.loc[others.index, "p_adjusted"] = significance.benjamini_hochberg(others["p_value"])
    reach = rows["bound"].fillna(rows[["ci_low", "ci_high"]].abs().max(axis=1, skipna=False))
    rows["verdict"] = ""
    rows.loc[tested, "verdict"] = UNCLEAR
    small = tested & (reach <= rows["margin"])
    rows.loc[small, "verdict"] = rows.loc[small, "margin"].map(no_gap)
    rows.loc[tested & (rows["p_adjusted"] <= 1 - level), "verdict"] = GAP
    rows["flag"] = rows["n"].map(flag)
    return rows
