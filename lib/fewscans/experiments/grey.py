"""Grey images and a network for colour: one channel or three copies, ImageNet's weights or random ones.

Source: practitioners' thread "Deep learning with medical images": "You can adapt the [...] model to take a one-channel
image as input, which would probably result in you having to retrain the whole model. Or you could copy the image two
times and stack the result with the original image so that you have three-channels, and then do fine-tuning".

The network is EfficientNet-Lite0, fine-tuned whole on few labels. A first layer for one channel has the weights of the
three channels, summed: on a grey image it computes what the three compute on copies, so nothing needs to be retrained,
and both arms start as the same function. They part in training alone: three copies of a weight move three times as far.
Arms at random share their start in the same way. Control: ImageNet's numbers, those of each tensor in random order.

All that is fixed here is ours: Adam, cosine, cross-entropy, the last checkpoint, small shifts and zooms.

A user's own pictures are drawn patient after patient, half of each class; pictures in colour enter as they are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans import train
from fewscans.data import group_splits, patient_draws
from fewscans.data.base import Cases, Cut
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import base, baselines
from fewscans.experiments.base import Entry, OnStep, Run, auc_of, costs, require_best, rows, still_guessing
from fewscans.nn import efficientnet
from fewscans.nn.dense import count_macs, reset_parameters

SIDE = 28  # pixels of a stored image of PneumoniaMNIST
PREDICT_BATCH = 64
SHIFT, ZOOM = 0.1, 0.1  # of the image's width, and of its size, at most
RIDGE = 1.0  # half of it times the sum of squared weights is added to the baseline's loss
BLUE, ORANGE, GREEN, GREY, PINK = "#0072B2", "#E69F00", "#009E73", "#555555", "#CC79A7"


@dataclass(frozen=True, kw_only=True)
class Arm(base.Arm):
    """one_channel: the first layer takes one channel, else three copies.   weights: "imagenet", "random" or "permuted":
    ImageNet's numbers in random order.   updates: times those of the grid.
    """

    one_channel: bool = False
    weights: str = "random"
    updates: int = 1


ARMS: dict[str, Arm] = {
    "copied-imagenet": Arm(weights="imagenet", label="three copies, ImageNet", colour=BLUE),
    "stem-imagenet": Arm(one_channel=True, weights="imagenet", label="one channel, ImageNet", colour=GREEN, marker="s"),
    "copied-random": Arm(label="three copies, random", colour=ORANGE, marker="^", line="--"),
    "stem-random": Arm(one_channel=True, label="one channel, random", colour=GREY, marker="D", line="--"),
    "copied-permuted": Arm(
        weights="permuted", label="three copies, ImageNet's numbers permuted", colour="#D55E00", marker="X", line=":",
        derived_from="copied-imagenet",
    ),
    "copied-imagenet-double": Arm(
        weights="imagenet", updates=2, label="three copies, ImageNet (twice the updates)", colour=BLUE, marker="v",
        line=":", derived_from="copied-imagenet",
    ),
    "copied-random-double": Arm(
        updates=2, label="three copies, random (twice the updates)", colour=ORANGE, marker="v", line=":",
        derived_from="copied-random",
    ),
    "pixels": Arm(trivial="pixels", label="logistic regression on pixels", colour=PINK, marker="h", line=":"),
    "histogram": Arm(trivial="histogram", label="histogram of values", colour="#8c8c8c", marker="h", line=":"),
    "sharpness": Arm(trivial="sharpness", label="sharpness, one number", colour="#c8a000", marker="*", line=":"),
    "centre": Arm(trivial="centre", label="brightness of the centre", colour="#b0b0b0", marker="P", line=":"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """What params.yaml says of one run at one profile; what all grids have: see `base.Grid`.

    arms: training images for each arm, drawn at random, so that classes are as common as in the data set.   patch:
    pixels of a stored image.   side: pixels to which it is enlarged.   steps_at: updates at some sizes.   folds: of the
    data set, as in the G-CNN's grid.   pilot: validation cases are predicted in place of test cases.
    """

    ARMS = ARMS
    COUNTS = (*base.Grid.COUNTS, "batch_size", "side")

    batch_size: int = 25
    patch: tuple[int, ...] = (SIDE, SIDE)
    side: int = 64
    folds: int = 0
    steps_at: dict[str, int] = field(default_factory=dict)
    pilot: bool = False

    def __post_init__(self):
        super().__post_init__()
        self.check_named("steps_at", self.steps_at, *self.arms)
        if any(steps < 1 for steps in self.steps_at.values()):
            raise ParamsError(f"steps_at must be at least 1, got {self.steps_at}")
        if len(self.patch) != 2 or not 1 <= min(self.patch) <= max(self.patch) <= self.side:
            given = f"patch {list(self.patch)} and side {self.side}"
            raise ParamsError(f"side must be at least each of two sides of patch, the stored image's; got {given}")

    def steps_of(self, n: int) -> int:
        """Updates at that size."""
        return self.steps_at.get(str(n), self.steps)


class GreyLite0(nn.Module):
    """EfficientNet-Lite0 with one logit: images (B, 1, S, S), in colour (B, 3, S, S), in [0, 1] in, (B,) out.

    network: its features are copied.   one_channel: its first layer's channels are summed, else images are copied.
    """

    def __init__(self, network: efficientnet.EfficientNetLite0, one_channel: bool):
        super().__init__()
        self.network, self.one_channel = copy.deepcopy(network), one_channel
        self.network._fc, self.head = nn.Identity(), nn.Linear(efficientnet.FEATURES, 1)
        if one_channel:
            summed = self.network._conv_stem.weight.detach().sum(1, keepdim=True)  # (32, 1, 3, 3)
            self.network._conv_stem = efficientnet.SameConv2d(1, len(summed), 3, 2, bias=False)
            self.network._conv_stem.weight = nn.Parameter(summed)
        for norm in self.network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = efficientnet.MOMENTUM

    def forward(self, x: Tensor) -> Tensor:
        x = (x * 255 - 127) / 128
        return self.head(self.network(x if self.one_channel else x.expand(-1, 3, -1, -1))).squeeze(1)

    def macs(self, side: int) -> int:
        """Multiply-adds for one image of that many pixels a side, forward."""
        return count_macs(self, (1, 1, side, side))


class Grey(base.Experiment):
    """One channel or three copies, ImageNet's weights or random ones, on labels of 0 and 1."""

    name = "grey"
    target = "label"
    ARMS = ARMS
    Grid = Grid
    smallest_n = 2
    beaten_by = "auc"

    def cut(self, grid: Grid) -> Cut:
        return Cut(grid.patch)

    def check(self, grid: Grid, cases: Cases) -> None:
        shape, colour = cases.images.shape[1:], _in_colour(cases)
        if shape[:2] != grid.patch or not (colour or len(shape) == 2):
            wanted = " x ".join(map(str, grid.patch))
            raise DataError(f"{cases.path}: its images are {shape}; here they are {wanted}, grey or in colour")
        most = len(cases)
        for seed in range(max(1, grid.folds)):
            index = self._index(grid, cases, seed)
            most = min(most, len(index["train"]))
            for split in ("val", "test"):
                if len(set(cases.target[index[split]])) < 2:
                    raise DataError(f"{cases.path}: its {split} cases are all of one class; it holds too few")
        for arm, sizes in grid.arms.items():
            if colour and ARMS[arm].one_channel:
                raise ParamsError(f"arms.{arm} has a first layer for one channel; images of {cases.path} have three")
            if max(sizes) > most:
                raise ParamsError(f"arms.{arm}: {max(sizes)} training images, and there are {most}")
            for n in sizes:
                for seed in grid.seeds_of(n):
                    self._subset(Run(seed, n, arm, 0.0), cases, self._index(grid, cases, seed)["train"])
            if ARMS[arm].weights != "random" and ARMS[arm].trivial is None:
                efficientnet.weights_path()  # says what to install

    def decides(self, run: Run, grid: Grid) -> dict:
        chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": self.training_of(run.arm)}
        if ARMS[run.arm].trivial is None:
            chosen |= {"steps": grid.steps_of(run.n_train), "learning_rate": run.learning_rate}
            chosen |= {name: getattr(grid, name) for name in ("batch_size", "side", "eval_every")}
        own = {"patch": grid.patch, "folds": grid.folds} if grid.folds or grid.patch != (SIDE, SIDE) else {}
        return chosen | own | {"pilot": grid.pilot}

    def updates(self, run: Run, grid: Grid) -> int:
        return grid.steps_of(run.n_train) * ARMS[run.arm].updates

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        return 31e6 * (grid.side / 64) ** 2 * 3 * grid.batch_size * self.updates(run, grid)

    def _index(self, grid: Grid, cases: Cases, seed: int) -> dict[str, np.ndarray]:
        """Cases to train on, to validate on and to predict."""
        part = group_splits.parts(cases, grid.folds, seed)
        index = {name: np.flatnonzero(part == name) for name in ("train", "val", "test")}
        return index | {"test": index["val"]} if grid.pilot else index

    def _subset(self, run: Run, cases: Cases, pool: np.ndarray) -> np.ndarray:
        """Training images; with one seed, fewer are the beginning of more. Raises DataError if all are of one class."""
        if patient_draws.by_patient(cases):
            return patient_draws.nested_patients(cases, pool, run.n_train, run.seed)
        order = np.random.default_rng([run.seed, 1]).permutation(pool)[: run.n_train]
        if len(set(cases.target[order])) < 2:
            raise DataError(
                f"{cases.path}: {run.n_train} training images of seed {run.seed} are of one class; take more"
            )
        return order

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        index, kind = self._index(grid, cases, run.seed), ARMS[run.arm].trivial
        subset, test = self._subset(run, cases, index["train"]), index["test"]
        labels = cases.target[subset]
        if kind == "pixels":
            known, new = (cases.intensities(some).reshape(len(some), -1) for some in (subset, test))
            predicted = logistic(known, labels, new)
        elif kind == "sharpness":
            known, new = (sharpness(cases.intensities(some)) for some in (subset, test))
            predicted = baselines.signed(known, labels, new)
        else:
            predicted = baselines.probability(kind, cases.images[subset], labels, cases.images[test])
        return rows(run, run.arm, "test", cases, test, predicted)

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        spec, part = ARMS[run.arm], self._index(grid, cases, run.seed)
        subset, val = self._subset(run, cases, part["train"]), part["val"]
        x, x_val = (_images(cases, index).to(device) for index in (subset, val))
        y, y_val = (torch.from_numpy(cases.target[index]).float().to(device) for index in (subset, val))
        net = network(spec, run.seed).to(device).to(memory_format=torch.channels_last)

        def batch(positions: Tensor, step: int) -> tuple[Tensor, Tensor]:
            moved = enlarged(x[positions], grid.side, train.generator(run.seed, "augmentation", step))
            return moved, y[positions]

        def validate(net: nn.Module) -> dict[str, float]:  # both are lower where a network is better
            logits = _logits(net, x_val, grid)
            return {"val_loss": float(F.binary_cross_entropy_with_logits(logits, y_val)),
                    "val_ranking": 1 - auc_of(logits, y_val)}  # fmt: skip

        budget = train.Budget(self.updates(run, grid), grid.batch_size, run.learning_rate, grid.eval_every)
        fitted = train.fit(net, run.n_train, batch, F.binary_cross_entropy_with_logits, validate, budget, run.seed,
                           checkpoint, on_step, schedule=train.cosine())  # fmt: skip
        require_best(run, fitted.best)
        history = [row | {"compute": row["step"], "val_auc": 1 - row["val_ranking"]} for row in fitted.history]
        share = cases.target[subset].mean()
        guessing = -(share * math.log(share) + (1 - share) * math.log(1 - share))
        record = {
            "parameters": sum(p.numel() for p in net.parameters()), "macs": net.macs(grid.side), "steps": budget.steps,
            "pretrained": spec.weights, "n_val": len(val), "best_val_loss": fitted.best_loss["val_loss"],
            "last_val_loss": history[-1]["val_loss"], "val_score": history[-1]["val_auc"],
            "failed": still_guessing(history, guessing), **costs(fitted),
        }  # fmt: skip
        history = [{name: value for name, value in row.items() if name != "val_ranking"} for row in history]
        return Entry(self.predict(run, grid, fitted.last, cases, device), history, record), fitted.last

    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        net = GreyLite0(efficientnet.EfficientNetLite0(), ARMS[run.arm].one_channel)
        net.load_state_dict(dict(weights))
        net = net.to(device).eval().to(memory_format=torch.channels_last)
        test = self._index(grid, cases, run.seed)["test"]
        x = _images(cases, test).to(device)
        probability = torch.sigmoid(_logits(net, x, grid)).double().cpu().numpy()
        return rows(run, run.arm, "test", cases, test, probability)


def network(spec: Arm, seed: int) -> GreyLite0:
    """The network of an arm before training; arms of one seed share what they draw at random."""
    random = train.generator(seed, "initialisation")
    features = efficientnet.EfficientNetLite0()
    if spec.weights == "random":
        features.reset_parameters(random)
    else:
        efficientnet.load_imagenet(features, efficientnet.weights_path())
    if spec.weights == "permuted":
        with torch.no_grad():
            for tensor in features.state_dict().values():
                if tensor.ndim:  # not the counters of batches
                    tensor.copy_(tensor.flatten()[torch.randperm(tensor.numel(), generator=random)].view_as(tensor))
    net = GreyLite0(features, spec.one_channel)
    reset_parameters(net.head, train.generator(seed, "initialisation", 1))
    return net


def enlarged(x: Tensor, side: int, random: torch.Generator | None = None) -> Tensor:
    """Images (B, C, H, W) at another size, (B, C, side, side), between pixels by straight lines.

    random: if given, each image is shifted and zoomed a little; what comes into view repeats the border.
    """
    count = len(x)
    draw = torch.zeros(count, 3) if random is None else 2 * torch.rand(count, 3, generator=random) - 1
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1 + ZOOM * draw[:, 0]
    affine[:, :, 2] = 2 * SHIFT * draw[:, 1:]  # the image is 2 wide
    places = F.affine_grid(affine.to(x.device), [count, x.shape[1], side, side], align_corners=False)
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


def logistic(x: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Logistic regression with squared weights as a penalty: the probability of label 1 for new cases.

    x: (n, f) features.   labels: (n,) 0 or 1.   new: (k, f).   Returns: (k,). The mean of x is 0 for the penalty.
    """
    centre = x.mean(axis=0, dtype=np.float64)
    features, y = torch.from_numpy(x - centre), torch.from_numpy(labels).double()
    weights = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)  # the last is the constant
    optimiser = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-9, tolerance_change=0,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = features @ weights[:-1] + weights[-1]
        total = F.binary_cross_entropy_with_logits(logits, y, reduction="sum") + RIDGE / 2 * (weights[:-1] ** 2).sum()
        total.backward()
        return total

    optimiser.step(loss)
    fitted = weights.detach().numpy()
    return 1 / (1 + np.exp(-((new - centre) @ fitted[:-1] + fitted[-1])))


def sharpness(images: np.ndarray) -> np.ndarray:
    """Mean difference of pixels side by side, (n,), of images (n, H, W): may say how they were resampled, no more."""
    return np.abs(np.diff(images, axis=2)).reshape(len(images), -1).mean(axis=1)


def _in_colour(cases: Cases) -> bool:
    return cases.images.ndim == 4 and cases.images.shape[-1] == 3


def _images(cases: Cases, index: np.ndarray) -> Tensor:
    """(k, 1, H, W), in colour (k, 3, H, W), in [0, 1]."""
    images = torch.from_numpy(cases.intensities(index))
    return images.movedim(-1, 1) if _in_colour(cases) else images.unsqueeze(1)


@torch.inference_mode()
def _logits(net: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    """(n,) for images (n, C, H, W), enlarged and otherwise as they are."""
    return torch.cat([net(enlarged(part, grid.side)) for part in x.split(PREDICT_BATCH)])


EXPERIMENT = Grey()
