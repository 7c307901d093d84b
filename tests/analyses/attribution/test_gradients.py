"""Integrated gradients and gradient SHAP: numbers worked out by hand, Captum's, and what the maps add up to."""

import numpy as np
import pytest
import torch

from analyses.attribution import explain
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.inference import to_input
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS
from tests.analyses.attribution.networks import IMAGE, ByHand, Head, small

# From the flat 2.5 to IMAGE, channel 0 changes by -1.5, -0.5, 0.5, 1.5 and channel 1 by 1.5, 0.5, -0.5, -0.5.
BY_HAND = {
    "age": [[-1.5, 0], [0, -2]],  # -1.5 * 1 and -0.5 * 4
    "gender": [[-3, -1], [0, 1]],  # of class 0: 1.5 * -2, -0.5 * 2, -0.5 * -2
    "ethnicity": [[-6, -2], [0, 6]],  # of class 2: -1.5 * 4, 0.5 * -4, 1.5 * 4
}


def gap(model, images, baseline, attribution):
    """Task -> (B,) score of the picture less score of the baseline."""
    with torch.no_grad():
        ends = model(images), model(baseline.expand_as(images))
    index = {task: torch.as_tensor(classes) for task, classes in attribution.index.items()}
    targets = {task: spec.target for task, spec in model.specs.items() if task in index}
    return {
        task: (t.score(ends[0][task], index[task]) - t.score(ends[1][task], index[task])).numpy()
        for task, t in targets.items()
    }


def test_integrated_gradients_by_hand():
    options = {"index": {"gender": 0, "ethnicity": 2}, "method": "integrated_gradients", "steps": 1000}
    maps = explain(ByHand(), IMAGE, **options).values
    for task, expected in BY_HAND.items():
        np.testing.assert_allclose(maps[task][0], expected, atol=5e-3)
    from_black = explain(ByHand(), IMAGE, baseline=0.0, **options).values["age"][0]
    np.testing.assert_allclose(from_black, [[1, 0], [0, -12]], atol=2e-2)  # channel 1 falls from 3 to 0, times 4


def test_gradient_shap_by_hand():
    """From greys of level 0..1, in the mean: (1 - level) * 1, and the fall from 3 - level to 0 times 4."""
    values = explain(ByHand(), IMAGE, tasks=["age"], method="gradient_shap", samples=4096).values["age"][0]
    np.testing.assert_allclose(values, [[0.5, 0], [0, -10]], atol=0.1)


@pytest.mark.parametrize("baseline", [None, 0.0])
def test_integrated_gradients_add_up_to_the_score(baseline):
    model, images = small()
    attribution = explain(model, images, method="integrated_gradients", steps=1200, baseline=baseline)
    flat = images.mean(dim=(2, 3), keepdim=True) if baseline is None else torch.full((1, 1, 1, 1), baseline)
    for task, expected in gap(model, images, flat, attribution).items():
        np.testing.assert_allclose(attribution.values[task].sum(axis=(1, 2)), expected, rtol=1e-2)


@pytest.mark.parametrize(("task", "steps"), [("gender", 100), ("ethnicity", 100), ("age", 400)])
def test_integrated_gradients_add_up_to_the_score_on_the_default_model(demo_faces, task, steps):
    """Ages differ little from that of a flat picture: the same error of quadrature is a larger part of it."""
    model = load_model(DEFAULT_MODEL, "cpu")
    images = to_input(demo_faces.images[:1], model)
    attribution = explain(model, images, tasks=[task], method="integrated_gradients", steps=steps)
    expected = gap(model, images, images.mean(dim=(2, 3), keepdim=True), attribution)[task]
    np.testing.assert_allclose(attribution.values[task].sum(axis=(1, 2)), expected, rtol=1e-2)


def assert_integrated_gradients_equal_captum(model, images, steps):
    from captum.attr import IntegratedGradients

    attribution = explain(model, images, method="integrated_gradients", steps=steps)
    baseline = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    for task, ours in attribution.values.items():
        head = Head(model, task, torch.as_tensor(attribution.index[task]).repeat(steps))
        theirs = IntegratedGradients(head).attribute(images, baseline, target=0, n_steps=steps).sum(dim=1)
        np.testing.assert_allclose(ours, theirs.detach(), atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize("steps", [8, 50])
def test_integrated_gradients_equal_captum(steps):
    assert_integrated_gradients_equal_captum(*small(), steps)


def test_integrated_gradients_equal_captum_on_the_default_model(demo_faces):
    model = load_model(DEFAULT_MODEL, "cpu")
    assert_integrated_gradients_equal_captum(model, to_input(demo_faces.images[:2], model), 20)


def test_integrated_gradients_explain_the_averaged_answer():
    torch.manual_seed(0)
    model = MaskMTL(TASKS, encoder="compact", mirror=True).eval()
    images = torch.rand(1, 1, 48, 48)
    attribution = explain(model, images, tasks=["gender"], method="integrated_gradients", steps=100)
    for task, expected in gap(model, images, images.mean(dim=(2, 3), keepdim=True), attribution).items():
        np.testing.assert_allclose(attribution.values[task].sum(axis=(1, 2)), expected, rtol=1e-2)


def test_gradient_shap_tends_to_captum():
    """Both are means over draws: with many, they agree."""
    from captum.attr import GradientShap

    model, images = small()
    images, draws = images[:1], 4096
    ours = explain(model, images, tasks=["age"], method="gradient_shap", samples=draws).values["age"]
    state = np.random.get_state()
    np.random.seed(0)
    try:
        levels = torch.linspace(0, 1, 257).view(-1, 1, 1, 1).expand(-1, *images.shape[1:])
        captum = GradientShap(Head(model, "age", None))
        theirs = captum.attribute(images, levels, n_samples=draws, target=0).sum(dim=1).detach()
    finally:
        np.random.set_state(state)
    np.testing.assert_allclose(ours, theirs, atol=0.03 * np.abs(ours).max())


def test_gradient_shap_is_the_same_for_the_same_seed():
    model, images = small()
    first, same, other = (explain(model, images, method="gradient_shap", seed=seed).values["age"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
