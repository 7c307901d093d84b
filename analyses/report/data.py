"""What a report is made of, and what is read from it for page and JSON alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analyses.attribution.atlas import AtlasResult
from analyses.fairness.audit import COLUMNS, select
from analyses.fairness.groups import FEW, MODERATE
from analyses.fairness.metrics import DECLARED
from analyses.fairness.samples import ALL, Predictions
from analyses.figures import mask_places
from analyses.report.words import UNITS, Scale, scale
from maskmtl.metrics import confusion


@dataclass(frozen=True, eq=False)
class ReportData:
    """One model's audit, what it came from, and if there are any its explanations.

    Args:
        predictions: the long table that was audited.
        audit: of `analyses.fairness.audit`, as it came.
        faces: the name of the data set.
        date: ISO, such as '2026-11-25'; given, so that the same data make the same report.
        split: of the faces, where it is known.
        level: of the audit's intervals.
        settings: seeds and other settings that matter for repeating it, by name.
        versions: of software, by name.
        hashes: SHA-256 of files such as predictions and weights, by name.
        card: the model's card, model.json.
        atlas: mean maps of groups.
        leakage: the table of `Explanation.leakage`.
        coupling: the table of `analyses.fairness.coupling`.

    Raises:
        ValueError: for an audit without its columns, of no or of several models, or a date that is not ISO.
    """

    predictions: pd.DataFrame
    audit: pd.DataFrame
    faces: str
    date: str
    split: str = ""
    level: float = 0.95
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    card: Mapping[str, Any] | None = None
    atlas: AtlasResult | None = None
    leakage: pd.DataFrame | None = None
    coupling: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if missing := [name for name in COLUMNS if name not in self.audit]:
            raise ValueError(f"audit should have the columns {list(COLUMNS)}, got no {missing[0]!r}")
        models = sorted(map(str, self.audit["model"].unique()))
        if len(models) != 1:
            raise ValueError(f"audit should be of one model: filter its rows by 'model', got {models}")
        try:
            date.fromisoformat(self.date)
        except (TypeError, ValueError) as error:
            raise ValueError(f"date should be ISO, such as '2026-11-25', got {self.date!r}") from error

    @property
    def model(self) -> str:
        return str(self.audit["model"].iloc[0])

    @cached_property
    def answers(self) -> Predictions:
        """The predictions of this model."""
        table = self.predictions
        if "model" in table and table["model"].nunique() > 1:
            table = table[table["model"].astype(str) == self.model]
        return Predictions(table)

    @property
    def tasks(self) -> list[str]:
        return list(map(str, self.audit["task"].unique()))

    @property
    def masks(self) -> list[str]:
        return list(map(str, self.audit["mask"].unique()))

    @cached_property
    def series(self) -> dict[str, int]:
        """Each mask's place among marks and colours."""
        return mask_places(self.masks)

    @property
    def groupings(self) -> list[str]:
        return [str(by) for by in self.audit["by"].unique() if by != ALL]

    @cached_property
    def units(self) -> dict[str, str]:
        """Of value tasks, by name: those of TASKS and of the card."""
        tasks = (self.card or {}).get("tasks", ())
        return {**UNITS, **{str(task["name"]): str(task["unit"]) for task in tasks if "unit" in task}}

    def scale(self, task: str, metric: str) -> Scale:
        return scale(task, metric, self.units)

    def headline(self, task: str) -> str:
        """The metric of a task's declared comparisons."""
        found = set(self.audit.loc[self.audit["task"] == task, "metric"])
        return next((metric for metric in DECLARED if metric in found), "")

    def rows(self, **where: str) -> pd.DataFrame:
        """The audit's rows with these values in these columns."""
        return select(self.audit, **where)

    @cached_property
    def annotated(self) -> dict[str, int]:
        """How many faces have each task's annotation."""
        known = self.answers
        return {
            task: max(int((~np.isnan(sample.y_true)).sum()) for sample in known.samples(task).values())
            for task in self.tasks
        }

    @cached_property
    def groups(self) -> pd.DataFrame:
        """Faces of each group that a task's comparisons rest on, of its first mask: by, group, task, n."""
        parts = []
        for task in self.tasks:
            own = self.rows(task=task, metric=self.headline(task), statistic="value")
            own = own[own["by"] != ALL]
            parts.append(own[own["mask"] == self.masks[0]][["by", "group", "task", "n"]])
        return pd.concat(parts, ignore_index=True)

    def small(self, low: int, high: int) -> pd.DataFrame:
        """Groups of which a task has at least `low` and fewer than `high` faces: by, group, n (the least)."""
        least = self.groups.groupby(["by", "group"], sort=False)["n"].min().reset_index()
        return least[(least["n"] >= low) & (least["n"] < high)]

    @property
    def too_few(self) -> pd.DataFrame:
        return self.small(0, FEW)

    @property
    def few(self) -> pd.DataFrame:
        return self.small(FEW, MODERATE)

    @cached_property
    def confusions(self) -> list[tuple[str, str, tuple[str, ...], np.ndarray]]:
        """Task, mask, class names and counts (K, K), rows annotated, of every class task with annotations."""
        found = []
        for task in self.tasks:
            for mask, sample in self.answers.samples(task).items():
                known = ~np.isnan(sample.y_true + sample.y_pred)
                if sample.n_classes and known.any():
                    counts = confusion(sample.y_true[known], sample.y_pred[known], sample.n_classes)
                    found.append((task, mask, sample.classes, counts))
        return found
