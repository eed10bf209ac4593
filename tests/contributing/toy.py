"""A toy result: does a linear classifier see which way a shape lies, where its histogram shows nothing?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans import train
from fewscans.data import splits
from fewscans.data.base import Cases, Cut
from fewscans.errors import DataError
from fewscans.experiments import base, baselines
from fewscans.experiments.base import Entry, OnStep, Run, rows

ARMS = {
    "linear": base.Arm(label="linear classifier", colour="#0072B2"),
    "histogram": base.Arm(trivial="histogram", label="histogram of values", colour="#CC79A7", line=":"),
}


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """size: of the patches, (y, x)."""

    ARMS = ARMS
    size: tuple[int, ...] = (50, 50)


class Toy(base.Experiment):
    """One linear layer on all pixels, trained by Adam."""

    name = "toy"
    target = "label"
    ARMS = ARMS
    Grid = Grid
    smallest_n = 2

    def cut(self, grid: Grid) -> Cut:
        return Cut(grid.size)

    def check(self, grid: Grid, cases: Cases) -> None:
        if cases.images.shape[1:] != grid.size:
            raise DataError(f"{cases.path}: its images are {cases.images.shape[1:]}, not {grid.size}")

    def decides(self, run: Run, grid: Grid) -> dict:
        return vars(run) | {"spec": self.training_of(run.arm), "steps": grid.steps, "eval_every": grid.eval_every}

    def updates(self, run: Run, grid: Grid) -> int:
        return grid.steps

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        return float(np.prod(grid.size) * grid.steps)

    def _subset(self, run: Run, cases: Cases) -> np.ndarray:
        return splits.nested_balanced(cases.target, cases.indices("train"), run.n_train, run.seed)

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        subset, test = self._subset(run, cases), cases.indices("test")
        known, new = cases.images[subset], cases.images[test]
        predicted = baselines.probability("histogram", known, cases.target[subset], new)
        return rows(run, run.arm, "test", cases, test, predicted)

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        x, y = _tensors(cases, self._subset(run, cases))
        x_val, y_val = _tensors(cases, cases.indices("val"))
        net = nn.Linear(x.shape[1], 1)
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)

        def loss(out: Tensor, target: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(out.squeeze(1), target)

        budget = train.Budget(grid.steps, 30, run.learning_rate, grid.eval_every)
        fitted = train.fit(
            net, run.n_train, lambda index, step: (x[index], y[index]), loss,
            lambda net: {"val_loss": float(loss(net(x_val), y_val))}, budget, run.seed, checkpoint, on_step,
        )  # fmt: skip
        weights = fitted.best["val_loss"]
        record = {"parameters": x.shape[1] + 1, "macs": x.shape[1], "steps": grid.steps,
                  "best_val_loss": fitted.best_loss["val_loss"], "seconds_wall": fitted.seconds_wall}  # fmt: skip
        return Entry(self.predict(run, grid, weights, cases, device), fitted.history, record), weights

    def predict(self, run: Run, grid: Grid, weights, cases: Cases, device: torch.device):
        test = cases.indices("test")
        logits = _tensors(cases, test)[0] @ weights["weight"].T + weights["bias"]
        return rows(run, run.arm, "test", cases, test, torch.sigmoid(logits).squeeze(1).numpy())


def _tensors(cases: Cases, index: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pixels (n, H W) in [-1, 1] and labels (n,)."""
    x = torch.from_numpy(cases.images[index].reshape(len(index), -1)).float() / 127.5 - 1
    return x, torch.from_numpy(cases.target[index]).float()


EXPERIMENT = Toy()
