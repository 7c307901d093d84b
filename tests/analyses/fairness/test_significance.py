"""p-values against SciPy, enumeration and published figures."""

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control, fisher_exact, hypergeom

from analyses.fairness.intervals import newcombe, newcombe_paired
from analyses.fairness.significance import benjamini_hochberg, holm, mcnemar, normal, power_factor, two_shares


@pytest.mark.parametrize("cells", [(3, 20, 90, 100), (0, 20, 5, 40), (20, 20, 70, 100), (7, 25, 9, 30)])
def test_two_shares_is_fishers_test_by_half_the_chance_of_what_was_seen(cells):
    hits, n, others, m = cells
    law = hypergeom(n + m, hits + others, n)
    low, high = law.cdf(hits) - law.pmf(hits) / 2, law.sf(hits) + law.pmf(hits) / 2
    assert two_shares(*cells) == pytest.approx(min(1, 2 * min(low, high)))
    assert two_shares(*cells) <= fisher_exact([[hits, n - hits], [others, m - others]]).pvalue * 1.5
    assert two_shares(*cells) == pytest.approx(two_shares(others, m, hits, n))


def test_two_shares_of_many_faces_and_of_none():
    assert two_shares(8_000, 10_000, 8_200, 10_000) == pytest.approx(0.00032, rel=0.05)  # z = 3.6
    assert two_shares(20, 20, 50, 50) == 1 and two_shares(0, 20, 0, 50) == 1
    assert np.isnan(two_shares(0, 0, 3, 5))
    exact, score = two_shares(180, 200, 850, 1000), two_shares(1800, 2000, 8500, 10_000)
    assert score < exact < 0.1


@pytest.mark.parametrize(("first", "second"), [(3, 12), (0, 6), (20, 21), (0, 0)])
def test_mcnemar_is_the_exact_test_by_half_the_chance_of_what_was_seen(first, second):
    plain = binomtest(first, first + second).pvalue if first + second else 1
    assert mcnemar(first, second) <= plain + 1e-12
    assert mcnemar(first, second) == pytest.approx(mcnemar(second, first))
    if (first, second) == (0, 6):
        assert mcnemar(0, 6) == pytest.approx(plain / 2)
    assert mcnemar(5_000, 5_500) == pytest.approx(float(normal(500 / 10_500**0.5)), rel=0.02)


def test_adjustments_by_hand_and_by_scipy():
    p = [0.01, 0.04, np.nan, 0.03]
    assert holm(p) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    known = [0.01, 0.04, 0.03, 0.5, 0.02]
    assert benjamini_hochberg(known) == pytest.approx(false_discovery_control(known))
    assert benjamini_hochberg(p)[2] != benjamini_hochberg(p)[2] and holm([]).size == 0


def test_newcombe_as_published():
    """Newcombe 1998b, Table II, example a (56/70 and 48/80)."""
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert np.isnan(newcombe(0, 0, 1, 2)).all() and np.isnan(newcombe_paired([0, 0, 0, 0])).all()
    low, high = newcombe_paired([40, 10, 5, 45])
    assert low < 0.05 < high
    assert newcombe_paired([40, 5, 10, 45]) == pytest.approx((-high, -low))
    low, high = newcombe_paired([50, 0, 0, 0])
    assert low < 0 < high


def test_power_factor():
    assert power_factor(0.95) == pytest.approx(1.96 + 0.8416, abs=1e-3)
