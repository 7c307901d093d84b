"""Class activation maps from gradients at one layer, for all heads from one forward pass.

`layer` names the layer, for all tasks or by task; None is `model.map_layer(task)`. All depart from their papers in one
thing: the last ReLU is left to the display, so that the maps can be averaged and summed.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from analyses.attribution.layers import Layer, passage
from analyses.attribution.result import Maps
from maskmtl.networks import MaskMTL

Combine = Callable[[Tensor, Tensor], Tensor]  # gradients and activations (B, C, h, w) -> map (B, h, w)


def gradcam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], *, layer: Layer = None) -> Maps:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), equations 1 and 2."""
    return _maps(model, images, index, layer, lambda g, a: (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1))


def hirescam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], *, layer: Layer = None) -> Maps:
    """HiResCAM (Draelos and Carin 2020, arXiv 2011.08891), equation 2.

    Gradient times activation at each place, not averaged over places first: where a head reads places differently, as
    dense heads on a flattened map do, Grad-CAM's average can point elsewhere than the network looks.
    """
    return _maps(model, images, index, layer, lambda g, a: (g * a).sum(dim=1))


def gradcampp(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], *, layer: Layer = None) -> Maps:
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063), the weights of equation 19 on positive gradients.

    Where the gradient g is positive, g^2 / (2 g^2 + g^3 sum(A)) is 1 / (2 + g sum(A)). Departures: the factor
    exp(score) of the paper's derivation, one number for a whole map, is left out; the sum is over positive activations,
    the same where the layer ends in a ReLU as the paper assumes, since behind a leaky ReLU the denominator could pass
    through zero. Negative gradients count for nothing, so the map is negative only where activations are; and it is not
    linear in the score, so two maps compare in shape rather than in size.
    """

    def combine(g: Tensor, a: Tensor) -> Tensor:
        positive = g.relu()
        weights = positive / (2 + positive * a.relu().sum(dim=(2, 3), keepdim=True))
        return (weights.sum(dim=(2, 3), keepdim=True) * a).sum(dim=1)

    return _maps(model, images, index, layer, combine)


def layercam(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], *, layer: Layer = None) -> Maps:
    """LayerCAM (Jiang et al. 2021, IEEE TIP 30): positive gradient times activation at each place.

    The gradients' ReLU stays, without it this is HiResCAM: the map is negative only where activations are.
    """
    return _maps(model, images, index, layer, lambda g, a: (g.relu() * a).sum(dim=1))


def _maps(model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], layer: Layer, combine: Combine) -> Maps:
    at = passage(model, images, index, layer)
    values = {task: model.per_picture(combine(at.gradients[task], at.activations[task])) for task in index}
    return Maps(values, at.logits, at.names)
