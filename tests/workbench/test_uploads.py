"""Faces that a person uploads, many at once: read, run, kept when asked, gone otherwise."""

import gc
import io
import zipfile
from pathlib import Path

import pytest

from maskmtl.manifest import load_faces
from tests.workbench.test_face_page import jpeg, on_canvas
from workbench.assessed import DEMO_ORDER


@pytest.fixture
def page(app):
    return app.switch_page("views/dataset.py").run().segmented_control(key="set_kind").set_value("Upload").run()


def files(folder, n):
    found = [path for path in sorted(folder.iterdir()) if path.name.count("_") == 3][:n]
    return [(path.name, path.read_bytes(), "image/png") for path in found]


def zipped(entries) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content, _ in entries:
            archive.writestr(name, content)
    return data.getvalue()


def upload(at, *entries):
    return at.file_uploader(key="set_files").set_value(list(entries)).run()


def run(at):
    return next(button for button in at.button if button.label == "Run").click().run()


def test_many_faces_are_read_and_run(page, few_faces, say):
    at = upload(page, *files(few_faces, 5))
    assert not at.exception and not at.error and "5 faces." in say(at)
    folder = Path(str(at.session_state["upload_faces"][1].images._images.filename)).parent
    assert folder.is_dir()
    at = run(at)
    assert not at.exception and not at.error and "all faces" not in say(at) and "5 of 5" in say(at)
    at.button(key="open_0").click().run()
    assert not at.exception and "Annotated age" in say(at)
    at = at.switch_page("views/dataset.py").run()
    assert "run" not in at.query_params  # nobody else could open the link


def test_a_zip_and_what_is_wrong_in_it(page, few_faces, say):
    at = upload(
        page, ("faces.zip", zipped([*files(few_faces, 3), ("9_0_0.png", b"no picture", "")]), "application/zip")
    )
    assert not at.exception and not at.error and "3 faces, 1 picture not taken (most: " in say(at)
    assert "Annotated: age 3, gender 3, ethnicity 3." in say(at)


def test_annotations_in_a_csv_beside_the_photos(page, demo_faces):
    photos = [(f"photo{i}.jpg", jpeg(on_canvas(demo_faces.images[i])), "image/jpeg") for i in (7, 90)]
    table = b"path,age,site\nphoto7.jpg,30,north\nphoto90.jpg,40,south\n"
    at = upload(page, *photos, ("faces.csv", table, "text/csv"))
    assert not at.exception and not at.error
    found = at.session_state["upload_faces"][1].table
    assert found["site"].tolist() == ["north", "south"] and found["age"].tolist() == [30, 40]


def test_uploads_that_can_not_be_used(page, few_faces, say):
    at = upload(page, ("faces.zip", b"PK no zip", "application/zip"))
    assert not at.exception and "archive should be a whole .zip" in at.error[0].value
    picture = files(few_faces, 1)[0]
    at = upload(page, picture, ("faces.zip", zipped([picture]), "application/zip"))
    assert not at.exception and "at most one CSV, or one ZIP" in at.error[0].value
    at = upload(page, ("empty.jpg", b"", "image/jpeg"))
    assert not at.exception and "usable face" in at.error[0].value


def test_a_csv_can_not_name_pictures_of_the_machine(page, few_faces):
    path = next(few_faces.glob("*.png"))
    for named in (str(path), "../../" + path.name):
        at = upload(page, (path.name, path.read_bytes(), "image/png"), ("faces.csv", f"path\n{named}\n".encode(), ""))
        assert not at.exception and "should be those of the photos uploaded with it" in at.error[0].value
    shifted = f"path\n{path.name},{path}\n".encode()  # a field more than the header: pandas would take the second
    at = upload(page, (path.name, path.read_bytes(), "image/png"), ("faces.csv", shifted, ""))
    assert not at.exception and "This upload can't be used" in at.error[0].value


def test_faces_are_kept_only_when_asked(page, few_faces, tmp_path, say):
    at = upload(page, *files(few_faces, 3))
    at.text_input(key="set_keep").set_value(str(tmp_path / "kept")).run()
    at = next(button for button in at.button if button.label == "Keep").click().run()
    assert at.success[0].value == f"Kept in {tmp_path / 'kept'}." and len(load_faces(tmp_path / "kept")) == 3
    at = next(button for button in at.button if button.label == "Keep").click().run()
    assert "should be a new folder" in at.error[0].value
    folder = Path(str(at.session_state["upload_faces"][1].images._images.filename)).parent
    del at.session_state["upload_faces"], at.session_state["set_files"]
    at = at.switch_page("views/about.py").run()
    del at
    page.session_state["upload_tried"] = ""
    gc.collect()
    assert not folder.exists()


def test_faces_outlive_the_uploader(page, few_faces, say):
    at = run(upload(page, *files(few_faces, 3)))
    at = at.switch_page("views/about.py").run().switch_page("views/dataset.py").run()
    assert not at.file_uploader(key="set_files").value and "3 faces." in say(at)
    at = run(at)
    assert not at.exception and not at.error and "3 of 3" in say(at)
    at = next(button for button in at.button if button.label == "Remove the upload").click().run()
    assert "3 faces." not in say(at) and "upload_faces" not in at.session_state


def test_photos_of_the_same_name(page, few_faces, say):
    (one, first, kind), (_, second, _) = files(few_faces, 2)
    at = upload(page, (one, first, kind), (one, second, kind))
    assert not at.exception and not at.error and "2 faces." in say(at)
    at = upload(page, (one, first, kind), (one, second, kind), ("faces.csv", b"path\nx\n", "text/csv"))
    assert not at.exception and f"got more than one {one}" in at.error[0].value


def test_an_upload_while_a_run_goes_on(page, few_faces, say):
    """The run's order stands while the upload is read: two things at work in one run of the page."""
    page.session_state["set_result_ordered"] = DEMO_ORDER
    at = upload(page, *files(few_faces, 3))
    assert not at.exception and not at.error and "3 faces." in say(at) and "set_result" in at.session_state
