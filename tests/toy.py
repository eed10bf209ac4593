"""An experiment that costs nothing, and an engine in this process, to test sweeps with."""

import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fewscans import experiments
from fewscans.data.base import Cases
from fewscans.errors import DataError
from fewscans.experiments import base
from fewscans.experiments.base import Entry, Run, rows
from fewscans.sweep.engine import Outcome
from fewscans.sweep.onerun import Context, Setting, train_one

RATES = (0.1, 0.2)
ARMS = {name: base.Arm(label=name) for name in "abc"}


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """Two rates are tried on seed 0, and 0.2 wins."""

    ARMS = ARMS

    seeds: int = 3
    steps: int = 1
    eval_every: int = 1
    learning_rates: tuple[float, ...] = RATES


class Toy(base.Experiment):
    """Predicts by chance; six cases, read from a file whose text is their fingerprint."""

    name = "toy"
    target = "label"
    ARMS = ARMS
    Grid = Grid
    cut = baseline = predict = None  # which no test asks for

    def read(self, dataset, path, grid, cache=None):
        blank, names, test = np.zeros((6, 2, 2), np.uint8), np.array(list("uvwxyz")), np.full(6, "test")
        return Cases(blank, np.arange(6) % 2, names, np.full(6, "g"), test, Path(path).read_text(), path)

    def code(self, dataset):
        return []

    def check(self, grid, cases):
        if max(n for sizes in grid.arms.values() for n in sizes) > 100:
            raise DataError("100 cases at most")

    def decides(self, run, grid):
        return {"run": [run.seed, run.n_train, run.arm, run.learning_rate]}

    def updates(self, run, grid):
        return 1

    def multiply_adds(self, run, grid):
        return 1.0

    def train_network(self, run, grid, cases, device, checkpoint, on_step):
        prediction = np.random.default_rng([run.seed, run.n_train, ord(run.arm)]).random(6)
        on_step(1)
        record = {"best_val_loss": 1 - run.learning_rate, "seconds_wall": 0.25}
        table = rows(run, run.arm, "test", cases, cases.indices("test"), prediction)
        return Entry(table, [{"step": 1, "val_loss": 0.5}], record), {}


def register(monkeypatch) -> None:
    """`toy`, for the time of a test."""
    module, known = types.ModuleType("toy"), experiments.names()
    module.EXPERIMENT = Toy()
    monkeypatch.setitem(sys.modules, "fewscans.experiments.toy", module)
    monkeypatch.setattr(experiments, "names", lambda: (*known, "toy"))


def setting(folder: Path, arms=None, seeds: int = 3, store_folder: str = "store") -> Setting:
    """A sweep of the toy over a file of a few letters."""
    (folder / "data.txt").write_text("data")
    grid = Grid(arms={"a": (2, 4), "b": (2,)} if arms is None else arms, seeds=seeds)
    return Setting("toy-x", "toy", "x", grid, folder / "data.txt", folder / store_folder, "cpu", profile="quick")


class Inline:
    """An engine in this process. Runs in `fail` fail once; `before(setting, run)` is called before each."""

    def __init__(self, fail=(), before=lambda setting, run: None, backwards=False):
        self.fail, self.before, self.backwards = set(fail), before, backwards
        self.calls: list[list[Run]] = []
        self.trained: list[Run] = []
        self.closed = 0

    def map(self, setting, runs, on_progress):
        self.calls.append(list(runs))
        threads = torch.get_num_threads()
        torch.set_num_threads(setting.threads)
        try:
            for run in reversed(runs) if self.backwards else runs:
                self.before(setting, run)
                if run in self.fail:
                    self.fail.remove(run)
                    yield Outcome(run, "failed", "Traceback\nValueError: this one fails")
                    continue
                state = train_one(Context(setting), run, lambda steps: None)
                self.trained += [run] if state == "trained" else []
                on_progress(run, 1.0)
                yield Outcome(run, state)
        finally:
            torch.set_num_threads(threads)
            self.closed += 1
