"""Grad-CAM against numbers worked out by hand, against Captum and against pytorch-grad-cam."""

import numpy as np
import pytest
import torch
from torch import nn

from analyses.attribution import METHODS, explain
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS, Classes, Scalar, TaskSpec

IMAGE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


class ByHand(nn.Module):
    """Two channels relu(x) and relu(3 - x), then one linear head per task over their 8 values.

    IMAGE gives the activations A0 = [[1, 2], [3, 4]] and A1 = [[2, 1], [0, 0]].
    """

    def __init__(self):
        super().__init__()
        self.specs = TASKS
        self.conv = nn.Conv2d(1, 2, 1)
        self.encoder_conv = nn.ReLU()
        self.heads = nn.ModuleDict({task: nn.Linear(8, spec.target.out_features) for task, spec in TASKS.items()})
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
            self.conv.bias[:] = torch.tensor([0.0, 3.0])
            for head in self.heads.values():
                head.weight.zero_()
                head.bias.zero_()
            self.heads["age"].weight[0] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 4])  # weights of the maps: 1/4, 1
            self.heads["gender"].weight[0] = torch.tensor([0.0, -2, 0, 0, 2, 0, 0, 2])  # -1/2, 1
            self.heads["gender"].bias[0] = -1.0  # logit -4 + 4 - 1 = -1: class 0
            self.heads["ethnicity"].weight[2] = torch.tensor([4.0, 0, 0, 4, 0, -4, 0, 0])  # 2, -1; logit 4 + 16 - 4
            self.heads["ethnicity"].weight[4] = torch.tensor([0.0, 0, 0, 0, 0, 0, 0, -8])  # 0, -2; logit 0

    def map_layer(self, task):
        return self.encoder_conv

    def per_picture(self, maps):
        return maps

    def forward(self, x):
        features = self.encoder_conv(self.conv(x)).flatten(1)
        return {task: head(features) for task, head in self.heads.items()}


class Small(nn.Module):
    """A random network with what real ones have: batch norm, dropout, hidden layers, work in place after the layer."""

    specs = {  # noqa: RUF012
        "age": TaskSpec("age", Scalar("years", 0, 116, mean=33.0, std=20.0)),
        "glasses": TaskSpec("glasses", Classes(("no", "yes"))),
        "ethnicity": TASKS["ethnicity"],
    }

    def __init__(self, in_place=False):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.LeakyReLU(0.3), nn.BatchNorm2d(6))
        self.after = nn.ReLU(inplace=in_place)
        self.heads = nn.ModuleDict(
            {
                task: nn.Sequential(
                    nn.Conv2d(6, 4, 3),
                    nn.Tanh(),
                    nn.AvgPool2d(2),
                    nn.Flatten(),
                    nn.Dropout(0.5),
                    nn.Linear(36, spec.target.out_features),
                )
                for task, spec in self.specs.items()
            }
        )

    def map_layer(self, task):
        return self.encoder[2]

    def per_picture(self, maps):
        return maps

    def forward(self, x):
        features = self.after(self.encoder(x))
        return {task: head(features) for task, head in self.heads.items()}


def small(**options):
    torch.manual_seed(0)
    model = Small(**options).eval()
    with torch.no_grad():
        model.encoder[2].running_mean.uniform_(-0.5, 0.5)
        model.encoder[2].running_var.uniform_(0.5, 2)
    return model, torch.rand(4, 3, 8, 8)


def maskmtl():
    torch.manual_seed(0)
    return MaskMTL(TASKS).eval(), torch.rand(2, 1, 48, 48)


class Head(nn.Module):
    """What Captum and pytorch-grad-cam need: a module whose output (B, 1) is the score that is explained."""

    def __init__(self, model, task, index):
        super().__init__()
        self.model, self.task, self.index = model, task, index

    def forward(self, x):
        return self.model.specs[self.task].target.score(self.model(x)[self.task], self.index)[:, None]


# ---------------------------------------------------------------- the right numbers


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


def test_result():
    attribution = explain(ByHand(), IMAGE)
    assert list(attribution.values) == list(attribution.index) == ["age", "gender", "ethnicity"]
    assert (attribution.method, set(attribution.layers.values())) == ("gradcam", {"encoder_conv"})
    assert attribution.versions == {"torch": torch.__version__}
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


@pytest.mark.parametrize(("method", "peer"), [("gradcam", "GradCAM"), ("hirescam", "HiResCAM")])
def test_equals_pytorch_grad_cam_up_to_its_scaling(method, peer):
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, images = small()
    for task, index in (("age", None), ("glasses", 0), ("glasses", 1), ("ethnicity", 3)):
        ours = explain(model, images, tasks=[task], index=index, method=method).positive()[task]
        scaled = ours - ours.min(axis=(1, 2), keepdims=True)
        scaled /= scaled.max(axis=(1, 2), keepdims=True).clip(1e-7)
        with getattr(pytorch_grad_cam, peer)(Head(model, task, index), [model.map_layer(task)]) as cam:
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


# ---------------------------------------------------------------- what holds for every method


@pytest.mark.parametrize("method", METHODS)
def test_one_map_per_task_and_image(method):
    model, images = small()
    attribution = explain(model, images, method=method)
    for task in model.specs:
        assert attribution.values[task].dtype == np.float32
        assert attribution.values[task].shape[0] == 4 and attribution.values[task].ndim == 3
        assert np.isfinite(attribution.values[task]).all()
        assert attribution.values[task].min() < 0 < attribution.values[task].max()
        assert attribution.index[task].dtype == np.int64


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_explained_alike_alone_and_in_a_batch(method):
    model, images = small()
    together = explain(model, images, method=method)
    for at in range(len(images)):
        alone = explain(model, images[at : at + 1], method=method)
        for task in model.specs:
            np.testing.assert_allclose(alone.values[task][0], together.values[task][at], atol=1e-6)
            assert alone.index[task][0] == together.index[task][at]


@pytest.mark.parametrize("method", METHODS)
def test_index_per_image_and_per_task(method):
    model, images = small()
    classes = [0, 4, 2, 4]
    mixed = explain(model, images, method=method, index={"ethnicity": classes})
    assert mixed.index["ethnicity"].tolist() == classes
    for at, index in enumerate(classes):
        single = explain(model, images, tasks=["ethnicity"], method=method, index=index).values["ethnicity"][at]
        np.testing.assert_allclose(mixed.values["ethnicity"][at], single, atol=1e-6)
    predicted = explain(model, images, method=method)
    np.testing.assert_array_equal(mixed.values["glasses"], predicted.values["glasses"])
    again = explain(model, images, method=method, index=predicted.index)  # one result's index asks the same of another
    for task in model.specs:
        np.testing.assert_array_equal(again.values[task], predicted.values[task])
        np.testing.assert_array_equal(again.index[task], predicted.index[task])


@pytest.mark.parametrize("method", METHODS)
def test_the_predicted_class_is_explained(method):
    model, images = small()
    attribution = explain(model, images, method=method)
    with torch.no_grad():
        for task in ("glasses", "ethnicity"):
            predicted = model.specs[task].target.decode(model(images)[task])
            assert attribution.index[task].tolist() == predicted.tolist()


@pytest.mark.parametrize("method", METHODS)
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
        [len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()],
    )


@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_it_came_after_an_error(method):
    model, images = small()
    model.train()
    model.heads["age"] = nn.Linear(1, 1)  # does not fit
    before = state(model)
    with pytest.raises(RuntimeError):
        explain(model, images, method=method)
    assert state(model)[1:] == before[1:]


@pytest.mark.parametrize("method", METHODS)
def test_no_images(method):
    model, images = small()
    attribution = explain(model, images[:0], method=method)
    assert all(len(attribution.values[task]) == len(attribution.index[task]) == 0 for task in model.specs)


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
@pytest.mark.parametrize("sharing", ["hierarchical", "soft"])
def test_maps_of_a_network_that_also_reads_the_mirror_image(method, sharing):
    torch.manual_seed(0)
    model = MaskMTL(TASKS, encoder="compact", sharing=sharing, mirror=True).eval()
    x = torch.rand(2, 1, 48, 48)
    maps = explain(model, x, method=method).values
    turned = explain(model, x.flip(3), method=method).values
    model.config["mirror"] = False
    own, mirrored = (explain(model, images, method=method).values for images in (x, x.flip(3)))
    for task in TASKS:
        assert maps[task].shape == (2, 12, 12)
        np.testing.assert_allclose(turned[task], maps[task][..., ::-1], atol=1e-6)
        if task == "age":  # the class that is explained may differ between a picture and its mirror image
            np.testing.assert_allclose(maps[task], 0.5 * (own[task] + mirrored[task][..., ::-1]), atol=1e-6)


def test_gradcam_needs_one_forward_pass_for_all_tasks():
    model, images = small()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    explain(model, images)
    assert len(calls) == 1


def test_a_layer_that_never_runs_is_named():
    model, images = small()
    model.encoder_conv_unused = nn.ReLU()
    type_with_other_layer = type("Other", (Small,), {"map_layer": lambda self, task: self.encoder_conv_unused})
    model.__class__ = type_with_other_layer
    with pytest.raises(ValueError, match="should run once in a forward pass, ran 0 times"):
        explain(model, images)


# ---------------------------------------------------------------- arguments that do not fit


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tasks": ["smile"]}, ValueError, r"task should be one of \['age', 'ethnicity', 'glasses'\], got 'smile'"),
        ({"index": {"smile": 0}}, ValueError, r"task should be one of \['age', 'ethnicity', 'glasses'\], got 'smile'"),
        ({"method": "guess"}, ValueError, r"method should be one of \[.*'gradcam'.*\], got 'guess'"),
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
