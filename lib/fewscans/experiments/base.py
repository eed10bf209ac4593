"""What every experiment is: arms, a grid, and how one run is trained; and all that does not differ between them.

An experiment is a subclass of `Experiment`. It says how its cases are cut, how a run is trained and what it predicts.
Grid checks, trials of learning rates, the plan of a sweep and the rows of its table are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fewscans import closure, train
from fewscans.data import registry
from fewscans.data.base import Cases, Cut
from fewscans.errors import DataError, ParamsError, RunError

OnStep = Callable[[float], None]


@dataclass(frozen=True, order=True)
class Run:
    """One arm at one training size with one seed (which draws subset and initialisation) and one learning rate."""

    seed: int
    n_train: int
    arm: str
    learning_rate: float

    def __str__(self) -> str:
        return f"{self.arm}, N = {self.n_train}, seed {self.seed}, learning rate {self.learning_rate:g}"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of a paper's table or figure, or a control of ours. An experiment's arms add what their training reads.

    label, colour, marker, line: how it is drawn; colours are fixed through the whole workbook.   derived_from: the arm
    that this one varies.   computed_with: the arm whose runs also give this one's predictions, without training.
    trivial: the name of a baseline without a network.
    """

    label: str = ""
    colour: str = "#000000"
    marker: str = "o"
    line: str = "-"
    derived_from: str | None = None
    computed_with: str | None = None
    trivial: str | None = None

    @property
    def short(self) -> str:
        """The label without what stands in brackets."""
        return self.label.partition(" (")[0]

    def training(self) -> dict[str, Any]:
        """What training reads of it: never how it is drawn, nor what it is derived from."""
        drawn = {"label", "colour", "marker", "line", "derived_from"}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in drawn}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What params.yaml says of one run at one profile.

    arms: training sizes for each arm.   seeds: how many, from `first_seed` on, shared by all arms; seeds_at: how
    many at some sizes instead.   steps: updates.   eval_every: updates between two validations.   learning_rates: more
    than one are tried with the first `tuning_seeds` seeds for each arm and size, and the one with the lowest validation
    loss is used; rates: of an arm at a size, if pilots have chosen it.
    Raises ParamsError for an unknown arm and for impossible values.
    """

    ARMS: ClassVar[Mapping[str, Arm]] = {}
    COUNTS: ClassVar[tuple[str, ...]] = ("seeds", "steps", "eval_every", "tuning_seeds")  # whole numbers from 1

    arms: dict[str, tuple[int, ...]]
    seeds: int
    steps: int
    eval_every: int
    learning_rates: tuple[float, ...]
    tuning_seeds: int = 1
    first_seed: int = 0
    seeds_at: dict[str, int] = field(default_factory=dict)
    rates: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self):
        if not self.arms:
            raise ParamsError("arms is empty; name at least one arm")
        for name in self.COUNTS:
            if getattr(self, name) < 1:
                raise ParamsError(f"{name} must be at least 1, got {getattr(self, name)}")
        for arm, sizes in self.arms.items():
            spec = self.ARMS.get(arm)
            if spec is None or spec.computed_with is not None:
                hint = f"; it is computed along with {spec.computed_with}" if spec else ""
                known = ", ".join(name for name, other in self.ARMS.items() if other.computed_with is None)
                raise ParamsError(f"unknown arm {arm!r}{hint}; known arms: {known}")
            self.check_sizes(arm, sizes)
            if len(set(sizes)) < len(sizes):
                raise ParamsError(f"arms.{arm} names a size twice: {list(sizes)}")
        if not self.learning_rates or len(set(self.learning_rates)) < len(self.learning_rates):
            raise ParamsError(f"learning_rates must name each rate once, got {list(self.learning_rates)}")
        if self.tuning_seeds > self.seeds:
            raise ParamsError(f"tuning_seeds ({self.tuning_seeds}) exceeds seeds ({self.seeds})")
        if self.first_seed < 0 or any(count < 1 for count in self.seeds_at.values()):
            raise ParamsError(f"first_seed is from 0 and seeds_at from 1, got {self.first_seed} and {self.seeds_at}")
        self.check_named("seeds_at", self.seeds_at, *self.arms)
        for arm, rates in self.rates.items():
            self.check_named(f"rates.{arm}", rates, arm)

    def check_named(self, where: str, given: Mapping[str, Any], *arms: str) -> None:
        """Raises ParamsError for a size that none of these arms has."""
        known = {str(n) for arm in arms for n in self.arms.get(arm, ())}
        if strange := sorted(set(given) - known):
            raise ParamsError(f"{where} names the size {strange[0]!r}, which no arm of the grid has there")

    def seeds_of(self, n: int) -> range:
        """The seeds of all arms at that size."""
        return range(self.first_seed, self.first_seed + self.seeds_at.get(str(n), self.seeds))

    def check_sizes(self, arm: str, sizes: tuple[int, ...]) -> None:
        """Raises ParamsError for sizes that this arm cannot be trained on."""
        if not sizes or min(sizes) < 1:
            raise ParamsError(f"arms.{arm}: sizes must be at least 1, got {list(sizes)}")


@dataclass(frozen=True)
class Entry:
    """One finished run.

    predictions: tidy rows, one a test case.   history: one row a validation.   record: what it was and what it cost.
    """

    predictions: pd.DataFrame
    history: list[dict[str, float]]
    record: dict


class Experiment(ABC):
    """The replication of one result.

    smallest_n: the smallest training set.   beaten_by: the score by which an arm beats a trivial one for a comparison
    to have a meaning; None where claims ask no such thing.
    """

    name: ClassVar[str]
    target: ClassVar[Literal["label", "number"]]
    ARMS: ClassVar[Mapping[str, Arm]]
    Grid: ClassVar[type[Grid]]
    smallest_n: ClassVar[int] = 1
    beaten_by: ClassVar[str | None] = None

    @abstractmethod
    def cut(self, grid: Grid) -> Cut:
        """How the images of a grid are cut."""

    @abstractmethod
    def check(self, grid: Grid, cases: Cases) -> None:
        """DataError or ParamsError before anything is trained, if the cases cannot carry the grid."""

    @abstractmethod
    def decides(self, run: Run, grid: Grid) -> dict:
        """The parameters that decide one run, as plain JSON; the sweep adds code, data, device and threads."""

    @abstractmethod
    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        """What a trivial arm predicts for the test cases: rows as `train_run` makes them."""

    @abstractmethod
    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        """Trains and predicts one run of an arm with a network: its entry, and the weights to predict with again."""

    @abstractmethod
    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        """What a trained network predicts for the test split of other cases: rows as `train_run` makes them."""

    @abstractmethod
    def updates(self, run: Run, grid: Grid) -> int:
        """Updates of a network's run."""

    @abstractmethod
    def multiply_adds(self, run: Run, grid: Grid) -> float:
        """Rough cost of a network's run, for the progress bar."""

    def read(self, dataset: str, path: Path, grid: Grid, cache: Path | None = None) -> Cases:
        """The data set's cases as the networks of the grid see them; `cache`: a folder for what was cut.

        Raises DataError for a data set that this experiment cannot read, and for a copy with something wrong in it.
        """
        entry = registry.dataset(dataset)
        if entry.target != self.target:
            raise DataError(f"the experiment {self.name} cannot read {dataset!r}: its cases have no {self.target}")
        return entry.cases(path, self.cut(grid), cache)

    def code(self, dataset: str) -> list[str]:
        """The modules whose code decides a run on that data set: what the experiment and the reader import."""
        return closure.closure({type(self).__module__, registry.module_of(dataset)})

    def train_run(
        self,
        run: Run,
        grid: Grid,
        cases: Cases,
        device: torch.device,
        checkpoint: Path | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Entry, dict[str, Tensor]]:
        """Trains and predicts one run: its entry, and the weights that gave the rows of the split "test"."""
        if self.ARMS[run.arm].trivial is None:
            return self.train_network(run, grid, cases, device, checkpoint, on_step)
        predicted = self.baseline(run, grid, cases)
        if on_step is not None:
            on_step(1)
        return Entry(predicted, [], {"parameters": 0, "macs": 0}), {}

    def computed_with(self, arm: str) -> list[str]:
        """The arms whose predictions come along with this one's runs."""
        return [name for name, spec in self.ARMS.items() if spec.computed_with == arm]

    def arm_names(self, grid: Grid) -> list[str]:
        """Arms of the table in order, with those computed along with another behind it."""
        return [name for arm in grid.arms for name in (arm, *self.computed_with(arm))]

    def training_of(self, arm: str) -> dict[str, Any]:
        """What decides an arm's runs: its own fields, and those of the arms that are computed with it."""
        along = {name: self.ARMS[name].training() for name in self.computed_with(arm)}
        return self.ARMS[arm].training() | ({"along": along} if along else {})

    def steps(self, run: Run, grid: Grid) -> int:
        """Updates of a run, for the progress bar."""
        return 1 if self.ARMS[run.arm].trivial is not None else self.updates(run, grid)

    def work(self, run: Run, grid: Grid) -> float:
        """Rough cost of a run in multiply-adds, for the progress bar."""
        return 1.0 if self.ARMS[run.arm].trivial is not None else self.multiply_adds(run, grid)

    def _trials(self, grid: Grid, arm: str, n: int) -> list[Run]:
        if self.ARMS[arm].trivial is not None or _fixed_rate(grid, arm, n):
            return []
        return [Run(seed, n, arm, r) for seed in grid.seeds_of(n)[: grid.tuning_seeds] for r in grid.learning_rates]

    def chosen_rate(self, grid: Grid, losses: Mapping[Run, float], arm: str, n: int) -> float | None:
        """The learning rate with the lowest mean validation loss over the trials; None while trials are missing."""
        if self.ARMS[arm].trivial is not None:
            return 0.0
        if fixed := _fixed_rate(grid, arm, n):
            return fixed
        trials = self._trials(grid, arm, n)
        if any(trial not in losses for trial in trials):
            return None
        mean = {r: np.mean([losses[t] for t in trials if t.learning_rate == r]) for r in grid.learning_rates}
        return min(grid.learning_rates, key=mean.__getitem__)

    def final(self, grid: Grid, losses: Mapping[Run, float]) -> list[Run]:
        """The runs of the table, as far as their learning rates are chosen."""
        wanted = [(arm, n, self.chosen_rate(grid, losses, arm, n)) for arm, sizes in grid.arms.items() for n in sizes]
        return [Run(seed, n, arm, rate) for arm, n, rate in wanted if rate is not None for seed in grid.seeds_of(n)]

    def plan(self, grid: Grid, losses: Mapping[Run, float]) -> list[Run]:
        """All runs known to be wanted, trials first, then seed by seed, so that every arm has results early."""
        trials = sorted(t for arm, sizes in grid.arms.items() for n in sizes for t in self._trials(grid, arm, n))
        return list(dict.fromkeys(trials + sorted(self.final(grid, losses))))


def _fixed_rate(grid: Grid, arm: str, n: int) -> float | None:
    """The rate of an arm at a size, if it need not be tried."""
    only = grid.learning_rates[0] if len(grid.learning_rates) == 1 else None
    return grid.rates.get(arm, {}).get(str(n), only)


def rows(run: Run, arm: str, split: str, cases: Cases, index: np.ndarray, prediction: np.ndarray) -> pd.DataFrame:
    """Tidy rows for one arm and split; RunError for a prediction that is not finite."""
    prediction = np.asarray(prediction, dtype=np.float64)
    if not np.isfinite(prediction).all():
        wrong = np.sum(~np.isfinite(prediction))
        raise RunError(f"arm {arm}, N = {run.n_train}, seed {run.seed}: {wrong} predictions are not finite")
    table = {
        "arm": arm, "n_train": run.n_train, "seed": run.seed, "split": split, "case": cases.case[index],
        "group": cases.group[index], "target": np.asarray(cases.target[index], np.float64), "prediction": prediction,
    }  # fmt: skip
    return pd.DataFrame(table).astype({"n_train": "int64", "seed": "int64"})


def costs(*fitted: train.Fitted) -> dict[str, float]:
    """What training cost, of one network or several; the sweep keeps it apart from all that machines share."""
    cpu, wall = (sum(getattr(one, name) for one in fitted) for name in ("seconds_cpu", "seconds_wall"))
    return {"seconds_cpu": round(cpu, 3), "seconds_wall": round(wall, 3)}


def check_numbers(cases: Cases) -> None:
    """DataError naming the case unless every number is finite and 0 or more, and every voxel has a size."""
    number, spacing = cases.target, cases.spacing_mm
    if not np.isfinite(number).all() or (number < 0).any():
        wrong = np.flatnonzero(~(number >= 0) | ~np.isfinite(number))[0]
        raise DataError(f"{cases.path}: the number of {cases.case[wrong]} is {number[wrong]}; it must be 0 or more")
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        wrong = np.flatnonzero(~(spacing > 0).all(axis=1) | ~np.isfinite(spacing).all(axis=1))[0]
        raise DataError(f"{cases.path}: voxels of {cases.case[wrong]} are {spacing[wrong].tolist()} mm")


def still_guessing(history: Sequence[Mapping[str, float]], loss: float) -> bool:
    """Whether a training has failed: over its last tenth, its loss is not below 0.95 of the loss of guessing."""
    late = [row["train_loss"] for row in history if row["step"] > 0.9 * history[-1]["step"]]
    return not np.mean(late) < 0.95 * loss


def auc_of(logits: Tensor, labels: Tensor) -> float:
    """Of one validation set, small enough for all its pairs."""
    difference = logits[labels == 1][:, None] - logits[labels == 0]
    return float(((difference > 0).double() + 0.5 * (difference == 0)).mean())


def require_best(run: Run, best: Iterable[str]) -> None:
    """RunError unless the validation loss chose a checkpoint."""
    if "val_loss" not in best:
        raise RunError(f"{run}: no finite validation loss, so no checkpoint; lower the learning rate")
