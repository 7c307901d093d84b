"""Sums of per-face statistics over groups: as they are, under resampling of faces, and if groups made no difference."""

from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

LIMIT = 2_000  # faces of a group, beyond which its sums are drawn from their normal limit
PERMUTED = 20_000  # faces, up to which they are permuted among the groups one by one

Floats = NDArray[np.floating]  # statistics are float32


def split(statistics: Floats, sizes: NDArray[np.integer]) -> list[Floats]:
    """The rows of statistics (F, S), which stand group by group, of each of the groups."""
    return np.split(statistics, np.cumsum(sizes)[:-1])


def sums_of(statistics: Floats, sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sums (G, S) over groups of `sizes` (G,); statistics (F, S) stand group by group, here and below."""
    return np.stack([_sum(rows) for rows in split(statistics, sizes)])


def bootstrap(statistics: Floats, sizes: NDArray[np.integer], replicates: int, seed: int) -> Floats:
    """Sums (G, R, S) when faces are drawn again, each as often as a Poisson variable of mean 1 says.

    The Poisson bootstrap (Chamandy et al. 2012): no total is fixed, so that groups are independent, as they are in the
    population. A face is a row with all that is known of it, bare and masked, so that differences are paired. Sums of
    more than LIMIT faces are drawn from their normal limit, which has the same mean and covariance.
    """
    rng, found = np.random.default_rng(seed), np.empty((len(sizes), replicates, statistics.shape[1]), np.float32)
    for group, rows in enumerate(split(statistics, sizes)):
        if len(rows) <= LIMIT:
            times = _poisson_values()[rng.integers(1 << 16, size=(replicates, len(rows)), dtype=np.uint16)]
            found[group] = _product(times.astype(np.float32), rows)
        else:
            found[group] = _sum(rows) + _normal(rng, replicates, _root(_product(rows.T, rows)))
    return found


def permutation(statistics: Floats, sizes: NDArray[np.integer], replicates: int, seed: int) -> Floats:
    """Sums (G, R, S) when faces change places between the groups at random: the null of no difference.

    Beyond PERMUTED faces, groups of at most LIMIT faces are drawn one by one with replacement, larger ones from the
    normal limit of the permutation (Hoeffding 1951).
    """
    n, columns = statistics.shape
    if n <= PERMUTED:
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        bags = _bags(statistics, permutations(n, replicates, seed), n * np.arange(replicates)[:, None] + starts)
        return bags.reshape(replicates, -1, columns).swapaxes(0, 1)
    rng, found = np.random.default_rng(seed), np.empty((len(sizes), replicates, columns), np.float32)
    mean, large = _sum(statistics) / n, np.flatnonzero(sizes > LIMIT)
    root = _root(_product(statistics.T, statistics) / n - np.outer(mean, mean))
    for group in large.tolist():
        found[group] = sizes[group] ** 0.5 * _normal(rng, replicates, root)
    excess = found[large].sum(axis=0)
    for group, n_group in enumerate(sizes.tolist()):
        if n_group > LIMIT:  # the deviations of all groups add up to none
            found[group] += n_group * mean - n_group / n * excess
        else:
            faces = rng.integers(n, size=(replicates, n_group), dtype=np.int32)
            found[group] = _bags(statistics, faces, n_group * np.arange(replicates))
    return found


@cache
def _poisson_values() -> NDArray[np.uint8]:
    """Values of a Poisson variable of mean 1, each as often among 65,536 as it is likely."""
    chances = np.cumprod([np.exp(-1), *(1 / k for k in range(1, 9))])
    return np.searchsorted(np.cumsum(chances), (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.uint8)


@lru_cache(maxsize=2)
def permutations(n: int, replicates: int, seed: int) -> NDArray[np.int32]:
    """(replicates, n). The last ones are kept: one audit asks for the same again and again."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n).astype(np.int32) for _ in range(replicates)])


# by torch: several threads, and a product by NumPy's BLAS slows the torch passes after it
def _bags(statistics: Floats, faces: NDArray[np.int32], starts: NDArray[np.integer]) -> Floats:
    """(starts.size, S): sums of the rows `faces`, cut into bags at `starts`."""
    at, cuts = torch.from_numpy(faces.ravel()), torch.from_numpy(starts.ravel().astype(np.int32))
    return torch.nn.functional.embedding_bag(at, torch.from_numpy(statistics), cuts, mode="sum").numpy()


def _sum(rows: Floats) -> NDArray[np.float64]:
    return torch.from_numpy(rows).sum(dim=0, dtype=torch.float64).numpy()


def _product(left: Floats, right: Floats) -> Floats:
    return (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()


def _root(covariance: Floats) -> Floats:
    """(S, S) whose product with its own transpose is the covariance."""
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    return (vectors * np.sqrt(values.clip(0))).astype(np.float32)


def _normal(rng: np.random.Generator, replicates: int, root: Floats) -> Floats:
    return _product(rng.standard_normal((replicates, len(root)), np.float32), root.T)
