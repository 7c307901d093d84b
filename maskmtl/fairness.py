"""Training that minds groups of faces: balanced sampling, group DRO and an adversary.

Groups are annotated ethnicity by gender. None of these is needed to predict: the networks stay as they are. Whether
they help the worst group is to be measured, with what they cost the others (Zietlow et al., CVPR 2022, saw them level
down).
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmtl.tasks import TASKS, Classes, TaskSpec

FAIRNESS = ("none", "balanced", "group_dro", "adversarial")
BY = ("ethnicity", "gender")
SENSITIVE = "ethnicity"


def group_of(table: pd.DataFrame) -> np.ndarray:
    """(N,) the group of each face, 0 .. ; faces without one of the labels are a group of their own."""
    names = table[list(BY)].fillna(-1).astype(int).astype(str).agg("-".join, axis=1)
    return pd.factorize(names, sort=True)[0]


def balanced_order(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) faces drawn with replacement so that each group comes as often as another (Idrissi et al., CLeaR 2022)."""
    counts = np.bincount(groups)
    chances = 1 / counts[groups]
    return rng.choice(len(groups), size=len(groups), p=chances / chances.sum())


class GroupDRO(nn.Module):
    """Group distributionally robust optimisation (Sagawa et al. 2020, arXiv 1911.08731, algorithm 1).

    Args:
        groups: (N,) the group of each face of the training split.
        unit: (T,) what the best constant answer costs, so that no task rules the weights by its unit.
        step: eta, how fast the weights move to the groups that lose most.
    """

    def __init__(self, groups: np.ndarray, unit: Tensor, step: float = 0.01) -> None:
        super().__init__()
        n = int(groups.max()) + 1
        self.weights: Tensor
        self.register_buffer("weights", torch.full((n,), 1 / n))
        self._groups, self._unit, self._step = torch.from_numpy(groups), unit, step

    def forward(self, per_face: dict[str, Tensor], rows: np.ndarray, *, learn: bool) -> dict[str, Tensor]:
        """Losses per task, (B,) with NaN where a label is missing, to one number each: the weighted means of groups."""
        group = self._groups[torch.from_numpy(rows)].to(self.weights.device)
        member = F.one_hot(group, len(self.weights)).T.float()  # (groups, B)
        means = {}
        for name, losses in per_face.items():
            known = ~losses.isnan()
            counted = member * known
            means[name] = counted @ losses.nan_to_num() / counted.sum(dim=1).clamp(min=1)
        if learn:
            total = torch.stack(list(means.values())).detach() / self._unit.to(self.weights)[:, None]
            self.weights.mul_(torch.exp(self._step * total.sum(dim=0)))
            self.weights.div_(self.weights.sum())
        return {name: (self.weights * mean).sum() for name, mean in means.items()}


class Adversary(nn.Module):
    """Guesses a face's ethnicity from what the other tasks answer and their labels, with its gradient reversed.

    After Zhang, Lemoine and Mitchell 2018 (arXiv 1801.07593), equality of odds: answers should tell nothing of the
    group beyond the label. `weight` scales what the network gets of it.
    """

    def __init__(self, specs: dict[str, TaskSpec], weight: float = 0.1) -> None:
        super().__init__()
        self._specs = {name: spec for name, spec in specs.items() if name != SENSITIVE}
        target = TASKS[SENSITIVE].target
        assert isinstance(target, Classes)
        self._weight = weight
        self.guess = nn.Sequential(nn.Linear(2 * len(self._specs), 64), nn.ReLU(), nn.Linear(64, len(target.names)))

    def forward(self, logits: dict[str, Tensor], y: dict[str, Tensor]) -> Tensor:
        """Mean cross-entropy of its guesses over the faces whose labels are all there."""
        known = ~torch.stack([y[name] for name in (*self._specs, SENSITIVE)]).isnan().any(dim=0)
        if not known.any():
            return 0.0 * self.guess(torch.zeros(1, 2 * len(self._specs), device=known.device)).sum()
        inputs = []
        for name, spec in self._specs.items():
            scale = 1.0 if isinstance(spec.target, Classes) else spec.target.high
            answer = spec.target.score(logits[name][known], 1 if isinstance(spec.target, Classes) else None)
            inputs += [_Reversed.apply(answer, self._weight), y[name][known] / scale]
        return F.cross_entropy(self.guess(torch.stack(inputs, dim=1)), y[SENSITIVE][known].long())


class _Reversed(torch.autograd.Function):
    """The identity whose gradient is turned round (Ganin and Lempitsky 2015)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None
