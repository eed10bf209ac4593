"""Williams' test against its published examples, which the misprinted formulas fail, and against simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from fewscans.stats.correlations import compare_correlations, williams_of, williams_test

# r_jk, r_jh, r_kh, n, and t or p to the digits that were printed
EXAMPLES = [
    (0.3, 0.4, 0.5, 100, {"t": "-1.0767", "p": "0.2843"}),  # DEPCOR, in the tests of cocor
    (0.1038, 0.3213, 0.0257, 291, {"t": "-2.7743", "p": "0.0059"}),  # Diedenhofen & Musch 2015
    (0.4, 0.5, 0.1, 103, {"t": "-0.89"}),  # Steiger 1980, case A
    (0.693458895410494, 0.695966022434845, 0.988475791500198, 5105, {"p": "0.1000759"}),  # psych, r.test
]


def holds(formula, example):
    """Does a formula for t give the digits that were printed?"""
    *correlations, n, printed = example
    t = formula(*correlations, n)
    values = {"t": t, "p": 2 * stats.t.sf(abs(t), n - 3)}
    return all(f"{values[key]:.{len(text.partition('.')[2])}f}" == text for key, text in printed.items())


def misprint(cube=3, divide=False, double=False):
    def t(r_jk, r_jh, r_kh, n):
        det = 1 + 2 * r_jk * r_jh * r_kh - r_jk**2 - r_jh**2 - r_kh**2
        mean = ((r_jk + r_jh) / 2) ** 2 * (1 - r_kh) ** cube
        below = 2 * ((n - 1) / (n - 3) * det + mean) if double else 2 * (n - 1) / (n - 3) * det + mean
        root = math.sqrt((n - 1) * (1 + r_kh) / below)
        return (r_jk - r_jh) / root if divide else (r_jk - r_jh) * root

    return t


@pytest.mark.parametrize("example", EXAMPLES)
def test_published_examples(example):
    assert holds(lambda *arguments: williams_test(*arguments)[0], example)
    *correlations, n, printed = example
    if "p" in printed:
        p = williams_test(*correlations, n)[1]
        assert f"{p:.{len(printed['p'].partition('.')[2])}f}" == printed["p"]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"cube": 1}, id="Boyer et al. 1983, without the cube"),
        pytest.param({"divide": True}, id="Hittner et al. 2003 and Wilcox and Tian 2008, divided by the root"),
        pytest.param({"double": True}, id="the same, both terms below the line doubled"),
        pytest.param({"divide": True, "double": True}, id="the same, as printed"),
    ],
)
def test_the_examples_catch_the_misprinted_formulas(wrong):
    assert all(holds(misprint(), example) for example in EXAMPLES)
    assert not all(holds(misprint(**wrong), example) for example in EXAMPLES)


correlation = st.floats(-0.99, 0.99)


@given(correlation, correlation, st.floats(-0.98, 0.98), st.integers(4, 5000))
def test_exchanging_the_predictors_turns_the_sign_and_mirroring_the_target_too(r_jk, r_jh, inside, n):
    room = math.sqrt((1 - r_jk**2) * (1 - r_jh**2))
    r_kh = r_jk * r_jh + inside * room
    t, p = williams_test(r_jk, r_jh, r_kh, n)
    assert 0 <= p <= 1 and np.sign(t) == np.sign(r_jk - r_jh)
    assert williams_test(r_jh, r_jk, r_kh, n) == pytest.approx((-t, p))
    assert williams_test(-r_jk, -r_jh, r_kh, n) == pytest.approx((-t, p))


@given(correlation, correlation, st.floats(-0.9, 0.9))
def test_more_subjects_make_the_same_difference_clearer(r_jk, r_jh, inside):
    assume(abs(r_jk - r_jh) > 1e-6)
    r_kh = r_jk * r_jh + inside * math.sqrt((1 - r_jk**2) * (1 - r_jh**2))
    few, many = (williams_test(r_jk, r_jh, r_kh, n) for n in (20, 200))
    assert abs(many[0]) > abs(few[0]) and many[1] <= few[1]


def test_equal_correlations_give_no_difference():
    assert williams_test(0.5, 0.5, 0.3, 40) == (0.0, 1.0)
    assert williams_test(0.5, 0.5, 1.0, 40) == (0.0, 1.0)


def test_where_nothing_is_left_to_vary_the_difference_is_certain():
    half = math.sqrt(0.5)
    assert williams_test(half, -half, 0.0, 40) == (math.inf, 0.0)  # j is the difference of k and h, nothing else


def test_the_test_rejects_as_often_as_it_says():
    """Two predictors of equal merit in 2,000 data sets of 30: p < 0.05 in 5 % (binomial 99.9 %: 3.4 to 6.6 %)."""
    rng = np.random.default_rng(1)
    target, common, *own = rng.normal(size=(4, 2000, 30))
    small = 0
    for y, c, a, b in zip(target, common, *own, strict=True):
        small += compare_correlations(y, y + 0.4 * c + 0.4 * a, y + 0.4 * c + 0.4 * b)[3] < 0.05
    assert 0.034 < small / 2000 < 0.066


def test_the_comparison_sees_neither_unit_nor_shift_of_a_prediction():
    """Which is why ICCs stand beside it."""
    rng = np.random.default_rng(2)
    y = rng.normal(size=50)
    a, b = y + rng.normal(size=50), y + 2 * rng.normal(size=50)
    r_a, r_b, t, p = compare_correlations(y, a, b)
    assert r_a == pytest.approx(np.corrcoef(y, a)[0, 1]) and r_b == pytest.approx(np.corrcoef(y, b)[0, 1])
    assert (t, p) == pytest.approx(williams_test(r_a, r_b, np.corrcoef(a, b)[0, 1], 50))
    assert compare_correlations(y, 100 * a + 7, b) == pytest.approx((r_a, r_b, t, p))
    assert compare_correlations(y, a, 3 * a - 1)[2:] == (0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((1.1, 0.5, 0.3, 30), "r_jk is 1.1; a correlation lies between -1 and 1"),
        ((0.5, -1.01, 0.3, 30), "r_jh is -1.01"),
        ((0.5, 0.4, math.nan, 30), "r_kh is nan"),
        (
            (0.9, 0.9, 0.1, 30),
            "r_jk = 0.9, r_jh = 0.9 and r_kh = 0.1: with the first two, r_kh lies between 0.62 and 1",
        ),
        ((0.5, 0.4, 0.3, 3), "n is 3; .* needs 4 subjects"),
        ((0.5, 0.4, 0.3, 30.5), "n is 30.5"),
        ((0.5, 0.4, 0.3, True), "n is True"),
        ((0.5, 0.4, 0.3, math.nan), "n is nan"),
        ((0.5, -0.5, -1.0, 30), "mirror each other"),
    ],
)
def test_impossible_correlations_are_one_clear_error(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        williams_test(*arguments)


x = np.arange(6.0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((x, x, np.full(6, 2.0)), "all 6 predictions b are 2.0"),
        ((x, x[:5], x), "each case needs both"),
        ((np.where(x == 2, np.nan, x), x, x), "target of case 2 is nan"),
        ((x[:3], x[:3], -(x[:3] ** 2)), "n is 3"),
    ],
)
def test_bad_predictions_are_one_clear_error(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        compare_correlations(*arguments)


SIZES = (12, 25)


def curve(errors, cases=40, seeds=3, twins=False, rng=0):
    """Predictions of cells {(arm, N): error}; with `twins`, cases come in pairs of equal targets and predictions."""
    rng = np.random.default_rng(rng)
    y, common = rng.normal(size=(2, cases))
    rows = []
    for (arm, n), error in errors.items():
        for seed in range(seeds):
            p = y + error * (0.7 * common + 0.7 * rng.normal(size=cases))
            copies = 2 if twins else 1
            case = [f"c{i:03d}" for i in range(copies * cases)]
            group = [f"person{i // 2 if not twins else i % cases:03d}" for i in range(copies * cases)]
            key = {"arm": arm, "n_train": n, "seed": seed, "split": "test", "case": case, "group": group}
            rows.append(pd.DataFrame(key | {"target": np.tile(y, copies), "prediction": np.tile(p, copies)}))
    return pd.concat(rows, ignore_index=True)


ERRORS = {("hydra-4", 12): 0.8, ("hydra-4", 25): 0.4, ("base", 12): 1.2, ("base", 25): 0.7}


def test_a_learning_curve_is_compared_by_each_cases_average_over_sizes_and_seeds():
    table = curve(ERRORS).sample(frac=1, random_state=0)
    found = williams_of(table, ("hydra-4", "base"), SIZES)
    mean = table.groupby(["arm", "case"])[["target", "prediction"]].mean()
    y, a, b = mean.loc["base", "target"], mean.loc["hydra-4", "prediction"], mean.loc["base", "prediction"]
    assert found.n == 40 and found.t > 2 and found.p < 0.05
    assert (found.r_first, found.r_second, found.t, found.p) == pytest.approx(compare_correlations(y, a, b))
    assert (found.t, found.p) == pytest.approx(williams_test(found.r_first, found.r_second, found.r_between, 40))
    turned = williams_of(table, ("base", "hydra-4"), SIZES)
    assert (turned.t, turned.p) == pytest.approx((-found.t, found.p))
    assert williams_of(table, ("hydra-4", "base"), (25,)).t != found.t


def test_only_cases_count_as_subjects_and_never_seeds_or_sizes():
    """Seeds repeated to the letter change nothing; they would make p smaller if each were a subject."""
    table = curve(ERRORS, seeds=1)
    repeated = pd.concat([table.assign(seed=s) for s in range(5)])
    assert williams_of(repeated, ("hydra-4", "base"), SIZES) == pytest.approx(
        williams_of(table, ("hydra-4", "base"), SIZES)
    )


def test_cases_that_are_each_others_copies_count_once_by_group_and_twice_without():
    once, twice = curve(ERRORS), curve(ERRORS, twins=True)
    truth = williams_of(once, ("hydra-4", "base"), SIZES)
    assert williams_of(twice, ("hydra-4", "base"), SIZES, by_group=True) == pytest.approx(truth)
    fooled = williams_of(twice, ("hydra-4", "base"), SIZES)
    assert fooled.n == 80 and fooled.p < truth.p


@pytest.mark.parametrize(
    ("arms", "sizes", "change", "complaint"),
    [
        (("base", "base"), SIZES, None, "needs two arms"),
        (("hydra-4", "base"), (), None, "a training size or more"),
        (("hydra-4", "mixup"), SIZES, None, "no arm 'mixup'"),
        (("hydra-4", "base"), (12, 50), None, "no n_train 50"),
        (
            ("hydra-4", "base"), SIZES, lambda t: t[(t["arm"] != "base") | (t["n_train"] != 25)],
            "no predictions of arm 'base' at N = 25; of these sizes it has 12",
        ),
        (("hydra-4", "base"), SIZES, lambda t: t[(t["arm"] != "base") | (t["seed"] != 2)], "base .* lacks seed 2"),
        (
            ("hydra-4", "base"), SIZES, lambda t: t[(t["arm"] != "base") | (t["case"] != "c007")],
            "their test cases differ",
        ),
    ],
)  # fmt: skip
def test_what_has_no_curve_in_common_is_one_clear_error(arms, sizes, change, complaint):
    table = curve(ERRORS)
    with pytest.raises(ValueError, match=complaint):
        williams_of(change(table) if change else table, arms, sizes)
