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

Where folds of patients rotate, seeds test different patients, and their spread holds some of what patients do to a
score: S times the difference of the mean of the seeds' own bootstrap variances and the bootstrap variance of their
mean, over S - 1, as for any numbers, however many patients two of them share. Divided by S that is the very term that
is taken off above, as long as one draw of all patients serves all seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

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
    under other patients, seeds held.   interaction: what both of them count; folded: how much of it is the patients'
    own, as seeds test different folds, which more seeds do not lessen (all of it where no two seeds share a fold).
    """

    value: float
    seed_variance: float
    group_variance: float
    interaction: float
    n_seeds: int
    n_groups: int
    folded: float = 0.0

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

    def at(self, n_seeds: int, n_groups: int) -> Spread:
        """With other numbers of seeds and groups, if what each of them adds stays as it is."""
        ratio = self.n_groups / n_groups
        own = (self.interaction - self.folded) * ratio * self.n_seeds / n_seeds
        group = max(self.group_variance - self.interaction + self.folded, 0.0) * ratio + own
        each = (self.interaction * (self.n_seeds - 1) + self.group_variance) * ratio  # of a single seed
        both = max((each - group) / (n_seeds - 1), own)
        seed = max(self.seed_variance - self.n_seeds * self.interaction, 0.0) + n_seeds * both
        return Spread(self.value, seed, group, both, n_seeds, n_groups, both - own)

    def seeds_needed(self, distance: float, level: float = 0.95) -> int | None:
        """How many seeds would bring the half width below `distance` if the parts stay as they are; None: no number
        would.
        """
        patients = max(self.group_variance - self.interaction + self.folded, 0.0)  # what is left with seeds without end
        z = stats.norm.ppf((1 + level) / 2)
        if not distance > z * math.sqrt(patients):
            return None
        n = max(2, math.ceil(self.seed_variance * z**2 / (distance**2 - z**2 * patients)))
        while n <= _MOST:
            if self.at(n, self.n_groups).half_width(level) < distance:
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
    alike: np.ndarray | None = None  # (K, K) of two seeds that share a fold; None if all seeds share one

    @classmethod
    def of(cls, values: np.ndarray, draws: np.ndarray, n_groups: int, folds: np.ndarray | None = None) -> Joint:
        """values: (K, S); draws: (K, S, B).   folds: (S,) equal for seeds that test the same cases; None: all do."""
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
        each = small * flat @ flat.T / (n_seeds * (n_draws - 1))
        alike = None
        if folds is not None and len(shared := np.bincount(folds)) > 1:
            summed = np.stack([centred[:, folds == fold].sum(axis=1) for fold in range(len(shared))], axis=1)
            summed = summed.reshape(count, -1)
            pairs = shared @ shared - n_seeds  # of a seed and another; without one, all counts as the patients' own
            alike = (small * summed @ summed.T / (n_draws - 1) - n_seeds * each) / pairs if pairs else each
        return cls(
            means=values.mean(axis=1),
            seeds=np.atleast_2d(np.cov(values)),
            groups=small * mean @ mean.T / (n_draws - 1),
            each=each,
            n_seeds=n_seeds,
            n_groups=n_groups,
            alike=alike,
        )

    def spread(self, weights: np.ndarray) -> Spread:
        """Of the combination sum over k of weights[k] · score k.   weights: (K,), or (M, K) for M of them: then the
        spread's fields are (M,), for `half_widths`."""
        seeds, groups, each, alike = (
            np.maximum(np.einsum("...k,kl,...l->...", weights, m, weights), 0.0)
            for m in (self.seeds, self.groups, self.each, self.each if self.alike is None else self.alike)
        )
        interaction = np.maximum((each - groups) / (self.n_seeds - 1), 0.0)
        interaction = np.minimum(interaction, np.minimum(groups, seeds / self.n_seeds))  # neither part is negative
        own = interaction if self.alike is None else np.clip((each - alike) / self.n_seeds, 0.0, interaction)
        parts = [
            p if p.ndim else float(p) for p in (weights @ self.means, seeds, groups, interaction, interaction - own)
        ]
        return Spread(*parts[:4], self.n_seeds, self.n_groups, parts[4])


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
        self._shared: dict[bytes, _Shared] = {}

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
        """(S,) the score with each seed, of the cases that it tests."""
        return self._values(self.cell(arm, n_train))

    def draws(self, arm: str, n_train: int) -> np.ndarray:
        """(S, B) the score with each seed in each draw of groups."""
        return self._draws(self.cell(arm, n_train))

    def spread(self, combination: Mapping[tuple[str, int], float]) -> Spread:
        """Of a linear combination of cells, {(arm, n_train): weight}, paired by seed and case.

        Raises ValueError naming arms, sizes and seeds if a cell is absent, or cells differ in seeds or in test cases.
        """
        keys = list(combination)
        return self.joint(keys).spread(np.array([combination[key] for key in keys], dtype=float))

    def joint(self, keys: list[tuple[str, int]]) -> Joint:
        """Of the seeds that all have in common; cells of one size must have the same."""
        members = in_common([self.cell(*key) for key in keys])
        n_groups = len(self._bound(members[0]).groups)
        if len(members[0].seeds) < 2:
            raise ValueError(
                f"{members[0]} has seed {members[0].seeds[0]} only; an interval over seeds needs at least 2"
            )
        values, draws = (np.stack([f(cell) for cell in members]) for f in (self._values, self._draws))
        return Joint.of(values, draws, n_groups, members[0].folds)

    def _values(self, cell: Cell) -> np.ndarray:
        shared = self._bound(cell)

        def scored(seed, fold):
            return shared.bounds[fold].function(cell.prediction[seed, cell.tested[seed]])

        return np.array(self._by_seed(cell, shared.values, scored), dtype=float)

    def _draws(self, cell: Cell) -> np.ndarray:
        shared = self._drawn(cell)

        def scored(seed, fold):
            return shared.bounds[fold].resample(cell.prediction[seed, cell.tested[seed]], shared.drawn(fold))

        return np.stack(self._by_seed(cell, shared.draws, scored))

    def _by_seed(self, cell: Cell, known: dict, scored) -> list:
        """What is known of each seed, and scored where nothing is."""
        for place, seed in enumerate(cell.seeds):
            name = cell.arm, cell.n_train, int(seed)
            if name not in known:
                known[name] = scored(place, cell.folds[place])
        return [known[cell.arm, cell.n_train, int(seed)] for seed in cell.seeds]

    def _bound(self, cell: Cell) -> _Shared:
        """The score of the cell's test cases, with the draws: cells with the same cases share them."""
        if cell.key not in self._shared:
            parts = [cell.part(cell.folds == fold) for fold in range(cell.folds.max() + 1)]
            if len(parts) > 1 and self.score.detection:
                raise ValueError(f"{cell}: {self.score.name} needs seeds that all test the same cases")
            self._shared[cell.key] = _Shared([self.score.bind(part, self.reference) for part in parts])
        return self._shared[cell.key]

    def _drawn(self, cell: Cell) -> _Shared:
        """The same, drawn."""
        shared = self._bound(cell)
        if shared.weights is None:
            n = len(shared.groups)
            if n < 2:
                raise ValueError(
                    f"{cell}: all cases belong to group '{shared.groups[0]}'; patients cannot be resampled"
                )
            rng = np.random.default_rng(self._seed)
            shared.weights = rng.multinomial(n, np.full(n, 1 / n), size=self.n_bootstrap).astype(float)
            usable = np.ones(self.n_bootstrap, dtype=bool)
            for fold, bound in enumerate(shared.bounds):
                weights = shared.drawn(fold)
                usable &= bound.usable(weights) & weights.any(axis=1)
            if usable.mean() < _USABLE:
                bound = shared.bounds[0]
                need = bound.need if bound.needed or bound.holds else "cases of every fold"
                shared.weights = None
                raise ValueError(
                    f"{cell}: only {usable.mean():.0%} of the draws of {n} groups hold {need} to resample them"
                )
            shared.weights = shared.weights[usable]
        return shared


@dataclass(eq=False)
class _Shared:
    """What cells with the same test cases share.   bounds: the score of each fold's cases.   weights: (B, G) how often
    each group of all folds is drawn.   values, draws: of an arm, size and seed.
    """

    bounds: list[Bound]
    weights: np.ndarray | None = None
    values: dict[tuple[str, int, int], float] = field(default_factory=dict)
    draws: dict[tuple[str, int, int], np.ndarray] = field(default_factory=dict)

    @cached_property
    def groups(self) -> np.ndarray:
        first, *others = (bound.groups for bound in self.bounds)
        return np.unique(np.concatenate([first, *others])) if others else first

    def drawn(self, fold: int) -> np.ndarray:
        """(B, groups of the fold)"""
        one = len(self.bounds) == 1
        return self.weights if one else self.weights[:, np.searchsorted(self.groups, self.bounds[fold].groups)]


def in_common(members: list[Cell]) -> list[Cell]:
    """The cells with the seeds that all have, if those of different sizes have more or fewer; at least 2.

    Raises ValueError as `same_cases`, and so for cells of one size whose seeds differ.
    """
    seeds = set.intersection(*(set(cell.seeds) for cell in members))
    first: dict[int, Cell] = {}  # by size
    for cell in members:
        other = first.setdefault(cell.n_train, cell) if len(seeds) > 1 else members[0]
        if not np.array_equal(cell.seeds, other.seeds):
            same_cases(other, cell)
    members = [
        cell if len(cell.seeds) == len(seeds) else cell.part(np.isin(cell.seeds, list(seeds))) for cell in members
    ]
    for other in members[1:]:
        same_cases(members[0], other)
    return members


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
    if (
        one.prediction.shape != other.prediction.shape
        or (one.case != other.case).any()
        or (one.group != other.group).any()
    ):
        raise ValueError(
            f"{one} ({len(one.case)} cases) and {other} ({len(other.case)}) cannot be paired: their test cases differ"
        )
    if (one.tested != other.tested).any():
        raise ValueError(f"{one} and {other} cannot be paired: a seed tests other cases in one than in the other")
    if (one.target != other.target).any():
        raise ValueError(f"{one} and {other} cannot be paired: the targets of their test cases differ")
