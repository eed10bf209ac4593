"""Camelyon16: train on patches, sweep whole slides, find lesions in the heatmap. Grid and training protocol.

Source: Liu et al., Detecting Cancer Metastases on Gigapixel Pathology Images, arXiv 1703.02442, as others restate it:
cross-entropy on patches that are labelled by their centre, RMSProp (momentum 0.9, decay 0.9, epsilon 1), a rate that
is halved every two million examples; the slide's score is the maximum of its heatmap; detections are its peaks, those
within six cells of a higher one suppressed, down to 0.5.

A case is a slide, and N counts training slides, half of them with tumour. Of each arm the checkpoint with the lowest
loss on patches of the validation slides, drawn as balanced as in training, is kept.

Rows of the table, by split: "test" and "test-independent" hold slides and their scores; "test-lesions" holds what FROC
needs, a row a lesion (its most probable detection; 0 if it was missed) and 100 a slide for its false alarms;
"test-roughness" holds the mean difference between neighbouring cells of a slide's heatmap, and "test-cells" the
heatmaps of three slides, of seed 0 alone.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans import train
from fewscans.data import registry, splits
from fewscans.data.base import Cases, Cut
from fewscans.data.formats import stain
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import base
from fewscans.experiments.base import Entry, OnStep, Run, costs, require_best, rows
from fewscans.experiments.camelyon16 import loose
from fewscans.experiments.camelyon16.arms import ARMS, Arm
from fewscans.experiments.camelyon16.models import OnLevels, macs, network_of, networks
from fewscans.nn.dense import DenseDetector, reset_parameters
from fewscans.slides import cells as of_slides
from fewscans.slides import patches
from fewscans.slides.cells import FALSE_ALARMS, NORMAL, NOTHING, TUMOUR, Slides
from fewscans.slides.detections import suppress
from fewscans.slides.heatmap import Geometry, heatmap, scaled

NETWORKS = ("dense", "inception")
OPTIMISERS = {
    "adam": torch.optim.Adam,
    "rmsprop": functools.partial(torch.optim.RMSprop, alpha=0.9, momentum=0.9, eps=1.0),
}
PUBLISHED_RATE = 0.05
PREDICT_BATCH = 64
SHOWN = 3  # slides whose heatmaps are kept
DENSITY_CELLS = 3.0  # radius over which the trivial detector counts tissue


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """What params.yaml says of one run at one profile; what all grids have: see `base.Grid`.

    arms: training slides for each arm.   patch, stride: pixels of a patch, and of its labelled centre, from which the
    next patch's centre begins; the paper's are 299 and 128.   microns_per_pixel: of level 0, for the official rule of
    lesions.   network: "inception" as in the paper, patch by patch, or "dense", which sweeps.   small, full: widths,
    channels of the first layer for "dense", the share of filters for "inception".   validation: patches.   overview:
    pixels of a whole slide's longer side.   imagenet: file of Inception's ImageNet weights, for arms that start there.
    optimiser: "rmsprop" as in the paper, or "adam".   halve_examples: the rate is halved whenever so many patches were
    seen.
    """

    ARMS = ARMS
    COUNTS = (*base.Grid.COUNTS, "batch_size", "patch", "stride", "validation", "overview", "halve_examples")

    patch: int = 299
    stride: int = 128
    microns_per_pixel: float = 0.243
    network: str = "inception"
    small: float = 0.1
    full: float = 1.0
    batch_size: int = 32
    validation: int = 512
    overview: int = 128
    imagenet: str = ""
    optimiser: str = "rmsprop"
    halve_examples: int = 2_000_000

    def __post_init__(self):
        super().__post_init__()
        for name, known in (("network", NETWORKS), ("optimiser", OPTIMISERS)):
            if getattr(self, name) not in known:
                raise ParamsError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if min(self.learning_rates) <= 0 or self.microns_per_pixel <= 0:
            raise ParamsError("learning_rates and microns_per_pixel must be above 0")

    def check_sizes(self, arm: str, sizes: tuple[int, ...]) -> None:
        if not sizes or any(n < 2 or n % 2 for n in sizes):
            raise ParamsError(f"arms.{arm}: half of the slides have tumour, so sizes are even, got {list(sizes)}")
        if 2 * ARMS[arm].mislabelled >= min(sizes):
            raise ParamsError(f"arms.{arm}: {ARMS[arm].mislabelled} slides are mislabelled; train on more")
        if self.network == "dense" and ARMS[arm].trivial is None:
            try:
                DenseDetector(self.patch, self.stride, ARMS[arm].levels, width=2)
            except ValueError as error:
                raise ParamsError(f"arms.{arm}: {error}") from None
        if ARMS[arm].imagenet and not ARMS[arm].lite and not Path(self.imagenet).is_file():
            raise ParamsError(f"arms.{arm}: imagenet must name a file of Inception's weights, got {self.imagenet!r}")

    def geometry(self, levels: tuple[int, ...] = (0,)) -> Geometry:
        return Geometry(self.patch, self.stride, levels)


class Camelyon16(base.Experiment):
    """Metastases on whole slides."""

    name = "camelyon16"
    target = "label"
    ARMS = ARMS
    Grid = Grid
    smallest_n = 2
    beaten_by = "lesion_froc"

    def cut(self, grid: Grid) -> Cut:
        return Cut((grid.overview, grid.overview))

    def read(self, dataset: str, path: Path, grid: Grid, cache: Path | None = None) -> Cases:
        """`Slides`, or loose patches as they are. Raises DataError for a data set that holds neither."""
        entry = registry.dataset(dataset)
        if "lymph node" not in entry.shows:
            raise DataError(f"the experiment camelyon16 cannot read {dataset!r}: its cases are no slides")
        found = super().read(dataset, path, grid, cache)
        if entry.case == "patch":
            return found
        return of_slides.read(path, found, grid.geometry(), grid.microns_per_pixel, cache)

    def check(self, grid: Grid, cases: Cases) -> None:
        if not isinstance(cases, Slides):
            return loose.check(grid, cases)
        if "histogram" in grid.arms:
            raise ParamsError("arms.histogram is for loose patches; the trivial arm of slides is tissue")
        for n in {n for sizes in grid.arms.values() for n in sizes}:
            splits.nested_balanced(cases.target, cases.indices("train"), n, seed=0)
        for split, (what, value) in product(("train", "val"), (("normal", NORMAL), ("tumour", TUMOUR))):
            if not any(value in cases.cells[i] for i in cases.indices(split)):
                raise DataError(f"{cases.path}: no slide of the {split} split shows {what} tissue; it holds too few")
        if len(set(cases.target[cases.scored])) < 2:
            raise DataError(f"{cases.path}: the test split lacks slides with tumour, or without; it holds too few")

    def decides(self, run: Run, grid: Grid) -> dict:
        chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": self.training_of(run.arm)}
        names = ["patch", "stride", "microns_per_pixel"]
        if ARMS[run.arm].trivial is None:
            names += ["network", "full" if ARMS[run.arm].full else "small", "batch_size", "validation", "overview"]
            names += ["optimiser", "halve_examples", "steps", "eval_every"]
            chosen |= {"learning_rate": run.learning_rate}
            if ARMS[run.arm].imagenet and not ARMS[run.arm].lite:
                chosen["weights"] = hashlib.sha256(Path(grid.imagenet).read_bytes()).hexdigest()
        return chosen | {name: getattr(grid, name) for name in names}

    def updates(self, run: Run, grid: Grid) -> int:
        return grid.steps * ARMS[run.arm].networks

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        return float(macs(network_of(ARMS[run.arm], grid), grid)) * self.updates(run, grid) * grid.batch_size * 3

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        if not isinstance(cases, Slides):
            return _slide_rows(run, run.arm, loose.baseline(cases, run.n_train, run.seed), cases)
        return _tables(run, run.arm, {i: density(cases.cells[i] != NOTHING) for i in _tested(cases)}, cases)

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        spec = ARMS[run.arm]
        fitted, weights = [], {}
        several = spec.networks if isinstance(cases, Slides) else len(loose.folds(cases))
        share = spec.networks / several  # of `updates`, where every fold of loose patches has a network of its own
        told = on_step and (lambda steps: on_step(steps * share))
        for member in range(several):
            seed = run.seed + 1000 * member
            kept = checkpoint if several == 1 else None  # an interrupted ensemble restarts from its first network
            with ExitStack() as opened:
                draw, held, stains = _drawn(run, grid, cases, member, seed, opened)
                made = _fit(run, grid, draw, held, device, kept, told, seed)
            fitted.append(made)
            weights |= {f"{member}/{k.removeprefix('net.')}": v for k, v in made.best["val_loss"].items()}
            if stains is not None:
                weights["stain"] = torch.from_numpy(stains)
        history = pd.concat([pd.DataFrame(made.history) for made in fitted]).groupby("step", as_index=False).mean()
        net = network_of(spec, grid)
        record = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "macs": macs(net, grid),
            "networks_averaged": spec.networks,
            "steps": grid.steps,
            "n_val": len(cases.indices("val")),
            **({} if isinstance(cases, Slides) else loose.record(cases, run.n_train)),
            "best_val_loss": float(np.mean([made.best_loss["val_loss"] for made in fitted])),
            **costs(*fitted),
        }
        predicted = self.predict(run, grid, weights, cases, device)
        return Entry(predicted, history.to_dict("records"), record), weights

    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        """Rows of the arm and of those computed along with it."""
        spec, along = ARMS[run.arm], self.computed_with(run.arm)
        nets = networks(spec, grid, weights, device)
        if spec.overview:
            index = _tested(cases)
            (images,), _ = _overviews(cases, index)
            with torch.inference_mode():
                p = torch.cat([nets[0](scaled(x)).sigmoid() for x in images.to(device).split(PREDICT_BATCH)])
            return _slide_rows(run, run.arm, dict(zip(index, p.double().cpu().tolist(), strict=True)), cases)
        stains = weights["stain"].numpy() if "stain" in weights else None

        def maps(orientations: int) -> dict[int, list[np.ndarray]]:
            if not isinstance(cases, Slides):
                return loose.scores(nets, cases, grid.patch, device, orientations)
            geometry = grid.geometry(spec.levels)
            return {i: heatmaps(nets, cases, i, geometry, device, orientations, stains) for i in _tested(cases)}

        single = maps(1)
        made = {run.arm: {i: np.mean(each, axis=0) for i, each in single.items()}}
        for name in along:
            each = maps(8) if ARMS[name].averaged else single
            made[name] = {i: np.mean(m[: ARMS[name].members], axis=0) for i, m in each.items()}
        tables = _tables if isinstance(cases, Slides) else _slide_rows
        return pd.concat([tables(run, name, of_arm, cases) for name, of_arm in made.items()], ignore_index=True)


def _drawn(run: Run, grid: Grid, cases: Cases, member: int, seed: int, opened: ExitStack) -> tuple:
    """What one network sees: step → patches of each level and labels; those that validate; and the stains to which
    both are normalised, if they are.   opened: closes the slides.
    """
    spec, stains, rng = ARMS[run.arm], None, np.random.default_rng([run.seed, 1])
    if not isinstance(cases, Slides):
        source, rest = loose.sources(cases, member, run.n_train, run.seed, grid.patch)
        held = rest.draw(grid.validation, rng, jitter=True)
    else:
        subset = splits.nested_balanced(cases.target, cases.indices("train"), run.n_train, run.seed)
        val = cases.indices("val")
        if spec.overview:
            indices = functools.partial(train.batch_indices, len(subset), grid.batch_size, seed=seed)
            return lambda step: _overviews(cases, subset[indices(step).numpy()]), _overviews(cases, val), None
        if spec.stain:
            with patches.open_case(cases, subset[0]) as slide:
                stains = stain.fit(slide)

        def opened_source(index: np.ndarray, spec: Arm, balanced: bool) -> patches.Source:
            taught = _taught(spec, cases, index, run.seed)
            source = patches.Source(cases, index, taught, grid.geometry(spec.levels), balanced, stains)
            return opened.enter_context(closing(source))

        source = opened_source(subset, spec, spec.balanced)
        held = opened_source(val, replace(spec, mislabelled=0), True).draw(grid.validation, rng, jitter=False)

    def draw(step: int) -> tuple[list[Tensor], Tensor]:
        return source.draw(grid.batch_size, np.random.default_rng([seed, 2, step]), spec.augment)

    return draw, held, stains


def _fit(run: Run, grid: Grid, draw, held, device, checkpoint, on_step, seed: int) -> train.Fitted:
    """One network on what `_drawn` draws."""
    spec = ARMS[run.arm]
    net = network_of(spec, grid, pretrained=True)
    reset_parameters(list(net.children())[-1] if spec.imagenet else net, train.generator(seed, "initialisation"))
    x_val, y_val = [x.to(device) for x in held[0]], held[1].to(device)

    def batch(_, step: int) -> tuple[list[Tensor], Tensor]:
        drawn, labels = draw(step)
        levels = [x.to(device) for x in drawn]
        if spec.augment:
            return patches.augmented(levels, train.generator(seed, "augmentation", step)), labels.to(device)
        return [scaled(x) for x in levels], labels.to(device)

    def validate(model: nn.Module) -> dict[str, float]:
        parts = zip(*(x.split(PREDICT_BATCH) for x in x_val), strict=True)
        logits = torch.cat([model([scaled(x) for x in part]) for part in parts])
        return {"val_loss": float(F.binary_cross_entropy_with_logits(logits, y_val))}

    def halved(done: float) -> float:
        return 0.5 ** (int(done * grid.steps) * grid.batch_size // grid.halve_examples)

    optimiser, rate = ("rmsprop", PUBLISHED_RATE) if spec.published else (grid.optimiser, run.learning_rate)
    model = OnLevels(net.to(device).to(memory_format=torch.channels_last))
    budget = train.Budget(grid.steps, grid.batch_size, rate, grid.eval_every)
    fitted = train.fit(
        model, grid.batch_size, batch, F.binary_cross_entropy_with_logits, validate, budget, seed, checkpoint, on_step,
        OPTIMISERS[optimiser], schedule=halved,
    )  # fmt: skip
    require_best(run, fitted.best)
    return fitted


def heatmaps(nets, cases: Slides, i: int, geometry: Geometry, device, orientations: int = 1, stains=None) -> list:
    """Each network's heatmap of a slide, (rows, columns) float32, NaN where there is no tissue."""
    with patches.open_case(cases, i, stains) as slide:
        cells = cases.cells[i] != NOTHING
        return [heatmap(slide, net, geometry, cells, device, orientations=orientations) for net in nets]


def density(tissue: np.ndarray) -> np.ndarray:
    """The heatmap of a detector that knows only tissue, (rows, columns): its share of the neighbourhood."""
    from scipy import ndimage

    share = ndimage.gaussian_filter(tissue.astype(np.float64), DENSITY_CELLS, mode="constant")
    return np.where(tissue, share, np.nan)


def roughness(probability: np.ndarray) -> float:
    """The mean absolute difference between neighbouring cells of a heatmap, along rows and columns."""
    steps = np.concatenate([np.abs(np.diff(probability, axis=axis)).ravel() for axis in (0, 1)])
    return float(np.nanmean(steps)) if np.isfinite(steps).any() else 0.0


def shown(cases: Slides) -> list[int]:
    """The test slides whose heatmaps are kept: with the largest lesion, with the most lesions, and without any."""
    largest, *others = sorted(cases.scored, key=lambda i: -(cases.lesion[i] > 0).sum())
    most = sorted(others, key=lambda i: -len(cases.lesions[i]))[:1]
    return list(dict.fromkeys([largest, *most, *(i for i in cases.scored if not cases.target[i])]))[:SHOWN]


def _tested(cases: Slides) -> list[int]:
    return [i for split in of_slides.TESTS for i in cases.indices(split).tolist()]


def _taught(spec: Arm, cases: Slides, index: np.ndarray, seed: int) -> list[np.ndarray]:
    """What is taught of the cells of some slides; tumour slides that are not annotated throughout teach no normal
    tissue.
    """
    label, taught = cases.target[index], [cases.cells[i].copy() for i in index]
    if spec.shuffled:
        label = np.random.default_rng([seed, len(index)]).permutation(label)
        return [np.where(cells == NOTHING, NOTHING, one) for cells, one in zip(taught, label, strict=True)]
    wrong = np.flatnonzero(label == 1)[: spec.mislabelled]
    for place, cells in enumerate(taught):
        if place in wrong:
            cells[cells == TUMOUR] = NORMAL
        elif not cases.about["exhaustive"].iloc[index[place]]:
            cells[cells == NORMAL] = NOTHING
    return taught


def _overviews(cases: Slides, index: np.ndarray | list[int]) -> tuple[list[Tensor], Tensor]:
    """Whole slides, downsampled, and their labels, in the form in which patches are drawn."""
    images = torch.from_numpy(cases.images[index]).permute(0, 3, 1, 2)
    return [images], torch.from_numpy(cases.target[index]).float()


def _slide_rows(run: Run, arm: str, scores: Mapping[int, float], cases: Cases) -> pd.DataFrame:
    tables = []
    for split, name in of_slides.TESTS.items():
        index = [i for i in scores if cases.split[i] == split]
        if index:
            tables.append(rows(run, arm, name, cases, np.array(index), [scores[i] for i in index]))
    return pd.concat(tables, ignore_index=True)


def _tables(run: Run, arm: str, maps: Mapping[int, np.ndarray], cases: Slides) -> pd.DataFrame:
    """All rows of one arm, from its heatmaps."""
    test = cases.indices("test")
    slides = _slide_rows(run, arm, {i: np.nanmax(m, initial=0.0) for i, m in maps.items()}, cases)
    rough = rows(run, arm, "test-roughness", cases, test, [roughness(maps[i]) for i in test]).assign(target=0.0)
    made = [("test-lesions", i, *row) for i in cases.scored for row in lesion_rows(maps[i], cases, i)]
    for i in shown(cases) if run.seed == 0 else ():
        name, lesion, p = cases.case[i], cases.lesion[i] > 0, maps[i]
        made += [("test-cells", i, f"{name}/{r},{c}", lesion[r, c], p[r, c]) for r, c in np.argwhere(np.isfinite(p))]
    table = pd.DataFrame(made, columns=["split", "slide", "case", "target", "prediction"])
    table = table.astype({"target": "float64", "prediction": "float64"})
    table = table.assign(arm=arm, n_train=run.n_train, seed=run.seed, group=cases.case[table.pop("slide")])
    return pd.concat([slides, rough, table[list(slides)]], ignore_index=True)


def lesion_rows(probability: np.ndarray, cases: Slides, i: int) -> list[tuple[str, float, float]]:
    """(case, target, prediction) of every lesion of a slide, and of its most probable false alarms."""
    found = suppress(probability, cases.geometry)  # highest first
    hit = cases.lesion[i][found["row"], found["column"]]
    p = found["probability"].to_numpy()
    lesions = [(name, 1.0, float(p[hit == k].max(initial=0.0))) for k, name in enumerate(cases.lesions[i], start=1)]
    false = np.pad(p[hit == 0], (0, FALSE_ALARMS))[:FALSE_ALARMS].tolist()
    return lesions + [(f"{cases.case[i]}/false alarm {k:03d}", 0.0, x) for k, x in enumerate(false, start=1)]


EXPERIMENT = Camelyon16()
