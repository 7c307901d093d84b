"""Region ablation and region Shapley values: games worked out by hand, and what the values add up to."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from analyses.attribution import explain
from analyses.attribution.region_methods import EFFECTS, region_effects
from analyses.attribution.regions import REGIONS, face_regions, on_grid, region_energy
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.inference import to_input
from maskmtl.masks import overlay
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS
from tests.analyses.attribution.networks import IMAGE, ByHand, maskmtl, small

BOTH = ("region_ablation", "region_shapley")
PIXELS = torch.eye(4).reshape(1, 4, 2, 2)  # each a region


class Games(nn.Module):
    """Of pixels a, b, c, d: a and b count together only, and of c and d the larger one."""

    specs = TASKS

    def forward(self, x):
        a, b, c, d = x.flatten(1).T
        both, either, zero = a * b, torch.maximum(c, d), torch.zeros_like(a)
        classes = torch.stack([zero, both - 1, both + either, zero, zero], dim=1)
        return {"age": both[:, None], "gender": either[:, None], "ethnicity": classes}


def soft(pictures, count, side):
    """Regions (B, R, S, S) that overlap everywhere."""
    return torch.rand(pictures, count, side, side, generator=torch.Generator().manual_seed(1)).softmax(dim=1)


def sums(maps, regions):
    return {task: np.einsum("bhw,brhw->br", values.astype(float), regions) for task, values in maps.items()}


def worth(model, images, attribution, regions, members):
    """Task -> (B,) score of the pictures with only the regions in `members` shown."""
    shown = regions[:, sorted(members)].sum(dim=1, keepdim=True)
    with torch.no_grad():
        logits = model(images * shown + images.mean(dim=(2, 3), keepdim=True) * (1 - shown))
    index = {task: torch.as_tensor(classes) for task, classes in attribution.index.items()}
    return {task: spec.target.score(logits[task], index[task]).double().numpy() for task, spec in model.specs.items()}


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize("method", BOTH)
def test_where_nothing_interacts_both_are_occlusion(method):
    """One pixel at a time becomes 2.5, or black; a head is a sum over pixels."""
    attribution = explain(ByHand(), IMAGE, index={"gender": 0, "ethnicity": 2}, method=method, regions=PIXELS)
    expected = {"age": [[-1.5, 0], [0, -2]], "gender": [[-3, -1], [0, 1]], "ethnicity": [[-6, -2], [0, 6]]}
    for task, values in expected.items():
        np.testing.assert_allclose(attribution.values[task][0], values, atol=1e-6)
    assert set(attribution.layers.values()) == {"input"}
    black = explain(ByHand(), IMAGE, tasks=["age"], method=method, regions=PIXELS, fill=0.0).values["age"][0]
    np.testing.assert_allclose(black, [[1, 0], [0, -12]], atol=1e-6)


def test_games_by_hand():
    """a = 2, b = 3, c = 4, d = 1 against black. Alone, a or b makes 0, both 6; c makes 4, d 1, both 4.

    Ablation counts the 6 twice, and gives d nothing though c would be missed less for its sake. By Shapley a and b
    share the 6; c gets (4 + 3) / 2, d gets (1 + 0) / 2; what a task does not read gets 0.
    """
    image = torch.tensor([[[[2.0, 3.0], [4.0, 1.0]]]])
    ablation, shapley = (explain(Games(), image, method=method, regions=PIXELS, fill=0.0) for method in BOTH)
    assert ablation.index["ethnicity"].tolist() == shapley.index["ethnicity"].tolist() == [2]
    for task, lost, shared in (
        ("age", [[6, 6], [0, 0]], [[3, 3], [0, 0]]),
        ("gender", [[0, 0], [3, 0]], [[0, 0], [3.5, 0.5]]),
        ("ethnicity", [[6, 6], [3, 0]], [[3, 3], [3.5, 0.5]]),
    ):
        np.testing.assert_allclose(ablation.values[task][0], lost, atol=1e-6)
        np.testing.assert_allclose(shapley.values[task][0], shared, atol=1e-6)


@pytest.mark.parametrize("method", BOTH)
def test_a_value_is_spread_evenly_over_its_region(method):
    """Left and right half: age loses 1.5 - 0 = 1.5 of the left in sum, -2 of the right."""
    halves = torch.tensor([[[[1.0, 0], [1, 0]], [[0, 1], [0, 1]]]])
    values = explain(ByHand(), IMAGE, tasks=["age"], method=method, regions=halves).values["age"][0]
    np.testing.assert_allclose(values, [[-0.75, -1], [-0.75, -1]], atol=1e-6)


def test_the_default_is_a_grid_of_equal_cells():
    model, images = maskmtl()
    cells = np.kron(np.eye(6).reshape(6, 3, 2), np.ones((16, 24)))
    given = explain(model, images, method="region_ablation", regions=np.stack([cells] * 2)).values
    for task, values in explain(model, images, method="region_ablation").values.items():
        np.testing.assert_allclose(values, given[task], rtol=1e-5, atol=1e-6 * np.abs(values).max())
        assert len(np.unique(values[0].round(9))) == 6


# ---------------------------------------------------------------- regions that overlap


def test_ablation_is_what_the_score_loses():
    model, images = small()
    regions = soft(4, 4, 8)
    attribution = explain(model, images, method="region_ablation", regions=regions)
    found, before = sums(attribution.values, regions.numpy()), worth(model, images, attribution, regions, range(4))
    for region in range(4):
        after = worth(model, images, attribution, regions, {*range(4)} - {region})
        for task in model.specs:
            np.testing.assert_allclose(found[task][:, region], before[task] - after[task], atol=1e-5)


def test_shapley_values_are_the_mean_over_all_orders_of_what_a_region_adds():
    model, images = small()
    regions = soft(4, 4, 8)
    attribution = explain(model, images, method="region_shapley", regions=regions)
    sets = {frozenset(order[:k]) for order in permutations(range(4)) for k in range(5)}
    scores = {members: worth(model, images, attribution, regions, members) for members in sets}
    found = sums(attribution.values, regions.numpy())
    for task in model.specs:
        expected = np.zeros((4, 4))
        for order in permutations(range(4)):
            for k, region in enumerate(order):
                added = scores[frozenset(order[: k + 1])][task] - scores[frozenset(order[:k])][task]
                expected[:, region] += added / 24
        np.testing.assert_allclose(found[task], expected, atol=1e-5)
        total = scores[frozenset(range(4))][task] - scores[frozenset()][task]
        np.testing.assert_allclose(attribution.values[task].sum(axis=(1, 2)), total, atol=1e-5)


@pytest.mark.parametrize("method", BOTH)
def test_regions_that_are_one_and_the_same_have_one_value(method):
    """Nothing in the picture tells them apart: two of half of each pixel, beside one with edges."""
    model, images = small()
    left = (torch.arange(8) < 4).float().expand(4, 1, 8, 8)
    regions = torch.cat([left / 2, left / 2, 1 - left], dim=1)
    attribution = explain(model, images, method=method, regions=regions)
    found = sums(attribution.values, regions.numpy())
    before, without, without_other = (
        worth(model, images, attribution, regions, members) for members in ({0, 1, 2}, {1, 2}, {0, 1})
    )
    nothing = worth(model, images, attribution, regions, set())
    for task in model.specs:
        np.testing.assert_allclose(found[task][:, 0], found[task][:, 1], atol=1e-6)
        if method == "region_ablation":
            np.testing.assert_allclose(found[task][:, 0], before[task] - without[task], atol=1e-5)
            np.testing.assert_allclose(found[task][:, 2], before[task] - without_other[task], atol=1e-5)
        else:
            np.testing.assert_allclose(found[task].sum(axis=1), before[task] - nothing[task], atol=1e-5)


# ---------------------------------------------------------------- what pictures do not show


@pytest.mark.parametrize(("method", "with_three", "with_two"), [("region_ablation", 4, 3), ("region_shapley", 8, 4)])
def test_a_region_that_is_not_shown_has_no_value_and_costs_no_pass(method, with_three, with_two):
    model, images = small()
    regions = soft(4, 3, 8)
    regions[1::2] = torch.cat([torch.zeros(2, 1, 8, 8), soft(2, 2, 8)], dim=1)
    sizes = []
    hook = model.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    together = explain(model, images, method=method, regions=regions).values
    hook.remove()
    assert sum(sizes) == 4 + 2 * with_three + 2 * with_two
    without = explain(model, images[1::2], method=method, regions=regions[1::2, 1:]).values
    alone = explain(model, images[2:3], method=method, regions=regions[2:3]).values
    for task in model.specs:
        np.testing.assert_allclose(together[task][1::2], without[task], atol=1e-6)
        np.testing.assert_allclose(together[task][2], alone[task][0], atol=1e-6)


@pytest.mark.parametrize("method", BOTH)
def test_blocks_of_any_size_give_the_same(method, monkeypatch):
    model, images = small()
    regions = soft(4, 4, 8)
    whole = explain(model, images, method=method, regions=regions).values
    monkeypatch.setattr("analyses.attribution.scores.PIXELS", 3 * 64)  # three pictures
    sizes = []
    model.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    for task, found in explain(model, images, method=method, regions=regions).values.items():
        np.testing.assert_allclose(found, whole[task], atol=1e-6)
    assert max(sizes) == 3


# ---------------------------------------------------------------- real networks and faces


@pytest.mark.parametrize("method", BOTH)
def test_a_network_that_also_reads_the_mirror_image(method):
    torch.manual_seed(0)
    model = MaskMTL(TASKS, encoder="compact", mirror=True).eval()
    x, regions = torch.rand(2, 1, 48, 48), soft(2, 3, 48)
    maps = explain(model, x, method=method, regions=regions).values
    turned = explain(model, x.flip(3), method=method, regions=regions.flip(3)).values
    model.config["mirror"] = False
    own, mirrored = (
        explain(model, images, tasks=["age"], method=method, regions=shares).values["age"]
        for images, shares in ((x, regions), (x.flip(3), regions.flip(3)))
    )
    for task in TASKS:
        np.testing.assert_allclose(turned[task], maps[task][..., ::-1], atol=1e-4 * np.abs(maps[task]).max())
    mean = 0.5 * (own + mirrored[..., ::-1])
    np.testing.assert_allclose(maps["age"], mean, atol=1e-4 * np.abs(mean).max())


@pytest.mark.parametrize("method", BOTH)
def test_effects_are_the_values_of_the_regions_of_a_face(demo_faces, method):
    model = load_model(DEFAULT_MODEL, "cpu")
    image, points = demo_faces.images[0], demo_faces.landmarks.points[0]
    worn = overlay(image, points, mask="duckbill", seed=0)
    x = to_input(np.stack([image, worn.image]), model)
    fine = np.stack([face_regions(points, 200), face_regions(points, 200, worn.alpha)])
    regions = on_grid(fine, x.shape[2:])
    attribution = explain(model, x, method=method, regions=regions)
    shares = torch.as_tensor(regions)
    members = range(len(REGIONS))
    whole = worth(model, x, attribution, shares, members)
    without = {region: worth(model, x, attribution, shares, {*members} - {region}) for region in members}
    nothing = worth(model, x, attribution, shares, set())
    for task, values in attribution.values.items():
        energy = region_energy(values, regions, ["f", "f"], mask=["none", "duckbill"], task=task, method=method)
        table = region_effects(energy)
        assert tuple(table) == EFFECTS and table["region"].tolist() == list(REGIONS) * 2
        effects = table["effect"].to_numpy().reshape(2, len(REGIONS))
        shown = regions.any(axis=(2, 3))
        assert not shown[0, 0] and shown[1, 0]  # no mask on the bare face
        np.testing.assert_array_equal(np.isnan(effects), ~shown)
        if method == "region_ablation":
            expected = np.stack([whole[task] - without[region][task] for region in members], axis=1)
            np.testing.assert_allclose(effects[shown], expected[shown], atol=1e-5)
        np.testing.assert_allclose(np.nansum(effects, axis=1), values.sum(axis=(1, 2), dtype=float), atol=1e-5)
        if method == "region_shapley":
            np.testing.assert_allclose(np.nansum(effects, axis=1), whole[task] - nothing[task], atol=1e-5)


# ---------------------------------------------------------------- arguments that do not fit


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (torch.ones(4, 1, 8, 4), r"regions should be \(4, R, 8, 8\), .* got \(4, 1, 8, 4\)"),
        (torch.ones(1, 1, 8, 8), r"regions should be \(4, R, 8, 8\), .* got \(1, 1, 8, 8\)"),
        (np.ones((4, 8, 8)), r"regions should be \(4, R, 8, 8\), .* got \(4, 8, 8\)"),
        (np.ones((4, 0, 8, 8)), r"regions should be \(4, R, 8, 8\), .* got \(4, 0, 8, 8\)"),
        (np.ones((4, 2, 8, 8)), r"regions should be in 0..1 and sum to 1"),
        (np.stack([np.full((4, 8, 8), 1.5), np.full((4, 8, 8), -0.5)], axis=1), r"in 0..1 and sum to 1"),
        (np.full((4, 1, 8, 8), np.nan), r"in 0..1 and sum to 1"),
    ],
)
def test_wrong_regions(method, regions, message):
    model, images = small()
    with pytest.raises(ValueError, match=message):
        explain(model, images, method=method, regions=regions)


def test_more_regions_than_shapley_values_can_take():
    model, images = small()
    regions = soft(4, 13, 8)
    with pytest.raises(ValueError, match=r"at most 12 for Shapley values, 2\^R passes, got 13"):
        explain(model, images, method="region_shapley", regions=regions)
    explain(model, images, method="region_ablation", regions=regions)
