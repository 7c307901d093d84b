import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from maskmtl.checkpoint import load_model, load_tensors, seen_digests
from maskmtl.inference import to_input
from maskmtl.manifest import Faces
from maskmtl.masks.fresh import FreshMasks
from maskmtl.tasks import TASKS
from maskmtl.training import (
    Stopped,
    TrainConfig,
    _masks_of,
    learning_rate,
    skill,
    train,
    training_specs,
)

QUICK = TrainConfig(masks=("none", "surgical"), draws=1, epochs=2, batch_size=16, seed=5)


@pytest.fixture(scope="module")
def small(demo_faces) -> Faces:
    """Forty demo faces, most for training."""
    faces = demo_faces.select(np.arange(0, len(demo_faces), len(demo_faces) // 40)[:40])
    return replace(faces, table=faces.table.assign(split=["train", "train", "train", "val"] * 10))


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    return train(small, tmp_path_factory.mktemp("runs") / "whole", QUICK)


def resumed(faces, folder, config):
    """The last state of a run that was stopped in its second epoch and went on."""
    batches = []
    with pytest.raises(Stopped, match="stopped in epoch 2; 1 whole epochs are saved"):
        train(faces, folder, config, progress=batches.append, stop=lambda: len(batches) == 3)
    return load_tensors(train(faces, folder, resume=True) / "last.safetensors")


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_folder_has_what_rebuilds_and_explains_the_model(run, small):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]["val"]) == {"none", "surgical"}
    assert set(lines[0]["val"]["none"]) == {"age_mae", "gender_accuracy", "ethnicity_accuracy"}
    card = json.loads((run / "model.json").read_text())
    assert card["training"]["masks"] == ["none", "surgical"]
    assert card["data"] == {"name": "demo", "train": 30, "val": 10}
    assert {"maskmtl", "torch", "numpy", "python"} <= set(card["versions"])
    ages = small.in_split("train").table["age"]
    (age,) = [task for task in card["tasks"] if task["name"] == "age"]
    assert (age["mean"], age["std"]) == pytest.approx((ages.mean(), ages.std()))
    model = load_model(run, "cpu")
    assert not model.training and model.config["sharing"] == "hierarchical"
    assert len(seen_digests(run)) == 40


def test_a_run_that_was_stopped_resumes_to_the_same_weights(run, small, tmp_path):
    assert_same(load_tensors(run / "last.safetensors"), resumed(small, tmp_path / "run", QUICK))
    name = "model.safetensors"
    assert_same(load_tensors(run / name), load_tensors(tmp_path / "run" / name))


def test_fresh_masks_are_new_each_epoch_and_the_same_after_a_stop(small, tmp_path, monkeypatch):
    config = replace(QUICK, masks=("mixed",), draws=0)
    seen = []
    draw = FreshMasks.draw
    monkeypatch.setattr(FreshMasks, "draw", lambda self, *args: seen.append(draw(self, *args)) or seen[-1])
    train(small, tmp_path / "whole", config)
    first, second = (np.concatenate(seen[i : i + 2]) for i in (0, 2))
    assert first.shape == second.shape == (30, 64, 64, 3)
    assert not {face.tobytes() for face in first} & {face.tobytes() for face in second}
    whole = load_tensors(tmp_path / "whole" / "last.safetensors")
    assert_same(whole, resumed(small, tmp_path / "run", config))


def test_what_balancing_and_averaging_remember_survives_a_stop(small, tmp_path):
    config = replace(QUICK, balancing="gradnorm", average=0.9, mixup=0.5, age_loss="distribution")
    train(small, tmp_path / "whole", config)
    whole = load_tensors(tmp_path / "whole" / "last.safetensors")
    assert_same(whole, resumed(small, tmp_path / "run", config))
    assert not torch.equal(whole["aside.balancing.weights"], torch.ones(3))
    kept = load_tensors(tmp_path / "whole" / "model.safetensors")
    assert torch.equal(kept["encoder.conv1.weight"], whole["average.encoder.conv1.weight"])
    assert not torch.equal(kept["encoder.conv1.weight"], whole["model.encoder.conv1.weight"])
    assert load_model(tmp_path / "whole", "cpu").specs["age"].target.out_features == 117


def test_a_run_ends_when_validation_does_not_improve(small, tmp_path):
    config = replace(QUICK, masks=("none",), epochs=9, patience=1, lr=1e-12, average=0.999999)
    train(small, tmp_path / "run", config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = max(range(len(lines)), key=lambda i: lines[i]["score"])
    assert len(lines) == best + 2 < 9


@pytest.mark.parametrize("fairness", ["balanced", "group_dro", "adversarial"])
def test_a_run_that_minds_groups_resumes_to_the_same_weights(small, tmp_path, fairness):
    config = replace(QUICK, masks=("none",), fairness=fairness, mixup=0.3)
    train(small, tmp_path / "whole", config)
    whole = load_tensors(tmp_path / "whole" / "last.safetensors")
    assert_same(whole, resumed(small, tmp_path / "run", config))
    load_model(tmp_path / "whole", "cpu")  # the network is as ever


def test_a_run_that_was_stopped_in_its_first_epoch_resumes_from_the_start(run, small, tmp_path):
    batches = []
    with pytest.raises(Stopped, match="0 whole epochs"):
        train(small, tmp_path / "run", QUICK, progress=batches.append, stop=lambda: bool(batches))
    train(small, tmp_path / "run", resume=True)
    whole, resumed = load_tensors(run / "last.safetensors"), load_tensors(tmp_path / "run" / "last.safetensors")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_run_that_was_stopped_while_faces_were_drawn_resumes_from_the_start(run, small, tmp_path):
    told = []
    with pytest.raises(Stopped, match="while the faces were drawn"):
        train(small, tmp_path / "run", QUICK, drawing=lambda *of: told.append(of), stop=lambda: len(told) == 3)
    assert told == [(30, 30), (30, 30), (10, 10)]  # to train on: bare, masked; to validate on: bare
    train(small, tmp_path / "run", resume=True)
    whole, resumed = load_tensors(run / "last.safetensors"), load_tensors(tmp_path / "run" / "last.safetensors")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_run_does_not_go_on_with_other_faces(run, small, tmp_path):
    """Prepared anew, test faces of before could be training faces now."""
    shutil.copytree(run, tmp_path / "run")
    other = replace(small, table=small.table.assign(split=small.table["split"].iloc[::-1].to_numpy()))
    corrected = replace(small, table=small.table.assign(age=small.table["age"] + 1))
    for faces in (other, corrected):
        with pytest.raises(ValueError, match="a resumed run keeps its faces"):
            train(faces, tmp_path / "run", resume=True)
    train(small, tmp_path / "run", resume=True)


def test_training_lowers_the_loss_on_faces_it_sees(small, tmp_path):
    config = replace(QUICK, epochs=6, augment=False, masks=("none",), lr=3e-4, weight_decay=0.0)
    run = train(small, tmp_path / "run", config)
    losses = [json.loads(line)["train_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum(losses[-1].values()) < 0.8 * sum(losses[0].values())


@pytest.mark.parametrize("batch", [8, 64])
@pytest.mark.parametrize("age_loss", ["l1_z", "distribution"])  # a distribution of NaN is answered with an age
def test_weights_that_break_end_a_run_that_keeps_no_model(small, tmp_path, batch, age_loss):
    config = replace(
        QUICK, masks=("none",), epochs=1, lr=1e30, batch_size=batch, schedule="constant", augment=False,
        age_loss=age_loss,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"should be finite.*smaller lr"):  # with one batch, validation alone shows it
        train(small, tmp_path / "run", config)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_missing_label_teaches_nothing_and_breaks_nothing(small, tmp_path):
    table = small.table.copy()
    table.loc[table.index[::3], "ethnicity"] = np.nan
    run = train(replace(small, table=table), tmp_path / "run", replace(QUICK, epochs=1))
    assert all(torch.isfinite(t).all() for t in load_tensors(run / "model.safetensors").values())


def test_what_can_not_be_trained_on_is_refused(small, tmp_path, run):
    with pytest.raises(ValueError, match="run should be a new folder"):
        train(small, run, QUICK)
    with pytest.raises(ValueError, match=r"without config\.json"):
        train(small, tmp_path / "nothing", resume=True)
    with pytest.raises(ValueError, match=r"keeps its configuration, got other values for \['lr'\]"):
        train(small, run, replace(QUICK, lr=1.0), resume=True)
    with pytest.raises(ValueError, match="should have a val split"):
        train(replace(small, table=small.table.assign(split="train")), tmp_path / "a", QUICK)
    with pytest.raises(ValueError, match="labels for gender in the train split"):
        train(replace(small, table=small.table.assign(gender=np.nan)), tmp_path / "b", QUICK)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sharing", "telepathic", "sharing should be one of .*hierarchical"),
        ("channels", 2, "channels should be one of"),
        ("schedule", "exponential", "schedule should be one of"),
        ("age_loss", "huber", "age_loss should be one of"),
        ("precision", "fp8", "precision should be one of"),
        ("epochs", 0, "epochs should be positive"),
        ("masks", ("none", "veil"), "mask should be one of"),
        ("masks", (), "masks should name at least one"),
        ("masks", ("none", "none", "mixed"), "masks should each be named once"),
        ("mixup", np.inf, "mixup should be 0 or more"),
        ("weight_decay", -0.1, "weight_decay should be 0 or more"),
        ("seed", -1, "seed should be 0 or more"),
    ],
)
def test_wrong_settings_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{field: value})


@pytest.mark.parametrize("values", [{"epochs": 3}, {"masks": ["none"], "speed": 3}, ["none"]])
def test_settings_of_another_version_are_refused(values):
    with pytest.raises(ValueError, match="a run's configuration should be one of maskmtl"):
        TrainConfig.from_json(values)


def test_learning_rate_by_hand():
    config = TrainConfig(lr=2.0)
    assert learning_rate(config, 0.0) == pytest.approx(0.2)
    assert learning_rate(config, 0.05) == pytest.approx(2.0)
    assert learning_rate(config, 0.525) == pytest.approx(1.0)
    assert learning_rate(config, 1.0) == pytest.approx(0.0)
    assert learning_rate(replace(config, schedule="constant"), 0.7) == 2.0


def test_skill_by_hand():
    figures = {"none": {"age_mae": 5.0, "gender_accuracy": 0.9, "ethnicity_accuracy": 0.8}}
    y = {"age": torch.tensor([10.0, 20.0, 40.0]), "gender": torch.zeros(3), "ethnicity": torch.zeros(3)}
    # the median, 20, errs by 10, 0 and 20: 10 on the mean, so an MAE of 5 is a skill of a half
    assert skill(figures, y, TASKS) == pytest.approx((0.5 + 0.9 + 0.8) / 3)


def test_a_kill_between_the_writes_of_an_epoch_costs_nothing(run, small, tmp_path, monkeypatch):
    """The metrics line is written, the tensors are not: the epoch is run again, with the same result."""
    from maskmtl import training

    def killed(*args):
        raise KeyboardInterrupt

    train(small, tmp_path / "run", replace(QUICK, epochs=1))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "epochs": 2}))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "save_tensors", killed)
        train(small, tmp_path / "run", resume=True)
    train(small, tmp_path / "run", resume=True)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert "state" in load_tensors(tmp_path / "run" / "last.safetensors")


def test_raw_years_keep_the_papers_units(small):
    assert training_specs(small.table, "mse_years")["age"].target.std == 1.0
    assert training_specs(small.table, "mse_years")["age"].target.criterion == "mse"
    assert training_specs(small.table, "l1_z")["age"].target.std == pytest.approx(small.table["age"].std())


def test_share_of_bare_faces(small):
    config = replace(QUICK, masks=("none", "mixed"), bare=0.25)
    masks = np.concatenate([_masks_of(config, 1000, np.random.default_rng(epoch)) for epoch in range(4)])
    assert (masks == 0).mean() == pytest.approx(0.25, abs=0.03)
    for wrong in ({"bare": 0.0}, {"bare": 0.5, "masks": ("mixed",)}, {"bare": 0.5, "masks": ("none",)}):
        with pytest.raises(ValueError, match="bare should be in"):
            replace(QUICK, **wrong)


class TestTeacher:
    def test_a_student_comes_closer_to_its_teacher(self, small, run, tmp_path):
        seen = []
        config = replace(QUICK, teacher=str(run), masks=("none", "mixed"), bare=0.5, draws=0, epochs=3, mixup=0.2)
        folder = train(small, tmp_path / "run", config, log=lambda line: seen.append(line))
        plain = train(small, tmp_path / "plain", replace(config, teacher=""))
        x = to_input(small.in_split("val").images[:], load_model(run, "cpu"))
        teacher, student, alone = (load_model(path, "cpu") for path in (run, folder, plain))
        with torch.inference_mode():
            wanted, own, other = (model(x)["ethnicity"] for model in (teacher, student, alone))
        target = TASKS["ethnicity"].target
        assert target.imitation(own, wanted, target).mean() < target.imitation(other, wanted, target).mean()
        assert len(seen) == 3

    def test_what_a_teacher_has_seen_its_student_has(self, small, run, tmp_path):
        few = small.select(np.arange(12))
        assert len(few) < len(small)
        folder = train(few, tmp_path / "run", replace(QUICK, epochs=1, teacher=str(run)))
        assert set(seen_digests(folder)) == set(small.digests)

    def test_resumes_to_the_same_weights(self, small, run, tmp_path):
        config = replace(QUICK, teacher=str(run))
        whole = train(small, tmp_path / "whole", config)
        assert_same(load_tensors(whole / "last.safetensors"), resumed(small, tmp_path / "run", config))

    def test_a_teacher_that_knows_the_test_split_is_refused(self, small, run, tmp_path):
        other = replace(small, table=small.table.assign(split=["test", "train", "train", "val"] * 10))
        words = "teacher should have seen no picture of the test split nor a near-duplicate, .* has of 10"
        with pytest.raises(ValueError, match=words):
            train(other, tmp_path / "run", replace(QUICK, teacher=str(run)))
        table = other.table  # as other files, but near-duplicates of a face that it knows
        tests, known = table["split"] == "test", table["group_id"][1]
        twins = table.assign(
            digest=table["digest"].mask(tests, "0" * 16), group_id=table["group_id"].mask(tests, known)
        )
        with pytest.raises(ValueError, match=words):
            train(replace(other, table=table.assign(**twins)), tmp_path / "run", replace(QUICK, teacher=str(run)))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"channels": 3}, "teacher should have input_channels 3"),
            ({"age_loss": "distribution"}, "teacher should answer 'age' as Distribution"),
            ({"encoder": "resnet18", "sharing": "hard", "size": 64}, "teacher should have input_size 64"),
        ],
    )
    def test_a_teacher_of_something_else_is_refused(self, small, run, tmp_path, change, words):
        with pytest.raises(ValueError, match=words):
            train(small, tmp_path / "run", replace(QUICK, teacher=str(run), **change))
