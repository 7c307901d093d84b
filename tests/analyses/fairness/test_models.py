"""Two models on the same faces, with changes that are known, and conditions on them."""

import numpy as np
import pandas as pd
import pytest

from analyses.fairness.audit import COLUMNS
from analyses.fairness.conditions import Condition
from analyses.fairness.models import Common, common, compare_models


def answers(right, model, **columns):
    n = len(right)
    return pd.DataFrame({
        "face_id": range(n), "task": "gender", "mask": "none", "y_true": 1.0, "y_pred": np.asarray(right, float),
        "model": model, **columns,
    })  # fmt: skip


@pytest.fixture(scope="module")
def pair():
    """The second model reads 40 of the south's 400 faces wrong that the first reads right; the north is as it was."""
    site = np.repeat(["north", "south"], 400)
    before = np.ones(800)
    before[:30] = before[400:420] = 0
    after = before.copy()
    after[500:540] = 0
    return answers(before, "old", site=site), answers(after, "new")


def test_changes_are_paired_and_per_group(pair):
    found = compare_models(*pair, by=["site"], replicates=200)
    assert tuple(found.columns) == COLUMNS and set(found["model"]) == {"new − old"}
    accuracy = found[(found["metric"] == "accuracy") & (found["by"] == "site")].set_index(["statistic", "group"])
    assert accuracy.loc[("change", "north"), ["value", "p_value"]].tolist() == [0, 1]
    assert accuracy.loc[("change", "south"), "value"] == pytest.approx(-0.1)
    assert accuracy.loc[("change", "south"), "verdict"] == "gap"
    assert accuracy.loc[("change_gap", "south"), "value"] == pytest.approx(-0.1)
    worst = found[(found["metric"] == "accuracy") & (found["statistic"] == "worst")].iloc[0]
    assert worst["value"] == pytest.approx(0.85 - 0.925) and worst["group"] == "north → south"
    flips = found[(found["metric"] == "flips") & (found["group"] == "south") & (found["statistic"] == "value")]
    assert flips["value"].item() == pytest.approx(0.1)


def test_the_worst_signed_error_is_told_by_its_size():
    """The first model reads the south 3 years too young, the second as much too old: neither is worse."""
    site = np.repeat(["north", "south"], 40)
    old, new = (
        answers(np.where(site == "south", 40 + off, 40), name, site=site).assign(task="age", y_true=40.0)
        for name, off in (("old", -3), ("new", 3))
    )
    found = compare_models(old, new, by=["site"], replicates=20)
    worst = found[(found["metric"] == "signed_error") & (found["statistic"] == "worst")].iloc[0]
    assert worst["value"] == 0 and worst["group"] == "south"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("worst_group_accuracy(gender) < -0.01", True),
        ("worst_group_accuracy(gender, by=site, mask=none) < -0.08", False),
        ("accuracy(gender) <= -0.05", True),
        ("accuracy(gender)>=0", False),
        ("range_accuracy(gender) > .05", True),
    ],
)
def test_conditions(pair, text, holds):
    found = compare_models(*pair, by=["site"], replicates=20)
    assert (len(Condition.parse(text).holds(found)) > 0) == holds


@pytest.mark.parametrize("text", ["", "accuracy < 1", "accuracy(gender) = 1", "accuracy(gender) < x", "f(a)(b) < 1"])
def test_what_is_no_condition(text):
    with pytest.raises(ValueError, match="a condition should read like"):
        Condition.parse(text)


def test_a_condition_about_nothing_is_an_error_and_never_passes(pair):
    found = compare_models(*pair, replicates=20)
    for text in ("accuracy(glasses) < 0", "worst_group_accuracy(gender) < 0", "accuracy(gender, mask=n95) < 0"):
        with pytest.raises(ValueError, match="is about nothing that was compared"):
            Condition.parse(text).holds(found)


def test_probabilities_that_one_model_lacks_are_not_compared(pair):
    old, new = (table.assign(probabilities=[[0.3, 0.7]] * 800) for table in pair)
    both = compare_models(old, new, replicates=20)
    assert {"brier", "accuracy"} <= set(both["metric"])
    assert "brier" not in set(compare_models(old, new.assign(probabilities=None), replicates=20)["metric"])
    assert "brier" not in set(compare_models(pair[0], new, replicates=20)["metric"])


def test_classes_are_the_same_where_their_names_are():
    """'mood' is read as glad or sad by the first model; the second also knows angry, and has another order."""
    names = {"old": ["glad", "sad"], "new": ["sad", "angry", "glad"]}
    read = {"old": ["glad", "sad"] * 20, "new": ["glad", "angry"] * 20}
    tables = []
    for model, of_model in names.items():
        at = [of_model.index(name) for name in read[model]]
        p = list(np.eye(len(of_model))[at])
        truth = [float(of_model.index(name)) for name in ("glad", "sad")] * 20
        tables.append(answers(at, model, probabilities=p).assign(task="mood", y_true=truth).set_index(np.zeros(40)))
        tables[-1].attrs["classes"] = {"mood": of_model}
    found = compare_models(*tables, replicates=20).set_index(["metric", "statistic"])["value"]
    assert found["accuracy", "change"] == -0.5 and found["flips", "value"] == 0.5
    assert found["brier", "change"] == pytest.approx(1)
    back = compare_models(*tables[::-1], replicates=20).set_index(["metric", "statistic"])["value"]
    assert back["accuracy", "change"] == 0.5 and back["brier", "change"] == pytest.approx(-1)


def test_what_is_compared_and_what_the_second_lacks(pair):
    old, new = pair
    more = pd.concat([old, old.assign(mask="n95"), old.assign(task="age", mask="n95"), old.assign(task="age")])
    found = common(more, new.head(500))
    assert found == Common(500, 800, 500, (("gender", "n95"), ("age", "n95"), ("age", "none")))
    assert str(found) == "compared 500 of 800 and 500 faces; B lacks gender under n95; age under n95, none"
    assert str(common(new, more)) == "compared 800 of 800 and 800 faces"
    Condition.parse("accuracy(gender, mask=none) < 0").check(found.lacking)
    for text in ("accuracy(gender) < 0", "accuracy(gender, mask=n95) < 0", "mae(age) > 0"):
        with pytest.raises(ValueError, match="which B lacks"):
            Condition.parse(text).check(found.lacking)


def test_of_several_drawn_masks_the_first_is_compared(pair):
    old, new = pair
    drawn = pd.concat([old.assign(draw=0), old.assign(draw=1, y_pred=0.0)])
    pd.testing.assert_frame_equal(compare_models(drawn, new, replicates=20), compare_models(old, new, replicates=20))


def test_wrong_pairs(pair):
    old, new = pair
    with pytest.raises(ValueError, match="none in common"):
        compare_models(old, new.assign(face_id=new["face_id"] + 1000))
    with pytest.raises(ValueError, match="800 that differ"):
        compare_models(old, new.assign(y_true=0.0))
    with pytest.raises(ValueError, match="one model's predictions"):
        compare_models(pd.concat([old, new]), new)
    with pytest.raises(ValueError, match="got no 'y_pred'"):
        compare_models(old, new.drop(columns="y_pred"))
    assert set(compare_models(old, old, replicates=5)["model"]) == {"old (B) − old (A)"}
