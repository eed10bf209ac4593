"""G-CNN in space, as published, and on the plane: grid and training protocol.

Source: Winkels & Cohen, Med. Image Anal. 55 (2019): Adam, batches of 30, cross-entropy, balanced nested subsets, the
same augmentation for all arms. Where the paper stops early with patience 5, every arm here gets the same number of
updates and keeps its best-validation checkpoint; three learning rates per arm and size are tried on the first seeds and
chosen on validation loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans import train
from fewscans.data import splits
from fewscans.data.base import Cases, Cut
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import base, baselines
from fewscans.experiments.base import Entry, OnStep, Run, costs, require_best, rows
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
    off only where orientation carries the label.   patch: what the networks see, (y, x) or (z, y, x).   downsample:
    MedMNIST's volumes are averaged over blocks of so many voxels a side.   pools: see `NoduleNet`.   spacing_mm: of the
    patch's voxels, for data sets that are cut from scans.   negatives_per_scan, train_negatives: how many candidates
    without a nodule are cut.   balanced_validation: both classes count equally in the validation loss, as in training;
    else each case does.
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
    balanced_validation: bool = False

    def __post_init__(self):
        super().__post_init__()
        if any(not 0 < rate < 1 for rate in self.learning_rates):
            raise ParamsError(f"learning_rates must lie between 0 and 1, got {list(self.learning_rates)}")
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

    def check_sizes(self, arm: str, sizes: tuple[int, ...]) -> None:
        if not sizes or any(n < 2 or n % 2 for n in sizes):
            raise ParamsError(
                f"arms.{arm}: sizes must be even and at least 2, as subsets are balanced; got {list(sizes)}"
            )
        dim = Group.named(ARMS[arm].group).dim
        if ARMS[arm].trivial is None and dim != len(self.patch):
            raise ParamsError(
                f"arms.{arm} has a group of {'the plane' if dim == 2 else 'space'}, but patch is {list(self.patch)}"
            )


class Gcnn(base.Experiment):
    """Group convolutions against plain ones, on labels of 0 and 1."""

    name = "gcnn"
    target = "label"
    ARMS = ARMS
    Grid = Grid
    smallest_n = 2  # a balanced training set holds two cases or more

    def cut(self, grid: Grid) -> Cut:
        drawn = (grid.negatives_per_scan, grid.train_negatives)
        return Cut(grid.patch, grid.downsample, grid.spacing_mm, margin(grid.patch), *drawn)

    def check(self, grid: Grid, cases: Cases) -> None:
        have, wanted = cases.images.shape[1:], grid.patch
        if len(have) != len(wanted) or any(h < w for h, w in zip(have, wanted, strict=True)):
            sizes = [" x ".join(map(str, shape)) for shape in (have, wanted)]
            raise DataError(f"{cases.path}: its images are {sizes[0]} voxels, too small for a patch of {sizes[1]}")
        for arm, sizes in grid.arms.items():
            for n in sizes:
                splits.nested_balanced(cases.target, cases.indices("train", ARMS[arm].repository_split), n, 0)

    def decides(self, run: Run, grid: Grid) -> dict:
        chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": self.training_of(run.arm)}
        chosen |= {"patch": grid.patch, "downsample": grid.downsample}
        if ARMS[run.arm].trivial is None:
            names = ("steps", "eval_every", "batch_size", "width", "augment", "pools", "balanced_validation")
            chosen |= {"learning_rate": run.learning_rate} | {name: getattr(grid, name) for name in names}
        return chosen

    def updates(self, run: Run, grid: Grid) -> int:
        return grid.steps * ARMS[run.arm].updates

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        macs = model(run.arm, grid.width, 0, grid.patch, grid.pools).macs()
        return float(macs + 2e6) * self.updates(run, grid)

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        spec = ARMS[run.arm]
        train_, test = (cases.indices(split, spec.repository_split) for split in ("train", "test"))
        subset = splits.nested_balanced(cases.target, train_, run.n_train, run.seed)
        # a published image is scored whole; what was cut here has a margin for augmentation, which no network sees
        seen = (lambda x: x) if grid.spacing_mm is None else (lambda x: augment.centre(x[:, None], grid.patch)[:, 0])
        known, new = (seen(cases.images[index]) for index in (subset, test))
        predicted = baselines.probability(spec.trivial, known, cases.target[subset], new)
        return rows(run, run.arm, "test", cases, test, predicted)

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        spec = ARMS[run.arm]
        pools = {split: cases.indices(split, spec.repository_split) for split in ("train", "val", "test")}
        subset = splits.nested_balanced(cases.target, pools["train"], run.n_train, run.seed)
        small = splits.small_validation(cases.target, pools["val"], run.n_train, run.seed)
        net = model(run.arm, grid.width, run.seed, grid.patch, grid.pools).to(device)
        (x_train, y_train), (x_val, y_val) = (
            (_images(cases, indices).to(device), _labels(cases, indices, spec.shuffled, run.seed).to(device))
            for indices in (subset, pools["val"])
        )
        in_small = torch.from_numpy(np.isin(pools["val"], small)).to(device)
        max_shift = augment.MAX_SHIFT_VOXELS
        if len(grid.patch) == 3:
            max_shift = tuple(side * augment.SHIFT_SHARE for side in grid.patch[::-1])

        def batch(indices: Tensor, step: int) -> tuple[Tensor, Tensor]:
            x = _scaled(x_train[indices.to(device)])
            if grid.augment:
                decisions = augment.draw(len(indices), train.generator(run.seed, "augmentation", step), max_shift)
                noise = train.generator(run.seed, "noise", step)
                x = augment.apply(x, decisions, grid.patch, noise)
            else:
                x = augment.centre(x, grid.patch)
            return x, y_train[indices.to(device)]

        def validate(net: NoduleNet) -> dict[str, float]:
            losses = F.binary_cross_entropy_with_logits(_logits(_deployed(net), x_val, grid), y_val, reduction="none")
            mean = _class_mean if grid.balanced_validation else lambda values, _: values.mean()
            return {
                "val_loss": float(mean(losses, y_val)),
                "small_val_loss": float(mean(losses[in_small], y_val[in_small])),
            }

        loss, every = F.binary_cross_entropy_with_logits, grid.eval_every * spec.updates
        budget = train.Budget(self.updates(run, grid), grid.batch_size, run.learning_rate, every)
        fitted = train.fit(net, run.n_train, batch, loss, validate, budget, run.seed, checkpoint, on_step)
        require_best(run, fitted.best)
        tables = []
        for split, chosen_by in (("test", "val_loss"), ("test-small-val", "small_val_loss")):
            net.load_state_dict(fitted.best[chosen_by])
            tables.append(self._predictions(run, grid, net, split, cases, pools["test"], device))
        record = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "convolution_parameters": net.convolution_parameters(),
            "macs": net.macs(),
            "channels": list(net.channels),
            "steps": budget.steps,
            "n_val": len(pools["val"]),
            "n_small_val": len(small),
            "best_val_loss": fitted.best_loss["val_loss"],
            **costs(fitted),
        }
        return Entry(pd.concat(tables, ignore_index=True), fitted.history, record), fitted.best["val_loss"]

    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        net = model(run.arm, grid.width, run.seed, grid.patch, grid.pools).to(device)
        net.load_state_dict(dict(weights))
        return self._predictions(run, grid, net, "test", cases, cases.indices("test"), device)

    def _predictions(
        self, run: Run, grid: Grid, net: NoduleNet, split: str, cases: Cases, test: np.ndarray, device: torch.device
    ) -> pd.DataFrame:
        """Rows of the arm and of those computed along with it, by averaging over turned copies of each image."""
        x, plain = _images(cases, test).to(device), _deployed(net)
        tables = [rows(run, run.arm, split, cases, test, _probabilities(plain, x, grid))]
        for name in self.computed_with(run.arm):
            group = Group.named(ARMS[name].averaged)
            turned = [_probabilities(plain, x, grid, group, h) for h in range(group.order)]
            tables.append(rows(run, name, split, cases, test, np.mean(turned, axis=0)))
        return pd.concat(tables, ignore_index=True)


def margin(patch: tuple[int, ...]) -> tuple[int, ...]:
    """Voxels around a patch that turning it about z and shifting it bring into view, per axis."""
    shift = [math.ceil(side * augment.SHIFT_SHARE) for side in patch]
    turn = math.ceil((math.sqrt(2) - 1) / 2 * max(patch[-2:]))
    return (*shift[:-2], *(s + turn for s in shift[-2:]))


def model(arm: str, width: int, seed: int, patch: tuple[int, ...] = (SIZE, SIZE), pools=None) -> NoduleNet:
    """The untrained network of an arm; a sham group is drawn from the seed, as everything else of a run is."""
    spec = ARMS[arm]
    group = Group.named(spec.group)
    channels = None
    if spec.like is not None:
        other = NoduleNet(spec.like, patch, width, pools=pools)
        channels = [c * other.group.order for c in other.channels]
    group = group.sham(seed) if spec.sham else group
    net = NoduleNet(group, patch, width, spec.head, spec.budget, channels, pools)
    net.reset_parameters(train.generator(seed, "initialisation"))
    return net


def _images(cases: Cases, indices: np.ndarray) -> Tensor:
    """Those cases' images, (k, 1, *S) uint8, read from disk if they lie there."""
    return torch.from_numpy(np.ascontiguousarray(cases.images[indices])).unsqueeze(1)


def _labels(cases: Cases, indices: np.ndarray, shuffled: bool, seed: int) -> Tensor:
    labels = cases.target[indices]
    if shuffled:
        labels = np.random.default_rng([seed, len(labels)]).permutation(labels)
    return torch.from_numpy(labels).float()


def _scaled(x: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return x.float() / 127.5 - 1


def _class_mean(losses: Tensor, labels: Tensor) -> Tensor:
    return (losses[labels == 1].mean() + losses[labels == 0].mean()) / 2


def _deployed(net: NoduleNet) -> torch.nn.Module:
    """The network as plain convolutions with the norms folded in: the same outputs, 2 to 3 times faster on a CPU."""
    layout = torch.channels_last if net.group.dim == 2 else torch.channels_last_3d
    return net.export().to(memory_format=layout)


@torch.inference_mode()
def _logits(plain: torch.nn.Module, x: Tensor, grid: Grid, group: Group | None = None, element: int = 0) -> Tensor:
    """(n,) for images (n, 1, *S) uint8, seen as at test time and turned by a group's element if one is named."""
    parts = (_scaled(augment.centre(part, grid.patch)) for part in x.split(PREDICT_BATCH))
    turned = (part if group is None else act_on_image(group, element, part) for part in parts)
    return torch.cat([plain(part) for part in turned])


def _probabilities(plain: torch.nn.Module, x: Tensor, grid: Grid, group: Group | None = None, element: int = 0):
    return torch.sigmoid(_logits(plain, x, grid, group, element)).double().cpu().numpy()


EXPERIMENT = Gcnn()
