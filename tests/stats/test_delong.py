"""DeLong's test against an independent library; Holm's correction against its steps."""

import math

import MLstatkit
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewscans.stats.auc import delong_test, holm


@pytest.mark.parametrize("ties", [True, False])
def test_the_test_agrees_with_another_library(ties):
    rng = np.random.default_rng(0)
    for _ in range(25):
        y = rng.permutation(np.arange(60) < rng.integers(5, 55)).astype(int)
        a, b = y + rng.normal(size=60) + rng.normal(size=(2, 60))
        a, b = (np.round(a, 1), np.round(b, 1)) if ties else (a, b)
        z, p, area_a, area_b = MLstatkit.Delong_test(y, a, b, return_ci=False)  # its difference is b - a
        assert delong_test(y, a, b) == pytest.approx((area_a, area_b, -z, p), abs=1e-6)


def test_an_example_worked_by_hand():
    # a: shares of negatives below the positives 0.8, 0.4 are 1, 1/2; of positives above the negatives 0.5, 0.1: 1/2, 1.
    # b orders all pairs. Differences are (0, -1/2) and (-1/2, 0), each of variance 1/8, so 1/16 + 1/16 in all.
    got = delong_test([1, 1, 0, 0], [0.8, 0.4, 0.5, 0.1], [0.9, 0.8, 0.2, 0.1])
    assert got == pytest.approx((0.75, 1.0, -math.sqrt(1 / 2), math.erfc(0.5)))


def rejected(p, level):
    """Holm's steps as he wrote them: reject from the smallest up, until one is not below level / what is left."""
    out, left = set(), list(np.argsort(p))
    while left and p[left[0]] <= level / len(left):
        out.add(int(left.pop(0)))
    return out


def test_holm_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0] and holm([]).size == 0


@given(st.lists(st.integers(1, 999), min_size=1, max_size=6, unique=True), st.integers(0, 299))
def test_an_adjusted_value_is_below_the_level_where_holm_rejects(thousandths, level):
    p, level = np.array(thousandths) / 1000, (level + 0.5) / 1000  # never p times a whole number
    adjusted = holm(p)
    assert {int(i) for i in np.flatnonzero(adjusted <= level)} == rejected(p, level)
    assert (adjusted >= p).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    np.testing.assert_array_equal(holm(p[::-1]), adjusted[::-1])


@pytest.mark.parametrize("p", [[0.5, 1.1], [-0.1], [np.nan]])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="a p-value lies between 0 and 1, got"):
        holm(p)
