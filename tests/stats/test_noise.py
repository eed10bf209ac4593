"""How much noisier the gradient of sets is: a geometric mean over runs, each of which counts once."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fewscans.stats.noise import log_ratios, noise_ratio


def probed(ratios, points=4, rng=0, arm="base-probe"):
    """A run for each ratio of set to singles (to one image: half of it), probed at every second update."""
    rng, rows = np.random.default_rng(rng), []
    for seed, ratio in enumerate(ratios):
        for step in range(2 * points):
            noise = 7 * np.exp(0.3 * rng.normal()) if step % 2 == 0 else np.nan
            row = {"arm": arm, "n_train": 25, "seed": seed, "step": step, "noise_singles": noise}
            rows.append(row | {"noise_set": ratio * noise, "noise_single": 2 * noise})
    return pd.DataFrame(rows)


def test_the_ratio_is_the_geometric_mean_over_runs_with_students_interval():
    ratios = [3.0, 4.0, 5.0, 3.5, 4.5]
    e, logs = noise_ratio(probed(ratios), "base-probe", 25), np.log(ratios)
    assert e.value == pytest.approx(math.exp(logs.mean()))
    interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (e.low, e.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert noise_ratio(probed(ratios), "base-probe", 25, over="noise_single").value == pytest.approx(e.value / 2)
    assert noise_ratio(probed(ratios), "base-probe", 25, level=0.5).low > e.low


def test_a_run_counts_once_however_often_it_was_probed():
    one = pd.concat([probed([2.0, 2.0, 8.0], points=2), probed([8.0], points=40).assign(seed=2, step=99)])
    assert log_ratios(one, "base-probe", 25) == pytest.approx(np.log([2, 2, 8]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.drop(columns="noise_set"), "lacks column 'noise_set'; it has arm, n_train"),
        (
            lambda t: t[t["seed"] < 2],
            "needs 3 runs or more, and base-probe at N = 25 has 2 with noise_set and noise_si",
        ),
        (lambda t: t.assign(noise_set=np.nan), "'base-probe' at N = 25 has no row with noise_set and noise_singles"),
        (lambda t: t.assign(arm="base"), "arm 'base-probe' at N = 25 has no row"),
        (
            lambda t: t.assign(noise_singles=0.0),
            "noise_singles of arm base-probe, N = 25, seed 0 is 0.0; it is above 0",
        ),
    ],
)
def test_what_is_missing_is_named(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        noise_ratio(change(probed([3.0, 4.0, 5.0])), "base-probe", 25)
