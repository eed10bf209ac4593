"""What an image shows, checked where its form is right: a file that a downloader reserved holds zeros, as many as said.

Readers call these for every image they hand on, and `fewscans data verify` for every image of a copy. Each raises one
DataError that begins with `what`, the file and where there are several the image in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewscans.errors import DataError

LOWEST_HU, HIGHEST_HU = -(1 << 15), (1 << 15) - 1  # what the 16 bits of a CT can hold
AIR_HU = -200  # lungs and the air around a person lie below, tissue above
LUNG_HU = -900  # a scan has something denser than the thinnest lung
NOISE_HU = -1200  # air lies above, but for its noise; below are one or two values that scanners fill their corners with
DEEP = 0.2  # share of other values there; the noisiest nodule of LIDC-IDRI has 0.01
METAL_HU = 4000  # bone lies below, and of 12 bits everything
FEW = 0.005  # share of a scan that metal takes at most
SAMPLED = 1 << 21  # voxels that shares are counted in


def not_blank(what: str, pixels: np.ndarray) -> np.ndarray:
    """The pixels. Refuses an image that has none, one that holds NaN or infinity, and one of a single value."""
    if pixels.size == 0:
        raise DataError(f"{what}: holds no pixels; copy the image again, or leave it out")
    low, high = pixels.min(), pixels.max()  # NaN if there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{what}: holds NaN or infinity; every pixel must be a number, copy the image again")
    if low == high:
        fault = f"every pixel has the same value, {low:g}, so it shows nothing"
        raise DataError(f"{what}: {fault}; copy the image again, or leave it out")
    return pixels


def none_blank(what: str, images: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Images (n, ...), the first blank one of which is named as what[i], and by its own name where it has one."""
    for i, image in enumerate(images):
        not_blank(f"{what}[{i}]" + (f", {names[i]}" if i < len(names) else ""), image)
    return images


def hounsfield(what: str, hu: np.ndarray) -> np.ndarray:
    """A part of a CT scan, in any shape. Refuses values that are no Hounsfield units, and what is blank.

    A part that shows lung has air. Stored values without their rescaling (HU + 1024, unsigned), grey values and
    intensities in [0, 1] have none; bytes in the wrong order give values far above bone.
    """
    not_blank(what, hu)
    low, high = hu.min(), hu.max()
    again = "convert it to Hounsfield units (stored value x slope + intercept), or copy it again"
    if low < LOWEST_HU or high > HIGHEST_HU:
        wrong = low if low < LOWEST_HU else high
        raise DataError(f"{what}: holds {wrong:g}, which no CT does; {again}")
    if low > AIR_HU:
        raise DataError(f"{what}: its lowest value is {low:g}, but a CT has air at about -1000 HU; {again}")
    flat = hu.reshape(-1)
    flat = np.asarray(flat[:: -(-flat.size // SAMPLED)])
    metal = np.mean(flat > METAL_HU)
    if metal > FEW:
        raise DataError(f"{what}: {metal:.0%} of its values are above {METAL_HU} HU, and bone is below; {again}")
    below, counts = np.unique(flat[flat < NOISE_HU], return_counts=True)
    deep = np.sort(counts)[:-2].sum() / flat.size
    if deep > DEEP:
        raise DataError(f"{what}: {deep:.0%} of its values are from {below[0]:g} to {NOISE_HU} HU, below air; {again}")
    return hu


def scan(what: str, hu: np.ndarray) -> np.ndarray:
    """A whole CT scan (D, H, W): as `hounsfield`; with tissue, and without slices of zeros (a file copied in part)."""
    hounsfield(what, hu)
    low, high = hu.min(axis=(1, 2)), hu.max(axis=(1, 2))
    if not high.max() > LUNG_HU:
        fault = f"its highest value is {high.max():g} HU, and tissue is at about 0"
        raise DataError(f"{what}: {fault}; convert it to Hounsfield units once, or copy it again")
    zeros = np.flatnonzero((low == 0) & (high == 0))
    if len(zeros):
        fault = f"{len(zeros)} of its {len(hu)} slices, the first is {zeros[0]}, hold zeros only"
        raise DataError(f"{what}: {fault}, as a file that was copied in part; copy it again")
    return hu
