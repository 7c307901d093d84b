"""Where a prediction comes from: `explain` gives raw signed maps by one of METHODS."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from analyses.attribution.gradcam import gradcam, hirescam
from analyses.attribution.result import Attribution, Index, Method
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes

__all__ = ["METHODS", "Attribution", "explain"]

METHODS: dict[str, Method] = {"gradcam": gradcam, "hirescam": hirescam}


def explain(
    model: MaskMTL,
    images: Tensor,
    *,
    tasks: Sequence[str] | None = None,
    method: str = "gradcam",
    index: Index | Mapping[str, Index] = None,
) -> Attribution:
    """Raw signed maps of what raises each task's score, for images (B, C, S, S) in 0..1 as `to_input` gives them.

    `tasks` defaults to all of the model's. `index` is the class to explain: None for the predicted one, an int, one
    per image (B,), or any of these by task, so that `bare.index` asks the same question of the masked faces. A value
    such as age has no classes and takes no index. The model runs in eval mode and is left as it was: mode, gradients,
    hooks. TypeError or ValueError for arguments that do not fit the model.
    """
    if method not in METHODS:
        raise ValueError(f"method should be one of {sorted(METHODS)}, got {method!r}")
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(f"images should be a float tensor, got {getattr(images, 'dtype', type(images).__name__)}")
    if images.ndim != 4:
        raise ValueError(f"images should be (B, C, S, S), got {tuple(images.shape)}")
    by_task = index if isinstance(index, Mapping) else {}
    wanted = list(model.specs) if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    for task in [*wanted, *by_task]:
        if task not in model.specs:
            raise ValueError(f"task should be one of {sorted(model.specs)}, got {task!r}")
    chosen = {
        task: _class_index(model, task, by_task.get(task) if isinstance(index, Mapping) else index, len(images))
        for task in wanted
    }

    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        # a clone, because autograd refuses tensors that were made in inference mode
        with torch.inference_mode(False), torch.enable_grad():
            maps = METHODS[method](model, images.detach().clone(), chosen)
    finally:
        for module, training in modes.items():
            module.training = training

    explained = {task: _explained_index(model, task, chosen[task], maps.logits[task]) for task in wanted}
    return Attribution(
        values={task: maps.values[task].detach().float().cpu().numpy() for task in wanted},
        index={task: explained[task].cpu().numpy() for task in wanted},
        method=method,
        layers={task: maps.layers[task] for task in wanted},
        versions={"torch": str(torch.__version__)},
    )


def _class_index(model: MaskMTL, task: str, index: Index, n: int) -> Tensor | None:
    """The classes asked for as (n,) int64, or None where the model's own answer is explained."""
    target = model.specs[task].target
    if index is None or not isinstance(target, Classes):
        return None
    chosen = torch.as_tensor(index)
    if chosen.is_floating_point() or chosen.is_complex() or chosen.dtype == torch.bool:
        raise TypeError(f"index of task {task!r} should be of integers, got {chosen.dtype}")
    if chosen.shape not in ((), (n,)):
        raise ValueError(f"index of task {task!r} should be one class or one for each of {n} images, got {index!r}")
    if len(outside := chosen[(chosen < 0) | (chosen >= len(target.names))]):
        raise ValueError(
            f"index of task {task!r} should be in 0..{len(target.names) - 1} ({', '.join(target.names)}), "
            f"got {int(outside[0])}"
        )
    return chosen.long().expand(n)


def _explained_index(model: MaskMTL, task: str, chosen: Tensor | None, logits: Tensor) -> Tensor:
    target = model.specs[task].target
    if not isinstance(target, Classes):
        return torch.full((len(logits),), -1)
    return target.decode(logits.detach()).long() if chosen is None else chosen
