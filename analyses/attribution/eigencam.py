"""What a layer responds to most, whatever the task: Eigen-CAM."""

from collections.abc import Mapping

import torch
from torch import Tensor

from analyses.attribution.layers import Layer, mean_per_picture, passage
from analyses.attribution.result import Maps
from maskmtl.networks import MaskMTL


def eigencam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], *, layer: Layer = None) -> Maps:
    """Eigen-CAM (Muhammad and Yeasin 2020, arXiv 2008.00299): activations projected on their first right singular
    vector over channels, uncentred.

    No score enters: tasks that share the layer have the same map, and `unit` is 'activation'. The sign, which a
    singular vector leaves open, is chosen so that the map's sum is positive.
    """
    at = passage(model, images, index, layer)
    of_module = {}
    for task, module in at.modules.items():
        if module not in of_module:
            a = at.activations[task].flatten(2)  # (n, C, hw)
            first = torch.linalg.eigh(a @ a.transpose(1, 2)).eigenvectors[..., -1:]  # in order of rising eigenvalues
            maps = (first * a).sum(dim=1)
            maps = torch.where(maps.sum(dim=1, keepdim=True) < 0, -maps, maps).unflatten(
                1, at.activations[task].shape[2:]
            )
            of_module[module] = mean_per_picture(model, maps, len(images))
    return Maps({task: of_module[module] for task, module in at.modules.items()}, at.logits, at.names, "activation")
