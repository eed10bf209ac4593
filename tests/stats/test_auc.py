"""AUC, DeLong and sensitivity against slow definitions written independently, and their symmetries."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans.stats import weighted
from fewscans.stats.auc import auc, delong_test, roc_curve, sensitivity_at


def psi(positive, negative):
    return float(positive > negative) + 0.5 * float(positive == negative)


def slow_auc(y, score):
    pairs = [psi(a, b) for a in score[y == 1] for b in score[y == 0]]
    return sum(pairs) / len(pairs)


def slow_delong(y, a, b):
    """DeLong et al. 1988, equations 4 to 8, by the book."""
    v10 = [[np.mean([psi(x, z) for z in s[y == 0]]) for x in s[y == 1]] for s in (a, b)]
    v01 = [[np.mean([psi(x, z) for x in s[y == 1]]) for z in s[y == 0]] for s in (a, b)]
    s = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    contrast = np.array([1.0, -1.0])
    areas = np.array([np.mean(v10[0]), np.mean(v10[1])])
    variance = contrast @ s @ contrast
    if variance < 1e-20:
        return None
    z = contrast @ areas / math.sqrt(variance)
    return *areas, z, math.erfc(abs(z) / math.sqrt(2))


coarse = st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(-4, 4), st.integers(-4, 4)), min_size=6, max_size=25)


def both_classes(rows):
    y = np.array([row[0] for row in rows])
    y[0], y[1], y[-1], y[-2] = 0, 0, 1, 1
    return y, np.array([row[1] for row in rows], float), np.array([row[2] for row in rows], float)


@given(coarse)
def test_auc_is_the_share_of_pairs_in_order(rows):
    y, score, _ = both_classes(rows)
    assert auc(y, score) == pytest.approx(slow_auc(y, score), abs=1e-12)


@given(coarse)
def test_auc_sees_only_the_order(rows):
    y, score, _ = both_classes(rows)
    assert auc(y, np.exp(score) + 3 * score) == pytest.approx(auc(y, score), abs=1e-12)
    assert auc(y, -score) == pytest.approx(1 - auc(y, score), abs=1e-12)
    assert auc(1 - y, score) == pytest.approx(1 - auc(y, score), abs=1e-12)


def test_auc_of_a_worked_example():
    # positives 0.8, 0.4; negatives 0.5, 0.4, 0.1: 0.8 beats all three, 0.4 loses, ties, beats: (3 + 1.5) / 6
    assert auc([1, 0, 1, 0, 0], [0.8, 0.5, 0.4, 0.4, 0.1]) == pytest.approx(0.75)


@settings(max_examples=60)
@given(coarse)
def test_delong_agrees_with_its_definition(rows):
    y, a, b = both_classes(rows)
    got = delong_test(y, a, b)
    expected = slow_delong(y, a, b)
    if expected is None:
        assert got[2] == 0 or math.isinf(got[2])
    elif abs(expected[0] - expected[1]) < 1e-12:
        assert got[2:] == (0.0, 1.0)
    else:
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_delong_is_antisymmetric_and_silent_on_equal_scores():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    a, b = y + rng.normal(size=(2, 200))
    area_a, area_b, z, p = delong_test(y, a, b)
    assert delong_test(y, b, a) == pytest.approx((area_b, area_a, -z, p))
    assert delong_test(y, a, a)[2:] == (0.0, 1.0)
    assert delong_test(y, a, 5 * a - 2)[2:] == (0.0, 1.0)


def test_delong_rejects_as_often_as_it_says():
    """Two equally good, correlated scores: p < 0.05 in 5 % of 600 data sets (binomial 99.9 %: 2.4 to 8.2 %)."""
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1], [120, 60])
    small = 0
    for _ in range(600):
        common = y + rng.normal(size=y.size)
        small += delong_test(y, *(common + rng.normal(size=(2, y.size))))[3] < 0.05
    assert 0.024 < small / 600 < 0.082


def test_roc_goes_from_corner_to_corner_and_ties_are_one_point():
    x, sensitivity = roc_curve([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1])
    assert x.tolist() == [0, 0, 0.5, 1]
    assert sensitivity.tolist() == [0, 0.5, 1, 1]


@given(coarse)
def test_the_area_under_the_roc_is_the_auc(rows):
    y, score, _ = both_classes(rows)
    x, sensitivity = roc_curve(y, score)
    assert np.trapezoid(sensitivity, x) == pytest.approx(auc(y, score), abs=1e-12)


def test_sensitivity_is_linear_between_points():
    y, score = [1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1]
    assert [sensitivity_at(y, score, x) for x in (0, 0.25, 0.5, 1)] == [0.5, 0.75, 1, 1]


@given(coarse, st.floats(0, 1))
def test_sensitivity_lies_on_the_curve(rows, rate):
    y, score, _ = both_classes(rows)
    x, sensitivity = roc_curve(y, score)
    at = sensitivity_at(y, score, rate)
    below, above = sensitivity[x <= rate].max(), sensitivity[x >= rate].max()
    assert below - 1e-12 <= at <= above + 1e-12
    assert sensitivity_at(y, 7 * score + 1, rate) == pytest.approx(at)


BAD = [
    ([0, 1, 2], [1, 2, 3], "labels must be 0 or 1, got 2"),
    ([0, 1, np.nan], [1, 2, 3], "labels must be 0 or 1, got nan"),
    ([1, 1, 1], [1, 2, 3], "all 3 labels are 1"),
    ([0, 1, 1], [1, 2], r"labels have shape \(3,\), scores \(2,\)"),
    ([0, 1, 1], [1, np.nan, 3], "score of case 1 is NaN"),
    ([], [], "non-empty"),
]


@pytest.mark.parametrize(
    ("function", "bad"),
    list(itertools.product((auc, lambda y, s: delong_test(y, s, s), lambda y, s: sensitivity_at(y, s, 0.1)), BAD)),
)
def test_bad_input_is_one_clear_error(function, bad):
    y, score, complaint = bad
    with pytest.raises(ValueError, match=complaint):
        function(y, score)


def test_a_false_positive_rate_above_one_is_refused():
    with pytest.raises(ValueError, match="lies between 0 and 1, got 5"):
        sensitivity_at([0, 1], [0, 1], 5)


@pytest.mark.parametrize("low", [-np.inf, -9.0])
def test_ties_at_minus_infinity_are_ties_like_any_other_whatever_the_order_of_the_rows(low):
    y, score = np.array([1, 0, 1, 0, 1, 0, 0, 1]), np.array([low, low, 2, 1, low, low, 0.5, 3])
    everyone, once = np.arange(8), np.ones((1, 8))
    for order in (everyone, np.array([1, 0, 3, 2, 5, 4, 6, 7]), everyone[::-1]):
        drawn = y[order], score[order]
        assert sensitivity_at(*drawn, 0.6) == pytest.approx(0.6)
        assert weighted.sensitivity(0.6)(*drawn, everyone, once) == pytest.approx(0.6)
        assert weighted.in_top(5, score[order], y[order], everyone, once) == pytest.approx(2.5)
        assert roc_curve(*drawn)[0].tolist() == [0, 0, 0, 0.25, 0.5, 1]


def test_no_scores_have_no_runs():
    assert weighted.last_of_runs(np.array([])).tolist() == []
