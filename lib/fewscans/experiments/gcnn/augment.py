"""Augmentation of patches in the plane and in space, one resampling a batch; each random decision is a recorded value.

Source: Winkels & Cohen (2019), section 4.2: rotation by any angle, reflection over all axes, small translations, scale
0.8-1.2, noise, value remapping; the ranges that the paper leaves open follow the author's thesis code (each operation
with probability 0.8, noise 0.05, 3 of 72 voxels of translation), as does turning about z alone in space. On the plane
translations are 3 voxels of 48. The range of the value remapping is ours: gain 0.9-1.1, offset 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans.groups import Group
from fewscans.nn.gconv import act_on_image

PROBABILITY = 0.8
MAX_SHIFT_VOXELS = (3.0, 3.0)
SHIFT_SHARE = 1 / 24  # in space: 3 of 72 voxels along every axis of the patch
SCALE = (0.8, 1.2)
NOISE = 0.05
GAIN = 0.1
OFFSET = 0.1


@dataclass(frozen=True)
class Decisions:
    """What is done to each of B patches of `dim` axes; axes come x first, as `grid_sample` wants them.

    matrix: (B, dim, dim), maps output to input offsets.   shift: (B, dim) in voxels.   noise: (B,) standard deviation.
    gain, offset: (B,) on intensities in [-1, 1].
    """

    matrix: Tensor
    shift: Tensor
    noise: Tensor
    gain: Tensor
    offset: Tensor


def draw(
    batch: int, generator: torch.Generator, max_shift: Sequence[float] = MAX_SHIFT_VOXELS, upright: bool = False
) -> Decisions:
    """Random decisions for a batch, from a CPU generator so that they are the same on every device.

    max_shift: the largest translation along each axis, x first, in voxels; two of them on the plane, three in space.
    upright: nothing is turned or mirrored; all else is as without it.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    def sometimes(value: Tensor, neutral: float) -> Tensor:
        chosen = torch.rand(batch, generator=generator) < PROBABILITY
        return torch.where(chosen.view(-1, *(1,) * (value.ndim - 1)), value, torch.full_like(value, neutral))

    def mirrored() -> Tensor:
        sign = 1 - 2 * torch.randint(0, 2, (batch,), generator=generator).float()
        return torch.ones(batch) if upright else sign

    angle = sometimes(uniform(0, 2 * math.pi), 0.0) * (not upright)
    mirror = mirrored()
    scale = sometimes(uniform(*SCALE), 1.0)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    matrix = torch.stack(
        [torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1
    )  # (B, 2, 2), x before y
    most = torch.tensor(max_shift)
    if len(max_shift) == 3:
        matrix = F.pad(matrix, (0, 1, 0, 1))
        matrix[:, 2, 2] = mirrored() / scale
    return Decisions(
        matrix=matrix,
        shift=sometimes(2 * most * torch.rand(batch, len(most), generator=generator) - most, 0.0),
        noise=sometimes(torch.full((batch,), NOISE), 0.0),
        gain=sometimes(uniform(1 - GAIN, 1 + GAIN), 1.0),
        offset=sometimes(uniform(-OFFSET, OFFSET), 0.0),
    )


def apply(images: Tensor, decisions: Decisions, size: int | Sequence[int], generator: torch.Generator) -> Tensor:
    """Resamples once and cuts the centre: (B, 1, *S) in [-1, 1] → (B, 1, *size).

    Beyond the border the image is reflected: air would mark turned patches. The noise is drawn from `generator` (CPU).
    """
    batch, dim, device = len(images), images.ndim - 2, images.device
    size = _sizes(size, dim)
    # offsets from the centre of the output's voxels, in voxels
    offsets = [torch.arange(side, device=device) - (side - 1) / 2 for side in size]
    axes = torch.meshgrid(*offsets, indexing="ij")
    grid = torch.stack(axes[::-1], -1).view(1, -1, dim)  # (1, voxels, dim), x before y before z
    source = (
        grid @ decisions.matrix.to(device).transpose(1, 2) + decisions.shift.to(device)[:, None]
    )  # (B, voxels, dim) in voxels
    source = source * 2 / torch.tensor(images.shape[:1:-1], device=device)
    out = F.grid_sample(
        images, source.view(batch, *size, dim), mode="bilinear", padding_mode="reflection", align_corners=False
    )
    noise = torch.randn(out.shape, generator=generator).to(device)
    column = (batch, *(1,) * (dim + 1))
    out = out * decisions.gain.to(device).view(column) + decisions.offset.to(device).view(column)
    return out + noise * decisions.noise.to(device).view(column)


def centre(images: Tensor, size: int | Sequence[int]) -> Tensor:
    """The central part, as the networks see it at test time: (B, 1, *S) → (B, 1, *size); also of a numpy array."""
    size = _sizes(size, images.ndim - 2)
    first = [(whole - part) // 2 for whole, part in zip(images.shape[2:], size, strict=True)]
    return images[(..., *(slice(a, a + part) for a, part in zip(first, size, strict=True)))]


def turned(images: Tensor, group: Group, elements: Tensor) -> Tensor:
    """Each image turned by an element of its own, exactly: squares or cubes (B, ..., *S), elements (B,) → the same."""
    out = torch.empty_like(images)
    for element in elements.unique().tolist():
        mine = (elements == element).to(images.device)
        out[mine] = act_on_image(group, element, images[mine])
    return out


def _sizes(size: int | Sequence[int], dim: int) -> tuple[int, ...]:
    return (size,) * dim if isinstance(size, int) else tuple(size)
