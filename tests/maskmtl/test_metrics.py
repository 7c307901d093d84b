import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from maskmtl.metrics import (
    accuracy,
    confusion,
    errors,
    has_classes,
    macro_f1,
    mae,
    per_class,
    share_within,
    signed_error,
    summary,
)

NAN = float("nan")
# ten faces of three classes, and one without an annotation; class 2 is annotated twice and never predicted
TRUE = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, NAN]
PRED = [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 2]


def test_accuracy_by_hand():
    assert accuracy(TRUE, PRED) == 0.5  # 3 + 2 of 10


def test_confusion_has_annotations_in_rows():
    assert confusion(TRUE, PRED, 3).tolist() == [[3, 1, 0], [2, 2, 0], [1, 1, 0]]


def test_per_class_by_hand():
    table = per_class(TRUE, PRED, ("a", "b", "c"))
    assert list(table.columns) == ["class", "precision", "recall", "f1", "support"]
    assert table["class"].tolist() == ["a", "b", "c"]
    assert table["support"].tolist() == [4, 4, 2]
    assert table["precision"].tolist()[:2] == [3 / 6, 2 / 4]
    assert math.isnan(table["precision"][2])  # never predicted: not known, rather than bad
    assert table["recall"].tolist() == [3 / 4, 2 / 4, 0]
    assert table["f1"].tolist() == [6 / 10, 4 / 8, 0]


def test_macro_f1_counts_a_class_that_is_never_predicted_and_skips_one_that_never_occurs():
    assert macro_f1(TRUE, PRED, 3) == pytest.approx((0.6 + 0.5 + 0) / 3)
    assert macro_f1(TRUE, PRED, 5) == macro_f1(TRUE, PRED, 3)


def test_classes_agree_with_sklearn():
    rng = np.random.default_rng(0)
    true, pred = rng.integers(0, 5, 400), rng.integers(0, 5, 400)
    precision, recall, f1, support = precision_recall_fscore_support(true, pred)
    table = per_class(true, pred, tuple("abcde"))
    assert np.array_equal(confusion(true, pred, 5), confusion_matrix(true, pred))
    np.testing.assert_allclose(table[["precision", "recall", "f1", "support"]], np.c_[precision, recall, f1, support])
    assert macro_f1(true, pred, 5) == pytest.approx(f1_score(true, pred, average="macro"))


def test_errors_of_a_value_by_hand():
    true, pred = [10, 20, 30, 40, NAN], [12, 15, 30.5, 49, 1]  # errors +2, -5, +0.5, +9
    assert mae(true, pred) == 16.5 / 4
    assert signed_error(true, pred) == 6.5 / 4
    assert share_within(true, pred) == 3 / 4  # 5 years away still counts
    assert share_within(true, pred, 1) == 1 / 4


@pytest.mark.parametrize("score", [accuracy, mae, signed_error, share_within])
def test_no_annotated_face_gives_nan(score):
    assert math.isnan(score([], []))
    assert math.isnan(score([NAN, NAN], [1, 2]))


def test_a_nan_prediction_is_not_left_out():
    assert accuracy([1, 1], [1, NAN]) == 0.5
    assert math.isnan(mae([1, 1], [1, NAN]))


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match=r"one length, got \(2,\) and \(3,\)"):
        accuracy([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match=r"y_pred should hold class indices 0..1, got \[0. 2.\]"):
        confusion([0, 1], [0, 2], 2)
    with pytest.raises(ValueError, match=r"y_true should hold class indices 0..1, got \[0.  0.5\]"):
        confusion([0, 0.5], [0, 1], 2)


def rows(mask, task, true, pred, classes):
    n = len(true)
    return pd.DataFrame(
        {
            "face_id": [f"face{i}" for i in range(n)],
            "split": "test",
            "mask": mask,
            "task": task,
            "y_true": np.array(true, dtype=float),
            "y_pred": np.array(pred, dtype=float),
            "probabilities": pd.Series([[0.5, 0.5] if classes else None] * n, dtype=object),
            "model": "m",
        }
    )


def table():
    return pd.concat(
        [
            rows("none", "age", [20, 30, 40, NAN], [21, 27, 40, 70], False),
            rows("none", "gender", [0, 1, 1, 0], [0, 1, 0, 0], True),
            rows("surgical", "age", [20, 30, 40, NAN], [30, 30, 30, 70], False),
            rows("surgical", "gender", [0, 1, 1, 0], [1, 1, 0, 0], True),
        ],
        ignore_index=True,
    )


def test_summary_by_hand():
    assert summary(table()) == {
        "none": {"age_mae": pytest.approx(4 / 3), "age_n": 3, "gender_accuracy": 0.75, "gender_n": 4, "n": 4},
        "surgical": {"age_mae": pytest.approx(20 / 3), "age_n": 3, "gender_accuracy": 0.5, "gender_n": 4, "n": 4},
    }


def test_summary_of_a_task_without_labels():
    assert summary(rows("none", "gender", [NAN, NAN], [0, 1], True)) == {
        "none": {"gender_accuracy": None, "gender_n": 0, "n": 2}
    }


def test_summary_does_not_depend_on_the_order_of_rows():
    assert summary(table().sample(frac=1, random_state=0)) == summary(table())


def test_summary_survives_parquet(tmp_path):
    table().to_parquet(tmp_path / "predictions.parquet")
    assert summary(pd.read_parquet(tmp_path / "predictions.parquet")) == summary(table())


def test_summary_refuses_to_mix_models():
    with pytest.raises(ValueError, match=r"one model, got \['m', 'other'\]"):
        summary(pd.concat([table(), table().assign(model="other")]))


def test_a_task_has_classes_if_it_has_probabilities():
    predictions = table()
    assert has_classes(predictions[predictions["task"] == "gender"])
    assert not has_classes(predictions[predictions["task"] == "age"])
    assert not has_classes(predictions.drop(columns="probabilities"))


def test_errors_per_labelled_face():
    rows = [("gender", 0, 1, [0.4, 0.6]), ("gender", 1, 1, [0.1, 0.9]), ("gender", np.nan, 1, [0.1, 0.9])]
    rows += [("age", 30, 33.5, None), ("age", 8, 5, None)]
    found = errors(pd.DataFrame(rows, columns=["task", "y_true", "y_pred", "probabilities"]))
    assert {task: wrong.tolist() for task, wrong in found.items()} == {"gender": [1, 0], "age": [3.5, 3]}
