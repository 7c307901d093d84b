"""Predictions of invented models, and a page taken apart."""

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from analyses.fairness import audit
from analyses.report import ReportData

NAN = float("nan")
VOID = {"meta", "link", "img"}


def own_predictions(n: int = 600, masks: tuple[str, ...] = ("none", "surgical"), seed: int = 0) -> pd.DataFrame:
    """Of age, gender and ethnicity; gender is read wrong in three of ten faces of the second ethnicity."""
    rng = np.random.default_rng(seed)
    truth = {"age": rng.integers(0, 90, n), "gender": rng.integers(0, 2, n), "ethnicity": rng.integers(0, 3, n)}
    parts = []
    for mask in masks:
        for task, labels in truth.items():
            if task == "age":
                answers, p = labels + rng.normal(0, 6, n), [None] * n
            else:
                k = {"gender": 2, "ethnicity": 5}[task]
                wrong = rng.random(n) < (np.where(truth["ethnicity"] == 1, 0.3, 0.03) if task == "gender" else 0.1)
                answers = np.where(wrong, (labels + 1) % k, labels)
                p = list(0.1 / (k - 1) * (1 - np.eye(k)[answers]) + 0.9 * np.eye(k)[answers])
            columns = {"face_id": [f"f{i}" for i in range(n)], "split": "val", "mask": mask, "task": task}
            columns |= {"y_true": labels.astype(float), "y_pred": answers.astype(float), "model": "m"}
            parts.append(pd.DataFrame(columns).assign(probabilities=pd.Series(p, dtype=object)))
    return pd.concat(parts, ignore_index=True)


def foreign_predictions(n: int, groups: int, *, annotated: bool = True, name: str = "site {}") -> pd.DataFrame:
    """Of one value, 'weight', with a column 'site', bare, without probabilities and model card."""
    rng = np.random.default_rng(1)
    truth, site = rng.normal(70, 10, n), np.arange(n) % groups
    return pd.DataFrame({
        "face_id": [f"f{i}" for i in range(n)], "mask": "none", "task": "weight", "model": "other",
        "y_true": truth if annotated else NAN, "y_pred": truth + rng.normal(0, 1, n) * (1 + (site == 0)),
        "site": [name.format(i) for i in site],
    })  # fmt: skip


@pytest.fixture(scope="session")
def own() -> ReportData:
    table = own_predictions()
    found = audit(table, by=["ethnicity", "gender", "age_band", "ethnicity*gender"], replicates=200)
    card = {
        "summary": "A network", "licence": "None", "intended_use": ["Tests"], "forbidden_use": ["All else"],
        "training": {"epochs": 3, "size": None, "masks": ["none", "mixed"]},
    }  # fmt: skip
    return ReportData(
        table, found, "invented faces", "2026-11-25", split="val", card=card, settings={"seed": 0, "by": ["gender"]},
        versions={"maskmtl": "1"}, hashes={"predictions": "0" * 64},
    )  # fmt: skip


@pytest.fixture(scope="session")
def foreign() -> Callable[..., ReportData]:
    def make(n: int, groups: int, **options: object) -> ReportData:
        table = foreign_predictions(n, groups, **options)
        return ReportData(table, audit(table, by=["site"], replicates=100), "elsewhere", "2026-11-25")

    return make


@dataclass
class Element:
    name: str
    attributes: dict[str, str]
    inside: tuple[str, ...]  # the names of what it stands in, from the outermost
    text: str = ""


@dataclass
class Page(HTMLParser):
    """All elements of a page in their order; an AssertionError where one is not closed as it should."""

    html: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []
        self.feed(self.html)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), tuple(parent.name for parent in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open and self._open.pop().name == tag

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, *names: str) -> list[Element]:
        return [element for element in self.elements if element.name in names]


@pytest.fixture(scope="session")
def parsed() -> Callable[[str], Page]:
    return Page
