"""MedMNIST 3D: small volumes of one organ or nodule each, with a yes-or-no label, split by the publisher.

A set is one npz at 28 or 64 voxels a side. MedMNIST v2: Yang et al., Scientific Data 10:41 (2023),
doi 10.1038/s41597-022-01721-8; files: Zenodo record 10519652. The MD5 of the larger files:
    adrenalmnist3d_64.npz  17721accfe9fb005146a47d33bc54b2f     nodulemnist3d_64.npz  c47c5b7d457bf6332200d2ea6d64ecd8

What is lost: the files name no patients. MedMNIST split by patient, so no one is in two splits; but within a split a
patient may hold several cases. Each case therefore stands for its own group, and intervals that resample groups may be
somewhat too narrow.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fewscans.data.base import Cases, Cut
from fewscans.data.formats import npz
from fewscans.errors import DataError

SIZES = (28, 64)
SPLITS = ("train", "val", "test")
KEYS = tuple(f"{split}_{part}" for split in SPLITS for part in ("images", "labels"))


def file_name(name: str, size: int = 28) -> str:
    """What MedMNIST calls the file of a set: "adrenalmnist3d.npz", "adrenalmnist3d_64.npz"."""
    if size not in SIZES:
        raise ValueError(f"no MedMNIST 3D file of {name} at {size}; its volumes are 28 or 64 voxels a side")
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


def read(path: Path | str, name: str, size: int | None = None, binary: bool = False) -> Cases:
    """Read and check one set; its splits are the publisher's.

    Args:    path: the npz, or the folder that holds it.   name: of the set.   size: 28 or 64 voxels a side; None: as
             the file's name says, and of a folder's files the smaller.   binary: whether voxels are 0 or 255 only.
    Returns: images (n, size, size, size) in the file's order, train then val then test; group is the case.
    Raises:  DataError naming the file, the key or value at fault, and the remedy.
    """
    sizes = {file_name(name, side): side for side in (SIZES if size is None else (size,))}
    path, known = Path(path), " or ".join(sizes)
    if path.is_dir():
        path = next((path / file for file in sizes if (path / file).is_file()), path / next(iter(sizes)))
    arrays = npz.load(path, KEYS, known, f"download {path.name} again and compare its MD5")
    if path.name not in sizes:
        raise DataError(f"{path}: not the name of a file asked for, {known}; MedMNIST's names are kept")
    for split in SPLITS:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        npz.check_images(path, f"{split}_images", images, (sizes[path.name],) * 3)
        npz.check_labels(path, f"{split}_labels", labels)
        npz.check_lengths(path, {f"{split}_images": images, f"{split}_labels": labels})
        for i, image in enumerate(images if binary else ()):  # one at a time: a mask of them all doubles the memory
            if not np.isin(image, (0, 255)).all():
                value = int(image[(image != 0) & (image != 255)][0])
                raise DataError(f"{path}: {split}_images[{i}] holds {value}; {name} is a shape, its voxels 0 or 255")
    return joined(arrays, path)


def joined(arrays: Mapping[str, np.ndarray], path: Path) -> Cases:
    """The three parts of MedMNIST's npz, already checked, in the file's order; each case is its own group."""
    counts = [len(arrays[f"{split}_labels"]) for split in SPLITS]
    case = np.array([f"{split}{i:04d}" for split, n in zip(SPLITS, counts, strict=True) for i in range(n)])
    return Cases(
        images=np.concatenate([arrays[f"{split}_images"] for split in SPLITS]),
        target=np.concatenate([arrays[f"{split}_labels"] for split in SPLITS])[:, 0].astype(np.int64),
        case=case, group=case.copy(), split=np.repeat(SPLITS, counts),
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest(), path=path,
    )  # fmt: skip


def fitted(cases: Cases, cut: Cut) -> Cases:
    """Dark borders where images are smaller than the cut, 28 voxels to 32, say; then means over blocks.

    Raises DataError for a cut of a plane where images are volumes, and the other way round.
    """
    if len(cut.size) != cases.images.ndim - 1:
        what, where = ("volumes", "in space") if cases.images.ndim == 4 else ("pictures", "on the plane")
        raise DataError(f"{cases.path}: holds {what}, and these networks see patches of {cut.size}; ask one {where}")
    widths, blocks = [(0, 0)], [len(cases)]
    for part, whole in zip(cut.size, cases.images.shape[1:], strict=True):
        side = max(part * cut.downsample, whole + -whole % cut.downsample)
        widths.append(((side - whole) // 2, side - whole - (side - whole) // 2))
        blocks += [side // cut.downsample, cut.downsample]
    images = np.pad(cases.images, widths)
    if cut.downsample > 1:
        images = images.reshape(blocks).mean(axis=tuple(range(2, len(blocks), 2)), dtype=np.float32).round()
    return dataclasses.replace(cases, images=images.astype(np.uint8))
