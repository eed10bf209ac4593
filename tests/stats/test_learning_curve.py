"""Curves find what was planted; extrapolation is marked, bounded, and as good as it was measured to be."""

import numpy as np
import pytest
from scipy import stats

from fewscans import paths, results
from fewscans.stats import learning_curve as curves
from fewscans.stats.resample import Resampled

from .worlds import table


def separation(auc: float) -> float:
    """Of two classes whose noise has a standard deviation of 1, group effects of 0.5 included."""
    return float(stats.norm.ppf(auc) * np.sqrt(2 * (1 + 0.5**2)))


def world(sizes, a=1.0, b=0.4, c=0.02, **options):
    """AUCs of 1 - c - a N^-b."""
    cells = {("plain", n): separation(1 - c - a * n**-b) for n in sizes}
    return Resampled(table(cells, **options), "auc", n_bootstrap=200)


def test_scores_beyond_the_sizes_are_covered_and_those_within_are_met():
    sizes = (30, 60, 120, 240)
    of = world(sizes, seeds=8, n_groups=150, seed_sd=0.02)
    curve = curves.fit(of, "plain")
    assert abs(curve.score(120).value - of.values("plain", 120).mean()) < 0.015
    far = curve.score(2000)
    assert far.low <= 1 - 0.02 - 2000**-0.4 <= far.high < 1
    assert far.high - far.low > curve.score(480).high - curve.score(480).low


def test_the_size_that_reaches_a_score_grows_with_the_score_and_ends_open_beyond_the_plateau():
    of = world((30, 60, 120, 240), seeds=8, n_groups=150, seed_sd=0.02)
    curve = curves.fit(of, "plain")
    sizes = [curve.size(goal) for goal in (0.8, 0.85, 0.88)]
    assert all(one.value < other.value for one, other in zip(sizes, sizes[1:], strict=False))
    assert all(e.low <= e.value <= e.high for e in sizes)
    beyond = curve.size(0.999)
    assert beyond.censored == "high" and beyond.high == np.inf and beyond.value == pytest.approx(30 * 240)


def test_two_sizes_leave_the_plateau_open():
    of = world((30, 240), seeds=8, n_groups=150, seed_sd=0.02)
    two, four = (
        curves.fit(of, "plain").score(2000),
        curves.fit(world((30, 60, 120, 240), seeds=8, n_groups=150), "plain"),
    )
    assert two.high - two.low > 0.02 and four.sizes.tolist() == [30, 60, 120, 240]


def test_few_seeds_open_the_interval_by_more_than_the_normal_would():
    of = world((30, 120), seeds=3, n_groups=150, seed_sd=0.1)
    joint = of.joint([("plain", 30), ("plain", 120)])
    curve = curves.fit(of, "plain", draws=20_000)
    half = stats.norm.ppf(0.975) * np.sqrt((joint.seeds / 3 + joint.groups)[1, 1])
    seen = curve.score(120)
    assert (seen.high - seen.low) / 2 > 1.15 * half


def test_what_no_curve_fits_is_refused():
    of = world((30, 60))
    with pytest.raises(ValueError, match="two sizes or more, plain has N = 30"):
        curves.fit(of, "plain", up_to=40)
    with pytest.raises(ValueError, match="best value is 1; brier is none"):
        curves.fit(Resampled(table({("plain", 30): 1.0, ("plain", 60): 1.5}), "brier"), "plain")


@pytest.mark.slow
def test_what_stands_beside_extrapolations_is_what_published_tables_say():
    inside = []
    for dataset in ("luna16-patches", "adrenalmnist3d"):
        if not any((paths.published() / "gcnn" / dataset).glob("*.parquet")):
            pytest.skip("no published tables here")
        of = results.load_published("gcnn", dataset, 200)
        trained = [arm for arm in of.arms if of.arm(arm).trivial is None and of.arm(arm).computed_with is None]
        inside += [ok for _, _, ok in curves.checked(of.resampled(), trained)]
    assert f"{sum(inside)} of {len(inside)}" in curves.MEASURED
