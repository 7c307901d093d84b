"""Learning from a trained model's answers beside the labels (Hinton et al. 2015, arXiv 1503.02531).

The teacher reads the bare face where the student reads a masked one, under the same augmentation and mixup, as Beyer et
al. 2022 (arXiv 2106.05237) advise: what a mask hides is taught by what it hides.
"""

from typing import Any

import torch
from torch import Tensor

from maskmtl.checkpoint import load_model
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes, Distribution, Scalar, Target


class Teacher:
    """A model in eval mode, without its mirror image, for a student of the same input and targets.

    Raises ValueError for a model that reads or answers something else.
    """

    def __init__(self, name: str, student: MaskMTL) -> None:
        self.model = load_model(name, next(student.parameters()).device).requires_grad_(False)
        self.model.config["mirror"] = False
        for what in ("input_channels", "input_size"):
            own, wanted = getattr(self.model, what), getattr(student, what)
            if own != wanted:
                raise ValueError(f"teacher should have {what} {wanted}, as the student has, got {own} of {name!r}")
        for task, spec in student.specs.items():
            own = self.model.specs.get(task)
            if own is None or _form(own.target) != _form(spec.target):
                raise ValueError(f"teacher should answer {task!r} as {spec.target}, got {own} of {name!r}")
        self._specs = student.specs

    @torch.no_grad()
    def answers(self, x: Tensor) -> dict[str, Tensor]:
        """Task -> (B, K) logits for images (B, C, S, S)."""
        return {task: output.float() for task, output in self.model(x).items()}

    def losses(self, logits: dict[str, Tensor], answers: dict[str, Tensor]) -> dict[str, Tensor]:
        """Task -> (B,) losses of the student's logits (B, K) against the teacher's."""
        return {
            task: spec.target.imitation(logits[task], answers[task], self.model.specs[task].target)
            for task, spec in self._specs.items()
        }


def _form(target: Target) -> tuple[Any, ...]:
    """What two targets have in common when one can learn from the other's answers."""
    if isinstance(target, Classes):
        return target.names
    values = (target.low, target.high) if isinstance(target, Distribution) else ()
    return (type(target), target.unit, *values) if isinstance(target, Scalar) else (type(target),)
