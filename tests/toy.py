"""An experiment that costs nothing, and an engine in this process, to test sweeps with."""

import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fewscans import store
from fewscans.engine import Outcome
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import EXPERIMENTS, Run
from fewscans.onerun import Context, Setting, train_one

RATES = (0.1, 0.2)
KNOWN = ("a", "b", "c")


@dataclass(frozen=True)
class Grid:
    """Arms with their sizes, and so many seeds; two rates are tried on seed 0, and 0.2 wins."""

    arms: dict[str, tuple[int, ...]]
    seeds: int = 3

    def __post_init__(self):
        for arm in self.arms:
            if arm not in KNOWN:
                raise ParamsError(f"unknown arm {arm!r}; known arms: {', '.join(KNOWN)}")


def _read(dataset, path, grid):
    text = Path(path).read_text()
    return types.SimpleNamespace(fingerprint=text, size=len(text))


def _trials(grid):
    return [Run(0, n, arm, rate) for arm, sizes in grid.arms.items() for n in sizes for rate in RATES]


def _final(grid, losses):
    cells = [(arm, n) for arm, sizes in grid.arms.items() for n in sizes]
    ready = [(arm, n) for arm, n in cells if all(Run(0, n, arm, rate) in losses for rate in RATES)]
    best = {cell: min(RATES, key=lambda rate: losses[Run(0, cell[1], cell[0], rate)]) for cell in ready}
    return [Run(seed, n, arm, best[arm, n]) for arm, n in ready for seed in range(grid.seeds)]


def _train_run(run, grid, data, device, checkpoint, on_step):
    random = np.random.default_rng([run.seed, run.n_train, ord(run.arm)])
    rows = (list("uvwxyz"), "g", np.arange(6) % 2, random.random(6))
    table = store.predictions_table(run.arm, run.n_train, run.seed, "test", *rows)
    on_step(1)
    return store.Entry(table, [{"step": 1, "val_loss": 0.5}], {"best_val_loss": 1 - run.learning_rate}), {}


def _check(grid, data):
    if max(n for sizes in grid.arms.values() for n in sizes) > 100:
        raise DataError("100 cases at most")


def register(monkeypatch) -> None:
    """`toy`, for the time of a test."""
    module = types.ModuleType("toy_experiment")
    vars(module).update(
        Grid=Grid, code=lambda dataset: (), read=_read, final=_final, check=_check, train_run=_train_run,
        plan=lambda grid, losses: list(dict.fromkeys(sorted(_trials(grid)) + sorted(_final(grid, losses)))),
        decides=lambda run, grid: {"run": [run.seed, run.n_train, run.arm, run.learning_rate]},
        arm_names=lambda grid: list(grid.arms), work=lambda run, grid: 1.0, steps=lambda run, grid: 1,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "toy_experiment", module)
    monkeypatch.setitem(EXPERIMENTS, "toy", "toy_experiment")


def setting(folder: Path, arms=None, seeds: int = 3, store_folder: str = "store") -> Setting:
    """A sweep of the toy over a file of a few letters."""
    (folder / "data.txt").write_text("data")
    grid = Grid({"a": (2, 4), "b": (2,)} if arms is None else arms, seeds)
    return Setting("toy-x", "toy", "x", grid, folder / "data.txt", folder / store_folder, "cpu")


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
