"""Training that minds groups of faces: balanced sampling, group DRO and an adversary.

Groups are annotated ethnicity by gender. None of these is needed to predict: the networks stay as they are. What
they bring the worst group and cost the others is measured in docs/mitigation.md (Zietlow et al., CVPR 2022, saw them
level down).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmtl.losses import Term, opposite
from maskmtl.tasks import TASKS, Classes, TaskSpec

FAIRNESS = ("none", "balanced", "group_dro", "adversarial")
BY = ("ethnicity", "gender")
SENSITIVE = "ethnicity"


def group_of(table: pd.DataFrame) -> np.ndarray:
    """(N,) the group of each face, 0 .. ; -1 for faces without one of the labels."""
    known = table[list(BY)].notna().all(axis=1).to_numpy()
    groups = np.full(len(table), -1)
    names = table.loc[known, list(BY)].astype(int).astype(str).agg("-".join, axis=1)
    groups[known] = pd.factorize(names, sort=True)[0]
    return groups


def balanced_order(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) faces drawn with replacement so that each group comes as often as another (Idrissi et al., CLeaR 2022).

    Faces of no group come as often as they do without balance.
    """
    known = groups >= 0
    counts = np.bincount(groups[known])
    chances = np.full(len(groups), 1 / len(groups))
    chances[known] = known.mean() / (len(counts) * counts[groups[known]])
    return rng.choice(len(groups), size=len(groups), p=chances / chances.sum())


class GroupDRO(nn.Module):
    """Group distributionally robust optimisation (Sagawa et al. 2020, arXiv 1911.08731, algorithm 1).

    Faces of no group keep the weight of their share of all faces.

    Args:
        groups: (N,) the group of each face of the training split, -1 for none.
        unit: (T,) what the best constant answer costs, so that no task rules the weights by its unit.
        step: eta, how fast the weights move to the groups that lose most.
    """

    def __init__(self, groups: np.ndarray, unit: Tensor, step: float = 0.01) -> None:
        super().__init__()
        n = int(groups.max()) + 1
        self.weights: Tensor
        self.register_buffer("weights", torch.full((n,), 1 / max(n, 1)))
        self._groups, self._unit, self._step = torch.from_numpy(groups), unit, step
        self._without = float((groups < 0).mean())

    def forward(self, terms: Sequence[Term]) -> dict[str, Tensor]:
        """Each task's terms, to one number: the weighted mean of the groups' means, once the weights have moved."""
        means = [self._of_groups(term) for term in terms]
        totals = {name: torch.stack([of_term[name] for of_term in means]).sum(dim=0) for name in terms[0].losses}
        lost = torch.stack([total[:-1] for total in totals.values()]).detach() / self._unit.to(self.weights)[:, None]
        self.weights.mul_(torch.exp(self._step * lost.sum(dim=0)))
        self.weights.div_(self.weights.sum())
        shares = torch.cat([(1 - self._without) * self.weights, self.weights.new_tensor([self._without])])
        return {name: (shares * total).sum() for name, total in totals.items()}

    def _of_groups(self, term: Term) -> dict[str, Tensor]:
        """Task -> (groups + 1,) means over the labelled faces of each group, 0 where there are none; no group last."""
        group = self._groups[torch.from_numpy(term.faces)].to(self.weights.device) % (len(self.weights) + 1)
        member = F.one_hot(group, len(self.weights) + 1).T.float()  # (groups + 1, B)
        means = {}
        for name, losses in term.losses.items():
            counted = member * ~losses.isnan()
            means[name] = term.weight * (counted @ losses.nan_to_num()) / counted.sum(dim=1).clamp(min=1)
        return means


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

    def forward(self, logits: dict[str, Tensor], y: dict[str, Tensor], share: float = 1.0) -> Tensor:
        """Mean cross-entropy of its guesses over the faces whose labels are all there.

        share: of each picture that is its own (`losses.terms`): as much counts the guess from its own labels.
        """
        own = self._cost(logits, y)
        return own if share == 1 else share * own + (1 - share) * self._cost(logits, opposite(y))

    def _cost(self, logits: dict[str, Tensor], y: dict[str, Tensor]) -> Tensor:
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
