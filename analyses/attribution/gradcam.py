"""Class activation maps from gradients at one layer: Grad-CAM and HiResCAM, for all heads from one forward pass."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from analyses.attribution.result import Maps
from maskmtl.networks import MaskMTL

Combine = Callable[[Tensor, Tensor], Tensor]  # gradients and activations (B, C, h, w) -> map (B, h, w)


def gradcam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None]) -> Maps:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), equations 1 and 2, at `model.map_layer(task)`.

    Departs from equation 2 in one thing: its ReLU is left to the display, so that the maps can be averaged and summed.
    """
    return _maps(model, images, index, lambda g, a: (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1))


def hirescam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None]) -> Maps:
    """HiResCAM (Draelos and Carin 2020, arXiv 2011.08891), equation 2, at `model.map_layer(task)`.

    Gradient times activation at each place, not averaged over places first: where a head reads places differently, as
    dense heads on a flattened map do, Grad-CAM's average can point elsewhere than the network looks.
    """
    return _maps(model, images, index, lambda g, a: (g * a).sum(dim=1))


def _maps(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], combine: Combine) -> Maps:
    layers = {task: model.map_layer(task) for task in index}
    seen: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers.values()}

    def cut(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        seen[module].append(output.detach().requires_grad_())
        return seen[module][-1].clone()  # what follows may work in place

    hooks = [layer.register_forward_hook(cut) for layer in seen]
    try:
        logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()

    names = {module: name for name, module in model.named_modules() if module in seen}
    values = {}
    for task, classes in index.items():
        runs = seen[layers[task]]
        if len(runs) != 1:
            raise ValueError(f"layer {names[layers[task]]} should run once in a forward pass, ran {len(runs)} times")
        score = model.specs[task].target.score(logits[task], classes).sum()
        (gradients,) = torch.autograd.grad(score, runs[0], retain_graph=True)
        values[task] = model.per_picture(combine(gradients, runs[0]).detach())
    return Maps(values, logits, {task: names[layer] for task, layer in layers.items()})
