"""What one update of a number's regressor sees: single scans, blended ones, or sets whose labels are summed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fewscans import train
from fewscans.experiments import mixup, rigid
from fewscans.experiments.hydranet import sets
from fewscans.experiments.hydranet.arms import Arm
from fewscans.nn import hydra
from fewscans.nn.regressor import BaseRegressor, mask_seeds

FORMS = ("branched", "streamed")
INTENSITIES = ("unit", "standard")
ALPHA = 2.0  # of mixup and C-Mixup, as in the code of C-Mixup's authors


def seen(images: Tensor, intensities: str) -> Tensor:
    """Scans as a network sees them: (n, D, H, W) uint8 → (n, 1, D, H, W) float32."""
    return scaled(images[:, None].float() / 255, intensities)


def scaled(x: Tensor, intensities: str) -> Tensor:
    """Images (..., D, H, W) as a network sees them; an all-zero image stays one.

    intensities: "unit", as they are, in [0, 1] as in the paper, or "standard", each with mean 0 and standard deviation
    1. Scans are standardised after augmentation, as it smooths them: a network must not learn from smoother images
    than it is tested on. Whether also before it decides what it brings in from beyond the border; see `Batches`.
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
    mixed: mixup.Pairs | None = None
    mixed_decisions: rigid.Decisions | None = None


@dataclass(frozen=True)
class Batches:
    """The batches of one run, each decided by the run's seed and the step.

    images: (N, 1, D, H, W) of the training subset, as `seen` gives them. Voxels shifted in from outside the scan are 0:
    the scan's mean for standardised intensities, black (air) for intensities in [0, 1].   labels: (N,); both on the
    device.
    spacing_mm: (N, 3).   loss: (outputs (B,), labels (B,)) → scalar.   form: of `FORMS`; blended scans, which are no
    sets, are always branched.   intensities: see `scaled`.
    """

    images: Tensor
    labels: Tensor
    spacing_mm: Tensor
    spec: Arm
    seed: int
    loss: Callable[[Tensor, Tensor], Tensor]
    form: str
    max_angle_rad: float
    max_shift_voxels: float
    intensities: str

    def draw(self, indices: Tensor, step: int) -> tuple[Inputs, Tensor]:
        """Inputs and labels (B,) of one update; indices: (B,) of single scans, or as many as there are sets."""
        places = indices[:, None] if self.spec.size == 1 else self._sets(len(indices), step)
        decide = functools.partial(
            rigid.draw, places.numel(), max_angle_rad=self.max_angle_rad, max_shift_voxels=self.max_shift_voxels
        )
        generator = train.generator(self.seed, "augmentation", step)
        seeds = mask_seeds(places.shape, train.generator(self.seed, "dropout", step)) if self.spec.dropout else None
        inputs = Inputs(places, decide(generator), seeds)
        if self.spec.permuted:
            return inputs, self._others_labels(len(indices), step)
        target = sets.set_labels(self.labels, places.to(self.labels.device))
        if self.spec.mix is None:
            return inputs, target
        # the kernel of C-Mixup as wide as the labels are spread: our choice, not tuned
        bandwidth = float(self.labels.std()) if self.spec.mix == "c-mixup" else None
        noise = train.generator(self.seed, "noise", step)
        pairs = mixup.draw(indices, self.labels.cpu(), ALPHA, noise, bandwidth)
        partner = self.labels[pairs.partner.to(self.labels.device)]
        return inputs._replace(mixed=pairs, mixed_decisions=decide(generator)), mixup.blend(
            target, partner, pairs.share
        )

    def gradients(self, net: BaseRegressor, inputs: Inputs, target: Tensor) -> Tensor:
        """The loss, a scalar without graph, after adding its gradients to the network's parameters."""
        if self.form == "streamed" and inputs.mixed is None:
            return self._streamed(net, inputs, target)
        x = self._augmented(inputs.places.flatten(), inputs.decisions)
        if inputs.mixed is not None:  # each scan is scaled before: a blend's image and label must share one line
            x = mixup.blend(x, self._augmented(inputs.mixed.partner, inputs.mixed_decisions), inputs.mixed.share)
        x = x.view(*inputs.places.shape, *x.shape[1:])
        return train.backward(self.loss, lambda given: hydra.Hydra(net, self.spec.size)(given, inputs.seeds), x, target)

    def _streamed(self, net: BaseRegressor, inputs: Inputs, target: Tensor) -> Tensor:
        flat = inputs.places.flatten()
        positions = torch.arange(len(flat)).masked_fill(flat < 0, sets.BLACK).view(inputs.places.shape)

        def image(k: int) -> Tensor:
            return self._augmented(flat[k : k + 1], inputs.decisions[k : k + 1])[0]

        with train.mixed_precision(self.images.device):
            return hydra.streamed_step(net, image, positions, target, self.loss, self.images.shape[2:], inputs.seeds)

    def _augmented(self, places: Tensor, decisions: rigid.Decisions) -> Tensor:
        """(k,) places → (k, 1, D, H, W), as a network sees them."""
        x = sets.set_images(self.images, places.to(self.images.device)[:, None]).flatten(0, 1)
        return scaled(rigid.apply(x, decisions, self.spacing_mm[places.clamp(min=0)]), self.intensities)

    def _sets(self, count: int, step: int) -> Tensor:
        """The sets of one update, (count, size): as many an epoch as there are scans, each epoch's drawn anew."""
        n = len(self.labels)
        return torch.stack([self._epoch(p // n)[p % n] for p in range(step * count, (step + 1) * count)])

    def _others_labels(self, count: int, step: int) -> Tensor:
        """The labels of other sets of the same epoch, (count,): a batch of one set has nobody to change with."""
        n, found = len(self.labels), []
        for p in range(step * count, (step + 1) * count):
            sums = sets.set_labels(self.labels, self._epoch(p // n).to(self.labels.device))
            found.append(sets.permuted(sums, train.generator(self.seed, "noise", p // n))[p % n])
        return torch.stack(found)

    def _epoch(self, epoch: int) -> Tensor:
        n, spec = len(self.labels), self.spec
        return sets.epoch_sets(n, n, self.seed, epoch, spec.size, spec.p_black, spec.replacement, spec.fixed)
