"""Errors that come together, planted."""

import numpy as np
import pandas as pd
import pytest

from analyses.fairness.coupling import coupling


@pytest.fixture(scope="module")
def predictions():
    """Where ethnicity is read wrong, age is 10 years off instead of 4; gender does not care."""
    rng = np.random.default_rng(0)
    n, wrong = 600, rng.random(600) < 0.3
    off = rng.choice([-1, 1], n) * np.where(wrong, 10, 4)
    columns = {
        "age": (np.full(n, 40.0), 40 + off),
        "ethnicity": (np.ones(n), np.where(wrong, 2.0, 1.0)),
        "gender": (np.ones(n), (rng.random(n) < 0.9).astype(float)),
    }
    return pd.concat([
        pd.DataFrame({"face_id": range(n), "task": task, "mask": mask, "y_true": truth, "y_pred": answers})
        for task, (truth, answers) in columns.items()
        for mask in ("none", "surgical")
    ])  # fmt: skip


def test_a_wrong_ethnicity_brings_a_worse_age(predictions):
    found = coupling(predictions, replicates=200)
    age = found[(found["task"] == "age") & (found["by"] == "ethnicity read") & (found["metric"] == "mae")]
    for mask in ("none", "surgical"):
        gap = age[(age["mask"] == mask) & (age["statistic"] == "gap") & (age["group"] == "read wrong")].iloc[0]
        assert gap["value"] == pytest.approx(6) and gap["verdict"] == "gap"
    gender = found[(found["task"] == "gender") & (found["by"] == "ethnicity read") & (found["metric"] == "accuracy")]
    assert "gap" not in set(gender["verdict"])
    assert set(found["by"]) == {"ethnicity read", "gender read"} and set(found["statistic"]) == {"value", "gap"}


def test_margins_decide_what_counts_as_alike(predictions):
    wide = coupling(predictions, replicates=50, margins={"accuracy": 0.5, "mae": 20})
    assert set(wide.loc[wide["verdict"].str.startswith("no gap"), "verdict"]) >= {"no gap larger than 0.5"}
    assert set(wide.loc[wide["metric"] == "mae", "margin"]) == {20}


def test_faces_that_share_no_task_couple_with_nothing(predictions):
    ethnicity = predictions[predictions["task"] == "ethnicity"]
    gender = predictions[predictions["task"] == "gender"]
    assert coupling(pd.concat([ethnicity, gender.assign(face_id=gender["face_id"] + 1000)]), replicates=5).empty


def test_one_task_couples_with_nothing(predictions):
    assert coupling(predictions[predictions["task"] == "gender"], replicates=5).empty
    assert coupling(predictions[predictions["task"] == "age"], replicates=5).empty
