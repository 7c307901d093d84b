"""The audit's figures against scikit-learn and Fairlearn, its intervals against simulation, and wrong tables."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, equalized_odds_difference
from sklearn.metrics import accuracy_score, balanced_accuracy_score, brier_score_loss, f1_score, mean_absolute_error

from analyses.fairness import audit
from analyses.fairness.audit import COLUMNS
from analyses.fairness.metrics import AGE_METRICS, CLASS_METRICS

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
    where = {"statistic": "value"} | where
    found = audited[np.logical_and.reduce([audited[column] == wanted for column, wanted in where.items()])]
    assert len(found) == 1, found
    return found.iloc[0]


def test_columns_and_every_group_with_every_metric(audited):
    assert tuple(audited.columns) == COLUMNS
    assert list(dict.fromkeys(audited["by"])) == ["all", "site", "gender", "site*gender"]
    for task, metrics, others, moves in (
        ("gender", CLASS_METRICS, {"equalized_odds"}, {"flips"}),
        ("age", AGE_METRICS, {"p95_error"}, {"drift"}),
    ):
        here = audited[audited["task"] == task]
        assert set(here["metric"]) == {*metrics, *others, *moves}
        assert set(here.loc[here["statistic"] == "change", "metric"]) == set(metrics)
        assert set(here["statistic"]) == {
            "value", "gap", "change", "change_gap", "worst", "range", "ratio", "mean_of_groups", "max_to_geomean"
        }  # fmt: skip
    assert not audited.duplicated(["task", "mask", "by", "group", "metric", "statistic"]).any()
    own = audited[audited["statistic"].isin(["value", "gap", "change", "change_gap"])]
    assert (own["value"].notna() == (own["n"] >= 20)).all()
    plain = own[(own["n"] >= 20) & own["metric"].isin(["accuracy", "mae", "brier", "within_5"])]
    assert ((plain["ci_low"] <= plain["value"]) & (plain["value"] <= plain["ci_high"])).all()
    assert (plain["ci_low"] < plain["ci_high"]).all()


def test_what_is_tested_has_a_verdict_and_what_is_not_has_none(audited):
    tested = audited["statistic"].isin(["gap", "change", "change_gap", "range"]) & audited["value"].notna()
    assert audited.loc[tested, ["p_value", "p_adjusted"]].notna().all(axis=None)
    assert set(audited.loc[tested, "family"]) == {"declared", "exploratory"}
    assert (audited.loc[tested, "p_adjusted"] >= audited.loc[tested, "p_value"] - 1e-12).all()
    assert set(audited.loc[tested, "verdict"]) <= {
        "gap", "not enough evidence", "no gap larger than 0.05", "no gap larger than 1"
    }  # fmt: skip
    assert audited.loc[~tested, "p_value"].isna().all() and set(audited.loc[~tested, "verdict"]) == {""}


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


def test_confidence_is_of_the_answer_where_another_class_is_more_probable():
    rows = pd.DataFrame({
        "face_id": range(40), "task": "gender", "y_true": 1.0, "y_pred": 1.0, "probabilities": [[0.6, 0.4]] * 40,
    })  # fmt: skip
    found = value(audit(rows, replicates=50), metric="calibration_error")
    assert found["value"] == pytest.approx(0.6)  # says .4, right in all


def test_a_change_is_of_the_faces_that_have_both(predictions):
    gone = (predictions["mask"] == "none") & predictions["face_id"].isin([f"f{i}" for i in range(100)])
    found = audit(predictions[~gone], replicates=50)
    change = value(found, task="gender", mask="surgical", metric="accuracy", statistic="change")
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


def test_progress_counts_tasks_and_masks_and_may_stop_it(predictions):
    told = []
    audit(predictions, replicates=5, progress=lambda *counts: told.append(counts))
    total = predictions.groupby(["task", "mask"]).ngroups
    assert told == [(done, total) for done in range(total)]

    def stopping(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(predictions, progress=stopping)


def test_a_small_group_has_n_and_no_figures(predictions):
    few = predictions.assign(site=np.where(predictions["face_id"].isin(["f1", "f2", "f3"]), "tiny", "rest"))
    found = audit(few, by=["site"], replicates=50)
    tiny = found[(found["group"] == "tiny") & (found["by"] == "site")]
    assert (tiny["n"] <= 3).all() and tiny[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert set(tiny["flag"]) == {"n<20: too few to judge"}


def test_a_task_without_annotations_and_one_class():
    rows = table(60).assign(y_true=lambda t: t["y_true"].where(t["task"] != "age"))
    rows.loc[rows["task"] == "gender", ["y_true", "y_pred"]] = 1.0
    found = audit(rows, replicates=20)
    age = found[found["task"] == "age"].set_index("metric")["n"]
    assert (age.drop("drift") == 0).all() and age["drift"] == 60  # which needs no annotation
    assert value(found, task="gender", mask="none", metric="balanced_accuracy")["value"] == 1
    perfect = value(found, task="gender", mask="surgical", metric="accuracy", statistic="change")
    assert perfect["value"] == 0 and perfect["p_value"] == 1 and perfect["ci_low"] < 0 < perfect["ci_high"]


def test_two_hundred_groups(predictions):
    many = predictions.assign(person=predictions["face_id"].str[1:].astype(int) % 200)
    found = audit(many, by=["person"], replicates=20)
    assert found.loc[found["by"] == "person", "group"].nunique() == 200


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Mean absolute error of standard normal errors, 300 tables of 80 faces: sqrt(2 / pi) lies in 91 to 98 of 100."""
    held = []
    for seed in range(300):
        error = np.random.default_rng(seed).normal(size=80)
        rows = pd.DataFrame({"face_id": range(80), "task": "age", "y_true": 40.0, "y_pred": 40 + error})
        found = value(audit(rows, seed=seed, replicates=400), metric="mae")
        held.append(found["ci_low"] <= np.sqrt(2 / np.pi) <= found["ci_high"])
    assert 0.91 <= np.mean(held) <= 0.98


def test_gaps_of_calibrated_groups_have_no_interval_beside_0():
    """20 tables of 60 and 540 faces whose answers are right as often as their confidence says, so that there is no gap.

    Chance adds more to the calibration error of the few: the value lies above 0, but within what chance alone gives.
    """
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.5, 1, 600)
        rows = pd.DataFrame({
            "face_id": range(600), "task": "gender", "y_true": (rng.random(600) > p).astype(float), "y_pred": 0.0,
            "probabilities": np.stack([p, 1 - p], axis=1).tolist(), "site": ["few"] * 60 + ["many"] * 540,
        })  # fmt: skip
        of_seed = audit(rows, by=["site"], seed=seed, replicates=200)
        found.append(value(of_seed, by="site", group="few", metric="calibration_error", statistic="gap"))
    gaps = pd.DataFrame(found)
    assert gaps["value"].mean() > 0.05 and gaps[["ci_low", "ci_high"]].isna().all(axis=None)
    assert ((gaps["null_low"] <= gaps["value"]) & (gaps["value"] <= gaps["null_high"])).mean() >= 0.9
    assert set(gaps["verdict"]) == {"not enough evidence"}


@pytest.mark.parametrize(
    ("change", "by", "message"),
    [
        (lambda t: t.drop(columns="y_true"), [], "should have the columns"),
        (lambda t: pd.concat([t, t.head(1)]), [], "one row per face, task and mask"),
        (lambda t: t.assign(y_pred=NAN), [], "y_pred should be finite"),
        (lambda t: t, ["height"], "by should be among the tasks"),
        (lambda t: t, ["mask"], "by should be among the tasks"),
        (lambda t: t.assign(site=range(len(t))), ["site"], "the same in all rows of a face"),
        (lambda t: pd.concat([t, t.assign(face_id=t["face_id"] + "x")]), ["face_id"], "by should be among the tasks"),
        (lambda t: t.assign(y_pred=t["y_pred"].where(t["task"] != "gender", 7)), [], "class indices 0..1"),
    ],
)
def test_wrong_tables(predictions, change, by, message):
    with pytest.raises(ValueError, match=message):
        audit(change(predictions), by=by, replicates=5)


@pytest.fixture(scope="module")
def planted():
    """2,000 faces; gender is read right in .95, but in .80 of (south, female); masks cost the north .1."""
    rng = np.random.default_rng(5)
    site, female = rng.choice(["north", "south"], 2000), rng.integers(0, 2, 2000)
    bare = rng.random(2000) < np.where((site == "south") & (female == 1), 0.8, 0.95)
    masked = bare & (rng.random(2000) > np.where(site == "north", 0.1, 0.0))
    return pd.concat([
        pd.DataFrame({
            "face_id": range(2000), "task": "gender", "mask": mask, "site": site, "y_true": female.astype(float),
            "y_pred": np.where(right, female, 1 - female),
        }) for mask, right in (("none", bare), ("surgical", masked))
    ], ignore_index=True)  # fmt: skip


def test_a_grouping_without_a_labelled_face_has_its_unlabelled_row(planted):
    bare = planted[planted["mask"] == "none"].head(50)
    found = audit(bare.assign(site=None), by=["site", "site*gender"], replicates=5)
    for by in ("site", "site*gender"):
        rows = found[found["by"] == by]
        assert set(rows["group"]) == {"unlabelled"} and set(rows["n"]) == {50} and set(rows["statistic"]) == {"value"}


def test_two_groups_mirror_each_other_only_where_there_is_no_third(planted):
    bare = planted[planted["mask"] == "none"]
    third = bare.assign(site=bare["site"].where(bare["face_id"] > 4, "tiny"))
    for rows, times in ((bare, 1), (third, 2)):
        found = audit(rows, by=["site"], replicates=50)
        gaps = found[(found["metric"] == "accuracy") & (found["statistic"] == "gap") & found["p_value"].notna()]
        assert len(gaps) == 2 and gaps["p_adjusted"].min() == pytest.approx(times * gaps["p_value"].min())


def test_the_range_of_a_signed_error_goes_from_its_least_to_its_most():
    site = np.repeat(["a", "b", "c"], 30)
    off = np.select([site == "a", site == "b"], [-4, -1], 3)
    rows = pd.DataFrame({"face_id": range(90), "task": "age", "y_true": 40.0, "y_pred": 40.0 + off, "site": site})
    found = audit(rows, by=["site"], replicates=5)
    spread = value(found, metric="signed_error", statistic="range")
    assert spread["group"] == "a to c" and spread["value"] == pytest.approx(7)
    assert value(found, metric="signed_error", statistic="worst")["group"] == "a"


def test_planted_gaps_are_found_and_named(planted):
    found = audit(planted, by=["site*gender", "site"], replicates=500)
    accuracy = found[(found["metric"] == "accuracy") & (found["mask"] == "none") & (found["by"] == "site*gender")]
    gaps = accuracy[accuracy["statistic"] == "gap"].set_index("group")
    assert gaps.loc["south, female", "verdict"] == "gap" and gaps.loc["south, female", "value"] < -0.1
    assert value(accuracy, statistic="worst")["group"] == "south, female"
    spread = value(accuracy, statistic="range")
    assert spread["group"].startswith("south, female to ") and spread["value"] > spread["null_high"]
    assert spread["verdict"] == "gap"

    of_masks = found[(found["metric"] == "accuracy") & (found["mask"] == "surgical") & (found["by"] == "site")]
    changes = of_masks[of_masks["statistic"] == "change"].set_index("group")
    assert changes["verdict"].to_dict() == {"north": "gap", "south": "no gap larger than 0.05"}
    differences = of_masks[of_masks["statistic"] == "change_gap"].set_index("group")
    assert set(differences["verdict"]) == {"gap"} and differences.loc["north", "value"] < -0.05
    assert differences.loc["north", "value"] == pytest.approx(-differences.loc["south", "value"])


def test_gaps_by_hand(planted):
    bare = planted[planted["mask"] == "none"]
    right = (bare["y_true"] == bare["y_pred"]).groupby(bare["site"]).agg(["mean", "size"])
    found = audit(bare, by=["site"], replicates=50)
    gap = value(found, by="site", group="north", metric="accuracy", statistic="gap")
    assert gap["value"] == pytest.approx(right.loc["north", "mean"] - right.loc["south", "mean"])
    assert gap["n"] == right.loc["north", "size"]
    ratio = value(found, by="site", metric="accuracy", statistic="ratio")["value"]
    assert ratio == pytest.approx(right["mean"].min() / right["mean"].max())
    wrong = 1 - right["mean"]
    geomean = value(found, by="site", metric="accuracy", statistic="max_to_geomean")["value"]
    assert geomean == pytest.approx(wrong.max() / np.sqrt(wrong.prod()))
    mean = value(found, by="site", metric="accuracy", statistic="mean_of_groups")["value"]
    assert mean == pytest.approx(right["mean"].mean())


def test_equalized_odds_equal_fairlearns(planted):
    bare = planted[planted["mask"] == "none"]
    wanted = equalized_odds_difference(bare["y_true"], bare["y_pred"], sensitive_features=bare["site"])
    found = value(audit(bare, by=["site"], replicates=50), metric="equalized_odds", statistic="range")
    assert found["value"] == pytest.approx(wanted) and found["group"] in (
        "true positive rate of female", "false positive rate of male"
    )  # fmt: skip


def test_percentile_of_the_error(predictions):
    rows = predictions[(predictions["task"] == "age") & (predictions["mask"] == "none")].dropna(subset="y_true")
    found = value(audit(rows, replicates=5), metric="p95_error")
    assert found["value"] == pytest.approx(np.quantile((rows["y_pred"] - rows["y_true"]).abs(), 0.95), abs=1e-4)
    assert found["ci_low"] < found["value"] < found["ci_high"]


def test_several_drawn_masks():
    """Flips are of all draws, figures of the first."""
    bare = pd.DataFrame(
        {"face_id": range(40), "task": "gender", "mask": "none", "y_true": 1.0, "y_pred": 1.0, "draw": 0}
    )
    drawn = [bare.assign(mask="n95", draw=draw, y_pred=float(draw == 0)) for draw in range(4)]
    found = audit(pd.concat([bare, *drawn]), replicates=20)
    assert value(found, mask="n95", metric="flips")["value"] == pytest.approx(0.75)
    assert value(found, mask="n95", metric="accuracy")["value"] == 1
    ages = pd.concat([bare, *drawn]).assign(task="height", y_pred=lambda t: t["draw"].astype(float))
    found = audit(ages, replicates=20)
    assert value(found, mask="n95", metric="spread")["value"] == pytest.approx(np.std(range(4), ddof=1))
    assert value(found, mask="n95", metric="drift")["value"] == pytest.approx(1.5)


def test_ranges_that_chance_often_ties_are_no_gap():
    """One miss in 60 faces of two groups: every permutation gives the same range or its mirror, so p is 1."""
    rows = pd.DataFrame({
        "face_id": range(60), "task": "gender", "y_true": 1.0, "y_pred": [0.0] + [1.0] * 59, "site": ["a", "b"] * 30
    })  # fmt: skip
    found = value(audit(rows, by=["site"], replicates=200), metric="accuracy", statistic="range")
    assert found["p_value"] == 1 and found["value"] == pytest.approx(1 / 30)


def test_no_macro_f1_where_groups_are_the_tasks_own_classes(audited):
    gender = audited[audited["task"] == "gender"]
    macro = gender[gender["metric"] == "macro_f1"]
    assert set(macro["by"]) == {"all", "site"} and set(gender["by"]) == {"all", "site", "gender", "site*gender"}
    assert "gender" in set(audited.loc[(audited["task"] == "ethnicity") & (audited["metric"] == "macro_f1"), "by"])


def test_margins_decide_what_counts_as_alike(planted):
    bare = planted[(planted["mask"] == "none") & (planted["y_true"] == 0)]
    for margin, verdict in ((0.05, "no gap larger than 0.05"), (0.01, "not enough evidence")):
        found = audit(bare, by=["site"], replicates=50, margins={"accuracy": margin})
        assert set(found.loc[found["family"] == "declared", "verdict"]) == {verdict}
    with pytest.raises(ValueError, match="margins should be of metrics"):
        audit(bare, replicates=5, margins={"speed": 1})


def test_large_tables_have_the_intervals_of_small_ones():
    """30,000 faces take the normal limit: as wide as theory says, and gaps of the same size as by permutation."""
    rng = np.random.default_rng(0)
    n = 30_000
    rows = pd.DataFrame({
        "face_id": range(n), "task": "age", "y_true": 40.0, "y_pred": 40 + rng.normal(0, 10, n),
        "site": rng.choice(["north", "south", "east"], n, p=[0.6, 0.395, 0.005]),
    })  # fmt: skip
    found = audit(rows, by=["site"], replicates=1000)
    for group in ("north", "south", "east"):
        own = value(found, by="site", group=group, metric="signed_error")
        assert own["ci_high"] - own["ci_low"] == pytest.approx(2 * 1.96 * 10 / own["n"] ** 0.5, rel=0.2)
        gap = value(found, by="site", group=group, metric="signed_error", statistic="gap")
        error = 10 * (1 / gap["n"] + 1 / (n - gap["n"])) ** 0.5
        assert gap["null_high"] - gap["null_low"] == pytest.approx(2 * 1.96 * error, rel=0.2)
        assert gap["detectable"] == pytest.approx(2.8 * error, rel=0.2)


def test_two_models_are_audited_apart(planted):
    two = pd.concat([planted.assign(model=name) for name in ("first", "second")])
    found = audit(two, by=["site"], replicates=20).drop(columns="model")
    half = len(found) // 2
    pd.testing.assert_frame_equal(found.iloc[:half], found.iloc[half:].reset_index(drop=True))


def test_a_grouping_asked_twice_is_answered_once_and_too_many_groups_not_at_all():
    many = table(600).assign(person=lambda t: t["face_id"])
    with pytest.raises(ValueError, match="at most 500 groups, got 600"):
        audit(many, by=["person"], replicates=5)
    found = audit(many, by=["gender", "gender", "all"], replicates=5)
    assert not found.duplicated(["task", "mask", "by", "group", "metric", "statistic"]).any()


def test_a_foreign_task_with_named_classes_is_one_of_classes():
    rows = pd.DataFrame({"face_id": range(80), "task": "glasses", "y_true": [0.0, 1.0] * 40, "y_pred": 1.0})
    rows.attrs["classes"] = {"glasses": ["no", "yes"]}
    found = audit(rows, by=["glasses"], replicates=5)
    assert {"accuracy", "balanced_accuracy", "macro_f1"} <= set(found["metric"]) and "mae" not in set(found["metric"])
    assert set(found.loc[found["statistic"] == "value", "group"]) == {"all", "no", "yes"}


def test_no_rows_give_no_rows():
    empty = pd.DataFrame(columns=["face_id", "task", "y_true", "y_pred"])
    assert list(audit(empty).columns) == list(COLUMNS) and audit(empty).empty
