import numpy as np
import pandas as pd
import pytest
import torch

from maskmtl.fairness import Adversary, GroupDRO, balanced_order, group_of
from maskmtl.tasks import TASKS


def test_groups_are_ethnicity_by_gender():
    table = pd.DataFrame({"ethnicity": [0, 0, 1, np.nan, 0], "gender": [0, 1, 0, 0, 0]})
    groups = group_of(table)
    assert groups[0] == groups[4]
    assert len(set(groups)) == 4 and set(groups) == {0, 1, 2, 3}


def test_balanced_sampling_brings_each_group_as_often():
    groups = np.repeat([0, 1, 2], [900, 90, 10])
    order = balanced_order(groups, np.random.default_rng(0))
    assert len(order) == 1000
    np.testing.assert_allclose(np.bincount(groups[order]) / 1000, 1 / 3, atol=0.05)


def test_group_dro_by_hand():
    method = GroupDRO(np.array([0, 0, 1, 1]), torch.tensor([1.0, 2.0]), step=1.0)
    losses = {
        "a": torch.tensor([1.0, 3.0, 4.0, torch.nan], requires_grad=True),
        "b": torch.tensor([0.0, 0.0, 2.0, 4.0], requires_grad=True),
    }
    found = method(losses, np.array([0, 1, 2, 3]), learn=True)
    # group means 2 and 4 of a, 0 and 3 of b in units of 2: totals 2 and 5.5
    weights = np.exp([2, 5.5]) / np.exp([2, 5.5]).sum()
    np.testing.assert_allclose(method.weights, weights, rtol=1e-5)
    assert found["a"].item() == pytest.approx(weights @ [2, 4], rel=1e-5)
    assert found["b"].item() == pytest.approx(weights @ [0, 3], rel=1e-5)
    found["a"].backward()
    np.testing.assert_allclose(losses["a"].grad, [weights[0] / 2, weights[0] / 2, weights[1], 0], rtol=1e-5)
    again = method(losses, np.array([0, 1, 2, 3]), learn=False)
    assert again["a"].item() == found["a"].item()


def test_an_adversary_learns_and_the_network_unlearns():
    """Gender's answer gives the ethnicity away: the adversary sees it, and its reversed gradient takes it out."""
    torch.manual_seed(0)
    adversary = Adversary(TASKS, weight=1.0)
    n = 256
    ethnicity = torch.randint(0, 2, (n,)).float()
    y = {"age": torch.full((n,), 30.0), "gender": torch.zeros(n), "ethnicity": ethnicity}
    leak = torch.nn.Parameter(torch.tensor(2.0))
    optimiser = torch.optim.Adam(adversary.parameters(), lr=0.01)

    def loss():
        logits = {"age": torch.zeros(n, 1), "gender": (leak * (2 * ethnicity - 1))[:, None]}
        return adversary(logits, y)

    for _ in range(200):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert loss().item() < 0.1
    leak.grad = None
    loss().backward()
    assert leak.grad > 0  # descending makes the leak smaller


def test_an_adversary_without_labels_is_silent():
    y = {name: torch.full((3,), torch.nan) for name in TASKS}
    logits = {name: torch.zeros(3, spec.target.out_features) for name, spec in TASKS.items()}
    loss = Adversary(TASKS)(logits, y)
    assert loss.item() == 0
    loss.backward()
