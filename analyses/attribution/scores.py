"""What methods share that change pictures: the class they keep asking for, its score, and batches of bounded size."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes

PIXELS = 2**17  # in one forward pass, 56 pictures of 48 px; bounds memory whatever is asked


def explained(model: MaskMTL, index: Mapping[str, Tensor | None], logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Task -> (B,) the class to explain, the predicted one where none is asked for; -1 where the task predicts a value.

    A changed picture is asked for the class of the unchanged one.
    """
    return {task: _explained(model, task, chosen, logits[task].detach()) for task, chosen in index.items()}


def _explained(model: MaskMTL, task: str, chosen: Tensor | None, logits: Tensor) -> Tensor:
    target = model.specs[task].target
    if not isinstance(target, Classes):
        return torch.full((len(logits),), -1, device=logits.device)
    return target.decode(logits).long() if chosen is None else chosen.to(logits.device)


def scores(model: MaskMTL, logits: Mapping[str, Tensor], classes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Task -> (n,), for logits (n, K) of n pictures, or of several variants of each in turn, (variants * B, K)."""
    return {
        task: model.specs[task].target.score(logits[task], wanted.repeat(len(logits[task]) // max(1, len(wanted))))
        for task, wanted in classes.items()
    }


def batches(images: Tensor) -> list[slice]:
    """Slices of images (B, C, S, S) that go through the network together."""
    size = _limit(images)
    return [slice(first, min(first + size, len(images))) for first in range(0, len(images), size)]


def blocks(variants: int, images: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of variants and slices of images (B, C, S, S) that go through the network together."""
    for few in batches(images):
        step = max(1, _limit(images) // (few.stop - few.start))
        for at in range(0, variants, step):
            yield slice(at, min(at + step, variants)), few


def _limit(images: Tensor) -> int:
    return max(1, PIXELS // images.shape[2:].numel())


def flat(images: Tensor) -> Tensor:
    """(B, C, 1, 1) each picture's own mean per channel: as bright as the picture, with nothing to be seen."""
    return images.mean(dim=(2, 3), keepdim=True)
