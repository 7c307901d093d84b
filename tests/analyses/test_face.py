from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch

from analyses.attribution import METHODS, Attribution
from analyses.attribution.gate import gate
from analyses.attribution.names import METHOD_NAMES
from analyses.attribution.perturbation import blurred, grey
from analyses.attribution.regions import REGIONS, face_regions, on_grid
from analyses.face import FaceReading, check_maps, describe, percent, read_face, signed
from maskmtl.inference import COLUMNS, predict, to_input, wide
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS

NBSP, MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return MaskMTL(TASKS).eval()


@pytest.fixture(scope="module")
def reading(model, demo_faces):
    face = demo_faces.table.loc[5]
    return read_face(
        model, demo_faces.images[5], demo_faces.landmarks.points[5], seed=2, face_id=face["face_id"],
        labels={task: face[task] for task in TASKS},
    )  # fmt: skip


def made(*rows: tuple) -> FaceReading:
    """A reading whose predictions are given: (mask, task, y_pred, probabilities)."""
    table = [("f", None, mask, task, np.nan, y_pred, p, "m") for mask, task, y_pred, p in rows]
    masks = tuple(dict.fromkeys(row[0] for row in rows))
    specs = {task: TASKS[task] for task in dict.fromkeys(row[1] for row in rows)}
    maps = {task: np.zeros((len(masks), 2, 3), np.float32) for task in specs}
    index = {task: np.full(len(masks), -1) for task in specs}
    images, predictions = np.zeros((len(masks), 4, 4, 3), np.uint8), pd.DataFrame(table, columns=COLUMNS)
    regions = np.stack([face_regions(np.zeros((468, 3)), 4)] * len(masks))
    attribution = Attribution(maps, index, "gradcam", dict.fromkeys(specs, "layer"), {})
    return FaceReading(masks, images, regions, None, predictions, {"gradcam": attribution}, specs)


def test_predictions_are_those_of_predict(model, demo_faces, reading):
    whole = predict(model, demo_faces.select([5]), masks=("none", "surgical"), seed=2)
    keys = ["mask", "task"]
    one, other = (table.sort_values(keys, ignore_index=True) for table in (reading.predictions, whole))
    unlike = ["split", "probabilities"]
    pd.testing.assert_frame_equal(one.drop(columns=unlike), other.drop(columns=unlike), atol=1e-4)
    for a, b in zip(one["probabilities"].dropna(), other["probabilities"].dropna(), strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    assert len(wide(reading.predictions, model.specs)) == 2


def test_one_forward_pass_a_variant_and_no_hook_left(model, demo_faces):
    passes = []
    hook = model.encoder.register_forward_hook(lambda *_: passes.append(1))
    read_face(model, demo_faces.images[0], demo_faces.landmarks.points[0])
    hook.remove()
    assert passes == [1, 1] and not model._forward_hooks and all(p.grad is None for p in model.parameters())


def test_maps_explain_each_variants_own_answer(reading):
    assert reading.masks == ("none", "surgical") and reading.attributions["gradcam"].grid() == "24 × 24"
    for task in ("gender", "ethnicity"):
        for i, mask in enumerate(reading.masks):
            p = reading.probabilities(task)[mask]
            assert reading.explained(task, mask) == p.idxmax()
            assert reading.attributions["gradcam"].index[task][i] == p.to_numpy().argmax()
    assert reading.explained("age", "none") == "age"
    assert not np.array_equal(*reading.maps("age", "gradcam").values())


def test_progress_and_turns(model, demo_faces):
    said, turns = [], []

    @contextmanager
    def turn():
        turns.append("began")
        yield
        turns.append("ended")

    read_face(
        model, demo_faces.images[0], demo_faces.landmarks.points[0], methods=("gradcam", "region_ablation"),
        progress=lambda done, total: said.append((done, total)), turn=turn,
    )  # fmt: skip
    assert said == [(1, 4), (2, 4), (3, 4), (4, 4)] and turns == ["began", "ended"] * 5  # masks are drawn in the first


def test_map_table_holds_every_raw_value_in_its_place(reading):
    table = reading.map_table()
    assert len(table) == 3 * 2 * 24 * 24
    cell = table.query("task == 'gender' and mask == 'surgical' and row == 3 and column == 7")
    assert cell["value"].item() == reading.attributions["gradcam"].values["gender"][1, 3, 7]


def test_several_methods_explain_the_same_answers(model, demo_faces):
    image, points = demo_faces.images[5], demo_faces.landmarks.points[5]
    reading = read_face(model, image, points, methods=("hirescam", "eigencam"))
    assert list(reading.attributions) == ["hirescam", "eigencam"]
    table = reading.map_table()
    assert list(table["method"].unique()) == ["hirescam", "eigencam"] and len(table) == 2 * 3 * 2 * 24 * 24
    with pytest.raises(ValueError, match="methods should name at least one"):
        read_face(model, image, points, methods=())


def test_energy_by_region_adds_up_to_each_map(reading):
    energy = reading.energy()
    assert list(energy["region"].unique()) == list(REGIONS)
    for (task, mask), of_map in energy.groupby(["task", "mask"]):
        total = reading.maps(task, "gradcam")[mask].sum(dtype=float)
        assert (of_map["positive"] - of_map["negative"]).sum() == pytest.approx(total, rel=1e-5, abs=1e-5)
    area = energy[energy["region"] == "mask"].groupby("mask")["area"].first()
    assert area["none"] == 0 and 0.15 < area["surgical"] < 0.6


def test_region_methods_get_the_regions_of_the_face(model, demo_faces):
    reading = read_face(model, demo_faces.images[5], demo_faces.landmarks.points[5], methods=("region_ablation",))
    of_age = reading.maps("age", "region_ablation")["surgical"]
    eyes = on_grid(reading.regions, (48, 48))[1, REGIONS.index("eyes")] > 0.999
    assert eyes.sum() > 20 and np.ptp(of_age[eyes]) < 1e-3 * np.ptp(of_age)


def test_checks_are_those_of_the_gate(model, reading):
    told = []
    checks = check_maps(model, reading, progress=lambda done, total: told.append(done / total))
    assert told[0] == 0 and 0.5 < told[-1] < 1 and told == sorted(told)
    assert list(checks["mask"]) == ["none", "surgical"] * 3 and set(checks["method"]) == {"gradcam"}
    x = to_input(reading.images, model)
    material = to_input(np.stack([reading.material] * 2), model)
    fills = {"grey": grey(x), "blur": blurred(x), "mask": material}
    expected = gate(model, x, reading.attributions["gradcam"], fills=fills)
    pd.testing.assert_frame_equal(checks.drop(columns="mask"), expected.drop(columns="picture"))
    assert material.std(dim=(2, 3)).max() < 0.1  # cloth, without a face


def test_every_method_has_a_name():
    assert set(METHODS) <= set(METHOD_NAMES)


def test_mask_follows_seed_and_picture(model, demo_faces):
    image, points = demo_faces.images[0], demo_faces.landmarks.points[0]
    first, again, other = (read_face(model, image, points, seed=seed).images for seed in (0, 0, 1))
    assert np.array_equal(first, again) and np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_unknown_mask(model, demo_faces):
    with pytest.raises(ValueError, match="mask should be one of"):
        read_face(model, demo_faces.images[0], demo_faces.landmarks.points[0], masks=("beard",))


def test_annotation(reading, demo_faces):
    assert reading.annotation("age") == f"{demo_faces.table['age'][5]:g} years"
    assert made(("none", "age", 30.0, None)).annotation("age") is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (34.1, 37.3, "+3.2 years"),
        (40.0, 38.46, f"{MINUS}1.5 years"),
        (20.0, 20.04, "unchanged"),
        (19.66, 19.84, "+0.1 years"),
    ],
)
def test_change_of_age_is_the_difference_of_what_is_shown(before, after, words):
    assert made(("none", "age", before, None), ("surgical", "age", after, None)).change("age", "surgical") == words


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([0.982, 0.018], [0.979, 0.021], f"unchanged, male 98{NBSP}%"),
        ([0.81, 0.19], [0.64, 0.36], f"male 81{NBSP}% → 64{NBSP}%"),
        ([0.81, 0.19], [0.48, 0.52], f"male 81{NBSP}% → female 52{NBSP}%"),
    ],
)
def test_change_of_class(before, after, words):
    rows = [(mask, "gender", float(np.argmax(p)), p) for mask, p in (("none", before), ("surgical", after))]
    assert made(*rows).change("gender", "surgical") == words


def test_probabilities_need_classes():
    with pytest.raises(ValueError, match="task should have classes"):
        made(("none", "age", 3.0, None)).probabilities("age")


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0"), (0.001, "<1"), (0.007, "1"), (0.814, "81"), (0.9949, "99"), (0.998, ">99"), (1, "100")],
)
def test_percent(share, words):
    assert percent(share) == f"{words}{NBSP}%"


def test_signed():
    assert (signed(1.26), signed(-0.3), signed(-0.04), signed(0.04)) == ("+1.3", f"{MINUS}0.3", "0.0", "0.0")


def test_describe():
    labels = {"age": 27.0, "gender": 1.0, "ethnicity": 2.0}
    assert describe(TASKS, labels) == "age 27 years, gender female, ethnicity asian"
    assert describe(TASKS, {"age": float("nan"), "gender": 0.0}) == "gender male"
    assert describe(TASKS, {}) == "no annotations"
