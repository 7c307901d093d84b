"""What the score loses without a region of the picture: alone, or by its Shapley value over all sets of regions.

`regions` are (B, R, S, S) in 0..1, each picture's own, and sum to 1 in every pixel: for faces `face_regions` at the
input's side, or `on_grid` of them. None is a grid of equal cells, 3 down and 2 across. A set of regions is shown as
picture * its shares + fill * (1 - its shares); `fill` is the level 0..1 that hides, None the picture's own mean per
channel.

The sum of a map over a region, as `region_effects` takes it, is the region's value; inside, the value is spread evenly.
A region that a picture does not show has the value 0 and costs no pass.
"""

from collections.abc import Callable, Mapping
from math import comb

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analyses.attribution.perturbation import ablated
from analyses.attribution.regions import on_grid
from analyses.attribution.result import Maps
from analyses.attribution.scores import explained, flat
from maskmtl.networks import MaskMTL

Regions = np.ndarray | Tensor | None
# R regions -> the sets to show, (V, R) of 0 and 1, and the weight of each set's score in each region's value, (R, V)
Plan = Callable[[int], tuple[Tensor, Tensor]]

GRID = (3, 2)
MOST = 12  # regions for Shapley values: 4,096 passes a picture
EFFECTS = ("face_id", "mask", "task", "method", "region", "area", "effect")


def region_ablation(
    model: MaskMTL,
    images: Tensor,
    index: Mapping[str, Tensor | None],
    *,
    regions: Regions = None,
    fill: float | None = None,
) -> Maps:
    """Score(picture) - score(with the region filled), for each region; R + 1 passes, which all heads share.

    Of two regions that say the same, neither is missed: see `region_shapley`.
    """
    return _maps(model, images, index, regions, fill, _leave_one_out)


def region_shapley(
    model: MaskMTL,
    images: Tensor,
    index: Mapping[str, Tensor | None],
    *,
    regions: Regions = None,
    fill: float | None = None,
) -> Maps:
    """Exact Shapley values (Shapley 1953; Lundberg and Lee 2017, arXiv 1705.07874, equation 4) of the regions in the
    game whose worth of a set is the score with that set shown.

    They add up to score(picture) - score(all filled). 2^R passes, which all heads share; ValueError for more than MOST
    regions in a picture.
    """
    return _maps(model, images, index, regions, fill, _shapley)


def region_effects(energy: pd.DataFrame) -> pd.DataFrame:
    """The signed sum of each map over each region, from the table of `region_energy`: one row each, with EFFECTS.

    effect: in the map's unit; of maps by the region methods, for these same regions, each region's value. NaN for a
        region that the picture does not show.
    area: the region's share of the picture, 0..1.
    """
    effect = (energy["positive"] - energy["negative"]).where(energy["area"] > 0)
    return energy.assign(effect=effect)[list(EFFECTS)]


def _leave_one_out(n: int) -> tuple[Tensor, Tensor]:
    ones, own = torch.ones(1, n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    return torch.cat([ones, 1 - own]), torch.cat([ones.T, -own], dim=1)


def _shapley(n: int) -> tuple[Tensor, Tensor]:
    if n > MOST:
        raise ValueError(f"regions in a picture should be at most {MOST} for Shapley values, 2^R passes, got {n}")
    sets = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1
    # a set of k regions is one of comb(n - 1, k) that a region can join, and each size counts the same
    of_size = torch.tensor([1 / (n * comb(n - 1, k)) for k in range(n)], dtype=torch.float64)
    size = sets.sum(dim=1, keepdim=True)
    joined, left = of_size[(size - 1).clamp_min(0)], of_size[size.clamp_max(n - 1)]
    return sets, torch.where(sets == 1, joined, -left).T


@torch.no_grad()
def _maps(
    model: MaskMTL,
    images: Tensor,
    index: Mapping[str, Tensor | None],
    regions: Regions,
    fill: float | None,
    plan: Plan,
) -> Maps:
    shares = _shares(regions, images)
    empty = flat(images) if fill is None else torch.full_like(flat(images), fill)
    logits = model(images)
    classes = explained(model, index, logits)
    values = {task: torch.zeros_like(shares[:, :, 0, 0], dtype=torch.float64) for task in index}
    present = (shares > 0).flatten(2).any(dim=2)
    for pattern in present.unique(dim=0):  # pictures that show the same regions go together
        rows, players = (present == pattern).all(dim=1).nonzero()[:, 0], pattern.nonzero()[:, 0]
        sets, weights = (matrix.to(images.device) for matrix in plan(len(players)))
        asked = {task: wanted[rows] for task, wanted in classes.items()}
        gone = 1 - sets.to(images)
        for task, worth in ablated(model, images[rows], asked, shares[rows][:, players], empty[rows], gone).items():
            values[task][rows[:, None], players] = worth.double().T @ weights.T
    maps = {task: _spread(of_task, shares) for task, of_task in values.items()}
    return Maps(maps, logits, dict.fromkeys(index, "input"))


def _spread(values: Tensor, shares: Tensor) -> Tensor:
    """The map of least norm whose sum over each region, weighted by the shares, is its value: (B, R) -> (B, S, S).

    For regions with hard edges each pixel has value / area; where regions overlap, their own sums tell them apart.
    """
    shares = shares.double()
    even = shares / shares.sum(dim=(2, 3), keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)
    held = torch.einsum("brhw,bqhw->brq", shares, even)  # what region r holds of region q's even spread
    weights = torch.linalg.pinv(held) @ values[..., None]
    return torch.einsum("bq,bqhw->bhw", weights[..., 0], even).float()


def check_regions(regions: Regions, images: Tensor) -> None:
    """ValueError for regions that are not (B, R, S, S) for images (B, C, S, S)."""
    got = None if regions is None else tuple(regions.shape)
    n, side = len(images), images.shape[-1]
    if got is not None and (len(got) != 4 or (got[0], *got[2:]) != (n, *images.shape[2:]) or not got[1]):
        raise ValueError(
            f"regions should be ({n}, R, {side}, {side}), as face_regions at the input's side gives them for each "
            f"picture, got {got}"
        )


def _shares(regions: Regions, images: Tensor) -> Tensor:
    side = images.shape[-1]
    if regions is None:
        cells = np.eye(GRID[0] * GRID[1]).reshape(-1, *GRID)
        return torch.as_tensor(on_grid(cells, (side, side))).to(images).expand(len(images), -1, -1, -1)
    shares = torch.as_tensor(regions).to(images)
    if not ((shares >= 0).all() and ((shares.sum(dim=1) - 1).abs() <= 1e-5).all()):
        raise ValueError("regions should be in 0..1 and sum to 1 in every pixel, as face_regions and on_grid make them")
    return shares
