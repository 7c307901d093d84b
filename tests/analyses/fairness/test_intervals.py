import math

import numpy as np
import pytest

from analyses.fairness import bootstrap_mean, intervals, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(successes, n, low, high):
    assert wilson(successes, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_by_hand():
    # 8 of 10, z = 1.959964: centre .8 + 3.841459 / 20 = .992073, half 1.959964 sqrt(.016 + 3.841459 / 400) = .313603,
    # both over 1 + .3841459
    assert wilson(8, 10) == (pytest.approx(0.490162, abs=1e-6), pytest.approx(0.943318, abs=1e-6))
    low, high = wilson(8, 10, level=0.9)
    assert 0.490162 < low < 0.8 < high < 0.943318


def test_wilson_stays_in_range_and_mirrors():
    for n in (1, 2, 7, 50, 4741):
        for successes in {0, 1, n // 3, n - 1, n}:
            low, high = wilson(successes, n)
            assert 0 <= low <= successes / n <= high <= 1
            assert (1 - high, 1 - low) == pytest.approx(wilson(n - successes, n))
            assert high - low > 0
    assert wilson(0, 7)[0] == 0 and wilson(7, 7)[1] == 1


def test_wilson_of_nothing_and_of_nonsense():
    assert all(math.isnan(bound) for bound in wilson(0, 0))
    with pytest.raises(ValueError, match=r"successes should be in 0..10, got 11"):
        wilson(11, 10)
    with pytest.raises(ValueError, match=r"level should be between 0 and 1, got 95"):
        wilson(1, 10, level=95)


def test_bootstrap_of_a_proportion_has_the_quantiles_of_the_binomial():
    # the mean of a resample of 10 ones and 40 zeros is binomial(50, 0.2) / 50, whose quantiles are 5 / 50 and 16 / 50
    assert bootstrap_mean([1] * 10 + [0] * 40, seed=0, replicates=20_000) == (0.10, 0.32)
    # one 1 and three 0: P(mean = 0) = .316, P(mean <= 1/2) = .949, P(mean <= 3/4) = .996
    assert bootstrap_mean([1, 0, 0, 0], seed=0, replicates=20_000) == (0, 0.75)


def test_bootstrap_of_many_values_is_close_to_the_normal_interval():
    values = np.random.default_rng(1).gamma(2, 5, 3000)
    half = 1.959964 * values.std() / 3000**0.5
    low, high = bootstrap_mean(values, seed=0)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_depends_on_the_seed_alone(monkeypatch):
    values = np.random.default_rng(2).normal(size=101)
    first = bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values[::-1], seed=3) == first
    assert bootstrap_mean(values, seed=4) != first
    monkeypatch.setattr(intervals, "CELLS", 50 * len(values))
    assert bootstrap_mean(values, seed=3) == pytest.approx(first, rel=0.1)  # in blocks of 50 replicates


def test_bootstrap_moves_and_stretches_with_the_values():
    values = np.random.default_rng(5).normal(size=60)
    low, high = bootstrap_mean(values, seed=0)
    assert bootstrap_mean(10 + 3 * values, seed=0) == (pytest.approx(10 + 3 * low), pytest.approx(10 + 3 * high))


@pytest.mark.parametrize("values", [[], [4.0], [4.0] * 30])
def test_bootstrap_without_spread_gives_no_interval(values):
    assert all(math.isnan(bound) for bound in bootstrap_mean(values, seed=0))


def test_bootstrap_of_nonsense():
    with pytest.raises(ValueError, match=r"values should be \(N,\), got \(2, 2\)"):
        bootstrap_mean(np.zeros((2, 2)), seed=0)
    with pytest.raises(ValueError, match="replicates should be at least 1, got 0"):
        bootstrap_mean([1, 2], seed=0, replicates=0)
