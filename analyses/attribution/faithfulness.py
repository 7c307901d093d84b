"""Deletion, insertion and ablation of one map, against random maps that are as smooth."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analyses.attribution.perturbation import ablated, curves, random_orders, ranked
from analyses.attribution.result import Attribution
from maskmtl.networks import MaskMTL

SHARES = (0.05, 0.2)  # of the pixels that go first; with more of it gone, a picture is no longer one of a face
ORDERS, MAPS = 10, 100  # random ones, each with its negative: that go through the network; that need not


def faithfulness(
    model: MaskMTL, images: Tensor, attribution: Attribution, fills: Mapping[str, Tensor], regions: Tensor, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Task -> figure -> (B,): does the score of B pictures depend on what their maps mark, more than on random maps?

    deletion_<fill>, insertion_<fill>: how much lower the score is than in random orders when the fill replaces what the
        map marks most, and how much higher when it replaces what the map marks least, which is the end of an insertion;
        the mean over SHARES of the pixels, in standard deviations of random orders (Petsiuk et al. 2018, arXiv
        1806.07421). Random orders are as smooth as the maps.
    order, order_p: most against least, the sum over the fills, in standard deviations of that of random orders, and the
        share of 2 * ORDERS of these, the map counted in, that are as good. Both ends count, so that to spoil a picture
        is no merit (the symmetric relevance gain of Blücher et al. 2024, arXiv 2401.06654).
    agreement, agreement_p: the correlation, over regions, of the map's sum and what the score loses when the first fill
        replaces the region (Bhatt et al. 2020, arXiv 2005.00631), and the share of 2 * MAPS random maps, the map
        counted in, that agree as well. Not of ranks, which would give most weight to all the regions without effect.
    faithfulness: order and agreement in one (Stouffer): their sum, both in standard deviations of random ones, over the
        square root of 2.

    All tasks share the passes and the random maps.

    Args:
        images: (B, C, S, S).
        attribution: maps of these images, and the classes explained.
        fills: name -> (B, C, S, S).
        regions: (B, R, S, S) in 0..1.
    """
    classes = {task: torch.as_tensor(attribution.index[task]).to(images.device) for task in attribution.values}
    maps = torch.stack([_enlarged(values, images) for values in attribution.values.values()])  # (T, B, S, S)
    chance = random_orders(maps, MAPS, seed=seed)
    ranks = ranked(torch.cat([maps, chance[:ORDERS]]), chance[-1])
    ranks = torch.cat([ranks, ranks[0, 0].numel() - 1 - ranks])
    scores = {name: curves(model, images, classes, ranks, fill, SHARES) for name, fill in fills.items()}
    remaining = ablated(model, images, classes, regions, next(iter(fills.values())))

    found = {}
    for at, task in enumerate(classes):
        figures, gains = {}, np.zeros((len(maps) + ORDERS, len(images)))
        for name in fills:
            most_first, least_first = np.split(_numpy(scores[name][task].mean(dim=1)), 2)
            random = np.concatenate([most_first[len(maps) :], least_first[len(maps) :]])
            figures[f"deletion_{name}"] = -_deviations(most_first[at], random)
            figures[f"insertion_{name}"] = _deviations(least_first[at], random)
            gains += least_first - most_first
        random_gains = np.concatenate([gains[len(maps) :], -gains[len(maps) :]])
        agreement, random_agreement = _agreement(maps[at], chance, regions, -_numpy(remaining[task]).T)
        order, agreed = _deviations(gains[at], random_gains), _deviations(agreement, random_agreement)
        found[task] = {
            **figures,
            "order": order,
            "order_p": _share_as_good(gains[at], random_gains),
            "agreement": agreement,
            "agreement_p": _share_as_good(agreement, random_agreement),
            "faithfulness": (order + agreed) / np.sqrt(2),
        }
    return found


def _agreement(maps: Tensor, chance: Tensor, regions: Tensor, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation with `loss` (B, R), less a number for each picture, of maps (B, S, S), and of random ones with their
    mean and variance: (B,) and (2 * MAPS, B)."""
    shown, area = _numpy(regions.amax(dim=(2, 3)) > 0), _numpy(regions.sum(dim=(2, 3)))
    mean, deviation = _numpy(maps.mean(dim=(1, 2)))[:, None], _numpy(maps.std(dim=(1, 2)))[:, None]
    by_chance = deviation * _sums(chance, regions)
    random = np.concatenate([mean * area + by_chance, mean * area - by_chance])
    return correlation(_sums(maps[None], regions)[0], loss, shown), correlation(random, loss, shown)


def _deviations(found: np.ndarray, random: np.ndarray) -> np.ndarray:
    return ratio(found - random.mean(axis=0), random.std(axis=0))


def _share_as_good(found: np.ndarray, random: np.ndarray) -> np.ndarray:
    """(B,) against (V, B): the p-value of a permutation test, never 0."""
    return (1 + (random >= found).sum(axis=0)) / (1 + len(random))


def _sums(maps: Tensor, regions: Tensor) -> np.ndarray:
    return _numpy(torch.einsum("vbhw,brhw->vbr", maps, regions))


def correlation(a: np.ndarray, b: np.ndarray, counted: np.ndarray | float = 1.0) -> np.ndarray:
    """Pearson's, along the last axis, of what is counted, 0 or 1; 0 where one of them is all the same."""
    a, b = np.broadcast_arrays(a, b)
    counted = np.broadcast_to(counted, a.shape)
    a, b = ((x - np.average(x, axis=-1, weights=counted, keepdims=True)) * counted for x in (a, b))
    return ratio((a * b).sum(axis=-1), np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1)))


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _enlarged(values: np.ndarray, images: Tensor) -> Tensor:
    """(B, h, w) -> (B, S, S) as the images."""
    maps = torch.as_tensor(values).to(images)[:, None]
    return F.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
