"""What a method computes, and what `explain` hands out."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from maskmtl.files import write_bytes

Index = int | Sequence[int] | np.ndarray | Tensor | None


@dataclass(frozen=True)
class Maps:
    """One method's answer: task -> (B, h, w), the logits (B, K) of the same images, and the layers' names."""

    values: Mapping[str, Tensor]
    logits: Mapping[str, Tensor]
    layers: Mapping[str, str]
    unit: str = "score"


# (model in eval mode, images (B, C, S, S), task -> class indices (B,), or None for the predicted class or a value);
# a method's own options are keywords with defaults. It passes `images`, one batch, through `model(...)` once; what it
# makes of them goes through `model.forward`, so that a caller's hook on the model meets the pictures asked for only.
Method = Callable[..., Maps]


@dataclass(frozen=True)
class Attribution:
    """Maps of B images, with what is needed to read them.

    `unit` says what the values are: parts of the task's 'score'; or, of no task's score and so the same whatever is
    asked, shares of 'attention' or strength of 'activation'.
    """

    values: dict[str, np.ndarray]  # task -> (B, h, w) float32, signed, raw, on the layer's own grid
    index: dict[str, np.ndarray]  # task -> (B,) int64, the class asked for; -1 where the task predicts a value
    method: str
    layers: dict[str, str]  # task -> the layer's name in the model; 'input' for the picture itself
    versions: dict[str, str]
    unit: str = "score"
    logits: dict[str, np.ndarray] = field(default_factory=dict)  # task -> (B, K) float32, the model's own answers
    options: dict[str, Any] = field(default_factory=dict)  # the method's, as they were given

    def save(self, path: Path) -> None:
        """In one safetensors file, whole or not at all; of options that are arrays their shapes."""
        tensors = {
            f"{part}.{task}": np.ascontiguousarray(array)
            for part in _ARRAYS
            for task, array in getattr(self, part).items()
        }
        write_bytes(
            path, save(tensors, {_WORDS: json.dumps({name: getattr(self, name) for name in _TEXTS}, default=_shape)})
        )

    @staticmethod
    def load(path: Path) -> "Attribution":
        """What `save` wrote; ValueError for any other file."""
        try:
            with safe_open(path, framework="np") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
                texts = json.loads((file.metadata() or {})[_WORDS])
            parts: dict[str, Any] = {part: {} for part in _ARRAYS}
            for name, array in arrays.items():
                part, _, task = name.partition(".")
                parts[part][task] = array
            return Attribution(**parts, **{name: texts[name] for name in _TEXTS})
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise ValueError(f"path should be a file of Attribution.save, got {str(path)!r}: {error!r}") from error

    def rows(self, few: slice) -> "Attribution":
        """The maps of some of the pictures."""
        parts: dict[str, Any] = {
            part: {task: array[few] for task, array in getattr(self, part).items()} for part in _ARRAYS
        }
        return replace(self, **parts, options=options_for(self.options, few))

    def grid(self) -> str:
        """The maps' own resolution: '24 × 24'."""
        height, width = next(iter(self.values.values())).shape[1:]
        return f"{height} × {width}"

    def positive(self) -> dict[str, np.ndarray]:
        """What speaks for the score, for display: `values` with negative parts set to 0."""
        return {task: np.maximum(values, 0) for task, values in self.values.items()}


_ARRAYS, _TEXTS = ("values", "index", "logits"), ("method", "layers", "versions", "unit", "options")
_WORDS = "attribution"  # the key of the texts in the file's metadata


def options_for(options: Mapping[str, Any], few: slice) -> dict[str, Any]:
    """A method's options for some of the pictures: regions are each picture's own."""
    return {name: value[few] if name == "regions" and value is not None else value for name, value in options.items()}


def joined(parts: Sequence[Attribution], options: Mapping[str, Any]) -> Attribution:
    """One attribution of what was explained in several batches, with the options of all."""
    arrays: dict[str, Any] = {
        part: {task: np.concatenate([getattr(one, part)[task] for one in parts]) for task in getattr(parts[0], part)}
        for part in _ARRAYS
    }
    return replace(parts[0], **arrays, options=dict(options))


def _shape(array: np.ndarray | Tensor) -> str:
    return f"array {tuple(array.shape)}"
