"""Gradients gathered on the way from an empty picture to the picture, on the pixels' own grid, summed over channels.

All heads share the forward passes; the gradient is of the model's own answer, mirror image included. Captum computes
one head at a time, and its GradientShap draws from NumPy's global state, other numbers for each place in a batch.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from analyses.attribution.result import Maps
from analyses.attribution.scores import blocks, explained, flat, scores
from maskmtl.networks import MaskMTL


def integrated_gradients(
    model: MaskMTL,
    images: Tensor,
    index: Mapping[str, Tensor | None],
    *,
    steps: int = 50,
    baseline: float | None = None,
) -> Maps:
    """Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), equation 1, by Gauss-Legendre quadrature.

    The values of a picture add up to score(picture) - score(baseline), but for the quadrature: 50 steps, Captum's
    default, can miss a small difference by a tenth, 400 came within a hundredth where tried. `baseline` is the level
    0..1 of a flat picture; None is the picture's own mean per channel: against black, dark pixels could have no part in
    anything. What has exactly the baseline's level has no part here either.
    """
    _at_least_one("steps", steps)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    empty = flat(images) if baseline is None else torch.full_like(flat(images), baseline)
    places, shares = (torch.tensor(x / 2, dtype=images.dtype, device=images.device) for x in (nodes + 1, weights))
    return _along_the_way(model, images, index, empty.expand(steps, *empty.shape), places, shares)


def gradient_shap(
    model: MaskMTL, images: Tensor, index: Mapping[str, Tensor | None], *, samples: int = 64, seed: int = 0
) -> Maps:
    """Gradient SHAP, or expected gradients (Erion et al. 2021, arXiv 1906.10670), equation 3, without added noise.

    The baselines are flat greys of any level 0..1, so that no level is the one that can have no part. Levels and places
    on the way come from a Latin hypercube of `samples` draws, the same for every picture: a map does not depend on the
    batch around it, and no global random state is touched.
    """
    _at_least_one("samples", samples)
    generator = torch.Generator().manual_seed(seed)

    def spread() -> Tensor:
        strata = torch.randperm(samples, generator=generator) + torch.rand(samples, generator=generator)
        return (strata / samples).to(images)

    empty = spread().view(-1, 1, 1, 1, 1).expand(samples, *flat(images).shape)
    return _along_the_way(model, images, index, empty, spread(), torch.full((samples,), 1 / samples).to(images))


def _along_the_way(
    model: MaskMTL,
    images: Tensor,
    index: Mapping[str, Tensor | None],
    empty: Tensor,  # (V, B, C, 1, 1)
    places: Tensor,  # (V,) between empty, 0, and picture, 1
    shares: Tensor,  # (V,)
) -> Maps:
    """The sum over V of share * (picture - empty) * gradient at that place on the way, and over channels."""
    with torch.no_grad():
        logits = model(images)
    classes = explained(model, index, logits)
    values = {task: torch.zeros_like(images[:, 0]) for task in index}
    for at, few in blocks(len(places), images):
        way = images[few] - empty[at, few]  # (v, b, C, S, S)
        points = (empty[at, few] + places[at].view(-1, 1, 1, 1, 1) * way).flatten(0, 1).requires_grad_()
        asked = {task: wanted[few] for task, wanted in classes.items()}
        for task, score in scores(model, model.forward(points), asked).items():
            (gradient,) = torch.autograd.grad(score.sum(), points, retain_graph=True)
            values[task][few] += torch.einsum("v,vbchw,vbchw->bhw", shares[at], way, gradient.view_as(way))
    return Maps(values, logits, dict.fromkeys(index, "input"))


def _at_least_one(name: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"{name} should be at least 1, got {count}")
