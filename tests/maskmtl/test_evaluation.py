from dataclasses import replace

import numpy as np
import pytest
import torch

from maskmtl.checkpoint import SEEN, save_model
from maskmtl.evaluation import choose, evaluate
from maskmtl.files import write_array
from maskmtl.metrics import accuracy, mae
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS


@pytest.fixture
def faces(demo_faces):
    few = demo_faces.select(np.arange(6))
    groups = ["a", "a", "b", "c", "d", "e"]
    excluded = ["", "", "", "", "", "conflict"]
    return replace(few, table=few.table.assign(group_id=groups, excluded=excluded, split=["train", "test"] * 3))


@pytest.fixture
def model_folder(faces, tmp_path):
    """A model that has seen the first and the third face."""
    torch.manual_seed(0)
    save_model(MaskMTL(TASKS), tmp_path / "model", {})
    digests = np.array([int(faces.table["digest"][i], 16) for i in (0, 2)], np.uint64)
    write_array(tmp_path / "model" / SEEN, np.sort(digests))
    return str(tmp_path / "model")


def test_unseen_leaves_out_seen_pictures_their_near_duplicates_and_conflicts(faces, model_folder):
    chosen = choose(faces, model_folder)
    assert chosen.table["face_id"].tolist() == faces.table["face_id"][[3, 4]].tolist()
    np.testing.assert_array_equal(chosen.images[0], faces.images[3])


def test_other_splits(faces, model_folder):
    assert len(choose(faces, model_folder, "all")) == 6
    assert len(choose(faces, model_folder, "test")) == 3
    with pytest.raises(
        ValueError, match=r"split should be one of \['unseen', 'all', 'train', 'val', 'test'\], got 'x'"
    ):
        choose(faces, model_folder, "x")
    with pytest.raises(ValueError, match=r"split 'val' of .* should have faces, got none of 6"):
        choose(faces, model_folder, "val")


def test_a_model_without_a_list_has_seen_nothing(faces, tmp_path):
    save_model(MaskMTL(TASKS), tmp_path / "bare", {})
    assert len(choose(faces, str(tmp_path / "bare"))) == 5


def test_figures_are_those_of_the_predictions(faces):
    torch.manual_seed(0)
    figures, table = evaluate(MaskMTL(TASKS), faces, masks=("none", "surgical"))
    assert list(figures) == ["none", "surgical"]
    for mask, figure in figures.items():
        part = table[table["mask"] == mask].set_index("task")
        assert figure["n"] == 6
        assert figure["age_mae"] == mae(part.loc["age", "y_true"], part.loc["age", "y_pred"])
        gender = part.loc["gender"]
        assert figure["gender_accuracy"] == accuracy(gender["y_true"], gender["y_pred"])
