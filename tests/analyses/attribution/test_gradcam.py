"""Class activation maps against numbers worked out by hand, against Captum and against pytorch-grad-cam."""

import numpy as np
import pytest
import torch

from analyses.attribution import explain
from maskmtl import __version__
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.inference import to_input
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS, Classes
from tests.analyses.attribution.networks import IMAGE, ByHand, Head, maskmtl, small


@pytest.mark.parametrize(
    ("task", "index", "explained", "expected"),
    [
        ("age", None, -1, [[2.25, 1.5], [0.75, 1.0]]),  # A0 / 4 + A1
        ("gender", None, 0, [[-1.5, 0.0], [1.5, 2.0]]),  # class 0, whose score is -logit: A0 / 2 - A1
        ("gender", 1, 1, [[1.5, 0.0], [-1.5, -2.0]]),
        ("ethnicity", None, 2, [[0.0, 3.0], [6.0, 8.0]]),  # 2 A0 - A1
        ("ethnicity", 4, 4, [[-4.0, -2.0], [0.0, 0.0]]),  # -2 A1
        ("ethnicity", 0, 0, [[0.0, 0.0], [0.0, 0.0]]),  # nothing speaks for it
    ],
)
def test_by_hand(task, index, explained, expected):
    attribution = explain(ByHand(), IMAGE, tasks=[task], index=index)
    assert attribution.values[task].tolist() == [expected]
    assert attribution.index[task].tolist() == [explained]


def test_hirescam_by_hand():
    """Weight times activation at each place: for a linear head they add up to the score without its bias."""
    maps = explain(ByHand(), IMAGE, method="hirescam", index={"gender": 0, "ethnicity": 2}).values
    np.testing.assert_array_equal(maps["age"][0], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(maps["gender"][0], [[-4, 4], [0, 0]])  # of class 0: the negative logit, 0 - 1 + 1
    np.testing.assert_array_equal(maps["ethnicity"][0], [[4, -4], [0, 16]])


@pytest.mark.parametrize(
    ("method", "age", "gender", "ethnicity"),  # weights of A0 and A1
    [
        ("gradcampp", (1 / 12, 4 / 14), (1 / 11, 0), (2 * 4 / 42, 0)),  # the sum over places of g / (2 + g sum(A))
        ("ablationcam", (1 / 10, 0), (4 / 10, -4 / 3), (20 / 10, -4 / 3)),  # what the channel gives, over sum(A)
    ],
)
def test_weights_by_hand(method, age, gender, ethnicity):
    maps = explain(ByHand(), IMAGE, method=method, index={"gender": 0, "ethnicity": 2}).values
    a0, a1 = np.array([[1, 2], [3, 4]]), np.array([[2, 1], [0, 0]])
    for task, (w0, w1) in {"age": age, "gender": gender, "ethnicity": ethnicity}.items():
        np.testing.assert_allclose(maps[task][0], w0 * a0 + w1 * a1, rtol=1e-6)


def test_layercam_by_hand():
    maps = explain(ByHand(), IMAGE, method="layercam", index={"gender": 0, "ethnicity": 2}).values
    np.testing.assert_array_equal(maps["age"][0], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(maps["gender"][0], [[0, 4], [0, 0]])
    np.testing.assert_array_equal(maps["ethnicity"][0], [[4, 0], [0, 16]])


def test_eigencam_by_hand():
    """A A^T = [[30, 4], [4, 5]] has the eigenvalue (35 + sqrt(689)) / 2, with a vector along (4, that - 30)."""
    attribution = explain(ByHand(), IMAGE, method="eigencam")
    direction = np.array([4, (35 + 689**0.5) / 2 - 30])
    w0, w1 = direction / np.linalg.norm(direction)
    for values in attribution.values.values():  # of no task
        np.testing.assert_allclose(values[0], [[w0 + 2 * w1, 2 * w0 + w1], [3 * w0, 4 * w0]], rtol=1e-5)
    assert attribution.unit == "activation"


def test_result():
    attribution = explain(ByHand(), IMAGE)
    assert list(attribution.values) == list(attribution.index) == ["age", "gender", "ethnicity"]
    assert (attribution.method, set(attribution.layers.values())) == ("gradcam", {"encoder_conv"})
    assert (attribution.unit, attribution.options) == ("score", {})
    assert attribution.logits["gender"].tolist() == [[-1.0]]
    assert attribution.versions == {"maskmtl": __version__, "torch": torch.__version__}
    assert attribution.positive()["gender"].tolist() == [[[0.0, 0.0], [1.5, 2.0]]]
    assert attribution.values["gender"].min() == -1.5  # the raw map stays as it is


@pytest.mark.parametrize("network", [small, maskmtl])
def test_equals_captum(network):
    from captum.attr import LayerGradCam

    model, images = network()
    for task, spec in model.specs.items():
        for index in range(len(spec.target.names)) if isinstance(spec.target, Classes) else [None]:
            ours = explain(model, images, tasks=[task], index=index).values[task]
            theirs = LayerGradCam(Head(model, task, index), model.map_layer(task)).attribute(images, target=0)
            peak = np.abs(ours).max()
            assert peak > 0
            np.testing.assert_allclose(ours / peak, theirs[:, 0].detach() / peak, atol=1e-6)


def test_equals_captum_on_the_default_model(demo_faces):
    from captum.attr import LayerGradCam

    model = load_model(DEFAULT_MODEL, "cpu")
    images = to_input(demo_faces.images[:4], model)
    attribution = explain(model, images)
    for task, ours in attribution.values.items():
        head = Head(model, task, torch.as_tensor(attribution.index[task]))
        theirs = LayerGradCam(head, model.map_layer(task)).attribute(images, target=0)[:, 0].detach()
        np.testing.assert_allclose(ours, model.per_picture(theirs), atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize(
    ("method", "peer", "layer"),
    [
        ("gradcam", "GradCAM", "encoder.2"),
        ("hirescam", "HiResCAM", "encoder.2"),
        ("gradcampp", "GradCAMPlusPlus", "after"),  # a ReLU: where ours and theirs have the same denominator
        ("layercam", "LayerCAM", "encoder.2"),
        ("layercam", "LayerCAM", "after"),
    ],
)
def test_equals_pytorch_grad_cam_up_to_its_scaling(method, peer, layer):
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, images = small()
    with torch.no_grad():
        for head in model.heads.values():
            head[-1].weight *= 100  # the peer adds 1e-6 to squared gradients
    for task, index in (("age", None), ("glasses", 0), ("glasses", 1), ("ethnicity", 3)):
        ours = explain(model, images, tasks=[task], index=index, method=method, layer=layer).positive()[task]
        scaled = ours - ours.min(axis=(1, 2), keepdims=True)
        scaled /= scaled.max(axis=(1, 2), keepdims=True).clip(1e-7)
        with getattr(pytorch_grad_cam, peer)(Head(model, task, index), [model.get_submodule(layer)]) as cam:
            theirs = cam(images, targets=[ClassifierOutputTarget(0)] * len(images))
        np.testing.assert_allclose(scaled, theirs, atol=2e-3)


def test_work_in_place_after_the_layer_changes_nothing():
    (model, images), (in_place, _) = small(), small(in_place=True)
    plain, other = explain(model, images), explain(in_place, images)
    for task in model.specs:
        np.testing.assert_array_equal(plain.values[task], other.values[task])


def test_layer_is_named_as_the_model_names_it():
    model, images = maskmtl()
    attribution = explain(model, images)
    assert all(model.get_submodule(layer) is model.map_layer(task) for task, layer in attribution.layers.items())
    assert all(values.shape == (2, 24, 24) for values in attribution.values.values())


def test_ablationcam_of_a_network_that_also_reads_the_mirror_image():
    """Against one forward pass per channel."""
    torch.manual_seed(0)
    model = MaskMTL(TASKS, encoder="compact", mirror=True).eval()
    x, layer = torch.rand(1, 1, 48, 48), "sharing.blocks.0.1"
    ours = explain(model, x, tasks=["ethnicity"], index=1, method="ablationcam", layer=layer).values["ethnicity"]
    seen = []
    with torch.no_grad():
        hook = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.append(output))
        before = model(x)["ethnicity"][0, 1]
        hook.remove()
        activations = seen[0]  # (2, 256, 3, 3): the picture's and its mirror image's
        maps = torch.zeros(2, 3, 3)
        for channel in range(activations.shape[1]):
            kept = torch.ones(activations.shape[1], 1, 1)
            kept[channel] = 0
            hook = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output, k=kept: output * k)
            drop = before - model(x)["ethnicity"][0, 1]
            hook.remove()
            maps += drop / activations[:, channel].abs().sum() * activations[:, channel]
    expected = (maps[:1] + maps[1:].flip(2)).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())
