"""What holds for every method of attribution, and what `explain` refuses."""

from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from analyses.attribution import METHODS, explain
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS
from tests.analyses.attribution.networks import Small, maskmtl, small

OF_A_SCORE = [method for method in METHODS if method not in ("eigencam", "attention")]
WITHOUT_BLOCK = [method for method in METHODS if method != "attention"]  # work on networks without a non-local block
FAST: dict[str, dict] = {  # options for networks that take their time
    "integrated_gradients": {"steps": 4},
    "gradient_shap": {"samples": 4},
    "occlusion": {"window": 16, "stride": 16},
}
POSITIVE_GRADIENTS = ("gradcampp", "layercam")  # negative only where activations are


@pytest.fixture(autouse=True)
def two_regions(monkeypatch):
    """Where none are given, so that Shapley values cost 4 passes and not 64."""
    monkeypatch.setattr("analyses.attribution.region_methods.GRID", (2, 1))


@pytest.mark.parametrize("method", WITHOUT_BLOCK)
def test_one_map_per_task_and_image(method):
    model, images = small()
    attribution = explain(model, images, method=method)
    for task in model.specs:
        assert attribution.values[task].dtype == np.float32
        assert attribution.values[task].shape[0] == 4 and attribution.values[task].ndim == 3
        assert np.isfinite(attribution.values[task]).all()
        assert attribution.values[task].max() > 0
        if method in OF_A_SCORE and method not in POSITIVE_GRADIENTS:
            assert attribution.values[task].min() < 0
        assert attribution.index[task].dtype == np.int64


@pytest.mark.parametrize("method", WITHOUT_BLOCK)
def test_an_image_is_explained_alike_alone_and_in_a_batch(method):
    model, images = small()
    together = explain(model, images, method=method)
    for at in range(len(images)):
        alone = explain(model, images[at : at + 1], method=method)
        for task in model.specs:
            peak = np.abs(together.values[task]).max()
            np.testing.assert_allclose(alone.values[task][0] / peak, together.values[task][at] / peak, atol=1e-5)
            assert alone.index[task][0] == together.index[task][at]


@pytest.mark.parametrize("method", OF_A_SCORE)
def test_index_per_image_and_per_task(method):
    model, images = small()
    classes = [0, 4, 2, 4]
    mixed = explain(model, images, method=method, index={"ethnicity": classes})
    assert mixed.index["ethnicity"].tolist() == classes
    for at, index in enumerate(classes):
        single = explain(model, images, tasks=["ethnicity"], method=method, index=index).values["ethnicity"][at]
        np.testing.assert_allclose(mixed.values["ethnicity"][at], single, rtol=1e-5, atol=1e-5 * np.abs(single).max())
    predicted = explain(model, images, method=method)
    np.testing.assert_array_equal(mixed.values["glasses"], predicted.values["glasses"])
    again = explain(model, images, method=method, index=predicted.index)  # one result's index asks the same of another
    for task in model.specs:
        np.testing.assert_array_equal(again.values[task], predicted.values[task])
        np.testing.assert_array_equal(again.index[task], predicted.index[task])


@pytest.mark.parametrize("method", WITHOUT_BLOCK)
def test_the_predicted_class_is_explained(method):
    model, images = small()
    attribution = explain(model, images, method=method)
    with torch.no_grad():
        for task in ("glasses", "ethnicity"):
            predicted = model.specs[task].target.decode(model(images)[task])
            assert attribution.index[task].tolist() == predicted.tolist()


@pytest.mark.parametrize("method", WITHOUT_BLOCK)
@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_callers_grad_mode_does_not_matter(method, context):
    model, images = small()
    expected = explain(model, images, method=method)
    with context():
        found = explain(model, images.clone(), method=method)  # in inference mode the clone is an inference tensor
    for task in model.specs:
        np.testing.assert_array_equal(found.values[task], expected.values[task])


def state(model):
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()],
        [
            len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
            for module in model.modules()
        ],
    )


@pytest.mark.parametrize("method", WITHOUT_BLOCK)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_model_is_left_as_it_came(method, frozen):
    model, images = small()
    expected = explain(model, images, method=method)
    model.train()
    model.encoder[2].eval()  # a frozen batch norm in a model under training
    model.requires_grad_(not frozen)
    before, rng = state(model), torch.get_rng_state()
    found = explain(model, images, method=method)
    after = state(model)
    for name, value in before[0].items():
        assert torch.equal(value, after[0][name]), name
    assert after[1:] == before[1:]
    assert torch.equal(torch.get_rng_state(), rng)
    assert not images.requires_grad
    for task in model.specs:  # and dropout was off
        np.testing.assert_array_equal(found.values[task], expected.values[task])


@pytest.mark.parametrize("method", WITHOUT_BLOCK)
def test_the_model_is_left_as_it_came_after_an_error(method):
    model, images = small()
    model.train()
    model.heads["age"] = nn.Linear(1, 1)  # does not fit
    before = state(model)
    with pytest.raises(RuntimeError):
        explain(model, images, method=method)
    assert state(model)[1:] == before[1:]


@pytest.mark.parametrize("method", WITHOUT_BLOCK)
def test_no_images(method):
    model, images = small()
    attribution = explain(model, images[:0], method=method)
    assert all(len(attribution.values[task]) == len(attribution.index[task]) == 0 for task in model.specs)


@pytest.mark.parametrize("method", METHODS)
def test_a_real_network_is_left_as_it_came(method):
    model, images = maskmtl()
    model.train()
    before, rng = state(model), (torch.get_rng_state(), np.random.get_state()[2])
    explain(model, images, method=method, **FAST.get(method, {}))
    assert state(model)[1:] == before[1:]
    assert torch.equal(torch.get_rng_state(), rng[0]) and np.random.get_state()[2] == rng[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sharing", ["hierarchical", "soft"])
def test_maps_of_a_network_that_also_reads_the_mirror_image(method, sharing):
    torch.manual_seed(0)
    model = MaskMTL(TASKS, encoder="compact", sharing=sharing, mirror=True).eval()
    x, options = torch.rand(2, 1, 48, 48), FAST.get(method, {})
    maps = explain(model, x, method=method, **options).values
    turned = explain(model, x.flip(3), method=method, **options).values
    model.config["mirror"] = False
    own, mirrored = (explain(model, images, method=method, **options).values for images in (x, x.flip(3)))
    for task in TASKS:
        peak = np.abs(maps[task]).max()
        np.testing.assert_allclose(turned[task] / peak, maps[task][..., ::-1] / peak, atol=1e-4)
        # the class that is explained may differ between a picture and its mirror image, and two methods are not linear
        if task == "age" and method not in ("gradcampp", "ablationcam"):
            mean = 0.5 * (own[task] + mirrored[task][..., ::-1])
            np.testing.assert_allclose(maps[task] / peak, mean / peak, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_hook_on_the_model_meets_the_pictures_asked_for_and_nothing_else(method):
    """The answers of the pictures can be taken from the same call, as analyses/face.py does."""
    model, images = maskmtl()
    seen = []
    with torch.no_grad():
        expected = model(images)
    model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    attribution = explain(model, images, method=method, **FAST.get(method, {}))
    assert len(seen) == 1
    for task in model.specs:
        torch.testing.assert_close(seen[0][task].detach(), expected[task])
        np.testing.assert_array_equal(attribution.logits[task], seen[0][task].detach())


class Waits(TorchDispatchMode):
    """Counts the times that a value of a tensor is brought to Python."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", WITHOUT_BLOCK)
def test_nothing_is_brought_to_python_per_image(method):
    model, images = small()
    counts = []
    for n in (1, 4):
        with Waits() as waits:
            explain(model, images[:n], method=method, **(FAST | {"occlusion": {"window": 4}}).get(method, {}))
        counts.append(waits.count)
    assert counts[0] == counts[1] <= 20


def test_blocks_of_any_size_give_the_same(monkeypatch):
    model, images = small()
    methods = ("integrated_gradients", "gradient_shap", "occlusion", "ablationcam")
    whole = {method: explain(model, images, method=method).values for method in methods}
    monkeypatch.setattr("analyses.attribution.scores.PIXELS", 3 * 64)  # three pictures
    ablation = import_module("analyses.attribution.ablationcam")  # whose name in the package is the function's
    monkeypatch.setattr(ablation, "ACTIVATIONS", 4 * 6 * 64)  # four of six channels
    for method in methods:
        for task, expected in whole[method].items():
            found = explain(model, images, method=method).values[task]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_no_forward_pass_takes_more_pictures_than_allowed(monkeypatch):
    model, images = small()
    monkeypatch.setattr("analyses.attribution.scores.PIXELS", 3 * 64)
    sizes = []
    model.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    for method in ("integrated_gradients", "gradient_shap", "occlusion"):
        sizes.clear()
        explain(model, images, method=method)
        assert max(sizes) == 3
    sizes.clear()
    explain(model, images)
    assert sizes == [3, 1]  # all heads from one pass of each picture


def test_each_picture_has_regions_of_its_own():
    model, images = small()
    regions = torch.rand(4, 2, 8, 8).softmax(dim=1)
    attribution = explain(model, images, method="region_ablation", regions=regions)
    alone = explain(model, images[3:], method="region_ablation", regions=regions[3:])
    last = attribution.rows(slice(3, 4))
    assert last.options["regions"].shape == (1, 2, 8, 8)
    for task, values in alone.values.items():
        assert last.index[task] == alone.index[task]
        np.testing.assert_allclose(last.values[task], values, atol=1e-6)
    with pytest.raises(ValueError, match=r"regions should be \(4, R, 8, 8\), .*, got \(3, 2, 8, 8\)"):
        explain(model, images, method="region_ablation", regions=regions[:3])


def test_a_layer_that_never_runs_is_named():
    model, images = small()
    model.encoder_conv_unused = nn.ReLU()
    type_with_other_layer = type("Other", (Small,), {"map_layer": lambda self, task: self.encoder_conv_unused})
    model.__class__ = type_with_other_layer
    with pytest.raises(ValueError, match="should run once in a forward pass, ran 0 times"):
        explain(model, images)


@pytest.mark.parametrize("method", ["gradcam", "gradcampp", "ablationcam", "eigencam"])
def test_any_layer(method):
    model, images = maskmtl()
    tasks, layer = ["gender", "ethnicity"], "sharing.blocks.0"
    attribution = explain(model, images, tasks=tasks, method=method, layer=layer)
    assert attribution.layers == dict.fromkeys(tasks, layer) and attribution.options == {"layer": layer}
    assert all(values.shape == (2, 3, 3) for values in attribution.values.values())
    by_task = explain(model, images, method=method, layer={"gender": layer})  # the others at their own layer
    assert by_task.values["age"].shape == by_task.values["ethnicity"].shape == (2, 24, 24)
    expected = attribution.values["gender"]
    at_own = explain(model, images, tasks=["age"], method=method).values["age"]
    np.testing.assert_allclose(by_task.values["age"], at_own, rtol=1e-5, atol=1e-5 * np.abs(at_own).max())
    np.testing.assert_allclose(by_task.values["gender"], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("encoder.nothing", "layer should be the name of one of the model's modules, got 'encoder.nothing'"),
        ("sharing.heads.age.1", r"layer 'sharing.heads.age.1' should give maps \(B, C, h, w\), gives \(2, 896\)"),
        ("sharing.blocks.0", "layer 'sharing.blocks.0' has no part in the score of task 'age': name another layer"),
        ("", r"layer '' should give maps \(B, C, h, w\), gives dict"),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_wrong_layers(layer, message, frozen):
    model, images = maskmtl()
    model.requires_grad_(not frozen)
    with pytest.raises(ValueError, match=message):
        explain(model, images, layer=layer)
    assert not any(module._forward_hooks for module in model.modules())


# ---------------------------------------------------------------- arguments that do not fit


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tasks": ["smile"]}, ValueError, r"task should be one of \['age', 'ethnicity', 'glasses'\], got 'smile'"),
        ({"index": {"smile": 0}}, ValueError, r"task should be one of \['age', 'ethnicity', 'glasses'\], got 'smile'"),
        ({"method": "guess"}, ValueError, r"method should be one of \[.*'gradcam'.*\], got 'guess'"),
        ({"method": "occlusion", "layer": "encoder"}, TypeError, r"should be among \['window', .*\], got 'layer'"),
        ({"method": "occlusion", "window": 9}, ValueError, r"window should be in 1..8 px, got 9"),
        ({"method": "occlusion", "window": 2, "stride": 3}, ValueError, r"stride should be in 1..2 px, .*, got 3"),
        ({"method": "integrated_gradients", "steps": 0}, ValueError, "steps should be at least 1, got 0"),
        ({"method": "gradient_shap", "samples": 0}, ValueError, "samples should be at least 1, got 0"),
        ({"method": "attention"}, ValueError, "model should have a non-local block for task 'age', has none"),
        ({"index": {"glasses": 2}}, ValueError, r"index of task 'glasses' should be in 0..1 \(no, yes\), got 2"),
        ({"index": {"glasses": [0, 1, -1, 0]}}, ValueError, r"index of task 'glasses' should be in 0..1 .*, got -1"),
        ({"tasks": ["ethnicity"], "index": 5}, ValueError, r"index of task 'ethnicity' should be in 0..4 .*, got 5"),
        ({"tasks": ["ethnicity"], "index": [0, 1]}, ValueError, r"one for each of 4 images, got \[0, 1\]"),
        ({"tasks": ["ethnicity"], "index": 1.0}, TypeError, r"should be of integers, got torch.float32"),
        ({"tasks": ["ethnicity"], "index": True}, TypeError, r"should be of integers, got torch.bool"),
    ],
)
def test_wrong_arguments(options, error, message):
    model, images = small()
    with pytest.raises(error, match=message):
        explain(model, images, **options)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), TypeError, "float tensor, got torch.uint8"),
        (np.zeros((4, 3, 8, 8)), TypeError, "float tensor, got float64"),
        ([0.0], TypeError, "float tensor, got list"),
        (torch.zeros(3, 8, 8), ValueError, r"images should be \(B, C, S, S\), got \(3, 8, 8\)"),
    ],
)
def test_wrong_images(images, error, message):
    with pytest.raises(error, match=message):
        explain(small()[0], images)


def test_memory_that_runs_out_is_met_with_fewer_images(monkeypatch):
    model, images = small()
    expected, sizes, gradcam = explain(model, images).values, [], METHODS["gradcam"]

    def tight(model, images, *args, **options):
        sizes.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradcam(model, images, *args, **options)

    monkeypatch.setitem(METHODS, "gradcam", tight)
    most = 1
    found = explain(model, images).values
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    for task in model.specs:
        np.testing.assert_allclose(found[task], expected[task], atol=1e-5)
    most = 0
    with pytest.raises(torch.OutOfMemoryError):  # on the CPU already
        explain(model, images)
