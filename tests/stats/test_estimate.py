"""An Estimate cannot be inconsistent."""

import math

import pytest

from fewscans.stats import Estimate


def test_it_prints_what_a_reader_needs():
    assert Estimate(0.9124, 0.9, 0.9231).text() == "0.912 (0.900 to 0.923)"
    assert Estimate(17.2, 9.1, math.inf, censored="high").text(1) == "> 17.2 (9.1 to -)"
    assert Estimate(0.3, 0, 1.2, censored="low").text(1) == "< 0.3 (0.0 to 1.2)"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((math.nan, 0, 1), "value is NaN"),
        ((0.5, 0.6, 1), "low <= value <= high"),
        ((0.5, 0, 0.4), "low <= value <= high"),
        ((math.inf, 0, math.inf), "the bound that the data reach"),
        ((0.5, 0, 1, 95), "level must lie between 0 and 1"),
        ((0.5, 0, 1, 0.95, "right"), "censored must be one of"),
        (("0.5", 0, 1), "value must be a number"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        Estimate(*arguments)


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        Estimate(0.5, 0, 1).value = 0.6
