"""Occlusion: numbers worked out by hand, and Captum's."""

import numpy as np
import pytest
import torch

from analyses.attribution import explain
from tests.analyses.attribution.networks import IMAGE, ByHand, Head, small

INDEX = {"gender": 0, "ethnicity": 2}


def test_by_hand():
    """One pixel at a time becomes 2.5; a head is a sum over pixels, so nothing is left to chance or to order."""
    attribution = explain(ByHand(), IMAGE, index=INDEX, method="occlusion")
    assert attribution.values["age"][0].tolist() == [[-1.5, 0], [0, -2]]
    assert attribution.values["gender"][0].tolist() == [[-3, -1], [0, 1]]
    assert attribution.values["ethnicity"][0].tolist() == [[-6, -2], [0, 6]]
    assert set(attribution.layers.values()) == {"input"}
    black = explain(ByHand(), IMAGE, tasks=["age"], method="occlusion", fill=0.0).values["age"]
    assert black[0].tolist() == [[1, 0], [0, -12]]


def test_one_window_over_everything():
    values = explain(ByHand(), IMAGE, tasks=["age"], method="occlusion", window=2).values["age"]
    assert values[0].tolist() == [[-3.5, -3.5], [-3.5, -3.5]]


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (4, 2), (3, 1)])
def test_equals_captum(window, stride):
    from captum.attr import Occlusion

    model, images = small()
    attribution = explain(model, images, method="occlusion", window=window, stride=stride, fill=0.5)
    for task, ours in attribution.values.items():
        occlusion = Occlusion(Head(model, task, torch.as_tensor(attribution.index[task])))
        sizes = {"sliding_window_shapes": (3, window, window), "strides": (3, stride, stride)}
        theirs = occlusion.attribute(images, baselines=0.5, target=0, **sizes)[:, 0].detach()
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(ours).max())


def test_the_last_window_ends_at_the_border():
    """Side 8, window 3, stride 2: at 0, 2, 4 and 5, so that each pixel is covered."""
    model, images = small()
    values = explain(model, images, tasks=["age"], method="occlusion", window=3, stride=2).values["age"]
    with torch.no_grad():
        hidden = images.clone()
        hidden[:, :, 5:, 5:] = images.mean(dim=(2, 3), keepdim=True)
        drop = (model(images)["age"] - model(hidden)["age"])[:, 0]
    np.testing.assert_allclose(values[:, 7, 7], drop, rtol=1e-5, atol=1e-6)  # the corner lies in one window only
