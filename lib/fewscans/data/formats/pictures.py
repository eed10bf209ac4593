"""Any picture that people keep: PNG, JPEG, TIFF, NIfTI, MetaImage, npy, DICOM of one frame; one picture, or one error.

Volumes come out with z first, colour last. What a file does not say, such as the size of its voxels, is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewscans.data.base import first_line, quantised
from fewscans.data.formats import mhd, nifti
from fewscans.errors import DataError

PLAIN, TIFF, ARRAY = (".png", ".jpg", ".jpeg", ".bmp"), (".tif", ".tiff"), (".npy",)
SPACE, META, DICOM = (".nii", ".nii.gz"), (".mhd", ".mha"), (".dcm", ".dicom")
ENDINGS = (*PLAIN, *TIFF, *SPACE, *META, *ARRAY, *DICOM)
SMALLEST = {2: 8, 3: 2}  # voxels along each axis of a picture on the plane, and in space


class Picture(NamedTuple):
    """values: (H, W) or (D, H, W) uint8 or float32, or (H, W, 3) uint8 in colour.   spacing_mm: of a voxel along each
    axis in space, if the file says so.   scanner: the manufacturer, if the file says so.
    """

    values: np.ndarray
    spacing_mm: tuple[float, ...] | None = None
    scanner: str = ""

    @property
    def colour(self) -> bool:
        return self.values.ndim == 3 and self.values.shape[-1] == 3 and self.values.dtype == np.uint8

    @property
    def size(self) -> tuple[int, ...]:
        """Voxels along each axis in space."""
        return self.values.shape[:2] if self.colour else self.values.shape

    @property
    def grey(self) -> bool:
        """Whether nothing is lost without colour: the channels are equal."""
        return not self.colour or bool((self.values == self.values[..., :1]).all())


def read(path: Path | str) -> Picture:
    """Read a file by its name's ending.

    Raises:  DataError naming the file: absent, of an unknown kind, damaged, of no 2 or 3 axes, with voxels that are not
             finite or all the same, smaller than 8 pixels a side (in space 2 voxels).
    """
    path = Path(path)
    name = path.name.lower()
    if not path.is_file():
        raise DataError(f"{path}: no such file; the column 'image' names files of the folder")
    if not name.endswith(ENDINGS):
        raise DataError(f"{path}: unknown kind of file; pictures end in {', '.join(ENDINGS)}")
    if name.endswith(SPACE):
        volume = nifti.read(path)
        found = Picture(volume.array, volume.spacing_mm)
    elif name.endswith(META):
        scan = mhd.read(path)
        found = Picture(np.asarray(scan.array, np.float32), tuple(float(mm) for mm in scan.header.spacing_mm[::-1]))
    elif name.endswith(DICOM):
        from fewscans.data.formats import xray_dicom  # imports torch, which whoever looks up a name does not need

        frame = xray_dicom.read(path)
        found = Picture(quantised(frame.pixels), scanner=frame.manufacturer)
    else:
        found = Picture(_array(path, name))
    return _checked(path, found)


def _array(path: Path, name: str) -> np.ndarray:
    try:
        if name.endswith(ARRAY):
            array = np.load(path, allow_pickle=False)
        elif name.endswith(TIFF):
            import tifffile

            array = tifffile.imread(path)
        else:
            from PIL import Image

            with Image.open(path) as image:
                if image.mode not in ("L", "I;16", "I", "F", "RGB"):
                    image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
                array = np.array(image)
    except Exception as error:  # each codec has its own
        raise DataError(f"{path}: cannot be read ({first_line(error)}); save it again, or leave it out") from error
    if array.ndim == 3 and array.shape[-1] == 4 and array.dtype == np.uint8:
        array = array[..., :3]
    if array.dtype.kind not in "buif":
        raise DataError(f"{path}: its voxels are {array.dtype}; a picture holds one real number a voxel")
    return array if array.dtype == np.uint8 else array.astype(np.float32)


def _checked(path: Path, found: Picture) -> Picture:
    values, spacing = found.values, found.spacing_mm
    if values.ndim == 3 and values.shape[0] == 1:
        values, spacing = values[0], spacing and spacing[1:]
    found = Picture(values, spacing, found.scanner)
    size = found.size
    if len(size) not in SMALLEST or min(size) < SMALLEST[len(size)]:
        least = "pictures have 8 x 8 pixels or more, volumes 2 x 2 x 2 voxels"
        raise DataError(f"{path}: its shape is {values.shape}; {least}")
    wrong = np.count_nonzero(~np.isfinite(values)) if values.dtype.kind == "f" else 0
    if wrong:
        raise DataError(f"{path}: {wrong:,} of {values.size:,} voxels are NaN or infinite; every voxel has a value")
    if values.min() == values.max():
        raise DataError(f"{path}: every voxel has the same value; copy the picture again, or leave it out")
    return found


def unit(values: np.ndarray, window: Sequence[float] | None = None) -> np.ndarray:
    """Intensities from 0 to 1, float32: by the window; else bytes over 255, and others between their percentiles."""
    if window is not None:
        low, high = window
        return ((np.clip(values, low, high) - low) / (high - low)).astype(np.float32)
    return values.astype(np.float32) / 255 if values.dtype == np.uint8 else nifti.unit(values)


def fitted(picture: Picture, size: Sequence[int], step_mm: Sequence[float] | None, window=None) -> np.ndarray:
    """The picture as `Cases` keeps it: (*size) uint8, and (*size, 3) in colour.

    step_mm: between the samples; what lies beyond the picture repeats its outermost voxels.   None: the whole picture
    is stretched or shrunk to the size. Linear between voxels, and the mean over each sample's extent where it shrinks.
    """
    values = unit(picture.values, window)
    for axis, (voxels, n) in enumerate(zip(picture.size, size, strict=True)):
        step = voxels / n if step_mm is None else step_mm[axis] / picture.spacing_mm[axis]
        if voxels != n or step != 1:
            values = np.moveaxis(np.tensordot(_weights(voxels, n, step), values, axes=(1, axis)), 0, axis)
    return quantised(np.clip(values, 0, 1))


def _weights(voxels: int, n: int, step: float) -> np.ndarray:
    """How much each voxel counts in each of n samples `step` voxels apart about the common middle, (n, voxels)."""
    parts = int(np.ceil(step - 1e-6))
    offsets = (np.arange(n) - (n - 1) / 2)[:, None] + (np.arange(parts) + 0.5) / parts - 0.5  # (n, parts)
    places = np.clip((voxels - 1) / 2 + offsets * step, 0, voxels - 1)
    return np.maximum(0, 1 - np.abs(places[..., None] - np.arange(voxels))).mean(axis=1).astype(np.float32)
