"""One file per replicated result: its arms, its grid and its training protocol.

An experiment is a module with
    Grid                       a frozen dataclass: what params.yaml may say under grids.<run>.<profile>
    code(dataset)              the modules whose code decides a run on that data set
    read(dataset, path, grid)  its data, with a `fingerprint`, and perhaps a `reference()` for FROC
    check(grid, data)          an error before anything is trained, if the data cannot carry the grid
    plan(grid, losses)         the runs known so far, given the validation losses of those that are done
    final(grid, losses)        the runs of the table, as far as they are known
    decides(run, grid)         the parameters that decide a run, as plain JSON; code, data and device are added to them
    train_run(run, grid, data, device, checkpoint, on_step) → store.Entry, weights
    steps(run, grid), work(run, grid)   updates, and rough cost, for the progress bar
    arm_names(grid)            the arms of the table, in order
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from fewscans.errors import ParamsError

EXPERIMENTS = {"gcnn": "fewscans.experiments.gcnn", "hydranet": "fewscans.experiments.hydranet"}
# What they predict: a label of 0 or 1, by a probability, or a number in its own unit.
TARGETS = {"gcnn": "label", "hydranet": "number"}


@dataclass(frozen=True, order=True)
class Run:
    """One arm at one training size with one seed (which draws subset and initialisation) and one learning rate."""

    seed: int
    n_train: int
    arm: str
    learning_rate: float

    def __str__(self) -> str:
        return f"{self.arm}, N = {self.n_train}, seed {self.seed}, learning rate {self.learning_rate:g}"


def get(name: str) -> ModuleType:
    """The module of an experiment; ParamsError for an unknown name."""
    if name not in EXPERIMENTS:
        raise ParamsError(f"unknown experiment {name!r}; known: {', '.join(EXPERIMENTS)}")
    return importlib.import_module(EXPERIMENTS[name])
