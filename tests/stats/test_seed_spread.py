"""The interval of a ratio of spreads holds the truth as often as it says, and pairing is not taken for independence."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from fewscans.stats.resample import Resampled
from fewscans.stats.seed_spread import seeds_needed, spread_ratio

from .asked import seed_spread


def pairs(draws, n, ratio, r, rng):
    """(draws, n) scores twice: standard deviations in that ratio, correlated by r."""
    common, own = np.random.default_rng(rng).normal(size=(2, draws, n))
    return ratio * (r * common + math.sqrt(1 - r**2) * own), common


def coverage(interval, n, ratio, r, draws=2000):
    made = (interval(x, y) for x, y in zip(*pairs(draws, n, ratio, r, 1), strict=True))
    return np.mean([e.low <= ratio <= e.high for e in made])


@pytest.mark.parametrize(("n", "ratio", "r"), [(3, 0.2, 0.0), (5, 0.2, 0.6), (5, 1.0, 0.9), (10, 3.0, -0.5)])
def test_the_interval_holds_the_truth_in_95_percent(n, ratio, r):
    """2,000 simulated studies: 93.4 to 96.6 % are within chance (99.9 %)."""
    assert 0.934 < coverage(spread_ratio, n, ratio, r) < 0.966


def test_seeds_that_failed_to_learn_spoil_it_and_many_seeds_do_not_mend_it():
    """As the module says: a reason to look at the single seeds."""
    rng = np.random.default_rng(0)

    def held(n):
        x, y = (rng.normal(size=(1000, n)) - 10 * (rng.random((1000, n)) < 0.1) for _ in range(2))
        made = (spread_ratio(a, b) for a, b in zip(x, y, strict=True))
        return np.mean([e.low <= 1 <= e.high for e in made])

    assert held(5) < 0.65 and held(20) < 0.75


def test_five_seeds_without_correlation_tell_only_a_ratio_of_about_four():
    x = np.array([-2.0, -1, 0, 1, 2])
    y = np.array([2.0, -1, -2, -1, 2])  # as far apart, and uncorrelated
    even = spread_ratio(x, y * math.sqrt(10 / 14))
    assert even.value == pytest.approx(1) and 3.8 < even.high < 4.0 and even.low == pytest.approx(1 / even.high)


@given(st.integers(0, 10_000), st.integers(3, 12), st.floats(0.05, 20), st.floats(-0.95, 0.95))
def test_the_ends_are_where_the_test_of_pitman_and_morgan_turns(rng, n, ratio, r):
    x, y = (a[0] for a in pairs(1, n, ratio, r, rng))
    assume(abs(np.corrcoef(x, y)[0, 1]) < 0.999)
    made = spread_ratio(x, y)
    for end in (made.low, made.high):
        assert stats.pearsonr(x + end * y, x - end * y).pvalue == pytest.approx(0.05, abs=1e-6)
    assert stats.pearsonr(x + made.value * y, x - made.value * y).statistic == pytest.approx(0, abs=1e-6)


@given(st.floats(0.1, 10), st.floats(-3, 3))
def test_exchanging_the_arms_turns_the_ratio_over_and_units_do_not_matter(unit, shift):
    x, y = (a[0] for a in pairs(1, 6, 0.5, 0.3, 2))
    one, other = spread_ratio(x, y), spread_ratio(y * unit + shift, x * unit + shift)
    assert (one.value, one.low, one.high) == pytest.approx((1 / other.value, 1 / other.high, 1 / other.low))


def test_more_seeds_settle_a_ratio_and_none_settle_one_on_the_line():
    x, y = (a[0] for a in pairs(1, 40, 0.5, 0.0, 3))
    few = x[:5], y[:5]
    needed = seeds_needed(*few)
    r, ratio = np.corrcoef(*few)[0, 1], spread_ratio(*few).value

    def settled(n):
        """Numbers with the same ratio and correlation, but n of them."""
        base = np.linalg.qr(np.column_stack([np.ones(n), *pairs(2, n, 1, 0, n)[0]]))[0][:, 1:]
        e = spread_ratio(ratio * (r * base[:, 0] + math.sqrt(1 - r**2) * base[:, 1]), base[:, 0])
        return not e.low <= 1 <= e.high

    assert settled(needed) and not settled(needed - 1)
    assert seeds_needed(y, y) is None and seeds_needed(x, y, line=100.0) < 5


def table(sd, seeds=6, cases=40, rng=0):
    """Predictions of {arm: standard deviation over seeds of a factor on the error}."""
    rng = np.random.default_rng(rng)
    y, error = rng.normal(size=(2, cases))
    rows = []
    for arm, spread in sd.items():
        for seed in range(seeds):
            p = y + (0.6 + spread * rng.normal()) * error
            key = {"arm": arm, "n_train": 25, "seed": seed, "split": "test"}
            case = [f"c{i:02d}" for i in range(cases)]
            rows.append(pd.DataFrame(key | {"case": case, "group": case, "target": y, "prediction": p}))
    return pd.concat(rows, ignore_index=True)


def test_a_table_gives_the_ratio_of_its_arms_scores():
    predictions = table({"hydra-4": 0.02, "base": 0.2})
    found = seed_spread(predictions, "hydra-4", "base", 25)
    of_scores = Resampled(predictions, "icc")
    assert found == seed_spread(of_scores, "hydra-4", "base", 25)
    sd = [of_scores.values(arm, 25).std(ddof=1) for arm in ("hydra-4", "base")]
    assert found.value == pytest.approx(sd[0] / sd[1]) and found.high < 1
    assert seed_spread(predictions, "base", "base", 25).high == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t[(t["arm"] != "base") | (t["seed"] != 5)], "cannot be paired: arm base at N = 25 lacks seed 5"),
        (lambda t: t[t["seed"] < 2], "needs at least 3 seeds, got 2"),
        (lambda t: t[t["arm"] != "base"], "no arm 'base'"),
        (
            lambda t: t.assign(prediction=np.where(t["arm"] == "base", 3.0, t["prediction"])),
            "scores of the baseline are .* with each of 6 seeds",
        ),
        (lambda t: t[(t["arm"] != "base") | (t["case"] != "c07")], "their test cases differ"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_error(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        seed_spread(change(table({"hydra-4": 0.02, "base": 0.2})), "hydra-4", "base", 25)
