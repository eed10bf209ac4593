"""G-CNN on planar candidate patches: arms, grid and training protocol.

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
from fewscans.data import luna16_patches, splits
from fewscans.errors import ParamsError, RunError
from fewscans.experiments import Run, trivial
from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import act_on_image

CODE = (
    "fewscans.groups", "fewscans.nn.gconv", "fewscans.nn.gcnn", "fewscans.augment", "fewscans.train",
    "fewscans.data.luna16_patches", "fewscans.data.splits", "fewscans.experiments.gcnn", "fewscans.experiments.trivial",
)  # fmt: skip
SIZE = 48  # even at every pool: 48, 24, 12, 6
PREDICT_BATCH = 64


@dataclass(frozen=True)
class Arm:
    """One line of the figure.

    like: take the channels of that group's network, orientations and all, so that the plain network costs as much.
    updates: times the grid's steps.   sham: see `Group.sham`.   repository_split: train and test on the source's leaky
    split.   trivial: no network at all.   turned: groups whose elements are averaged over at test time, as arms of
    their own.
    """

    group: str = "Z2"
    budget: str = "parameters"
    head: str = "paper"
    like: str | None = None
    updates: int = 1
    sham: bool = False
    repository_split: bool = False
    trivial: str | None = None
    turned: tuple[str, ...] = ()


ARMS: dict[str, Arm] = {
    "Z2": Arm(turned=("p4", "p4m")),
    "p4": Arm("p4"),
    "p4m": Arm("p4m"),
    "p4-compute": Arm("p4", budget="compute"),
    "p4m-compute": Arm("p4m", budget="compute"),
    "Z2-wide": Arm(like="p4m"),
    "Z2-long": Arm(updates=4),
    "p4m-sham": Arm("p4m", sham=True),
    "Z2-invariant": Arm(head="invariant"),
    "p4-invariant": Arm("p4", head="invariant"),
    "p4m-invariant": Arm("p4m", head="invariant"),
    "Z2-leaky": Arm(repository_split=True),
    "histogram": Arm(trivial="histogram"),
    "centre": Arm(trivial="centre"),
    "nearest": Arm(trivial="nearest"),
    "nearest-leaky": Arm(trivial="nearest", repository_split=True),
}


@dataclass(frozen=True)
class Grid:
    """What params.yaml says of one run at one profile.

    arms: sizes of the balanced training subset for each arm.   seeds: 0 … seeds - 1, shared by all arms.   steps:
    updates.   learning_rates: tried on the first `tuning_seeds` seeds, chosen per arm and size.   width: of the plain
    network's first layer.   augment: off only where orientation carries the label.
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
        for name in ("seeds", "steps", "eval_every", "tuning_seeds", "batch_size", "width"):
            if getattr(self, name) < 1:
                raise ParamsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.arms:
            raise ParamsError("arms is empty; name at least one arm")
        if not self.learning_rates or any(not 0 < rate < 1 for rate in self.learning_rates):
            raise ParamsError(f"learning_rates must lie between 0 and 1, got {list(self.learning_rates)}")
        if len(set(self.learning_rates)) < len(self.learning_rates):
            raise ParamsError(f"learning_rates names a rate twice: {list(self.learning_rates)}")
        if self.tuning_seeds > self.seeds:
            raise ParamsError(f"tuning_seeds ({self.tuning_seeds}) exceeds seeds ({self.seeds})")


def read(path: Path) -> luna16_patches.Patches:
    return luna16_patches.read(path)


def decides(run: Run, grid: Grid) -> dict:
    """The parameters that decide one run (data, code, device and threads are added by the sweep)."""
    spec = ARMS[run.arm]
    chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": vars(spec)}
    if spec.trivial is None:
        names = ("steps", "eval_every", "batch_size", "width", "augment")
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


def check(grid: Grid, data: luna16_patches.Patches) -> None:
    """DataError or ParamsError before anything is trained, if the data cannot carry the grid."""
    for arm, sizes in grid.arms.items():
        for n in sizes:
            splits.nested_balanced(data.labels, data.indices("train", ARMS[arm].repository_split), n, 0)


def model(arm: str, width: int, seed: int) -> NoduleNet:
    """The untrained network of an arm; a sham group is drawn from the seed, as everything else of a run is."""
    spec = ARMS[arm]
    group = Group.named(spec.group)
    channels = None
    if spec.like is not None:
        other = NoduleNet(spec.like, (SIZE, SIZE), width)
        channels = [c * other.group.order for c in other.channels]
    group = group.sham(seed) if spec.sham else group
    net = NoduleNet(group, (SIZE, SIZE), width, head=spec.head, budget=spec.budget, channels=channels)
    net.reset_parameters(train.generator(seed, "initialisation"))
    return net


def work(run: Run, grid: Grid) -> float:
    """Rough cost of a run in multiply-adds, for the progress bar."""
    spec = ARMS[run.arm]
    if spec.trivial is not None:
        return 1.0
    return float(model(run.arm, grid.width, 0).macs() + 2e6) * grid.steps * spec.updates


def steps(run: Run, grid: Grid) -> int:
    return 1 if ARMS[run.arm].trivial is not None else grid.steps * ARMS[run.arm].updates


def train_run(
    run: Run,
    grid: Grid,
    data: luna16_patches.Patches,
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

    def rows(arm: str, split: str, prediction: np.ndarray) -> pd.DataFrame:
        cases = (data.case[test], data.group[test], data.labels[test])
        return store.predictions_table(arm, run.n_train, run.seed, split, *cases, prediction)

    if spec.trivial is not None:
        scorer = trivial.SCORERS[spec.trivial](data.images[subset], data.labels[subset])
        if on_step is not None:
            on_step(1)
        return store.Entry(rows(run.arm, "test", scorer(data.images[test])), [], {"parameters": 0, "macs": 0}), {}

    net = model(run.arm, grid.width, run.seed).to(device)
    images = torch.from_numpy(data.images).unsqueeze(1)  # (n, 1, 50, 50) uint8
    labels = torch.from_numpy(data.labels).float()
    x_train, y_train = images[subset].to(device), labels[subset].to(device)
    x_val, y_val = _scaled(augment.centre(images[pools["val"]], SIZE)).to(device), labels[pools["val"]].to(device)
    in_small = torch.from_numpy(np.isin(pools["val"], small)).to(device)

    def batch(indices: Tensor, step: int) -> tuple[Tensor, Tensor]:
        x = _scaled(x_train[indices.to(device)])
        if grid.augment:
            decisions = augment.draw(len(indices), train.generator(run.seed, "augmentation", step))
            x = augment.apply(x, decisions, SIZE, train.generator(run.seed, "noise", step))
        else:
            x = augment.centre(x, SIZE)
        return x, y_train[indices.to(device)]

    def validate(net: NoduleNet) -> dict[str, float]:
        losses = F.binary_cross_entropy_with_logits(_logits(_deployed(net), x_val), y_val, reduction="none")
        return {"val_loss": float(losses.mean()), "small_val_loss": float(losses[in_small].mean())}

    budget = train.Budget(grid.steps * spec.updates, grid.batch_size, run.learning_rate, grid.eval_every * spec.updates)
    fitted = train.fit(
        net, run.n_train, batch, F.binary_cross_entropy_with_logits, validate, budget, run.seed, checkpoint, on_step
    )
    missing = {"val_loss", "small_val_loss"} - set(fitted.best)
    if missing:
        raise RunError(f"{run}: no finite validation loss, so no checkpoint; lower the learning rate")

    x_test = _scaled(augment.centre(images[test], SIZE)).to(device)
    tables = []
    for split, chosen_by in (("test", "val_loss"), ("test-small-val", "small_val_loss")):
        net.load_state_dict(fitted.best[chosen_by])
        plain = _deployed(net)
        tables.append(rows(run.arm, split, _probabilities(plain, x_test)))
        for name in spec.turned:
            group = Group.named(name)
            turned = [_probabilities(plain, act_on_image(group, h, x_test)) for h in range(group.order)]
            tables.append(rows(f"{run.arm}-tta-{name}", split, np.mean(turned, axis=0)))
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


def _scaled(x: Tensor) -> Tensor:
    """uint8 lung window to [-1, 1]."""
    return x.float() / 127.5 - 1


def _deployed(net: NoduleNet) -> torch.nn.Module:
    """The network as plain convolutions with the norms folded in: the same outputs, 2 to 3 times faster on a CPU."""
    return net.export().to(memory_format=torch.channels_last)


@torch.inference_mode()
def _logits(plain: torch.nn.Module, x: Tensor) -> Tensor:
    return torch.cat([plain(part) for part in x.split(PREDICT_BATCH)])


def _probabilities(plain: torch.nn.Module, x: Tensor) -> np.ndarray:
    return torch.sigmoid(_logits(plain, x)).double().cpu().numpy()
