"""ICC against published tables, pingouin and its definition; the difference of two against simulated truth."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewscans.stats.icc import (
    KINDS,
    agreement,
    icc,
    interval_of,
    resampled_icc,
    targets_differ,
)

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])
WINE = np.array(
    [[1, 1, 3, 6, 6, 7, 8, 9], [2, 3, 8, 4, 5, 5, 7, 9], [0, 3, 1, 3, 5, 6, 7, 9], [1, 2, 4, 3, 6, 2, 9, 8]]
)

integers = arrays(float, st.tuples(st.integers(3, 9), st.integers(2, 4)), elements=st.integers(-9, 9))
few = arrays(float, st.tuples(st.integers(2, 4), st.integers(2, 4)), elements=st.integers(-2, 2))
pairs = arrays(float, st.tuples(st.integers(3, 12), st.just(2)), elements=st.integers(-9, 9))


def varied(x):
    assume((x != x[0]).any())
    return x


@pytest.mark.parametrize(
    ("kind", "value", "low", "high"),
    [("1,1", 0.165742, -0.13, 0.72), ("A,1", 0.289764, 0.02, 0.76), ("C,1", 0.714841, 0.34, 0.95)],
)
def test_the_example_of_shrout_and_fleiss(kind, value, low, high):
    found = icc(SHROUT_FLEISS, kind)
    assert found.value == pytest.approx(value, abs=5e-7)
    assert (round(found.low, 2), round(found.high, 2)) == (low, high)


@pytest.mark.parametrize(("kind", "value"), [("1,1", 0.727521), ("A,1", 0.727689), ("C,1", 0.729487)])
def test_the_wine_tasting(kind, value):
    assert icc(WINE.T, kind).value == pytest.approx(value, abs=5e-7)


@pytest.fixture(scope="module")
def pingouin():
    """GPL-3: an oracle for the tests, which nothing in the library imports."""
    return pytest.importorskip("pingouin", reason="pingouin, the oracle, is not installed: pip install -e .[dev]")


@pytest.mark.parametrize(
    ("n", "k", "agree", "bias"), [(6, 2, 0.5, 0), (30, 2, 0.9, 0.3), (12, 5, 0.2, 1), (5, 3, 0, 2)]
)
def test_pingouin_finds_the_same(pingouin, n, k, agree, bias):
    import pandas as pd

    rng = np.random.default_rng(n)
    x = agree * rng.normal(size=(n, 1)) + rng.normal(size=(n, k)) + bias * rng.normal(size=k)
    long = pd.DataFrame([(i, j, x[i, j]) for i in range(n) for j in range(k)], columns=["subject", "rater", "rating"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pingouin's own use of pandas
        table = pingouin.intraclass_corr(long, "subject", "rater", "rating").set_index("Type")
    for kind in KINDS:
        theirs, ours = table.loc[f"ICC({kind})"], icc(x, kind)
        assert ours.value == pytest.approx(theirs["ICC"], abs=1e-9)
        assert [ours.low, ours.high] == pytest.approx(list(theirs["CI95"]), abs=0.0051)  # rounded to two digits there


@pytest.mark.parametrize(
    ("value", "n", "low", "high"),
    [(0.79, 30, 0.605, 0.894), (0.84, 30, 0.691, 0.921), (0.87, 30, 0.745, 0.936), (0.87, 20, 0.701, 0.946)]
    + [(0.68, 1977, 0.656, 0.703), (0.73, 1977, 0.709, 0.750)],
)
def test_published_iccs_get_the_interval_that_their_paper_left_out(value, n, low, high):
    found = interval_of(value, n)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


@given(integers)
def test_the_interval_of_a_value_is_that_of_its_ratings(x):
    found = icc(varied(x), "C,1")
    again = interval_of(found.value, *x.shape)
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-9)


@settings(max_examples=60)
@given(integers, st.randoms(use_true_random=False))
def test_neither_the_order_of_raters_nor_of_subjects_matters(x, random):
    varied(x)
    rows, columns = (random.sample(range(size), size) for size in x.shape)
    for kind in KINDS:
        a, b = icc(x, kind), icc(x[rows][:, columns], kind)
        assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high), abs=1e-9)


@given(integers, st.floats(-1e6, 1e6), st.sampled_from([-1e6, -3.0, 1e-6, 0.5, 1e6]))
def test_the_unit_and_a_shift_of_all_ratings_do_not_matter(x, shift, unit):
    varied(x)
    for kind in KINDS:
        assert icc(unit * (x + shift), kind).value == pytest.approx(icc(x, kind).value, abs=1e-6)


@given(pairs, st.integers(1, 20))
def test_a_rater_who_adds_a_constant_agrees_less_and_is_as_consistent(x, constant):
    """From raters of equal means on, as a constant can also undo a bias."""
    x = varied(x - x.mean(axis=0))
    moved = x + [0, constant]
    assert icc(moved, "C,1").value == pytest.approx(icc(x, "C,1").value, abs=1e-9)
    before, after = agreement(*x.T), agreement(*moved.T)
    assert abs(after) < abs(before) or before == pytest.approx(0, abs=1e-9)
    assert after * before >= -1e-12


@given(integers)
def test_raters_of_one_mean_square_are_one_icc(x):
    """Where the raters' mean square equals what is left, none of the three kinds can tell them apart."""
    varied(x)
    x = x - x.mean(axis=0)
    rest = x - x.mean(axis=1, keepdims=True)
    n, k = x.shape
    mse = (rest**2).sum() / ((n - 1) * (k - 1))
    direction = np.linspace(-1, 1, k) / np.linalg.norm(np.linspace(-1, 1, k))
    x = x + direction * np.sqrt(mse * (k - 1) / n)
    one, two, three = (icc(x, kind).value for kind in KINDS)
    assert one == pytest.approx(two, abs=1e-9) and two == pytest.approx(three, abs=1e-9)


@given(few)
def test_an_icc_stays_in_its_range_and_its_interval_around_it(x):
    varied(x)
    n, k = x.shape
    assume(n > 2 or k > 2)
    for kind in KINDS:
        least = -n / (n * k - n - k) if kind == "A,1" else -1 / (k - 1)
        for level in (0.5, 0.95, 0.999):
            found = icc(x, kind, level)  # Estimate refuses ends out of order
            assert least - 1e-9 <= found.value <= 1 + 1e-9 and found.high <= 1 + 1e-9 and np.isfinite(found.low)


def test_two_opposite_raters_reach_the_least_that_can_be():
    x = np.arange(30.0) - 14.5
    assert agreement(x, -x) == pytest.approx(-30 / 28)
    with pytest.raises(ValueError, match="two raters who say the opposite of two subjects"):
        icc([[0, 1], [1, 0]])


@given(integers)
def test_raters_who_say_the_same_agree_entirely(x):
    varied(x[:, :1])
    for kind in KINDS:
        found = icc(np.repeat(x[:, :1], 3, axis=1), kind)
        assert (found.low, found.value, found.high) == pytest.approx((1, 1, 1))


def test_opposite_raters_disagree_and_a_rater_of_one_answer_is_at_chance():
    x = np.arange(10.0)
    assert agreement(x, -x, "C,1") == pytest.approx(-1)
    assert agreement(x, np.full(10, 4.5), "C,1") == pytest.approx(0, abs=1e-12)
    assert agreement(x, np.full(10, 7.0)) == pytest.approx(0, abs=1e-12)


def test_agreement_of_two_is_lins_formula_with_means_and_variances():
    """For two raters A,1 is 2 cov / (var + var + (difference of means)² - var(difference) / n), variances by n - 1."""
    rng = np.random.default_rng(2)
    y, p = rng.normal(size=(2, 17))
    p = p + y + 0.7
    expected = 2 * np.cov(y, p)[0, 1] / (y.var(ddof=1) + p.var(ddof=1) + (y - p).mean() ** 2 - (y - p).var(ddof=1) / 17)
    assert agreement(y, p) == pytest.approx(expected, abs=1e-12)
    assert agreement(y, p, "C,1") == pytest.approx(2 * np.cov(y, p)[0, 1] / (y.var(ddof=1) + p.var(ddof=1)), abs=1e-12)


def test_digits_survive_a_distant_zero():
    rng = np.random.default_rng(0)
    y = rng.normal(size=20)
    p = y + rng.normal(size=20)
    far = resampled_icc()(1e7 + y, 1e7 + p, np.arange(20), np.ones((1, 20)))[0]
    assert agreement(1e7 + y, 1e7 + p) == pytest.approx(agreement(y, p), abs=1e-7)
    assert far == pytest.approx(agreement(y, p), abs=1e-7)


@pytest.mark.parametrize(("kind", "bias"), [("A,1", 0.5), ("C,1", 0.5), ("1,1", 0.0)])
def test_the_interval_holds_the_truth_as_often_as_it_says(kind, bias):
    """In 1,500 worlds whose raters differ as each kind supposes, 95 % intervals hold the ICC of the world
    (binomial 99.9 %: 93.1 to 96.9 %; A,1 is Satterthwaite's approximation: to 98 %).
    """
    rng = np.random.default_rng(5)
    truth = 0.6 / (1 + bias**2) if kind == "A,1" else 0.6
    held = 0
    for _ in range(1500):
        subjects, raters = np.sqrt(0.6) * rng.normal(size=(15, 1)), bias * rng.normal(size=4)
        found = icc(subjects + raters + np.sqrt(0.4) * rng.normal(size=(15, 4)), kind)
        held += found.low <= truth <= found.high
    assert 0.931 < held / 1500 < (0.98 if kind == "A,1" else 0.969)


GOOD = SHROUT_FLEISS.copy()
BAD = [
    (np.where(GOOD == 10, np.nan, GOOD), "A,1", "rating of subject 4 by rater 0 is nan"),
    (np.where(GOOD == 10, np.inf, GOOD), "A,1", "subject 4 by rater 0 is inf"),
    (np.full((5, 2), 3.0), "A,1", "no variance: no rater tells any of the 5 subjects"),
    (np.tile([1.0, 2.0], (5, 1)), "A,1", "no variance"),
    (GOOD[:, :1], "A,1", r"at least 2 of each; got shape \(6, 1\)"),
    (GOOD[:1], "C,1", r"got shape \(1, 4\)"),
    (GOOD.ravel(), "C,1", r"got shape \(24,\)"),
    (GOOD, "A,k", "unknown kind of ICC 'A,k'; known: 'A,1', 'C,1', '1,1'"),
]


@pytest.mark.parametrize(("ratings", "kind", "complaint"), BAD)
def test_bad_ratings_are_one_clear_error(ratings, kind, complaint):
    with pytest.raises(ValueError, match=complaint):
        icc(ratings, kind)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [((1.2, 30), "lies between -1 and 1, got 1.2"), ((-0.6, 30, 3), "between -0.5 and 1"), ((0.5, 1), "at least 2")]
    + [((0.5, 30, 2, 1.0), "level must lie")],
)
def test_a_published_icc_that_cannot_be_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        interval_of(*arguments)


def people(rng, n=24, sides=2, a=0.3, b=0.6):
    """Targets of both sides of n people, alike within a person, and two predictors of unequal error."""
    person = np.repeat(np.arange(n), sides)
    target = rng.normal(size=n)[person] + 0.4 * rng.normal(size=person.size)
    return (
        target,
        *(target + error * (rng.normal(size=n)[person] + rng.normal(size=person.size)) for error in (a, b)),
        person,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_resampling_by_weights_equals_scoring_the_copies(kind):
    target, prediction, _, person = people(np.random.default_rng(1))
    weights = np.random.default_rng(2).multinomial(24, np.full(24, 1 / 24), size=30).astype(float)
    found = resampled_icc(kind)(target, prediction, person, weights)
    for row, value in zip(weights, found, strict=True):
        drawn = np.concatenate([np.flatnonzero(person == g) for g in range(24) for _ in range(int(row[g]))])
        assert value == pytest.approx(agreement(target[drawn], prediction[drawn], kind), abs=1e-9)


def test_a_draw_of_one_target_is_told_apart():
    weights = np.array([[3.0, 0, 0], [0, 3, 0], [0, 1, 2], [1, 1, 1]])
    found = targets_differ([5, 5, 5, 7, 5], np.array([0, 0, 1, 1, 2]), weights)
    assert found.tolist() == [False, True, True, True]


x = np.arange(6.0)


@pytest.mark.parametrize(
    ("arguments", "options", "complaint"),
    [
        ((x, x[:5]), {}, r"targets have shape \(6,\), predictions \(5,\)"),
        ((x, np.where(x == 3, np.nan, x)), {}, "prediction of case 3 is nan"),
        ((np.where(x == 1, np.inf, x), x), {}, "target of case 1 is inf"),
        ((x, x), {"kind": "2,1"}, "unknown kind"),
        ((np.ones(6), np.ones(6)), {}, "no variance"),
        (([], []), {}, "non-empty"),
    ],
)
def test_bad_pairs_are_one_clear_error(arguments, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        agreement(*arguments, **options)
