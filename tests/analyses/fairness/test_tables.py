"""Tables of predictions, ours and others', as they are read."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from analyses.fairness.tables import parse_mapping, probability_matrix, read_predictions
from maskmtl.inference import predict, wide
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS

KEYS = ["face_id", "mask", "task"]
CLASSES = {"gender": ["male", "female"], "ethnicity": ["white", "black", "asian", "indian", "others"]}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MaskMTL(TASKS)


@pytest.fixture(scope="module")
def predictions(model, demo_faces):
    few = demo_faces.select(np.arange(0, 60, 10))
    table = predict(model, few, masks=("none", "surgical"))
    unlabelled = (table["face_id"] == few.table["face_id"][0]) & (table["task"] == "gender")
    return table.assign(y_true=table["y_true"].mask(unlabelled), site=table["face_id"].str[-1])


@pytest.fixture
def write(tmp_path):
    def write(content, name="foreign.csv"):
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


def ordered(table):
    return table.assign(**{key: table[key].astype(str) for key in KEYS}).sort_values(KEYS, ignore_index=True)


def assert_same(found, wanted, tolerance=0.0):
    found, wanted = ordered(found), ordered(wanted)
    assert found[KEYS].equals(wanted[KEYS].astype(found[KEYS].dtypes))
    np.testing.assert_allclose(found[["y_true", "y_pred"]], wanted[["y_true", "y_pred"]], atol=tolerance)
    for task in wanted["task"].unique():
        ours, theirs = found[found["task"] == task], wanted[wanted["task"] == task]
        if task == "age":
            assert ours["probabilities"].isna().all()
        else:
            exact = np.array(theirs["probabilities"].tolist())
            np.testing.assert_allclose(probability_matrix(ours["probabilities"]), exact, atol=tolerance)


def test_our_parquet_comes_back(predictions, tmp_path):
    predictions.to_parquet(tmp_path / "p.parquet", row_group_size=7)
    found = read_predictions(tmp_path / "p.parquet")
    assert_same(found, predictions)
    assert list(found.columns) == list(predictions.columns)
    assert found["site"].tolist() == predictions["site"].tolist()
    assert found["model"].tolist() == predictions["model"].tolist()
    assert found.attrs["classes"] == CLASSES
    assert {str(found[key].dtype) for key in (*KEYS, "model")} == {"category"}


def test_our_wide_table_comes_back(predictions, model, tmp_path):
    wide(predictions, model.specs).assign(site="north").to_csv(tmp_path / "compact.csv", index=False)
    found = read_predictions(tmp_path / "compact.csv")
    assert_same(found, predictions, tolerance=1e-6)
    assert set(found["model"]) == set(predictions["model"]) and set(found["site"]) == {"north"}
    assert found.attrs["classes"] == CLASSES


def test_our_long_table_as_csv_with_lists_as_text(predictions, tmp_path):
    predictions.to_csv(tmp_path / "p.csv", index=False)
    assert_same(read_predictions(tmp_path / "p.csv"), predictions, tolerance=1e-12)


def test_an_index_of_pandas_is_a_column_where_it_has_a_name(predictions, tmp_path):
    predictions.set_index("face_id").to_parquet(tmp_path / "p.parquet")
    assert_same(read_predictions(tmp_path / "p.parquet"), predictions)
    predictions[predictions["mask"] == "none"].to_parquet(tmp_path / "q.parquet")
    predictions.to_csv(tmp_path / "q.csv")
    for name in ("q.parquet", "q.csv"):
        assert set(read_predictions(tmp_path / name)) == set(predictions)


def test_a_foreign_table_of_one_task(write):
    path = write("label,guess,p_m,p_f,site\nFemale,male,0.75,0.25,x\n,female,0.5,0.5,y\n")
    mapping = {"y_true": "label", "y_pred": "guess", "probabilities": "p_m, p_f"}
    found = read_predictions(path, mapping, task="gender")
    assert found["face_id"].tolist() == ["0", "1"] and found["mask"].tolist() == ["none", "none"]
    assert found["task"].tolist() == ["gender", "gender"] and found["model"].tolist() == ["foreign", "foreign"]
    np.testing.assert_array_equal(found["y_true"], [1, np.nan])
    assert found["y_pred"].tolist() == [0, 1]
    assert probability_matrix(found["probabilities"]).tolist() == [[0.75, 0.25], [0.5, 0.5]]
    assert found["site"].tolist() == ["x", "y"] and not {"p_m", "p_f"} & set(found)


def test_names_of_an_unknown_task_are_in_sorted_order(write):
    path = write("y_true,y_pred\nsad,glad\nglad,angry\nsad,sad\n")
    found = read_predictions(path, task="mood")
    assert found.attrs["classes"] == {"mood": ["angry", "glad", "sad"]}
    assert found["y_true"].tolist() == [2, 1, 2] and found["y_pred"].tolist() == [1, 0, 2]
    assert found["probabilities"].isna().all()


def test_a_wide_table_of_an_unknown_task_keeps_the_order_of_its_columns(write):
    path = write("id,mood_true,mood_pred,mood_p_sad,mood_p_glad\n7,glad,sad,0.75,0.25\n8,sad,sad,1,0\n")
    found = read_predictions(path, {"face_id": "id"})
    assert found.attrs["classes"] == {"mood": ["sad", "glad"]}
    assert found["y_true"].tolist() == [1, 0] and found["face_id"].tolist() == ["7", "8"]


def test_probabilities_of_a_wide_table_go_by_the_names_of_their_columns(write):
    lines = "face_id,gender_true,gender_pred,gender_p_female,gender_p_{}\na,male,female,0.75,0.25\n"
    found = read_predictions(write(lines.format("male")))
    assert probability_matrix(found["probabilities"]).tolist() == [[0.25, 0.75]]
    with pytest.raises(ValueError, match=r"columns of \['male', 'female'\], got \['female', 'man'\]"):
        read_predictions(write(lines.format("man")))


def test_a_single_column_of_probabilities_is_that_of_the_second_class(write):
    path = write("label,guess,score\n0,0,0.25\n1,1,1\n")
    found = read_predictions(path, {"y_true": "label", "y_pred": "guess", "probabilities": "score"}, task="smile")
    assert probability_matrix(found["probabilities"]).tolist() == [[0.75, 0.25], [0, 1]]


def test_several_tasks_in_one_foreign_table(write):
    path = write("who,what,y_true,y_pred,a,b\n01,gender,male,male,0.9,0.1\n01,age,31,28.5,,\n02,age,4,5,,\n")
    found = read_predictions(path, {"face_id": "who", "task": "what", "probabilities": "a,b"})
    assert found["face_id"].tolist() == ["01", "01", "02"]
    assert found["y_pred"].tolist() == [0, 28.5, 5]
    assert found["probabilities"].isna().tolist() == [False, True, True]


def test_ids_stay_text_and_numbers_are_inferred_from_the_whole_file(write):
    rows = [f"{i:07d},{i % 90},{i % 90}" for i in range(200_000)]
    found = read_predictions(write("\n".join(["face_id,y_true,y_pred", *rows, "last,3,2.5"])), task="age")
    assert found["face_id"].iloc[1] == "0000001" and found["face_id"].iloc[-1] == "last"
    assert found["y_pred"].iloc[-1] == 2.5


def test_probabilities_of_a_selection_and_of_lists_that_differ(predictions, tmp_path):
    predictions.to_parquet(tmp_path / "p.parquet")
    found = read_predictions(tmp_path / "p.parquet")
    some = found[found["task"] == "ethnicity"].iloc[[5, 2]]
    wanted = np.array(predictions.loc[some.index, "probabilities"].tolist())
    np.testing.assert_array_equal(probability_matrix(some["probabilities"]), wanted)
    np.testing.assert_array_equal(probability_matrix(predictions.loc[some.index, "probabilities"]), wanted)
    with pytest.raises(ValueError, match="lists of one length"):
        probability_matrix(found["probabilities"])


def test_arguments_of_the_command_line():
    found = parse_mapping(["y_true=label", "probabilities = p_m,p_f", "y_pred=a=b"])
    assert found == {"y_true": "label", "probabilities": "p_m,p_f", "y_pred": "a=b"}
    assert parse_mapping([]) == {}
    for wrong in ("label", "=label", "y_true="):
        with pytest.raises(ValueError, match="OURS=THEIRS"):
            parse_mapping([wrong])
    with pytest.raises(ValueError, match="'y_true' once"):
        parse_mapping(["y_true=a", "y_true=b"])


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("", {}, "whole, readable .csv file, but Empty CSV"),
        ("y_true,y_pred\n", {}, "should have rows"),
        ("y_true,y_pred\n1,1\n1", {}, "Expected 2 columns, got 1"),
        ("y_true,y_pred,y_pred\n1,1,1\n", {}, "each column once, got \\['y_pred'\\]"),
        ("y_true,guess\n1,1\n", {}, "should have a column 'y_pred'.*y_pred=label.*guess"),
        ("y_true,y_pred\n1,1\n", {"task": None}, "task should be given"),
        ("y_true,y_pred,task\n1,1,age\n", {"task": "age"}, "names none, got 'age'"),
        ("y_true,y_pred\n1,1\n", {"columns": {"truth": "y_true"}}, "among .*got 'truth'"),
        ("a,b\n1,1\n", {"columns": {"y_true": "label"}}, "\\['a', 'b'\\], got 'label'"),
        ("a,b\n1,1\n", {"columns": {"y_true": "a", "y_pred": "a"}}, "each column once, got 'a' twice"),
        ("y_true,y_pred,a\n1,1,1\n", {"columns": {"y_true": "a"}}, "has a column 'y_true' too"),
        ("face_id,y_true,y_pred\na,1,1\nb,1,\n", {}, "y_pred should be finite.* in 1 rows, the first of face 'b'"),
        ("y_true,y_pred\n1,1\n1,inf\n", {}, "y_pred should be finite"),
        ("y_true,y_pred\ninf,1\n", {}, "y_true should be finite or empty"),
        ("face_id,y_true,y_pred\na,1,1\n,1,1\n", {}, "face_id should stand in each row, got 1 without"),
        ("y_true,y_pred\nold,1\n", {}, "y_true of 'age' should be numbers, got 'old'"),
        ("y_true,y_pred\nman,male\n", {"task": "gender"}, "among \\['male', 'female'\\], got 'man'"),
        ("y_true,y_pred\n1,2\n", {"task": "gender"}, "class indices 0..1, got 2"),
        ("y_true,y_pred\nsad,1\n", {"task": "mood"}, "all numbers or all class names"),
        ("y_true,y_pred,probabilities\n1,1,high\n", {"task": "gender"}, "lists such as .* got 'high'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(write, content, settings, message):
    with pytest.raises(ValueError, match=message):
        read_predictions(write(content), **{"task": "age", **settings})


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (["1,1,0.5,0.4"], "p,q", "add up to 1 within 0.001.*0.9.*face '0'.*1 such rows"),
        (["1,1,0.4996,0.4998", "1,0,0.5,"], "p,q", "add up to 1"),
        (["1,1,-0.5,1.5"], "p,q", "at least 0"),
        (["1,1,0.5,0.5", "1,1,,"], "p,q", "all of its rows or in none"),
        (["1,1,0.5,x"], "p,q", "should be numbers, got 'q' with 'x'"),
        (["1,1,0.5,0.3"], "p,q,y_true", "each column once"),
        (["1,1,0.5,0.3"], "p,r", "got 'r'"),
    ],
)
def test_wrong_probabilities(write, rows, columns, message):
    path = write("\n".join(["y_true,y_pred,p,q", *rows]))
    mapping = {"probabilities": columns} if "y_true" not in columns else {"probabilities": columns, "y_true": "y_true"}
    with pytest.raises(ValueError, match=message):
        read_predictions(path, mapping, task="gender")


def test_probabilities_of_another_number_of_classes_or_of_a_number(write):
    path = write("y_true,y_pred,p,q,r\n1,1,0.5,0.25,0.25\n")
    for task, message in (("gender", "one per class of .*got 3"), ("age", "'age', which is a number")):
        with pytest.raises(ValueError, match=message):
            read_predictions(path, {"probabilities": "p,q,r"}, task=task)


def test_files_that_are_none(write, predictions, tmp_path):
    for name, message in (("p.xlsx", "'p.xlsx'"), ("absent.csv", "which is none")):
        with pytest.raises(ValueError, match=message):
            read_predictions(tmp_path / name)
    predictions.to_parquet(tmp_path / "p.parquet")
    whole = (tmp_path / "p.parquet").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"not a table at all"):
        (tmp_path / "cut.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=r"whole, readable \.parquet file, but"):
            read_predictions(tmp_path / "cut.parquet")
    twice = pa.table([[1], [1], [1]], names=["y_true", "y_pred", "y_pred"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match="each column once"):
        read_predictions(tmp_path / "twice.parquet", task="age")
    (tmp_path / "latin.csv").write_bytes("y_true,y_pred,site\n1,1,Zoë\n".encode("latin-1"))
    with pytest.raises(ValueError, match="'site' is not UTF-8"):
        read_predictions(tmp_path / "latin.csv", task="age")


def test_classes_of_a_task_that_only_numbers_tell(tmp_path):
    (tmp_path / "t.csv").write_text("y_true,y_pred\n0,1\n1,1\n")
    named = read_predictions(tmp_path / "t.csv", task="glasses", classes=("no", "yes"))
    assert named.attrs["classes"] == {"glasses": ["no", "yes"]}
    with pytest.raises(ValueError, match=r"y_true of 'glasses' should not be 0 or 1 alone: .*--classes"):
        read_predictions(tmp_path / "t.csv", task="glasses")
    with pytest.raises(ValueError, match=r"class indices 0\.\.0"):
        read_predictions(tmp_path / "t.csv", task="glasses", classes=("no",))
    with pytest.raises(ValueError, match="classes should be given with the task"):
        read_predictions(tmp_path / "t.csv", classes=("no", "yes"))


def test_numbers_of_an_unknown_task_that_are_more_than_0_and_1_are_values(write):
    assert read_predictions(write("y_true,y_pred\n0,1\n2,1\n"), task="drinks").attrs["classes"] == {}


def test_truth_values_are_classes(write):
    path = write("y_true,y_pred\nTrue,False\n,true\nfalse,true\n")
    found = read_predictions(path, task="glasses")
    assert found.attrs["classes"] == {"glasses": ["False", "True"]}
    np.testing.assert_array_equal(found["y_true"], [1, np.nan, 0])
    assert found["y_pred"].tolist() == [0, 1, 1]
    named = read_predictions(path, task="glasses", classes=("no", "yes"))
    assert named.attrs["classes"] == {"glasses": ["no", "yes"]} and named["y_pred"].tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match=r"y_true of 'gender' should be among .* got 'False'"):
        read_predictions(path, task="gender")
    both = read_predictions(write("glasses_true,glasses_pred,age_true,age_pred\nTrue,False,3,4.5\n"))
    assert both.attrs["classes"] == {"glasses": ["False", "True"]} and both["y_pred"].tolist() == [0, 4.5]


def test_probabilities_in_another_order_than_the_classes_are_told(write):
    mapping = {"probabilities": "p,q"}
    with pytest.raises(ValueError, match=r"in the order of the classes \['male', 'female'\], got another .* 67%"):
        read_predictions(write("y_true,y_pred,p,q\n0,0,0.1,0.9\n1,1,0.9,0.1\n1,1,0.5,0.5\n"), mapping, task="gender")
    tuned = "y_true,y_pred,p,q\n0,1,0.6,0.4\n1,1,0.1,0.9\n"  # answers from a threshold of .4
    assert len(read_predictions(write(tuned), mapping, task="gender")) == 2
