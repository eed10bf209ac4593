"""Augmentation of planar patches, one resampling a batch; each random decision is a recorded value and can be replayed.

Source: Winkels & Cohen (2019), section 4.2: rotation by any angle, reflection, small translations, scale 0.8-1.2,
noise, value remapping; the ranges that the paper leaves open follow the author's thesis code (each operation with
probability 0.8, 3 voxels of translation, noise 0.05). The paper turns in the plane as well. The range of the value
remapping is ours: gain 0.9-1.1, offset 0.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

PROBABILITY = 0.8
MAX_SHIFT_VOXELS = 3.0
SCALE = (0.8, 1.2)
NOISE = 0.05
GAIN = 0.1
OFFSET = 0.1


@dataclass(frozen=True)
class Decisions:
    """What is done to each of B patches.

    matrix: (B, 2, 2), maps output to input offsets.   shift: (B, 2) in voxels.   noise: (B,) standard deviation.
    gain, offset: (B,) on intensities in [-1, 1].
    """

    matrix: Tensor
    shift: Tensor
    noise: Tensor
    gain: Tensor
    offset: Tensor


def draw(batch: int, generator: torch.Generator) -> Decisions:
    """Random decisions for a batch, from a CPU generator so that they are the same on every device."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    def sometimes(value: Tensor, neutral: float) -> Tensor:
        chosen = torch.rand(batch, generator=generator) < PROBABILITY
        return torch.where(chosen.view(-1, *(1,) * (value.ndim - 1)), value, torch.full_like(value, neutral))

    angle = sometimes(uniform(0, 2 * math.pi), 0.0)
    mirror = 1 - 2 * torch.randint(0, 2, (batch,), generator=generator).float()
    scale = sometimes(uniform(*SCALE), 1.0)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    matrix = torch.stack(
        [torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1
    )  # (B, 2, 2), x before y
    return Decisions(
        matrix=matrix,
        shift=sometimes(uniform(-MAX_SHIFT_VOXELS, MAX_SHIFT_VOXELS, 2), 0.0),
        noise=sometimes(torch.full((batch,), NOISE), 0.0),
        gain=sometimes(uniform(1 - GAIN, 1 + GAIN), 1.0),
        offset=sometimes(uniform(-OFFSET, OFFSET), 0.0),
    )


def apply(images: Tensor, decisions: Decisions, size: int, generator: torch.Generator) -> Tensor:
    """Resamples once and cuts the centre: (B, 1, H, W) in [-1, 1] → (B, 1, size, size).

    Beyond the border the image is reflected: air would mark turned patches. The noise is drawn from `generator` (CPU).
    """
    batch, _, height, width = images.shape
    device = images.device
    # offsets from the centre of the output's voxels, in voxels
    offset = torch.arange(size, device=device) - (size - 1) / 2
    ys, xs = torch.meshgrid(offset, offset, indexing="ij")
    grid = torch.stack([xs, ys], -1).view(1, -1, 2)  # (1, size², 2), x before y
    source = (
        grid @ decisions.matrix.to(device).transpose(1, 2) + decisions.shift.to(device)[:, None]
    )  # (B, size², 2) in voxels
    source = source * 2 / torch.tensor([width, height], device=device)
    out = F.grid_sample(
        images, source.view(batch, size, size, 2), mode="bilinear", padding_mode="reflection", align_corners=False
    )
    noise = torch.randn(out.shape, generator=generator).to(device)
    column = (batch, 1, 1, 1)
    out = out * decisions.gain.to(device).view(column) + decisions.offset.to(device).view(column)
    return out + noise * decisions.noise.to(device).view(column)


def centre(images: Tensor, size: int) -> Tensor:
    """The central square, as the networks see it at test time: (B, 1, H, W) → (B, 1, size, size)."""
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]
