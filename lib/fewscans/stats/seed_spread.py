"""Does one method's score vary less over seeds than another's? The ratio of two standard deviations, with its interval.

Arms share seeds, so their scores come in pairs, and two spreads of paired numbers are compared by the test of Pitman
(Biometrika 31:9-12, 1939) and Morgan (Biometrika 31:13-19, 1939): the ratio of the standard deviations is rho exactly
if the sums x + rho y and the differences x - rho y are uncorrelated. The ratios that the test of that correlation, with
S - 2 degrees of freedom, does not refuse are

    s_x / s_y · exp( ± arcosh(K) / 2 ),   K = 1 + 2 (1 - r²) t² / (S - 2),   r the correlation of x and y,

exact for scores that are jointly normal over seeds. Networks that share nothing are compared by the F ratio.

Both are weak. For 5 seeds without correlation, the interval excludes 1 only if the ratio is above 4 or below 1/4; the
paper on regression from sums (Dubost et al., MICCAI 2019) has 0.02 against 0.12 over three trainings each, and 6 is not
quite enough for the F ratio of three and three. And unlike a test of means, neither becomes right for scores that are
far from normal, with many seeds no more than with few: of two methods that fail to learn with one seed in ten, the
interval for 5, 10 or 20 seeds holds the truth in 55, 54 and 68 % of simulations (95, 95 and 95 % for normal scores, 94,
93 and 93 % for ICCs that spread about 0.83 as a beta distribution). Look at the single seeds before believing a ratio.

The test patients are held: this is the spread of scores on the test set at hand, as in `Spread.seed_variance`.
Where folds of patients rotate, it is over seeds and the folds that they test together, for both methods alike.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from fewscans.stats.estimate import Estimate
from fewscans.stats.intervals import resampled
from fewscans.stats.resample import same_cases

_MOST = 10_000  # seeds beyond which "more" is no advice


def spread_ratio(scores, scores_baseline, level: float = 0.95) -> Estimate:
    """Standard deviation of `scores` over that of `scores_baseline`, below 1 where the former vary less.

    scores, scores_baseline: (S,) with the same seeds in the same order. Equal scores give exactly 1. Raises ValueError
    for other shapes, numbers that are not finite, fewer than 3 seeds, and scores that do not vary at all.
    """
    ratio, r, n = _moments(scores, scores_baseline)
    half = _half(r, n, level)
    return Estimate(ratio, ratio * math.exp(-half), ratio * math.exp(half), level)


def seeds_needed(scores, scores_baseline, line: float = 1.0, level: float = 0.95) -> int | None:
    """How many seeds would bring `line` out of the interval of `spread_ratio`, if ratio and correlation stay what they
    are; None: no number up to 10,000 would.   line: above 0. Raises ValueError as `spread_ratio`.
    """
    ratio, r, _ = _moments(scores, scores_baseline)
    distance = abs(math.log(ratio / line)) if line > 0 else math.inf
    n = 3
    while n <= _MOST:
        if _half(r, n, level) < distance:
            return n
        n += max(1, n // 20)
    return None


def paired_scores(predictions, arm, baseline, n_train, score="icc", split="test") -> tuple[np.ndarray, np.ndarray]:
    """(S,) scores of the arm and (S,) of the baseline with the same seeds, on the same test cases."""
    table = resampled(predictions, score, split, arms={arm, baseline}, n_train=[n_train])
    one, other = table.cell(arm, n_train), table.cell(baseline, n_train)
    same_cases(one, other)
    return table.values(arm, n_train), table.values(baseline, n_train)


def _moments(scores, scores_baseline) -> tuple[float, float, int]:
    """Ratio of the standard deviations, correlation, number of seeds."""
    x, y = (np.asarray(values, dtype=float) for values in (scores, scores_baseline))
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"scores are (S,) twice, paired by seed; got {x.shape} and {y.shape}")
    if len(x) < 3:
        raise ValueError(f"a ratio of spreads over paired seeds needs at least 3 seeds, got {len(x)}")
    for name, values in (("scores", x), ("scores of the baseline", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"the {name} hold {values[~np.isfinite(values)][0]}")
        if np.ptp(values) <= 1e-12 * max(np.abs(values).max(), 1e-300):
            raise ValueError(
                f"the {name} are {values[0]:g} with each of {len(x)} seeds; what does not vary has no ratio"
            )
    x, y = x - x.mean(), y - y.mean()
    sd_x, sd_y = math.sqrt(x @ x), math.sqrt(y @ y)
    return sd_x / sd_y, float(np.clip(x @ y / (sd_x * sd_y), -1, 1)), len(x)


def _half(r: float, n: int, level: float) -> float:
    """Half the interval's width in the logarithm of the ratio."""
    t = stats.t.ppf((1 + level) / 2, n - 2)
    return math.acosh(1 + 2 * (1 - r**2) * t**2 / (n - 2)) / 2
