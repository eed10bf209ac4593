"""Intervals cover what varies: seeds and patients together; leaving one out undercovers, which the same check shows."""

import math

import numpy as np
import pytest
from scipy import stats

from fewscans.stats.resample import Joint, Resampled, Spread

from .asked import difference_interval, score_interval, two_way
from .worlds import table


def crossed(rng, seeds, groups, seed_sd, group_sd, both_sd):
    """Seeds by groups with known mean 0."""
    return (
        seed_sd * rng.normal(size=(seeds, 1))
        + group_sd * rng.normal(size=(1, groups))
        + both_sd * rng.normal(size=(seeds, groups))
    )


def spread_of(x, rng, draws=150):
    weights = rng.multinomial(x.shape[1], np.full(x.shape[1], 1 / x.shape[1]), size=draws)
    return two_way(x.mean(axis=1), x @ weights.T / x.shape[1], x.shape[1])


def coverage(seeds, groups, seed_sd, group_sd, both_sd, worlds=1000):
    """Share of 95 % intervals that cover, made from: everything, patients only, seeds only, the sum without
    correction.
    """
    rng = np.random.default_rng(5)
    hits = np.zeros(4)
    for _ in range(worlds):
        s = spread_of(crossed(rng, seeds, groups, seed_sd, group_sd, both_sd), rng)
        naive = s.seed_variance / seeds + s.group_variance
        halves = (
            s.half_width(),
            1.96 * math.sqrt(s.group_variance),
            stats.t.ppf(0.975, seeds - 1) * math.sqrt(s.seed_variance / seeds),
            stats.t.ppf(0.975, seeds - 1) * math.sqrt(naive),
        )
        hits += abs(s.value) <= np.array(halves)
    return hits / worlds


# seeds weigh as much as patients; seeds alone; patients alone; all interaction, which a plain sum counts twice
@pytest.mark.parametrize(
    ("seeds", "groups", "seed_sd", "group_sd", "both_sd"),
    [(10, 60, 0.1, 0.25, 0.3), (5, 60, 0.2, 0.1, 0.3), (10, 60, 0.0, 0.5, 0.3), (3, 40, 0.1, 0.6, 0.2)],
)
def test_the_interval_covers(seeds, groups, seed_sd, group_sd, both_sd):
    covered = coverage(seeds, groups, seed_sd, group_sd, both_sd)[0]
    assert (
        0.925 <= covered <= 0.985
    )  # 1,000 worlds: 95 % ± 3.3 standard errors, and conservative by a little at 3 seeds


def test_patients_alone_or_seeds_alone_would_not_do():
    covered, patients_only, seeds_only, _ = coverage(10, 60, 0.1, 0.25, 0.3, worlds=500)
    assert covered > 0.92
    assert patients_only < 0.90
    assert seeds_only < 0.90


def test_the_parts_of_the_variance_are_found():
    """Averaged over worlds the variance is the true one; without the correction it is too large by the interaction."""
    rng, seeds, groups = np.random.default_rng(0), 10, 30
    truth = 0.1**2 / seeds + 0.3**2 / groups + 1.0**2 / (seeds * groups)
    made, naive = [], []
    for _ in range(600):
        s = spread_of(crossed(rng, seeds, groups, 0.1, 0.3, 1.0), rng)
        made.append(s.variance())
        naive.append(s.seed_variance / seeds + s.group_variance)
    assert np.mean(made) == pytest.approx(truth, rel=0.1)
    assert np.mean(naive) > 1.3 * truth


def test_the_interval_of_an_auc_covers_in_new_seeds_and_new_patients():
    """The truth: the mean AUC of many seeds on very many patients."""
    world = {"seeds": 4, "n_groups": 40, "group_sd": 0.6, "seed_sd": 0.35, "share": 0.3}
    truth = np.mean([score_of_many(seed) for seed in range(60)])
    hits = 0
    for rng in range(120):
        e = score_interval(table({("Z2", 30): 1.2}, rng=1000 + rng, **world), "Z2", 30, n_bootstrap=200)
        hits += e.low <= truth <= e.high
    assert 0.875 <= hits / 120 <= 0.995  # 95 % ± 3.7 standard errors below


def score_of_many(seed):
    many = table({("Z2", 30): 1.2}, seeds=2, n_groups=400, group_sd=0.6, seed_sd=0.35, share=0.3, rng=seed)
    return Resampled(many).values("Z2", 30).mean()


WORLD = table({("Z2", 30): 0.8, ("Z2", 300): 1.5, ("p4m", 30): 1.5, ("p4m", 300): 2.0}, seeds=5)


def test_a_difference_is_paired_and_narrower_than_its_parts():
    one, other = (score_interval(WORLD, arm, 30) for arm in ("p4m", "Z2"))
    difference = difference_interval(WORLD, "p4m", "Z2", 30)
    assert difference.value == pytest.approx(one.value - other.value)
    assert difference.high - difference.low < math.hypot(one.high - one.low, other.high - other.low)
    turned = difference_interval(WORLD, "Z2", "p4m", 30)
    assert (turned.low, turned.high) == pytest.approx((-difference.high, -difference.low))


def test_an_arm_does_not_differ_from_itself():
    e = difference_interval(WORLD, "Z2", "Z2", 30)
    assert (e.value, e.low, e.high) == (0, 0, 0)


def test_a_method_can_be_held_against_a_baseline_with_more_data():
    e = difference_interval(WORLD, "p4m", "Z2", 30, n_train_baseline=300)
    assert e.value == pytest.approx(
        score_interval(WORLD, "p4m", 30).value - score_interval(WORLD, "Z2", 300).value, abs=1e-12
    )


def test_the_same_seed_gives_the_same_interval_and_another_hardly_another():
    assert score_interval(WORLD, "Z2", 30, rng=4) == score_interval(WORLD, "Z2", 30, rng=4)
    assert score_interval(WORLD, "Z2", 30, rng=4) == score_interval(
        WORLD.sample(frac=1, random_state=0), "Z2", 30, rng=4
    )
    generator = score_interval(WORLD, "Z2", 30, rng=np.random.default_rng(4))
    assert generator.low == pytest.approx(score_interval(WORLD, "Z2", 30, rng=5).low, abs=0.01)


def test_an_auc_interval_stays_within_its_bounds():
    e = score_interval(table({("Z2", 30): 7.0}, seeds=2, seed_sd=1.5, n_groups=8), "Z2", 30)
    assert 0 <= e.low and e.high <= 1


def without(arm, n_train, seed):
    gone = (WORLD["arm"] == arm) & (WORLD["n_train"] == n_train) & (WORLD["seed"] == seed)
    return WORLD[~gone]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: difference_interval(without("p4m", 30, 3), "p4m", "Z2", 30), "arm p4m at N = 30 lacks seed 3"),
        (lambda: score_interval(WORLD, "p4", 30), "no arm 'p4'; it holds Z2, p4m"),
        (lambda: score_interval(WORLD, "p4m", 100), "no n_train 100; it holds 30, 300"),
        (lambda: score_interval(WORLD[WORLD["seed"] == 2], "Z2", 30), "has seed 2 only"),
        (lambda: score_interval(WORLD.assign(group="one"), "Z2", 30), "belong to group 'one'"),
        (lambda: score_interval(WORLD, "Z2", 30, n_bootstrap=10), "at least 100"),
        (
            lambda: difference_interval(WORLD[(WORLD["arm"] == "Z2") | (WORLD["case"] < "case0100")], "p4m", "Z2", 30),
            "their test cases differ",
        ),
        (
            lambda: score_interval(WORLD.assign(target=(WORLD["case"] == "case0001") * 1.0), "Z2", 30),
            "draws of 40 groups hold both classes",
        ),
        (lambda: two_way(np.zeros(1), np.zeros((1, 9)), 5), "at least 2 seeds"),
    ],
)
def test_what_is_missing_is_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_how_many_seeds_would_settle_it():
    spread = Spread(0.02, seed_variance=0.0016, group_variance=0.00002, interaction=0.0, n_seeds=5, n_groups=100)
    n = spread.seeds_needed(0.02)
    assert 15 < n < 30
    grown = Spread(0.02, 0.0016, 0.00002, 0.0, n, 100)
    assert grown.half_width() < 0.02 <= Spread(0.02, 0.0016, 0.00002, 0.0, n - 3, 100).half_width()


def test_seeds_cannot_settle_what_patients_leave_open():
    spread = Spread(0.02, seed_variance=0.0001, group_variance=0.0004, interaction=0.0, n_seeds=10, n_groups=100)
    assert spread.seeds_needed(0.02) is None
    assert 300 < spread.groups_needed(0.02) < 700


def test_combinations_of_cells_are_linear():
    values = np.array([[0.6, 0.7, 0.65], [0.8, 0.8, 0.9]])
    draws = values[:, :, None] + np.random.default_rng(0).normal(0, 0.02, size=(2, 3, 200))
    joint = Joint.of(values, draws, 30)
    direct = two_way(values[1] - values[0], draws[1] - draws[0], 30)
    made = joint.spread(np.array([-1.0, 1.0]))
    assert made.value == pytest.approx(direct.value)
    assert made.variance() == pytest.approx(direct.variance())
