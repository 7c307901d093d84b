"""Scores of pictures that lose pixels: along an order (deletion and insertion), or region by region (ablation).

What is lost is replaced by a fill, a picture of the same shape. No fill is neutral, so several are compared.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analyses.attribution.scores import blocks, flat, scores
from maskmtl.masks import Overlay
from maskmtl.networks import MaskMTL


def grey(images: Tensor) -> Tensor:
    """(B, C, S, S), each picture's own mean per channel."""
    return flat(images).expand_as(images)


def blurred(images: Tensor) -> Tensor:
    """(B, C, S, S), a Gaussian blur with a deviation of a sixth of the side: light and tone stay, features go."""
    deviation = images.shape[-1] / 6
    radius = round(3 * deviation)
    kernel = torch.exp(-torch.arange(-radius, radius + 1, device=images.device).square() / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).to(images)
    channels = images.shape[1]
    padded = F.pad(images, [radius] * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)


def texture(drawn: Overlay) -> np.ndarray:
    """A picture (H, H, 3) uint8 of nothing but the mask's material; `to_input` makes it a fill.

    The largest square that the mask hides whole, mirrored over and over; ValueError for a mask without one.
    """
    hidden = np.pad(drawn.alpha > 0.99, 1)
    reach = cv2.distanceTransform(hidden.astype(np.uint8), cv2.DIST_C, 3)[1:-1, 1:-1]
    row, column = (int(at) for at in np.unravel_index(reach.argmax(), reach.shape))
    half = int(reach[row, column]) - 1
    if half < 1:
        raise ValueError("the mask should hide a square of at least 3 px, hides none: draw another")
    square = drawn.image[row - half : row + half + 1, column - half : column + half + 1]
    beyond = [(at - half, size - at - half - 1) for at, size in zip((row, column), reach.shape, strict=True)]
    return np.pad(square, (*beyond, (0, 0)), mode="symmetric")


def random_orders(maps: Tensor, count: int, *, seed: int) -> Tensor:
    """Random maps as smooth as the given ones: (T, B, S, S) -> (count, B, S, S), with mean 0 and variance 1.

    White noise with the spectrum of the picture's maps, each scaled to variance 1, averaged over T (phase
    randomisation, Theiler et al. 1992): an order of single pixels would be no rival to an order of patches. The noise
    is the same for every picture, so that a result does not depend on the batch around it.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, *maps.shape[2:], generator=generator).to(maps)
    phases = torch.fft.rfft2(noise)
    power = torch.fft.rfft2(_standardised(maps)).abs().square().mean(dim=0)
    return _standardised(torch.fft.irfft2(power.sqrt() * phases / phases.abs(), s=maps.shape[2:]))


def _standardised(maps: Tensor) -> Tensor:
    centred = maps - maps.mean(dim=(-2, -1), keepdim=True)
    return centred / centred.square().mean(dim=(-2, -1), keepdim=True).sqrt().clamp_min(torch.finfo(maps.dtype).tiny)


def ranked(maps: Tensor, ties: Tensor) -> Tensor:
    """Places in rising order, 0 to S * S - 1: (V, B, S, S) -> the same shape, int64; equal values in the order of
    `ties` (B, S, S), since from corner to corner would be no random order."""
    first = ties.flatten(1).argsort(dim=1).expand(len(maps), -1, -1)
    second = maps.flatten(2).gather(2, first).argsort(dim=2, stable=True)
    return first.gather(2, second).argsort(dim=2).view(maps.shape)


def curves(
    model: MaskMTL, images: Tensor, classes: Mapping[str, Tensor], ranks: Tensor, fill: Tensor, shares: Sequence[float]
) -> dict[str, Tensor]:
    """Deletion curves (Petsiuk et al. 2018, arXiv 1806.07421, RISE): task -> scores (V, len(shares), B).

    The fill (B, C, S, S) replaces the picture first where `ranks` (V, B, S, S), 0 to S * S - 1, are highest, until
    `shares` of the pixels, 0..1, are gone. Insertion of the share f along an order is deletion of 1 - f in reverse.
    """
    size = images[0, 0].numel() if len(images) else 0
    kept = torch.tensor([size - round(share * size) for share in shares], device=images.device)
    steps = len(kept)
    found = {task: images.new_zeros(len(ranks) * steps, len(images)) for task in classes}
    for at, few in blocks(len(ranks) * steps, images):
        variant = torch.arange(at.start, at.stop, device=images.device)
        missing = ranks[variant // steps, few] >= kept[variant % steps].view(-1, 1, 1, 1)
        pictures = torch.where(missing[:, :, None], fill[few], images[few])
        _score(found, model, pictures, classes, at, few)
    return {task: score.view(len(ranks), steps, len(images)) for task, score in found.items()}


def ablated(
    model: MaskMTL,
    images: Tensor,
    classes: Mapping[str, Tensor],
    regions: Tensor,
    fill: Tensor,
    sets: Tensor | None = None,
) -> dict[str, Tensor]:
    """Task -> scores (V, B) with the fill, (B, C, S, S) or (B, C, 1, 1), in place of some of `regions` (B, R, S, S), in
    0..1: of those that `sets` (V, R) of 0 and 1 name, by default of each region alone."""
    sets = torch.eye(regions.shape[1]).to(images) if sets is None else sets
    found = {task: images.new_zeros(len(sets), len(images)) for task in classes}
    for at, few in blocks(len(sets), images):
        gone = torch.einsum("vr,brhw->vbhw", sets[at], regions[few])[:, :, None]
        pictures = images[few] + gone * (fill[few] - images[few])
        _score(found, model, pictures, classes, at, few)
    return found


def _score(
    found: Mapping[str, Tensor],
    model: MaskMTL,
    pictures: Tensor,  # (v, b, C, S, S)
    classes: Mapping[str, Tensor],
    at: slice,
    few: slice,
) -> None:
    asked = {task: wanted[few] for task, wanted in classes.items()}
    for task, score in scores(model, model.forward(pictures.flatten(0, 1)), asked).items():
        found[task][at, few] = score.view(len(pictures), -1)
