"""The non-local block's attention as a map."""

import numpy as np
import pytest
import torch

from analyses.attribution import explain
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS
from tests.analyses.attribution.networks import maskmtl


def test_what_each_place_receives():
    model, images = maskmtl()
    attribution = explain(model, images, method="attention")
    with torch.no_grad():
        weights = model.attention.attention(model.encoder(images)).numpy()  # row i is what place i attends to
    for task, values in attribution.values.items():
        assert values.shape == (2, 6, 6)
        np.testing.assert_allclose(values.reshape(2, 36), weights.mean(axis=1), rtol=1e-5)
        np.testing.assert_array_equal(values, attribution.values["age"])  # of no task
        assert attribution.layers[task] == "attention"
    assert attribution.unit == "attention"


@pytest.mark.parametrize("sharing", ["hard", "soft", "hierarchical"])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_map_sums_to_one(sharing, mirror):
    torch.manual_seed(0)
    model = MaskMTL(TASKS, encoder="compact", sharing=sharing, mirror=mirror).eval()
    attribution = explain(model, torch.rand(2, 1, 48, 48), method="attention")
    for task, values in attribution.values.items():
        assert values.min() > 0
        np.testing.assert_allclose(values.sum(axis=(1, 2)), 1, rtol=1e-5)
        assert attribution.layers[task] == (f"towers.{task}.attention" if sharing == "soft" else "attention")


def test_a_network_without_the_block():
    model = MaskMTL(TASKS, encoder="compact", nonlocal_block=False).eval()
    with pytest.raises(ValueError, match="should have a non-local block for task 'age', has none: choose another"):
        explain(model, torch.rand(1, 1, 48, 48), method="attention")
