"""Where the non-local block looks."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from analyses.attribution.layers import mean_per_picture
from analyses.attribution.result import Maps
from maskmtl.networks import MaskMTL, NonLocalBlock


@torch.no_grad()
def attention(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None]) -> Maps:
    """The attention that each place receives from the non-local block (Wang et al. 2018, arXiv 1711.07971, equation 4),
    the mean over the places that attend; on the block's grid, 6x6 in figure 1. Each map is positive and sums to 1.

    It says where features are gathered from, not what speaks for an answer: tasks that share the block have the same
    map, `unit` is 'attention', and the block's residual passes every place on untouched as well. ValueError for a
    network without the block.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, NonLocalBlock)}
    names = {task: _name(found, task) for task in index}
    inputs: dict[nn.Module, Tensor] = {}
    hooks = [
        found[name].register_forward_pre_hook(lambda block, x: inputs.update({block: x[0]}))
        for name in set(names.values())
    ]
    try:
        logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    received = {}
    for name in set(names.values()):
        x = inputs[found[name]]
        maps = found[name].attention(x).mean(dim=1).unflatten(1, x.shape[2:])
        received[name] = mean_per_picture(model, maps, len(images))
    return Maps({task: received[name] for task, name in names.items()}, logits, names, "attention")


def _name(found: Mapping[str, NonLocalBlock], task: str) -> str:
    for name in (f"towers.{task}.attention", "attention"):  # with soft sharing each task has a network of its own
        if name in found:
            return name
    raise ValueError(f"model should have a non-local block for task {task!r}, has none: choose another method")
