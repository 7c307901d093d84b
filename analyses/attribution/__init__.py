"""Where a prediction comes from: `explain` gives raw signed maps by one of METHODS."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.attribution.ablationcam import ablationcam
from analyses.attribution.attention import attention
from analyses.attribution.eigencam import eigencam
from analyses.attribution.gradcam import gradcam, gradcampp, hirescam, layercam
from analyses.attribution.gradients import gradient_shap, integrated_gradients
from analyses.attribution.occlusion import occlusion
from analyses.attribution.region_methods import check_regions, region_ablation, region_shapley
from analyses.attribution.result import Attribution, Index, Maps, Method, joined, options_for
from analyses.attribution.scores import batches, explained
from maskmtl import __version__
from maskmtl.inference import leave_gpu
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes

__all__ = ["METHODS", "Attribution", "explain", "options_of"]

METHODS: dict[str, Method] = {
    "gradcam": gradcam,
    "hirescam": hirescam,
    "gradcampp": gradcampp,
    "layercam": layercam,
    "ablationcam": ablationcam,
    "integrated_gradients": integrated_gradients,
    "gradient_shap": gradient_shap,
    "occlusion": occlusion,
    "region_ablation": region_ablation,
    "region_shapley": region_shapley,
    "eigencam": eigencam,
    "attention": attention,
}


def options_of(method: str) -> list[str]:
    """What a method can be told besides the task and the class, such as 'layer' or 'regions'."""
    return list(inspect.signature(METHODS[method]).parameters)[3:]  # after model, images and index


def explain(
    model: MaskMTL,
    images: Tensor,
    *,
    tasks: Sequence[str] | None = None,
    method: str = "gradcam",
    index: Index | Mapping[str, Index] = None,
    **options: Any,
) -> Attribution:
    """Raw signed maps of what raises each task's score, for images (B, C, S, S) in 0..1 as `to_input` gives them.

    `tasks` defaults to all of the model's. `index` is the class to explain: None for the predicted one, an int, one
    per image (B,), or any of these by task, so that `bare.index` asks the same question of the masked faces. A value
    such as age has no classes and takes no index. `options` are the method's own, such as `layer` of the class
    activation maps: a module's name, or one by task; or `regions` of the region methods: (B, R, S, S). The model runs
    in eval mode and is left as it was: mode, gradients, hooks. Images go through it in batches of 2^17 px, so memory
    does not grow with them; where a GPU's runs out, in halves of these, at last on the CPU, where the model then stays.
    TypeError or ValueError for arguments that do not fit the method or the model.
    """
    if method not in METHODS:
        raise ValueError(f"method should be one of {sorted(METHODS)}, got {method!r}")
    for option in options:
        if option not in options_of(method):
            raise TypeError(f"options of method {method!r} should be among {options_of(method)}, got {option!r}")
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(f"images should be a float tensor, got {getattr(images, 'dtype', type(images).__name__)}")
    if images.ndim != 4:
        raise ValueError(f"images should be (B, C, S, S), got {tuple(images.shape)}")
    check_regions(options.get("regions"), images)
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
    found: list[Attribution] = []
    left = batches(images) or [slice(0, 0)]
    try:
        while left:
            few = left.pop(0)
            asked = {task: None if classes is None else classes[few] for task, classes in chosen.items()}
            device = next(model.parameters(), images).device
            try:
                # a clone, because autograd refuses tensors that were made in inference mode
                with torch.inference_mode(False), torch.enable_grad():
                    own = images[few].detach().to(device).clone()
                    maps = METHODS[method](model, own, asked, **options_for(options, few))
            except torch.OutOfMemoryError as error:
                left = _smaller(model, few, device, error) + left
            else:
                found.append(_attribution(maps, method, explained(model, asked, maps.logits)))
    finally:
        for module, training in modes.items():
            module.training = training
    return joined(found, options)


def _smaller(model: MaskMTL, few: slice, device: torch.device, error: torch.OutOfMemoryError) -> list[slice]:
    """What to explain instead of images that a GPU has no room for; of a single one the model has moved to the CPU."""
    middle = (few.start + few.stop) // 2
    if middle > few.start:
        return [slice(few.start, middle), slice(middle, few.stop)]
    if device.type == "cpu":
        raise error
    leave_gpu(model)
    return [few]


def _attribution(maps: Maps, method: str, classes: Mapping[str, Tensor]) -> Attribution:
    return Attribution(
        values={task: _numpy(values) for task, values in maps.values.items()},
        index={task: chosen.cpu().numpy() for task, chosen in classes.items()},
        method=method,
        layers=dict(maps.layers),
        versions={"maskmtl": __version__, "torch": str(torch.__version__)},
        unit=maps.unit,
        logits={task: _numpy(maps.logits[task]) for task in maps.values},
    )


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()


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
