"""Hydranet, as published: one number a scan, learned from sums over sets of scans. Grid and training protocol.

Source: Dubost et al., Hydranet: Data Augmentation for Regression Neural Networks, MICCAI 2019: Adadelta, sets of four,
an epoch of as many sets as there are scans, flips, turns and shifts for all methods, 5 or 6 validation scans. Adadelta
has the settings of the Keras of its time, a rate of 1, a decay of 0.95 and an epsilon of 1e-7 (torch's own are 1, 0.9
and 1e-6). It divides each gradient by its running size, so that a loss on sums, whose gradients are larger, is given no
larger steps, and one rate serves all arms. The paper tells neither the epochs nor when it stopped; here every arm is
given a number of updates and keeps the checkpoint of its best validation.

Every update sees as many images, black ones included, whatever the size of the sets. Labels are divided by the root
mean square of the training labels, for all arms; only the centred arms also lose their mean. Two things can be set
otherwise than in the paper, for all arms alike. Scans may have mean 0 and standard deviation 1 instead of intensities
in [0, 1], of which the network begins as little more than a function of a scan's brightness. And the learning rate may
fall to 0. Both were decided by trials of single seeds, seen on training and validation scans only; no run of these
trials is kept, and the arms that end in `-unit` ask the first of the two again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans import rigid, sets, store, train
from fewscans.data import group_splits
from fewscans.data.numbered import NumberedScans
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments import Run, numbered_cases, numbered_trivial
from fewscans.experiments.numbered_arms import ARMS, Arm
from fewscans.experiments.set_batches import FORMS, INTENSITIES, Batches, seen
from fewscans.nn import hydra
from fewscans.nn.regressor import BaseRegressor

SHARED_CODE = (
    "fewscans.nn.regressor", "fewscans.nn.hydra", "fewscans.sets", "fewscans.mixup", "fewscans.rigid",
    "fewscans.train", "fewscans.experiments.numbered_arms", "fewscans.experiments.numbered_cases",
    "fewscans.experiments.numbered_trivial", "fewscans.experiments.set_batches", "fewscans.experiments.hydranet",
)  # fmt: skip
LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}
PREDICT_BATCH = 64
BEYOND = ("mean", "black")
EPSILON = 1e-7  # of Adadelta, Keras' own; it sets the size of the first updates
LABEL = ("label.constant", "label.offset")  # beside the weights: what turns an output into the label's unit


@dataclass(frozen=True)
class Grid:
    """What params.yaml says of one run at one profile.

    arms: numbers of training scans for each arm.   seeds: 0 … seeds - 1, shared by all arms.   steps: updates of
    hydra-4.   window: voxels (D, H, W) of the scans as they are cut.   intensities: "unit" or "standard", see
    `set_batches.seen`.   downsample: scans are averaged over blocks of so many voxels a side.   images: in an update,
    unless a single set has more.   learning_rate, rho: Adadelta's.   decay: the rate falls evenly to 0.   validation:
    scans of the small validation set, 5 as in the paper.   max_angle_rad, max_shift_voxels: augmentation.   beyond:
    what that brings in from beyond the border of standard scans, their "mean" grey, or "black" where air or a mask
    surrounds them; of unit ones always black.   unit: of the WMH challenge's labels, "ml" or the paper's "voxels".
    form: "branched", or "streamed" where memory is short; the gradients are the same.
    Pooling leaves out the last plane of a side that is odd, so windows over downsample are best even.
    Raises ParamsError for an unknown arm and for what cannot be.
    """

    arms: dict[str, tuple[int, ...]]
    seeds: int
    steps: int
    eval_every: int
    window: tuple[int, ...]
    intensities: str
    downsample: int = 1
    images: int = 4
    learning_rate: float = 1.0
    rho: float = 0.95
    validation: int = 5
    max_angle_rad: float = rigid.MAX_ANGLE_RAD
    max_shift_voxels: float = rigid.MAX_SHIFT_VOXELS
    unit: str | None = None
    form: str = "branched"
    decay: bool = False
    beyond: str = "mean"

    def __post_init__(self):
        if not self.arms:
            raise ParamsError("arms is empty; name at least one arm")
        for arm, sizes in self.arms.items():
            if arm not in ARMS:
                derived = {f"{name}-black": name for name, spec in ARMS.items() if spec.black}
                hint = f"; it is computed along with {derived[arm]}" if arm in derived else ""
                raise ParamsError(f"unknown arm {arm!r}{hint}; known arms: {', '.join(ARMS)}")
            if not sizes or min(sizes) < 1:
                raise ParamsError(f"arms.{arm}: sizes must be at least 1, got {list(sizes)}")
            if len(set(sizes)) < len(sizes):
                raise ParamsError(f"arms.{arm} names a size twice: {list(sizes)}")
            size = ARMS[arm].size
            if ARMS[arm].trivial is None and size == 1 and min(sizes) < self.images:
                raise ParamsError(
                    f"arms.{arm}: an update of {self.images} scans cannot be drawn from {min(sizes)}; train on "
                    "more, or lower images"
                )
            if min(sizes) < size and not ARMS[arm].replacement:
                raise ParamsError(
                    f"arms.{arm}: a set of {size} scans cannot be drawn from {min(sizes)}; train on at least {size}, "
                    "or draw with replacement"
                )
            if self.images % size and size % self.images:
                raise ParamsError(f"arms.{arm}: sets of {size} do not fill updates of {self.images} images")
        for name in ("seeds", "steps", "eval_every", "downsample", "images", "validation"):
            if getattr(self, name) < 1:
                raise ParamsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.learning_rate <= 0 or not 0 < self.rho < 1:
            raise ParamsError(
                f"learning_rate must be above 0 and rho between 0 and 1, got {self.learning_rate}, {self.rho}"
            )
        if min(self.max_angle_rad, self.max_shift_voxels) < 0:
            raise ParamsError(
                f"max_angle_rad and max_shift_voxels must be 0 or more, got {self.max_angle_rad}, "
                f"{self.max_shift_voxels}"
            )
        if len(self.window) != 3 or any(side < 2 * self.downsample or side % self.downsample for side in self.window):
            raise ParamsError(
                f"window must be three sizes, whole blocks of downsample ({self.downsample}) and at least two of them, "
                f"got {list(self.window)}"
            )
        if self.unit not in (None, "ml", "voxels"):
            raise ParamsError(f"unit must be 'ml' or 'voxels', got {self.unit!r}")
        for name, known in (("form", FORMS), ("intensities", INTENSITIES), ("beyond", BEYOND)):
            if getattr(self, name) not in known:
                raise ParamsError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")


def code(dataset: str) -> tuple[str, ...]:
    """The modules whose code decides a run on that data set."""
    return (*SHARED_CODE, *numbered_cases.READERS[dataset])


read = numbered_cases.read


def decides(run: Run, grid: Grid) -> dict:
    """The parameters that decide one run (data, code, device and threads are added by the sweep)."""
    spec = ARMS[run.arm]
    chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": asdict(spec)}
    # subsets are nested, so those that share a way of drawing depend on one another's sizes
    chosen["nested"] = _nested(grid, spec)
    if spec.trivial is None:
        names = (
            "steps", "eval_every", "images", "rho", "validation", "max_angle_rad", "max_shift_voxels", "form", "decay",
            "intensities", "beyond",
        )  # fmt: skip
        chosen |= {"learning_rate": run.learning_rate} | {name: getattr(grid, name) for name in names}
    return chosen


def _nested(grid: Grid, spec: Arm) -> list[int]:
    """All sizes that are drawn as this arm's are; each is contained in the larger ones."""
    return sorted({n for arm, sizes in grid.arms.items() for n in sizes if ARMS[arm].unseen == spec.unseen})


def final(grid: Grid, losses: Mapping[Run, float]) -> list[Run]:
    """The runs of the table; nothing waits for `losses`, as all arms have one learning rate."""
    rate = {arm: 0.0 if ARMS[arm].trivial else grid.learning_rate for arm in grid.arms}
    cells = [(arm, n) for arm, sizes in grid.arms.items() for n in sizes]
    return [Run(seed, n, arm, rate[arm]) for arm, n in cells for seed in range(grid.seeds)]


def plan(grid: Grid, losses: Mapping[Run, float]) -> list[Run]:
    """Seed by seed, so that every arm has results early."""
    return sorted(final(grid, losses))


def arm_names(grid: Grid) -> list[str]:
    """Arms of the table in order, with those computed along with another behind it."""
    return [name for arm in grid.arms for name in ((arm, f"{arm}-black") if ARMS[arm].black else (arm,))]


def updates(run: Run, grid: Grid) -> int:
    """As many forward passes as hydra-4 has in the grid's steps, times the arm's share."""
    per_update = max(grid.images, ARMS[run.arm].size)
    return max(1, round(grid.steps * grid.images * ARMS[run.arm].share / per_update))


def steps(run: Run, grid: Grid) -> int:
    """Updates of a run, over all its networks, for the progress bar."""
    spec = ARMS[run.arm]
    return 1 if spec.trivial is not None else updates(run, grid)


def work(run: Run, grid: Grid) -> float:
    """Rough cost of a run in multiply-adds, for the progress bar."""
    spec = ARMS[run.arm]
    if spec.trivial is not None:
        return 1.0
    macs = BaseRegressor().macs([side // grid.downsample for side in grid.window])
    return 3.0 * macs * updates(run, grid) * max(grid.images, spec.size)


def check(grid: Grid, data: NumberedScans) -> None:
    """DataError or ParamsError before anything is trained, if the data cannot carry the grid."""
    if not np.isfinite(data.number).all() or (data.number < 0).any():
        wrong = np.flatnonzero(~(data.number >= 0) | ~np.isfinite(data.number))[0]
        raise DataError(f"{data.path}: the number of {data.case[wrong]} is {data.number[wrong]}; it must be 0 or more")
    if not (np.isfinite(data.spacing_mm) & (data.spacing_mm > 0)).all():
        wrong = np.flatnonzero(~(data.spacing_mm > 0).all(axis=1) | ~np.isfinite(data.spacing_mm).all(axis=1))[0]
        raise DataError(f"{data.path}: voxels of {data.case[wrong]} are {data.spacing_mm[wrong].tolist()} mm")
    seen_as = tuple(side // grid.downsample for side in grid.window)
    if data.images.shape[1:] != seen_as:
        raise DataError(
            f"{data.path}: its scans are cut to {data.images.shape[1:]} voxels, not to the grid's {seen_as}"
        )
    for arm, sizes in grid.arms.items():
        spec = ARMS[arm]
        if spec.trivial == "crop" and not set(numbered_trivial.SIDES) <= set(data.about):
            raise ParamsError(f"arms.crop: {data.path} has no published crop whose sides could tell anything")
        for fold in _folds(spec, data):
            for split, scans in zip(("train", "val", "test"), fold[1:], strict=True):
                if not len(scans):
                    where = f" for the network that is tested on {fold.name}" if fold.name else ""
                    raise DataError(f"{data.path}: has no scans in its {split} split{where}; it holds too few")
            for n in sizes:
                for seed in range(grid.seeds):
                    _check_labels(arm, n, seed, data.number[_subset(grid, data, fold, spec, n, seed)], data.path)


def _check_labels(arm: str, n: int, seed: int, labels: np.ndarray, path: Path) -> None:
    """Labels that can be scaled and, for C-Mixup, told apart."""
    drawn = f"{path}: the {n} scans that seed {seed} draws"
    if ARMS[arm].trivial is None and not labels.any():
        raise DataError(f"{drawn} for {arm} all have the number 0, of which nothing can be learned; train on more")
    if ARMS[arm].mix == "c-mixup" and len(np.unique(labels)) < 2:
        raise DataError(f"{drawn} for {arm} all have the same number, so that no two are near; train on more")


class Fold(NamedTuple):
    """Which scans a network is trained, selected and tested on: indices, the first to be drawn from."""

    name: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def _folds(spec: Arm, data: NumberedScans) -> list[Fold]:
    """One for all, or one for each site, tested on that and trained on the others."""
    train_, val, test = (data.indices(split) for split in ("train", "val", "test"))
    if not spec.unseen:
        return [Fold("", train_, val, test)]
    if "site" not in data.about or data.about["site"].nunique() < 2:
        raise ParamsError(f"{data.path}: an arm tested on unseen sites wants scans of two sites or more")
    site = data.about["site"].to_numpy(str)
    return [
        Fold(name, train_[site[train_] != name], val[site[val] != name], test[site[test] == name])
        for name in np.unique(site[test])
    ]


def _subset(grid: Grid, data: NumberedScans, fold: Fold, spec: Arm, n: int, seed: int) -> np.ndarray:
    if spec.uniform:  # may take one scan of a person and leave another: neither is tested on
        return group_splits.uniform_by_label(data.number, n, seed, fold.train)
    return group_splits.nested_by_group(data.group, n, seed, fold.train, _nested(grid, spec))


def train_run(
    run: Run,
    grid: Grid,
    data: NumberedScans,
    device: torch.device,
    checkpoint: Path | None = None,
    on_step: Callable[[int], None] | None = None,
) -> tuple[store.Entry, dict[str, Tensor]]:
    """Trains and predicts one run.

    Rows for the test scans by the checkpoint that the whole validation set chooses ("test"), and by the one that a
    validation set of the paper's size chooses ("test-small-val").   Returns the entry and the weights of the former,
    each network's behind its site's name where there are several.
    """
    spec = ARMS[run.arm]
    folds = _folds(spec, data)
    if spec.trivial is not None:
        (fold,) = folds
        subset = _subset(grid, data, fold, spec, run.n_train, run.seed)
        predicted = numbered_trivial.PREDICTORS[spec.trivial](data, subset, fold.test)
        if on_step is not None:
            on_step(1)
        rows = _rows(run, run.arm, "test", data, fold.test, predicted)
        return store.Entry(rows, [], {"parameters": 0, "macs": 0}), {}
    # one checkpoint is kept, so a run of several networks that is cut begins with its first again
    one, told = (checkpoint, on_step) if len(folds) == 1 else (None, _shared(on_step, len(folds)))
    made = [_train_fold(run, grid, data, fold, device, one, told) for fold in folds]
    tables = [table for fold in made for table in fold.tables]
    behind = [f"{fold.name}/" if fold.name else "" for fold in folds]
    weights = {f"{name}{k}": v for name, m in zip(behind, made, strict=True) for k, v in m.weights.items()}
    history = pd.concat([pd.DataFrame(m.fitted.history) for m in made]).groupby("step", as_index=False).mean()
    per_update = max(grid.images, spec.size)
    record = {
        "parameters": sum(p.numel() for p in BaseRegressor().parameters()),
        "macs": BaseRegressor().macs(data.images.shape[1:]),
        "networks": len(made),
        "steps": updates(run, grid),
        "images": updates(run, grid) * per_update * len(made),
        "sets": updates(run, grid) * per_update // spec.size * len(made) if spec.size > 1 else 0,
        "at_black": float(np.mean([m.at_black for m in made])),
        "label_constant": float(np.mean([m.weights[LABEL[0]] for m in made])),
        "label_offset": float(np.mean([m.weights[LABEL[1]] for m in made])),
        "n_val": int(np.mean([len(f.val) for f in folds])),
        "n_small_val": min(grid.validation, *(len(f.val) for f in folds)),
        "best_val_loss": float(np.mean([m.fitted.best_loss["val_loss"] for m in made])),
        "seconds_cpu": round(sum(m.fitted.seconds_cpu for m in made), 3),
        "seconds_wall": round(sum(m.fitted.seconds_wall for m in made), 3),
    }
    return store.Entry(pd.concat(tables, ignore_index=True), history.to_dict("records"), record), weights


def _shared(on_step: Callable[[int], None] | None, networks: int) -> Callable[[int], None] | None:
    """Of a run of several networks, each is a share of the work."""
    return None if on_step is None else lambda count: on_step(count / networks)


class _Made(NamedTuple):
    tables: list[pd.DataFrame]
    fitted: train.Fitted
    weights: dict[str, Tensor]
    at_black: float


def _train_fold(
    run: Run, grid: Grid, data: NumberedScans, fold: Fold, device: torch.device, checkpoint: Path | None, on_step
) -> _Made:
    spec, seed = ARMS[run.arm], run.seed
    subset = _subset(grid, data, fold, spec, run.n_train, seed)
    small = np.random.default_rng([seed, len(fold.val)]).permutation(fold.val)[: grid.validation]
    # float64, so that no label is rounded on the way there and back
    known = torch.from_numpy(data.number[subset])
    scale, offset = sets.LabelScale.of(known), float(known.mean()) if spec.centred else 0.0
    y_train, y_val = (
        scale.to_network(torch.from_numpy(data.number[i]) - offset).float().to(device) for i in (subset, fold.val)
    )
    x_val = torch.from_numpy(data.images[fold.val]).to(device)
    in_small = torch.from_numpy(np.isin(fold.val, small)).to(device)
    loss = LOSSES[spec.loss]

    net = BaseRegressor(spec.dropout)
    net.reset_parameters(train.generator(seed, "initialisation"))
    net = net.to(device).to(memory_format=torch.channels_last_3d)
    intensities = spec.intensities or grid.intensities
    augmented_as = "unit" if grid.beyond == "black" else intensities
    batches = Batches(
        seen(torch.from_numpy(data.images[subset]).to(device), augmented_as), y_train,
        torch.from_numpy(data.spacing_mm[subset]), spec, seed, loss, grid.form, grid.max_angle_rad,
        grid.max_shift_voxels, intensities,
    )  # fmt: skip

    def validate(net: BaseRegressor) -> dict[str, float]:
        each = loss(_outputs(net, x_val, intensities), y_val, reduction="none")
        return {"val_loss": float(each.mean()), "small_val_loss": float(each[in_small].mean())}

    n_updates = updates(run, grid)
    every = max(1, round(grid.eval_every * n_updates / grid.steps))
    samples = max(grid.images, spec.size) // spec.size  # in an update: scans, or sets
    budget = train.Budget(n_updates, samples, run.learning_rate, every)
    fitted = train.fit(
        net, run.n_train, batches.draw, loss, validate, budget, seed, checkpoint, on_step,
        functools.partial(torch.optim.Adadelta, rho=grid.rho, eps=EPSILON), batches.gradients,
        (lambda done: 1 - done) if grid.decay else None,
    )  # fmt: skip
    if {"val_loss", "small_val_loss"} - set(fitted.best):
        raise RunError(f"{run}: no finite validation loss, so no checkpoint; lower the learning rate")
    label = dict(zip(LABEL, torch.tensor([scale.constant, offset], dtype=torch.float64), strict=True))
    tables, at_black = [], 0.0
    for split, chosen_by in (("test-small-val", "small_val_loss"), ("test", "val_loss")):
        weights = fitted.best[chosen_by] | label
        found, at_black = _predictions(run, grid, weights, split, data, fold.test, device)
        tables.insert(0, found)
    return _Made(tables, fitted, weights, at_black)


def predict(
    run: Run, grid: Grid, weights: Mapping[str, Tensor], data: NumberedScans, device: torch.device
) -> pd.DataFrame:
    """What a trained network makes of other scans: the table's rows for the test split of `data`, as `train_run` has.

    weights: those that `train_run` returned for this run and grid. Raises RunError for an arm of several networks.
    """
    if ARMS[run.arm].trivial is not None:
        raise RunError(f"{run.arm} is no network and has no weights; ask another arm")
    if ARMS[run.arm].unseen:
        raise RunError(f"{run.arm} is a network for each site, none of which stands for all; ask another arm")
    return _predictions(run, grid, weights, "test", data, data.indices("test"), device)[0]


def _predictions(
    run: Run, grid: Grid, weights: Mapping[str, Tensor], split: str, data: NumberedScans, test: np.ndarray, device
) -> tuple[pd.DataFrame, float]:
    """Rows of the arm and of the one computed along with it, all in the label's unit, and f(0), in that unit too but
    as the network has it: without the mean that centred labels lost."""
    net = BaseRegressor()
    net.load_state_dict({name: value for name, value in weights.items() if name not in LABEL})
    net = net.to(device).to(memory_format=torch.channels_last_3d).eval()
    scale, offset = sets.LabelScale(float(weights[LABEL[0]])), float(weights[LABEL[1]])
    intensities = ARMS[run.arm].intensities or grid.intensities
    output = _outputs(net, torch.from_numpy(data.images[test]).to(device), intensities).double().cpu()
    single = scale.from_network(output).numpy() + offset
    at_black = scale.from_network(float(hydra.at_black(net, data.images.shape[1:])))
    tables = [_rows(run, run.arm, split, data, test, single)]
    if ARMS[run.arm].black:
        with_black = single + (ARMS[run.arm].size - 1) * at_black
        tables.append(_rows(run, f"{run.arm}-black", split, data, test, with_black))
    return pd.concat(tables, ignore_index=True), at_black


@torch.no_grad()
def _outputs(net: BaseRegressor, images: Tensor, intensities: str) -> Tensor:
    """Of single scans, the other branches removed: (n, D, H, W) uint8 → (n,) float32."""
    parts = (seen(part, intensities) for part in images.split(PREDICT_BATCH))
    return torch.cat([hydra.single(net, part).float() for part in parts])


def _rows(
    run: Run, arm: str, split: str, data: NumberedScans, test: np.ndarray, prediction: np.ndarray
) -> pd.DataFrame:
    who = (data.case[test], data.group[test], data.number[test])
    return store.predictions_table(arm, run.n_train, run.seed, split, *who, prediction)
