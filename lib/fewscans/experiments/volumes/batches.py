"""What networks are trained on: patches of volumes, or as many voxels in slices, under like augmentation.

A patch is moved by whole voxels inside the published image, and keeps its values unless it is turned or scaled: to
interpolate all would blur volumes across slices, and slices not. One in five is turned by up to 15 degrees in each
plane that it has: a slice in its own, a volume in three, so that half of the volumes are turned. One in five is scaled
by up to a fifth. Half are mirrored left to right, none front to back, for a hippocampus has a front and a back.
All are made brighter or darker, and given noise. Slices are drawn from all training volumes, each in its own plane, so
an update on slices shows more people than one on volumes; both show as many voxels of images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans import train
from fewscans.data.base import Cases
from fewscans.data.msd_segmentation import BOX, inside
from fewscans.experiments.volumes.arms import VOLUME

TURN, SCALE = math.radians(15), 0.2
MOVED = 0.2  # of the samples are turned in a plane, or scaled
GAIN, OFFSET, NOISE = 0.25, 0.25, 0.1  # of standardised intensities
BLOCK = 3  # voxels across a thick slice: 3 mm of 1 mm
AXIS = {"z": 0, "y": 1, "x": 2}


def boxes(cases: Cases, index: np.ndarray) -> list[tuple[slice, ...]]:
    """Where the published images lie in the window."""
    return [inside(tuple(shape), cases.images.shape[2:]) for shape in cases.about[BOX].to_numpy()[index]]


def standardised(image: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1."""
    image = image.float()
    return (image - image.mean()) / image.std().clamp_min(1e-6)


class Batches:
    """Training volumes, and what an update draws from them.

    network: "volume", or the axis that slices are across.   size: voxels (z, y, x) of a patch.   volumes: patches of an
    update; there are as many slices as they show of images, on average.   thick: see `arms.Arm`.   finer: for each
    case, how many slices networks on volumes see for one, interpolated, with its labels. Then a case may have two
    slices or fifty, so networks on slices draw a case first, and then one of its slices; else one of all slices.
    """

    def __init__(
        self, cases: Cases, index: np.ndarray, network: str, size: Sequence[int], volumes: int, seed: int,
        thick: float = 0.0, finer: Sequence[int] = (),
    ):  # fmt: skip
        self.network, self.seed, self.thick = network, seed, thick
        self.slices = None  # of each case, where a case is drawn first
        box = boxes(cases, index)
        pairs = torch.from_numpy(cases.images[index])  # (n, 2, D, H, W)
        image, label = torch.zeros(pairs[:, 0].shape), pairs[:, 1].float()
        for i, part in enumerate(box):
            image[i][part] = standardised(pairs[i, 0][part])
        if network == VOLUME and max(finer, default=1) > 1:
            image, label, box = _finer(image, label, box, finer)
        low, high = (torch.tensor([[getattr(s, end) for s in part] for part in box]) for end in ("start", "stop"))
        if network == VOLUME:
            self.size, self.count = tuple(size), volumes
            self.image, self.label = image.unsqueeze(1), label.unsqueeze(1)
            self.low, self.high, self.box = low, high, box
            return
        axis = AXIS[network]
        self.size = tuple(side for i, side in enumerate(size) if i != axis)
        self.count = round(volumes * float((high - low)[:, axis].clamp(max=size[axis]).float().mean()))
        if thick:  # a thick slice stands for the three that it is the mean of; labels are by majority
            blurred, majority = image.clone(), label.clone()
            for i, part in enumerate(box):
                blurred[i][part] = standardised(_moving_mean(image[i][part], axis))
                majority[i][part] = _thick_labels(label[i][part], axis) if thick == 1 else label[i][part]
            self.thick_image, self.thick_label = (_stacked(some, axis) for some in (blurred, majority))
        self.image, self.label = (_stacked(part, axis) for part in (image, label))  # (n * slices, 1, H, W)
        slices = image.shape[1 + axis]
        of = torch.arange(len(index)).repeat_interleave(slices)
        at = torch.arange(slices).repeat(len(index))
        kept = (at >= low[of, axis]) & (at < high[of, axis])
        self.slices = torch.bincount(of[kept]) if finer else None
        plane = [i for i in range(3) if i != axis]
        self.low, self.high = (bound[of[kept]][:, plane] for bound in (low, high))
        self.image, self.label = self.image[kept], self.label[kept]
        if thick:
            self.thick_image, self.thick_label = self.thick_image[kept], self.thick_label[kept]

    def __len__(self) -> int:
        """Samples of a pass: volumes, or slices, or the cases that slices are drawn from."""
        return len(self.image if self.slices is None else self.slices)

    def draw(self, positions: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One update: images (B, 1, *size) float32, and labels, the same with whole numbers."""
        random = train.generator(self.seed, "augmentation", step)
        n, dim = len(positions), len(self.size)
        if self.slices is not None:
            count, end = self.slices[positions], self.slices.cumsum(0)[positions]
            positions = end - 1 - (count * torch.rand(n, generator=random)).long()
        shown = torch.rand(n, generator=random) < self.thick
        image, label = self.image[positions], self.label[positions]
        if self.thick and dim == 3:
            phases = torch.randint(BLOCK, (n,), generator=random)
            for i in torch.nonzero(shown).flatten().tolist():
                part = (0, *self.box[positions[i]])  # as a test volume: thickened as published, then standardised
                blur = through_thick(part[1].stop - part[1].start, int(phases[i]))
                image[i][part] = standardised(torch.einsum("ab,bhw->ahw", blur, image[i][part]))
                if self.thick == 1:
                    label[i][part] = _labels_of_thick(label[i][part], int(phases[i]))
        elif self.thick:
            image[shown], label[shown] = self.thick_image[positions[shown]], self.thick_label[positions[shown]]
        bounds = self.low[positions], self.high[positions]
        grid = _places(*bounds, self.size, image.shape[2:], self.network != "x", random)
        image = F.grid_sample(image, grid, "bilinear", "zeros", align_corners=True)
        label = F.grid_sample(label, grid, "nearest", "zeros", align_corners=True)
        gain, offset, noise = (torch.rand(3, n, generator=random) * 2 - 1).view(3, n, *[1] * (dim + 1))
        image = image * (1 + GAIN * gain) + OFFSET * offset
        return image + NOISE * noise.abs() * torch.randn(image.shape, generator=random), label


def interpolated(image: Tensor, finer: int) -> Tensor:
    """So many slices for each, on straight lines between the middles of slices: (d, h, w) → (d * finer, h, w)."""
    if finer == 1:
        return image
    return F.interpolate(image[None, None], scale_factor=(finer, 1, 1), mode="trilinear", align_corners=False)[0, 0]


def _finer(
    image: Tensor, label: Tensor, box: Sequence[tuple[slice, ...]], finer: Sequence[int]
) -> tuple[Tensor, Tensor, list[tuple[slice, ...]]]:
    """Images and labels (n, D, H, W) in a window that is as many times as deep as the finest needs, and their boxes."""
    depth = image.shape[1] * max(finer)
    found = image.new_zeros(2, len(image), depth, *image.shape[2:])
    places = []
    for i, (part, times) in enumerate(zip(box, finer, strict=True)):
        seen, drawn = interpolated(image[i][part], times), label[i][part].repeat_interleave(times, 0)
        start = (depth - len(seen)) // 2
        places.append((slice(start, start + len(seen)), *part[1:]))
        found[0, i][places[-1]], found[1, i][places[-1]] = seen, drawn
    return found[0], found[1], places


def _places(
    low: Tensor, high: Tensor, size: Sequence[int], window: Sequence[int], mirrored: bool, random: torch.Generator
) -> Tensor:
    """Where each voxel of a patch lies in its window, as `grid_sample` wants it: (B, *size, dim) from -1 to 1.

    low, high: (B, dim) of the published image in the window. A patch lies inside it, or, where the image is smaller,
    around it.   mirrored: half of them are, along the last axis, which is x but for sagittal slices.
    """
    n, dim = low.shape
    half = torch.tensor([side / 2 for side in size])
    ends = torch.stack([low + half, high - half])
    first, last = ends.amin(0), ends.amax(0)
    centre = first + ((last - first + 1) * torch.rand(n, dim, generator=random)).floor() - 0.5
    turn = torch.eye(dim).expand(n, dim, dim)
    for a in range(dim):
        for b in range(a + 1, dim):
            angle = TURN * (2 * torch.rand(n, generator=random) - 1) * (torch.rand(n, generator=random) < MOVED)
            plane = torch.eye(dim).repeat(n, 1, 1)
            plane[:, a, a] = plane[:, b, b] = angle.cos()
            plane[:, a, b], plane[:, b, a] = -angle.sin(), angle.sin()
            turn = turn @ plane
    scale = math.log1p(SCALE) * (2 * torch.rand(n, 1, generator=random) - 1)
    scale = torch.exp(scale * (torch.rand(n, 1, generator=random) < MOVED)).repeat(1, dim)
    if mirrored:
        scale[:, -1] *= 1.0 - 2.0 * (torch.rand(n, generator=random) < 0.5)
    axes = [torch.arange(side) - (side - 1) / 2 for side in size]
    offset = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, dim)
    place = centre[:, None] + torch.einsum("bij,bkj->bki", turn * scale[:, None], offset.expand(n, -1, dim))
    place = 2 * place / (torch.tensor(window) - 1) - 1
    return place.flip(-1).view(n, *size, dim)


def through_thick(slices: int, start: int = 0, count: int | None = None) -> Tensor:
    """Averaging slices in threes and interpolating back to as many, as one matrix, (slices, slices).

    start: where the first thick slice begins.   count: how many there are; else as many as fit.
    """
    count = (slices - start) // BLOCK if count is None else count
    mean = torch.zeros(count, slices)
    for i in range(count):
        mean[i, start + BLOCK * i : start + BLOCK * (i + 1)] = 1 / BLOCK
    place = ((torch.arange(slices) - start - (BLOCK - 1) / 2) / BLOCK).clamp(0, count - 1)
    back = (1 - (place[:, None] - torch.arange(count)).abs()).clamp_min(0)  # linear between the middles
    return back @ mean


def thickened(array: Tensor, start: int = 0) -> Tensor:
    """Means of threes along the first axis, what is left over at its end dropped: (D, ...) → (D // 3, ...)."""
    count = (len(array) - start) // BLOCK
    return array[start : start + count * BLOCK].view(count, BLOCK, *array.shape[1:]).mean(1)


def thick_labels(label: Tensor, classes: int) -> Tensor:
    """The label that most of the three voxels have, the lowest where all differ: (D, H, W) → (D // 3, H, W)."""
    return torch.stack([thickened((label == c).float()) for c in range(classes)]).argmax(0)


def _moving_mean(image: Tensor, axis: int) -> Tensor:
    """Means of each slice and its two neighbours; (D, H, W)."""
    along = image.movedim(axis, 0)
    padded = torch.cat([along[:1], along, along[-1:]])
    return ((padded[:-2] + padded[1:-1] + padded[2:]) / 3).movedim(0, axis)


def _thick_labels(label: Tensor, axis: int) -> Tensor:
    shares = [_moving_mean((label == c).float(), axis) for c in range(int(label.max()) + 1)]
    return torch.stack(shares).argmax(0).float()


def _labels_of_thick(label: Tensor, start: int) -> Tensor:
    """Labels (D, H, W) as drawn on thick slices, the first of which begins at `start`: each voxel has its slice's."""
    thick = thick_labels(label[start:], int(label.max()) + 1).float()
    return thick[((torch.arange(len(label)) - start) // BLOCK).clamp(0, len(thick) - 1)]


def _stacked(volumes: Tensor, axis: int) -> Tensor:
    """(n, D, H, W) → (n * slices, 1, *plane)"""
    return volumes.movedim(1 + axis, 1).flatten(0, 1).unsqueeze(1).contiguous()
