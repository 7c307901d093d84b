import numpy as np
import pandas as pd
import pytest
import torch

from maskmtl.dataset import wear
from maskmtl.inference import COLUMNS, predict, predict_draws, to_input, wide
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MaskMTL(TASKS)


@pytest.fixture(scope="module")
def few(demo_faces):
    return demo_faces.select(np.arange(0, 50, 10))


def test_the_table(model, few):
    table = predict(model, few, masks=("none", "surgical"))
    assert list(table.columns) == COLUMNS
    assert len(table) == 5 * 2 * 3
    assert not table.duplicated(["face_id", "mask", "task"]).any()
    truth = table.query("task == 'age' and mask == 'none'").set_index("face_id")["y_true"]
    assert truth.equals(few.table.set_index("face_id")["age"].rename("y_true"))
    classes = table[table["task"] != "age"]
    np.testing.assert_allclose([sum(p) for p in classes["probabilities"]], 1, atol=1e-5)
    assert [int(np.argmax(p)) for p in classes["probabilities"]] == classes["y_pred"].tolist()
    assert table.loc[table["task"] == "age", "probabilities"].isna().all()


def test_predictions_are_the_networks_own(model, few):
    table = predict(model, few, masks=("surgical",), seed=7)
    worn = wear(few.images[2], few.landmarks.points[2], few.table["face_id"][2], "surgical", 7)
    with torch.no_grad():
        logits = model.eval()(to_input(worn[None], model))
    model.train()
    row = table[table["face_id"] == few.table["face_id"][2]].set_index("task")
    assert row.loc["age", "y_pred"] == pytest.approx(model.specs["age"].target.decode(logits["age"]).item(), abs=1e-4)
    expected = model.specs["ethnicity"].target.probabilities(logits["ethnicity"])[0].tolist()
    assert row.loc["ethnicity", "probabilities"] == pytest.approx(expected, abs=1e-5)


def test_batches_make_no_difference_and_the_mode_is_kept(model, few):
    model.train()
    whole, parts = predict(model, few), predict(model, few, batch_size=2)
    assert model.training
    key = ["face_id", "task"]
    whole, parts = (t.sort_values(key, ignore_index=True) for t in (whole, parts))
    np.testing.assert_allclose(whole["y_pred"], parts["y_pred"], atol=1e-4)


def test_a_face_without_labels_and_no_faces_at_all(model, few):
    from dataclasses import replace

    bare = replace(few, table=few.table.drop(columns=["age"]).assign(gender=np.nan))
    table = predict(model, bare)
    assert table.loc[table["task"].isin(["age", "gender"]), "y_true"].isna().all()
    assert predict(model, few.select(np.zeros(5, bool))).columns.tolist() == COLUMNS


def test_the_table_for_people(model, few):
    table = wide(predict(model, few, masks=("none", "surgical")), model.specs)
    assert len(table) == 10
    assert set(table["gender_pred"]) <= {"male", "female"}
    assert isinstance(table, pd.DataFrame) and table["ethnicity_p_indian"].between(0, 1).all()


def test_parquet_keeps_the_probabilities(model, few, tmp_path):
    table = predict(model, few)
    table.to_parquet(tmp_path / "p.parquet")
    back = pd.read_parquet(tmp_path / "p.parquet")
    for a, b in zip(table["probabilities"], back["probabilities"], strict=True):
        assert (a is None and b is None) or list(a) == list(b)


def test_wrong_input(model):
    with pytest.raises(ValueError, match=r"images should be uint8 \(N, H, H, 3\), got float64 \(1, 48, 48, 3\)"):
        to_input(np.zeros((1, 48, 48, 3)), model)


def test_several_drawn_masks(model, few):
    seen = []
    table = predict_draws(model, few, 3, masks=("none", "cloth"), seed=4, progress=lambda *done: seen.append(done))
    assert seen[-1] == (20, 20) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert table.groupby(["mask", "draw"]).size().to_dict() == {("none", 0): 15, **{("cloth", i): 15 for i in range(3)}}
    second = table[table["draw"] == 1].drop(columns="draw").reset_index(drop=True)
    pd.testing.assert_frame_equal(second, predict(model, few, masks=("cloth",), seed=5))
    assert len(predict_draws(model, few, 3, masks=("none",))) == 15
    with pytest.raises(ValueError, match="draws should be at least 1"):
        predict_draws(model, few, 0, masks=("none",))


@pytest.mark.parametrize("most", [3, 1])
def test_memory_that_runs_out_is_met_with_smaller_batches(demo_faces, monkeypatch, most):
    torch.manual_seed(0)
    model = MaskMTL(TASKS, encoder="conv3").eval()
    few, forward, sizes = demo_faces.select(range(8)), model.forward, []
    expected = predict(model, few)

    def tight(x):
        sizes.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(x)

    monkeypatch.setattr(model, "forward", tight)
    found = predict(model, few)
    assert max(sizes) == 8 and min(sizes) <= most
    np.testing.assert_allclose(found["y_pred"], expected["y_pred"], atol=1e-3)
    pd.testing.assert_frame_equal(found[["face_id", "task"]], expected[["face_id", "task"]])


def test_no_memory_at_all_is_told(demo_faces, monkeypatch):
    model = MaskMTL(TASKS, encoder="conv3").eval()

    def full(x):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        predict(model, demo_faces.select(range(2)))
