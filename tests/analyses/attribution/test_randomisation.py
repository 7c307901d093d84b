"""Copies of a network with random weights: which layers, and what of them stays."""

import pytest
import torch

from analyses.attribution.randomisation import paths, redrawn
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS
from tests.analyses.attribution.networks import maskmtl, small

ENCODER = ["encoder.conv1", "encoder.norm1", "encoder.conv2", "encoder.norm2"]
BLOCK = [f"attention.{name}" for name in ("theta", "phi", "g", "w", "norm")]


def dense(task):
    return [f"sharing.heads.{task}.{layer}" for layer in (1, 4, 6)]


def test_paths_of_hierarchical_sharing():
    """Ethnicity goes through gender's convolution; nobody goes through another's head."""
    found = paths(*maskmtl())
    first, second = (["sharing.blocks.%d.conv" % at, "sharing.blocks.%d.norm" % at] for at in (0, 1))  # noqa: UP031
    assert found["age"] == ENCODER + BLOCK + dense("age")
    assert found["gender"] == ENCODER + BLOCK + first + dense("gender")
    assert found["ethnicity"] == ENCODER + BLOCK + first + second + dense("ethnicity")


def test_paths_of_soft_sharing_have_nothing_in_common():
    model = MaskMTL(TASKS, sharing="soft", encoder="compact", nonlocal_block=False).eval()
    found = paths(model, torch.rand(1, 1, 48, 48))
    for task, names in found.items():
        assert names and all(name.startswith(f"towers.{task}.") for name in names)


def test_paths_survive_work_in_place_and_leave_no_hook():
    model, images = small(in_place=True)
    assert paths(model, images)["age"] == ["encoder.0", "encoder.2", "heads.age.0", "heads.age.5"]
    assert not any(module._forward_hooks for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_redrawn_modules_and_no_others():
    model, images = small()
    with torch.no_grad():
        before = model(images)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    other = redrawn(model, ["encoder.2", "heads.age.0"], seed=0)
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], kept[name])  # the model itself stays
        if not name.startswith(("encoder.2.", "heads.age.0.")):
            assert torch.equal(value, kept[name])
    assert torch.equal(other.encoder[2].running_var.sort().values, kept["encoder.2.running_var"].sort().values)
    assert not torch.equal(other.encoder[2].running_var, kept["encoder.2.running_var"])
    drawn, trained = other.heads["age"][0].weight, model.heads["age"][0].weight  # 216 values
    assert 0.8 < drawn.std() / trained.square().mean().sqrt() < 1.2
    assert abs(torch.corrcoef(torch.stack([drawn.flatten(), trained.flatten()]))[0, 1]) < 0.3
    with torch.no_grad():
        assert not torch.allclose(other(images)["age"], before["age"])


def test_a_seed_gives_the_same_copy():
    model, _ = small()
    one, same, another = (redrawn(model, ["heads.age.5"], seed=seed).heads["age"][5].weight for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, another)


def test_unknown_modules_are_named():
    with pytest.raises(ValueError, match="modules should be names of the model's modules, got 'encoder9'"):
        redrawn(small()[0], ["encoder9"], seed=0)
