"""What passes one layer on the way to each task's score: the activations, and the score's gradients there."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskmtl.networks import MaskMTL

Layer = str | Mapping[str, str] | None  # a module's name, or one for each task; None for `model.map_layer(task)`


@dataclass(frozen=True)
class Passage:
    """One forward pass of B images, by task; a network that also reads the mirror images has n = 2 B, else n = B."""

    modules: dict[str, nn.Module]
    names: dict[str, str]
    activations: dict[str, Tensor]  # (n, C, h, w)
    gradients: dict[str, Tensor]  # (n, C, h, w), of the score that the index asks for
    logits: dict[str, Tensor]  # (B, K)


def passage(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], layer: Layer = None) -> Passage:
    """Run `images` once; ValueError for a layer that is unknown, gives no maps, or has no part in a task's score."""
    modules = {task: _module(model, task, layer) for task in index}
    names = {module: name for name, module in model.named_modules()}
    seen: dict[nn.Module, list[Tensor]] = {module: [] for module in modules.values()}
    one_path = isinstance(layer, Mapping)  # one layer may come before another; else what is before needs no gradients

    def cut(module: nn.Module, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"layer {names[module]!r} should give maps (B, C, h, w), gives {found}")
        seen[module].append(output if one_path and output.requires_grad else output.detach().requires_grad_())
        return seen[module][-1].clone()  # what follows may work in place

    with replaced(seen, cut):
        logits = model(images)

    activations, gradients = {}, {}
    for task, classes in index.items():
        name, runs = names[modules[task]], seen[modules[task]]
        if len(runs) != 1:
            raise ValueError(f"layer {name!r} should run once in a forward pass, ran {len(runs)} times")
        score = model.specs[task].target.score(logits[task], classes).sum()
        gradient = None
        if score.requires_grad:
            (gradient,) = torch.autograd.grad(score, runs[0], retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ValueError(f"layer {name!r} has no part in the score of task {task!r}: name another layer for it")
        activations[task], gradients[task] = runs[0].detach(), gradient
    return Passage(modules, {task: names[module] for task, module in modules.items()}, activations, gradients, logits)


@contextmanager
def replaced(modules: Iterable[nn.Module], replace: Callable[[nn.Module, Tensor], Tensor]) -> Iterator[None]:
    """What the modules give is replaced by `replace(module, output)`."""
    hooks = [module.register_forward_hook(lambda module, _, output: replace(module, output)) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def mean_per_picture(model: MaskMTL, maps: Tensor, pictures: int) -> Tensor:
    """Maps (n, h, w) to those of the pictures asked for (B, h, w): the mean of a picture's and its mirror image's."""
    return model.per_picture(maps) * (pictures / max(1, len(maps)))


def _module(model: MaskMTL, task: str, layer: Layer) -> nn.Module:
    name = layer.get(task) if isinstance(layer, Mapping) else layer
    if name is None:
        return model.map_layer(task)
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"layer should be the name of one of the model's modules, got {name!r}: {error}") from error
