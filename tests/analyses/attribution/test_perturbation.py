"""Deletion along an order and ablation of regions: numbers worked out by hand, and what chance is compared with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.attribution.perturbation import ablated, blurred, curves, grey, random_orders, ranked, texture
from maskmtl.masks import overlay
from tests.analyses.attribution.networks import IMAGE, ByHand

CLASSES = {"age": torch.tensor([-1]), "gender": torch.tensor([0]), "ethnicity": torch.tensor([2])}
BLACK = torch.zeros_like(IMAGE)


def test_deletion_by_hand():
    """IMAGE is [[1, 2], [3, 4]]; age is A0[0, 0] + 4 A1[1, 1], where A0 is the picture and A1 is relu(3 - picture)."""
    ranks = torch.tensor([[[[3, 2], [1, 0]]], [[[0, 1], [2, 3]]]])  # from the first pixel on; from the last
    found = curves(ByHand(), IMAGE, CLASSES, ranks, BLACK, (0, 0.25, 0.5, 1))
    assert found["age"][:, :, 0].tolist() == [[1, 0, 0, 12], [1, 13, 13, 12]]
    # gender, class 0: 1 + 2 A0[0, 1] - 2 A1[0, 0] - 2 A1[1, 1]
    assert found["gender"][0, :, 0].tolist() == [1 + 4 - 4, 1 + 4 - 6, 1 + 0 - 6, 1 - 6 - 6]


def test_ablation_by_hand():
    """A region may take a part of a pixel."""
    regions = torch.tensor([[[[1.0, 0], [0, 0]], [[0, 0], [0, 1.0]], [[0.5, 0], [0, 0]]]])
    assert ablated(ByHand(), IMAGE, CLASSES, regions, BLACK)["age"][:, 0].tolist() == [0, 13, 0.5]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ranks_rise_with_the_map_and_ties_follow_the_other_map(seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(3, (2, 3, 4, 4), generator=generator).float()
    ties = torch.rand(3, 4, 4, generator=generator)
    places = ranked(maps, ties).flatten(2)
    for v, b in np.ndindex(2, 3):
        expected = np.lexsort([ties[b].flatten(), maps[v, b].flatten()])
        assert places[v, b].argsort().tolist() == expected.tolist()


def test_random_orders_are_as_smooth_as_the_maps():
    """Their spectra are those of the maps, the mean of the standardised maps of several tasks, to the last wave."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    wide, narrow = torch.sin(2 * torch.pi * x / 16), 5 + 3 * torch.cos(2 * torch.pi * 4 * y / 16)
    found = random_orders(torch.stack([wide, narrow])[:, None], 20, seed=0)
    assert found.shape == (20, 1, 16, 16)
    power = torch.fft.fft2(found).abs().square()[:, 0] / 16**4
    for frequency in ((0, 1), (0, 15), (4, 0), (12, 0)):  # half of the variance for each map, half of it each direction
        torch.testing.assert_close(power[:, frequency[0], frequency[1]], torch.full((20,), 0.25), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(power.sum(dim=(1, 2)), torch.ones(20), rtol=1e-3, atol=1e-4)


def test_random_orders_do_not_depend_on_the_batch():
    maps = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    together = random_orders(maps, 4, seed=1)
    torch.testing.assert_close(together[:, 1:2], random_orders(maps[:, 1:2], 4, seed=1))
    assert not torch.allclose(together, random_orders(maps, 4, seed=2))


def test_maps_without_shape_give_no_nan():
    assert torch.isfinite(random_orders(torch.zeros(1, 1, 8, 8), 3, seed=0)).all()


def test_grey_and_blur_keep_the_light_and_drop_the_features():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 48, 48, generator=generator)
    images[1] = 0.25
    torch.testing.assert_close(grey(images)[0, :, 5, 7], images[0].mean(dim=(1, 2)))
    torch.testing.assert_close(blurred(images)[1], images[1])
    assert blurred(images)[0].std() < 0.1 * images[0].std()
    ramp = torch.linspace(0, 1, 48).expand(1, 1, 48, 48)
    torch.testing.assert_close(blurred(ramp)[0, 0, :, 24], ramp[0, 0, :, 24], rtol=0, atol=1e-2)  # symmetric


@pytest.mark.parametrize("mask", ["surgical", "cloth"])
def test_texture_is_of_the_mask_alone(demo_faces, mask):
    drawn = overlay(demo_faces.images[0], demo_faces.landmarks.points[0], mask=mask, seed=3)
    found = texture(drawn)
    assert found.shape == drawn.image.shape and found.dtype == np.uint8
    material = {tuple(colour) for colour in drawn.image[drawn.alpha > 0.99].tolist()}
    assert {tuple(colour) for colour in found.reshape(-1, 3).tolist()} <= material
    # where the square lies, it is the picture itself
    same = (found == drawn.image).all(axis=2)
    assert same[drawn.alpha > 0.99].mean() > 0.2


def test_a_mask_too_small_to_show_its_material(demo_faces):
    from dataclasses import replace

    drawn = overlay(demo_faces.images[0], demo_faces.landmarks.points[0], mask="surgical", seed=3)
    with pytest.raises(ValueError, match="hides none"):
        texture(replace(drawn, alpha=np.zeros_like(drawn.alpha)))
