"""Slices or volumes: U-Nets that draw a structure in MR slice by slice, or in space.

The yardstick is nnU-Net (Isensee et al., arXiv 1809.10486, 2018); the question and most of the statements are those of
a thread of practitioners. One run of the arm "3D" trains a network on volumes and one on slices across each axis, on
the same people with like augmentation (`batches`), as many updates, and as many voxels of images in each. All other
segmentations of these networks are computed with it: three axes averaged, slices and volumes averaged, morphology.

A mask is too large for a table, so what stands there are the measures of `measures`: this experiment writes metrics at
prediction, where others write what metrics are computed from. The network after the last update gives all rows.

Splits of the table:
- "test": the voxels as published.
- "test-thick": the same volumes in slices of three voxels along z, the mean of them, scored on these thick slices; only
  where every case has six slices or more. Networks on slices see them as they are, networks on volumes interpolated
  back, and their probabilities are averaged over each thick slice.
- "test-first": of every person the side with the lower number, for the arms that are split by scan.
- "test-float32", "test-uint8": by how a file stores voxels.
- "test-thin", "test-thick2mm": by how far slices are apart. Networks on slices see them as they are, on volumes
  thick ones interpolated, where the grid says so (`slice_mm`); both are scored on the slices of the scan.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fewscans import closure, train
from fewscans.data import group_splits, msd_segmentation
from fewscans.data.base import Cases, Cut
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments import base
from fewscans.experiments.base import Entry, OnStep, Run, check_numbers, costs, require_best, still_guessing
from fewscans.experiments.volumes import networks
from fewscans.experiments.volumes.arms import ARMS, READERS, VOLUME, Arm
from fewscans.experiments.volumes.batches import BLOCK, Batches, boxes, standardised, thick_labels, thickened
from fewscans.experiments.volumes.batches import through_thick as blur_of
from fewscans.experiments.volumes.measures import measure
from fewscans.experiments.volumes.rows import first_of_each, of_arm, plain

VALIDATED = 16  # volumes, spread over the validation set, whose loss is computed while training
WARM_UP = 0.05  # of the updates, over which the rate rises
TWICE = "skip_layers."  # how DynUNet calls its layers a second time
OVERLAP = {"patches": 0.5, "seams": 0.0}  # of neighbouring patches


@dataclass(frozen=True, kw_only=True)
class Grid(base.Grid):
    """What params.yaml says of one run at one profile; what all grids have: see `base.Grid`.

    window: voxels (D, H, W) that hold an image.   patch: what networks on volumes are trained on, sides in eighths.
    volumes: patches of an update; slices are as many as these show of images.   width: channels of the first layer on
    volumes.   all_axes: sizes at which "3D" trains networks on coronal and sagittal slices, too, not on axial ones
    alone.   slice_rates: learning rates of networks on slices at a size, where they differ from the run's.
    steps_at: updates at some sizes instead.   slice_mm: networks on volumes see slices that are farther apart as two or
    more, interpolated, about so far apart.   half: bfloat16.   folds: seed s is tested on fold s of the people.
    pilot: the validation cases are predicted in place of the test cases.
    """

    ARMS = ARMS
    COUNTS = (*base.Grid.COUNTS, "volumes", "width")

    window: tuple[int, ...] = msd_segmentation.WINDOW
    patch: tuple[int, ...] = (40, 56, 40)
    volumes: int = 1
    width: int = 8
    all_axes: tuple[int, ...] = ()
    slice_rates: dict[str, float] = field(default_factory=dict)
    steps_at: dict[str, int] = field(default_factory=dict)
    slice_mm: float | None = None
    half: bool = False
    folds: int = 5
    pilot: bool = False

    def __post_init__(self):
        super().__post_init__()
        block = 2 ** (networks.LEVELS - 1)
        if len(self.patch) != 3 or any(side < 2 * block or side % block for side in self.patch):
            raise ParamsError(f"patch must be three sizes, multiples of {block} from {2 * block}, got {self.patch}")
        if len(self.window) != 3 or any(w < p for w, p in zip(self.window, self.patch, strict=True)):
            raise ParamsError(f"window must be three sizes, none below patch {self.patch}, got {self.window}")
        if self.folds < 3:
            raise ParamsError(f"folds must be 3 or more, for training, validation and test, got {self.folds}")
        self.check_named("slice_rates", self.slice_rates, *self.arms)
        self.check_named("steps_at", self.steps_at, *self.arms)
        if any(steps < 1 for steps in self.steps_at.values()):
            raise ParamsError(f"steps_at must be whole numbers from 1, got {self.steps_at}")
        self.check_named("all_axes", dict.fromkeys(map(str, self.all_axes)), "3D")
        if self.slice_mm is not None and not self.slice_mm > 0:
            raise ParamsError(f"slice_mm must be above 0, got {self.slice_mm}")
        if self.slice_mm and (other := [arm for arm in self.arms if ARMS[arm].small or ARMS[arm].thick]):
            raise ParamsError(f"slice_mm does not go with arms.{other[0]}, whose training cuts or thickens slices")

    def steps_of(self, arm: str, n: int) -> int:
        """Updates of each network of a run."""
        return self.steps_at.get(str(n), self.steps) * ARMS[arm].updates

    def networks_of(self, spec: Arm, n: int) -> list[str]:
        """What a run of that arm trains at a size."""
        return [name for name in spec.networks if name in (VOLUME, "z") or n in self.all_axes]

    def parts_of(self, apart_mm: float) -> int:
        """How many slices networks on volumes see for one, at that distance of slices."""
        return max(1, round(apart_mm / self.slice_mm)) if self.slice_mm else 1

    def patches_of(self, spec: Arm) -> tuple[tuple[int, ...], int]:
        """Size and number of an update's patches of volumes."""
        if not spec.small:
            return self.patch, self.volumes
        return networks.TILE, max(1, round(self.volumes * np.prod(self.patch) / np.prod(networks.TILE)))


class Volumes(base.Experiment):
    """Segmentation by slices against segmentation in space."""

    name = "volumes"
    target = "number"
    ARMS = ARMS
    Grid = Grid
    score = "mean:dice"  # what networks are compared by, whatever the data set

    def cut(self, grid: Grid) -> Cut:
        return Cut(grid.window)

    def read(self, dataset: str, path: Path, grid: Grid, cache: Path | None = None) -> Cases:
        if dataset not in READERS:
            known = ", ".join(READERS)
            raise DataError(f"the experiment {self.name} cannot read {dataset!r}: it has no masks; known: {known}")
        return importlib.import_module(READERS[dataset]).read(path, tuple(grid.window), cache and cache / "scans")

    def code(self, dataset: str) -> list[str]:
        return closure.closure({type(self).__module__, READERS[dataset]})

    def fold_of(self, grid: Grid, cases: Cases, seed: int) -> np.ndarray:
        """Which part each case belongs to for that seed: (n,) "train", "val" or "test"; published beside the tables."""
        return group_splits.parts(cases, grid.folds, seed)

    def check(self, grid: Grid, cases: Cases) -> None:
        check_numbers(cases)
        if cases.images.ndim != 5 or cases.images.shape[1:] != (2, *grid.window):
            raise DataError(f"{cases.path}: images and masks are {cases.images.shape[1:]}, not (2, *{grid.window})")
        for arm, sizes in grid.arms.items():
            for n in sizes:
                for seed in grid.seeds_of(n):
                    parts = self._parts(grid, cases, ARMS[arm], n, seed)
                    for split in (name for name, index in parts.items() if not len(index)):
                        raise DataError(f"{cases.path}: has no cases in its {split} split; it holds too few")
                    if not (cases.target[parts["train"]] > 0).any():
                        raise DataError(f"{cases.path}: the {n} cases that seed {seed} draws hold no label; use more")

    def decides(self, run: Run, grid: Grid) -> dict:
        chosen = {"arm": run.arm, "n_train": run.n_train, "seed": run.seed, "spec": self.training_of(run.arm)}
        chosen |= {"nested": self._nested(grid, ARMS[run.arm]), "folds": grid.folds, "pilot": grid.pilot}
        if ARMS[run.arm].trivial is None:
            names = ("eval_every", "patch", "volumes", "width", "half")
            chosen |= {"rates": [run.learning_rate, self._slice_rate(run, grid)]}
            chosen |= {"steps": grid.steps_of(run.arm, run.n_train), "of": grid.steps}  # of: eval_every counts in it
            chosen |= {"networks": grid.networks_of(ARMS[run.arm], run.n_train)}
            chosen |= {name: getattr(grid, name) for name in names}
            chosen |= {"slice_mm": grid.slice_mm} if grid.slice_mm else {}
        return chosen

    def updates(self, run: Run, grid: Grid) -> int:
        return grid.steps_of(run.arm, run.n_train) * len(grid.networks_of(ARMS[run.arm], run.n_train))

    def multiply_adds(self, run: Run, grid: Grid) -> float:
        spec, voxels = ARMS[run.arm], int(np.prod(grid.patch)) * grid.volumes
        of_all = sum(networks.multiply_adds(name, grid.width, voxels) for name in grid.networks_of(spec, run.n_train))
        return 3 * of_all * grid.steps_of(run.arm, run.n_train)

    def _slice_rate(self, run: Run, grid: Grid) -> float:
        return grid.slice_rates.get(str(run.n_train), run.learning_rate)

    def _nested(self, grid: Grid, spec: Arm) -> list[int]:
        """The sizes of all arms that draw from the same pool; each subset is contained in the larger ones."""
        return sorted({n for arm, sizes in grid.arms.items() for n in sizes if ARMS[arm].pool == spec.pool})

    def _parts(self, grid: Grid, cases: Cases, spec: Arm, n: int, seed: int) -> dict[str, np.ndarray]:
        """train: the subset that is drawn; val; test: what is predicted. Indices of cases."""
        part = group_splits.parts(cases, grid.folds, seed)
        found = {split: np.flatnonzero(part == split) for split in ("train", "val", "test")}
        pool = found["train"]
        if spec.pool in ("float32", "uint8"):
            pool = pool[cases.about["stored"].to_numpy(str)[pool] == spec.pool]
        if spec.pool == "scan":  # with the other sides of tested people, as a split by scan would have some of them
            others = np.setdiff1d(found["test"], first_of_each(cases, found["test"]))
            pool = np.concatenate([pool, others])
            if n > len(pool):
                raise DataError(f"{cases.path}: {n} cases cannot be drawn from {len(pool)}; use fewer")
            found["train"] = np.random.default_rng([seed, n]).permutation(pool)[:n]
        else:
            found["train"] = group_splits.nested_by_group(cases.group, n, seed, pool, self._nested(grid, spec))
        return found | {"test": found["val" if grid.pilot else "test"]}

    def baseline(self, run: Run, grid: Grid, cases: Cases) -> pd.DataFrame:
        subset, _, test = self._parts(grid, cases, ARMS[run.arm], run.n_train, run.seed).values()
        shape = np.median(cases.about[msd_segmentation.BOX].to_numpy(), axis=0).astype(int)
        places = zip(subset, boxes(cases, subset), strict=True)
        known = [_resized(cases.images[i, 1][part], shape) for i, part in places]
        votes = np.stack([np.mean([label == c for label in known], axis=0) for c in range(len(_names(cases)) + 1)])
        found = [
            measure(_resized(votes.argmax(0), part.shape), part, cases.spacing_mm[i], _names(cases))
            for i, part in ((i, cases.images[i, 1][box]) for i, box in zip(test, boxes(cases, test), strict=True))
        ]
        return pd.concat(of_arm(run, run.arm, cases, test, found, []), ignore_index=True)

    def train_network(
        self, run: Run, grid: Grid, cases: Cases, device: torch.device, checkpoint: Path | None, on_step: OnStep | None
    ) -> tuple[Entry, dict[str, Tensor]]:
        spec = ARMS[run.arm]
        subset, val, _ = self._parts(grid, cases, spec, run.n_train, run.seed).values()
        wanted = grid.networks_of(spec, run.n_train)
        own = checkpoint if len(wanted) == 1 else None  # an interrupted run of several restarts from its first one
        fitted, weights, parameters, failed = {}, {}, {}, False
        for name in wanted:
            finer = [grid.parts_of(apart) for apart in cases.spacing_mm[subset, 0]] if grid.slice_mm else ()
            drawn = Batches(cases, subset, name, *grid.patches_of(spec), run.seed, spec.thick, finer)
            net, fit = self._fit(run, grid, cases, drawn, val, device, own, on_step)
            fitted[name] = fit
            own_weights = {key: value for key, value in fit.last.items() if not key.startswith(TWICE)}
            weights |= {f"{name}.{key}": value for key, value in own_weights.items()}
            parameters[name] = sum(p.numel() for p in net.parameters())
            failed |= still_guessing(fit.history, guessing(drawn.label, len(_names(cases)) + 1))
        tables = self._predictions(run, grid, weights, cases, device)
        dice = tables[tables["case"].str.endswith("/dice") & (tables["split"] == "test")]
        scores = dice.groupby("arm")["prediction"].mean() if grid.pilot else {}
        voxels = int(np.prod(grid.patch))
        record = {
            "parameters": next(iter(parameters.values())), "failed": failed,
            **{f"parameters_{name}": count for name, count in parameters.items()},
            **{f"macs_{name}": networks.multiply_adds(name, grid.width, voxels) for name in fitted},
            "macs": networks.multiply_adds(next(iter(fitted)), grid.width, voxels),
            **{f"val_dice_{arm}": float(value) for arm, value in scores.items()},
            "steps": grid.steps_of(run.arm, run.n_train), "n_val": len(val), "slice_rate": self._slice_rate(run, grid),
            "last_val_loss": float(np.mean([fit.history[-1]["val_loss"] for fit in fitted.values()])),
            "best_val_loss": float(np.mean([fit.best_loss["val_loss"] for fit in fitted.values()])),
            **{f"val_loss_{name}": fit.history[-1]["val_loss"] for name, fit in fitted.items()},
            **{f"seconds_{name}": round(fit.seconds_cpu, 3) for name, fit in fitted.items()}, **costs(*fitted.values()),
        }  # fmt: skip
        return Entry(tables, _joined(fitted), record), weights

    def _fit(
        self, run: Run, grid: Grid, cases: Cases, drawn: Batches, val: np.ndarray, device, checkpoint, on_step
    ) -> tuple[nn.Module, train.Fitted]:
        """One network, trained."""
        name, classes = drawn.network, len(_names(cases)) + 1
        net = networks.build(name, classes, grid.width, run.seed).to(device)
        loss = objective()
        val = val[np.linspace(0, len(val) - 1, min(VALIDATED, len(val))).astype(int)]
        parts = [grid.parts_of(apart) for apart in cases.spacing_mm[val, 0]]
        held = [(image.to(device), label.to(device)) for image, label in _volumes(cases, val)]

        def batch(positions: Tensor, step: int) -> tuple[Tensor, Tensor]:
            image, label = drawn.draw(positions, step)
            return image.to(device), label.to(device)

        def validate(net: nn.Module) -> dict[str, float]:
            of = [
                float(loss(networks.logits(net, name, image, grid.patch, grid.half, finer)[None], label[None, None]))
                for (image, label), finer in zip(held, parts, strict=True)
            ]
            return {"val_loss": float(np.mean(of))}

        rate = run.learning_rate if name == VOLUME else self._slice_rate(run, grid)
        steps = grid.steps_of(run.arm, run.n_train)
        budget = train.Budget(steps, drawn.count, rate, max(1, round(grid.eval_every * steps / grid.steps)))
        fitted = train.fit(
            net, len(drawn), batch, loss, validate, budget, run.seed, checkpoint, on_step,
            schedule=train.cosine(WARM_UP), half=grid.half,
        )  # fmt: skip
        require_best(run, fitted.best)
        return net, fitted

    def predict(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        """Raises RunError for an arm without a network."""
        if ARMS[run.arm].trivial is not None:
            raise RunError(f"{run.arm} is no network and has no weights; ask another arm")
        return self._predictions(run, grid, weights, cases, device)

    def _predictions(
        self, run: Run, grid: Grid, weights: Mapping[str, Tensor], cases: Cases, device: torch.device
    ) -> pd.DataFrame:
        """Rows of the arm and of those computed with it, in all splits."""
        test = self._parts(grid, cases, ARMS[run.arm], run.n_train, run.seed)["test"]
        nets = loaded(weights, grid, len(_names(cases)) + 1, device)
        arms = [name for name in (run.arm, *self.computed_with(run.arm)) if set(ARMS[name].of) <= set(nets)]
        found = {name: ([], []) for name in arms}  # as published, and on thick slices
        with torch.inference_mode():
            for i, (image, label) in zip(test, _volumes(cases, test), strict=True):
                truth, spacing = label.numpy().astype(np.uint8), tuple(cases.spacing_mm[i])
                shown = {name: ARMS[name] for name in arms}
                masks = segmented(nets, shown, image.to(device), grid, grid.parts_of(spacing[0]))
                for name, mask in masks.items():
                    found[name][0].append(measure(mask, truth, spacing, _names(cases)))
                if len(truth) < 2 * BLOCK or grid.slice_mm:
                    continue
                thick = spacing[0] * BLOCK, *spacing[1:]
                truth = thick_labels(label, len(_names(cases)) + 1).numpy()
                for name in (name for name in arms if plain(ARMS[name])):
                    mask = on_thick_slices(nets, ARMS[name].of[0], image.to(device), grid)
                    found[name][1].append(measure(mask, truth, thick, _names(cases)))
        return pd.concat([
            table for name in arms for table in of_arm(run, name, cases, test, *found[name])
        ], ignore_index=True)  # fmt: skip


def loaded(weights: Mapping[str, Tensor], grid: Grid, classes: int, device: torch.device) -> dict[str, nn.Module]:
    """The trained networks of a run, ready to predict, by name."""
    nets = {}
    for name in dict.fromkeys(key.partition(".")[0] for key in weights):
        nets[name] = networks.build(name, classes, grid.width, 0)
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        absent, unknown = nets[name].load_state_dict(own, strict=False)
        if strange := [*unknown, *(key for key in absent if not key.startswith(TWICE))]:
            raise RunError(f"{name}: its weights do not fit the network, as {strange[0]} shows; train the run again")
        nets[name] = nets[name].to(device).eval()
    return nets


def masks_of(
    weights: Mapping[str, Tensor], grid: Grid, cases: Cases, index: int, arms: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """One case's standardised image, its labels, and what some arms of a trained run draw: (d, h, w) each."""
    ((image, label),) = _volumes(cases, np.array([index]))
    nets = loaded(weights, grid, len(_names(cases)) + 1, torch.device("cpu"))
    with torch.inference_mode():
        finer = grid.parts_of(cases.spacing_mm[index, 0])
        masks = segmented(nets, {arm: ARMS[arm] for arm in arms}, image, grid, finer)
    return image.numpy(), label.numpy().astype(np.uint8), masks


def segmented(
    nets: Mapping[str, nn.Module], arms: Mapping[str, Arm], image: Tensor, grid: Grid, finer: int = 1
) -> dict[str, np.ndarray]:
    """Labels of one standardised volume (d, h, w) by arm; each network sees it once, and once more in patches.

    finer: see `networks.logits`.
    """
    setting = grid.patch, grid.half, finer
    whole = {name: networks.probabilities(net, name, image, *setting) for name, net in nets.items()}
    masks = {}
    for name, arm in arms.items():
        if arm.made in OVERLAP:
            probability = networks.in_patches(nets[arm.of[0]], image, OVERLAP[arm.made], grid.half)
        else:
            probability = torch.stack([whole[network] for network in arm.of]).mean(0)
        probability = probability.float().cpu().numpy()
        masks[name] = networks.filtered(probability) if arm.made == "filtered" else probability.argmax(0)
    return masks


def on_thick_slices(nets: Mapping[str, nn.Module], network: str, image: Tensor, grid: Grid) -> np.ndarray:
    """Labels (d // 3, h, w) of a volume that was scanned in slices of three voxels."""
    thick, setting = thickened(image), (grid.patch, grid.half)
    if network != VOLUME:
        return networks.probabilities(nets[network], network, standardised(thick), *setting).argmax(0).cpu().numpy()
    count = len(thick)
    smooth = torch.einsum("ab,bhw->ahw", blur_of(len(image), 0, count).to(image.device), image)[: count * BLOCK]
    probability = networks.probabilities(nets[network], network, standardised(smooth), *setting)
    means = probability.view(len(probability), count, BLOCK, *image.shape[1:]).mean(2)
    return means.argmax(0).cpu().numpy()


def objective():
    """Soft Dice of the labels, over the batch, and cross-entropy: (logits, labels (B, 1, *S)) → a scalar."""
    from monai.losses import DiceCELoss

    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)


def guessing(label: Tensor, classes: int) -> float:
    """The loss of the best guess that looks at no image: every voxel has the shares of the labels, (n, 1, *S)."""
    share = torch.bincount(label.long().flatten(), minlength=classes).double() / label.numel()
    return float(1 - share[1:].mean() - (share * share.clamp_min(1e-12).log()).sum())


def _names(cases: Cases) -> list[str]:
    return cases.about["labels"].iloc[0].split(" ")


def _volumes(cases: Cases, index: np.ndarray) -> list[tuple[Tensor, Tensor]]:
    """Standardised images and labels of some cases, as large as published; (d, h, w) float32 each."""
    places = zip(index, boxes(cases, index), strict=True)
    pairs = [torch.from_numpy(cases.images[i][(slice(None), *box)]) for i, box in places]
    return [(standardised(pair[0]), pair[1].float()) for pair in pairs]


def _resized(label: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The nearest voxels of labels on a grid of another shape that spans the same box."""
    places = [((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(shape, label.shape, strict=True)]
    return label[np.ix_(*places)]


def _joined(fitted: Mapping[str, train.Fitted]) -> list[dict[str, float]]:
    """One row a validation: means over the networks, and each one's losses."""
    rows = []
    for together in zip(*(fit.history for fit in fitted.values()), strict=True):
        row = dict(together[0])
        for name, own in zip(fitted, together, strict=True):
            row |= {f"{key}_{name}": own[key] for key in ("train_loss", "val_loss")}
        rows.append(row | {key: float(np.mean([r[key] for r in together])) for key in ("train_loss", "val_loss")})
    return rows


EXPERIMENT = Volumes()
