import numpy as np
import pytest
import torch

from analyses.cli import main
from analyses.reference import FILE, cohorts, load_reference, make_reference
from maskmtl.checkpoint import save_model
from maskmtl.dataset import wear
from maskmtl.inference import predict
from maskmtl.manifest import load_faces, training_folder
from maskmtl.metrics import wilson
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = MaskMTL(TASKS, encoder="compact", mirror=True, channels=3).eval()
    model.card = {}
    return model


@pytest.fixture(scope="module")
def faces(demo_faces, tmp_path_factory):
    return load_faces(training_folder("demo", tmp_path_factory.mktemp("unused")))


@pytest.fixture(scope="module")
def reference(model, faces):
    parts = (faces.in_split(split) for split in ("train", "val", "test"))
    return make_reference(model, *parts, split="test")


def test_main_directions_have_unit_variance_and_distances_are_about_their_number(reference):
    assert reference.known.shape == (2, 90) and (np.diff(reference.known) >= 0).all()
    size = reference.directions.shape[1]
    assert size < np.median(reference.known[0]) < 4 * size  # two terms, each about the number of directions
    assert reference.seen.shape == (2, 90, size) and reference.seen.dtype == np.float16


def test_all_faces_as_a_cohort_give_the_figures_of_the_split(reference, model, faces):
    test = faces.in_split("test")
    crops = test.images[:3]
    (first, *_) = cohorts(reference, model, crops, [False] * 3, similar=len(test))
    table = predict(model, test).query("task == 'gender'")
    hits = int((table["y_true"] == table["y_pred"]).sum())
    row = first.table.set_index("task").loc["gender"]
    assert row["value"] == hits / len(test) and row["n"] == len(test)
    assert (row["ci_low"], row["ci_high"]) == wilson(hits, len(test))
    age = predict(model, test).query("task == 'age'")
    expected = (age["y_true"] - age["y_pred"]).abs().mean()
    assert first.table.set_index("task").loc["age", "value"] == pytest.approx(expected, rel=1e-3)


def test_a_face_of_the_record_is_the_nearest_to_itself(reference, model, faces):
    test = faces.in_split("test")
    ids = test.table["face_id"].astype(str)
    worn = wear(test.images[4], test.landmarks.points[4], ids[4], "mixed", 0)
    for image, masked in ((test.images[4], False), (worn, True)):
        (found,) = cohorts(reference, model, image[None], [masked], similar=1)
        own = predict(model, test, masks=("mixed" if masked else "none",)).query("task == 'age'").iloc[4]
        assert found.table.set_index("task").loc["age", "value"] == pytest.approx(
            abs(own["y_true"] - own["y_pred"]), abs=0.01
        )


def test_noise_is_unlike_faces(reference, model, faces):
    noise = np.random.default_rng(0).integers(0, 256, (4, 200, 200, 3), np.uint8)
    assert all(cohort.rare for cohort in cohorts(reference, model, noise, [False] * 4))
    train = faces.in_split("train").images[:60]
    assert np.mean([cohort.rare for cohort in cohorts(reference, model, train, [False] * 60)]) < 0.1


def test_a_reference_belongs_to_its_weights(reference, model, tmp_path):
    assert load_reference(tmp_path, model) is None
    reference.save(tmp_path, model)
    again = load_reference(tmp_path, model)
    assert all(np.array_equal(getattr(again, name), getattr(reference, name)) for name in ("seen", "known", "mean"))
    assert again.residual == reference.residual and again.split == "test"
    other = MaskMTL(TASKS, encoder="compact", mirror=True, channels=3)
    with pytest.raises(ValueError, match="should belong to the weights"):
        load_reference(tmp_path, other)
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="should be a safetensors file"):
        load_reference(tmp_path, model)


def test_the_command(model, faces, tmp_path, capsys):
    save_model(model, tmp_path / "mine", {"training": {"protocol": "random"}})
    folder = str(training_folder("demo", tmp_path))
    assert main(["reference", str(tmp_path / "mine"), folder]) == 0
    assert (
        "90 faces of test on record" in capsys.readouterr().out and (tmp_path / "mine" / FILE).stat().st_size < 100_000
    )
    assert main(["reference", str(tmp_path / "mine"), folder, "--split", "train"]) == 2
