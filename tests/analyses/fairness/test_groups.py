import math

import numpy as np
import pandas as pd
import pytest

from analyses.fairness import AGE_BANDS, age_band, audit, bootstrap_mean, group_table, wilson
from analyses.fairness.groups import group_labels
from analyses.fairness.samples import usual_groupings

NAN = float("nan")


def test_age_bands_begin_and_end_where_they_say():
    assert age_band([0, 12, 12.9]).tolist() == ["0-12"] * 3
    assert age_band([13, 17.99, 18, 24.5]).tolist() == ["13-17", "13-17", "18-24", "18-24"]
    assert age_band([25, 34, 35, 49, 50, 64.9]).tolist() == ["25-34", "25-34", "35-49", "35-49", "50-64", "50-64"]
    assert age_band([65, 116, NAN]).tolist() == ["65+", "65+", "unlabelled"]


def test_every_age_has_the_band_that_contains_it():
    for age, band in zip(range(117), age_band(range(117)), strict=True):
        low, _, high = band.rstrip("+").partition("-")
        assert int(low) <= age <= int(high or 116)
    assert set(age_band(range(117))) == set(AGE_BANDS)


def test_negative_age():
    with pytest.raises(ValueError, match=r"ages should be at least 0, got -1.0"):
        age_band([3, -1])


FACES = pd.DataFrame(
    {
        "face_id": ["a", "b", "c", "d", "e"],
        "age": [10.0, 20, 70, 12, NAN],
        "gender": [0.0, 0, 1, 1, NAN],
        "ethnicity": [1.0, 1, 0, 0, 0],
        "camera": ["x", "y", "x", None, "y"],
    }
)


def rows(mask, task, pred, model="m"):
    classes = task != "age"
    return pd.DataFrame(
        {
            "face_id": FACES["face_id"],
            "split": "test",
            "mask": mask,
            "task": task,
            "y_true": FACES[task],
            "y_pred": np.array(pred, dtype=float),
            "probabilities": pd.Series([[0.5, 0.5] if classes else None] * len(FACES), dtype=object),
            "model": model,
        }
    )


PREDICTIONS = pd.concat(
    [
        rows("none", "age", [12, 19, 60, 12, 30]),  # errors +2 -1 | -10 0 .
        rows("none", "gender", [0, 0, 1, 0, 1]),  # hits 1 1 | 1 0 .
        rows("surgical", "age", [20, 23, 60, 20, 30]),  # errors +10 +3 | -10 +8 .
        rows("surgical", "gender", [1, 0, 0, 1, 1]),  # hits 0 1 | 0 1 .
    ],
    ignore_index=True,
)


def cell(table, **where):
    found = table[np.logical_and.reduce([table[column] == value for column, value in where.items()])]
    assert len(found) == 1, found
    return found.iloc[0]


def test_columns_and_order():
    table = group_table(PREDICTIONS, FACES, by="ethnicity")
    assert list(table.columns) == [
        "model", "task", "mask", "ethnicity", "metric", "value", "ci_low", "ci_high", "n", "flag",
    ]  # fmt: skip
    assert table[["task", "mask", "ethnicity", "metric"]].agg(" ".join, axis=1).tolist() == [
        "age none white mae",
        "age none white signed_error",
        "age none black mae",
        "age none black signed_error",
        "age surgical white mae",
        "age surgical white signed_error",
        "age surgical white mae_change",
        "age surgical black mae",
        "age surgical black signed_error",
        "age surgical black mae_change",
        "gender none white accuracy",
        "gender none black accuracy",
        "gender surgical white accuracy",
        "gender surgical white accuracy_change",
        "gender surgical black accuracy",
        "gender surgical black accuracy_change",
    ]


def test_values_by_hand():
    table = group_table(PREDICTIONS, FACES, by="ethnicity")
    value = lambda *key: cell(table, **dict(zip(("task", "mask", "ethnicity", "metric"), key, strict=True)))  # noqa: E731
    assert value("age", "none", "black", "mae")["value"] == 1.5
    assert value("age", "none", "black", "signed_error")["value"] == 0.5
    assert value("age", "none", "white", "mae")["value"] == 5  # the third white face has no age
    assert value("age", "none", "white", "mae")["n"] == 2
    assert value("age", "surgical", "black", "mae")["value"] == 6.5
    assert value("age", "surgical", "black", "mae_change")["value"] == 5  # +8 and +2
    assert value("age", "surgical", "white", "mae_change")["value"] == 4  # 0 and +8
    assert value("gender", "none", "white", "accuracy")["value"] == 0.5
    assert value("gender", "surgical", "black", "accuracy_change")["value"] == -0.5  # -1 and 0
    assert value("gender", "surgical", "white", "accuracy_change")["value"] == 0  # -1 and +1


def test_intervals_are_those_of_the_group():
    table = group_table(PREDICTIONS, FACES, by="ethnicity", seed=7)
    found = cell(table, task="gender", mask="none", ethnicity="white")
    assert (found["ci_low"], found["ci_high"]) == wilson(1, 2)
    found = cell(table, task="age", mask="surgical", ethnicity="white", metric="mae_change")
    assert (found["ci_low"], found["ci_high"]) == bootstrap_mean([0, 8], seed=7)


def test_a_group_without_labels_keeps_a_row_with_n_0():
    found = cell(group_table(PREDICTIONS, FACES, by="gender"), task="gender", mask="none", gender="unlabelled")
    assert found["n"] == 0 and math.isnan(found["value"]) and math.isnan(found["ci_low"])
    assert found["flag"] == "n<20: too few to judge"


def test_groups_are_annotations_never_predictions():
    other = PREDICTIONS.assign(y_pred=PREDICTIONS["y_pred"].where(PREDICTIONS["task"] != "gender", 0.0))
    for by in ("gender", "age_band", "ethnicity"):
        before, after = group_table(PREDICTIONS, FACES, by=by), group_table(other, FACES, by=by)
        assert before[by].tolist() == after[by].tolist()
        assert before["n"].tolist() == after["n"].tolist()


def test_age_bands_stand_in_order_of_age():
    table = group_table(PREDICTIONS, FACES, by="age_band")
    assert list(dict.fromkeys(table["age_band"])) == ["0-12", "18-24", "65+", "unlabelled"]
    assert cell(table, task="age", mask="none", age_band="0-12", metric="mae")["n"] == 2


def test_a_column_of_the_users_own():
    table = group_table(PREDICTIONS, FACES, by="camera")
    assert list(dict.fromkeys(table["camera"])) == ["x", "y", "unlabelled"]
    assert cell(table, task="gender", mask="none", camera="x")["value"] == 1


def test_without_bare_faces_there_is_no_change():
    table = group_table(PREDICTIONS[PREDICTIONS["mask"] == "surgical"], FACES)
    assert set(table["metric"]) == {"mae", "signed_error", "accuracy"}


def test_change_is_of_the_faces_that_have_both():
    missing = PREDICTIONS[~((PREDICTIONS["mask"] == "none") & (PREDICTIONS["face_id"] == "a"))]
    found = cell(group_table(missing, FACES), task="age", ethnicity="black", metric="mae_change")
    assert (found["value"], found["n"]) == (2, 1)  # face b alone: 3 - 1
    assert math.isnan(found["ci_low"])


def test_pairing_does_not_depend_on_the_order_of_rows():
    shuffled = PREDICTIONS.sample(frac=1, random_state=1)
    keys = ["task", "mask", "ethnicity", "metric"]
    expected = group_table(PREDICTIONS, FACES).set_index(keys).sort_index()
    pd.testing.assert_frame_equal(group_table(shuffled, FACES[::-1]).set_index(keys).sort_index(), expected)


def test_models_stay_apart():
    both = pd.concat([PREDICTIONS, rows("none", "gender", [1, 1, 0, 0, 0], model="other")])
    table = group_table(both, FACES)
    assert cell(table, model="other", ethnicity="black")["value"] == 0
    assert cell(table, model="m", task="gender", mask="none", ethnicity="black")["value"] == 1


@pytest.mark.parametrize(
    ("n", "flag"),
    [(19, "n<20: too few to judge"), (20, "n<100: wide"), (99, "n<100: wide"), (100, "")],
)
def test_flags(n, flag):
    faces = pd.DataFrame({"face_id": range(n), "age": 30.0, "gender": 0.0, "ethnicity": 0.0})
    predictions = faces[["face_id"]].assign(
        mask="none", task="gender", y_true=0.0, y_pred=0.0, probabilities=[[1.0, 0.0]] * n, model="m"
    )
    table = group_table(predictions, faces)
    assert table[["value", "n", "flag"]].values.tolist() == [[1.0, n, flag]]
    assert table["ci_low"][0] == wilson(n, n)[0] < 1


def test_no_predictions_give_the_same_columns():
    nothing = pd.DataFrame(columns=PREDICTIONS.columns)  # as predict() gives it for no faces
    table = group_table(nothing, FACES)
    assert table.empty and list(table.columns) == list(group_table(PREDICTIONS, FACES).columns)


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match=r"by should be 'age_band' or one of .*'camera'.*, got 'hair'"):
        group_table(PREDICTIONS, FACES, by="hair")
    with pytest.raises(ValueError, match=r"by should be .*, got 'mask'"):
        group_table(PREDICTIONS, FACES.assign(mask="worn"), by="mask")
    with pytest.raises(ValueError, match=r"one row per face, got several of 'a'"):
        group_table(PREDICTIONS, pd.concat([FACES, FACES]))
    with pytest.raises(ValueError, match=r"faces in faces_table, got 1 others: 'a'"):
        group_table(PREDICTIONS, FACES[1:])
    with pytest.raises(ValueError, match=r"ethnicity should hold class indices 0..4, got .*7.0"):
        group_table(PREDICTIONS, FACES.assign(ethnicity=7.0))
    with pytest.raises(ValueError, match="y_pred should be finite"):
        group_table(PREDICTIONS.assign(y_pred=NAN), FACES)


def test_classes_by_name_in_any_case_and_in_words_of_others():
    faces = pd.DataFrame({"gender": ["Male", "FEMALE", None], "ethnicity": ["white", "hispanic", None]})
    assert group_labels(faces, "gender").tolist() == ["male", "female", "unlabelled"]
    assert group_labels(faces.astype("category"), "gender").tolist() == ["male", "female", "unlabelled"]
    assert group_labels(faces, "ethnicity").tolist() == ["white", "hispanic", "unlabelled"]
    assert group_labels(faces, "ethnicity").cat.categories.tolist() == ["hispanic", "white", "unlabelled"]


def test_a_column_of_age_bands_is_taken_as_it_is():
    faces = pd.DataFrame({"age_band": ["20-29", "30+"]})
    assert group_labels(faces, "age_band").tolist() == ["20-29", "30+"]
    assert group_labels(faces.assign(age=[3.0, 4.0]), "age_band").tolist() == ["20-29", "30+"]
    with pytest.raises(ValueError, match="age should hold years for 'age_band', got '20-29': group by 'age' instead"):
        group_labels(faces.rename(columns={"age_band": "age"}), "age_band")


def test_usual_groupings_of_other_tools_tables_are_audited():
    n = 80
    table = pd.DataFrame({
        "face_id": range(n), "task": "glasses", "y_true": [0.0, 1.0] * 40, "y_pred": 1.0,
        "age": ["20-29", "30-39"] * 40, "gender": ["Male", "Male", "Female", "Female"] * 20,
        "ethnicity": ["a"] * 40 + ["b"] * 40,
    })  # fmt: skip
    assert usual_groupings(table) == ["ethnicity", "gender", "ethnicity*gender"]
    assert usual_groupings(table.assign(age=20)) == ["ethnicity", "gender", "age_band", "ethnicity*gender"]
    own = table.drop(columns="age").assign(age_band=table["age"])
    assert usual_groupings(own) == ["ethnicity", "gender", "age_band", "ethnicity*gender"]
    for rows, by in ((table, "age"), (own, "age_band")):
        found = audit(rows, by=[*usual_groupings(rows), by], replicates=5)
        groups = found[found["statistic"] == "value"].groupby("by")["group"].unique()
        assert sorted(groups[by]) == ["20-29", "30-39"] and sorted(groups["gender"]) == ["female", "male"]
