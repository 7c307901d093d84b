"""Mitigation against cases with a known answer, and what it costs."""

import numpy as np
import pandas as pd
import pytest

from analyses.fairness.groups import FEW
from analyses.fairness.mitigation import MITIGATIONS, fit_temperature, mitigate, tempered
from analyses.fairness.models import compare_models
from analyses.fairness.tables import probability_matrix, read_predictions


def binary(n, seed, name="f", *, shift=0.0, over=1.0):
    """Gender answers of two sites; scores are right up to a temperature `over`, in the north shifted by `shift`."""
    rng = np.random.default_rng(seed)
    site = rng.choice(["north", "south"], n)
    logits = rng.normal(0, 2, n)
    y_true = (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(float)
    p = 1 / (1 + np.exp(-over * (logits + shift * (site == "north"))))
    return pd.DataFrame({
        "face_id": [f"{name}{i}" for i in range(n)], "mask": "none", "task": "gender", "y_true": y_true,
        "y_pred": (p > 0.5).astype(float), "probabilities": np.stack([1 - p, p], axis=1).tolist(), "model": "m",
        "site": site,
    })  # fmt: skip


def same(confidence, right, n, name="f", site="a"):
    """n answers 'male' of one confidence, a share of them right."""
    y_true = (np.arange(n) >= round(right * n)).astype(float)
    return pd.DataFrame({
        "face_id": [f"{name}-{site}-{i}" for i in range(n)], "mask": "none", "task": "gender", "y_true": y_true,
        "y_pred": 0.0, "probabilities": [[confidence, 1 - confidence]] * n, "model": "m", "site": site,
    })  # fmt: skip


def row(table, **where):
    found = table[np.logical_and.reduce([table[column] == wanted for column, wanted in where.items()])]
    assert len(found) == 1, found
    return found.iloc[0]


def test_the_temperature_by_hand():
    # confidence .9, of which 3 in 4 are right: 9 ** (1 / 2) = 3, and 3 / (3 + 1) = .75
    probabilities = np.tile([0.9, 0.1], (40, 1))
    y_true = np.repeat([0.0, 1.0], [30, 10])
    assert fit_temperature(probabilities, y_true) == pytest.approx(2, abs=1e-3)
    np.testing.assert_allclose(tempered(probabilities[:1], 2), [[0.75, 0.25]])


@pytest.mark.parametrize("wanted", [0.5, 1.0, 3.0])
def test_the_temperature_of_overconfident_logits_is_found(wanted):
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.ones(5), 20_000)
    y_true = (true.cumsum(axis=1) < rng.random((len(true), 1))).sum(axis=1).astype(float)
    assert fit_temperature(tempered(true, 1 / wanted), y_true) == pytest.approx(wanted, rel=0.05)


def test_a_temperature_keeps_the_order_of_classes_and_probabilities_of_zero():
    probabilities = np.array([[0.0, 0.2, 0.8], [1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]])
    for temperature in (0.05, 1.0, 20.0):
        found = tempered(probabilities, temperature)
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert (np.diff(found[0]) > 0).all() and np.isfinite(found).all()
    np.testing.assert_allclose(tempered(probabilities, 1.0), probabilities, atol=1e-11)


def test_each_group_gets_its_temperature_and_a_small_one_that_of_all():
    fit = pd.concat([same(0.9, 0.75, 400, site="a"), same(0.75, 0.9, 400, site="b"), same(0.9, 0.5, FEW - 1, site="c")])
    others = pd.concat([same(0.9, 0.5, 3, "g", site) for site in "abcd"])
    found = mitigate(fit, others, task="gender", method="temperature", by="site")
    confidence = pd.Series(probability_matrix(found["probabilities"])[:, 0], found["site"]).groupby(level=0).first()
    assert confidence["a"] == pytest.approx(0.75, abs=1e-3)
    own_b = tempered(np.array([[0.9, 0.1]]), 0.5)[0, 0]
    assert confidence["b"] == pytest.approx(own_b, abs=1e-3)
    everyone = mitigate(fit, others, task="gender", method="temperature")
    of_all = probability_matrix(everyone["probabilities"])[0, 0]
    assert confidence["c"] == confidence["d"] == pytest.approx(of_all)
    assert abs(of_all - confidence["a"]) > 0.01
    assert found["y_pred"].tolist() == others["y_pred"].tolist()


def test_equal_true_positive_rates_and_their_price():
    fit, others = (binary(4000, seed, name, shift=-1.5) for seed, name in ((0, "f"), (1, "g")))
    found = mitigate(fit, others, task="gender", method="true_positive_rate_parity", by="site")
    there = mitigate(
        fit, fit.assign(face_id="h" + fit["face_id"]), task="gender", method="true_positive_rate_parity", by="site"
    )
    rates = there[there["y_true"] == 1].groupby("site")["y_pred"].mean()
    assert rates["north"] == pytest.approx(rates["south"], abs=0.01)
    changes = compare_models(others, found, by=["site"], replicates=200)
    odds = row(changes, by="site", metric="equalized_odds", statistic="range")
    assert odds["value"] < -0.1
    accuracy = row(changes, by="all", metric="accuracy", statistic="change")
    assert accuracy["ci_low"] > 0  # the shift cost both, so that a threshold of one's own brings both
    assert "brier" not in set(changes["metric"])  # the probabilities no longer belong to the answers


def test_equal_selection_rates():
    fit, others = (binary(4000, seed, name, shift=-1.5) for seed, name in ((0, "f"), (1, "g")))
    found = mitigate(fit, others, task="gender", method="demographic_parity", by="site")
    rates = found.groupby("site")["y_pred"].mean()
    assert others.groupby("site")["y_pred"].mean().diff().abs().iloc[-1] > 0.1
    assert abs(rates["north"] - rates["south"]) < 0.05


@pytest.mark.parametrize("method", MITIGATIONS)
def test_every_method_changes_its_task_alone_and_the_same_way_again(method):
    fit, others = (binary(400, seed, name, shift=1.0, over=3.0) for seed, name in ((0, "f"), (1, "g")))
    age = others.assign(task="age", y_true=30.0, y_pred=31.0, probabilities=None)
    masked = [table.assign(mask="surgical") for table in (fit, others)]
    fit = pd.concat([fit, masked[0]], ignore_index=True)
    others = pd.concat([age, others, masked[1]]).sample(frac=1, random_state=0)
    others.attrs["classes"] = {"gender": ["male", "female"]}
    kept = others.copy(deep=True)
    found = mitigate(fit, others, task="gender", method=method, by="site", seed=3)
    again = mitigate(fit, others, task="gender", method=method, by="site", seed=3)
    pd.testing.assert_frame_equal(others, kept)
    pd.testing.assert_frame_equal(found, again)
    assert found.attrs == others.attrs
    same_columns = ["face_id", "mask", "task", "y_true", "model", "site"]
    pd.testing.assert_frame_equal(found[same_columns], others[same_columns])
    pd.testing.assert_frame_equal(found[found["task"] == "age"], others[others["task"] == "age"])
    gender = found[found["task"] == "gender"]
    assert gender["y_pred"].isin([0, 1]).all()
    columns = "probabilities" if method == "temperature" else "y_pred"
    assert not gender[columns].equals(others.loc[others["task"] == "gender", columns])
    assert gender["probabilities"].notna().all() == (method == "temperature")


def test_drawn_answers_hang_on_the_seed():
    fit, others = (binary(1000, seed, name, shift=-1.0) for seed, name in ((0, "f"), (1, "g")))
    answers = [
        mitigate(fit, others, task="gender", method="equalized_odds", by="site", seed=seed)["y_pred"] for seed in (0, 1)
    ]
    assert not answers[0].equals(answers[1])


def test_tables_that_were_read_and_groups_that_are_annotations(tmp_path):
    tables = []
    for seed, name in ((0, "f"), (1, "g")):
        gender = binary(300, seed, name, over=4.0)
        age = gender.assign(task="age", y_true=np.arange(300) % 60.0, y_pred=30.0, probabilities=None)
        pd.concat([gender, age]).to_parquet(tmp_path / f"{name}.parquet")
        tables.append(read_predictions(tmp_path / f"{name}.parquet"))
    found = mitigate(*tables, task="gender", method="temperature", by="age_band*site")
    changes = compare_models(tables[1], found, by=["age_band"], replicates=200)
    brier = changes[(changes["task"] == "gender") & (changes["metric"] == "brier") & (changes["statistic"] == "change")]
    assert brier["group"].tolist() == ["all", "0-12", "13-17", "18-24", "25-34", "35-49", "50-64"]
    assert brier["n"].tolist() == [300, 65, 25, 35, 50, 75, 50]
    assert brier["ci_high"].iloc[0] < 0


def test_names_of_a_foreign_task(tmp_path):
    for name in "fg":
        rows = [f"{name}{i},{('glad', 'sad')[i % 2]},glad,0.75,0.25" for i in range(50)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["face_id,y_true,y_pred,p,q", *rows]))
    fit, others = (
        read_predictions(tmp_path / f"{name}.csv", {"probabilities": "p,q"}, task="mood").assign(model="m")
        for name in "fg"
    )
    found = mitigate(fit, others, task="mood", method="temperature")
    np.testing.assert_allclose(probability_matrix(found["probabilities"]), 0.5, atol=0.03)  # the bound: T of 20
    assert {"accuracy", "brier"} < set(compare_models(others, found, replicates=20)["metric"])


def test_what_cannot_be_mitigated_is_said():
    fit, others = binary(300, 0, "f"), binary(300, 1, "g")
    wanted = {"task": "gender", "method": "temperature", "by": "site"}
    three = [t.assign(task="mood", probabilities=[[0.5, 0.25, 0.25]] * 300) for t in (fit, others)]
    few = fit[(fit["site"] == "south") | (fit["y_true"] == 0)]
    for tables, changes, message in (
        ((fit, others), {"method": "magic"}, "method should be one of .*got 'magic'"),
        ((fit, others), {"task": "mood"}, "task should be one of \\['gender'\\], got 'mood'"),
        ((fit, others), {"by": "planet"}, "by should be among the tasks .*got 'planet'"),
        ((fit, others), {"by": "site*gender"}, "annotation of 'gender' away"),
        ((fit, fit), {}, "no face_id in common.*got 300, 'f0'"),
        ((fit.assign(group_id="x"), others.assign(group_id="x")), {}, "no group_id in common"),
        ((fit, others.assign(mask="n95")), {}, "for 'm' and mask 'n95', got none"),
        ((fit.assign(y_true=np.nan), others), {}, "annotated faces of 'gender'"),
        ((fit.assign(probabilities=None), others), {}, "should have probabilities"),
        ((fit.drop(columns="model"), others), {}, "got no 'model'"),
        ((few, others), {"method": "equalized_odds"}, "at least 20 .*, 0\\] in 'north'"),
        (three, {"task": "mood", "method": "equalized_odds"}, "two classes for 'equalized_odds', got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            mitigate(*tables, **{**wanted, **changes})  # type: ignore[arg-type]
