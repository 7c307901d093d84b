"""What chance is, and what is more: on a network whose evidence is known to the pixel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses.attribution.faithfulness import correlation, faithfulness
from analyses.attribution.perturbation import grey, random_orders
from tests.analyses.attribution.patches import SIDE, Patches, pictures, truth


def cells(n, side=4):
    """(n, side * side, SIDE, SIDE): a grid."""
    at = np.arange(SIDE) * side // SIDE
    grid = (at[:, None] * side + at == np.arange(side**2)[:, None, None]).astype(np.float32)
    return torch.from_numpy(grid).expand(n, -1, -1, -1)


def figures(maps, images, regions=None, seed=0):
    regions = cells(len(images)) if regions is None else regions
    with torch.no_grad():
        return faithfulness(Patches().eval(), images, maps, {"grey": grey(images)}, regions, seed)


def changed(maps, change):
    return replace(maps, values={task: change(values) for task, values in maps.values.items()})


def test_correlation_by_hand():
    a, b = np.array([[1.0, 2, 3, 9], [1, 1, 1, 1]]), np.array([[1.0, 3, 2, 7], [4, 3, 2, 1]])
    counted = np.array([[1, 1, 1, 0], [1, 1, 1, 1]])
    assert correlation(a, b, counted).tolist() == pytest.approx([0.5, 0])
    assert correlation(a, b)[0] == pytest.approx(np.corrcoef(a[0], b[0])[0, 1])


def test_a_linear_score_loses_with_a_region_what_the_map_has_there():
    images = pictures(4)
    for of_task in figures(truth(Patches(), images), images).values():
        np.testing.assert_allclose(of_task["agreement"], 1, atol=1e-4)
        np.testing.assert_allclose(of_task["agreement_p"], 1 / 201)
        assert (of_task["order_p"] <= 2 / 21).all()
        assert (of_task["faithfulness"] > 3).all()


def test_the_unit_of_a_map_does_not_count_and_its_sign_does():
    images = pictures(3)
    right = truth(Patches(), images)
    found, scaled, negative = (figures(changed(right, f), images) for f in (lambda x: x, lambda x: 7 * x, lambda x: -x))
    for task, of_task in found.items():
        for name, values in of_task.items():
            np.testing.assert_allclose(scaled[task][name], values, rtol=1e-3, err_msg=name)
        np.testing.assert_allclose(negative[task]["agreement"], -of_task["agreement"], rtol=1e-4)
        assert (negative[task]["deletion_grey"] < 0).all() and (of_task["deletion_grey"] > 0).all()
        assert (negative[task]["insertion_grey"] < 0).all() and (of_task["insertion_grey"] > 0).all()


def test_random_maps_reach_what_p_values_promise():
    """Of 120 maps, a tenth has a p-value of at most a tenth, give or take three standard deviations."""
    found = []
    for seed in range(40):
        images = pictures(1, seed)
        right = truth(Patches(), images)
        large = torch.stack([torch.from_numpy(values) for values in right.values.values()])
        random = dict(zip(right.values, random_orders(large, 3, seed=1000 + seed).numpy(), strict=True))
        found += figures(replace(right, values=random), images, seed=seed).values()
    for name in ("order_p", "agreement_p"):
        p = np.concatenate([figure[name] for figure in found])
        assert len(p) == 120
        assert 0.02 <= (p <= 0.1).mean() <= 0.18, name
        assert 0.36 <= (p <= 0.5).mean() <= 0.64, name
    assert np.mean([figure["faithfulness"] >= 3 for figure in found]) <= 0.02


def test_regions_that_a_picture_does_not_show_do_not_count():
    images = pictures(2)
    regions = torch.zeros(2, 4, SIDE, SIDE)
    regions[:, 0, :12], regions[:, 1, 12:, :12], regions[:, 2, 12:, 12:] = 1, 1, 1
    regions[1, 3, :5], regions[1, 0, :5] = 1, 0  # the second picture alone shows the last region
    maps = changed(truth(Patches(), images), lambda x: x + np.float32(0.01))
    few = slice(0, 1)
    first = replace(maps, **{name: {t: v[few] for t, v in getattr(maps, name).items()} for name in ("values", "index")})
    together, alone = figures(maps, images, regions), figures(first, images[few], regions[few, :3])
    for task, of_task in alone.items():
        np.testing.assert_allclose(together[task]["agreement"][0], of_task["agreement"][0], rtol=1e-4)
        np.testing.assert_allclose(together[task]["agreement_p"][0], of_task["agreement_p"][0], rtol=1e-4)
