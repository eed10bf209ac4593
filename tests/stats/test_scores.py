"""Every score's fast resampling equals taking the drawn cases and scoring them."""

import numpy as np
import pytest

from fewscans.stats.auc import auc, sensitivity_at
from fewscans.stats.calibration import brier, expected_calibration_error
from fewscans.stats.scores import score

PLAIN = {
    "auc": auc,
    "sensitivity@0.1": lambda y, p: sensitivity_at(y, p, 0.1),
    "sensitivity@0.33": lambda y, p: sensitivity_at(y, p, 0.33),
    "brier": brier,
    "calibration error": expected_calibration_error,
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_resampling_by_weights_equals_resampling_by_copies(name, ties):
    rng = np.random.default_rng(3)
    group = rng.integers(0, 12, 90)
    y = (rng.random(90) < 0.4).astype(float)
    p = 1 / (1 + np.exp(-(y + rng.normal(size=90))))
    p = np.round(p, 1) if ties else p
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=40).astype(float)
    got = score(name).resample(y, p, group, weights)
    for row, value in zip(weights, got, strict=True):
        drawn = np.concatenate([np.flatnonzero(group == g) for g in range(12) for _ in range(int(row[g]))])
        assert value == pytest.approx(PLAIN[name](y[drawn], p[drawn]), abs=2e-6)


def test_a_function_of_ones_own_is_a_score():
    def mean_gap(y, p):
        return p[y == 1].mean() - p[y == 0].mean()

    y, p, group = np.array([0, 1, 1, 0.0]), np.array([0.1, 0.9, 0.5, 0.3]), np.array([0, 0, 1, 1])
    made = score(mean_gap)
    assert made.name == "mean_gap"
    assert made.resample(y, p, group, np.array([[1.0, 1], [2, 0]])) == pytest.approx([0.5, 0.8])


def test_known_functions_take_the_fast_way():
    assert score(auc).name == "auc" and score(auc).bounds == (0, 1)
    assert not score(brier).higher_is_better


@pytest.mark.parametrize("name", ["AUC", "sensitivity", "sensitivity@2", "sensitivity@x", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="unknown score"):
        score(name)
