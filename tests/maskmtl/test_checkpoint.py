import json
import shutil

import pytest
import torch

from maskmtl import checkpoint
from maskmtl.checkpoint import load_model, publish, save_model
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS, Classes, TaskSpec


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(1)
    save_model(MaskMTL(TASKS), tmp_path / "model", {"summary": "untrained"})
    return tmp_path / "model"


def test_a_model_comes_back_the_same(folder):
    torch.manual_seed(1)
    model, loaded = MaskMTL(TASKS).eval(), load_model(folder, "cpu")
    x = torch.rand(2, 1, 48, 48)
    for task, logits in model(x).items():
        torch.testing.assert_close(loaded(x)[task], logits)
    assert loaded.name == "model" and loaded.card["summary"] == "untrained"


def test_a_checkpoint_keeps_its_own_tasks(tmp_path):
    specs = {"gender": TaskSpec("gender", Classes(("a", "b", "c")))}
    save_model(MaskMTL(specs, channels=3, nonlocal_block=False), tmp_path / "own", {})
    loaded = load_model(tmp_path / "own", "cpu")
    assert loaded.specs == specs and loaded.input_channels == 3
    assert loaded(torch.rand(1, 3, 48, 48))["gender"].shape == (1, 3)


def test_publishing_halves_the_file_and_keeps_the_answers(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MODELS", tmp_path / "models")
    published = publish(folder, "mine")
    assert (published / "model.safetensors").stat().st_size < 0.51 * (folder / "model.safetensors").stat().st_size
    x = torch.rand(8, 1, 48, 48)
    for task, logits in load_model(folder, "cpu")(x).items():
        torch.testing.assert_close(load_model("mine", "cpu")(x)[task], logits, atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="name should be new"):
        publish(folder, "mine")
    with pytest.raises(ValueError, match="plain name"):
        publish(folder, "../mine")
    with pytest.raises(ValueError, match="name should be a plain name, got ''"):
        publish(folder, "")  # the folder of all models is not to be removed


def test_a_published_card_does_not_say_where_the_teacher_lies(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MODELS", tmp_path / "models")
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**card, "training": {"teacher": "/home/someone/runs/taught", "lr": 1}}))
    published = json.loads((publish(run, "mine") / "model.json").read_text())
    assert published["training"] == {"teacher": "taught", "lr": 1}


def test_half_a_model_is_never_published(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MODELS", tmp_path / "models")

    def full(path, card):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(checkpoint, "write_json", full)
        publish(folder, "mine")
    assert list((tmp_path / "models").iterdir()) == []
    publish(folder, "mine")


def test_broken_models_are_refused_with_a_reason(folder, tmp_path):
    with pytest.raises(ValueError, match=r"model should be one of \[.*\] or a folder"):
        load_model("no-such-model")
    shutil.copytree(folder, tmp_path / "pickle")
    torch.save({"w": torch.ones(1)}, tmp_path / "pickle" / "model.safetensors")
    with pytest.raises(ValueError, match="weights should be a safetensors file"):
        load_model(tmp_path / "pickle")
    shutil.copytree(folder, tmp_path / "half")
    data = (folder / "model.safetensors").read_bytes()
    (tmp_path / "half" / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="weights should be a safetensors file"):
        load_model(tmp_path / "half")
    card = json.loads((folder / "model.json").read_text())
    for name, text, reason in (
        ("garbled", "{", "card should be JSON"),
        ("empty", "{}", "card should be JSON with 'tasks'"),
        ("future", json.dumps({**card, "format": 99}), "card should have format 1, got 99"),
        (
            "other",
            json.dumps({**card, "network": {**card["network"], "channels": 3}}),
            "weights should fit the network",
        ),
        (
            "foreign",
            json.dumps({**card, "network": {**card["network"], "depth": 3}}),
            "network should be one of this version",
        ),
    ):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "model.json").write_text(text)
        with pytest.raises(ValueError, match=reason):
            load_model(tmp_path / name)
