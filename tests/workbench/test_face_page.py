"""The page of one face, without a browser: what it says, above all when something is wrong."""

import io
import re

import cv2
import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image

from analyses.face import read_face
from maskmtl.checkpoint import DEFAULT_MODEL, load_model, save_model
from maskmtl.inference import to_input
from maskmtl.manifest import open_faces
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS


def upload(app, data: bytes, name: str = "photo.jpg", mime: str = "image/jpeg"):
    at = app.switch_page("views/face.py").run()
    at.segmented_control(key="face_source").set_value("Your photo").run()
    return at.file_uploader(key="photo").set_value((name, data, mime)).run()


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


def on_canvas(*faces: np.ndarray) -> np.ndarray:
    """Faces of 300 px side by side on a wide grey canvas."""
    canvas = np.full((600, 500 * len(faces), 3), 128, np.uint8)
    for i, face in enumerate(faces):
        canvas[150:450, 500 * i + 100 : 500 * i + 400] = cv2.resize(face, (300, 300), interpolation=cv2.INTER_CUBIC)
    return canvas


def test_page_answers_at_once_with_a_demo_face(app, say):
    at = app.switch_page("views/face.py").run()
    assert not at.exception and not at.error and not at.warning
    text = say(at)
    for task in ("Age", "Gender", "Ethnicity"):
        assert task in [heading.value for heading in at.subheader]
    assert re.search(r"A composite of \d+ faces: it shows nobody", text)
    assert "24 × 24 values" in text and "never for deciding about a person" in text
    assert len(at.image) == 8  # two faces, and a map of three tasks over each


def test_demo_answers_are_those_of_the_model(app, say, models, demo_faces):
    at = app.switch_page("views/face.py").run()
    row = at.pills(key="demo_face").value
    reading = read_face(
        load_model(models / DEFAULT_MODEL), demo_faces.images[row], demo_faces.landmarks.points[row],
        face_id=demo_faces.table["face_id"][row],
    )  # fmt: skip
    text = say(at)
    for task in reading.specs:
        for mask in reading.masks:
            assert f"<dd>{reading.answer(task, mask)}</dd>" in text.replace("&lt;", "<").replace("&gt;", ">")


def test_filters_narrow_the_choice(app, demo_faces):
    at = app.switch_page("views/face.py").run()
    at.selectbox(key="demo_gender").set_value("female").run()
    at.selectbox(key="demo_ethnicity").set_value("black").run()
    rows = demo_faces.table.loc[[at.pills(key="demo_face").value]]
    assert (rows["gender"] == 1).all() and (rows["ethnicity"] == 1).all()


def test_another_drawing_is_another_mask_but_the_same_bare_face(app):
    at = app.switch_page("views/face.py").run()
    before = [image.proto.imgs[0].url for image in at.image]
    at.number_input(key="face_seed").set_value(3).run()
    after = [image.proto.imgs[0].url for image in at.image]
    assert before[0] == after[0] and before[1] != after[1]


def test_methods_stand_side_by_side_with_their_regions(app, say):
    at = app.switch_page("views/face.py").run()
    at.multiselect(key="face_maps").set_value(["hirescam", "occlusion"]).run()
    assert not at.exception and len(at.image) == 2 + 3 * 2 * 2
    text = say(at)
    assert "HiResCAM at encoder.activation, 24 × 24 values; Occlusion at input, 48 × 48 values" in text
    assert '<th scope="col">Occlusion, surgical</th>' in text and "× its area" in text
    at.multiselect(key="face_maps").set_value([]).run()
    assert "Choose a method under Maps" in say(at) and not at.image


def test_maps_are_checked_and_those_that_fail_are_grey(app, say):
    app.session_state["face_check"] = True
    at = app.switch_page("views/face.py").run()
    checks = at.session_state["face_checks"][1]
    words = say(at)
    assert words.count('class="badge passed"') == checks["passed"].sum()
    assert words.count('class="badge failed"') == (~checks["passed"]).sum() > 0  # the weights are random
    assert checks.loc[~checks["passed"], "reason"].iloc[0].split(";")[0] in words
    assert at.download_button(key="face-checks.csv")
    at.toggle(key="face_check").set_value(False).run()
    assert not at.exception and 'class="badge' not in say(at)


def test_attention_is_offered_where_there_is_the_block(app, models, monkeypatch):
    at = app.switch_page("views/face.py").run()
    assert "Attention of the non-local block" in at.multiselect(key="face_maps").options
    plain = models.parent / f"{models.name}-plain"
    save_model(MaskMTL(TASKS, nonlocal_block=False), plain / DEFAULT_MODEL, {"summary": "Random weights."})
    monkeypatch.setattr("maskmtl.checkpoint.MODELS", plain)
    st.cache_resource.clear()
    at.multiselect(key="face_maps").set_value(["attention"]).run()
    assert not at.exception
    assert "Attention of the non-local block" not in at.multiselect(key="face_maps").options


def test_photo_with_one_face(app, say, demo_faces):
    at = upload(app, jpeg(on_canvas(demo_faces.images[3])))
    assert not at.exception and not at.error and not at.warning
    assert "One face was found" in say(at)
    assert at.download_button(key="face-predictions.csv").label == "Predictions (CSV)"


def test_photo_outlives_its_uploader(app, say, demo_faces):
    at = upload(app, jpeg(on_canvas(demo_faces.images[3])))
    at = at.switch_page("views/masks.py").run()
    assert not at.file_uploader(key="photo").value  # Streamlit empties it with the page
    assert not at.exception and "One face was found" in say(at) and "covers" in say(at)
    next(button for button in at.button if button.label == "Remove the photo").click().run()
    assert not at.exception and "One face was found" not in say(at)


def test_large_crop_is_taken_smaller(app, say):
    noise = np.random.default_rng(0).integers(0, 255, (1000, 900, 3), dtype=np.uint8)
    at = upload(app, jpeg(noise))
    at.toggle(key="as_crop").set_value(True).run()
    assert not at.exception and at.session_state["face_reading"][1].images.shape[1:3] == (400, 400)


def test_same_picture_under_another_name_is_another_face(app, few_faces, tmp_path, say):
    one, other = tmp_path / "30_0_0_20170101000000001.png", tmp_path / "31_1_0_20170101000000002.png"
    for path in (one, other):
        path.write_bytes(next(few_faces.glob("*_*_*_*.png")).read_bytes())
    ids = open_faces(tmp_path).table["face_id"]
    for face_id, words in zip(ids, ("30 years, gender male", "31 years, gender female"), strict=True):
        app.session_state["face_picked"] = (str(tmp_path), "random", face_id)
        app.session_state["face_source"] = "From the data set"
        at = app.switch_page("views/face.py").run()
        reading = at.session_state["face_reading"][1]
        assert not at.exception and words in say(at)
        assert reading.predictions["face_id"].iloc[0] == face_id and reading.annotation("gender") in words


def test_better_weights_are_read_anew(app, models, tmp_path, monkeypatch):
    monkeypatch.setattr("maskmtl.checkpoint.MODELS", tmp_path)
    monkeypatch.setattr("workbench.resources.MODELS", tmp_path)
    for seed in (1, 2):
        torch.manual_seed(seed)
        save_model(MaskMTL(TASKS), tmp_path / DEFAULT_MODEL, {"summary": str(seed)})
        at = app.switch_page("views/face.py").run()
        found = at.session_state["face_reading"][1].predictions
        model = load_model(tmp_path / DEFAULT_MODEL)
        answers = model(to_input(at.session_state["face_reading"][1].images[:1], model))
        p = torch.softmax(answers["ethnicity"], 1)[0].tolist()
        row = found[(found["task"] == "ethnicity") & (found["mask"] == "none")]
        assert row["probabilities"].item() == pytest.approx(p, abs=1e-4)


def test_photo_with_two_faces_offers_both(app, say, demo_faces):
    at = upload(app, jpeg(on_canvas(demo_faces.images[3], demo_faces.images[40])))
    assert "2 faces were found. Which one?" in say(at)
    assert "Face 1 of 2" in say(at)
    first = at.image[0].proto.imgs[0].url
    at.pills(key="photo_face").set_value(1).run()
    assert "Face 2 of 2" in say(at) and at.image[0].proto.imgs[0].url != first


def test_photo_without_a_face_offers_to_use_it_as_a_crop(app, say):
    at = upload(app, jpeg(np.full((300, 400, 3), 90, np.uint8)))
    assert "No face was found in this picture." in say(at) and not at.image
    at.toggle(key="as_crop").set_value(True).run()
    assert "No landmarks were found" in say(at) and len(at.image) == 8


def test_tiny_picture_is_refused_as_a_crop(app, say):
    at = upload(app, jpeg(np.zeros((20, 30, 3), np.uint8)))
    assert "48 px are needed" in say(at) and not at.toggle


def broken() -> dict[str, tuple[bytes, str]]:
    whole = jpeg(np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8))
    return {
        "empty": (b"", "empty file"),
        "truncated": (whole[: len(whole) // 2], "damaged"),
        "text": (b"these are words, not a picture\n" * 9, "bytes of something else"),
        "gif": (b"GIF89a" + bytes(40), "a GIF file"),
    }


@pytest.mark.parametrize("name", broken())
def test_file_that_is_no_picture_gives_a_sentence_and_no_trace(app, name):
    data, words = broken()[name]
    at = upload(app, data)
    assert not at.exception
    (error,) = at.error
    assert "This file can't be used" in error.value and words in error.value and "Traceback" not in error.value


def test_upload_is_in_no_cache(app, demo_faces):
    from workbench import resources

    at = upload(app, jpeg(on_canvas(demo_faces.images[3])))
    assert at.session_state["photo_found"] is not None
    assert [source for source, _, _ in resources._sets().opened] in ([], ["demo"])
    package = "streamlit.runtime.caching"
    cached = {name for name, value in vars(resources).items() if type(value).__module__.startswith(package)}
    assert cached == {
        "_lock",
        "_model",
        "_mesh",
        "_reference",
        "_sets",
        "demo_groups",
        "demo_thumbnail",
        "mean_demo_face",
        "settle",  # holds nothing
    }


def test_without_demo_faces_a_photo_still_works(app, say, tmp_path, monkeypatch, demo_faces):
    monkeypatch.setattr("maskmtl.manifest.DEMO", tmp_path)
    at = app.switch_page("views/face.py").run()
    assert not at.exception and "The demo faces can't be shown" in at.warning[0].value
    at.segmented_control(key="face_source").set_value("Your photo").run()
    at.file_uploader(key="photo").set_value(("a.jpg", jpeg(on_canvas(demo_faces.images[3])), "image/jpeg")).run()
    assert "One face was found" in say(at)
