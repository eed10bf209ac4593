"""How many cases a network would need for a score: its learning curve, drawn on beyond the sizes that were trained.

The curve. What is missing to the best score, 1 - score, falls as c + a N^-b, with a plateau c from 0 to nearly the
lowest value seen and an exponent b from 0.02 to 2. So do many learning curves (Hestness et al., arXiv
1712.00409, 2017); none is known to go on so.

The interval. Mean scores are drawn anew from the multivariate t distribution of their covariance over seeds and
patients, with the fewest degrees of freedom that one of them has (Welch and Satterthwaite, see `resample`). For each
draw every plateau is fitted by least squares, and one is taken with the probability that its chi² has in that
distribution: with two or three sizes nothing tells plateaus apart, and all of them count. The middle 95 % of the
draws, widened about their median by `WIDENING`, are the interval. PneumoniaMNIST fixed that factor, by a rule that
`benchmarks/extrapolation.py` states: the smallest of 1, 1.25, 1.5, 2 and 3 with which 95 % of its curves, fitted up to
N / 4, cover the score at N. That is 1: 4 of 4 cover (the plain network; N up to 2,000, five seeds, 200 updates). How
often curves cover on other data is measured by `checked`, and stands beside every extrapolation (`MEASURED`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fewscans.stats.estimate import Estimate
from fewscans.stats.resample import Resampled

PLATEAUS = np.linspace(0.0, 0.95, 12)  # as shares of the lowest value seen
EXPONENTS = (0.02, 2.0)
LEAST = 1e-3  # of what is missing to the best score, or its logarithm means nothing
FARTHEST = 30.0  # times the largest size that was trained: beyond, nothing is said
WIDENING = 1.0
MEASURED = (
    "Fitted up to N / 4, such curves covered the score at N in 9 of 9 cases (networks on LUNA16 patches and "
    "AdrenalMNIST3D; few, and not independent)."
)
DRAWS = 2000


@dataclass(frozen=True, eq=False)
class Curve:
    """sizes: (K,) that were trained.   a, b, c: (D,) of each draw."""

    sizes: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def score(self, n: float, level: float = 0.95) -> Estimate:
        """The score at a size."""
        return _interval(1 - (self.c + self.a * float(n) ** -self.b), level)

    def size(self, goal: float, level: float = 0.95) -> Estimate:
        """The size that reaches a score.

        Its high end is infinite where draws never reach it, or only beyond `FARTHEST` times the largest size; where
        half of them do not, the value is that size, and censored "high".
        """
        room = 1 - goal - self.c
        with np.errstate(divide="ignore", over="ignore"):
            log = np.where(room > 0, np.log(self.a / np.maximum(room, 1e-12)) / self.b, np.inf)
        most = np.log(FARTHEST * self.sizes.max())
        log = np.where(log > most, np.inf, np.maximum(log, 0.0))
        finite = np.where(np.isinf(log), 10 * most, log)  # so that quantiles can be taken
        middle, low, high = (float(np.quantile(finite, q)) for q in (0.5, (1 - level) / 2, (1 + level) / 2))
        low, high = middle - WIDENING * (middle - low), middle + WIDENING * (high - middle)
        if middle > most:
            low = min(low, most)
            return Estimate(float(np.exp(most)), float(np.exp(low)), np.inf, level, "high")
        return Estimate(
            float(np.exp(middle)), float(np.exp(low)), np.inf if high > most else float(np.exp(high)), level
        )


def fit(table: Resampled, arm: str, up_to: float = np.inf, rng: int = 0, draws: int = DRAWS) -> Curve:
    """The curve of an arm through its sizes up to one.

    Raises:  ValueError for a score whose best value is not 1, and for fewer than two sizes.
    """
    if table.score.bounds[1] != 1.0 or not table.score.higher_is_better:
        raise ValueError(f"curves are fitted to scores whose best value is 1; {table.score.name} is none")
    sizes = [n for n in table.sizes(arm) if n <= up_to]
    if len(sizes) < 2:
        raise ValueError(f"a curve needs two sizes or more, {arm} has N = {', '.join(map(str, sizes)) or 'none'}")
    joint = table.joint([(arm, n) for n in sizes])
    covariance = joint.seeds / joint.n_seeds + joint.groups
    freedom = min(joint.spread(one).degrees_of_freedom() for one in np.eye(len(sizes)))
    generator = np.random.default_rng(rng)
    off = generator.multivariate_normal(np.zeros(len(sizes)), covariance, draws, method="eigh")
    wider = np.sqrt(freedom / generator.chisquare(freedom, (draws, 1))) if np.isfinite(freedom) else 1.0
    variance = np.maximum(np.diag(covariance), 1e-10)
    return _fitted(np.array(sizes), 1 - joint.means - wider * off, variance, freedom, generator)


def _fitted(sizes, missing: np.ndarray, variance: np.ndarray, freedom: float, rng: np.random.Generator) -> Curve:
    """missing: (D, K) of each draw; variance: (K,) of the normal, whose t has so many degrees of freedom."""
    missing = np.maximum(missing, LEAST)
    x = np.log(sizes)
    c = PLATEAUS * missing.min(axis=1, keepdims=True)  # (D, J)
    above = np.maximum(missing[:, None] - c[:, :, None], LEAST / 20)  # (D, J, K)
    weight = above**2 / variance  # of logarithms
    weight /= weight.sum(axis=2, keepdims=True)
    y = np.log(above)
    x_mean, y_mean = (weight * x).sum(axis=2), (weight * y).sum(axis=2)
    dx = x - x_mean[:, :, None]
    b = np.clip(-(weight * dx * y).sum(axis=2) / (weight * dx**2).sum(axis=2), *EXPONENTS)
    a = np.exp(y_mean + b * x_mean)
    chi = ((above - a[:, :, None] * sizes ** -b[:, :, None]) ** 2 / variance).sum(axis=2)  # (D, J)
    beyond = chi - chi.min(axis=1, keepdims=True)
    if np.isfinite(freedom):
        beyond = (freedom + len(sizes)) * np.log1p(beyond / (freedom + chi.min(axis=1, keepdims=True)))
    share = np.exp(-beyond / 2).cumsum(axis=1)
    chosen = (rng.random(len(share))[:, None] * share[:, -1:] < share).argmax(axis=1)
    row = np.arange(len(chosen))
    return Curve(sizes, a[row, chosen], b[row, chosen], c[row, chosen])


def _interval(values: np.ndarray, level: float) -> Estimate:
    middle, low, high = np.quantile(values, [0.5, (1 - level) / 2, (1 + level) / 2])
    return Estimate(middle, middle - WIDENING * (middle - low), min(middle + WIDENING * (high - middle), 1.0), level)


def checked(table: Resampled, arms: Iterable[str], share: float = 0.25) -> list[tuple[str, int, bool]]:
    """For each arm and size N with two sizes up to N / 4 or more: does the curve through these cover the score at N?"""
    found = []
    for arm in arms:
        sizes = table.sizes(arm)
        for n in sizes:
            if sum(size <= share * n for size in sizes) >= 2:
                inside = fit(table, arm, share * n).score(n)
                score = float(table.values(arm, n).mean())
                found.append((arm, n, inside.low <= score <= inside.high))
    return found
