"""G-CNN in space, as published, and on the plane: grid and training protocol.

Source: Winkels & Cohen, Med. Image Anal. 55 (2019): Adam, batches of 30, cross-entropy, balanced nested subsets, the
same augmentation for all arms. Where the paper stops early with patience 5, every arm here gets the same number of
updates, and its last checkpoint counts (rows "test"; "test-best" are of the one with the lowest validation loss). Both
classes count equally in the validation loss, as in training. Where several learning rates are named, they are tried per
arm and size on the first seeds, and the last validation loss chooses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans import train
from fewscans.data import group_splits, patient_draws, splits
from fewscans.data.base import Cases, Cut
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import base, baselines, outside
from fewscans.experiments.base import Entry, OnStep, Run, auc_of, costs, require_best, rows, still_guessing
from fewscans.experiments.gcnn import augment
from fewscans.experiments.gcnn.arms import ARMS
from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import act_on_image

SIZE = 48  # of planar patches, even at every pool: 48, 24, 12, 6
PREDICT_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """What params.yaml says of one run at one profile; what all grids have: see `base.Grid`.

    arms: sizes of the balanced training subset for each arm.   width: of the plain network's first layer.   augment:
    off where orientation carries the label or is the question.   patch: what the networks see, (y, x) or (z, y, x).
    downsample: MedMNIST's volumes are averaged over blocks of so many voxels a side.   pools: see `NoduleNet`.
    spacing_mm: of the patch's voxels, for data sets that are cut from scans.   negatives_per_scan, train_negatives: how
    many candidates without a nodule are cut.   steps_at: updates at some sizes, validated as often as the others.
    rate_by_order: a learning rate is divided by the root of the order of the arm's group, as Adam's step moves a large
    group's output more.   cosine: the rate falls to 0 as half a cosine.   half: see `train.fit`.   turned_test: cubes
    are predicted turned as well.   folds: of the data set; a run with seed s tests fold s, validates on s + 1 and
    trains on the rest, modulo folds; 0: the data set's split.   pilot: validation cases are predicted in place of test
    cases.   colours: channels of the images, 1 or 3.
    """

    ARMS = ARMS
    COUNTS = (*base.Grid.COUNTS, "batch_size", "width", "downsample")

    batch_size: int = 30
    width: int = 16
    augment: bool = True
    patch: tuple[int, ...] = (SIZE, SIZE)
    downsample: int = 1
    pools: tuple[tuple[int, ...], ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    negatives_per_scan: int | None = None
    train_negatives: int | None = None
    steps_at: dict[str, int] = field(default_factory=dict)
    rate_by_order: bool = False
    cosine: bool = False
    half: bool = False
    turned_test: bool = False
    folds: int = 0
    pilot: bool = False
    colours: int = 1

    def __post_init__(self):
        super().__post_init__()
        if any(not 0 < rate < 1 for rate in self.learning_rates):
            raise ParamsError(f"learning_rates must lie between 0 and 1, got {list(self.learning_rates)}")
        self.check_named("steps_at", self.steps_at, *self.arms)
        if any(steps < 1 for steps in self.steps_at.values()):
            raise ParamsError(f"steps_at must be at least 1, got {self.steps_at}")
        if self.folds not in (0, *range(3, 100)):
            raise ParamsError(f"folds must be 3 or more, for training, validation and test, or 0, got {self.folds}")
        if self.turned_test and not self.cube:
            raise ParamsError(f"turned_test needs a patch that is a cube, got {list(self.patch)}")
        if len(self.patch) not in (2, 3) or min(self.patch) < 8 // 2 ** (len(self.patch) - 2):
            raise ParamsError(f"patch must be two sizes of at least 8 or three of at least 4, got {list(self.patch)}")
        for name, value in [("spacing_mm", self.spacing_mm), *(("a window of pools", w) for w in self.pools or ())]:
            if value is not None and (len(value) != len(self.patch) or not all(v > 0 for v in value)):
                raise ParamsError(f"{name} must be {len(self.patch)} numbers above 0, as patch has; got {list(value)}")
        if self.pools is not None and len(self.pools) != 3:
            raise ParamsError(f"pools must be three windows, got {len(self.pools)}")
        for name in ("negatives_per_scan", "train_negatives"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ParamsError(f"{name} must be at least 1, or left out for all; got {getattr(self, name)}")

    def steps_of(self, n: int) -> int:
        """Updates at that size."""
        return self.steps_at.get(str(n), self.steps)

    def every_of(self, n: int) -> int:
        """Updates between two validations at that size."""
        return max(1, round(self.eval_every * self.steps_of(n) / self.steps))

    @property
    def cube(self) -> bool:
        return len(self.patch) == 3 and len(set(self.patch)) == 1

    def check_sizes(self, arm: str, sizes: tuple[int, ...]) -> None:
        if not sizes or any(n < 2 or n % 2 for n in sizes):
            raise ParamsError(f"arms.{arm}: sizes must be even and at least 2, in balanced subsets; got {list(sizes)}")
        spec = self.ARMS[arm]
        if outside.is_own(spec):
            return outside.check_patch(arm, spec, self.patch)
        dim = Group.named(spec.group).dim
        if spec.trivial is None and dim != len(self.patch):
            acts_on = "the plane" if dim == 2 else "space"
            raise ParamsError(f"arms.{arm} has a group of {acts_on}, but patch is {list(self.patch)}")
        if spec.turned and (self.augment or not self.cube):
            raise ParamsError(f"arms.{arm} turns cubes exactly: augment must be false, and patch a cube")
        if spec.upright and not self.augment:
            raise ParamsError(f"arms.{arm} changes the augmentation, but augment is false")


class Gcnn(base.Experiment):
    """Group convolutions against plain ones, on labels of 0 and 1."""

    name = "gcnn"
    target = "label"
    ARMS = ARMS
    Grid = Grid
    smallest_n = 2  # a balanced training set holds two cases or more

    def cut(self, grid: Grid) -> Cut:
        around = margin(grid.patch) if grid.augment else (0,) * len(grid.patch)
        return Cut(grid.patch, grid.downsample, grid.spacing_mm, around, grid.negatives_per_scan, grid.train_negatives)

    def check(self, grid: Grid, cases: Cases) -> None:
        if grid.colours != (3 if in_colour(cases) else 1):
            raise ParamsError(f"colours is {grid.colours}, but images of {cases.path} have another number; set it")
        have, wanted, about = cases.images.shape[1 : -1 if in_colour(cases) else None], grid.patch, cases.about
        if len(have) != len(wanted) or any(h < w for h, w in zip(have, wanted, strict=True)):
            sizes = [" x ".join(map(str, shape)) for shape in (have, wanted)]
            raise DataError(f"{cases.path}: its images are {sizes[0]} voxels, too small for a patch of {sizes[1]}")
        for arm, sizes in grid.arms.items():
            lacking = [name for name in baselines.KNOWN.get(self.ARMS[arm].trivial, ()) if name not in about]
            if lacking:
                raise ParamsError(f"arms.{arm}: {cases.path} does not say {', '.join(lacking)}; leave the arm out")
            for seed in range(max(1, grid.folds)):
                index = self._indices(grid, cases, seed)
                for n in sizes:
                    self.subset(cases, index["train"], n, 0)
                for name in ("val", "test"):
                    if len(np.unique(cases.target[index[name]])) < 2:
                        one = f"the {name} cases of seed {seed} are all of one class"
                        raise DataError(f"{cases.path}: {one}; it holds too few")

    def decides(self, run: Run, grid: Grid) -> dict:
        chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": self.training_of(run.arm)}
        names = ["patch", "downsample", "folds", "pilot"]
        if self.ARMS[run.arm].trivial is None:
            chosen |= {"steps": grid.steps_of(run.n_train), "eval_every": grid.every_of(run.n_train)}
            chosen |= {"learning_rate": run.learning_rate}
            names += ["batch_size", "width", "augment", "pools", "rate_by_order", "cosine", "half", "turned_test"]
        names += ["colours"] if grid.colours != 1 else []
        return chosen | {name: getattr(grid, name) for name in names}

    def subset(self, cases: Cases, candidates: np.ndarray, n: int, seed: int) -> np.ndarray:
        """The training cases of a run, (n,): half of each class, and of a user's own set patient after patient."""
        drawn = patient_draws.nested_patients if patient_draws.by_patient(cases) else _single_cases
        return drawn(cases, candidates, n, seed)

    def network(self, run: Run, grid: Grid) -> NoduleNet:
        """The untrained network of a run, drawn from its seed."""

        def plain(name: str = "Z2" if len(grid.patch) == 2 else "Z3") -> NoduleNet:
            return model(name, grid.width, run.seed, grid.patch, grid.pools, grid.colours)

        spec = self.ARMS[run.arm]
        if outside.is_own(spec):
            return outside.network(spec, grid.colours, grid.patch, run.seed, plain)
        return plain(run.arm)

    def compute(self, net: NoduleNet, steps: int) -> float:
        """What so many updates cost, in a unit of which claims read ratios alone; here updates."""
        return steps

    def seen_in(self, net: NoduleNet, x: Tensor, grid: Grid) -> dict:
        """What a record keeps of a trained network besides, from validation images (n, 1, *S) uint8; here nothing."""
        return {}

    def updates(self, run: Run, grid: Grid) -> int:
        return grid.steps_of(run.n_train) * self.ARMS[run.arm].updates

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        macs = self.network(run, grid).macs()
        return float(macs + 2e6) * self.updates(run, grid)

    def fold_of(self, grid: Grid, cases: Cases, seed: int) -> np.ndarray:
        """The part of each case for that seed, (n,): "train", "val" or "test"; other names belong to none."""
        part = group_splits.parts(cases, grid.folds, seed)
        if "tested" in cases.about:
            part = np.where((part != "train") & ~cases.about["tested"].to_numpy(bool), "unused", part)
        return part

    def _indices(self, grid: Grid, cases: Cases, seed: int) -> dict[str, np.ndarray]:
        """Cases to train on, to validate on and to predict."""
        part = self.fold_of(grid, cases, seed)
        index = {name: np.flatnonzero(part == name) for name in ("train", "val", "test")}
        return index | {"test": index["val"]} if grid.pilot else index

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        spec = self.ARMS[run.arm]
        index = self._indices(grid, cases, run.seed)
        test, subset = index["test"], self.subset(cases, index["train"], run.n_train, run.seed)
        if spec.trivial in baselines.KNOWN:
            x = np.log(cases.about[list(baselines.KNOWN[spec.trivial])].to_numpy(float))
            predicted = baselines.likelihood(x[subset], cases.target[subset], x[test])
        else:  # a published image is scored whole; what was cut here has a margin, which no network sees
            seen = (
                (lambda x: x) if grid.spacing_mm is None else (lambda x: augment.centre(x[:, None], grid.patch)[:, 0])
            )
            known, new = (seen(cases.images[some]) for some in (subset, test))
            predicted = baselines.probability(spec.trivial, known, cases.target[subset], new)
        table = rows(run, run.arm, "test", cases, test, predicted)
        return pd.concat([table, _malignant(table, cases)], ignore_index=True)

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        spec = self.ARMS[run.arm]
        index = self._indices(grid, cases, run.seed)
        subset = self.subset(cases, index["train"], run.n_train, run.seed)
        net = self.network(run, grid).to(device)
        (x_train, y_train), (x_val, y_val) = (
            (_images(cases, some).to(device), _labels(cases, some, spec.shuffled, run.seed).to(device))
            for some in (subset, index["val"])
        )
        max_shift = augment.MAX_SHIFT_VOXELS
        if len(grid.patch) == 3:
            max_shift = tuple(side * augment.SHIFT_SHARE for side in grid.patch[::-1])

        def batch(positions: Tensor, step: int) -> tuple[Tensor, Tensor]:
            x, random = x_train[positions.to(device)], train.generator(run.seed, "augmentation", step)
            if grid.augment:
                decisions = augment.draw(len(x), random, max_shift, spec.upright)
                x = augment.apply(_scaled(x), decisions, grid.patch, train.generator(run.seed, "noise", step))
            else:
                x = _scaled(augment.centre(x, grid.patch))
                if spec.turned:
                    copies = Group.named("Oh")
                    x = augment.turned(x, copies, torch.randint(copies.order, (len(x),), generator=random))
            return x, y_train[positions.to(device)]

        def validate(net: NoduleNet) -> dict[str, float]:  # all are lower where a network is better
            logits = logits_of(_deployed(net), x_val, grid)
            losses = F.binary_cross_entropy_with_logits(logits, y_val, reduction="none")
            return {"val_loss": float(_class_mean(losses, y_val)), "val_ranking": 1 - auc_of(logits, y_val)}

        loss, every = F.binary_cross_entropy_with_logits, grid.every_of(run.n_train) * spec.updates
        rate = run.learning_rate / (math.sqrt(net.group.order) if grid.rate_by_order else 1)
        budget = train.Budget(self.updates(run, grid), grid.batch_size, rate, every)
        schedule = train.cosine() if grid.cosine else None
        fitted = train.fit(net, run.n_train, batch, loss, validate, budget, run.seed, checkpoint, on_step,
                           schedule=schedule, half=grid.half)  # fmt: skip
        require_best(run, fitted.best)
        table, seen = self._predictions(run, grid, net, cases, device), self.seen_in(net, x_val, grid)
        net.load_state_dict(fitted.best["val_loss"])
        best = _probabilities(_deployed(net), _images(cases, index["test"]).to(device), grid)
        tables = [table, rows(run, run.arm, "test-best", cases, index["test"], best)]
        history = [
            row | {"compute": self.compute(net, row["step"]), "val_auc": 1 - row["val_ranking"]}
            for row in fitted.history
        ]
        record = {
            "parameters": sum(p.numel() for p in net.parameters()), "macs": net.macs(), "channels": list(net.channels),
            "convolution_parameters": net.convolution_parameters(), "steps": budget.steps, "rate": rate,
            "n_val": len(index["val"]), "best_val_loss": fitted.best_loss["val_loss"],
            "last_val_loss": history[-1]["val_loss"], "val_score": history[-1]["val_auc"],
            "failed": still_guessing(history, math.log(2)), **seen, **costs(fitted),
        }  # fmt: skip
        history = [{name: value for name, value in row.items() if name != "val_ranking"} for row in history]
        return Entry(pd.concat(tables, ignore_index=True), history, record), fitted.last

    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        net = self.network(run, grid).to(device)
        net.load_state_dict(dict(weights))
        return self._predictions(run, grid, net, cases, device)

    def _predictions(self, run: Run, grid: Grid, net: NoduleNet, cases: Cases, device: torch.device) -> pd.DataFrame:
        """Rows of the arm, of those computed along with it, and of the test sets made of the same cases."""
        index, plain = self._indices(grid, cases, run.seed), _deployed(net)
        test, x = index["test"], _images(cases, index["test"]).to(device)
        tables = [rows(run, run.arm, "test", cases, test, _probabilities(plain, x, grid))]
        for name in self.computed_with(run.arm):
            if self.ARMS[name].averaged is not None:
                group = Group.named(self.ARMS[name].averaged)
                turned = [_probabilities(plain, x, grid, group, h) for h in range(group.order)]
                tables.append(rows(run, name, "test", cases, test, np.mean(turned, axis=0)))
            elif "diameter_mm" in cases.about:
                known = [_with_diameter(plain, cases, some, grid, device) for some in (index["val"], test)]
                tables.append(rows(run, name, "test", cases, test, baselines.likelihood(
                    known[0], cases.target[index["val"]], known[1])))  # fmt: skip
        tables.append(_malignant(pd.concat(tables), cases))
        if grid.turned_test:
            cube = Group.named("O")
            elements = np.random.default_rng(0).integers(cube.order, size=len(cases))[test]  # the same for all runs
            x = augment.turned(augment.centre(x, grid.patch), cube, torch.from_numpy(elements))
            tables.append(rows(run, run.arm, "test-turned", cases, test, _probabilities(plain, x, grid)))
        return pd.concat(tables, ignore_index=True)


def margin(patch: tuple[int, ...]) -> tuple[int, ...]:
    """Voxels around a patch that turning it about z and shifting it bring into view, per axis."""
    shift = [math.ceil(side * augment.SHIFT_SHARE) for side in patch]
    turn = math.ceil((math.sqrt(2) - 1) / 2 * max(patch[-2:]))
    return (*shift[:-2], *(s + turn for s in shift[-2:]))


def model(arm: str, width: int, seed: int, patch: tuple[int, ...] = (SIZE, SIZE), pools=None, colours: int = 1):
    """The untrained network of an arm; a sham group is drawn from the seed, as everything else of a run is."""
    spec = ARMS[arm]
    group = Group.named(spec.group)
    channels = None
    if spec.like is not None:
        other = NoduleNet(spec.like, patch, width, pools=pools)
        channels = [c * other.group.order for c in other.channels]
    group = group.sham(seed) if spec.sham else group
    net = NoduleNet(group, patch, width, spec.head, spec.budget, channels, pools, colours)
    net.reset_parameters(train.generator(seed, "initialisation"))
    return net


def _single_cases(cases: Cases, candidates: np.ndarray, n: int, seed: int) -> np.ndarray:
    return splits.nested_balanced(cases.target, candidates, n, seed)


def in_colour(cases: Cases) -> bool:
    """Whether images are (n, H, W, 3)."""
    return len(cases.images.shape) == 4 and cases.images.shape[-1] == 3


def _images(cases: Cases, indices: np.ndarray) -> Tensor:
    """Those cases' images, (k, 1, *S) or in colour (k, 3, H, W) uint8, read from disk if they lie there."""
    images = torch.from_numpy(np.ascontiguousarray(cases.images[indices]))
    return images.movedim(-1, 1) if in_colour(cases) else images.unsqueeze(1)


def _labels(cases: Cases, indices: np.ndarray, shuffled: bool, seed: int) -> Tensor:
    labels = cases.target[indices]
    if shuffled:
        labels = np.random.default_rng([seed, len(labels)]).permutation(labels)
    return torch.from_numpy(labels).float()


def _scaled(x: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return x.float() / 127.5 - 1


def _malignant(table: pd.DataFrame, cases: Cases) -> pd.DataFrame:
    """The rows of nodules that are known again among candidates: 1 where malignant, 0 where benign or indeterminate.

    Their names end in the diameter, so that nodules of like size can be compared. None where no nodule is graded.
    """
    if not {"nodule", "malignant", "diameter_mm"} <= set(cases.about):
        return table[:0]
    found = cases.about.assign(case=cases.case).set_index("case").loc[table["case"], ["malignant", "diameter_mm"]]
    known = (table["target"].to_numpy() == 1) & np.isfinite(found["diameter_mm"].to_numpy(float))
    found, table = found[known], table[known]
    if not (found["malignant"] >= 0).any():
        return table[:0]
    target = (found["malignant"] == 1).to_numpy(float)
    case = [f"{name}@{mm:.1f}mm" for name, mm in found["diameter_mm"].items()]
    return table.assign(split="test-malignant", case=case, target=target)


def _class_mean(losses: Tensor, labels: Tensor) -> Tensor:
    return (losses[labels == 1].mean() + losses[labels == 0].mean()) / 2


def _deployed(net: NoduleNet) -> torch.nn.Module:
    """The network as plain convolutions with the norms folded in: the same outputs, 2 to 3 times faster on a CPU. One
    that cannot be written so, for its kernels depend on the image, stays what it is.
    """
    plain = net.export()
    if any(p.ndim > 2 + net.group.dim for p in plain.parameters()):
        return plain
    return plain.to(memory_format=torch.channels_last if net.group.dim == 2 else torch.channels_last_3d)


@torch.inference_mode()
def logits_of(plain: torch.nn.Module, x: Tensor, grid: Grid, group: Group | None = None, element: int = 0) -> Tensor:
    """(n,) for images (n, 1, *S) uint8, seen as at test time and turned by a group's element if one is named."""
    parts = (_scaled(augment.centre(part, grid.patch)) for part in x.split(PREDICT_BATCH))
    turned = (part if group is None else act_on_image(group, element, part) for part in parts)
    return torch.cat([plain(part) for part in turned])


def _probabilities(plain: torch.nn.Module, x: Tensor, grid: Grid, group: Group | None = None, element: int = 0):
    return torch.sigmoid(logits_of(plain, x, grid, group, element)).double().cpu().numpy()


def _with_diameter(plain, cases: Cases, index: np.ndarray, grid: Grid, device: torch.device) -> np.ndarray:
    """The network's logit and the logarithm of the diameter, (k, 2)."""
    logit = logits_of(plain, _images(cases, index).to(device), grid).double().cpu().numpy()
    return np.stack([logit, np.log(cases.about["diameter_mm"].to_numpy(float)[index])], axis=1)


EXPERIMENT = Gcnn()
