"""Hydranet, as published: one number a scan, learned from sums over sets of scans. Grid and training protocol.

Source: Dubost et al., Hydranet: Data Augmentation for Regression Neural Networks, MICCAI 2019: Adadelta, sets of four,
an epoch of as many sets as there are scans, flips, turns and shifts for all methods, 5 or 6 validation scans. Adadelta
has the settings of the Keras of its time, a rate of 1, a decay of 0.95 and an epsilon of 1e-7 (torch's own are 1, 0.9
and 1e-6). It divides each gradient by its running size, so that a loss on sums, whose gradients are larger, is given no
larger steps, and one rate serves all arms. The paper tells neither the epochs nor when it stopped; here every arm is
given a number of updates and keeps the checkpoint of its best validation.

Every update sees the same number of images, black ones included, whatever the size of the sets. Labels are divided by
the root mean square of the training labels, for all arms; the centred arms also lose their mean. Two settings may be
other than in the paper, for all arms alike. Scans may be standardised to mean 0 and standard deviation 1: with
intensities in [0, 1], as in the paper, the untrained network is little more than a function of brightness. And the
learning rate may fall to 0. Both were decided by trials of single seeds on training and validation scans; no run of
these trials is kept. The arms that end in `-unit` repeat the first of them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans import train
from fewscans.data import group_splits
from fewscans.data.base import Cases, Cut
from fewscans.data.group_splits import Fold, folds
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments import base, baselines, rigid
from fewscans.experiments.base import Entry, OnStep, Run, check_numbers, costs, require_best, rows
from fewscans.experiments.hydranet.arms import ARMS, Arm
from fewscans.experiments.hydranet.batches import FORMS, INTENSITIES, Batches, seen
from fewscans.nn import hydra
from fewscans.nn.regressor import BaseRegressor, LabelScale

LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}
PREDICT_BATCH = 64
BEYOND = ("mean", "black")
EPSILON = 1e-7  # of Adadelta, Keras' own; it sets the size of the first updates
LABEL = ("label.constant", "label.offset")  # beside the weights: what turns an output into the label's unit
SIDES = ["shape_z", "shape_y", "shape_x"]  # of the published crop, in `Cases.about`


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """What params.yaml says of one run at one profile; what all grids have: see `base.Grid`.

    steps: updates of hydra-4.   window: voxels (D, H, W) of the scans as they are cut.   intensities: "unit" or
    "standard", see `batches.scaled`.   downsample: scans are averaged over blocks of so many voxels a side.   images:
    in an update, unless a single set has more.   learning_rates, rho: Adadelta's.   decay: the rate falls evenly to 0.
    validation: scans of the small validation set, 5 as in the paper.   max_angle_rad, max_shift_voxels: augmentation.
    beyond: value of voxels shifted in from outside a standardised scan: its "mean", or "black" where air or a mask
    surrounds it; scans in [0, 1] are always black there.   unit: of the WMH challenge's labels, "ml" or the paper's
    "voxels".   form: "branched", or "streamed" where memory is short; the gradients are the same.
    Pooling leaves out the last plane of a side that is odd, so windows over downsample are best even.
    """

    ARMS = ARMS
    COUNTS = (*base.Grid.COUNTS, "downsample", "images", "validation")

    window: tuple[int, ...]
    intensities: str
    downsample: int = 1
    images: int = 4
    learning_rates: tuple[float, ...] = (1.0,)
    rho: float = 0.95
    validation: int = 5
    max_angle_rad: float = rigid.MAX_ANGLE_RAD
    max_shift_voxels: float = rigid.MAX_SHIFT_VOXELS
    unit: str | None = None
    form: str = "branched"
    decay: bool = False
    beyond: str = "mean"

    def __post_init__(self):
        super().__post_init__()
        if min(self.learning_rates) <= 0 or not 0 < self.rho < 1:
            got = f"{list(self.learning_rates)}, {self.rho}"
            raise ParamsError(f"learning_rates must be above 0 and rho between 0 and 1, got {got}")
        if min(self.max_angle_rad, self.max_shift_voxels) < 0:
            got = f"{self.max_angle_rad}, {self.max_shift_voxels}"
            raise ParamsError(f"max_angle_rad and max_shift_voxels must be 0 or more, got {got}")
        if len(self.window) != 3 or any(side < 2 * self.downsample or side % self.downsample for side in self.window):
            whole = f"whole blocks of downsample ({self.downsample}) and at least two of them"
            raise ParamsError(f"window must be three sizes, {whole}, got {list(self.window)}")
        choices = ("form", FORMS), ("intensities", INTENSITIES), ("beyond", BEYOND), ("unit", (None, "ml", "voxels"))
        for name, known in choices:
            if getattr(self, name) not in known:
                named = ", ".join(str(choice) for choice in known if choice)
                raise ParamsError(f"{name} must be one of {named}, got {getattr(self, name)!r}")

    def check_sizes(self, arm: str, sizes: tuple[int, ...]) -> None:
        super().check_sizes(arm, sizes)
        size = ARMS[arm].size
        few = f"scans cannot be drawn from {min(sizes)}"
        if ARMS[arm].trivial is None and size == 1 and min(sizes) < self.images:
            raise ParamsError(f"arms.{arm}: an update of {self.images} {few}; train on more, or lower images")
        if min(sizes) < size and not ARMS[arm].replacement:
            more = f"train on at least {size}, or draw with replacement"
            raise ParamsError(f"arms.{arm}: a set of {size} {few}; {more}")
        if self.images % size and size % self.images:
            raise ParamsError(f"arms.{arm}: sets of {size} do not fill updates of {self.images} images")


class Hydranet(base.Experiment):
    """Sums over sets of scans against single scans, on one number a scan."""

    name = "hydranet"
    target = "number"
    ARMS = ARMS
    Grid = Grid
    beaten_by = "mse"

    def cut(self, grid: Grid) -> Cut:
        size = tuple(side // grid.downsample for side in grid.window)
        return Cut(size, grid.downsample, unit=grid.unit)

    def decides(self, run: Run, grid: Grid) -> dict:
        spec = ARMS[run.arm]
        chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": self.training_of(run.arm)}
        # subsets are nested, so those that share a way of drawing depend on one another's sizes
        chosen["nested"] = _nested(grid, spec)
        if spec.trivial is None:
            names = (
                "steps", "eval_every", "images", "rho", "validation", "max_angle_rad", "max_shift_voxels", "form",
                "decay", "intensities", "beyond",
            )  # fmt: skip
            chosen |= {"learning_rate": run.learning_rate} | {name: getattr(grid, name) for name in names}
        return chosen

    def updates(self, run: Run, grid: Grid) -> int:
        """As many forward passes as hydra-4 has in the grid's steps, times the arm's share."""
        per_update = max(grid.images, ARMS[run.arm].size)
        return max(1, round(grid.steps * grid.images * ARMS[run.arm].share / per_update))

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        macs = BaseRegressor().macs([side // grid.downsample for side in grid.window])
        return 3.0 * macs * self.updates(run, grid) * max(grid.images, ARMS[run.arm].size)

    def check(self, grid: Grid, cases: Cases) -> None:
        check_numbers(cases)
        seen_as, shape = self.cut(grid).size, cases.images.shape[1:]
        if shape != seen_as:
            raise DataError(f"{cases.path}: its scans are cut to {shape} voxels, not to the grid's {seen_as}")
        for arm, sizes in grid.arms.items():
            spec = ARMS[arm]
            if spec.trivial == "crop" and not set(SIDES) <= set(cases.about):
                raise ParamsError(f"arms.crop: {cases.path} has no published crop whose sides could tell anything")
            for fold in folds(cases, "site" if spec.unseen else None):
                for split, scans in zip(("train", "val", "test"), fold[1:], strict=True):
                    if not len(scans):
                        where = f" for the network that is tested on {fold.name}" if fold.name else ""
                        raise DataError(f"{cases.path}: has no scans in its {split} split{where}; it holds too few")
                for n in sizes:
                    for seed in range(grid.seeds):
                        _check_labels(arm, n, seed, cases.target[_subset(grid, cases, fold, spec, n, seed)], cases.path)

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        spec = ARMS[run.arm]
        (fold,) = folds(cases, "site" if spec.unseen else None)
        subset, test = _subset(grid, cases, fold, spec, run.n_train, run.seed), fold.test
        known = cases.target[subset]
        if spec.trivial == "mean":
            return rows(run, run.arm, "test", cases, test, np.full(len(test), known.mean()))
        if spec.trivial == "histogram":
            x, x_new = (baselines.histogram(cases.images[index]) for index in (subset, test))
        else:
            x, x_new = (cases.about[SIDES].to_numpy(np.float64)[index] for index in (subset, test))
        return rows(run, run.arm, "test", cases, test, baselines.ridge(x, known, x_new))

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        """As `train_run`; where there are several networks, the weights of each stand behind its site's name."""
        spec = ARMS[run.arm]
        every = folds(cases, "site" if spec.unseen else None)
        # One checkpoint is kept. An interrupted run of several networks restarts from its first.
        kept, share = (checkpoint if len(every) == 1 else None), on_step and (lambda count: on_step(count / len(every)))
        made = [self._train_fold(run, grid, cases, fold, device, kept, share) for fold in every]
        tables = [table for fold in made for table in fold.tables]
        sites = [f"{fold.name}/" if fold.name else "" for fold in every]
        weights = {f"{site}{k}": v for site, m in zip(sites, made, strict=True) for k, v in m.weights.items()}
        history = pd.concat([pd.DataFrame(m.fitted.history) for m in made]).groupby("step", as_index=False).mean()
        per_update, updates = max(grid.images, spec.size), self.updates(run, grid)
        record = {
            "parameters": sum(p.numel() for p in BaseRegressor().parameters()),
            "macs": BaseRegressor().macs(cases.images.shape[1:]),
            "networks": len(made),
            "steps": updates,
            "images": updates * per_update * len(made),
            "sets": updates * per_update // spec.size * len(made) if spec.size > 1 else 0,
            "at_black": float(np.mean([m.at_black for m in made])),
            "label_constant": float(np.mean([m.weights[LABEL[0]] for m in made])),
            "label_offset": float(np.mean([m.weights[LABEL[1]] for m in made])),
            "n_val": int(np.mean([len(f.val) for f in every])),
            "n_small_val": min(grid.validation, *(len(f.val) for f in every)),
            "best_val_loss": float(np.mean([m.fitted.best_loss["val_loss"] for m in made])),
            **costs(*(m.fitted for m in made)),
        }
        return Entry(pd.concat(tables, ignore_index=True), history.to_dict("records"), record), weights

    def _train_fold(
        self, run: Run, grid: Grid, cases: Cases, fold: Fold, device: torch.device, checkpoint: Path | None, on_step
    ) -> _Trained:
        spec, seed = ARMS[run.arm], run.seed
        subset = _subset(grid, cases, fold, spec, run.n_train, seed)
        small = np.random.default_rng([seed, len(fold.val)]).permutation(fold.val)[: grid.validation]
        # float64, so that no label is rounded on the way there and back
        known = torch.from_numpy(cases.target[subset])
        scale, offset = LabelScale.of(known), float(known.mean()) if spec.centred else 0.0
        y_train, y_val = (
            scale.to_network(torch.from_numpy(cases.target[i]) - offset).float().to(device) for i in (subset, fold.val)
        )
        in_small, x_val = (torch.from_numpy(a).to(device) for a in (np.isin(fold.val, small), cases.images[fold.val]))
        loss = LOSSES[spec.loss]

        net = BaseRegressor(spec.dropout)
        net.reset_parameters(train.generator(seed, "initialisation"))
        net = net.to(device).to(memory_format=torch.channels_last_3d)
        intensities = spec.intensities or grid.intensities
        augmented_as = "unit" if grid.beyond == "black" else intensities
        batches = Batches(
            seen(torch.from_numpy(cases.images[subset]).to(device), augmented_as), y_train,
            torch.from_numpy(cases.spacing_mm[subset]), spec, seed, loss, grid.form, grid.max_angle_rad,
            grid.max_shift_voxels, intensities,
        )  # fmt: skip

        def validate(net: BaseRegressor) -> dict[str, float]:
            each = loss(_outputs(net, x_val, intensities), y_val, reduction="none")
            return {"val_loss": float(each.mean()), "small_val_loss": float(each[in_small].mean())}

        n_updates = self.updates(run, grid)
        every = max(1, round(grid.eval_every * n_updates / grid.steps))
        samples = max(grid.images, spec.size) // spec.size  # in an update: scans, or sets
        budget = train.Budget(n_updates, samples, run.learning_rate, every)
        fitted = train.fit(
            net, run.n_train, batches.draw, loss, validate, budget, seed, checkpoint, on_step,
            functools.partial(torch.optim.Adadelta, rho=grid.rho, eps=EPSILON), batches.gradients,
            (lambda done: 1 - done) if grid.decay else None,
        )  # fmt: skip
        require_best(run, fitted.best)
        label = dict(zip(LABEL, torch.tensor([scale.constant, offset], dtype=torch.float64), strict=True))
        tables, at_black = [], 0.0
        for split, chosen_by in (("test-small-val", "small_val_loss"), ("test", "val_loss")):
            weights = fitted.best[chosen_by] | label
            predicted, at_black = self._predictions(run, grid, weights, split, cases, fold.test, device)
            tables.insert(0, predicted)
        return _Trained(tables, fitted, weights, at_black)

    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        """Raises RunError for an arm without a network, or with several."""
        if ARMS[run.arm].trivial is not None:
            raise RunError(f"{run.arm} is no network and has no weights; ask another arm")
        if ARMS[run.arm].unseen:
            raise RunError(f"{run.arm} is a network for each site, none of which stands for all; ask another arm")
        return self._predictions(run, grid, weights, "test", cases, cases.indices("test"), device)[0]

    def _predictions(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], split: str, cases: Cases, test: np.ndarray, device
    ) -> tuple[pd.DataFrame, float]:
        """Rows of the arm and of those computed along with it, in the label's unit; and f(0), the network's own answer
        to a black image, in that unit but without the mean that centred labels lost."""
        net = BaseRegressor()
        net.load_state_dict({name: value for name, value in weights.items() if name not in LABEL})
        net = net.to(device).to(memory_format=torch.channels_last_3d).eval()
        scale, offset = LabelScale(float(weights[LABEL[0]])), float(weights[LABEL[1]])
        intensities = ARMS[run.arm].intensities or grid.intensities
        output = _outputs(net, torch.from_numpy(cases.images[test]).to(device), intensities).double().cpu()
        single = scale.from_network(output).numpy() + offset
        at_black = scale.from_network(float(hydra.at_black(net, cases.images.shape[1:])))
        tables = [rows(run, run.arm, split, cases, test, single)]
        for name in self.computed_with(run.arm):
            others = ARMS[name].size - 1 if ARMS[name].black else 0
            tables.append(rows(run, name, split, cases, test, single + others * at_black))
        return pd.concat(tables, ignore_index=True), at_black


class _Trained(NamedTuple):
    tables: list[pd.DataFrame]
    fitted: train.Fitted
    weights: dict[str, Tensor]
    at_black: float


def _nested(grid: Grid, spec: Arm) -> list[int]:
    """All sizes that are drawn as this arm's are; each is contained in the larger ones."""
    return sorted({n for arm, sizes in grid.arms.items() for n in sizes if ARMS[arm].unseen == spec.unseen})


def _subset(grid: Grid, cases: Cases, fold: Fold, spec: Arm, n: int, seed: int) -> np.ndarray:
    if spec.uniform:  # may take one scan of a person and leave another: neither is tested on
        return group_splits.uniform_by_label(cases.target, n, seed, fold.train)
    return group_splits.nested_by_group(cases.group, n, seed, fold.train, _nested(grid, spec))


def _check_labels(arm: str, n: int, seed: int, labels: np.ndarray, path: Path) -> None:
    """Labels that can be scaled and, for C-Mixup, told apart."""
    drawn = f"{path}: the {n} scans that seed {seed} draws"
    if ARMS[arm].trivial is None and not labels.any():
        raise DataError(f"{drawn} for {arm} all have the number 0, of which nothing can be learned; train on more")
    if ARMS[arm].mix == "c-mixup" and len(np.unique(labels)) < 2:
        raise DataError(f"{drawn} for {arm} all have the same number, so that no two are near; train on more")


@torch.no_grad()
def _outputs(net: BaseRegressor, images: Tensor, intensities: str) -> Tensor:
    """Of single scans, the other branches removed: (n, D, H, W) uint8 → (n,) float32."""
    parts = (seen(part, intensities) for part in images.split(PREDICT_BATCH))
    return torch.cat([hydra.single(net, part).float() for part in parts])


EXPERIMENT = Hydranet()
