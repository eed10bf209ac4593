"""Loose patches instead of slides: those of a slide are scored by a network trained on patches of all other slides.

Source: the sampling of Liu et al. (see `patches`): tumour or normal with equal chance, a slide that has such a patch,
a patch of it. A patch has one label for all of it: training sees a random part of it, the test its middle.

N counts training patches, half of them with tumour; what the other slides have left chooses the checkpoint. Patches of
a slide may overlap, so the validation loss is lower than on a new slide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fewscans.data import splits
from fewscans.data.base import Cases
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments import base, baselines
from fewscans.experiments.camelyon16.arms import ARMS, Arm
from fewscans.slides.heatmap import scaled, turned

FITTING = {"full", "augment", "lite", "imagenet", "published"}  # what an arm may ask of loose patches


class Source:
    """Training patches, drawn in balance; the form of `patches.Source`."""

    def __init__(self, cases: Cases, index: np.ndarray, patch: int):
        self.cases, self.patch = cases, patch
        of_label = [index[cases.target[index] == label] for label in (0, 1)]
        self.places = [[of[cases.group[of] == slide] for slide in np.unique(cases.group[of])] for of in of_label]

    def draw(self, n: int, rng: np.random.Generator, jitter: bool) -> tuple[list[Tensor], Tensor]:
        """n patches, one (n, 3, P, P) uint8 tensor, and their labels (n,).   jitter: a random part, else the middle."""
        drawn = np.empty(n, np.int64)
        for i in range(n):
            slides = self.places[rng.integers(2)]
            drawn[i] = rng.choice(slides[rng.integers(len(slides))])
        cut = part(self.cases.images[drawn], self.patch, rng if jitter else None)
        return [cut], torch.from_numpy(self.cases.target[drawn]).float()


def folds(cases: Cases) -> list[str]:
    """The slides that are scored, each by a network of its own."""
    return np.unique(cases.group[cases.indices("test")]).tolist()


def divided(cases: Cases, slide: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of n patches of all slides but one, half of them with tumour, and of those left over.

    Raises DataError if there are too few patches, or if one class has none left.
    """
    others = np.flatnonzero(cases.group != slide)
    chosen = splits.nested_balanced(cases.target, others, n, seed)
    rest = np.setdiff1d(others, chosen)
    if len(set(cases.target[rest])) < 2:
        raise DataError(f"{cases.path}: {n} training patches for {slide} leave none of a class to validate; take fewer")
    return chosen, rest


def sources(cases: Cases, fold: int, n: int, seed: int, patch: int) -> tuple[Source, Source]:
    """Patches to train on and to validate with, for one of `folds`."""
    chosen, rest = divided(cases, folds(cases)[fold], n, seed)
    return Source(cases, chosen, patch), Source(cases, rest, patch)


def part(images: np.ndarray, side: int, rng: np.random.Generator | None = None) -> Tensor:
    """Squares of images (n, S, S, 3), where a generator says or from the middle, (n, 3, side, side)."""
    spare = images.shape[1] - side
    corners = np.full((len(images), 2), spare // 2) if rng is None else rng.integers(spare + 1, size=(len(images), 2))
    cut = [image[y : y + side, x : x + side] for image, (y, x) in zip(images, corners, strict=True)]
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2)


def check(grid: base.Grid, cases: Cases) -> None:
    """Raises ParamsError for an arm that needs slides or for patches that are too large; DataError as `divided`."""
    side, plain = cases.images.shape[1], Arm().training()
    if grid.patch > side:
        raise ParamsError(f"patch is {grid.patch}, but the patches of {cases.path} have {side} pixels a side")
    for arm, sizes in grid.arms.items():
        asked = {name for name, value in ARMS[arm].training().items() if value != plain[name]} - FITTING
        if asked and arm != "histogram":
            raise ParamsError(f"arms.{arm} needs whole slides, and {cases.path} holds loose patches; leave it out")
        for n in sizes:
            record(cases, n)


def record(cases: Cases, n: int) -> dict[str, int]:
    """How many networks a run has, and how many patches validate them, all together."""
    left_over = [len(divided(cases, slide, n, seed=0)[1]) for slide in folds(cases)]
    return {"networks": len(left_over), "n_val": sum(left_over)}


@torch.inference_mode()
def scores(
    nets: Sequence[nn.Module], cases: Cases, patch: int, device: torch.device, orientations: int
) -> dict[int, list[float]]:
    """The probability of each test patch, by index, in a list of one: by the network of its slide's fold.

    Raises RunError for networks that were not trained on such folds.
    """
    slides, found = folds(cases), {}
    if len(nets) != len(slides):
        raise RunError(f"{cases.path}: needs a network for each of {len(slides)} slides; train on these patches")
    for slide, net in zip(slides, nets, strict=True):
        index = np.flatnonzero(cases.group == slide)
        x = part(cases.images[index], patch).to(device)
        turns = [turned(x, k).contiguous(memory_format=torch.channels_last) for k in range(orientations)]
        p = torch.stack([net(scaled(turn)).sigmoid() for turn in turns]).mean(0)
        found |= {int(i): [value] for i, value in zip(index, p.double().cpu().tolist(), strict=True)}
    return found


def baseline(cases: Cases, n: int, seed: int) -> dict[int, float]:
    """The probability of each test patch, by index, from the histograms of its three colours alone."""
    histograms = [baselines.histogram(cases.images[..., colour]) for colour in range(3)]
    x, found = np.concatenate(histograms, axis=1) * baselines.BINS, {}
    for slide in folds(cases):
        chosen, new = divided(cases, slide, n, seed)[0], np.flatnonzero(cases.group == slide)
        p = baselines.ridge(x[chosen], cases.target[chosen], x[new], standardise=False).clip(0, 1)
        found |= dict(zip(new.tolist(), p.tolist(), strict=True))
    return found
