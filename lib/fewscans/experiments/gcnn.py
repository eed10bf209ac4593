"""G-CNN in space, as published, and on the plane: grid and training protocol.

Source: Winkels & Cohen, Med. Image Anal. 55 (2019): Adam, batches of 30, cross-entropy, balanced nested subsets, the
same augmentation for all arms. Where the paper stops early with patience 5, every arm here gets the same number of
updates and keeps its best-validation checkpoint; three learning rates per arm and size are tried on the first seeds and
chosen on validation loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans import augment, store, train
from fewscans.data import splits
from fewscans.data.samples import Samples
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments import Run, cases, trivial
from fewscans.experiments.arms import ARMS
from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import act_on_image

SHARED_CODE = (
    "fewscans.groups", "fewscans.nn.gconv", "fewscans.nn.gcnn", "fewscans.augment", "fewscans.train",
    "fewscans.data.splits", "fewscans.experiments.arms", "fewscans.experiments.cases", "fewscans.experiments.gcnn",
    "fewscans.experiments.trivial",
)  # fmt: skip
SIZE = 48  # of planar patches, even at every pool: 48, 24, 12, 6
PREDICT_BATCH = 64


@dataclass(frozen=True)
class Grid:
    """What params.yaml says of one run at one profile.

    arms: sizes of the balanced training subset for each arm.   seeds: 0 … seeds - 1, shared by all arms.   steps:
    updates.   learning_rates: tried on the first `tuning_seeds` seeds, chosen per arm and size.   width: of the plain
    network's first layer.   augment: off only where orientation carries the label.   patch: what the networks see, (y,
    x) or (z, y, x).   downsample: MedMNIST's volumes are averaged over blocks of so many voxels a side.   pools: see
    `NoduleNet`.   spacing_mm: of the patch's voxels, for data sets that are cut from scans.   negatives_per_scan,
    train_negatives: how much of such a list of candidates is cut.   balanced_validation: both classes count equally in
    the validation loss, as they do in training; else each case does.
    Raises ParamsError for an unknown arm and for what cannot be.
    """

    arms: dict[str, tuple[int, ...]]
    seeds: int
    steps: int
    eval_every: int
    learning_rates: tuple[float, ...]
    tuning_seeds: int = 1
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
        for arm, sizes in self.arms.items():
            if arm not in ARMS:
                derived = {f"{a}-tta-{g}": a for a, spec in ARMS.items() for g in spec.turned}
                hint = f"; it is computed along with {derived[arm]}" if arm in derived else ""
                raise ParamsError(f"unknown arm {arm!r}{hint}; known arms: {', '.join(ARMS)}")
            if not sizes or any(n < 2 or n % 2 for n in sizes):
                raise ParamsError(
                    f"arms.{arm}: sizes must be even and at least 2, as subsets are balanced; got {list(sizes)}"
                )
            if len(set(sizes)) < len(sizes):
                raise ParamsError(f"arms.{arm} names a size twice: {list(sizes)}")
            dim = Group.named(ARMS[arm].group).dim
            if ARMS[arm].trivial is None and dim != len(self.patch):
                raise ParamsError(
                    f"arms.{arm} has a group of {'the plane' if dim == 2 else 'space'}, but patch is {list(self.patch)}"
                )
        for name in ("seeds", "steps", "eval_every", "tuning_seeds", "batch_size", "width", "downsample"):
            if getattr(self, name) < 1:
                raise ParamsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.arms:
            raise ParamsError("arms is empty; name at least one arm")
        if not self.learning_rates or any(not 0 < rate < 1 for rate in self.learning_rates):
            raise ParamsError(f"learning_rates must lie between 0 and 1, got {list(self.learning_rates)}")
        if len(set(self.learning_rates)) < len(self.learning_rates):
            raise ParamsError(f"learning_rates names a rate twice: {list(self.learning_rates)}")
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
        if self.tuning_seeds > self.seeds:
            raise ParamsError(f"tuning_seeds ({self.tuning_seeds}) exceeds seeds ({self.seeds})")


def code(dataset: str) -> tuple[str, ...]:
    """The modules whose code decides a run on that data set."""
    return (*SHARED_CODE, *cases.READERS[dataset])


read = cases.read


def decides(run: Run, grid: Grid) -> dict:
    """The parameters that decide one run (data, code, device and threads are added by the sweep)."""
    spec = ARMS[run.arm]
    chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": vars(spec)}
    chosen |= {"patch": grid.patch, "downsample": grid.downsample}
    if spec.trivial is None:
        names = ("steps", "eval_every", "batch_size", "width", "augment", "pools", "balanced_validation")
        chosen |= {"learning_rate": run.learning_rate} | {name: getattr(grid, name) for name in names}
    return chosen


def _trials(grid: Grid, arm: str, n: int) -> list[Run]:
    rates = grid.learning_rates if ARMS[arm].trivial is None else (0.0,)
    seeds = grid.tuning_seeds if len(rates) > 1 else 0
    return [Run(seed, n, arm, rate) for seed in range(seeds) for rate in rates]


def chosen_rate(grid: Grid, losses: Mapping[Run, float], arm: str, n: int) -> float | None:
    """The learning rate with the lowest mean validation loss over the trials; None while trials are missing."""
    if ARMS[arm].trivial is not None:
        return 0.0
    if len(grid.learning_rates) == 1:
        return grid.learning_rates[0]
    trials = _trials(grid, arm, n)
    if any(trial not in losses for trial in trials):
        return None
    return min(grid.learning_rates, key=lambda rate: np.mean([losses[t] for t in trials if t.learning_rate == rate]))


def final(grid: Grid, losses: Mapping[Run, float]) -> list[Run]:
    """The runs of the table, as far as their learning rates are chosen."""
    wanted = [(arm, n, chosen_rate(grid, losses, arm, n)) for arm, sizes in grid.arms.items() for n in sizes]
    return [Run(seed, n, arm, rate) for arm, n, rate in wanted if rate is not None for seed in range(grid.seeds)]


def plan(grid: Grid, losses: Mapping[Run, float]) -> list[Run]:
    """All runs known to be wanted, trials first, then seed by seed, so that every arm has results early."""
    trials = sorted(t for arm, sizes in grid.arms.items() for n in sizes for t in _trials(grid, arm, n))
    return list(dict.fromkeys(trials + sorted(final(grid, losses))))


def arm_names(grid: Grid) -> list[str]:
    """Arms of the table in order, with those computed along with another behind it."""
    return [name for arm in grid.arms for name in (arm, *(f"{arm}-tta-{g}" for g in ARMS[arm].turned))]


def check(grid: Grid, data: Samples) -> None:
    """DataError or ParamsError before anything is trained, if the data cannot carry the grid."""
    found, wanted = (" x ".join(map(str, sizes)) for sizes in (data.images.shape[1:], grid.patch))
    if any(have < want for have, want in zip(data.images.shape[1:], grid.patch, strict=True)):
        raise DataError(f"{data.path}: its images are {found} voxels, too small for a patch of {wanted}")
    for arm, sizes in grid.arms.items():
        for n in sizes:
            splits.nested_balanced(data.labels, data.indices("train", ARMS[arm].repository_split), n, 0)


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


def work(run: Run, grid: Grid) -> float:
    """Rough cost of a run in multiply-adds, for the progress bar."""
    spec = ARMS[run.arm]
    if spec.trivial is not None:
        return 1.0
    macs = model(run.arm, grid.width, 0, grid.patch, grid.pools).macs()
    return float(macs + 2e6) * grid.steps * spec.updates


def steps(run: Run, grid: Grid) -> int:
    return 1 if ARMS[run.arm].trivial is not None else grid.steps * ARMS[run.arm].updates


def train_run(
    run: Run,
    grid: Grid,
    data: Samples,
    device: torch.device,
    checkpoint: Path | None = None,
    on_step: Callable[[int], None] | None = None,
) -> tuple[store.Entry, dict[str, Tensor]]:
    """Trains and predicts one run.

    Rows for the test set by the checkpoint that the whole validation set chooses ("test"), and by the one that a
    validation set no larger than N chooses ("test-small-val").   Returns the entry and the weights of the former.
    """
    spec = ARMS[run.arm]
    pools = {split: data.indices(split, spec.repository_split) for split in ("train", "val", "test")}
    subset = splits.nested_balanced(data.labels, pools["train"], run.n_train, run.seed)
    small = splits.small_validation(data.labels, pools["val"], run.n_train, run.seed)
    test = pools["test"]

    if spec.trivial is not None:
        # a published image is scored whole; what was cut here has a margin for augmentation, which no network sees
        seen = (lambda x: x) if grid.spacing_mm is None else (lambda x: augment.centre(x[:, None], grid.patch)[:, 0])
        scorer = trivial.SCORERS[spec.trivial](seen(data.images[subset]), data.labels[subset])
        if on_step is not None:
            on_step(1)
        rows = _rows(run, run.arm, "test", data, test, scorer(seen(data.images[test])))
        return store.Entry(rows, [], {"parameters": 0, "macs": 0}), {}

    net = model(run.arm, grid.width, run.seed, grid.patch, grid.pools).to(device)
    (x_train, y_train), (x_val, y_val) = (
        (_images(data, indices).to(device), _labels(data, indices, spec.shuffled, run.seed).to(device))
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

    budget = train.Budget(grid.steps * spec.updates, grid.batch_size, run.learning_rate, grid.eval_every * spec.updates)
    fitted = train.fit(
        net, run.n_train, batch, F.binary_cross_entropy_with_logits, validate, budget, run.seed, checkpoint, on_step
    )
    missing = {"val_loss", "small_val_loss"} - set(fitted.best)
    if missing:
        raise RunError(f"{run}: no finite validation loss, so no checkpoint; lower the learning rate")

    tables = []
    for split, chosen_by in (("test", "val_loss"), ("test-small-val", "small_val_loss")):
        net.load_state_dict(fitted.best[chosen_by])
        tables.append(_predictions(run, grid, net, split, data, test, device))
    record = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "convolution_parameters": net.convolution_parameters(),
        "macs": net.macs(),
        "channels": list(net.channels),
        "steps": budget.steps,
        "n_val": len(pools["val"]),
        "n_small_val": len(small),
        "best_val_loss": fitted.best_loss["val_loss"],
        "seconds_cpu": round(fitted.seconds_cpu, 3),
        "seconds_wall": round(fitted.seconds_wall, 3),
    }
    return store.Entry(pd.concat(tables, ignore_index=True), fitted.history, record), fitted.best["val_loss"]


def predict(run: Run, grid: Grid, weights: Mapping[str, Tensor], data: Samples, device: torch.device) -> pd.DataFrame:
    """What a trained network makes of other cases: the table's rows for the test split of `data`, as `train_run` has.

    weights: those that `train_run` returned for this run and grid.
    """
    net = model(run.arm, grid.width, run.seed, grid.patch, grid.pools).to(device)
    net.load_state_dict(dict(weights))
    return _predictions(run, grid, net, "test", data, data.indices("test"), device)


def _predictions(
    run: Run, grid: Grid, net: NoduleNet, split: str, data: Samples, test: np.ndarray, device: torch.device
) -> pd.DataFrame:
    """Rows of the arm and of those computed along with it, by averaging over turned copies of each image."""
    x, plain = _images(data, test).to(device), _deployed(net)
    tables = [_rows(run, run.arm, split, data, test, _probabilities(plain, x, grid))]
    for name in ARMS[run.arm].turned:
        group = Group.named(name)
        turned = [_probabilities(plain, x, grid, group, h) for h in range(group.order)]
        tables.append(_rows(run, f"{run.arm}-tta-{name}", split, data, test, np.mean(turned, axis=0)))
    return pd.concat(tables, ignore_index=True)


def _rows(run: Run, arm: str, split: str, data: Samples, test: np.ndarray, prediction: np.ndarray) -> pd.DataFrame:
    who = (data.case[test], data.group[test], data.labels[test])
    return store.predictions_table(arm, run.n_train, run.seed, split, *who, prediction)


def _images(data: Samples, indices: np.ndarray) -> Tensor:
    """Those cases' images, (k, 1, *S) uint8, read from disk if they lie there."""
    return torch.from_numpy(np.ascontiguousarray(data.images[indices])).unsqueeze(1)


def _labels(data: Samples, indices: np.ndarray, shuffled: bool, seed: int) -> Tensor:
    labels = data.labels[indices]
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
