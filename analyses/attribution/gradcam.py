"""Class activation maps from gradients at one layer: Grad-CAM and HiResCAM, for all heads from one forward pass."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from analyses.attribution.result import Maps
from maskmtl.networks import MaskMTL

Combine = Callable[[Tensor, Tensor], Tensor]  # gradients and activations (B, C, h, w) -> map (B, h, w)


def gradcam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None]) -> Maps:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), equations 1 and 2, at `model.encoder_conv`.

    Departs from equation 2 in one thing: its ReLU is left to the display, so that the maps can be averaged and summed.
    """
    return _maps(model, images, index, lambda g, a: (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1))


def hirescam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None]) -> Maps:
    """HiResCAM (Draelos and Carin 2020, arXiv 2011.08891), equation 2, at `model.encoder_conv`.

    Gradient times activation at each place, not averaged over places first: where a head reads places differently, as
    dense heads on a flattened map do, Grad-CAM's average can point elsewhere than the network looks.
    """
    return _maps(model, images, index, lambda g, a: (g * a).sum(dim=1))


def _maps(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], combine: Combine) -> Maps:
    seen: list[Tensor] = []

    def cut(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # what follows may work in place

    hook = model.encoder_conv.register_forward_hook(cut)
    try:
        logits = model(images)
    finally:
        hook.remove()
    if len(seen) != 1:
        raise ValueError(f"model.encoder_conv should run once in a forward pass, ran {len(seen)} times")

    (activations,) = seen
    values = {}
    for task, classes in index.items():
        score = model.specs[task].target.score(logits[task], classes).sum()
        (gradients,) = torch.autograd.grad(score, activations, retain_graph=True)
        values[task] = combine(gradients, activations).detach()
    layer = next(name for name, module in model.named_modules() if module is model.encoder_conv)
    return Maps(values, logits, layer)
