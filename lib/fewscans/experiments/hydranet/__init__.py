"""Hydranet, as published and so that it learns: one number a scan, learned from sums over sets of scans.

Source: Dubost et al., Hydranet: Data Augmentation for Regression Neural Networks, MICCAI 2019.

As published (arms that end so): no batch norm, labels over their root mean square, intensities in [0, 1], sets of four
with black images, flips, turns and shifts by interpolation, four images an update, and Adadelta in the settings of the
Keras of its time, a rate of 1, a decay of 0.95 and an epsilon of 1e-7. The paper tells neither the epochs nor when it
stopped; these arms have as many forward passes as the others of their kind.

So the networks hardly learn on the real scans at hand. All other arms have batch norm, labels without their mean and in
units of their standard deviation, standardised intensities, flips and shifts by whole voxels, and Adam with a rate that
rises over the first updates and then falls to 0 as half a cosine. This was settled on validation scans, with other
seeds. Where images may be black, labels keep their mean and are divided by their root mean square: black must stay 0.

The network after the last update gives the rows of the split "test", the one with the lowest validation loss
those of "test-best".
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans import train
from fewscans.data import group_splits
from fewscans.data.base import Cases, Cut
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments import base, baselines, outside
from fewscans.experiments.base import Entry, OnStep, Run, check_numbers, costs, require_best, rows, still_guessing
from fewscans.experiments.hydranet import noise
from fewscans.experiments.hydranet.arms import ARMS, Arm
from fewscans.experiments.hydranet.batches import Batches, seen
from fewscans.nn.regressor import BaseRegressor, LabelScale

LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}
PREDICT_BATCH = 64
BEYOND = ("mean", "black")
ADADELTA = {"rho": 0.95, "eps": 1e-7}  # Keras' own; the latter sets the size of the first updates
PUBLISHED_RATE, PUBLISHED_IMAGES = 1.0, 4
LABEL = ("label.constant", "label.offset")  # beside the weights: what turns an output into the label's unit
SIDES = ["shape_z", "shape_y", "shape_x"]  # of the published crop, in `Cases.about`
BLOCKS = (4, 5, 5)  # whose means a ridge sees
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of that ridge, chosen on validation scans


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """What params.yaml says of one run at one profile; what all grids have: see `base.Grid`.

    steps: updates.   images: in an update of hydra-4.   warm_up: updates over which the rate rises.   window: voxels
    (D, H, W) of the scans as they are cut; 1 deep for images on the plane.   downsample: scans are averaged over blocks
    of so many voxels a side.   max_shift_voxels: augmentation.   beyond: value of voxels shifted in from outside a
    standardised scan: its "mean", or "black" where air or a mask surrounds it.   unit: of the WMH challenge's labels,
    "ml" or the paper's "voxels".   half: bfloat16 in training.   folds: seed s is tested on fold s of the data set's so
    many, validated on the next and trained on the others; 0: on its splits.   pilot: the validation scans are predicted
    in place of the test scans. Pooling leaves out the last plane of an odd side: windows over downsample are best even.
    """

    ARMS = ARMS
    COUNTS = (*base.Grid.COUNTS, "downsample", "images")

    window: tuple[int, ...]
    downsample: int = 1
    images: int = 16
    warm_up: int = 50
    max_shift_voxels: float = 1.0
    unit: str | None = None
    beyond: str = "mean"
    half: bool = False
    folds: int = 0
    pilot: bool = False

    def __post_init__(self):
        super().__post_init__()
        sides = self.window if len(self.window) == 3 else (0,)
        flat = sides[0] == self.downsample == 1
        if any(side < 2 * self.downsample or side % self.downsample for side in sides[flat:]):
            whole = f"whole blocks of downsample ({self.downsample}) and at least two of them, or a depth of 1"
            raise ParamsError(f"window must be three sizes, {whole}, got {list(self.window)}")
        faults = {
            f"learning_rates must be above 0, got {list(self.learning_rates)}": min(self.learning_rates) <= 0,
            f"warm_up must be from 0 to below steps, got {self.warm_up}": not 0 <= self.warm_up < self.steps,
            f"max_shift_voxels must be 0 or more, got {self.max_shift_voxels}": self.max_shift_voxels < 0,
            f"folds must be 3 or more, for training, validation and test, or 0, got {self.folds}": 0 != self.folds < 3,
            f"beyond must be one of {', '.join(BEYOND)}, got {self.beyond!r}": self.beyond not in BEYOND,
            f"unit must be one of ml, voxels, got {self.unit!r}": self.unit not in (None, "ml", "voxels"),
        }
        for fault in (fault for fault, found in faults.items() if found):
            raise ParamsError(fault)

    def check_sizes(self, arm: str, sizes: tuple[int, ...]) -> None:
        super().check_sizes(arm, sizes)
        spec = ARMS[arm]
        if outside.is_own(spec):
            outside.check_patch(arm, spec, self.window[1:] if self.window[0] == 1 else self.window)
        if min(sizes) < spec.size and not spec.replacement:
            few = f"a set of {spec.size} scans cannot be drawn from {min(sizes)}"
            raise ParamsError(f"arms.{arm}: {few}; train on at least {spec.size}, or draw with replacement")
        whole = round(spec.size / spec.share)
        if spec.trivial is None and not spec.published and self.images % whole:
            raise ParamsError(f"arms.{arm}: images must be a multiple of {whole}, got {self.images}")

    def images_of(self, spec: Arm) -> int:
        """In one update."""
        return PUBLISHED_IMAGES if spec.published else max(1, round(self.images * spec.share))


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
        # subsets are nested and depend on one another's sizes
        chosen |= {"nested": _nested(grid), "folds": grid.folds, "pilot": grid.pilot}
        if spec.trivial is None:
            names = ("steps", "eval_every", "images", "warm_up", "max_shift_voxels", "beyond", "half")
            chosen |= {"learning_rate": run.learning_rate} | {name: getattr(grid, name) for name in names}
        return chosen

    def updates(self, run: Run, grid: Grid) -> int:
        """The grid's steps; as published, as many as have the passes of these, times the arm's share."""
        spec = ARMS[run.arm]
        if not spec.published:
            return grid.steps
        return max(1, round(grid.steps * grid.images * spec.share / PUBLISHED_IMAGES))

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        macs = BaseRegressor().macs([side // grid.downsample for side in grid.window])
        return 3.0 * macs * self.updates(run, grid) * grid.images_of(ARMS[run.arm])

    def _trials(self, grid: Grid, arm: str, n: int) -> list[Run]:
        return [] if ARMS[arm].published else super()._trials(grid, arm, n)

    def chosen_rate(self, grid: Grid, losses: Mapping[Run, float], arm: str, n: int) -> float | None:
        return PUBLISHED_RATE if ARMS[arm].published else super().chosen_rate(grid, losses, arm, n)

    def fold_of(self, grid: Grid, cases: Cases, seed: int) -> np.ndarray:
        """Which part each scan belongs to for that seed: (n,) "train", "val" or "test"; or another, and to none."""
        return group_splits.parts(cases, grid.folds, seed)

    def check(self, grid: Grid, cases: Cases) -> None:
        check_numbers(cases)
        seen_as, shape = self.cut(grid).size, cases.images.shape[1:]
        if shape != seen_as:
            raise DataError(f"{cases.path}: its scans are cut to {shape} voxels, not to the grid's {seen_as}")
        if "crop" in grid.arms and not set(SIDES) <= set(cases.about):
            raise ParamsError(f"arms.crop: {cases.path} has no published crop whose sides could tell anything")
        runs = [(arm, n, seed) for arm, sizes in grid.arms.items() for n in sizes for seed in grid.seeds_of(n)]
        for arm, n, seed in runs:
            parts = self._parts(grid, cases, ARMS[arm], n, seed)
            for split in (split for split, scans in parts.items() if not len(scans)):
                raise DataError(f"{cases.path}: has no scans in its {split} split; it holds too few")
            if ARMS[arm].trivial is None and np.ptp(cases.target[parts["train"]]) == 0:
                drawn = f"the {n} scans that seed {seed} draws for {arm} all have the same number"
                raise DataError(f"{cases.path}: {drawn}, of which nothing can be learned; train on more")

    def _parts(self, grid: Grid, cases: Cases, spec: Arm, n: int, seed: int) -> dict[str, np.ndarray]:
        """train: the subset that is drawn; val; test: what is predicted. Indices of scans."""
        part = self.fold_of(grid, cases, seed)
        found = {split: np.flatnonzero(part == split) for split in ("train", "val", "test")}
        if not len(found["train"]):
            return found
        if spec.uniform:  # may take one scan of a person and leave another: neither is tested on
            found["train"] = group_splits.uniform_by_label(cases.target, n, seed, found["train"])
        else:
            found["train"] = group_splits.nested_by_group(cases.group, n, seed, found["train"], _nested(grid))
        return found | {"test": found["val" if grid.pilot else "test"]}

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        kind = ARMS[run.arm].trivial
        subset, val, test = self._parts(grid, cases, ARMS[run.arm], run.n_train, run.seed).values()
        known = cases.target[subset]
        if kind == "mean":
            return rows(run, run.arm, "test", cases, test, np.full(len(test), known.mean()))
        if kind == "blocks":
            x, x_val, x_new = (_blocks(cases.images[index]) for index in (subset, val, test))
            # a weaker ridge on features is a stronger one on smaller features
            x_val, x_new, x = ((some - x.mean(0)) / np.maximum(x.std(0), 1e-6) for some in (x_val, x_new, x))

            def guess(strength: float, new: np.ndarray) -> np.ndarray:
                return baselines.ridge(x / strength**0.5, known, new / strength**0.5, standardise=False)

            best = min(STRENGTHS, key=lambda strength: np.square(guess(strength, x_val) - cases.target[val]).mean())
            return rows(run, run.arm, "test", cases, test, guess(best, x_new))
        if kind == "histogram":
            x, x_new = (baselines.histogram(cases.images[index]) for index in (subset, test))
        else:
            x, x_new = (cases.about[SIDES].to_numpy(np.float64)[index] for index in (subset, test))
        return rows(run, run.arm, "test", cases, test, baselines.ridge(x, known, x_new))

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        spec, seed = ARMS[run.arm], run.seed
        subset, val, test = self._parts(grid, cases, spec, run.n_train, seed).values()
        # float64, so that no label is rounded on the way there and back
        known, held = (torch.from_numpy(cases.target[i]) for i in (subset, val))
        offset = 0.0 if spec.p_black else float(known.mean())
        scale = LabelScale.of(known - offset)
        y_train, y_val = (scale.to_network(y - offset).float().to(device) for y in (known, held))
        x_val, loss = torch.from_numpy(cases.images[val]).to(device), LOSSES[spec.loss]
        net = _network(spec, cases.images.shape[1:], seed).train()
        net.reset_parameters(train.generator(seed, "initialisation"))
        net = net.to(device).to(memory_format=torch.channels_last_3d)
        images, updates = grid.images_of(spec), self.updates(run, grid)
        shifted_as = "unit" if grid.beyond == "black" else spec.seen_as
        batches = Batches(
            seen(torch.from_numpy(cases.images[subset]).to(device), shifted_as), y_train,
            torch.from_numpy(cases.spacing_mm[subset]), spec, seed, images // spec.size, loss, grid.max_shift_voxels,
            grid.half,
        )  # fmt: skip

        def validate(net: BaseRegressor) -> dict[str, float]:
            losses = {"val_loss": float(loss(_outputs(net, x_val, spec.seen_as), y_val))}
            return losses | (noise.ratios(net, batches) if spec.probe else {})

        every = -(-updates // noise.POINTS) if spec.probe else max(1, round(grid.eval_every * updates / grid.steps))
        budget = train.Budget(updates, batches.count, run.learning_rate, every)
        adadelta = functools.partial(torch.optim.Adadelta, **ADADELTA)
        fitted = train.fit(
            net, run.n_train, lambda _, step: batches.draw(step), loss, validate, budget, seed, checkpoint, on_step,
            adadelta if spec.published else torch.optim.Adam, batches.gradients,
            None if spec.published else train.cosine(grid.warm_up / updates),
        )  # fmt: skip
        require_best(run, fitted.best)
        for row in fitted.history:  # an update may be more than an epoch
            row["epoch"] = row["step"] * batches.count / run.n_train
        label = dict(zip(LABEL, torch.tensor([scale.constant, offset], dtype=torch.float64), strict=True))
        weights, best = fitted.last | label, fitted.best["val_loss"] | label
        asked = ("test", weights, test), ("test-best", best, test), ("val", weights, val)
        *tables, of_val = (self._predictions(run, w, split, cases, index, device) for split, w, index in asked)
        error = of_val["prediction"] - of_val["target"]
        record = {
            "parameters": sum(p.numel() for p in net.parameters()), "macs": net.macs(cases.images.shape[1:]),
            "steps": updates, "images": updates * images, "sets": updates * batches.count if spec.size > 1 else 0,
            "label_constant": scale.constant, "label_offset": offset, "n_val": len(val),
            "failed": still_guessing(fitted.history, batches.guessing()),
            "val_score": 1 - float(np.square(error).mean() / of_val["target"].var(ddof=0)),
            "last_val_loss": fitted.history[-1]["val_loss"], "best_val_loss": fitted.best_loss["val_loss"],
            **costs(fitted),
        }  # fmt: skip
        return Entry(pd.concat(tables, ignore_index=True), fitted.history, record), weights

    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        """Raises RunError for an arm without a network."""
        if ARMS[run.arm].trivial is not None:
            raise RunError(f"{run.arm} is no network and has no weights; ask another arm")
        return self._predictions(run, weights, "test", cases, cases.indices("test"), device)

    def _predictions(
        self, run: Run, weights: Mapping[str, Tensor], split: str, cases: Cases, index: np.ndarray, device: torch.device
    ) -> pd.DataFrame:
        """Rows of some scans, in the label's unit."""
        spec = ARMS[run.arm]
        net = _network(spec, cases.images.shape[1:], run.seed)
        net.load_state_dict({name: value for name, value in weights.items() if name not in LABEL})
        net = net.to(device).to(memory_format=torch.channels_last_3d).eval()
        output = _outputs(net, torch.from_numpy(cases.images[index]).to(device), spec.seen_as).double().cpu()
        scale, offset = LabelScale(float(weights[LABEL[0]])), float(weights[LABEL[1]])
        return rows(run, run.arm, split, cases, index, scale.from_network(output).numpy() + offset)


def _network(spec: Arm, sides: tuple[int, ...], seed: int) -> BaseRegressor:
    if outside.is_own(spec):
        return outside.network(spec, 1, sides, seed, lambda: BaseRegressor(norm=True))
    return BaseRegressor(spec.dropout, norm=not spec.published)


def _nested(grid: Grid) -> list[int]:
    """All sizes; each subset is contained in the larger ones."""
    return sorted({n for sizes in grid.arms.values() for n in sizes})


def _blocks(images: np.ndarray) -> np.ndarray:
    """Means of blocks of standardised scans: (n, D, H, W) uint8 → (n, blocks)."""
    sides = [min(most, side) for most, side in zip(BLOCKS, images.shape[1:], strict=True)]
    return F.adaptive_avg_pool3d(seen(torch.from_numpy(images), "standard"), sides).flatten(1).double().numpy()


@torch.no_grad()
def _outputs(net: BaseRegressor, images: Tensor, intensities: str) -> Tensor:
    """Of single scans, the other branches removed: (n, D, H, W) uint8 → (n,) float32."""
    return torch.cat([net(seen(part, intensities)).float() for part in images.split(PREDICT_BATCH)])


EXPERIMENT = Hydranet()
