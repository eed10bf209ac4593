"""DeLong's test against its definition, worked by hand, and an independent library; Holm's against its steps."""

import math

import MLstatkit
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewscans.stats.delong import DeLong, delong_test, holm


def psi(positive, negative):
    return float(positive > negative) + 0.5 * float(positive == negative)


def by_loops(y, a, b):
    """Areas, variance of their difference: DeLong et al. 1988, equations 4 to 8."""
    v10 = [[np.mean([psi(x, z) for z in s[y == 0]]) for x in s[y == 1]] for s in (a, b)]
    v01 = [[np.mean([psi(x, z) for x in s[y == 1]]) for z in s[y == 0]] for s in (a, b)]
    s = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    return np.mean(v10[0]), np.mean(v10[1]), s[0, 0] + s[1, 1] - 2 * s[0, 1]


def drawn(rng, n=60, ties=True):
    y = rng.permutation(np.arange(n) < rng.integers(5, n - 5)).astype(int)
    common = y + rng.normal(size=n)
    a, b = common + rng.normal(size=(2, n))
    return (y, np.round(a, 1), np.round(b, 1)) if ties else (y, a, b)


@pytest.mark.parametrize("ties", [True, False])
def test_the_test_agrees_with_its_definition_and_with_another_library(ties):
    rng = np.random.default_rng(0)
    for _ in range(25):
        y, a, b = drawn(rng, ties=ties)
        got = delong_test(y, a, b)
        auc_a, auc_b, variance = by_loops(y, a, b)
        half = 1.959963984540054 * math.sqrt(variance)
        assert (got.auc_a, got.auc_b, got.difference) == pytest.approx((auc_a, auc_b, auc_a - auc_b), abs=1e-12)
        assert (got.low, got.high) == pytest.approx((auc_a - auc_b - half, auc_a - auc_b + half), abs=1e-9)
        z, p, area_a, area_b = MLstatkit.Delong_test(y, a, b, return_ci=False)  # its difference is b - a
        assert (got.z, got.p, got.auc_a, got.auc_b) == pytest.approx((-z, p, area_a, area_b), abs=1e-6)
        assert (got.p < 0.05) == (got.low > 0 or got.high < 0)


def test_an_example_worked_by_hand():
    # a: shares of negatives below the positives 0.8, 0.4 are 1, 1/2; of positives above the negatives 0.5, 0.1: 1/2, 1.
    # b orders all pairs. Differences are (0, -1/2) and (-1/2, 0), each of variance 1/8, so 1/16 + 1/16 in all.
    got = delong_test([1, 1, 0, 0], [0.8, 0.4, 0.5, 0.1], [0.9, 0.8, 0.2, 0.1])
    assert (got.auc_a, got.auc_b, got.difference) == (0.75, 1.0, -0.25)
    assert got.z == pytest.approx(-math.sqrt(1 / 2))
    assert got.p == pytest.approx(math.erfc(0.5))
    assert got.low == pytest.approx(-0.25 - 1.959964 * math.sqrt(1 / 8), abs=1e-6)


def test_exchanging_the_predictions_turns_the_sign():
    y, a, b = drawn(np.random.default_rng(1))
    one, other = delong_test(y, a, b), delong_test(y, b, a)
    turned = (one.auc_b, one.auc_a, -one.difference, -one.high, -one.low, -one.z, one.p)
    assert tuple(vars(other).values()) == pytest.approx(turned)


def test_a_difference_without_variance_is_none_or_certain():
    y, a = np.array([0, 0, 0, 1, 1, 1]), np.arange(6.0)
    assert delong_test(y, a, np.exp(a)) == DeLong(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert delong_test(y, -a, a) == DeLong(0.0, 1.0, -1.0, -1.0, -1.0, -math.inf, 0.0)
    y, a, _ = drawn(np.random.default_rng(2))
    same = delong_test(y, a, 3 * a + 1)
    assert (same.difference, same.z, same.p) == (0.0, 0.0, 1.0)


def test_it_rejects_as_often_as_it_says():
    """Two equally good, correlated predictions: p < 0.05 in 5 % of 600 data sets (binomial 99.9 %: 2.4 to 8.2 %)."""
    rng, y = np.random.default_rng(1), np.repeat([0, 1], [120, 60])
    small = 0
    for _ in range(600):
        common = y + rng.normal(size=y.size)
        small += delong_test(y, *(common + rng.normal(size=(2, y.size)))).p < 0.05
    assert 0.024 < small / 600 < 0.082


@pytest.mark.parametrize(
    ("y", "a", "group", "complaint"),
    [
        ([0, 0, 0], [1, 2, 3], None, "all 3 labels are 0"),
        ([0, 1, 2], [1, 2, 3], None, "labels must be 0 or 1, got 2"),
        ([0, 1, 1], [1, 2], None, r"labels have shape \(3,\), scores \(2,\)"),
        ([0, 1, 1], [1, np.nan, 3], None, "score of case 1 is NaN"),
        ([0, 1, 1], [1, 2, 3], None, "two cases of each class, got 2 of 3"),
        ([0, 0, 1, 1], [1, 2, 3, 4], list("abcb"), "patient b has several cases"),
    ],
)
def test_bad_input_is_one_clear_error(y, a, group, complaint):
    with pytest.raises(ValueError, match=complaint):
        delong_test(y, a, a, group)


def test_one_case_a_patient_changes_nothing():
    y, a, b = drawn(np.random.default_rng(3))
    assert delong_test(y, a, b, np.arange(y.size)) == delong_test(y, a, b)


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
