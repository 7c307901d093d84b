"""The cohort card of the page Face."""

import cv2
import numpy as np
import pytest

from analyses.reference import make_reference
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.manifest import load_faces, training_folder


@pytest.fixture
def recorded(models, tmp_path, demo_faces):
    """A reference beside the model of random weights, from a few of the demo faces."""
    faces, model = load_faces(training_folder("demo", tmp_path)), load_model(models / DEFAULT_MODEL)
    few = [faces.in_split(split).select(range(40)) for split in ("train", "val", "test")]
    path = models / DEFAULT_MODEL / "reference.safetensors"
    make_reference(model, *few, split="test").save(path.parent, model)
    yield path
    path.unlink()


def test_without_a_record_the_page_says_how_to_make_one(app, say):
    at = app.switch_page("views/face.py").run()
    assert not at.exception and "maskmtl reference MODEL PREPARED" in say(at)


def test_the_card_tells_what_to_expect(app, recorded, say):
    at = app.switch_page("views/face.py").run()
    text = say(at)
    assert not at.exception and "unseen faces (test split) that it finds most like this one" in text and "n 40" in text
    assert "% right" in text and "years off" in text and "no statement about this person" in text


def test_a_picture_that_is_no_face_is_warned_of(app, recorded):
    at = app.switch_page("views/face.py").run()
    at.segmented_control(key="face_source").set_value("Your photo").run()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    at.file_uploader(key="photo").set_value(("a.png", cv2.imencode(".png", noise)[1].tobytes(), "image/png")).run()
    at = at.toggle(key="as_crop").set_value(True).run()
    assert not at.exception
    assert any("unlike its training faces" in warning.value and "1 in 100" in warning.value for warning in at.warning)


def test_a_record_of_other_weights_is_a_sentence(app, recorded, say):
    recorded.write_bytes(recorded.read_bytes()[:-10])
    at = app.switch_page("views/face.py").run()
    assert not at.exception and "Faces like this one can't be told: reference should be a safetensors file" in say(at)
