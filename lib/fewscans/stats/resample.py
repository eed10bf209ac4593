"""What varies, taken apart: the seed that trained a network, and the patients it was tested on.

A score of arm a at size N has one value per seed s, theta_s, on the test set at hand. Two things would be different the
next time: other seeds (training subset and initialisation together) and other test patients. Seeds and patients are
crossed, so with S seeds and G groups (patients or scans) the mean over seeds has variance

    seed / S  +  group / G  +  interaction / (S G).

* The spread of theta_s over seeds, divided by S, estimates  seed / S + interaction / (S G)          (patients held).
* A bootstrap over groups of the mean over seeds estimates   group / G + interaction / (S G)         (seeds held).
* Their sum counts the interaction twice. The mean of the seeds' own bootstrap variances is (group + interaction) /
  G, so it exceeds the previous line by interaction / G (1 - 1 / S), and divided by S - 1 gives what to take off
  again.

The interval is mean ± t times the root of that variance, its degrees of freedom by Satterthwaite's rule from S - 1
(seeds) and G - 1 (groups): few seeds that matter give a wide t, few seeds that do not matter cost nothing. Whole
groups are drawn, as patches of one scan are alike, and all cells with the same test cases share the draws, so every
linear combination of scores (a difference of arms, a difference of differences) has its interval from the same
three covariance matrices, paired by seed and by case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from fewscans.stats.cells import Cell, cells
from fewscans.stats.estimate import Estimate
from fewscans.stats.reference import Reference
from fewscans.stats.scores import Bound, Score
from fewscans.stats.scores import score as named_score

_USABLE = 0.9  # share of draws that must hold what the score needs: both classes, a nodule, targets that differ
_MOST = 10_000  # seeds or groups beyond which "more" is no advice


@dataclass(frozen=True)
class Spread:
    """A value and the parts of its variance.

    seed_variance: over seeds, patients held (not divided by n_seeds).   group_variance: of the mean over seeds
    under other patients, seeds held.   interaction: what both of them count.
    """

    value: float
    seed_variance: float
    group_variance: float
    interaction: float
    n_seeds: int
    n_groups: int

    def variance(self) -> float:
        return float(_variance(self))

    def degrees_of_freedom(self) -> float:
        """Satterthwaite's; infinite if nothing varies."""
        return float(_degrees_of_freedom(self))

    def half_width(self, level: float = 0.95) -> float:
        return float(half_widths(self, level))

    def estimate(self, level: float = 0.95, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
        """value ± t · root of the variance, cut at `bounds`."""
        half = self.half_width(level)
        low, high = max(self.value - half, bounds[0]), min(self.value + half, bounds[1])
        return Estimate(self.value, min(low, self.value), max(high, self.value), level)

    def seeds_needed(self, distance: float, level: float = 0.95) -> int | None:
        """How many seeds would bring the half width below `distance` if the parts stay as they are; None: no number
        would.
        """
        patients = max(self.group_variance - self.interaction, 0.0)  # what is left with seeds without end
        z = stats.norm.ppf((1 + level) / 2)
        if not distance > z * math.sqrt(patients):
            return None
        n = max(2, math.ceil(self.seed_variance * z**2 / (distance**2 - z**2 * patients)))
        while n <= _MOST:
            both = self.interaction * self.n_seeds / n
            if replace(self, group_variance=patients + both, interaction=both, n_seeds=n).half_width(level) < distance:
                return n
            n += max(1, n // 20)
        return None

    def groups_needed(self, distance: float, level: float = 0.95) -> int | None:
        """How many test groups would, with the seeds at hand; None: no number would."""
        seed_part = max(self.seed_variance / self.n_seeds - self.interaction, 0.0)
        t = stats.t.ppf((1 + level) / 2, max(self.degrees_of_freedom(), 1))
        room = distance**2 / t**2 - seed_part
        n = self.group_variance * self.n_groups / room if room > 0 else math.inf
        return math.ceil(n) if n <= _MOST else None


@dataclass(frozen=True)
class Joint:
    """Mean scores of K cells with the covariances that any linear combination of them needs."""

    means: np.ndarray  # (K,)
    seeds: np.ndarray  # (K, K) covariance over seeds, patients held
    groups: np.ndarray  # (K, K) covariance of the means over bootstrap draws
    each: np.ndarray  # (K, K) the same of single seeds, averaged over seeds
    n_seeds: int
    n_groups: int

    @classmethod
    def of(cls, values: np.ndarray, draws: np.ndarray, n_groups: int) -> Joint:
        """values: (K, S); draws: (K, S, B)."""
        count, n_seeds, n_draws = draws.shape
        if n_seeds < 2:
            raise ValueError(f"an interval over seeds needs at least 2 seeds, got {n_seeds}")
        if n_groups < 2:
            raise ValueError(f"an interval over patients needs at least 2 groups, got {n_groups}")
        small = n_groups / (
            n_groups - 1
        )  # the bootstrap's variance is that of n draws with n, not n - 1, below the line
        centred = draws - draws.mean(axis=2, keepdims=True)
        mean = centred.mean(axis=1)
        flat = centred.reshape(count, -1)
        return cls(
            means=values.mean(axis=1),
            seeds=np.atleast_2d(np.cov(values)),
            groups=small * mean @ mean.T / (n_draws - 1),
            each=small * flat @ flat.T / (n_seeds * (n_draws - 1)),
            n_seeds=n_seeds,
            n_groups=n_groups,
        )

    def spread(self, weights: np.ndarray) -> Spread:
        """Of the combination sum over k of weights[k] · score k.   weights: (K,), or (M, K) for M of them: then the
        spread's fields are (M,), for `half_widths`."""
        seeds, groups, each = (
            np.maximum(np.einsum("...k,kl,...l->...", weights, m, weights), 0.0)
            for m in (self.seeds, self.groups, self.each)
        )
        interaction = np.maximum((each - groups) / (self.n_seeds - 1), 0.0)
        interaction = np.minimum(interaction, np.minimum(groups, seeds / self.n_seeds))  # neither part is negative
        parts = (weights @ self.means, seeds, groups, interaction)
        return Spread(*(p if p.ndim else float(p) for p in parts), self.n_seeds, self.n_groups)


def half_widths(spread: Spread, level: float = 0.95) -> np.ndarray:
    """t times the root of the variance, also for a spread of arrays."""
    return stats.t.ppf((1 + level) / 2, _degrees_of_freedom(spread)) * np.sqrt(_variance(spread))


def _variance(spread: Spread) -> np.ndarray:
    return np.maximum(spread.seed_variance / spread.n_seeds + spread.group_variance - spread.interaction, 0.0)


def _degrees_of_freedom(spread: Spread) -> np.ndarray:
    seeds, groups = np.asarray(spread.seed_variance / spread.n_seeds), np.asarray(spread.group_variance)
    below = seeds**2 / (spread.n_seeds - 1) + groups**2 / (spread.n_groups - 1)
    least = min(spread.n_seeds, spread.n_groups) - 1
    df = np.divide(_variance(spread) ** 2, below, out=np.full(below.shape, math.inf), where=below > 0)
    return np.maximum(df, least)


class Resampled:
    """A prediction table with one score, computed for every cell and bootstrap draw once, when first asked for.

    predictions: the tidy table.   score: a name or function (`scores.score`).   rng: a seed or numpy Generator for
    the draws.   reference: the table of `reference`, which scores of detection need. Hand it to the functions of
    `intervals` and `efficiency` in place of the table when asking for many intervals, or for detection.
    """

    def __init__(
        self,
        predictions: pd.DataFrame,
        score="auc",
        split: str = "test",
        n_bootstrap: int = 1000,
        rng: int | np.random.Generator = 0,
        arms=None,
        n_train=None,
        reference: pd.DataFrame | None = None,
    ):
        if n_bootstrap < 100:
            raise ValueError(f"n_bootstrap must be at least 100 for a variance, got {n_bootstrap}")
        self.score: Score = named_score(score)
        self.split, self.n_bootstrap = split, n_bootstrap
        self.reference = Reference.of(reference) if reference is not None and self.score.detection else None
        self.cells = cells(predictions, split + self.score.rows, arms, n_train)
        self._seed = int(np.random.default_rng(rng).integers(2**63)) if isinstance(rng, np.random.Generator) else rng
        self._values: dict[tuple[str, int], np.ndarray] = {}
        self._draws: dict[tuple[str, int], np.ndarray] = {}
        self._keys: dict[tuple[str, int], bytes] = {}
        self._bounds: dict[bytes, Bound] = {}
        self._weights: dict[bytes, np.ndarray] = {}

    def cell(self, arm: str, n_train: int) -> Cell:
        """Raises ValueError naming the arm and the sizes that it has."""
        if (arm, n_train) not in self.cells:
            sizes = sorted(n for a, n in self.cells if a == arm)
            held = f"it has N = {', '.join(map(str, sizes))}" if sizes else f"arms are {', '.join(self.arms())}"
            raise ValueError(f"no predictions of arm {arm!r} at N = {n_train}; {held}")
        return self.cells[arm, n_train]

    def arms(self) -> list[str]:
        return sorted({arm for arm, _ in self.cells})

    def sizes(self, arm: str) -> list[int]:
        return sorted(n for a, n in self.cells if a == arm)

    def values(self, arm: str, n_train: int) -> np.ndarray:
        """(S,) the score with each seed."""
        cell = self.cell(arm, n_train)
        if (arm, n_train) not in self._values:
            bound, _ = self._bound(cell)
            scored = [bound.function(p) for p in cell.prediction]
            self._values[arm, n_train] = np.array(scored, dtype=float)
        return self._values[arm, n_train]

    def draws(self, arm: str, n_train: int) -> np.ndarray:
        """(S, B) the score with each seed in each draw of groups."""
        cell = self.cell(arm, n_train)
        if (arm, n_train) not in self._draws:
            bound, weights = self._drawn(cell)
            self._draws[arm, n_train] = np.stack([bound.resample(p, weights) for p in cell.prediction])
        return self._draws[arm, n_train]

    def spread(self, combination: Mapping[tuple[str, int], float]) -> Spread:
        """Of a linear combination of cells, {(arm, n_train): weight}, paired by seed and case.

        Raises ValueError naming arms, sizes and seeds if a cell is absent, or cells differ in seeds or in test cases.
        """
        keys = list(combination)
        return self.joint(keys).spread(np.array([combination[key] for key in keys], dtype=float))

    def joint(self, keys: list[tuple[str, int]]) -> Joint:
        members = [self.cell(*key) for key in keys]
        for other in members[1:]:
            same_cases(members[0], other)
        n_groups = len(self._bound(members[0])[0].groups)
        if len(members[0].seeds) < 2:
            raise ValueError(
                f"{members[0]} has seed {members[0].seeds[0]} only; an interval over seeds needs at least 2"
            )
        values, draws = ([f(*key) for key in keys] for f in (self.values, self.draws))
        return Joint.of(np.stack(values), np.stack(draws), n_groups)

    def _bound(self, cell: Cell) -> tuple[Bound, bytes]:
        """The score of the cell's test cases, and what stands for these: cells that share it share the draws."""
        name = cell.arm, cell.n_train
        if name not in self._keys:
            self._keys[name] = repr((cell.case.tolist(), cell.group.tolist(), cell.target.tolist())).encode()
        key = self._keys[name]
        if key not in self._bounds:
            self._bounds[key] = self.score.bind(cell, self.reference)
        return self._bounds[key], key

    def _drawn(self, cell: Cell) -> tuple[Bound, np.ndarray]:
        """The bound score and how often each group is drawn (B, G)."""
        bound, key = self._bound(cell)
        if key not in self._weights:
            n = len(bound.groups)
            if n < 2:
                raise ValueError(f"{cell}: all cases belong to group '{bound.groups[0]}'; patients cannot be resampled")
            rng = np.random.default_rng(self._seed)
            weights = rng.multinomial(n, np.full(n, 1 / n), size=self.n_bootstrap).astype(float)
            usable = bound.usable(weights)
            if usable.mean() < _USABLE:
                raise ValueError(
                    f"{cell}: only {usable.mean():.0%} of the draws of {n} groups hold {bound.need} to resample them"
                )
            self._weights[key] = weights[usable]
        return bound, self._weights[key]


def same_cases(one: Cell, other: Cell) -> None:
    """Raises ValueError naming what keeps two cells from being paired: seeds, test cases, groups or targets."""
    lacks = [
        f"{cell} lacks seed{'s' if len(gone) > 1 else ''} {', '.join(map(str, gone))}"
        for cell, gone in (
            (one, np.setdiff1d(other.seeds, one.seeds)),
            (other, np.setdiff1d(one.seeds, other.seeds)),
        )
        if len(gone)
    ]
    if lacks:
        raise ValueError(f"{one} and {other} cannot be paired: {'; '.join(lacks)}")
    if len(one.case) != len(other.case) or (one.case != other.case).any() or (one.group != other.group).any():
        raise ValueError(
            f"{one} ({len(one.case)} cases) and {other} ({len(other.case)}) cannot be paired: their test cases differ"
        )
    if (one.target != other.target).any():
        raise ValueError(f"{one} and {other} cannot be paired: the targets of their test cases differ")
