from itertools import cycle, product

import numpy as np
import pytest
import torch
from torch import nn

from maskmtl.balancing import BALANCINGS, GradNorm, WeightedGradients, _add, balancing, pareto
from maskmtl.networks import SHARING, MaskMTL
from maskmtl.tasks import TASKS


class Line(nn.Module):
    """Two losses with gradients of our choice on one shared weight, and a weight of each one's own."""

    def __init__(self, gradients):
        super().__init__()
        self.gradients = torch.tensor(gradients, dtype=torch.float32)
        self.shared = nn.Parameter(torch.zeros(self.gradients.shape[1]))
        self.own = nn.ParameterList([nn.Parameter(torch.zeros(())) for _ in gradients])

    def losses(self, start):
        return torch.stack(
            [
                value + gradient @ self.shared + own
                for value, gradient, own in zip(start, self.gradients, self.own, strict=True)
            ]
        )

    def shared_parameters(self):
        return [self.shared]

    def last_shared(self):
        return [self.shared]


def shared_gradient(method, gradients, start):
    model = Line(gradients)
    method.backward(model.losses(start), model)
    return model.shared.grad, [own.grad for own in model.own]


def test_gradients_are_weighed_on_what_is_shared_only():
    twice = WeightedGradients(lambda epoch: lambda gramian, losses: torch.tensor([2.0, 3.0]), torch.ones(2))
    shared, own = shared_gradient(twice, [[1.0, 0], [0, 1.0]], (1.0, 1.0))
    torch.testing.assert_close(shared, torch.tensor([2.0, 3.0]))
    assert [float(g) for g in own] == [1.0, 1.0]


def test_the_gramian_and_losses_come_in_units_of_the_constant_answer():
    seen = []
    method = WeightedGradients(
        lambda epoch: lambda gramian, losses: seen.append((gramian, losses)) or torch.ones(2), torch.tensor([1.0, 4.0])
    )
    shared, _ = shared_gradient(method, [[1.0, 0], [4.0, 8.0]], (3.0, 8.0))
    ((gramian, losses),) = seen
    np.testing.assert_allclose(gramian, [[1, 1], [1, 5]])
    np.testing.assert_allclose(losses, [3, 2])
    torch.testing.assert_close(shared, torch.tensor([2.0, 2.0]))  # the gradients of both scaled losses


def test_mgda_finds_the_shortest_vector_between_two_gradients():
    method = balancing("mgda", ("a", "b"), torch.ones(2))
    shared, _ = shared_gradient(method, [[2.0, 0], [0, 1.0]], (1.0, 1.0))
    torch.testing.assert_close(shared, torch.tensor([0.4, 0.8]), atol=1e-2, rtol=0)  # the foot of the perpendicular


@pytest.mark.parametrize("name", ["pcgrad", "upgrad", "cagrad", "mgda", "aligned", "nash", "imtl_g"])
def test_no_task_gets_worse_where_gradients_conflict(name):
    torch.manual_seed(0)
    gradients = [[2.0, 0.0], [-1.0, 0.8]]
    assert torch.tensor(gradients)[1] @ torch.tensor(gradients).sum(dim=0) < -0.3  # their sum harms the second
    shared, _ = shared_gradient(balancing(name, ("a", "b"), torch.ones(2)), gradients, (1.0, 1.0))
    assert (torch.tensor(gradients) @ shared > -1e-3).all()
    assert shared.norm() > 0.05


def test_gradnorm_by_hand():
    """Gradient norms 3 and 1, equal progress: the target is 2, so the first weight falls and the second rises."""
    method = GradNorm(2)
    model = Line([[3.0, 0], [0, 1.0]])
    method.backward(model.losses((1.0, 1.0)), model)
    torch.testing.assert_close(model.shared.grad, torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(method.weights.grad, torch.tensor([3.0, -1.0]))
    model.zero_grad()
    method.weights.data = torch.tensor([1.0, 4.0])  # to be scaled to a sum of 2
    method.backward(model.losses((0.5, 1.0)), model)  # the first task is ahead: r = 2/3, 4/3
    torch.testing.assert_close(method.weights.data, torch.tensor([0.4, 1.6]))
    target = 1.4 * torch.tensor([2 / 3, 4 / 3]) ** 1.5
    expected = torch.sign(torch.tensor([1.2, 1.6]) - target) * torch.tensor([3.0, 1.0])
    torch.testing.assert_close(method.weights.grad, expected)


def test_gradnorm_waits_for_a_tasks_first_label():
    method = GradNorm(2)
    for losses in ((1.0, 0.0), (0.5, 4.0), (0.25, 2.0)):  # no label of the second in the first batch
        model = Line([[3.0, 0], [0, 1.0]])
        method.backward(model.losses(losses), model)
    assert method.first.tolist() == [1.0, 4.0]


def test_pareto_mtl_descends_the_broken_constraint_first():
    preference, rivals = np.array([1.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]])
    gramian = torch.eye(2, dtype=torch.float64)
    far = torch.tensor([1.0, 5.0], dtype=torch.float64)  # leans to the rival (0, 1): the second loss should fall
    weights = pareto(preference, rivals, searching=True)(gramian, far)
    assert weights[1] > 0 > weights[0]
    assert float(weights.abs().sum()) == pytest.approx(2)
    near = torch.tensor([1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(
        pareto(preference, rivals, searching=True)(gramian, near), torch.ones(2, dtype=torch.float64)
    )
    later = pareto(preference, rivals, searching=False)(gramian, far)
    assert later[1] > later[0]


# each balancing with one sharing, and the kinds of balancing with each
PAIRS = {pair for name in ("fixed", "gradnorm", "mgda", "pareto") for pair in product([name], SHARING)}
PAIRS |= set(zip(BALANCINGS, cycle(SHARING), strict=False))


@pytest.mark.parametrize(("name", "sharing"), sorted(PAIRS))
def test_any_balancing_works_with_any_sharing(name, sharing):
    torch.manual_seed(0)
    model = MaskMTL(TASKS, sharing=sharing, nonlocal_block=False)
    method = balancing(name, list(TASKS), torch.tensor([0.8, 0.7, 1.4]))
    method.start(1)
    outputs = model(torch.rand(2, 1, 48, 48))
    losses = [spec.target.loss(outputs[task], torch.tensor([0.0, 1])).mean() for task, spec in TASKS.items()]
    method.backward(torch.stack(losses), model)
    gradients = {name: p.grad for name, p in [*model.named_parameters(), *method.named_parameters()]}
    assert [name for name, g in gradients.items() if g is None or not torch.isfinite(g).all()] == []


def test_gradients_lie_in_memory_as_their_parameters_do():
    parameter = torch.nn.Parameter(torch.ones(8, 4, 3, 3).contiguous(memory_format=torch.channels_last))
    gradient = torch.randn(8, 4, 3, 3)
    for _ in range(2):
        _add(parameter, gradient)
    assert parameter.grad.stride() == parameter.stride() and torch.equal(parameter.grad, 2 * gradient)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match=r"balancing should be one of .*'gradnorm'.*, got 'luck'"):
        balancing("luck", ("a",), torch.ones(1))
