"""What one update of a number's regressor sees: single scans, or sets whose labels are summed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fewscans import train
from fewscans.experiments import rigid
from fewscans.experiments.hydranet import sets
from fewscans.experiments.hydranet.arms import Arm
from fewscans.nn import hydra
from fewscans.nn.regressor import BaseRegressor, mask_seeds

GUESSES = 4096  # sets, to know the loss of guessing


def seen(images: Tensor, intensities: str) -> Tensor:
    """Scans as a network sees them: (n, D, H, W) uint8 → (n, 1, D, H, W) float32."""
    return scaled(images[:, None].float() / 255, intensities)


def scaled(x: Tensor, intensities: str) -> Tensor:
    """Images (..., D, H, W) as a network sees them; an all-zero image stays one.

    intensities: "unit", as they are, in [0, 1] as in the paper, or "standard", each with mean 0 and standard deviation
    1: in [0, 1] the untrained network is little more than a function of brightness. Scans are standardised after
    augmentation, too, so that a network is trained on what it is tested on.
    """
    if intensities == "unit":
        return x
    mean, spread = x.mean((-3, -2, -1), keepdim=True), x.std((-3, -2, -1), keepdim=True)
    return (x - mean) / spread.clamp(min=1 / 255)


class Inputs(NamedTuple):
    """A batch before its images are looked at: what stands where, and what is done to it."""

    places: Tensor  # (B, n) positions in the training subset, -1 for a black image
    decisions: rigid.Decisions  # B n of them
    seeds: Tensor | None  # (B, n) of dropout masks


@dataclass(frozen=True)
class Batches:
    """The batches of one run, each decided by the run's seed and the step.

    images: (N, 1, D, H, W) of the training subset, as `seen` gives them. Voxels shifted in from outside the scan are 0:
    the scan's mean for standardised intensities, black (air) for intensities in [0, 1].   labels: (N,); both on the
    device.   spacing_mm: (N, 3).   count: scans, or sets, in an update.   loss: (outputs (B,), labels (B,)) → scalar.
    max_shift_voxels: by whole voxels, but for the published arms.   half: see `train.mixed_precision`.
    """

    images: Tensor
    labels: Tensor
    spacing_mm: Tensor
    spec: Arm
    seed: int
    count: int
    loss: Callable[[Tensor, Tensor], Tensor]
    max_shift_voxels: float
    half: bool = False

    def draw(self, step: int) -> tuple[Inputs, Tensor]:
        """Inputs and labels (B,) of one update: its part of epochs of single scans, or of as many sets.

        An update may span epochs; where there are fewer scans than it wants, a scan is in it more than once.
        """
        n = len(self.labels)
        positions = range(step * self.count, (step + 1) * self.count)
        epochs = {p // n: self._epoch(p // n) for p in positions}
        places = torch.stack([epochs[p // n][p % n] for p in positions])
        decisions = self.decide(places.numel(), train.generator(self.seed, "augmentation", step))
        seeds = mask_seeds(places.shape, train.generator(self.seed, "dropout", step)) if self.spec.dropout else None
        return Inputs(places, decisions, seeds), self._target(places, positions, epochs)

    def decide(self, count: int, generator: torch.Generator) -> rigid.Decisions:
        """What is done to so many scans; those of depth 1 stay in their plane."""
        published = self.spec.published
        angle = rigid.MAX_ANGLE_RAD if published else 0.0
        decisions = rigid.draw(count, generator, angle, self.max_shift_voxels, whole=not published)
        return decisions.in_plane() if self.images.shape[2] == 1 else decisions

    def gradients(self, net: BaseRegressor, inputs: Inputs, target: Tensor) -> Tensor:
        """The loss, a scalar without graph, after adding its gradients to the network's parameters."""
        x = self.augmented(inputs.places.flatten(), inputs.decisions)
        x, model = x.view(*inputs.places.shape, *x.shape[1:]), hydra.Hydra(net, self.spec.size)
        return train.backward(self.loss, lambda given: model(given, inputs.seeds), x, target, self.half)

    def augmented(self, places: Tensor, decisions: rigid.Decisions) -> Tensor:
        """(k,) places → (k, 1, D, H, W), as a network sees them."""
        x = sets.set_images(self.images, places.to(self.images.device)[:, None]).flatten(0, 1)
        spacing = self.spacing_mm[places.clamp(min=0)]
        x = rigid.apply(x, decisions, spacing) if self.spec.published else rigid.move(x, decisions)
        return scaled(x, self.spec.seen_as)

    def guessing(self) -> float:
        """The loss of a network that answers each scan with the mean of the training labels, and black with 0."""
        spec, n = self.spec, len(self.labels)
        generator = train.generator(self.seed, "order")
        p_black = spec.p_black if spec.size > 1 else 0.0
        drawn = sets.draw_sets(n, GUESSES, spec.size, p_black, spec.replacement, generator)
        sums = sets.set_labels(self.labels - self.labels.mean(), drawn)
        return float(self.loss(sums, torch.zeros_like(sums)))

    def _target(self, places: Tensor, positions: range, epochs: dict[int, Tensor]) -> Tensor:
        if not self.spec.permuted:
            return sets.set_labels(self.labels, places.to(self.labels.device))
        # the labels of other sets of the same epoch: a batch of one set has nobody to change with
        others, n = {}, len(self.labels)
        for epoch, drawn in epochs.items():
            sums = sets.set_labels(self.labels, drawn.to(self.labels.device))
            others[epoch] = sets.permuted(sums, train.generator(self.seed, "noise", epoch))
        return torch.stack([others[p // n][p % n] for p in positions])

    def _epoch(self, epoch: int) -> Tensor:
        """(N, size): the scans in random order, or as many sets, each epoch's drawn anew."""
        n, spec = len(self.labels), self.spec
        if spec.size == 1:
            return torch.randperm(n, generator=train.generator(self.seed, "order", epoch))[:, None]
        return sets.epoch_sets(n, n, self.seed, epoch, spec.size, spec.p_black, spec.replacement, spec.fixed)
