"""The U-Nets, and what they say of a volume: one network on slices across each axis, one on volumes.

MONAI's DynUNet is the network of nnU-Net: two convolutions of 3 voxels a side, instance norm and leaky ReLU at each of
four resolutions. A layer on slices is sqrt(3) times as wide as the same layer on volumes: a kernel has a third of the
weights, so both have as many parameters, within 6 %. At full resolution they have as many multiply-adds a voxel; at
coarser ones those on slices have more, as their voxels are joined by four and not by eight: 1.9 times in all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans import train
from fewscans.experiments.volumes.arms import VOLUME
from fewscans.experiments.volumes.batches import AXIS, interpolated

LEVELS = 4
SLICES = 64  # predicted at a time
TILE = (24, 32, 24)  # z y x, of patches at prediction: two on each axis of most of Task04's images
SLOPE = 0.01  # of the leaky ReLU below 0


def build(network: str, classes: int, width: int, seed: int) -> nn.Module:
    """An untrained network, its weights drawn from the seed alone.   width: of the first layer on volumes."""
    from monai.networks.nets import DynUNet

    dim = 3 if network == VOLUME else 2
    first = width if dim == 3 else width * math.sqrt(3)
    net = DynUNet(
        dim, 1, classes, [3] * LEVELS, [1] + [2] * (LEVELS - 1), [2] * (LEVELS - 1),
        filters=[round(first) * 2**level for level in range(LEVELS)], norm_name=("instance", {"affine": True}),
    )  # fmt: skip
    random = train.generator(seed, "initialisation")
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(part.weight, SLOPE, generator=random)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return net.to(memory_format=torch.channels_last_3d if dim == 3 else torch.channels_last)


def multiply_adds(network: str, width: int, voxels: int) -> float:
    """Of a forward pass over so many voxels, roughly: two convolutions a level down, and two up on joined channels."""
    dim = 3 if network == VOLUME else 2
    first = width if dim == 3 else round(width * math.sqrt(3))
    down = [(first * 2**i) ** 2 * 3**dim / 2 ** (dim * i) for i in range(LEVELS)]
    return voxels * (1.5 * sum(down) + 3 * sum(down[:-1]))


def logits(
    net: nn.Module, network: str, image: Tensor, patch: Sequence[int] = (0, 0, 0), half: bool = False, finer: int = 1
) -> Tensor:
    """Of one standardised volume (d, h, w): (classes, d, h, w) float32.

    patch: what networks on volumes are trained on. An image that is smaller lies in its middle, among zeros, as it lies
    somewhere in it in training; a larger one is padded to whole blocks.   finer: networks on volumes see so many slices
    for each, interpolated, and the mean of their probabilities is the slice's.
    """
    with train.mixed_precision(image.device, half):
        if network == VOLUME:
            found = _padded(net, interpolated(image, finer)[None, None], patch)[0].float()
            if finer == 1:
                return found
            return found.log_softmax(0).unflatten(1, (-1, finer)).logsumexp(2) - math.log(finer)
        axis = AXIS[network]
        plane = [side for i, side in enumerate(patch) if i != axis]
        slices = image.movedim(axis, 0).unsqueeze(1)  # (slices, 1, h, w)
        parts = [_padded(net, part, plane) for part in slices.split(SLICES)]
        return torch.cat(parts).float().movedim(0, 1 + axis)  # (slices, classes, h, w) → (classes, d, h, w)


def probabilities(
    net: nn.Module, network: str, image: Tensor, patch: Sequence[int] = (0, 0, 0), half: bool = False, finer: int = 1
) -> Tensor:
    """As `logits`, over classes summing to 1."""
    return logits(net, network, image, patch, half, finer).softmax(0)


def in_patches(net: nn.Module, image: Tensor, overlap: float, half: bool = False) -> Tensor:
    """Probabilities of a network on volumes from patches of `TILE`: overlapping, weighted to their middle; or not.

    Patches lie inside the image, as in training. Side by side, each voxel is taken from one of them: where the last
    patch of an axis must be moved back to fit, only its end counts.
    """
    from monai.inferers import sliding_window_inference

    short = [max(0, tile - side) for side, tile in zip(image.shape, TILE, strict=True)]
    padded = F.pad(image[None, None], [n for end in reversed(short) for n in (0, end)])
    with train.mixed_precision(image.device, half):
        if overlap:
            found = sliding_window_inference(padded, TILE, 8, lambda x: net(x).float().softmax(1), overlap, "gaussian")
        else:
            found = _side_by_side(net, padded)
    found = found[0][(..., *map(slice, image.shape))].float()
    return found / found.sum(0)


def _side_by_side(net: nn.Module, image: Tensor) -> Tensor:
    """Probabilities (1, classes, *S) of an image (1, 1, *S), no side below `TILE`."""
    sides, parts = image.shape[2:], []
    for corner in itertools.product(*(range(0, side, tile) for side, tile in zip(sides, TILE, strict=True))):
        starts = [min(first, side - tile) for first, side, tile in zip(corner, sides, TILE, strict=True)]
        ends = [start + tile for start, tile in zip(starts, TILE, strict=True)]
        seen = net(image[(..., *map(slice, starts, ends))]).float().softmax(1)
        own = [first - start for first, start in zip(corner, starts, strict=True)]
        parts.append((map(slice, corner, ends), seen[(..., *(slice(first, None) for first in own))]))
    found = image.new_zeros(1, parts[0][1].shape[1], *sides)
    for place, seen in parts:
        found[(..., *place)] = seen
    return found


def filtered(probability: np.ndarray) -> np.ndarray:
    """Labels after morphology: holes are closed, and of the whole only the largest connected part is kept.

    probability: (classes, d, h, w). A voxel that closing adds has the likeliest of the labels there.
    """
    from scipy import ndimage

    mask = ndimage.binary_closing(np.pad(probability.argmax(0) > 0, 2))[2:-2, 2:-2, 2:-2]
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == 1 + np.bincount(parts[mask])[1:].argmax()
    return np.where(mask, 1 + probability[1:].argmax(0), 0)


def _padded(net: nn.Module, x: Tensor, least: Sequence[int]) -> Tensor:
    """Answers (B, classes, *S) for x (B, 1, *S), between as many zeros as make every side whole blocks, and `least`."""
    sides = x.shape[2:]
    more = [max(side + -side % 2 ** (LEVELS - 1), size) - side for side, size in zip(sides, least, strict=True)]
    padded = F.pad(x, [n for extra in reversed(more) for n in (extra // 2, extra - extra // 2)])
    return net(padded)[(..., *(slice(extra // 2, extra // 2 + side) for extra, side in zip(more, sides, strict=True)))]
