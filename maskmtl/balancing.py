"""How the losses of several tasks become one step: fixed and learnt weights, and what weighs the tasks' gradients.

Methods come from TorchJD where it has them; GradNorm and Pareto MTL are here. Those that weigh gradients take the
losses in units of what the best constant answer costs, so that no task weighs more by its unit alone.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor, nn
from torchjd import aggregation, scalarization

from maskmtl.networks import MaskMTL

Weigh = Callable[[Tensor, Tensor], Tensor]


class Balancing(nn.Module, ABC):
    """Its own parameters, if any, are for the caller's optimiser to train."""

    @abstractmethod
    def backward(self, losses: Tensor, model: MaskMTL) -> None:
        """Add to the .grad of all parameters of a model, given the (T,) losses in the order of its tasks."""

    def start(self, epoch: int) -> None:
        """To be called as an epoch starts, from 1; what is not kept in the state is forgotten."""


class WeightedSum(Balancing):
    """One loss from all by one of TorchJD's scalarizers."""

    def __init__(self, scalarizer: scalarization.Scalarizer) -> None:
        super().__init__()
        self.scalarizer = scalarizer

    def backward(self, losses: Tensor, model: MaskMTL) -> None:
        self.scalarizer(losses).backward()


class GradNorm(Balancing):
    """GradNorm (Chen et al. 2018, arXiv 1711.02257), equations 1 and 2 with alpha 1.5.

    The weights' gradient is that of |G_i - mean(G) r_i^alpha|, the target taken as constant; they sum to T. L_i(0) is
    the loss of the first batch that has a label of the task.
    """

    def __init__(self, tasks: int, alpha: float = 1.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.weights = nn.Parameter(torch.ones(tasks))
        self.first: Tensor
        self.register_buffer("first", torch.zeros(tasks))

    def backward(self, losses: Tensor, model: MaskMTL) -> None:
        now, w = losses.detach(), self.weights.data
        self.first.copy_(torch.where(self.first == 0, now, self.first))
        w.clamp_(min=1e-3).mul_(len(w) / w.sum())
        (w * losses).sum().backward(retain_graph=True)
        layer = model.last_shared()
        norms = []
        for loss in losses:
            gradients = torch.autograd.grad(loss, layer, retain_graph=True, allow_unused=True)
            norms.append(torch.stack([g.norm() for g in gradients if g is not None]).norm())
        norm = torch.stack(norms)
        rate = now / self.first.clamp(min=1e-8)
        target = (w * norm).mean() * (rate / rate.mean()) ** self.alpha
        self.weights.grad = torch.sign(w * norm - target) * norm


class WeightedGradients(Balancing):
    """Weights for the tasks' gradients on what they share, from the gradients' inner products.

    What belongs to one task alone gets that task's gradient as it is.

    Args:
        weigh: makes the function of an epoch, from 1: (T, T) Gramian of the gradients and (T,) losses -> (T,) weights.
        unit: (T,) what the best constant answer costs.
    """

    def __init__(self, weigh: Callable[[int], Weigh], unit: Tensor) -> None:
        super().__init__()
        self._of_epoch, self._unit = weigh, unit
        self._weigh = weigh(1)

    def start(self, epoch: int) -> None:
        self._weigh = self._of_epoch(epoch)

    def backward(self, losses: Tensor, model: MaskMTL) -> None:
        shared = model.shared_parameters()
        known = {id(p) for p in shared}
        own = [p for p in model.parameters() if id(p) not in known]
        per_task: list[tuple[Tensor | None, ...]] = []
        for loss in losses:
            found = torch.autograd.grad(loss, [*shared, *own], retain_graph=True, allow_unused=True)
            per_task.append(found[: len(shared)])
            for parameter, gradient in zip(own, found[len(shared) :], strict=True):
                _add(parameter, gradient)
        unit = self._unit.to(losses.device)
        gramian = torch.zeros(len(losses), len(losses), device=losses.device)
        for i, j in combinations_with_replacement(range(len(losses)), 2):
            gramian[i, j] = gramian[j, i] = _inner(per_task[i], per_task[j])
        gramian = (gramian / unit / unit[:, None]).double()
        weights = self._weigh(gramian, (losses.detach() / unit).double()).to(losses) / unit
        for weight, of_task in zip(weights, per_task, strict=True):
            for parameter, part in zip(shared, of_task, strict=True):
                _add(parameter, None if part is None else weight * part)


def pareto(preference: np.ndarray, rivals: np.ndarray, *, searching: bool) -> Weigh:
    """Pareto MTL (Lin et al. 2019, arXiv 1912.12854), equations 10 to 14, for any number of tasks.

    The (T,) loss vector is led to where it points along `preference` more than along any of the (n, T) `rivals`. While
    `searching` for such a start, only the broken constraints descend where there are any; else all losses and the
    broken constraints do. The weights are scaled to a sum of absolute values of T.
    """
    unit = preference / np.linalg.norm(preference)
    differences = torch.from_numpy(rivals / np.linalg.norm(rivals, axis=1, keepdims=True) - unit)
    min_norm = aggregation.MGDAWeighting()

    def weigh(gramian: Tensor, losses: Tensor) -> Tensor:
        constraints = differences.to(losses)
        broken = constraints[constraints @ losses > 0]
        own = torch.eye(len(losses)).to(losses)
        directions = broken if searching and len(broken) else torch.cat([own, broken])
        found = min_norm(directions @ gramian @ directions.T) @ directions
        return found * len(losses) / found.abs().sum().clamp(min=1e-8)

    return weigh


def nash(tasks: int) -> Weigh:
    """Nash-MTL (Navon et al. 2022); TorchJD's wants a matrix: any root of the Gramian has the same inner products."""
    method = aggregation.NashMTL(tasks)

    def weigh(gramian: Tensor, losses: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(gramian)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are solving a parameterized problem that is not DPP")
            return method.weighting(vectors * values.clamp(min=0).sqrt())

    return weigh


SEARCH = 2  # epochs in which Pareto MTL may look for a feasible start
_SCALARIZERS: dict[str, Callable[[int], scalarization.Scalarizer]] = {
    "fixed": lambda tasks: scalarization.Sum(),
    "uncertainty": scalarization.UW,
    "imtl_l": scalarization.IMTLL,
    "random": lambda tasks: scalarization.Random(),
}
_WEIGHTINGS: dict[str, Callable[[], nn.Module]] = {
    "mgda": aggregation.MGDAWeighting,
    "pcgrad": aggregation.PCGradWeighting,
    "imtl_g": aggregation.IMTLGWeighting,
    "aligned": aggregation.AlignedMTLWeighting,
    "upgrad": aggregation.UPGradWeighting,
    "cagrad": lambda: aggregation.CAGradWeighting(c=0.5),
}
# Lin et al.'s vectors for these tasks, by the task that they lead (its loss is to be small); the others are its rivals
_PREFERENCES = {"pareto": None, "pareto_age": "age", "pareto_gender": "gender", "pareto_ethnicity": "ethnicity"}
BALANCINGS = (*_SCALARIZERS, "gradnorm", *_WEIGHTINGS, "nash", *_PREFERENCES)


def balancing(name: str, tasks: Sequence[str], unit: Tensor) -> Balancing:
    """A balancing by its name in BALANCINGS.

    Args:
        tasks: their names, in the model's order.
        unit: (T,) what the best constant answer costs per task.

    Raises:
        ValueError: for another name, or where a package is missing that it needs.
    """
    if name not in BALANCINGS:
        raise ValueError(f"balancing should be one of {list(BALANCINGS)}, got {name!r}")
    if name in _SCALARIZERS:
        return WeightedSum(_SCALARIZERS[name](len(tasks)))
    if name == "gradnorm":
        return GradNorm(len(tasks))
    try:
        return WeightedGradients(partial(_of_epoch, name, tuple(tasks)), unit)
    except ImportError as error:
        raise ValueError(f"balancing {name!r} needs more packages: pip install 'maskmtl[balancing]'") from error


def _of_epoch(name: str, tasks: tuple[str, ...], epoch: int) -> Weigh:
    if name == "nash":
        return nash(len(tasks))
    if name in _WEIGHTINGS:
        weighting = _WEIGHTINGS[name]()
        return lambda gramian, losses: weighting(gramian)
    vectors = {led: np.array([float(task != led) for task in tasks]) for led in (None, *tasks)}
    preference = vectors.pop(_PREFERENCES[name])
    return pareto(preference, np.stack(list(vectors.values())), searching=epoch <= SEARCH)


def _add(parameter: nn.Parameter, gradient: Tensor | None) -> None:
    """As backward() does it, in the parameter's own memory layout: a fused optimiser pairs values by their place."""
    if gradient is not None:
        if gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter, requires_grad=False).copy_(gradient)
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _inner(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> Tensor:
    both = [(x * y).sum() for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return torch.stack(both).sum() if both else torch.zeros(())
