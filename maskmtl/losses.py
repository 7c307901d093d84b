"""What a batch costs: losses of each face against its labels and a teacher's answers, and their means for each task."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maskmtl.tasks import TaskSpec


class Term(NamedTuple):
    """A part of what a batch costs: `weight` times a mean over faces.

    losses: task -> (B,), NaN where a label is missing. faces: (B,) whose they are, as rows of the training split.
    """

    weight: float
    losses: dict[str, Tensor]
    faces: np.ndarray


def terms(
    specs: Mapping[str, TaskSpec],
    logits: dict[str, Tensor],
    y: dict[str, Tensor],
    faces: np.ndarray,
    share: float = 1.0,
    imitation: dict[str, Tensor] | None = None,
) -> list[Term]:
    """Of a batch whose pictures are mixed with its opposite ones: `share` (0..1) of each is its own.

    y: task -> (B,) labels, NaN where there is none. imitation: task -> (B,), what a teacher's answers cost beside them.
    """
    found = [Term(share, _per_face(specs, logits, y), faces)]
    if share < 1:
        found.append(Term(1 - share, _per_face(specs, logits, opposite(y)), faces[::-1].copy()))
    if imitation is not None:
        found += [Term(weight, imitation, whose) for weight, _, whose in found]
    return found


def opposite(y: dict[str, Tensor]) -> dict[str, Tensor]:
    """The labels of the faces that a batch's are mixed with."""
    return {name: labels.flip(0) for name, labels in y.items()}


class Mean(nn.Module):
    """Each task's terms, to one number: their means over the faces that have a label."""

    def forward(self, terms: Sequence[Term]) -> dict[str, Tensor]:
        return {
            name: torch.stack([term.weight * _mean(term.losses[name]) for term in terms]).sum()
            for name in terms[0].losses
        }


def constant_losses(specs: Mapping[str, TaskSpec], y: dict[str, Tensor]) -> Tensor:
    """(T,) mean loss of about the best constant answer, and 1 for a task whose labels are all alike."""
    costs = []
    for name, spec in specs.items():
        labels = y[name][~y[name].isnan()]
        answer = spec.target.constant(labels).expand(len(labels), -1)
        costs.append(spec.target.loss(answer, labels).mean())
    found = torch.stack(costs)
    return torch.where(found > 1e-6, found, torch.ones_like(found))


def _mean(losses: Tensor) -> Tensor:
    return losses.nansum() / (~losses.isnan()).sum().clamp(min=1)


def _per_face(specs: Mapping[str, TaskSpec], logits: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, Tensor]:
    """(B,) losses, NaN where a label is missing."""
    found = {}
    for name, spec in specs.items():
        known = ~y[name].isnan()
        losses = torch.full_like(y[name], torch.nan)
        losses[known] = spec.target.loss(logits[name][known], y[name][known])
        found[name] = losses
    return found
