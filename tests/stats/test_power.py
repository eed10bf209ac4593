"""Simulated studies against brute force, known limits, and what must hold whatever the numbers."""

import numpy as np
import pytest

from fewscans.stats.icc import KINDS, interval_of, resampled_icc
from fewscans.stats.power import Method, observed, power_of, study
from fewscans.stats.resample import Spread

BASE, PROPOSED = Method(0.79), Method(0.84)


def brute_force(methods, n, n_seeds, shared, kind, draws, rng):
    """The same studies scan by scan, as the model says."""
    one, found = resampled_icc(kind), np.empty((draws, len(methods)))
    case = np.arange(n)
    for d in range(draws):
        target, common = rng.normal(size=(2, n))
        for m, method in enumerate(methods):
            seeds = []
            for icc in method.networks((n_seeds,), rng):
                error = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=n)
                seeds.append(one(target, icc * target + np.sqrt(1 - icc**2) * error, case, np.ones((1, n)))[0])
            found[d, m] = np.mean(seeds)
    return found


@pytest.mark.parametrize(
    ("n", "n_seeds", "shared", "spread", "kind"),
    [(12, 1, 0.5, 0.0, "A,1"), (30, 2, 0.8, 0.1, "C,1"), (5, 1, 0.0, 0.0, "1,1")],
)
def test_drawing_sums_equals_drawing_scans(n, n_seeds, shared, spread, kind):
    """Means, spreads and the correlation of two methods, within four standard errors of 4,000 studies."""
    methods = [Method(0.8, spread), Method(0.5)]
    slow = brute_force(methods, n, n_seeds, shared, kind, 4000, np.random.default_rng(1))
    fast = observed(methods, n, n_seeds, shared, kind, draws=40_000, rng=2)
    assert fast.mean(axis=0) == pytest.approx(slow.mean(axis=0), abs=4 * slow.std(axis=0).max() / 4000**0.5)
    assert fast.std(axis=0) == pytest.approx(slow.std(axis=0), rel=0.08)
    assert np.corrcoef(fast.T)[0, 1] == pytest.approx(np.corrcoef(slow.T)[0, 1], abs=0.07)


def test_networks_have_the_mean_and_spread_that_were_asked_for():
    found = Method(0.79, 0.12).networks((200_000,), np.random.default_rng(0))
    assert found.mean() == pytest.approx(0.79, abs=0.002) and found.std() == pytest.approx(0.12, abs=0.002)
    assert 0 <= found.min() and found.max() <= 1
    assert (Method(0.79).networks((3, 2), np.random.default_rng(0)) == 0.79).all()


@pytest.mark.parametrize("kind", KINDS)
def test_large_studies_find_the_truth(kind):
    found = observed([BASE, PROPOSED], 1_000_000, kind=kind, draws=200)
    assert found.mean(axis=0) == pytest.approx([0.79, 0.84], abs=1e-3) and found.std(axis=0).max() < 2e-3


def test_published_intervals_hold_the_truth_of_the_simulated_studies():
    """Another road to the same distribution: F-based intervals around what 30 scans show hold 0.79 in 95 %."""
    found = observed([BASE], 30, kind="C,1", draws=2000)[:, 0]
    held = np.mean([(e := interval_of(value, 30)).low <= 0.79 <= e.high for value in found])
    assert 0.934 < held < 0.966


def test_a_study_follows_from_its_seed():
    assert study(PROPOSED, BASE, 30, rng=3) == study(PROPOSED, BASE, 30, rng=3)
    assert study(PROPOSED, BASE, 30, rng=3) != study(PROPOSED, BASE, 30, rng=4)


def test_thirty_scans_hardly_tell_079_from_084_and_1977_scans_tell_068_from_073():
    """One network each. On 30 scans the worse method comes out better in every fifth study or so, and seven of eight
    studies find no difference; of 1,977 scans nearly all find it.
    """
    small, large = study(PROPOSED, BASE, 30), study(Method(0.73), Method(0.68), 1977)
    assert 0.7 < small.right_sign < 0.9 and small.power < 0.25 and small.low < 0 < small.high
    assert large.right_sign > 0.999 and large.power > 0.98 and large.low > 0
    for found in (small, large):
        assert found.difference == pytest.approx(0.05) and found.seed_share < 0.05


def test_a_seed_spread_of_012_outweighs_the_scans():
    """Three networks each, one method's ICCs with a standard deviation of 0.12: three quarters of the variance and more
    come from the networks, and 1,977 scans tell little more than 30.
    """
    networks = Method(0.84, 0.02), Method(0.79, 0.12)
    small, large = (study(*networks, n, n_seeds=3) for n in (30, 1977))
    assert 0.6 < small.seed_share < 0.9 and large.seed_share > 0.95
    assert large.power < 0.25 and large.sd > 0.7 * small.sd
    assert large.sd == pytest.approx(np.hypot(0.02, 0.12) / 3**0.5, rel=0.05)
    assert study(PROPOSED, BASE, 1977, n_seeds=3).power > 0.999


def test_the_test_behind_the_power_is_wrong_as_often_as_it_says():
    nearly = study(Method(0.79 + 1e-9), BASE, 30, draws=40_000)
    assert nearly.power == pytest.approx(0.05, abs=0.006) and nearly.right_sign == pytest.approx(0.5, abs=0.015)


def test_more_scans_more_seeds_and_shared_errors_each_sharpen_a_study():
    worlds = [
        study(PROPOSED, BASE, n, n_seeds=s, shared=c)
        for n, s, c in ((30, 1, 0.0), (30, 1, 0.8), (30, 3, 0.8), (120, 3, 0.8))
    ]
    assert [w.sd for w in worlds] == sorted((w.sd for w in worlds), reverse=True)
    assert [w.power for w in worlds] == sorted(w.power for w in worlds)


def test_skewed_targets_are_harder_than_the_model_says():
    """Log-normal targets whose standard deviation is their mean: twice and a quarter more."""
    rng, one, case, once = np.random.default_rng(0), resampled_icc(), np.arange(30), np.ones((1, 30))
    spread = {}
    for name, sigma in (("normal", 0.0), ("skewed", 0.8326)):
        found = []
        for _ in range(3000):
            z, common, *own = rng.normal(size=(4, 30))
            target = (np.exp(sigma * z) / np.exp(sigma**2 / 2) - 1) if sigma else z
            shares = zip((0.84, 0.79), own, strict=True)
            predictions = [r * target + np.sqrt((1 - r * r) / 2) * (common + e) for r, e in shares]
            found.append([one(target, p, case, once)[0] for p in predictions])
        found = np.array(found)
        spread[name] = found[:, 1].std(), (found[:, 0] - found[:, 1]).std()
    single, difference = np.divide(spread["skewed"], spread["normal"])
    assert 1.7 < single < 2.3 and 1.1 < difference < 1.45


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((1.0,), "at least 0 and below 1, got 1.0"),
        ((-0.1,), "got -0.1"),
        ((float("nan"),), "got nan"),
        ((0.79, 0.5), "below 0.407, got 0.5"),
        ((0.79, -0.1), "got -0.1"),
        ((0.79, float("nan")), "got nan"),
        ((0.0, 0.1), "below 0, got 0.1"),
    ],
)
def test_a_method_that_cannot_be_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        Method(*arguments)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"better": BASE, "worse": PROPOSED}, "must be the higher one, got 0.79 and 0.84"),
        ({"n_subjects": 3}, "needs 4 scans"),
        ({"n_seeds": 0}, "1 seed"),
        ({"draws": 10}, "100 draws"),
        ({"shared": 1.5}, "from 0 to 1; got 1.5"),
        ({"kind": "A,k"}, "unknown kind"),
        ({"level": 1.0}, "level must lie"),
    ],
)
def test_a_study_that_cannot_be_is_refused(changes, complaint):
    arguments = {"better": PROPOSED, "worse": BASE, "n_subjects": 30} | changes
    with pytest.raises(ValueError, match=complaint):
        study(**arguments)


def test_a_planned_study_decides_as_often_as_foreseen():
    """Crossed effects, whose interval at the end is made as `Spread` makes it; the pilot knows the parts."""
    from .test_intervals import crossed, spread_of

    rng, effects, distance = np.random.default_rng(0), (0.1, 0.3, 0.5), 0.15
    seeds, groups = 8, 60
    pilot = Spread(0.0, effects[0] ** 2 + effects[2] ** 2 / 30, effects[1] ** 2 / 30 + effects[2] ** 2 / 90,
                   effects[2] ** 2 / 90, 3, 30)  # fmt: skip
    decided = 0
    for _ in range(600):
        s = spread_of(crossed(rng, seeds, groups, *effects), rng)
        decided += abs(s.value + distance) > s.half_width()
    foreseen = power_of(pilot, distance, seeds, groups)
    assert 0.5 < foreseen < 0.95 and decided / 600 == pytest.approx(foreseen, abs=0.06)


def test_power_grows_with_distance_seeds_and_groups_and_is_the_level_at_none():
    pilot = Spread(0.02, 0.0016, 0.0002, 0.00005, 3, 100)
    assert power_of(pilot, 0.0, 200, 400) == pytest.approx(0.05, abs=0.002)
    grown = [power_of(pilot, d, s, g) for d, s, g in ((0.02, 5, 100), (0.03, 5, 100), (0.03, 20, 100), (0.03, 20, 300))]
    assert grown == sorted(grown) and grown[0] < 0.3 and grown[-1] > 0.7
    assert power_of(pilot, 0.03, 5, 100, level=0.8) > grown[1]
    sure = Spread(0.02, 0.0, 0.0, 0.0, 3, 100)
    assert (power_of(sure, 0.01, 3, 100), power_of(sure, 0.0, 3, 100)) == (1, 0)
    for wrong in ({"n_seeds": 1}, {"n_groups": 1}, {"distance": -0.1}, {"level": 1.0}):
        with pytest.raises(ValueError, match="got"):
            power_of(pilot, **{"distance": 0.02, "n_seeds": 5, "n_groups": 100} | wrong)
