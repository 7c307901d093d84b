"""Can a map be believed? Checks of each map against the network that it explains, and a verdict in words."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

from analyses.attribution import Attribution, explain
from analyses.attribution.faithfulness import correlation, faithfulness, ratio
from analyses.attribution.perturbation import blurred, grey
from analyses.attribution.randomisation import paths, redrawn
from analyses.attribution.regions import on_grid
from analyses.attribution.scores import batches
from maskmtl.networks import MaskMTL

DRAWS = 2  # of weights, and of noise
NOISE = 0.01  # half the width of the uniform noise, 2.5 of 255
CELLS = 6  # along the side: the regions where none are given
CHANCE = 0.05  # up to which a p-value is one

By = dict[str, np.ndarray]  # task -> (B,)


@dataclass(frozen=True)
class Thresholds:
    """What a map has to reach, chosen on networks with planted evidence.

    similarity: at most; maps of trained networks stay below 0.4 when all weights on the path are random.
    similarity_head: at most. With a new last layer, maps of the same features may stay much alike; the same they are
        only where no score enters.
    faithfulness: at least. Not 1.64: by their weights alone random, maps lie on what stands out in the picture, and one
        in ten gets to 2; one in 25 gets to 3, and nineteen in twenty maps that find the evidence.
    noise: at most; at 1 a map changes by as much as there is of it.
    """

    similarity: float = 0.6
    similarity_head: float = 0.99
    faithfulness: float = 3.0
    noise: float = 1.0


def gate(
    model: MaskMTL,
    images: Tensor,
    attribution: Attribution,
    *,
    regions: np.ndarray | Tensor | None = None,
    fills: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
    turn: Callable[[], AbstractContextManager] = nullcontext,
) -> pd.DataFrame:
    """Check every map: one row per task and picture, with picture (its place in the batch), task, method, and

    similarity, similarity_head: rank correlation with maps of the same class by copies with random weights (Adebayo et
        al. 2018, arXiv 1810.03292): on the whole path to the task's score, the mean of DRAWS without the sign; in its
        last layer alone, the smallest of DRAWS, since maps of the same features may differ by their sign only. What
        stays the same tells of the picture, not of the network.
    deletion_<fill>, insertion_<fill>, order, order_p, agreement, agreement_p, faithfulness: see `faithfulness`.
    noise: the largest change of the map, in Euclidean norm relative to its own, of DRAWS when noise of up to NOISE is
        added to the picture (Yeh et al. 2019, arXiv 1901.09392).
    passed, reason: whether all is within `thresholds`, and what is not, in words.

    A map that is the same everywhere fails, without figures.

    Args:
        images: (B, C, S, S), those that `attribution` explains.
        attribution: as `explain` gives it; its method, index and options are used again.
        regions: (B, R, S, S) in 0..1, such as `face_regions` at the side of the input; by default CELLS x CELLS cells.
            Few regions tell right from wrong less often.
        fills: name -> (B, C, S, S); by default `grey` and `blurred`.
        progress: called with the steps done and all of them; may raise to stop it.
        turn: entered for each step, and once before them, for whoever shares the model.

    Raises:
        ValueError: for images, regions or fills of other shapes, or maps that are not finite.
    """
    fills = {"grey": grey(images), "blur": blurred(images)} if fills is None else fills
    shares = _cells(images) if regions is None else torch.as_tensor(regions).to(images)
    _check(images, attribution, shares, fills)
    tables, done = [], 0
    total = len(list(batches(images))) * (3 * DRAWS + 1)  # maps of two kinds of copies and under noise, and one more

    @contextmanager
    def step() -> Iterator[None]:
        nonlocal done
        progress(done, total)
        with turn():
            yield
        done += 1

    def again(network: MaskMTL, x: Tensor, like: Attribution) -> dict[str, np.ndarray]:
        with step():
            return _maps(network, x, like)

    with _evaluating(model), torch.no_grad():
        with turn():
            ways = paths(model, images)
            copies = _copies(model, {name for task in attribution.values for name in ways[task]}, seed)
            copies_head = _copies(model, {ways[task][-1] for task in attribution.values}, seed)
        for few in batches(images):
            x, maps = images[few], attribution.rows(few)
            filled = {name: fill[few] for name, fill in fills.items()}
            same = _similarity([again(copy, x, maps) for copy in copies], maps, lambda rho: np.abs(rho).mean(axis=0))
            same_head = _similarity([again(copy, x, maps) for copy in copies_head], maps, lambda rho: rho.min(axis=0))
            with step():
                faithful = faithfulness(model, x, maps, filled, shares[few], seed)
            noise = _change([again(model, noisy, maps) for noisy in _noisy(x, seed)], maps)
            for task, values in maps.values.items():
                figures = {
                    "similarity": same[task],
                    "similarity_head": same_head[task],
                    **faithful[task],
                    "noise": noise[task],
                }
                labels = {"picture": np.arange(few.start, few.stop), "task": task, "method": maps.method}
                tables.append(_judged(labels, figures, values, thresholds or Thresholds()))
    return pd.concat(tables, ignore_index=True)


def _check(images: Tensor, attribution: Attribution, regions: Tensor, fills: Mapping[str, Tensor]) -> None:
    n = {len(values) for values in attribution.values.values()}
    if images.ndim != 4 or n != {len(images)} or not len(images):
        raise ValueError(f"images should be (B, C, S, S), the B that are explained, got {tuple(images.shape)} for {n}")
    if not all(np.isfinite(values).all() for values in attribution.values.values()):
        raise ValueError("maps should be finite, got NaN or infinity")
    if regions.ndim != 4 or (len(regions), *regions.shape[2:]) != (len(images), *images.shape[2:]):
        expected = (len(images), "R", *images.shape[2:])
        raise ValueError(f"regions should be ({', '.join(map(str, expected))}), got {tuple(regions.shape)}")
    if not (regions > 0).flatten(1).any(dim=1).all():
        raise ValueError("regions should cover something of every picture, cover nothing of one")
    if not fills:
        raise ValueError("fills should have at least one, got none")
    for name, fill in fills.items():
        if fill.shape != images.shape:
            raise ValueError(f"fill {name!r} should be {tuple(images.shape)} as the images, got {tuple(fill.shape)}")


def _judged(
    labels: dict[str, object], figures: dict[str, np.ndarray], values: np.ndarray, wanted: Thresholds
) -> pd.DataFrame:
    """One task's rows."""
    table, even = pd.DataFrame({**labels, **figures}), np.ptp(values, axis=(1, 2)) == 0
    table.loc[even, list(figures)] = np.nan
    unfaithful = table["faithfulness"] < wanted.faithfulness
    found = {
        "no positive evidence": values.max(axis=(1, 2)) <= 0,
        "the same everywhere": even & (values.max(axis=(1, 2)) > 0),
        "does not change when the network is randomised": table["similarity"] > wanted.similarity,
        "does not change when the task's last layer is randomised": table["similarity_head"] > wanted.similarity_head,
        "removing what it marks first is no better than a random order": unfaithful & (table["order_p"] > CHANCE),
        "its regions are not those that the score depends on": unfaithful & (table["agreement_p"] > CHANCE),
        "random maps come close": unfaithful & (table[["order_p", "agreement_p"]].max(axis=1) <= CHANCE),
        "changes with noise too faint to see": table["noise"] > wanted.noise,
    }
    wrong = pd.DataFrame({reason: np.asarray(holds) for reason, holds in found.items()})
    reasons = ["; ".join(wrong.columns[row]) for row in wrong.to_numpy()]
    return table.assign(passed=~wrong.any(axis=1), reason=reasons)


def _copies(model: MaskMTL, modules: Collection[str], seed: int) -> list[MaskMTL]:
    return [redrawn(model, modules, seed=seed + draw) for draw in range(DRAWS)]


def _similarity(
    others: Sequence[dict[str, np.ndarray]],
    attribution: Attribution,
    of_draws: Callable[[np.ndarray], np.ndarray],  # (DRAWS, B) -> (B,)
) -> By:
    return {
        task: of_draws(np.array([_rank_correlation(values, other[task]) for other in others]))
        for task, values in attribution.values.items()
    }


def _noisy(images: Tensor, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise = (2 * torch.rand(DRAWS, *images.shape[1:], generator=generator).to(images) - 1) * NOISE
    return [(images + one).clamp(0, 1) for one in noise]


def _change(others: Sequence[dict[str, np.ndarray]], attribution: Attribution) -> By:
    def size(values: np.ndarray) -> np.ndarray:
        return np.linalg.norm(values.reshape(len(values), -1), axis=1)

    return {
        task: np.max([ratio(size(other[task] - values), size(values)) for other in others], axis=0)
        for task, values in attribution.values.items()
    }


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's, of maps (B, h, w)."""
    a, b = (rankdata(x.reshape(len(x), -1), axis=1) for x in (a, b))
    return correlation(a, b)


def _maps(model: MaskMTL, images: Tensor, like: Attribution) -> dict[str, np.ndarray]:
    """Task -> (B, h, w), of the same classes, by the same method."""
    return explain(model, images, tasks=list(like.values), method=like.method, index=like.index, **like.options).values


def _cells(images: Tensor) -> Tensor:
    cells = on_grid(np.eye(CELLS**2).reshape(-1, CELLS, CELLS), (images.shape[2], images.shape[3]))
    return torch.as_tensor(cells).to(images).expand(len(images), -1, -1, -1)


@contextmanager
def _evaluating(model: MaskMTL) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
