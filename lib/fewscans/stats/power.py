"""What a test set of n scans and S trained networks can tell of two methods whose ICCs differ: studies, simulated.
And what a planned study can tell, from the parts of the variance that a pilot found (`power_of`).

The paper on regression from sums (Dubost et al., MICCAI 2019) reports ICC 0.84 against 0.79 on 30 scans, the latter
with a standard deviation of 0.12 over three networks, and 0.73 against 0.68 on 1,977 scans. Before asking whether a
replication agrees, one wants to know how often such a study would come out the other way round if its numbers were
the truth. The power depends on the share of their errors that networks have in common, which papers do not print: look
at more than one.

The model. A method trained with a seed has an ICC of its own on all the scans in the world; over seeds these follow a
beta distribution with the method's mean and standard deviation. Targets are normal, and each network predicts without
bias and with the targets' variance, so that its ICC is its correlation, "A,1" and "C,1" alike. Networks err on the
same scans: a share `shared` of each one's error variance is common to all. The sums that an ICC needs are drawn from
their exact distribution, so 2,000 scans cost as much as 30.

It is the best case. Volumes of lesions are skewed, and a few large ones then decide: with log-normal targets whose
standard deviation is their mean, ICCs near 0.8 on 30 scans vary twice as much, and the difference of two a quarter
more. Networks of one method share more of their errors than networks of two methods do, so seeds beyond ten or so help
less than here. And a standard deviation seen over three networks may be 0.5 to 6 times as large in truth (95 %, if
normal), besides holding what 30 scans add to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fewscans.stats.icc import KINDS, from_mean_squares
from fewscans.stats.resample import Spread


@dataclass(frozen=True)
class Method:
    """icc: mean over seeds on all the scans in the world, from 0 to 1.   seed_sd: standard deviation over seeds.

    Raises ValueError for an ICC outside [0, 1) and a spread that no distribution between 0 and 1 with this mean has.
    """

    icc: float
    seed_sd: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.icc < 1:
            raise ValueError(f"icc must be at least 0 and below 1, got {self.icc}")
        if not self.seed_sd >= 0 or self.seed_sd > 0 and self.seed_sd**2 >= self.icc * (1 - self.icc):
            most = math.sqrt(self.icc * (1 - self.icc))
            raise ValueError(
                f"seed_sd of ICCs with mean {self.icc} is at least 0 and below {most:.3g}, got {self.seed_sd}"
            )

    def networks(self, size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """ICCs of trained networks."""
        if self.seed_sd == 0:
            return np.full(size, self.icc)
        weight = self.icc * (1 - self.icc) / self.seed_sd**2 - 1
        return rng.beta(self.icc * weight, (1 - self.icc) * weight, size)


@dataclass(frozen=True)
class Study:
    """A study repeated many times: test scans and networks are new each time.

    difference: of the two methods, in truth.   sd, low, high: of the differences that studies observe, the middle 95 %
    of them.   right_sign: how often the better method comes out better.   power: how often a two-sided test would say
    that they differ, one that is wrong as often as its level says for methods of equal mean ICC.   seed_share: the
    share of the variance of observed differences that goes if every network has its method's mean ICC; more scans do
    not lessen that variance, more seeds do. The share hardly changes with seeds, as networks' own errors average out
    over seeds, too.
    """

    n_subjects: int
    n_seeds: int
    difference: float
    sd: float
    low: float
    high: float
    right_sign: float
    power: float
    seed_share: float


def observed(
    methods: Sequence[Method], n_subjects: int, n_seeds=1, shared=0.5, kind="A,1", draws=20_000, rng=0
) -> np.ndarray:
    """(draws, M) the mean ICC over its seeds that each method shows in each of so many studies.

    shared: share of a network's error variance that all networks have in common, of one method or several.
    rng: a seed or Generator. Raises ValueError for fewer than 4 scans, 1 seed or 100 draws, and for a share outside
    [0, 1].
    """
    if n_subjects < 4 or n_seeds < 1 or draws < 100:
        raise ValueError(f"needs 4 scans, 1 seed and 100 draws or more; got {n_subjects}, {n_seeds} and {draws}")
    if not 0 <= shared <= 1:
        raise ValueError(f"shared is a share of the error variance, from 0 to 1; got {shared}")
    if kind not in KINDS:
        raise ValueError(f"unknown kind of ICC {kind!r}; known: {', '.join(map(repr, KINDS))}")
    rng = np.random.default_rng(rng)
    n, one, all_ = n_subjects, (draws, 1, 1), (draws, len(methods), n_seeds)
    icc = np.stack([method.networks((draws, n_seeds), rng) for method in methods], axis=1)
    error = np.sqrt(1 - icc**2)
    common, own = math.sqrt(shared) * error, math.sqrt(1 - shared) * error
    # n normal numbers about their mean are a point in n - 1 dimensions. Turn these until the targets lie along the
    # first axis and the common error in the plane of the first two; of the rest only a length is needed.
    target = np.sqrt(rng.chisquare(n - 1, one))
    along = icc * target + common * rng.normal(size=one) + own * rng.normal(size=all_)
    across = common * np.sqrt(rng.chisquare(n - 2, one)) + own * rng.normal(size=all_)
    squares = along**2 + across**2 + own**2 * rng.chisquare(n - 3, all_)
    mean = rng.normal(size=one)  # times the root of n, as the next two
    bias = (icc - 1) * mean + common * rng.normal(size=one) + own * rng.normal(size=all_)
    half, product = (target**2 + squares) / 2, target * along
    return from_mean_squares(kind, (half + product) / (n - 1), bias**2 / 2, (half - product) / (n - 1), n, 2).mean(
        axis=2
    )


def study(
    better: Method, worse: Method, n_subjects: int, n_seeds=1, shared=0.5, kind="A,1", draws=20_000, rng=0, level=0.95
) -> Study:
    """What studies of `n_subjects` scans and `n_seeds` networks per method find, paired by scan.

    Shares are known to about ± 0.007 with 20,000 draws. Raises ValueError as `observed`, and if `better` is not.
    """
    if not better.icc > worse.icc:
        raise ValueError(f"the better method's ICC must be the higher one, got {better.icc} and {worse.icc}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    rng = np.random.default_rng(rng)

    def differences(*methods):
        first, second = observed(methods, n_subjects, n_seeds, shared, kind, draws, rng).T
        return first - second

    found = differences(better, worse)
    middle = (better.icc + worse.icc) / 2
    equal = differences(Method(middle, better.seed_sd), Method(middle, worse.seed_sd))
    seed_share = 0.0
    if better.seed_sd or worse.seed_sd:
        fixed = differences(Method(better.icc), Method(worse.icc))
        seed_share = float(max(1 - fixed.var() / found.var(), 0.0))
    low, high = np.quantile(found, [0.5 - level / 2, 0.5 + level / 2])
    return Study(
        n_subjects=n_subjects,
        n_seeds=n_seeds,
        difference=better.icc - worse.icc,
        sd=float(found.std()),
        low=float(low),
        high=float(high),
        right_sign=float((found > 0).mean()),
        power=float((np.abs(found) > np.quantile(np.abs(equal), level)).mean()),
        seed_share=seed_share,
    )


def power_of(spread: Spread, distance: float, n_seeds: int, n_groups: int, level: float = 0.95) -> float:
    """How often the interval of a spread's quantity would leave out a line that is `distance` away from the truth.

    spread: of a pilot; what a seed and a group add to the variance is taken to stay as there (`Spread.at`).   n_seeds,
    n_groups: of the study that is planned, 2 or more of each. Values are taken as normal around the truth, and the
    interval's width as what it is on average; with few seeds in the pilot both are rough. Raises ValueError for less
    than 2, for a distance below 0 and for a level outside (0, 1).
    """
    if min(n_seeds, n_groups) < 2:
        raise ValueError(f"an interval needs 2 seeds and 2 groups or more, got {n_seeds} and {n_groups}")
    if not distance >= 0 or not 0 < level < 1:
        raise ValueError(f"distance is 0 or more, level lies between 0 and 1; got {distance} and {level}")
    planned = spread.at(n_seeds, n_groups)
    half, error = planned.half_width(level), math.sqrt(planned.variance())
    if error == 0:
        return float(distance > 0)
    return float(stats.norm.cdf((distance - half) / error) + stats.norm.cdf((-distance - half) / error))
