"""All tables of one run over a data set, from its predictions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analyses.face import signed
from analyses.fairness import group_table
from analyses.fairness.groups import flag
from analyses.figures import mask_name
from maskmtl.metrics import confusion, per_class, wilson
from maskmtl.tasks import Classes, TaskSpec

GROUPINGS = {"ethnicity": "Ethnicity", "gender": "Gender", "age_band": "Age band"}
ALL = "faces"  # the grouping of the headline: one group


@dataclass(frozen=True)
class Assessment:
    """What `assess` computed. Tasks without any annotation are left out of every table but the predictions."""

    masks: tuple[str, ...]
    tasks: tuple[str, ...]
    predictions: pd.DataFrame
    overall: pd.DataFrame  # the columns of group_table, grouped by ALL
    confusions: dict[str, dict[str, np.ndarray]]  # task -> mask -> counts (K, K), rows annotated
    per_class: pd.DataFrame  # task, mask, class, precision, recall, f1, support
    specs: Mapping[str, TaskSpec]

    def class_names(self, task: str) -> tuple[str, ...]:
        target = self.specs[task].target
        return target.names if isinstance(target, Classes) else ()

    def unit(self, task: str) -> str:
        target = self.specs[task].target
        return "" if isinstance(target, Classes) else target.unit

    def confusion_table(self) -> pd.DataFrame:
        """Counts, long: task, mask, annotated, predicted, n."""
        rows = [
            (task, mask, annotated, predicted, int(counts[i, j]))
            for task, of_task in self.confusions.items()
            for mask, counts in of_task.items()
            for i, annotated in enumerate(self.class_names(task))
            for j, predicted in enumerate(self.class_names(task))
        ]
        return pd.DataFrame(rows, columns=["task", "mask", "annotated", "predicted", "n"])


def assess(
    predictions: pd.DataFrame, faces_table: pd.DataFrame, specs: Mapping[str, TaskSpec], *, seed: int = 0
) -> Assessment:
    """Headline, confusion matrices and per-class scores of one model's `predictions`."""
    labelled = predictions.groupby("task")["y_true"].count()
    tasks = tuple(task for task in specs if labelled.get(task, 0))
    known = predictions[predictions["task"].isin(tasks)]
    masks = tuple(dict.fromkeys(predictions["mask"]))
    confusions: dict[str, dict[str, np.ndarray]] = {}
    classes = [pd.DataFrame(columns=["task", "mask", "class", "precision", "recall", "f1", "support"])]
    for (task, mask), rows in known.groupby(["task", "mask"], sort=False):
        target = specs[str(task)].target
        if isinstance(target, Classes):
            pair = rows["y_true"], rows["y_pred"]
            confusions.setdefault(str(task), {})[str(mask)] = confusion(*pair, len(target.names))
            scores = per_class(*pair, target.names)
            scores.insert(0, "task", task)
            scores.insert(1, "mask", mask)
            classes.append(scores)
    whole = faces_table.assign(**{ALL: "all"})
    return Assessment(
        masks=masks,
        tasks=tasks,
        predictions=predictions,
        overall=group_table(known, whole, ALL, seed=seed),
        confusions=confusions,
        per_class=pd.concat(classes[1:] or classes, ignore_index=True),
        specs=specs,
    )


def reliability(predictions: pd.DataFrame, *, bins: int = 10) -> pd.DataFrame:
    """How often answers of each confidence are right: mask, confidence (mean), accuracy, ci_low, ci_high, n.

    `predictions` are of one task of classes; confidence is the probability of the answer. Bins hold about equally many
    faces (Nguyen and O'Connor 2015); equal confidences stay in one. Intervals are Wilson's, at 95 %.
    """
    known = predictions.dropna(subset=["y_true"])
    rows = []
    for mask, of_mask in known.groupby("mask", sort=False):
        found = pd.DataFrame({"confidence": confidence(of_mask), "right": of_mask["y_true"] == of_mask["y_pred"]})
        binned = pd.qcut(found["confidence"].rank(method="average"), min(bins, len(found)), duplicates="drop")
        for _, part in found.groupby(binned, observed=True):
            hits, n = int(part["right"].sum()), len(part)
            low, high = wilson(hits, n)
            rows.append((mask, part["confidence"].mean(), hits / n, float(low), float(high), n))
    return pd.DataFrame(rows, columns=["mask", "confidence", "accuracy", "ci_low", "ci_high", "n"])


def confidence(predictions: pd.DataFrame) -> np.ndarray:
    """(N,) probability of each row's answer; NaN for a task without classes."""
    pairs = zip(predictions["probabilities"], predictions["y_pred"], strict=True)
    return np.array([np.nan if p is None else p[int(answer)] for p, answer in pairs], float)


def in_words(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """A group table of one task for people: a row per group; columns n, each mask's score and change, and the note.

    A cell holds the value and, on a second line, its 95 % interval. The change is masked minus bare.
    """
    masks, rows = list(dict.fromkeys(table["mask"])), []
    for group, of_group in table.groupby(by, sort=False):
        score = of_group[of_group["metric"].isin(("accuracy", "mae"))]
        row = {"group": str(group), "n": f"{score['n'].max():,}"}
        for mask in masks:
            row[mask_name(mask)] = _cell(score[score["mask"] == mask])
            change = of_group[(of_group["mask"] == mask) & of_group["metric"].str.endswith("_change")]
            if len(change):
                row[f"{mask_name(mask)} − bare"] = _cell(change)
        rows.append({**row, "note": score["flag"].iloc[0]})
    return pd.DataFrame(rows)


def headline(assessment: Assessment) -> pd.DataFrame:
    """For people: a row per mask; per task its score with a 95 % interval on a second line; n, and whether it is few.

    Where the tasks differ in n, each cell has its own.
    """
    rows = []
    for mask in assessment.masks:
        of_mask = assessment.overall[assessment.overall["mask"] == mask]
        scores = of_mask[of_mask["metric"].isin(("accuracy", "mae"))]
        row, sizes = {"mask": mask_name(mask)}, sorted(set(scores["n"])) or [0]
        for task in assessment.tasks:
            title = f"{task} {'accuracy' if assessment.class_names(task) else 'error'}"
            row[title] = _cell(scores[scores["task"] == task], assessment.unit(task), own_n=len(sizes) > 1)
        if len(sizes) > 1:
            row["n"] = f"{sizes[0]:,}–{sizes[-1]:,}"
        else:
            row["n"] = "\n".join(filter(None, (f"{sizes[0]:,}", flag(sizes[0]))))
        rows.append(row)
    return pd.DataFrame(rows)


def scores_in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `Assessment.per_class` for people: ratios in percent, a dash where there is none."""
    ratios = {name: table[name].map(_ratio) for name in ("precision", "recall", "f1")}
    return pd.DataFrame({"class": table["class"], **ratios, "n": table["support"].map("{:,}".format)})


def _ratio(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1%}".replace("%", "\N{NO-BREAK SPACE}%")


def _cell(row: pd.DataFrame, unit: str = "", *, own_n: bool = False) -> str:
    """'91.2 %\\n88.0 to 93.6' of one row, with ', n 30: wide' where it tells its n; changes of accuracy in points."""
    value, low, high, metric = (row[name].item() for name in ("value", "ci_low", "ci_high", "metric"))
    if np.isnan(value):
        return "–"
    share, change = metric.startswith("accuracy"), metric.endswith("_change")
    scale = 100 if share else 1
    numbers = [signed(scale * v) if change else f"{scale * v:.1f}" for v in (value, low, high)]
    unit = ("points" if change else "%") if share else unit
    below = [] if np.isnan(low) else [f"{numbers[1]} to {numbers[2]}"]
    if own_n:
        n, few = row["n"].item(), row["flag"].item().partition(": ")[2]
        below.append(f"n {n:,}: {few}" if few else f"n {n:,}")
    return numbers[0] + (f"\N{NO-BREAK SPACE}{unit}" if unit else "") + (f"\n{', '.join(below)}" if below else "")
