"""What a method computes, and what `explain` hands out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from maskmtl.networks import MaskMTL

Index = int | Sequence[int] | np.ndarray | Tensor | None


@dataclass(frozen=True)
class Maps:
    """One method's answer: task -> (B, h, w), the logits (B, K) of the same images, and the layers' names."""

    values: Mapping[str, Tensor]
    logits: Mapping[str, Tensor]
    layers: Mapping[str, str]


# (model in eval mode, images (B, C, S, S), task -> class indices (B,), or None for the predicted class or a value)
Method = Callable[[MaskMTL, Tensor, Mapping[str, Tensor | None]], Maps]


@dataclass(frozen=True)
class Attribution:
    """Maps of B images, with what is needed to read them."""

    values: dict[str, np.ndarray]  # task -> (B, h, w) float32, signed, raw, on the layer's own grid
    index: dict[str, np.ndarray]  # task -> (B,) int64, the explained class; -1 where the task predicts a value
    method: str
    layers: dict[str, str]  # task -> the layer's name in the model
    versions: dict[str, str]

    def positive(self) -> dict[str, np.ndarray]:
        """What speaks for the score, for display: `values` with negative parts set to 0."""
        return {task: np.maximum(values, 0) for task, values in self.values.items()}
