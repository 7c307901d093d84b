"""Figures, groups and metrics in words: percent and points with one decimal, 'a to b', a dash where there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

from analyses.fairness.audit import GAP, UNCLEAR
from analyses.figures import mask_name
from maskmtl.tasks import TASKS, Scalar

DASH, MINUS, SPACE = "–", "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Scale:
    """How a metric is written: times `factor`, with its unit, which differs for a difference."""

    factor: float
    unit: str
    points: str
    decimals: int = 1

    def plain(self, value: float, *, signed: bool = False) -> str:
        if isnan(value):
            return DASH
        text = f"{abs(self.factor * value):,.{self.decimals}f}"
        negative = value < 0 and float(text.replace(",", "")) > 0
        return (MINUS if negative else "+" if signed and float(text.replace(",", "")) > 0 else "") + text

    def value(self, value: float) -> str:
        return self._with(self.plain(value), self.unit)

    def size(self, difference: float) -> str:
        """Of a difference, without its sign."""
        return self._with(self.plain(abs(difference)), self.points)

    def margin(self, margin: float) -> str:
        """'5 points', '1 year'."""
        number = f"{self.factor * margin:g}"
        return self._with(number, self.points.removesuffix("s") if number == "1" else self.points)

    def difference(self, difference: float) -> str:
        return self._with(self.plain(difference, signed=True), self.points)

    def interval(self, low: float, high: float, *, signed: bool = False) -> str:
        """'79.3 to 88.0'; a dash where there is none."""
        return (
            DASH
            if isnan(low) or isnan(high)
            else f"{self.plain(low, signed=signed)} to {self.plain(high, signed=signed)}"
        )

    def sizes(self, difference: float, low: float, high: float) -> str:
        """The interval of a difference of which `size` is shown: of its opposite where it is negative."""
        return self.interval(-high, -low) if difference < 0 else self.interval(low, high)

    def cell(self, row: Any, *, signed: bool = False) -> str:
        """Value and interval of a row of the audit."""
        value = self.difference(row.value) if signed else self.value(row.value)
        interval = self.interval(row.ci_low, row.ci_high, signed=signed)
        return value if interval == DASH else f"{value} ({interval.replace(' ', SPACE)})"

    @staticmethod
    def _with(number: str, unit: str) -> str:
        return f"{number}{SPACE}{unit}" if unit and number != DASH else number


SHARE, SCORE = Scale(100, "%", "points"), Scale(1, "", "", 3)
_SHARES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "calibration_error": "calibration error",
    "equalized_odds": "equalized odds difference",
    "within_5": "off by at most 5",
    "minors_read_18": "minors read as 18 or older",
    "minors_read_25": "minors read as 25 or older",
    "adults_read_under_18": "adults read as under 18",
    "adults_read_under_25": "adults read as under 25",
    "flips": "classes changed by the mask",
}
_VALUES = {
    "mae": "mean absolute error",
    "signed_error": "mean error, predicted minus annotated",
    "p95_error": "95th percentile of the absolute error",
    "drift": "mean distance from the bare answer",
    "spread": "deviation over several drawn masks",
}
_SCORES = {"brier": "Brier score"}
UNITS = {name: spec.target.unit for name, spec in TASKS.items() if isinstance(spec.target, Scalar)}


def metric_name(metric: str) -> str:
    return {**_SHARES, **_VALUES, **_SCORES}.get(metric, metric.replace("_", " "))


def scale(task: str, metric: str, units: Mapping[str, str] = UNITS) -> Scale:
    """`units`: of value tasks, by name; without one, three decimals."""
    if metric in _SHARES:
        return SHARE
    if metric in _VALUES and (unit := units.get(task)):
        return Scale(1, unit, unit)
    return SCORE


def p_value(p: float) -> str:
    """'< .001', '.012', '1'; a dash where nothing was tested."""
    if isnan(p):
        return DASH
    return "< .001" if p < 0.001 else "1" if p > 0.9995 else f"{p:.3f}".removeprefix("0")


def grouping_name(by: str) -> str:
    return " × ".join(part.replace("_", " ") for part in by.split("*"))


def under(mask: str) -> str:
    """A mask in a sentence: 'bare', 'surgical mask', 'cloth mask, red', 'N95 with valve, nose out'."""
    kind, comma, details = mask_name(mask).partition(", ")
    return f"{kind}{'' if mask == 'none' or ' ' in kind else ' mask'}{comma}{details}"


def verdict(row: Any, of: Scale) -> str:
    """The audit's verdict with the margin in the reader's unit; of masked against bare faces a gap is a change."""
    what = "change" if row.statistic == "change" else "gap"
    if row.verdict == GAP:
        return what
    return f"no {what} larger than {of.margin(row.margin)}" if row.verdict not in ("", UNCLEAR) else row.verdict or DASH


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def count(n: int, one: str, many: str = "") -> str:
    """'1 test', '2,000 tests'."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
