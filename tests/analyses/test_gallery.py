import numpy as np
import pandas as pd
import pytest

from analyses.gallery import browse, filtered
from maskmtl.tasks import TASKS

FACES = pd.DataFrame(
    {"face_id": list("abcd"), "age": [5.0, 30, 70, np.nan], "gender": [0.0, 1, 1, np.nan], "ethnicity": [0.0] * 4}
)


def predictions():
    rows = []
    for mask, gender, age in (("none", [0.0, 1, 1, 0], [6.0, 30, 50, 20]), ("n95", [0.0, 0, 1, 0], [6.0, 36, 50, 20])):
        for i, face in FACES.iterrows():
            p = [0.9, 0.6, 0.8, 0.7][i]
            sure = [p, 1 - p] if gender[i] == 0 else [1 - p, p]
            rows.append((face["face_id"], mask, "gender", face["gender"], gender[i], sure))
            rows.append((face["face_id"], mask, "age", face["age"], age[i], None))
    return pd.DataFrame(rows, columns=["face_id", "mask", "task", "y_true", "y_pred", "probabilities"])


def test_classes():
    table = browse(predictions(), FACES, TASKS["gender"], "n95")
    assert table["answer"].tolist() == ["male", "male", "female", "male"]
    assert table["annotation"].tolist() == ["male", "female", "female", ""]
    assert table["wrong"].tolist() == [False, True, False, False]  # no annotation is no error
    assert table["changed"].tolist() == [False, True, False, False] and table["bare"][1] == "female"
    assert table["confidence"].tolist() == [0.9, 0.6, 0.8, 0.7]
    assert table["age_band"].tolist()[3] == "unlabelled"
    bare_table = FACES[["face_id", "age"]]
    assert set(browse(predictions(), bare_table, TASKS["gender"], "n95")["gender"]) == {"unlabelled"}


def test_values():
    table = browse(predictions(), FACES, TASKS["age"], "n95")
    assert table["error"].tolist()[:3] == [1, 6, -20] and table["wrong"].tolist() == [False, False, True, False]
    assert table["changed"].tolist() == [False, True, False, False] and table["answer"][2] == "50 years"
    assert filtered(table, order="most wrong first")["face_id"].tolist() == ["c", "b", "a", "d"]
    assert not browse(predictions(), FACES, TASKS["age"], "none")["changed"].any()


def test_filters():
    table = browse(predictions(), FACES, TASKS["gender"], "n95")
    ids = lambda **asked: filtered(table, **asked)["face_id"].tolist()  # noqa: E731
    assert ids(show="wrong") == ["b"] and ids(show="right") == ["a", "c"] and ids(show="changed by the mask") == ["b"]
    assert ids(order="least sure first") == ["b", "d", "c", "a"] and ids(groups={"gender": "female"}) == ["b", "c"]
    assert ids(confident=(0.65, 0.85)) == ["c", "d"] and ids(show="wrong", groups={"gender": "male"}) == []
    with pytest.raises(ValueError, match="show should be one of"):
        filtered(table, show="bad")
    with pytest.raises(ValueError, match="order should be one of"):
        filtered(table, order="bad")
