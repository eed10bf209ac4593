"""One number with its interval: what every statistic of the workbook returns."""

from __future__ import annotations

import math
from dataclasses import dataclass

CENSORED = (None, "low", "high")


@dataclass(frozen=True)
class Estimate:
    """A value, the interval around it, and whether the data only bound it.

    value, low, high: low <= value <= high; value is finite, an end may be infinite or lie at the edge of what is
    possible. level: the interval's coverage.   censored: "high" when the truth lies at or above `value`, which is
    only as far as the data reach ("> 17"); "low" when it lies at or below `value` ("< 0.3"). An interval end that
    the data do not reach says so by itself: `high` is infinite, `low` is the quantity's lower limit (0 for a
    ratio). Raises ValueError for NaN, ends out of order, a level outside (0, 1) and an unknown `censored`.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    censored: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "level"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, float)) and not hasattr(number, "__float__"):
                raise ValueError(f"{name} must be a number, got {number!r}")
            object.__setattr__(self, name, float(number))
            if math.isnan(getattr(self, name)):
                raise ValueError(f"{name} is NaN in Estimate({self.value}, {self.low}, {self.high})")
        if math.isinf(self.value):
            raise ValueError(
                f"value is {self.value}; give the bound that the data reach, and say censored='low' or 'high'"
            )
        if not self.low <= self.value <= self.high:
            raise ValueError(f"low <= value <= high fails: {self.low}, {self.value}, {self.high}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {self.level}")
        if self.censored not in CENSORED:
            raise ValueError(f"censored must be one of {CENSORED}, got {self.censored!r}")

    def text(self, digits: int = 3) -> str:
        """For people: "0.912 (0.900 to 0.923)", "> 17 (9.1 to -)"; a dash is an end that the data do not reach."""
        sign = {None: "", "low": "< ", "high": "> "}[self.censored]
        low, high = (f"{end:.{digits}f}" if math.isfinite(end) else "-" for end in (self.low, self.high))
        return f"{sign}{self.value:.{digits}f} ({low} to {high})"
