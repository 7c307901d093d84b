import numpy as np
import pytest
import torch

from analyses.attribution import Attribution, explain
from analyses.attribution.regions import REGIONS, worn_with_regions
from analyses.explanation import Explanation, explain_faces
from maskmtl.dataset import wear
from maskmtl.inference import to_input
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return MaskMTL(TASKS, channels=3, encoder="compact").eval()


@pytest.fixture(scope="module")
def few(demo_faces):
    return demo_faces.select(np.arange(0, 30, 2))


@pytest.fixture(scope="module")
def found(model, few):
    return explain_faces(model, few, methods=("hirescam", "gradcam"), seed=3, batch_size=4)


def worn(faces, row, mask, seed):
    face = faces.images[row], faces.landmarks.points[row], faces.table["face_id"].iloc[row]
    return worn_with_regions(*face, [mask], seed=seed, side=48)[0][:2]


def test_maps_add_up_over_regions_and_regions_lose_what_ablation_says(model, few, found):
    assert len(found.energy) == 15 * 2 * 2 * 3 * len(REGIONS) and len(found.effects) == 15 * 2 * 3 * len(REGIONS)
    image, regions = worn(few, 4, "surgical", seed=3)
    x = to_input(image[None], model)
    of_face = found.energy[
        (found.energy["face_id"] == few.table["face_id"].iloc[4]) & (found.energy["mask"] == "surgical")
    ]
    for method in ("hirescam", "gradcam"):
        for task, values in explain(model, x, method=method).values.items():
            rows = of_face[(of_face["task"] == task) & (of_face["method"] == method)]
            assert (rows["positive"] - rows["negative"]).sum() == pytest.approx(
                values.sum(dtype=float), rel=1e-5, abs=1e-6
            )
    eyes = torch.from_numpy(regions[REGIONS.index("eyes")])
    hidden = x * (1 - eyes) + x.mean(dim=(2, 3), keepdim=True) * eyes
    with torch.no_grad():
        lost = (model(x)["age"] - model(hidden)["age"]).item()
    effect = found.effects.set_index(["face_id", "mask", "task", "region"])["effect"]
    own = effect[few.table["face_id"].iloc[4], "surgical", "age", "eyes"]
    assert own == pytest.approx(lost, rel=1e-3, abs=1e-5)


def test_masks_are_those_of_predict(few):
    for i in (0, 1):
        image, regions = worn(few, i, "cloth:red", seed=5)
        expected = wear(few.images[i], few.landmarks.points[i], few.table["face_id"].iloc[i], "cloth:red", 5)
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_allclose(regions.sum(axis=0), 1, atol=1e-5)


def test_batches_do_not_matter(model, few, found):
    again = explain_faces(model, few, methods=("hirescam", "gradcam"), seed=3, batch_size=64)
    keys = ["face_id", "mask", "task", "method", "region"]
    one, other = (table.energy.set_index(keys).sort_index()["share"] for table in (found, again))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_summary_and_leakage(found):
    summary = found.summary()
    bare = summary[(summary["mask"] == "none") & (summary["task"] == "age") & (summary["method"] == "gradcam")]
    assert "mask" not in set(bare["region"]) and bare["share"].sum() == pytest.approx(1, abs=0.02)
    many = summary[summary["share"] > 0]  # without spread there is no interval
    assert len(many) > 20
    assert (many["ci_low"] <= many["share"]).all() and (many["share"] <= many["ci_high"]).all()
    leaks = found.leakage(["gender"])
    assert set(leaks["method"]) == {"hirescam", "gradcam"} and leaks.groupby(["task", "method"])["n"].sum().max() <= 15
    assert set(found.leakage(["mask"])["mask"]) == {"surgical"}


def test_tables_come_back(found, few, tmp_path):
    found.save(tmp_path)
    loaded = Explanation.load(tmp_path, few)
    assert loaded.about == found.about
    assert loaded.summary().equals(found.summary())
    with pytest.raises(ValueError, match="folder should hold an explanation"):
        Explanation.load(tmp_path / "none", few)


def test_maps_are_handed_out_as_they_are_made(model, few):
    kept: dict[tuple[str, str, int], Attribution] = {}
    explain_faces(
        model,
        few,
        masks=("none",),
        batch_size=10,
        keep=lambda method, mask, first, maps: kept.update({(method, mask, first): maps}),
    )
    assert list(kept) == [("hirescam", "none", 0), ("hirescam", "none", 10)]
    assert [len(maps.values["age"]) for maps in kept.values()] == [10, 5]


def test_no_faces(model, few):
    with pytest.raises(ValueError, match="faces should be at least one"):
        explain_faces(model, few.select(np.zeros(0, int)))
