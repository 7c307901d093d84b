"""Conditions on a comparison of two models, as a continuous integration asks for them."""

import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from analyses.fairness.audit import select

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_STATISTICS = {"": "change", "worst_group_": "worst", "range_": "range"}
_GRAMMAR = re.compile(
    r"\s*(?P<of>worst_group_|range_|)(?P<metric>[a-z]\w*)\(\s*(?P<task>[^,()]+?)\s*"
    r"(?:,\s*by\s*=\s*(?P<by>[^,()]+?)\s*)?(?:,\s*mask\s*=\s*(?P<mask>[^,()]+?)\s*)?\)"
    r"\s*(?P<sign><=|>=|<|>)\s*(?P<bound>[-+]?(?:\d+\.?\d*|\.\d+))\s*"
)


@dataclass(frozen=True)
class Condition:
    """'worst_group_accuracy(gender) < -0.01': second minus first, in the metric's unit.

    `metric(task)` is the change over all faces; `worst_group_metric(task)` the difference of the worst groups;
    `range_metric(task)` that of the ranges over groups. In the brackets `, by=ethnicity` names one grouping and
    `, mask=none` one mask; without them it is about each.
    """

    text: str
    statistic: str
    metric: str
    task: str
    by: str | None
    mask: str | None
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """ValueError for a text that is none."""
        if (found := _GRAMMAR.fullmatch(text)) is None:
            raise ValueError(
                "a condition should read like 'worst_group_accuracy(gender) < -0.01' or "
                f"'mae(age, mask=surgical) > 0.5', got {text!r}"
            )
        of, bound = _STATISTICS[found["of"]], float(found["bound"])
        by = found["by"] or ("all" if of == "change" else None)
        return cls(text.strip(), of, found["metric"], found["task"], by, found["mask"], found["sign"], bound)

    def check(self, lacking: Iterable[tuple[str, str]]) -> None:
        """ValueError where it is about one of these, (task, mask), which the second model lacks."""
        for task, mask in lacking:
            if task == self.task and self.mask in (None, mask):
                raise ValueError(f"condition {self.text!r} is about {task!r} under {mask!r} too, which B lacks")

    def holds(self, comparison: pd.DataFrame) -> pd.DataFrame:
        """The rows of `compare_models` of which it is true; ValueError when it is about none of them."""
        asked = {column: getattr(self, column) for column in ("statistic", "metric", "task", "by", "mask")}
        rows = select(comparison, **{column: wanted for column, wanted in asked.items() if wanted is not None})
        if rows["value"].isna().all():
            there = select(comparison, statistic=self.statistic)
            names = {column: sorted(there[column].unique()) for column in ("task", "metric", "by", "mask")}
            raise ValueError(f"condition {self.text!r} is about nothing that was compared; there are {names}")
        return rows[_OPERATORS[self.sign](rows["value"], self.bound)]
