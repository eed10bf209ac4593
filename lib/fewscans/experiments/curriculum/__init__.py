"""Chest X-rays: patches around lesions first, whole images second. Grid and training protocol.

Source: Park et al., Sci. Rep. 9:15352 (2019), as its abstract and a review state it: a network with a sigmoid for each
finding is trained on patches, then on whole images with the images' labels; images are stretched to a square, their
mean is subtracted, and they are sharpened or blurred at random. Optimiser, rates and patch size could not be read.

Both steps are one run of updates, each with its own warm-up and cosine; after every few, the validation images are
scored, and the checkpoint with their lowest loss is kept. Computing is counted in updates on whole images: a patch
counts as much as its pixels. With `folds`, patients are divided into so many parts; a run trains one network a part,
which predicts that part, is validated on the next and trained on the others, so all images are scored once. Of a
user's own set a run trains one network, seeds rotate the parts if there are some, training images are drawn patient
after patient, half of each class, and where a network looks is not scored.

Rows of the table, by split: "test", "test-style" and, where views are known, "test-AP" and "test-PA" have a row an
image and finding; "test-lesions" and "test-pointing" are those of `places`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans import train
from fewscans.data import group_splits, patient_draws, radiographs
from fewscans.data.base import Cases, Cut
from fewscans.data.group_splits import Fold
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import base, baselines
from fewscans.experiments.base import Entry, OnStep, Run, auc_of, costs, require_best, still_guessing
from fewscans.experiments.curriculum import images, patches, places
from fewscans.experiments.curriculum.arms import ARMS
from fewscans.nn import efficientnet, resnet
from fewscans.nn.cam import cam

NETWORKS = ("resnet", "lite0")
WARM_UP = 0.1  # share of a step's updates
PREDICT_BATCH = 32
WHOLE_GRID = ("arms", "seeds", "learning_rates", "tuning_seeds", "first_seed", "seeds_at", "rates")  # decide no run
CELL = ("arm", "n_train", "seed", "split", "case", "group", "target", "prediction")
SHORTCUTS = ("view", "followup", "age", "sex")


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """What params.yaml says of one run at one profile; what all grids have: see `base.Grid`.

    arms: training images for each arm.   findings: one sigmoid each; images on which one was never looked for are left
    out.   stored: pixels of a stored image, from which patches are cut; size: of a whole image as networks see it;
    patch: of a patch.   network: "resnet", or "lite0", EfficientNet-Lite0 with ImageNet weights.   width, layers: of
    the ResNet; 64 and 3, 4, 6, 3 are ResNet-50.   imagenet: file of ResNet-50's ImageNet weights, if it starts there.
    patch_steps: updates of step 1; steps: of step 2.   folds: see above; 0: the data set's own split.   rotate: a
    user's own set; seeds rotate its folds.   goal: AUC of the validation images, by which convergence is judged.
    """

    ARMS = ARMS
    COUNTS = (*base.Grid.COUNTS, "batch_size", "stored", "size", "patch", "width", "patch_steps")

    findings: tuple[str, ...] = radiographs.FINDINGS
    stored: int = 2048
    size: int = 1024
    patch: int = 512
    network: str = "resnet"
    width: int = 64
    layers: tuple[int, ...] = (3, 4, 6, 3)
    imagenet: str = ""
    batch_size: int = 16
    patch_steps: int = 1000
    folds: int = 0
    rotate: bool = False

    def __post_init__(self):
        super().__post_init__()
        faults = {
            f"network must be one of {', '.join(NETWORKS)}, got {self.network!r}": self.network not in NETWORKS,
            f"findings must name each once, got {list(self.findings)}": len(set(self.findings)) < len(self.findings),
            f"size and patch exceed stored, {self.stored}": max(self.size, self.patch) > self.stored,
            f"folds must be 3 or more, for training, validation and test, or 0, got {self.folds}": 0 < self.folds < 3,
            f"imagenet names no file: {self.imagenet!r}": self.imagenet and not Path(self.imagenet).is_file(),
        }
        for fault in (fault for fault, found in faults.items() if found):
            raise ParamsError(fault)

    @property
    def networks(self) -> int:
        """That a run trains."""
        return 1 if self.rotate else max(1, self.folds)

    @property
    def patch_cost(self) -> float:
        """Of a patch, in whole images."""
        return (self.patch / self.size) ** 2


class Curriculum(base.Experiment):
    """Findings on chest X-rays, with and without a first step on patches."""

    name = "curriculum"
    target = "label"
    ARMS = ARMS
    Grid = Grid
    beaten_by = "mean_auc"

    def cut(self, grid: Grid) -> Cut:
        return Cut((grid.stored, grid.stored))

    def read(self, dataset: str, path: Path, grid: Grid, cache: Path | None = None) -> Cases:
        cases = super().read(dataset, path, grid, cache)
        read = np.isfinite(radiographs.labels(cases, grid.findings)).all(axis=1)
        some = {name: getattr(cases, name)[read] for name in ("images", "target", "case", "group", "split")}
        some["left_out"] = (*cases.left_out, *cases.case[~read].tolist())
        cases = replace(cases, **some, about=cases.about[read].reset_index(drop=True))
        if grid.rotate:  # with folds, each is tested in its turn
            return replace(cases, split=np.full(len(cases), "test")) if grid.folds else cases
        return replace(cases, truth=places.truth(cases, grid.findings))

    def check(self, grid: Grid, cases: Cases) -> None:
        if patient_draws.by_patient(cases) is not grid.rotate:
            raise ParamsError(f"rotate must be true for {cases.path}" if not grid.rotate else
                              f"rotate is for sets of your own; leave it out for {cases.path}")  # fmt: skip
        labels = radiographs.labels(cases, grid.findings)
        for part in (part for seed in range(grid.seeds) for part in self._parts(grid, cases, seed)):
            for finding, *known in zip(grid.findings, labels[part.val].T, labels[part.test].T, strict=True):
                if any(len(set(of_split)) < 2 for of_split in known):
                    raise DataError(f"{cases.path}: all images of a split agree on {finding!r}; it holds too few")
            for arm, sizes in grid.arms.items():
                if max(sizes) > len(part.train):
                    raise ParamsError(f"arms.{arm}: {max(sizes)} training images, and there are {len(part.train)}")
                source = self._source(Run(0, min(sizes), arm, 0.0), grid, cases, part)
                if ARMS[arm].patches and not (len(source.boxes) and len(source.normal)):
                    raise DataError(f"{cases.path}: {min(sizes)} training images hold no box, or none without findings")
        if "shortcuts" in grid.arms and (lacking := set(SHORTCUTS) - set(cases.about)):
            raise ParamsError(f"arms.shortcuts: {cases.path} does not say {', '.join(sorted(lacking))}")

    def decides(self, run: Run, grid: Grid) -> dict:
        chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": self.training_of(run.arm)}
        if ARMS[run.arm].trivial is not None:
            return chosen | {name: getattr(grid, name) for name in ("findings", "stored", "folds", "rotate")}
        weights = hashlib.sha256(Path(grid.imagenet).read_bytes()).hexdigest() if grid.imagenet else ""
        settings = {f.name: getattr(grid, f.name) for f in fields(grid) if f.name not in WHOLE_GRID}
        return chosen | settings | {"imagenet": weights, "learning_rate": run.learning_rate}

    def updates(self, run: Run, grid: Grid) -> int:
        return len(_schedule(run.arm, grid)) * grid.networks

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        passes = 3 * grid.batch_size * _computing(_schedule(run.arm, grid), grid)[-1] * grid.networks
        return float(_network(grid).macs(grid.size)) * passes

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        labels, boxes = radiographs.labels(cases, grid.findings), radiographs.boxes(cases, grid.findings)
        kind, predicted, maps = ARMS[run.arm].trivial, [], {}
        for part in self._parts(grid, cases, run.seed):
            subset = self._subset(part, run, cases)
            share = labels[subset].mean(axis=0)
            p = np.repeat(share[None], len(part.test), axis=0)
            if kind in ("prior", "centre"):
                mine = boxes[boxes["image"].isin(subset)]
                hill = places.prior(mine, grid.findings) if kind == "prior" else places.centre(grid.findings)
                maps |= dict.fromkeys(part.test.tolist(), hill * share[:, None, None])
            else:
                x = _shortcuts(cases) if kind == "shortcuts" else None
                known, new = (baselines.histogram(cases.images[some]) * baselines.BINS if x is None else x[some]
                              for some in (subset, part.test))  # fmt: skip
                fitted = [baselines.ridge(known, labels[subset, k], new, kind == "shortcuts")
                          for k in range(len(grid.findings))]  # fmt: skip
                p = np.stack(fitted, axis=1).clip(0, 1)
            predicted += zip(cases.split[part.test], part.test, p, strict=True)
        return self._tables(run, grid, cases, predicted, maps)

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        fitted, weights = [], {}
        for number, part in enumerate(self._parts(grid, cases, run.seed)):
            own = checkpoint if grid.networks == 1 else None  # an interrupted run of folds restarts from its first one
            made = self._fit(run, grid, cases, part, number, device, own, on_step)
            weights |= {f"{number}/{name}": value for name, value in made.best["val_loss"].items()}
            fitted.append(made)
        history = pd.concat([pd.DataFrame(made.history) for made in fitted]).groupby("step", as_index=False).mean()
        computing, net = _computing(_schedule(run.arm, grid), grid), _network(grid)
        history["compute"] = computing[history["step"] - 1]
        history["val_auc"], history["val_accuracy"] = 1 - history.pop("val_ranking"), 1 - history.pop("val_error")
        record = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "macs": net.macs(grid.size),
            "networks": len(fitted),
            "pretrained": "ImageNet" if grid.network == "lite0" or grid.imagenet else "none",
            "compute": float(computing[-1]),
            "best_val_loss": float(np.mean([made.best_loss["val_loss"] for made in fitted])),
            **costs(*fitted),
        }
        if grid.rotate:  # half of what is drawn shows the finding
            record["failed"] = still_guessing(fitted[0].history, math.log(2))
        return Entry(self.predict(run, grid, weights, cases, device), history.to_dict("records"), record), weights

    def _fit(self, run, grid: Grid, cases, part: Fold, number: int, device, checkpoint, on_step) -> train.Fitted:
        """One network of a run."""
        spec, seed, schedule = ARMS[run.arm], run.seed * grid.networks + number, _schedule(run.arm, grid)
        labels = radiographs.labels(cases, grid.findings)
        x, subset = torch.from_numpy(np.ascontiguousarray(cases.images)).to(device), self._subset(part, run, cases)
        source = self._source(run, grid, cases, part) if spec.patches else None

        def batch(positions: Tensor, step: int) -> tuple[Tensor, Tensor]:
            rng = np.random.default_rng([seed, 3, step])
            if schedule[step]:
                drawn = source.draw(len(positions), rng, anywhere=spec.patches == "random", alike=grid.rotate)
                y = rng.permutation(drawn.labels) if spec.shuffled else drawn.labels
                seen = images.windows(x, *map(torch.from_numpy, drawn[:4]), grid.patch)
            else:
                index = subset[positions.numpy()]
                seen, y = images.prepared(x[index], grid.size), labels[index]
            if spec.augment:
                amount = images.amounts(len(seen), train.generator(seed, "augmentation", step))
                seen = images.sharpened(seen, amount.to(device))
            return seen.contiguous(memory_format=torch.channels_last), torch.from_numpy(y).float().to(device)

        y_val = torch.from_numpy(labels[part.val])

        def validate(net: nn.Module) -> dict[str, float]:  # all are lower where a network is better
            parts = (images.prepared(some, grid.size) for some in x[part.val].split(PREDICT_BATCH))
            logits = torch.cat([net(some) for some in parts]).cpu().double()
            right = ((logits > 0) == (y_val == 1)).double().mean()
            above = [auc_of(logits[:, k], y_val[:, k]) for k in range(len(grid.findings))]
            loss = F.binary_cross_entropy_with_logits(logits, y_val)
            return {"val_loss": float(loss), "val_ranking": 1 - float(np.mean(above)), "val_error": 1 - float(right)}

        def rate(done: float) -> float:
            """Each step warms up, then falls to 0."""
            step, first = round(done * len(schedule)), 0 if spec.joint else int(schedule.sum())
            begins, ends = (0, first) if step < first else (first, len(schedule))
            share = (step - begins) / (ends - begins)
            return min(1.0, (share + 1 / (ends - begins)) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))

        net = _network(grid, pretrained=True)
        net.reset_parameters(train.generator(seed, "initialisation"))
        if grid.imagenet:
            resnet.load_imagenet(net, grid.imagenet)
        net = net.to(device).to(memory_format=torch.channels_last)
        budget = train.Budget(len(schedule), grid.batch_size, run.learning_rate, grid.eval_every)
        fitted = train.fit(net, run.n_train, batch, _known_loss, validate, budget, seed, checkpoint, on_step,
                           schedule=rate)  # fmt: skip
        require_best(run, fitted.best)
        return fitted

    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        predicted, maps = [], {}
        for number, part in enumerate(self._parts(grid, cases, run.seed)):
            net, prefix = _network(grid), f"{number}/"
            net.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
            net = net.to(device).eval().to(memory_format=torch.channels_last)
            for split, index in (("val", part.val), ("", part.test)):
                for some in (index[k : k + PREDICT_BATCH] for k in range(0, len(index), PREDICT_BATCH)):
                    with torch.inference_mode():
                        x = images.prepared(torch.from_numpy(cases.images[some]).to(device), grid.size)
                        coarse = (cam(net, x) + net.head.bias[:, None, None]).double().cpu()
                    p = coarse.mean((2, 3)).sigmoid().numpy()
                    predicted += zip([split or cases.split[i] for i in some], some, p, strict=True)
                    maps |= dict(zip(some.tolist(), coarse.sigmoid().numpy(), strict=True)) if not split else {}
        return self._tables(run, grid, cases, predicted, maps)

    def _tables(self, run: Run, grid: Grid, cases: Cases, predicted, maps: Mapping[int, np.ndarray]) -> pd.DataFrame:
        """All rows of one run.   predicted: (split, place of the image, (K,)).   maps: (K, h, w) by place, or none."""
        labels, boxes = radiographs.labels(cases, grid.findings), radiographs.boxes(cases, grid.findings)
        if "view" in cases.about and not grid.rotate:
            views = cases.about["view"]
            predicted = [*predicted, *((f"test-{views[i]}", i, p) for split, i, p in predicted if split == "test")]
        made = [(split, i, f"{cases.case[i]}/{finding}", labels[i, k], p[k])
                for split, i, p in predicted for k, finding in enumerate(grid.findings)]  # fmt: skip
        keep = run.seed == 0 and ARMS[run.arm].trivial is None
        tested = {i: m for i, m in maps.items() if cases.split[i] == "test"}
        made += [] if grid.rotate else places.tables(tested, cases, boxes, grid.findings, keep)
        table = pd.DataFrame(made, columns=["split", "image", "case", "target", "prediction"])
        image = table.pop("image")
        group = np.where(table["split"] == "test-lesions", cases.case[image], cases.group[image])  # FROC counts images
        table = table.assign(arm=run.arm, n_train=run.n_train, seed=run.seed, group=group)
        return table[list(CELL)].astype({"target": "float64", "prediction": "float64"})

    def fold_of(self, grid: Grid, cases: Cases, seed: int) -> np.ndarray:
        """Which part each image belongs to, (n,): its number, or where seeds rotate them "train", "val" or "test"."""
        if grid.rotate:
            return group_splits.parts(cases, grid.folds, seed)
        return _folds(cases.group, radiographs.labels(cases, grid.findings[:1])[:, 0], grid.folds, seed)

    def _parts(self, grid: Grid, cases: Cases, seed: int) -> Iterator[Fold]:
        if grid.rotate:
            part = group_splits.parts(cases, grid.folds, seed)
            yield Fold("", *(np.flatnonzero(part == name) for name in ("train", "val", "test")))
            return
        if not grid.folds:
            test = np.flatnonzero(np.isin(cases.split, ("test", "test-style")))
            yield Fold("", cases.indices("train"), cases.indices("val"), test)
            return
        fold = self.fold_of(grid, cases, seed)
        for k in range(grid.folds):
            held = (k, (k + 1) % grid.folds)
            yield Fold(str(k), np.flatnonzero(~np.isin(fold, held)), *(np.flatnonzero(fold == h) for h in held[::-1]))

    def _subset(self, part: Fold, run: Run, cases: Cases) -> np.ndarray:
        """Training images; with one seed, fewer are the beginning of more."""
        if patient_draws.by_patient(cases):
            return patient_draws.nested_patients(cases, part.train, run.n_train, run.seed)
        return np.random.default_rng([run.seed, 1]).permutation(part.train)[: run.n_train]

    def _source(self, run: Run, grid: Grid, cases: Cases, part: Fold) -> patches.Source:
        drawn = [of(cases, grid.findings) for of in (radiographs.labels, radiographs.boxes)]
        rng, taught = np.random.default_rng([run.seed, 2]), radiographs.boxed(cases, grid.findings)
        index, side = self._subset(part, run, cases), grid.patch / grid.stored
        return patches.Source(index, *drawn, grid.findings, taught, side, ARMS[run.arm].share, rng)


def _schedule(arm: str, grid: Grid) -> np.ndarray:
    """Which updates are on patches, (updates,) bool."""
    spec = ARMS[arm]
    if not spec.patches:
        return np.zeros(grid.steps + spec.longer * round(grid.patch_steps * grid.patch_cost), bool)
    total = grid.steps + grid.patch_steps
    if not spec.joint:
        return np.arange(total) < grid.patch_steps
    return np.diff(np.arange(total + 1) * grid.patch_steps // total) == 1


def _computing(schedule: np.ndarray, grid: Grid) -> np.ndarray:
    """Up to each update, in updates on whole images."""
    return np.cumsum(np.where(schedule, grid.patch_cost, 1.0))


def _network(grid: Grid, pretrained: bool = False) -> nn.Module:
    if grid.network == "resnet":
        return resnet.ResNet(len(grid.findings), grid.width, grid.layers)
    features = efficientnet.EfficientNetLite0()
    if pretrained:
        efficientnet.load_imagenet(features, efficientnet.weights_path())
    return efficientnet.Lite0XRay(len(grid.findings), features)


def _known_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, mean over the labels that are known."""
    known = torch.isfinite(labels)
    return F.binary_cross_entropy_with_logits(logits[known], labels[known])


def _folds(group: np.ndarray, label: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The part of each image, 0 to folds - 1: by patient, those with a positive image spread evenly."""
    patients, of_patient = np.unique(group, return_inverse=True)
    positive = np.bincount(of_patient, label) > 0
    rng, part = np.random.default_rng([seed, 4]), np.empty(len(patients), int)
    for value in (False, True):
        some = rng.permutation(np.flatnonzero(positive == value))
        part[some] = np.arange(len(some)) % folds
    return part[of_patient]


def _shortcuts(cases: Cases) -> np.ndarray:
    """What is known without looking, (n, 4): view, number of the visit (its logarithm), age, sex."""
    about, log = cases.about, np.log1p(cases.about["followup"].to_numpy(float))
    coded = about.assign(view=about["view"] == "AP", followup=log, sex=about["sex"] == "M")
    return coded[list(SHORTCUTS)].to_numpy(float)


EXPERIMENT = Curriculum()
