"""The audit's figures against scikit-learn and Fairlearn, its intervals against simulation, and wrong tables."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from sklearn.metrics import accuracy_score, balanced_accuracy_score, brier_score_loss, f1_score, mean_absolute_error

from analyses.fairness import audit
from analyses.fairness.audit import COLUMNS
from analyses.fairness.metrics import AGE_METRICS, CLASS_METRICS
from analyses.fairness.resampling import draws, resampled_sums, sums_of

NAN = float("nan")


def table(n=400, seed=0, masks=("none", "surgical")):
    """Answers of three tasks; 'site' is a column of its own, and a tenth of the annotations is missing."""
    rng = np.random.default_rng(seed)
    truth = {
        "age": rng.integers(0, 90, n).astype(float),
        "gender": rng.integers(0, 2, n).astype(float),
        "ethnicity": rng.integers(0, 5, n).astype(float),
    }
    site, parts = rng.choice(["north", "south"], n), []
    for task, labels in truth.items():
        known = np.where(rng.random(n) < 0.1, NAN, labels)
        for mask in masks:
            k = int(labels.max()) + 1
            p = rng.dirichlet(np.ones(k), n) + 0.8 * np.eye(k)[labels.astype(int)] if task != "age" else None
            p = None if p is None else p / p.sum(axis=1, keepdims=True)
            answers = labels + rng.normal(0, 8, n) if p is None else p.argmax(axis=1).astype(float)
            parts.append(
                pd.DataFrame({
                    "face_id": [f"f{i}" for i in range(n)], "mask": mask, "task": task, "y_true": known,
                    "y_pred": answers, "probabilities": pd.Series([None] * n if p is None else list(p), dtype=object),
                    "model": "m", "site": site,
                })
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def predictions():
    return table()


@pytest.fixture(scope="module")
def audited(predictions):
    return audit(predictions, by=["site", "gender", "site*gender"], replicates=200)


def value(audited, **where):
    found = audited[np.logical_and.reduce([audited[column] == wanted for column, wanted in where.items()])]
    assert len(found) == 1, found
    return found.iloc[0]


def test_columns_and_every_group_with_every_metric(audited):
    assert tuple(audited.columns) == COLUMNS
    assert list(dict.fromkeys(audited["by"])) == ["all", "site", "gender", "site*gender"]
    for task, metrics in (("gender", CLASS_METRICS), ("age", AGE_METRICS)):
        here = audited[audited["task"] == task]
        assert set(here["metric"]) == {*metrics, *(f"{name}_change" for name in metrics)}
        assert not here.duplicated(["mask", "by", "group", "metric"]).any()
    assert (audited["value"].notna() == (audited["n"] >= 20)).all()
    plain = audited[(audited["n"] >= 20) & audited["metric"].isin(["accuracy", "mae", "brier", "within_5"])]
    assert ((plain["ci_low"] <= plain["value"]) & (plain["value"] <= plain["ci_high"])).all()
    assert (plain["ci_low"] < plain["ci_high"]).all()


@pytest.mark.parametrize("mask", ["none", "surgical"])
def test_values_equal_fairlearn_and_scikit_learn(predictions, audited, mask):
    rows = predictions[(predictions["task"] == "ethnicity") & (predictions["mask"] == mask)].dropna(subset="y_true")
    frame = MetricFrame(
        metrics={
            "accuracy": accuracy_score,
            "balanced_accuracy": balanced_accuracy_score,
            "macro_f1": lambda y_true, y_pred: f1_score(y_true, y_pred, average="macro"),
        },
        y_true=rows["y_true"].astype(int), y_pred=rows["y_pred"].astype(int), sensitive_features=rows["site"],
    )  # fmt: skip
    for metric, of_metric in frame.by_group.items():
        for group, wanted in of_metric.items():
            found = value(audited, task="ethnicity", mask=mask, by="site", group=group, metric=metric)
            assert found["value"] == pytest.approx(wanted, abs=1e-9)
            assert found["n"] == (rows["site"] == group).sum()
    found = value(audited, task="ethnicity", mask=mask, by="all", metric="brier")["value"]
    p = np.array(rows["probabilities"].tolist())
    assert found == pytest.approx(
        brier_score_loss(rows["y_true"].astype(int), p, labels=range(5), scale_by_half=False), abs=1e-6
    )


def test_age(predictions, audited):
    rows = predictions[(predictions["task"] == "age") & (predictions["mask"] == "none")].dropna(subset="y_true")
    found = value(audited, task="age", mask="none", by="all", metric="mae")
    assert found["value"] == pytest.approx(mean_absolute_error(rows["y_true"], rows["y_pred"]), abs=1e-6)
    minors = rows[rows["y_true"] < 18]
    found = value(audited, task="age", mask="none", by="all", metric="minors_read_25")
    assert found["value"] == pytest.approx((minors["y_pred"] >= 25).mean()) and found["n"] == len(minors)
    adults = rows[rows["y_true"] >= 18]
    found = value(audited, task="age", mask="none", by="all", metric="adults_read_under_18")
    assert found["value"] == pytest.approx((adults["y_pred"] < 18).mean()) and found["n"] == len(adults)


def test_calibration_error_by_hand():
    rows = pd.DataFrame({
        "face_id": range(40), "task": "gender", "y_true": [0.0] * 30 + [1.0] * 10, "y_pred": 0.0,
        "probabilities": [[0.9, 0.1]] * 40,
    })  # fmt: skip
    found = value(audit(rows, replicates=50), metric="calibration_error")
    assert found["value"] == pytest.approx(0.15)  # says .9, right in .75


def test_a_change_is_of_the_faces_that_have_both(predictions):
    gone = (predictions["mask"] == "none") & predictions["face_id"].isin([f"f{i}" for i in range(100)])
    found = audit(predictions[~gone], replicates=50)
    change = value(found, task="gender", mask="surgical", metric="accuracy_change")
    wide = predictions[predictions["task"] == "gender"].dropna(subset="y_true")
    wide = wide.assign(hit=wide["y_pred"] == wide["y_true"]).pivot(index="face_id", columns="mask", values="hit")
    both = wide.drop([f"f{i}" for i in range(100)], errors="ignore").astype(float)
    assert change["n"] == len(both)
    assert change["value"] == pytest.approx((both["surgical"] - both["none"]).mean())


def test_annotations_make_the_groups_and_rows_in_any_order_the_same_figures(predictions, audited):
    other = audit(predictions.sample(frac=1, random_state=1), by=["gender"], replicates=50)
    for group in ("male", "female", "unlabelled"):
        where = {"task": "age", "mask": "none", "by": "gender", "group": group, "metric": "mae"}
        assert value(other, **where)["value"] == pytest.approx(value(audited, **where)["value"], nan_ok=True)


def test_a_small_group_has_n_and_no_figures(predictions):
    few = predictions.assign(site=np.where(predictions["face_id"].isin(["f1", "f2", "f3"]), "tiny", "rest"))
    found = audit(few, by=["site"], replicates=50)
    tiny = found[found["group"] == "tiny"]
    assert (tiny["n"] <= 3).all() and tiny[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert set(tiny["flag"]) == {"n<20: too few to judge"}


def test_a_task_without_annotations_and_one_class():
    rows = table(60).assign(y_true=lambda t: t["y_true"].where(t["task"] != "age"))
    rows.loc[rows["task"] == "gender", ["y_true", "y_pred"]] = 1.0
    found = audit(rows, replicates=20)
    assert (found.loc[found["task"] == "age", "n"] == 0).all()
    assert value(found, task="gender", mask="none", metric="balanced_accuracy")["value"] == 1


def test_two_hundred_groups(predictions):
    many = predictions.assign(person=predictions["face_id"].str[1:].astype(int) % 200)
    found = audit(many, by=["person"], replicates=20)
    assert found.loc[found["by"] == "person", "group"].nunique() == 200


def test_sums_of_replicates_by_hand():
    statistics, groups = np.array([[1.0, 10.0], [1, 20], [1, 40]]), np.array([1, 0, 1])
    assert sums_of(statistics, groups, 3).tolist() == [[1, 20], [2, 50], [0, 0]]
    times = np.array([[1, 0], [2, 0], [0, 3]], np.uint8)
    drawn = resampled_sums(statistics, groups, 3, times)
    assert drawn.tolist() == [[[2, 40], [0, 0]], [[1, 10], [3, 120]], [[0, 0], [0, 0]]]


def test_draws_are_of_as_many_faces_with_replacement():
    times = draws(50, 3000, seed=0)
    assert times.shape == (50, 3000) and (times.sum(axis=0) == 50).all()
    assert times.mean(axis=1) == pytest.approx(1, abs=0.1) and times.var(axis=1) == pytest.approx(0.98, abs=0.15)
    assert (times == draws(50, 3000, seed=0)).all() and (times != draws(50, 3000, seed=1)).any()


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Mean absolute error of standard normal errors, 300 tables of 80 faces: sqrt(2 / pi) lies in 91 to 98 of 100."""
    held = []
    for seed in range(300):
        error = np.random.default_rng(seed).normal(size=80)
        rows = pd.DataFrame({"face_id": range(80), "task": "age", "y_true": 40.0, "y_pred": 40 + error})
        found = value(audit(rows, seed=seed, replicates=400), metric="mae")
        held.append(found["ci_low"] <= np.sqrt(2 / np.pi) <= found["ci_high"])
    assert 0.91 <= np.mean(held) <= 0.98


@pytest.mark.parametrize(
    ("change", "by", "message"),
    [
        (lambda t: t.drop(columns="y_true"), [], "should have the columns"),
        (lambda t: pd.concat([t, t.head(1)]), [], "one row per face, task and mask"),
        (lambda t: t.assign(y_pred=NAN), [], "y_pred should be finite"),
        (lambda t: t, ["height"], "by should be among the tasks"),
        (lambda t: t, ["mask"], "by should be among the tasks"),
        (lambda t: t.assign(site=range(len(t))), ["site"], "the same in all rows of a face"),
        (lambda t: t.assign(y_pred=t["y_pred"].where(t["task"] != "gender", 7)), [], "class indices 0..1"),
    ],
)
def test_wrong_tables(predictions, change, by, message):
    with pytest.raises(ValueError, match=message):
        audit(change(predictions), by=by, replicates=5)
