"""Preprocessing of MR before a network sees it: bias field, voxel size, intensities.

These are the steps of the tutorial that the practitioners' thread is about (J. Reinhold, 2019) and of its companion
code: N4, resampling to 1 mm, one orientation, intensities normalised inside the brain. Orientation needs no step here:
`nifti.read` turns every volume to the patient's axes. `nifti.unit` scales by percentiles.

N4: Tustison et al., IEEE Transactions on Medical Imaging 29:1310-1320 (2010), in SimpleITK's implementation.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from fewscans.data.formats.nifti import Volume
from fewscans.errors import DataError

SMALLEST = 24  # voxels: an axis is not shrunk below this for N4's estimate
ITERATIONS = (50, 50, 50)  # at each of N4's levels, each with a field twice as fine
BLUR = 0.5  # standard deviation before sampling at a coarser step, in voxels, for each voxel that a step skips


def n4(volume: Volume, mask: np.ndarray, shrink: int = 4, iterations: Sequence[int] = ITERATIONS) -> Volume:
    """The volume divided by a smooth field of brightness that N4 estimates inside the mask.

    mask: (D, H, W) bool, the head or the brain.   shrink: the field is estimated on every so many-th voxel.
    Raises:  DataError for intensities below 0, whose logarithm N4 takes, and for a mask that is empty or of another
             shape.
    """
    if volume.array.min() < 0:
        raise DataError(f"{volume.path}: holds {volume.array.min():g}; N4 takes logarithms, so use intensities from 0")
    _check(volume, mask)
    sitk = _simpleitk()
    image = sitk.GetImageFromArray(volume.array.astype(np.float32))
    image.SetSpacing(volume.spacing_mm[::-1])
    inside = sitk.GetImageFromArray(np.ascontiguousarray(mask, dtype=np.uint8))
    inside.CopyInformation(image)
    steps = [max(1, min(shrink, side // SMALLEST)) for side in volume.array.shape[::-1]]  # x y z
    filter_ = sitk.N4BiasFieldCorrectionImageFilter()
    filter_.SetMaximumNumberOfIterations(list(iterations))
    filter_.SetNumberOfThreads(1)  # sums in one order
    small = sitk.Shrink(image, steps)
    filter_.Execute(small, sitk.Shrink(inside, steps))
    whole = sitk.ResampleImageFilter()  # the field is smooth: lines between its coarse voxels lose nothing
    whole.SetReferenceImage(image)
    whole.UseNearestNeighborExtrapolatorOn()
    field = np.exp(sitk.GetArrayFromImage(whole.Execute(filter_.GetLogBiasFieldAsImage(small))))
    return dataclasses.replace(volume, array=(volume.array / field).astype(np.float32))


def resampled(volume: Volume, spacing_mm: Sequence[float], labels: bool = False) -> Volume:
    """The volume in voxels of another size (z, y, x) about the same middle, as many as cover it.

    See `onto`. Raises ValueError for a spacing that is not three numbers above 0.
    """
    spacing = np.array(spacing_mm, float)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"spacing {spacing_mm} mm: it must be three numbers above 0, z y x")
    step = spacing / volume.spacing_mm  # in voxels
    shape = np.maximum(1, np.rint(volume.array.shape / step)).astype(int)
    first = (np.array(volume.array.shape) - 1) / 2 - step * (shape - 1) / 2  # where the new voxel 0 lies
    move = np.diag([*step[::-1], 1.0])
    move[:3, 3] = first[::-1]
    return onto(volume, tuple(shape.tolist()), volume.affine @ move, labels)


def onto(volume: Volume, shape: tuple[int, ...], affine: np.ndarray, labels: bool = False) -> Volume:
    """The volume on another grid, (D, H, W) voxels with that affine; what lies beyond repeats the border.

    Linear between voxel centres, after a blur along axes on which the grid is coarser. labels: the nearest voxel's.
    """
    from scipy import ndimage

    move = (np.linalg.inv(volume.affine) @ affine)[:3]  # voxel (x y z) of the new grid → of the old one
    matrix, offset = move[::-1, 2::-1], move[::-1, 3]  # z y x
    array = volume.array
    if not labels:
        step = np.abs(matrix).max(axis=1)  # old voxels a new one spans, along each old axis
        array = ndimage.gaussian_filter(array.astype(np.float32), BLUR * np.maximum(step - 1, 0), mode="nearest")
    moved = ndimage.affine_transform(array, matrix, offset, shape, order=0 if labels else 1, mode="nearest")
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0)[::-1].tolist())
    return Volume(moved.astype(volume.array.dtype), spacing, affine, volume.path)


def z_scores(volume: Volume, mask: np.ndarray) -> Volume:
    """Intensities minus their mean inside the mask, over their standard deviation there; 0 outside the mask.

    Raises:  DataError for a mask that is empty or of another shape, or holds one intensity alone.
    """
    _check(volume, mask)
    inside = volume.array[mask]
    if not inside.std() > 0:
        raise DataError(f"{volume.path}: all intensities inside the mask are {inside[0]:g}; there is nothing to scale")
    array = np.where(mask, (volume.array - inside.mean()) / inside.std(), 0)
    return dataclasses.replace(volume, array=array.astype(np.float32))


def _check(volume: Volume, mask: np.ndarray) -> None:
    if mask.shape != volume.array.shape or not mask.any():
        what = "is empty" if mask.shape == volume.array.shape else f"is {mask.shape}, the volume {volume.array.shape}"
        raise DataError(f"{volume.path}: the mask {what}; it says where the head or the brain is")


def _simpleitk():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its wrappers, from Python 3.12 on
        import SimpleITK

    return SimpleITK
