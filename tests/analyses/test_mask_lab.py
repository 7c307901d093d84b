from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses.attribution import explain
from analyses.mask_lab import COLUMNS, mask_lab
from maskmtl.dataset import wear
from maskmtl.inference import decode, to_input
from maskmtl.masks import MASKS, MaskSpec, overlay
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS

FACE = 7


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MaskMTL(TASKS, encoder="conv3").eval()


@pytest.fixture(scope="module")
def face(demo_faces):
    return demo_faces.images[FACE], demo_faces.landmarks.points[FACE], str(demo_faces.table["face_id"][FACE])


def test_drift_is_measured_on_the_masks_that_other_pages_draw(model, face):
    crop, points, face_id = face
    variants = [(MaskSpec(kind), seed) for kind in MASKS for seed in (0, 3)]
    found = mask_lab(model, crop, points, variants, face_id=face_id)
    assert tuple(found.table.columns) == COLUMNS and len(found.table) == 3 * 16 and not found.failed
    own = decode(model, to_input(np.stack([crop, wear(crop, points, face_id, "kn95", 3)]), model))
    row = found.table.query("kind == 'kn95' and seed == 3").set_index("task")
    age, gender = own["age"]["y_pred"], own["gender"]
    assert row.loc["age", "drift"] == pytest.approx(age[1] - age[0], abs=1e-3) and not row.loc["age", "flip"]
    bare = int(gender["y_pred"][0])
    drift = gender["probabilities"][1, bare] - gender["probabilities"][0, bare]
    assert row.loc["gender", "drift"] == pytest.approx(drift, abs=1e-5)
    assert row.loc["gender", "flip"] == (gender["y_pred"][1] != bare)


def test_maps_are_those_of_the_bare_answer(model, face):
    crop, points, face_id = face
    found = mask_lab(model, crop, points, [(MaskSpec("n95"), 0)], face_id=face_id)
    x = to_input(np.stack([crop, found.images[0]]), model)
    bare = int(decode(model, x[:1])["ethnicity"]["y_pred"][0])
    expected = explain(model, x, method="hirescam", tasks="ethnicity", index=bare).values["ethnicity"]
    np.testing.assert_allclose(found.maps["ethnicity"], expected, atol=1e-5)


def test_a_summary_names_the_largest_drift(model, face):
    crop, points, face_id = face
    said = []
    found = mask_lab(
        model, crop, points, [(MaskSpec(kind), 0) for kind in MASKS], face_id=face_id,
        progress=lambda *counts: said.append(counts),
    )  # fmt: skip
    assert said == [(i, len(MASKS)) for i in range(len(MASKS) + 1)]
    age = found.table.query("task == 'age'")
    summary = found.flips().set_index("task")
    assert abs(summary.loc["age", "drift"]) == age["drift"].abs().max() and summary.loc["age", "flips"] == 0
    assert (summary["n"] == len(MASKS)).all()


def test_masks_that_do_not_fit(model, face, monkeypatch):
    crop, points, face_id = face
    own = overlay

    def fails(image, points, *, mask, **settings):
        if mask.kind == "n95":
            raise ValueError("the face lies outside the picture")
        return own(image, points, mask=mask, **settings)

    monkeypatch.setattr("analyses.mask_lab.overlay", fails)
    with pytest.raises(ValueError, match="at least one mask should fit this face, got none of 1"):
        mask_lab(model, crop, points, [(MaskSpec("n95"), 0)], face_id=face_id)
    variants = [(MaskSpec("n95"), 0), (replace(MaskSpec("cloth"), wear="nose_out"), 4)]
    found = mask_lab(model, crop, points, variants, face_id=face_id)
    assert found.failed == {"n95, drawing 0": "the face lies outside the picture"} and len(found.images) == 1
    assert found.table["asked"].eq(1).all() and found.table["variant"].eq(0).all()
    assert found.table["wear"].eq("nose_out").all() and found.table["seed"].eq(4).all()
