"""Grad-CAM (Selvaraju et al. 2017, "Visual Explanations from Deep Networks via Gradient-based Localization")."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from analyses.attribution.result import Maps
from maskmtl.networks import MaskMTL


def gradcam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None]) -> Maps:
    """Equations 1 and 2 at `model.encoder_conv`, from one forward pass and one gradient per task.

    Departs from equation 2 in one thing: its ReLU is left to the display, so that the maps can be averaged and summed.
    """
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
        weights = gradients.mean(dim=(2, 3), keepdim=True)  # equation 1
        values[task] = (weights * activations).sum(dim=1).detach()  # equation 2 without its ReLU
    layer = next(name for name, module in model.named_modules() if module is model.encoder_conv)
    return Maps(values, logits, layer)
