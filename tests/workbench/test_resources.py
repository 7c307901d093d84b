"""What the pages share, on its own."""

import os
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from maskmtl.inference import predict
from workbench import resources

NOBODY = 65534


@pytest.fixture
def without_rights(tmp_path):
    """A folder that this process may not read, root or not."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield folder
    if user == 0:
        os.seteuid(user)
    folder.chmod(0o700)


def test_folder_without_rights_is_a_sentence(without_rights):
    assert "no right to read" in str(resources.folder_problem(str(without_rights)))


def test_readable_folder_and_file_are_no_problem(tmp_path):
    (tmp_path / "faces.csv").write_text("path")
    assert resources.folder_problem(str(tmp_path)) is None
    assert resources.folder_problem(str(tmp_path / "faces.csv")) is None


def test_turns_give_the_table_that_predict_gives(models, demo_faces, monkeypatch):
    monkeypatch.setattr("workbench.resources.TURN", 5)
    model, faces = resources.model(str(next(models.iterdir()))), demo_faces.select(np.arange(12))
    steps: list[tuple[int, int]] = []
    turns = resources.predict_in_turns(model, faces, ("none", "surgical"), 3, lambda *step: steps.append(step))
    keys = ["face_id", "mask", "task"]
    whole = predict(model, faces, masks=("none", "surgical"), seed=3)
    turns, whole = (table.sort_values(keys, ignore_index=True) for table in (turns, whole))
    pd.testing.assert_frame_equal(turns, whole, atol=1e-5)
    assert steps == [(0, 12), (5, 12), (10, 12), (12, 12)]


def test_others_get_a_turn_between_the_turns_and_never_within_one(models, demo_faces, monkeypatch):
    monkeypatch.setattr("workbench.resources.TURN", 2)
    model, faces = resources.model(str(next(models.iterdir()))), demo_faces.select(np.arange(6))
    inside, real = [], resources.predict

    def watched(*args, **kwargs):
        inside.append(resources._lock().locked())
        return real(*args, **kwargs)

    def other() -> None:
        with resources.one_at_a_time():
            served.append(True)

    served: list[bool] = []

    def progress(done: int, total: int) -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)

    monkeypatch.setattr("workbench.resources.predict", watched)
    resources.predict_in_turns(model, faces, ("none",), 0, progress)
    assert inside == [True] * 3 and served == [True] * 4


def test_a_set_that_is_being_opened_keeps_nobody_from_another(few_faces, demo_faces, monkeypatch):
    st.cache_resource.clear()  # another test may have opened the set
    began, go_on = threading.Event(), threading.Event()
    real = resources.open_faces

    def slow(source, protocol, *, progress=None):
        if source == str(few_faces):
            began.set()
            assert go_on.wait(30)
        return real(source, protocol, progress=progress)

    monkeypatch.setattr("workbench.resources.open_faces", slow)
    found = []
    first = threading.Thread(target=lambda: found.append(resources.faces(str(few_faces))))
    first.start()
    assert began.wait(30) and len(resources.faces("demo")) == len(demo_faces)

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # who waits for the same set may stop
        resources.faces(str(few_faces), progress=stop)
    second = threading.Thread(target=lambda: found.append(resources.faces(str(few_faces))))
    second.start()
    go_on.set()
    first.join(30)
    second.join(30)
    assert len(found) == 2 and found[0] is found[1] and not resources._sets().opening


def test_stopping_frees_the_lock(models, demo_faces):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resources.predict_in_turns(resources.model(str(next(models.iterdir()))), demo_faces, ("none",), 0, stop)
    assert not resources._lock().locked()


def test_a_folder_is_opened_anew_when_a_picture_below_it_has_changed(few_faces, tmp_path):
    shutil.copytree(few_faces, tmp_path / "all" / "some")
    first = resources.faces(str(tmp_path / "all"))
    assert resources.faces(str(tmp_path / "all")) is first
    next((tmp_path / "all" / "some").glob("*_20170101*")).unlink()
    assert len(resources.faces(str(tmp_path / "all"))) == len(first) - 1
    assert resources.faces(str(tmp_path / "all")) is not first
