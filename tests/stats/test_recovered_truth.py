"""A planted data-efficiency factor of 1, 3 and 10 is covered; the plain network again has a factor of 1, and with four
times the cases one of 4.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fewscans import paths, results
from fewscans.stats.efficiency import data_efficiency
from fewscans.stats.resample import Resampled

from .worlds import table

SIZES = (20, 60, 200, 600, 2000)
AT = 60


def separation(n: float) -> float:
    """Of classes whose AUC rises evenly with log N, from 0.70 at 20 to 0.90 at 2,000."""
    auc = 0.70 + 0.20 * np.log(n / 20) / np.log(100)
    return float(stats.norm.ppf(auc) * np.sqrt(2 * (1 + 0.5**2)))


def covered(factor: float, draw: int) -> bool:
    cells = {("plain", n): separation(n) for n in SIZES} | {("idea", AT): separation(AT * factor)}
    found = table(cells, seeds=5, n_groups=60, per_group=3, share=0.4, seed_sd=0.08, rng=[draw, int(factor * 10)])
    estimate = data_efficiency(Resampled(found, "auc", n_bootstrap=200), "plain", "idea", n_train=AT)
    return estimate.low <= factor <= estimate.high


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 3.0, 10.0])
def test_the_interval_covers_a_planted_factor_in_nine_of_ten_draws_or_more(factor):
    assert np.mean([covered(factor, draw) for draw in range(200)]) >= 0.9


@pytest.mark.parametrize("factor", [1.0, 3.0, 10.0])
def test_the_interval_covers_a_planted_factor_in_most_of_a_few_draws(factor):
    assert sum(covered(factor, draw) for draw in range(8)) >= 6


def published(experiment: str, dataset: str) -> pd.DataFrame:
    if not any((paths.published() / experiment / dataset).glob("*.parquet")):
        pytest.skip(f"nothing is published of {experiment} on {dataset}")
    found = results.load_published(experiment, dataset, 200).predictions
    return found.assign(**{name: found[name].astype(str) for name in ("arm", "split", "case", "group")})


def test_on_real_patches_the_plain_network_again_has_a_factor_of_1():
    found = published("gcnn", "luna16-patches")
    plain = found[(found["arm"] == "Z2") & (found["split"] == "test") & (found["seed"] < 10)]
    sizes = [n for n, of in plain.groupby("n_train") if of["seed"].nunique() == 10]
    plain = plain[plain["n_train"].isin(sizes)]
    first = plain[plain["seed"] < 5]
    again = plain[(plain["seed"] >= 5) & (plain["n_train"] == 100)].assign(arm="placebo")
    again = again.assign(seed=again["seed"] - 5)
    factor = data_efficiency(Resampled(pd.concat([first, again]), "auc", n_bootstrap=200), "Z2", "placebo", n_train=100)
    assert factor.low <= 1 <= factor.high


def test_on_real_scans_the_plain_network_with_four_times_the_cases_has_a_factor_of_4():
    found = published("hydranet", "msd-hippocampus")
    plain = found[(found["arm"] == "base") & (found["split"] == "test")]
    seeds = plain.loc[plain["n_train"] == 100, "seed"].unique()
    plain = plain[plain["seed"].isin(seeds)]
    renamed = plain[plain["n_train"] == 100].assign(arm="renamed", n_train=25)
    factor = data_efficiency(
        Resampled(pd.concat([plain, renamed]), "icc", n_bootstrap=200), "base", "renamed", n_train=25
    )
    assert factor.value == pytest.approx(4, abs=0.5) and factor.low <= 4 <= factor.high
