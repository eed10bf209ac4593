"""Lesions of a tumour mask, by CAMELYON16's evaluation (Ehteshami Bejnordi et al., JAMA 318:2199-2210, 2017).

Tumour is where the mask is exactly 255. It grows by less than 37.5 µm in each direction, so that lesions closer than
75 µm become one. Then holes are filled and 8-connected pixels are one lesion. A lesion whose major axis, growth
included, is below 275 µm is a group of isolated tumour cells (ITC): it is not scored, and detections inside it are
ignored. The major axis is that of the ellipse with the same second moments.

The official script measures distances on the whole mask. Here they are measured in boxes around the tumour, and
the lesions are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

TUMOUR = 255
GROWTH_UM = 75.0  # of a diameter
ITC_UM = 200.0  # largest extent of isolated tumour cells
MICRO_UM = 2000.0  # largest extent of a micrometastasis

_EIGHT = np.ones((3, 3), dtype=int)


@dataclass(frozen=True, eq=False)
class Lesions:
    """labels: (H, W) int32, 0 is background; numbers rise with the first pixel from the top.   major_axis_um: (K,) of
    lesions 1 to K, growth included.   itc: (K,) bool.   size: (K,) "itc", "micro" (below 2 mm without the growth) or
    "macro".
    """

    labels: np.ndarray
    major_axis_um: np.ndarray
    itc: np.ndarray
    size: np.ndarray

    def at(self, row: int, column: int) -> int:
        """The number of the lesion at a pixel of the mask, 0 for none.   Raises ValueError for a pixel outside."""
        height, width = self.labels.shape
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f"row {row}, column {column} is outside the mask of {height} x {width} pixels")
        return int(self.labels[row, column])


def label(mask: np.ndarray, microns_per_pixel: float) -> Lesions:
    """The lesions of a mask (H, W) with 255 for tumour; none if it is 0 everywhere.   microns_per_pixel: of the mask.

    Raises ValueError for another shape, a pixel size that is not above 0, and a mask with other values than 0 but no
    255.
    """
    from scipy import ndimage

    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask has shape (H, W), got {mask.shape}; give one channel")
    if not 0 < microns_per_pixel < math.inf:
        raise ValueError(f"microns_per_pixel must be above 0, got {microns_per_pixel}")
    tumour = mask == TUMOUR
    if not tumour.any() and mask.any():
        raise ValueError(f"the mask holds {mask.max()} but never {TUMOUR}; tumour must be {TUMOUR}, as in CAMELYON16")
    radius = GROWTH_UM / (2 * microns_per_pixel)
    filled = np.zeros(mask.shape, dtype=bool)
    for box in _boxes(tumour, math.ceil(radius)):
        far = ndimage.distance_transform_edt(~tumour[box]) >= radius
        background, _ = ndimage.label(np.pad(far, 1, constant_values=True))  # 1 is what is outside, others are holes
        filled[box] |= background[1:-1, 1:-1] != 1
    labels, _ = ndimage.label(filled, _EIGHT)
    axis = _major_axis(labels, np.flatnonzero(filled))  # in pixels, as the script compares it
    itc = axis < (ITC_UM + GROWTH_UM) / microns_per_pixel
    axis_um = axis * microns_per_pixel
    size = np.where(itc, "itc", np.where(axis_um - GROWTH_UM < MICRO_UM, "micro", "macro"))
    return Lesions(labels, axis_um, itc, size)


def _boxes(tumour: np.ndarray, reach: int) -> list[tuple[slice, slice]]:
    """Boxes that may overlap. All tumour of a lesion lies in one of them, with `reach` pixels around it."""
    from scipy import ndimage

    side = 2 * reach + 1  # pixels of lesions that touch once grown lie in the same or in adjacent blocks
    row, column = np.divmod(np.flatnonzero(tumour), tumour.shape[1])
    blocks = np.zeros([n // side + 1 for n in tumour.shape], dtype=bool)
    blocks[row // side, column // side] = True
    groups = ndimage.find_objects(ndimage.label(blocks, _EIGHT)[0])
    return [tuple(slice(max(s.start * side - reach, 0), s.stop * side + reach) for s in group) for group in groups]


def _major_axis(labels: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(K,) four times the larger standard deviation of each lesion's pixels, in pixels.   place: where labels are."""
    lesion = labels.ravel()[place] - 1
    pixels = np.bincount(lesion)

    def mean(values):
        return np.bincount(lesion, values) / pixels

    y, x = (n - mean(n)[lesion] for n in np.divmod(place, labels.shape[1]))
    yy, xx, xy = mean(y * y), mean(x * x), mean(x * y)
    return 4 * np.sqrt((yy + xx) / 2 + np.hypot((yy - xx) / 2, xy))
