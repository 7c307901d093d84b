"""What a person does: upload a face and read its answers; assess the demo faces and take the tables home."""

import io
import socket
from urllib.parse import urlparse

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analyses.face import read_face
from maskmtl.checkpoint import available_models, load_model
from maskmtl.evaluation import choose, evaluate
from maskmtl.masks import MASKS, overlay
from maskmtl.photo import find_faces, read_photo

TASKS = ("age", "gender", "ethnicity")


def photo(*faces: np.ndarray, orientation: int | None = None) -> bytes:
    """A JPEG with faces of 320 px side by side on a plain background."""
    canvas = np.full((700, 560 * max(len(faces), 1), 3), (150, 160, 170), np.uint8)
    for i, face in enumerate(faces):
        canvas[190:510, 560 * i + 120 : 560 * i + 440] = cv2.resize(face, (320, 320), interpolation=cv2.INTER_CUBIC)
    image, exif, file = Image.fromarray(canvas), Image.Exif(), io.BytesIO()
    if orientation == 6:  # the camera was held upright: stored turned, to be shown turned back
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6
    image.save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def upload(page, server: str, data: bytes, name: str = "photo.jpg") -> None:
    page.goto(f"{server}/face")
    page.get_by_role("radio", name="Your photo").click()
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/jpeg", "buffer": data})


def answers(page) -> dict[str, list[str]]:
    """Task -> its answers as the page shows them, bare and masked."""
    page.locator(".st-key-task_ethnicity dd").first.wait_for()
    return {task: page.locator(f".st-key-task_{task} dd").all_inner_texts() for task in TASKS}


def no_sideways_scrolling(page) -> bool:
    script = "e => e.scrollWidth <= e.clientWidth && document.documentElement.scrollWidth <= innerWidth"
    return bool(page.get_by_test_id("stMain").evaluate(script))


@pytest.mark.parametrize("orientation", [None, 6])
def test_uploaded_face_gets_the_answers_of_the_model(page, server, demo_faces, tmp_path, orientation):
    data = photo(demo_faces.images[7], orientation=orientation)
    upload(page, server, data)
    page.get_by_text("One face was found").wait_for()
    (found,) = find_faces(read_photo(data))
    reading = read_face(load_model(available_models()[0]["name"]), found.crop, found.points)
    assert answers(page) == {task: [reading.answer(task, mask) for mask in reading.masks] for task in TASKS}
    for mask in ("bare", "surgical"):
        assert page.get_by_alt_text(f"The face, {mask}").evaluate("e => e.complete && e.naturalWidth") == 200
    page.screenshot(path=tmp_path / "face.png", full_page=True)
    assert (tmp_path / "face.png").stat().st_size > 50_000


def test_choices_outlive_another_photo(page, server, demo_faces):
    page.goto(f"{server}/face?face_source=Your+photo&face_check=False&face_mask=n95")
    model = load_model(available_models()[0]["name"])
    for row in (7, 20, 40):
        data = photo(demo_faces.images[row])
        file = {"name": f"{row}.jpg", "mimeType": "image/jpeg", "buffer": data}
        page.locator("input[type=file]").set_input_files(file)
        (found,) = find_faces(read_photo(data))
        reading = read_face(model, found.crop, found.points, masks=("none", "n95"))
        age = reading.answer("age", "n95")
        page.locator(".st-key-task_age dd").nth(1).and_(page.get_by_text(age, exact=True)).wait_for()
        page.locator("[data-test-script-state=notRunning]").wait_for()
        assert not page.get_by_role("switch", name="Check the maps against chance").is_checked()
        page.wait_for_url("**face_check=False**")


def test_predictions_of_a_face_can_be_taken_home(page, server, demo_faces):
    data = photo(demo_faces.images[20])
    upload(page, server, data)
    shown = answers(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Predictions (CSV)").click()
    table = pd.read_csv(download.value.path())
    assert list(table["mask"]) == ["none", "surgical"]
    assert [f"{age:.1f} years" for age in table["age_pred"]] == shown["age"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Map values (CSV)").click()
    assert len(pd.read_csv(download.value.path())) == 3 * 2 * 12 * 12


def test_picture_without_a_face(page, server):
    upload(page, server, photo())
    page.get_by_text("No face was found in this picture.").wait_for()
    page.get_by_text("Use the picture as an aligned crop").click()
    page.get_by_text("No landmarks were found").wait_for()
    assert all(len(of_task) == 2 for of_task in answers(page).values())


def test_picture_with_two_faces(page, server, demo_faces):
    upload(page, server, photo(demo_faces.images[7], demo_faces.images[90]))
    page.get_by_text("2 faces were found. Which one?").wait_for()
    page.get_by_text("Face 1 of 2").wait_for()
    page.get_by_role("radio", name="face 2").press("Space")  # by keyboard
    page.get_by_text("Face 2 of 2").wait_for()


def test_text_file_named_jpg(page, server):
    upload(page, server, b"no picture at all\n" * 20)
    page.get_by_text("This file can't be used").wait_for()
    assert page.get_by_text("Traceback").count() == 0


def test_data_set_page_gives_the_figures_of_maskmtl(page, server, demo_faces, tmp_path):
    page.goto(f"{server}/dataset")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_role("heading", name="Faces", exact=True).wait_for()
    model = load_model(available_models()[0]["name"])
    figures, predictions = evaluate(model, choose(demo_faces, model.name), masks=("none", "surgical"))

    with page.expect_download() as download:
        page.get_by_role("button", name="Predictions (Parquet)").click()
    assert len(pd.read_parquet(download.value.path())) == len(predictions)
    page.get_by_test_id("stMain").get_by_role("link", name="Performance").click()
    page.get_by_role("heading", name="How far it is off").wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Headline (CSV)").click()
    table = pd.read_csv(download.value.path()).set_index(["task", "mask", "metric"])["value"]
    for mask in ("none", "surgical"):
        assert table[("gender", mask, "accuracy")] == pytest.approx(figures[mask]["gender_accuracy"])
        assert table[("ethnicity", mask, "accuracy")] == pytest.approx(figures[mask]["ethnicity_accuracy"])
        assert table[("age", mask, "mae")] == pytest.approx(figures[mask]["age_mae"], abs=1e-3)
        shown = page.locator("table.words").first.inner_text()
        assert f"{100 * figures[mask]['ethnicity_accuracy']:.1f}" in shown

    page.locator(".js-plotly-plot svg").first.wait_for()
    page.screenshot(path=tmp_path / "dataset.png", full_page=True)
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(500)
    assert no_sideways_scrolling(page)


def test_run_can_be_stopped(page, server):
    page.goto(f"{server}/dataset")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("progressbar").wait_for(state="detached")
    page.get_by_role("button", name="Stop").wait_for(state="detached")
    assert page.get_by_role("heading", name="Results").count() == 0


def test_phone(page, server, tmp_path):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{server}/face")
    answers(page)
    assert no_sideways_scrolling(page)
    bare, masked = (page.get_by_alt_text(f"The face, {mask}").bounding_box() for mask in ("bare", "surgical"))
    assert bare["y"] == masked["y"] and bare["x"] < masked["x"]  # side by side even here
    page.screenshot(path=tmp_path / "phone.png")


def test_gallery_of_masks(page, server, demo_faces, tmp_path):
    page.goto(f"{server}/masks")
    colour = page.get_by_role("combobox", name="Colour")
    colour.fill("#AA3300")
    colour.press("Enter")
    page.get_by_text("#aa3300, ").nth(len(MASKS) - 1).wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for()  # a button pressed before would lose its file
    pictures = page.locator(".gallery img")
    assert pictures.count() == 1 + len(MASKS)
    assert all(picture.evaluate("e => e.complete && e.naturalWidth") == 200 for picture in pictures.all())
    with page.expect_download() as download:
        page.get_by_role("button", name="Facts of each mask (CSV)").click()
    for facts in pd.read_csv(download.value.path(), dtype={"seed": "uint64", "face_id": str}).itertuples():
        row = list(demo_faces.table["face_id"]).index(facts.face_id)
        again = overlay(demo_faces.images[row], demo_faces.landmarks.points[row], mask=facts.mask, seed=int(facts.seed))
        assert again.coverage == facts.coverage and again.spec.colour == "#aa3300"
    with page.expect_download() as download:
        page.get_by_role("button", name="Sheet (PNG)").click()
    with Image.open(download.value.path()) as picture:
        assert min(picture.size) > 600  # three faces in a row
    page.get_by_text("Show mask region").click()
    page.get_by_alt_text("The region of the mask, surgical").wait_for()
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(500)
    assert no_sideways_scrolling(page)
    first, second = (pictures.nth(i).bounding_box() for i in (1, 2))
    assert first["y"] == second["y"] and first["x"] < second["x"]  # two in a row
    page.screenshot(path=tmp_path / "masks.png", full_page=True)
    colour.fill("reddish")
    colour.press("Enter")
    page.get_by_text("These masks can't be drawn: colour of a mask should be one of").wait_for()


def test_atlas_of_groups(page, server, tmp_path):
    page.goto(f"{server}/atlas")
    most = page.get_by_role("spinbutton", name="Faces at most")
    most.fill("40")
    most.press("Enter")
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.get_by_role("button", name="Make the atlas").click()
    page.get_by_role("heading", name="Where the model looks").wait_for()
    maps = page.get_by_alt_text("Bare minus masked, age")
    page.get_by_role("button", name="Mean maps (CSV)").wait_for()
    assert maps.count() >= 3 and page.get_by_text("fewer than 20 faces, not tested").count() >= 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Mean maps (CSV)").click()
    table = pd.read_csv(download.value.path())
    assert {"none", "surgical"} == set(table["mask"]) and table.groupby(["task", "mask", "group"])[
        "n"
    ].first().sum() == 240
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(500)
    assert no_sideways_scrolling(page)
    bare, change = (
        page.get_by_alt_text(alt).first.bounding_box() for alt in ("Mean map of age", "Bare minus masked, age")
    )
    assert bare["y"] == change["y"] and change["x"] + change["width"] <= 400
    page.screenshot(path=tmp_path / "atlas.png", full_page=True)


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", b"101"), ("evil.example", b"403")])
def test_foreign_host_names_are_refused(server, host, status):
    """DNS rebinding: a page elsewhere must not reach the workbench under its own name."""
    address = urlparse(server)
    request = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}:{address.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(request.encode())
        assert connection.recv(64).split()[1] == status
