"""What the score loses without a channel, spread over the places where the channel is active: Ablation-CAM."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from analyses.attribution.layers import Layer, passage, replaced
from analyses.attribution.result import Maps
from analyses.attribution.scores import explained, scores
from maskmtl.networks import MaskMTL

ACTIVATIONS = 2**25  # at the layer in one forward pass, 128 MiB; bounds memory whatever is asked


def ablationcam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], *, layer: Layer = None) -> Maps:
    """Ablation-CAM (Desai and Ramaswamy 2020, WACV), at `layer` as Grad-CAM's.

    The weight of channel k is the drop of the score when the channel is set to zero. Departures: the paper divides the
    drop by the score, which may be zero or negative here; this divides by the channel's sum of absolute activations, so
    that a channel's part of the map adds up, in absolute values, to its drop, and the map has the score's unit. For a
    linear head on the mean of non-negative channels that is Grad-CAM. The last ReLU is left to the display.

    What comes before the layer runs once for many channels; all heads share the passes.
    """
    at = passage(model, images, index, layer)
    with torch.no_grad():
        classes = explained(model, index, at.logits)
        before = scores(model, at.logits, classes)
        values = {}
        for module in dict.fromkeys(at.modules.values()):
            asked = {task: classes[task] for task in index if at.modules[task] is module}
            activations = at.activations[next(iter(asked))]
            for task, after in _without_each_channel(model, images, module, activations.shape[1:], asked).items():
                values[task] = model.per_picture(_spread(before[task][:, None] - after, activations))
    return Maps({task: values[task] for task in index}, at.logits, at.names)


def _without_each_channel(
    model: MaskMTL, images: Tensor, module: nn.Module, size: torch.Size, classes: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Task -> scores (B, C), channel by channel of the module's output, (C, h, w) for a picture, set to zero."""
    channels, together = size[0], max(1, ACTIVATIONS // size.numel())
    pictures = max(1, together // channels)
    kept = 1 - torch.eye(channels, dtype=images.dtype, device=images.device)
    found = {task: images.new_zeros(len(images), channels) for task in classes}
    for first in range(0, len(images), pictures):
        few = slice(first, first + pictures)

        def logits(kept: Tensor, few: slice = few) -> dict[str, Tensor]:
            with replaced([module], lambda _, output: output * kept[:, None, None]):
                return model.forward(images[few])

        # only what follows the module runs for each channel
        variants = torch.func.vmap(logits, chunk_size=max(1, together // pictures))(kept)
        asked = {task: wanted[few] for task, wanted in classes.items()}
        flat = {task: variants[task].flatten(0, 1) for task in classes}
        for task, score in scores(model, flat, asked).items():
            found[task][few] = score.view(channels, -1).T
    return found


def _spread(drops: Tensor, activations: Tensor) -> Tensor:
    """Drops (B, C) over activations (n, C, h, w), whose rows are the B pictures, or those and their mirror images."""
    turns = len(activations) // max(1, len(drops))
    size = activations.abs().sum(dim=(2, 3)).view(turns, *drops.shape).sum(dim=0)
    weights = drops / size.clamp_min(torch.finfo(size.dtype).tiny)  # a channel without activation has no drop
    return torch.einsum("nc,nchw->nhw", weights.repeat(turns, 1), activations)
