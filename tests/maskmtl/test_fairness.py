import numpy as np
import pandas as pd
import pytest
import torch

from maskmtl.fairness import Adversary, GroupDRO, balanced_order, group_of
from maskmtl.losses import Term
from maskmtl.tasks import TASKS


def test_groups_are_ethnicity_by_gender():
    table = pd.DataFrame({"ethnicity": [0, 0, 1, np.nan, 0], "gender": [0, 1, 0, 0, 0]})
    groups = group_of(table)
    assert groups.tolist() == [0, 1, 2, -1, 0]


def test_balanced_sampling_brings_each_group_as_often():
    groups = np.repeat([0, 1, 2], [900, 90, 10])
    order = balanced_order(groups, np.random.default_rng(0))
    assert len(order) == 1000
    np.testing.assert_allclose(np.bincount(groups[order]) / 1000, 1 / 3, atol=0.05)


def test_faces_of_no_group_come_as_often_as_ever():
    groups = np.repeat([0, 1, -1], [800, 100, 100])
    order = balanced_order(groups, np.random.default_rng(0))
    shares = np.bincount(groups[order] + 1) / 1000
    np.testing.assert_allclose(shares, [0.1, 0.45, 0.45], atol=0.05)


def test_group_dro_by_hand():
    method = GroupDRO(np.array([0, 0, 1, 1]), torch.tensor([1.0, 2.0]), step=1.0)
    losses = {
        "a": torch.tensor([1.0, 3.0, 4.0, torch.nan], requires_grad=True),
        "b": torch.tensor([0.0, 0.0, 2.0, 4.0], requires_grad=True),
    }
    found = method([Term(1.0, losses, np.array([0, 1, 2, 3]))])
    # group means 2 and 4 of a, 0 and 3 of b in units of 2: totals 2 and 5.5
    weights = np.exp([2, 5.5]) / np.exp([2, 5.5]).sum()
    np.testing.assert_allclose(method.weights, weights, rtol=1e-5)
    assert found["a"].item() == pytest.approx(weights @ [2, 4], rel=1e-5)
    assert found["b"].item() == pytest.approx(weights @ [0, 3], rel=1e-5)
    found["a"].backward()
    np.testing.assert_allclose(losses["a"].grad, [weights[0] / 2, weights[0] / 2, weights[1], 0], rtol=1e-5)


def test_group_dro_takes_mixed_pictures_for_both_faces():
    method = GroupDRO(np.array([0, 1]), torch.tensor([1.0]), step=1.0)
    own = Term(0.25, {"a": torch.tensor([1.0, 2.0])}, np.array([0, 1]))
    other = Term(0.75, {"a": torch.tensor([3.0, 5.0])}, np.array([1, 0]))
    found = method([own, other])
    means = np.array([0.25 * 1 + 0.75 * 5, 0.25 * 2 + 0.75 * 3])
    np.testing.assert_allclose(method.weights, np.exp(means) / np.exp(means).sum(), rtol=1e-5)
    assert found["a"].item() == pytest.approx(method.weights.numpy() @ means, rel=1e-5)


def test_group_dro_keeps_the_share_of_faces_of_no_group():
    method = GroupDRO(np.array([0, 1, -1, -1]), torch.tensor([1.0]), step=0.0)
    found = method([Term(1.0, {"a": torch.tensor([1.0, 2, 10, 20])}, np.arange(4))])
    assert found["a"].item() == pytest.approx(0.5 * 1.5 + 0.5 * 15)
    assert method.weights.tolist() == [0.5, 0.5]


def test_an_adversary_minds_both_faces_of_a_mixed_picture():
    adversary = Adversary(TASKS)
    logits = {name: torch.randn(2, spec.target.out_features) for name, spec in TASKS.items()}
    y = {"age": torch.tensor([20.0, 60]), "gender": torch.tensor([0.0, 1]), "ethnicity": torch.tensor([1.0, 4])}
    turned = {name: labels.flip(0) for name, labels in y.items()}
    wanted = 0.3 * adversary(logits, y) + 0.7 * adversary(logits, turned)
    assert adversary(logits, y, 0.3).item() == pytest.approx(wanted.item())
    assert adversary(logits, y).item() != pytest.approx(wanted.item())


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
