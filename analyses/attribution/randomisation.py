"""Copies of a model without what it learnt, for the sanity check of Adebayo et al. 2018 (arXiv 1810.03292)."""

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from maskmtl.networks import MaskMTL


def paths(model: MaskMTL, images: Tensor) -> dict[str, list[str]]:
    """Task -> names of the modules with weights or statistics of their own that its score for `images` depends on, in
    the order in which they run: the last is the task's last layer. With hierarchical sharing ethnicity's path holds
    gender's convolution; no path holds another task's head. A module that gives no tensor counts to every path.
    """
    names = {module: name for name, module in model.named_modules()}
    ran: dict[str, list[Tensor]] = {}  # what each module gave, in the order of the last runs

    def note(module: nn.Module, _: object, output: object) -> object:
        given = [output] if isinstance(output, Tensor) else []
        ran[names[module]] = ran.pop(names[module], []) + given
        return output.clone() if isinstance(output, Tensor) else output  # what follows may work in place

    own = [module for module in names if [*module.parameters(recurse=False), *module.buffers(recurse=False)]]
    hooks = [module.register_forward_hook(note) for module in own]
    found = {}
    try:
        with torch.inference_mode(False), torch.enable_grad():
            logits = model.forward(images[:1].detach().clone().requires_grad_())
            outputs = [output for of_module in ran.values() for output in of_module]
            for task, spec in model.specs.items():
                score = spec.target.score(logits[task]).sum()
                gradients = iter(torch.autograd.grad(score, outputs, retain_graph=True, allow_unused=True))
                reached = {name: [next(gradients) is not None for _ in of_module] for name, of_module in ran.items()}
                found[task] = [name for name, runs in reached.items() if any(runs) or not runs]
    finally:
        for hook in hooks:
            hook.remove()
    return found


def redrawn(model: MaskMTL, modules: Collection[str], *, seed: int) -> MaskMTL:
    """A copy of the model whose `modules` have other values of the same size: each weight is drawn anew from a normal
    distribution around 0 with the root mean square of its tensor; running statistics, batch norm's, trade places.

    Drawn so, unlike by a layer's own initialisation, activations keep their order of magnitude at every depth.
    """
    known = dict(model.named_modules())
    if unknown := [name for name in modules if name not in known]:
        raise ValueError(f"modules should be names of the model's modules, got {unknown[0]!r}")
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, module in other.named_modules():
            if name not in modules:
                continue
            for weight in module.parameters(recurse=False):
                size = weight.square().mean().sqrt()
                weight.copy_(torch.randn(weight.shape, generator=generator).to(weight) * size)
            for statistic in module.buffers(recurse=False):
                order = torch.randperm(statistic.numel(), generator=generator).to(statistic.device)
                statistic.copy_(statistic.flatten()[order].view_as(statistic))
    return other
