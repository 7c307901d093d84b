import numpy as np
import pandas as pd
import pytest

from analyses import paper_page
from analyses.assessment import assess
from analyses.paper_page import PAPER_TABLE_3, page, pick
from maskmtl.inference import predict
from maskmtl.metrics import per_class
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS

# Table 2 of the paper, rows annotated, with its two garbled cells read as 2657 and 1651
GENDER = np.array([[2657, 112], [633, 1903]])
ETHNICITY = np.array(
    [[1651, 292, 106, 199, 30], [31, 924, 17, 49, 3], [27, 44, 628, 30, 8], [52, 134, 17, 695, 7], [80, 72, 33, 83, 93]]
)


@pytest.mark.parametrize(("task", "counts"), [("gender", GENDER), ("ethnicity", ETHNICITY)])
def test_what_the_page_says_of_the_papers_tables_holds(task, counts):
    assert counts.sum() == 5305
    names = TASKS[task].target.names
    true, pred = (np.repeat(axis, counts.ravel()) for axis in (np.indices(counts.shape).reshape(2, -1)))
    for row in per_class(true, pred, names).itertuples():
        printed = PAPER_TABLE_3[task, row[1]]
        np.testing.assert_allclose(printed, [row.precision, row.recall, row.f1], atol=0.0101)
    accuracy = np.trace(counts) / counts.sum()
    assert f"{accuracy:.3f}".removeprefix("0") in paper_page.CONTRADICTION


def test_cases_are_the_surest_right_and_wrong_answers():
    rows = [("a", 0, 0, [0.9, 0.1]), ("b", 0, 1, [0.2, 0.8]), ("c", 1, 1, [0.01, 0.99]), ("d", 1, 0, [0.6, 0.4])]
    table = pd.DataFrame(rows, columns=["face_id", "y_true", "y_pred", "probabilities"]).assign(task="gender")
    assert pick(table, "gender", True, right=True) == ["c", "a"]
    assert pick(table, "gender", True, right=False) == ["b", "d"]
    ages = pd.DataFrame({"face_id": list("abcdef"), "y_true": 30.0, "y_pred": [31, 45, 30, 32, 20, 90.0]}).assign(
        task="age", probabilities=None
    )
    assert pick(ages, "age", False, right=True) == ["c", "a", "d", "e"]
    assert pick(ages, "age", False, right=False) == ["f", "b", "e", "d"]


def test_the_page_has_all_tables_and_figures(demo_faces):
    faces = demo_faces.select(np.arange(0, len(demo_faces), 30))
    model = MaskMTL(TASKS, encoder="compact").eval()
    found = assess(predict(model, faces, masks=["surgical"]), faces.table, model.specs)
    text = page(model, found, faces, "surgical", "test")
    for expected in ("Table 2", "Table 3", "Figure 2", "Figure 3", "annotated \\ predicted", "never for deciding"):
        assert expected in text
    assert text.count("data:image/png;base64,") >= paper_page.SHOWN * 6 + 4 * 3
    assert f"n {len(faces)}" in text and "encoder.last.2" in text
