"""The cases that the G-CNN experiment can be run on, each data set's made to fit the grid's patch."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from fewscans import augment
from fewscans.data.samples import Samples
from fewscans.errors import DataError, ParamsError

# Data sets and the modules that read them, which decide runs as the experiment's own code does.
READERS = {
    "luna16-patches": ("fewscans.data.luna16_patches",),
    "orientation": ("fewscans.data.luna16_patches",),
    "adrenalmnist3d": ("fewscans.data.medmnist3d",),
    "nodulemnist3d": ("fewscans.data.medmnist3d",),
    "handedness": ("fewscans.data.medmnist3d",),
    "luna16": (
        "fewscans.data.mhd", "fewscans.data.luna16", "fewscans.data.cut", "fewscans.data.patch_cache",
        "fewscans.data.luna16_candidates",
    ),
    "lidc-nodules": ("fewscans.data.lidc_nodules",),
}  # fmt: skip


def read(dataset: str, path: Path, grid) -> Samples:
    """The data set's cases, with images at least as large as the patch of `grid` (a `gcnn.Grid`).

    Returns `Samples`, or what has its fields.   Raises DataError for a data set that this experiment cannot read, and
    for the copy at `path` if something is wrong with it.
    """
    if dataset in ("luna16-patches", "orientation"):
        from fewscans.data import luna16_patches

        return luna16_patches.read(path)
    if dataset in ("adrenalmnist3d", "nodulemnist3d", "handedness"):
        from fewscans.data import medmnist3d

        layout = "adrenalmnist3d" if dataset == "handedness" else dataset
        return _fitted(medmnist3d.read(path, layout), grid)
    if dataset not in READERS:
        raise DataError(f"the experiment gcnn cannot read {dataset!r}; it reads {', '.join(READERS)}")
    if grid.spacing_mm is None:
        raise ParamsError(f"spacing_mm is missing: the patches of {dataset} are cut at a spacing, (z, y, x) in mm")
    if dataset == "lidc-nodules":
        return _cubes(path, grid)
    from fewscans.data import luna16_candidates

    return luna16_candidates.prepare(
        path, grid.patch, grid.spacing_mm, margin(grid.patch), grid.negatives_per_scan, grid.train_negatives
    )


def margin(patch: tuple[int, ...]) -> tuple[int, ...]:
    """Voxels around a patch that turning it about z and shifting it bring into view, per axis."""
    shift = [math.ceil(side * augment.SHIFT_SHARE) for side in patch]
    turn = math.ceil((math.sqrt(2) - 1) / 2 * max(patch[-2:]))
    return (*shift[:-2], *(s + turn for s in shift[-2:]))


def _cubes(path: Path, grid) -> Samples:
    """The LIDC cubes are for looking at, and so all are test cases."""
    from fewscans.data import lidc_nodules

    cubes = lidc_nodules.read(path)
    return Samples(
        images=cubes.patches(grid.patch, grid.spacing_mm),
        labels=cubes.is_nodule.astype(np.int64),
        case=cubes.case,
        group=cubes.patient,
        split=np.full(len(cubes), "test"),
        fingerprint=cubes.fingerprint,
        path=cubes.path,
    )


def _fitted(samples: Samples, grid) -> Samples:
    """Dark borders where the images are smaller than the patch, 28 voxels to 32, say; then means over blocks."""
    widths, blocks = [(0, 0)], [len(samples)]
    for part, whole in zip(grid.patch, samples.images.shape[1:], strict=True):
        side = max(part * grid.downsample, whole + -whole % grid.downsample)
        widths.append(((side - whole) // 2, side - whole - (side - whole) // 2))
        blocks += [side // grid.downsample, grid.downsample]
    images = np.pad(samples.images, widths)
    if grid.downsample > 1:
        images = images.reshape(blocks).mean(axis=tuple(range(2, len(blocks), 2)), dtype=np.float32).round()
    return dataclasses.replace(samples, images=images.astype(np.uint8))
