"""The page of one face in every kind of mask, without a browser."""

import base64
import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from analyses.face import percent
from maskmtl.masks import MASKS, MaskSpec, mask_seed, overlay
from workbench.parts import capital, mask_words


@pytest.fixture
def page(app):
    return app.run().switch_page("views/masks.py").run()


def gallery(at) -> str:
    return next(html.value for html in at.get("html") if 'class="gallery"' in html.value)


def pictures(at) -> dict[str, np.ndarray]:
    """Alt text -> picture."""
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)">', gallery(at))
    return {alt: np.array(Image.open(io.BytesIO(base64.b64decode(data)))) for data, alt in found}


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


def chosen(at, demo_faces) -> tuple[np.ndarray, np.ndarray, str]:
    row = at.pills(key="demo_face").value
    return demo_faces.images[row], demo_faces.landmarks.points[row], demo_faces.table["face_id"][row]


def test_every_kind_is_shown_as_overlay_draws_it(page, demo_faces):
    assert not page.exception and not page.error and not page.warning
    image, points, face_id = chosen(page, demo_faces)
    shown, text = pictures(page), gallery(page)
    assert list(shown) == ["The face, bare", *(f"The face, {mask_words(kind)}" for kind in MASKS)]
    assert "Landmarks: by the face mesh" in text and "Confidence 1.00 of 1" in text
    for kind in MASKS:
        drawn = overlay(image, points, mask=kind, seed=mask_seed(0, face_id, kind))
        picture = shown[f"The face, {mask_words(kind)}"]
        assert np.abs(picture.astype(int) - drawn.image).mean() < 3  # a JPEG of it
        facts = f"<b>{capital(mask_words(kind))}</b><small>{drawn.spec.colour}, {drawn.spec.pattern}</small>"
        assert f"{facts}<small>covers {percent(drawn.coverage)}</small>" in text


def test_choices_reach_the_masks(page, demo_faces):
    page.selectbox(key="masks_wear").set_value("chin").run()
    page.selectbox(key="masks_colour").set_value("red").run()
    page.selectbox(key="masks_pattern").set_value("dots").run()
    page.number_input(key="masks_seed").set_value(7).run()
    image, points, face_id = chosen(page, demo_faces)
    assert gallery(page).count("<small>red, dots</small>") == len(MASKS)
    spec = MaskSpec("surgical", "red", "dots", "chin")
    drawn = overlay(image, points, mask=spec, seed=mask_seed(7, face_id, str(spec)))
    assert np.abs(pictures(page)["The face, surgical"].astype(int) - drawn.image).mean() < 3


def test_region_is_the_alpha(page, demo_faces):
    page.toggle(key="masks_region").set_value(True).run()
    image, points, face_id = chosen(page, demo_faces)
    drawn = overlay(image, points, mask="surgical", seed=mask_seed(0, face_id, "surgical"))
    shown = pictures(page)["The region of the mask, surgical"]
    assert shown[drawn.alpha == 1].min() > 225 and shown[(drawn.alpha == 0) & (drawn.trim == 0)].mean() < 80
    assert "White: the mask's exact region" in "".join(caption.value for caption in page.caption)


def test_template_landmarks_are_stated(page):
    page.segmented_control(key="face_source").set_value("Your photo").run()
    page.file_uploader(key="photo").set_value(("a.jpg", jpeg(np.full((900, 700, 3), 90, np.uint8)), "image/jpeg")).run()
    page.toggle(key="as_crop").set_value(True).run()
    assert not page.exception
    assert "every mask is drawn where an average face would have it" in page.warning[1].value
    assert "not found: those of an average face" in gallery(page)
    assert {picture.shape for picture in pictures(page).values()} == {(400, 400, 3)}  # a smaller copy of 700 px


def test_photo_is_found_with_its_confidence(page, demo_faces, say):
    photo = np.full((600, 500, 3), 128, np.uint8)
    photo[150:450, 100:400] = cv2.resize(demo_faces.images[3], (300, 300), interpolation=cv2.INTER_CUBIC)
    page.segmented_control(key="face_source").set_value("Your photo").run()
    page.file_uploader(key="photo").set_value(("a.jpg", jpeg(photo), "image/jpeg")).run()
    assert not page.exception and not page.warning
    assert "One face was found" in say(page) and "by the face detector and the face mesh" in gallery(page)


def test_kind_that_cannot_be_drawn_is_a_reason_beside_the_others(page, monkeypatch):
    def fails(image, points, *, mask, seed, presence):
        if mask.kind == MASKS[0]:
            raise ValueError("the face lies outside the picture")
        return overlay(image, points, mask=mask, seed=seed, presence=presence)

    monkeypatch.setattr("maskmtl.masks.overlay", fails)
    page.number_input(key="masks_seed").set_value(1).run()
    assert not page.exception and "Not drawn: the face lies outside the picture." in gallery(page)
    assert len(pictures(page)) == len(MASKS)  # the bare face and all kinds but one


def test_face_page_draws_the_same_masks_on_the_same_face(page):
    page.number_input(key="masks_seed").set_value(3).run()
    drawn, face = page.session_state["masks_drawn"][1], page.pills(key="demo_face").value
    page.switch_page("views/face.py").run()
    assert page.pills(key="demo_face").value == face
    page.selectbox(key="face_mask").set_value(MASKS[-1]).run()
    page.number_input(key="face_seed").set_value(3).run()
    assert np.array_equal(page.session_state["face_reading"][1].images[1], drawn[-1].image)


@pytest.mark.parametrize(
    ("mask", "words"),
    [("none", "bare"), ("n95_valve:nose_out", "N95 with valve, nose out"), ("cloth:checks:red", "cloth, red, checks")],
)
def test_masks_in_words(mask, words):
    assert mask_words(mask) == words


def test_the_lab_shows_drift_and_flips_of_every_kind(page):
    found = page.session_state["lab_found"][1]
    assert len(found.images) == 3 * len(MASKS)
    text = "\n".join(str(element.value) for kind in ("markdown", "html") for element in page.get(kind))
    for row in found.table.query("flip").itertuples():
        assert f"{row.task} " in text and f"⇄ {row.answer}" in text
    assert 'class="lab"' in text and text.count("<td><img") == len(found.images)
    assert "Grad-CAM++" in page.selectbox(key="lab_method").options
    page.segmented_control(key="lab_vary").set_value("Drawing").run()
    page.selectbox(key="lab_show").set_value("gender").run()
    assert not page.exception and set(page.session_state["lab_found"][1].table["seed"]) == set(range(8))
    page.toggle(key="lab_flips").set_value(True).run()
    assert not page.exception


def test_a_variant_opens_on_the_page_face(page):
    page.selectbox(key="lab_open").set_value(4).run()
    row = page.session_state["lab_found"][1].table.query("variant == 4").iloc[0]
    next(button for button in page.button if button.label == "Open in Face").click().run()
    assert not page.exception and page.selectbox(key="face_mask").value == row["mask"]
    assert page.number_input(key="face_seed").value == row["seed"]
