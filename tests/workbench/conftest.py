import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from maskmtl.checkpoint import DEFAULT_MODEL, save_model
from maskmtl.networks import MaskMTL
from maskmtl.paths import ROOT
from maskmtl.tasks import TASKS

WAIT = 120  # s, on a busy machine


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A models folder with one network of random weights."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    card = {
        "summary": "Random weights, for tests.",
        "licence": "none needed",
        "data": {"name": "nothing", "train": 1234, "val": 5},
        "val": {"none": {"age_mae": 7.25, "gender_accuracy": 0.5, "ethnicity_accuracy": 0.2}},
    }
    save_model(MaskMTL(TASKS), folder / DEFAULT_MODEL, card)
    return folder


@pytest.fixture
def app(models, demo_faces, tmp_path, monkeypatch) -> AppTest:
    """The workbench with that network and no runs, not yet run; maps are checked where a test asks for it."""
    monkeypatch.setattr("maskmtl.checkpoint.MODELS", models)
    monkeypatch.setenv("MASKMTL_RUNS", str(tmp_path / "runs"))
    st.cache_resource.clear()
    st.cache_data.clear()
    app = AppTest.from_file(str(ROOT / "workbench" / "app.py"), default_timeout=WAIT)
    app.session_state["face_check"] = False
    return app


@pytest.fixture
def two_models(models, tmp_path, monkeypatch):
    """The model of random weights, and another one."""
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    torch.manual_seed(1)
    save_model(MaskMTL(TASKS, encoder="conv3"), folder / "second", {"summary": "Other random weights."})
    monkeypatch.setattr("maskmtl.checkpoint.MODELS", folder)
    return folder


@pytest.fixture(scope="session")
def few_faces(demo_faces, tmp_path_factory) -> Path:
    """Twelve demo faces under UTKFace names, which carry their annotations, and one name that lacks a field."""
    folder = tmp_path_factory.mktemp("faces")
    for row in np.linspace(0, len(demo_faces) - 1, 12).astype(int):
        face = demo_faces.table.loc[row]
        name = f"{face['age']:.0f}_{face['gender']:.0f}_{face['ethnicity']:.0f}_20170101{row:09d}.png"
        cv2.imwrite(str(folder / name), demo_faces.images[row][..., ::-1])
    (folder / "61_1_20170109142408075.png").write_bytes(next(folder.iterdir()).read_bytes())
    return folder


@pytest.fixture
def say():
    """All that a page says in words, HTML included."""

    def say(at: AppTest) -> str:
        kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error", "html")
        return "\n".join(str(getattr(element, "value", "")) for kind in kinds for element in at.get(kind))

    return say
