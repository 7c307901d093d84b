"""Sums over groups, drawn again and mixed, by hand and against theory."""

import numpy as np
import pytest

from analyses.fairness import resampling
from analyses.fairness.resampling import bootstrap, permutation, sums_of

ROWS = np.array([[1.0, 10.0], [1, 20], [1, 40]], np.float32)


def test_sums_by_hand():
    assert sums_of(ROWS, np.array([2, 0, 1])).tolist() == [[2, 30], [0, 0], [1, 40]]


@pytest.fixture(params=["exact", "limit"])
def rows(request, monkeypatch):
    if request.param == "limit":
        monkeypatch.setattr(resampling, "LIMIT", 10)
        monkeypatch.setattr(resampling, "PERMUTED", 10)
    x = np.random.default_rng(0).exponential(size=500)
    return np.stack([np.ones(500), x, x > 1], axis=1).astype(np.float32)


def test_bootstrap_has_the_mean_and_covariance_of_poisson_draws(rows):
    drawn = bootstrap(rows, np.array([100, 400]), 20_000, seed=0)
    for found, part in zip(drawn, (rows[:100], rows[100:]), strict=True):
        assert found.mean(axis=0) == pytest.approx(part.sum(axis=0), rel=0.02)
        assert np.cov(found.T) == pytest.approx(part.T @ part, rel=0.06)
    assert abs(np.corrcoef(drawn[0, :, 1], drawn[1, :, 1])[0, 1]) < 0.03  # groups are independent


def test_permutation_has_the_mean_and_covariance_of_a_draw_without_replacement(rows):
    sizes = np.array([150, 350])
    mixed = permutation(rows, sizes, 20_000, seed=0)
    covariance = np.cov(rows.T, bias=True)
    for found, size in zip(mixed, sizes, strict=True):
        assert found.mean(axis=0) == pytest.approx(size * rows.mean(axis=0), rel=0.02)
        assert np.cov(found.T)[1:, 1:] == pytest.approx(covariance[1:, 1:] * size * (1 - size / 500), rel=0.06)
    assert mixed.sum(axis=0) == pytest.approx(np.broadcast_to(rows.sum(axis=0), (20_000, 3)), rel=1e-3)


def test_permutations_are_the_same_for_the_same_seed():
    resampling.permutations.cache_clear()
    first = resampling.permutations(7, 5, 0)
    assert (np.sort(first, axis=1) == np.arange(7)).all() and len(np.unique(first, axis=0)) > 1
    resampling.permutations.cache_clear()
    assert (resampling.permutations(7, 5, 0) == first).all() and (resampling.permutations(7, 5, 1) != first).any()
