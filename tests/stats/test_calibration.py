"""Calibration measures know perfect probabilities when they see them, and name the direction of what is off."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from fewscans.stats.calibration import (
    adjust_prior,
    brier,
    expected_calibration_error,
    reliability,
)

shares = st.floats(0.01, 0.99)


def world(n=20_000, seed=0):
    """Outcomes drawn from the very probabilities."""
    rng = np.random.default_rng(seed)
    p = special.expit(1.5 * rng.normal(size=n) - 1)
    return (rng.random(n) < p).astype(float), p


def test_perfect_probabilities_are_recognised():
    y, p = world()
    assert expected_calibration_error(y, p) < 0.015
    assert brier(y, p) == pytest.approx(np.mean(p * (1 - p)), abs=0.005)


def test_adjusting_the_prior_undoes_what_a_balanced_training_set_shifts():
    rng = np.random.default_rng(1)
    y = (rng.random(40_000) < 0.15).astype(float)
    x = y + rng.normal(size=y.size)
    balanced = special.expit(x - 0.5)  # the exact posterior where half the cases are positive
    adjusted = adjust_prior(balanced, 0.5, 0.15)
    assert expected_calibration_error(y, adjusted) < 0.01 < 0.1 < expected_calibration_error(y, balanced)


@given(st.floats(0, 1), shares, shares)
def test_adjusting_a_prior_can_be_undone_and_keeps_certainty(p, a, b):
    assert adjust_prior(adjust_prior(p, a, b), b, a) == pytest.approx(p, abs=1e-9)
    assert adjust_prior(a, a, b) == pytest.approx(b)
    assert adjust_prior(np.array([0.0, 1.0]), a, b).tolist() == [0, 1]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=5, max_size=60), st.integers(1, 5))
def test_bins_have_equal_mass_and_lose_no_case(rows, bins):
    y = np.array([row[0] for row in rows], float)
    y[:2] = 0, 1
    p = np.array([row[1] for row in rows])
    table = reliability(y, p, bins)
    assert table["cases"].sum() == len(rows)
    assert len(table) <= bins
    assert (table["cases"] * table["observed"]).sum() == pytest.approx(y.sum())
    assert (table["low"] <= table["observed"] + 1e-12).all() and (table["observed"] <= table["high"] + 1e-12).all()
    if len(set(p)) == len(p):
        assert table["cases"].max() - table["cases"].min() <= 1
    assert table["predicted"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: brier([0, 1], [0.2, 1.2]), "a probability lies between 0 and 1, got 1.2"),
        (lambda: brier([0, 1], [0.2, np.nan]), "got nan"),
        (lambda: brier([0, 0], [0.2, 0.3]), "both classes"),
        (lambda: adjust_prior([0.5], 0.5, 0), "prior_to must lie between 0 and 1"),
        (lambda: reliability([0, 1], [0.2, 0.3], 3), "bins must lie between 1 and the 2 cases"),
    ],
)
def test_bad_input_is_one_clear_error(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()
