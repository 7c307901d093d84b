import numpy as np
import pandas as pd
import pytest

from analyses.assessment import ALL, assess, confidence, headline, in_words, reliability, scores_in_words
from analyses.fairness import group_table
from maskmtl.inference import COLUMNS
from maskmtl.tasks import TASKS

NBSP, MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"
N = 40


def faces() -> pd.DataFrame:
    """40 annotated faces: 30 male and white, 10 female and asian, all of 30 years."""
    return pd.DataFrame(
        {
            "face_id": [f"f{i}" for i in range(N)],
            "age": 30.0,
            "gender": [0.0] * 30 + [1.0] * 10,
            "ethnicity": [0.0] * 30 + [2.0] * 10,
        }
    )


def predictions(table: pd.DataFrame) -> pd.DataFrame:
    """Bare: gender right, age +2 years. Masked: the 10 women taken for men, age alternately +2 and +6 years."""
    rows = []
    for mask in ("none", "surgical"):
        for i, face in table.iterrows():
            gender = face["gender"] if mask == "none" else 0.0
            age = 32.0 if mask == "none" or i % 2 else 36.0
            rows.append((face["face_id"], None, mask, "age", face["age"], age, None, "m"))
            rows.append((face["face_id"], None, mask, "gender", face["gender"], gender, [0.5, 0.5], "m"))
            rows.append((face["face_id"], None, mask, "ethnicity", face["ethnicity"], 0.0, [0.2] * 5, "m"))
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture(scope="module")
def result():
    table = faces()
    return assess(predictions(table), table, TASKS)


def test_headline_figures(result):
    values = result.overall.set_index(["task", "mask", "metric"])["value"]
    assert values[("gender", "none", "accuracy")] == 1 and values[("gender", "surgical", "accuracy")] == 0.75
    assert values[("gender", "surgical", "accuracy_change")] == -0.25
    assert values[("age", "none", "mae")] == 2 and values[("age", "surgical", "mae")] == 4
    assert (result.overall["n"] == N).all() and set(result.overall[ALL]) == {"all"}


def test_headline_in_words(result):
    table = headline(result)
    assert list(table.columns) == ["mask", "age error", "gender accuracy", "ethnicity accuracy", "n"]
    assert list(table["mask"]) == ["bare", "surgical"] and list(table["n"]) == ["40\nn<100: wide"] * 2
    assert table["gender accuracy"][1] == f"75.0{NBSP}%\n59.8 to 85.8"  # Wilson, 30 of 40
    assert table["age error"][0] == f"2.0{NBSP}years"  # all errors alike: nothing to resample, no interval


def test_headline_of_tasks_that_differ_in_n_tells_each():
    table = faces()
    table.loc[3:, "age"] = np.nan
    found = predictions(table)
    found.loc[(found["task"] == "age") & (found["face_id"] == "f0"), "y_pred"] += 3
    words = headline(assess(found, table, TASKS))
    assert list(words["n"]) == ["3–40", "3–40"]
    value, below = words["age error"][0].split("\n")
    assert value == f"3.0{NBSP}years" and below.endswith(", n 3: too few to judge") and " to " in below
    assert words["gender accuracy"][1] == f"75.0{NBSP}%\n59.8 to 85.8, n 40: wide"


def test_headline_of_many_faces_tells_no_more_than_n():
    table = pd.concat([faces()] * 3, ignore_index=True)
    table["face_id"] = [f"f{i}" for i in range(len(table))]
    assert list(headline(assess(predictions(table), table, TASKS))["n"]) == ["120", "120"]


def test_masks_have_their_names_in_tables():
    found = predictions(faces()).replace({"mask": {"surgical": "n95_valve:nose_out"}})
    assert list(headline(assess(found, faces(), TASKS))["mask"]) == ["bare", "N95 with valve, nose out"]
    table = in_words(group_table(found.query("task == 'gender'"), faces(), "gender"), "gender")
    assert {"N95 with valve, nose out", "N95 with valve, nose out − bare"} < set(table.columns)


def test_confusion(result):
    assert result.confusions["gender"]["surgical"].tolist() == [[30, 0], [10, 0]]
    table = result.confusion_table()
    cell = table.query("task == 'gender' and mask == 'surgical' and annotated == 'female' and predicted == 'male'")
    assert cell["n"].item() == 10 and len(table) == 2 * (4 + 25)


def test_per_class(result):
    rows = result.per_class.query("task == 'gender' and mask == 'surgical'").set_index("class")
    assert rows.loc["male", ["precision", "recall", "support"]].tolist() == [0.75, 1.0, 30]
    assert np.isnan(rows.loc["female", "precision"]) and rows.loc["female", "recall"] == 0
    words = scores_in_words(result.per_class.query("task == 'gender' and mask == 'surgical'"))
    assert words.iloc[1].tolist() == ["female", "–", f"0.0{NBSP}%", f"0.0{NBSP}%", "10"]


def test_groups_in_words(result):
    by_gender = group_table(result.predictions.query("task == 'gender'"), faces(), "gender")
    table = in_words(by_gender, "gender").set_index("group")
    assert list(table.columns) == ["n", "bare", "surgical", "surgical − bare", "note"]
    assert table.loc["female", "surgical"].startswith(f"0.0{NBSP}%\n")
    assert table.loc["female", "surgical − bare"] == f"{MINUS}100.0{NBSP}points"
    assert table.loc["female", "note"].startswith("n<20") and table.loc["male", "note"].startswith("n<100")


def test_task_without_annotations_is_left_out_but_predicted():
    table = faces().assign(age=np.nan)
    result = assess(predictions(table), table, TASKS)
    assert result.tasks == ("gender", "ethnicity") and "age" in set(result.predictions["task"])
    assert "age error" not in headline(result)


def test_no_annotation_at_all():
    table = faces().assign(age=np.nan, gender=np.nan, ethnicity=np.nan)
    result = assess(predictions(table), table, TASKS)
    assert result.tasks == () and result.confusions == {} and result.per_class.empty and result.overall.empty
    assert list(result.confusion_table().columns) == ["task", "mask", "annotated", "predicted", "n"]


def test_reliability_by_tenths():
    confident = np.repeat([0.6, 0.9], 50)
    right = np.r_[np.arange(50) < 30, np.arange(50) < 40].astype(float)
    table = pd.DataFrame(
        {
            "mask": "none", "y_true": right, "y_pred": 1.0, "probabilities": [[1 - p, p] for p in confident],
        }
    )  # fmt: skip
    found = reliability(table)
    assert found["confidence"].tolist() == pytest.approx([0.6, 0.9]) and found["accuracy"].tolist() == [0.6, 0.8]
    assert found["n"].tolist() == [50, 50] and (found["ci_low"] < found["accuracy"]).all()
    spread = table.assign(probabilities=[[1 - p, p] for p in np.linspace(0.5, 1, 100)])
    assert reliability(spread)["n"].tolist() == [10] * 10
    assert reliability(table.assign(y_true=np.nan)).empty


def test_confidence_is_of_the_answer_not_of_the_most_probable_class():
    table = pd.DataFrame({"y_pred": [1.0, 0.0, 31.5], "probabilities": [[0.6, 0.4], [0.7, 0.3], None]})
    np.testing.assert_array_equal(confidence(table), [0.4, 0.7, np.nan])
