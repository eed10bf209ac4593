"""MedMNIST 3D: small volumes of one organ or nodule each, with a yes-or-no label, split by the publisher.

Two sets are read: AdrenalMNIST3D (is the gland a mass or hyperplastic?) and NoduleMNIST3D (is the nodule malignant?),
at 28 or 64 voxels a side. AdrenalMNIST3D's voxels are a binary shape, 0 outside and 255 inside, cut from a CT's
segmentation: there are no intensities in it. MedMNIST v2: Yang et al., Scientific Data 10:41 (2023),
doi 10.1038/s41597-022-01721-8; files: Zenodo record 10519652, with the MD5
    adrenalmnist3d.npz     bbd3c5a5576322bc4cdfea780653b1ce     nodulemnist3d.npz     8755a7e9e05a4d9ce80a24c3e7a256f3
    adrenalmnist3d_64.npz  17721accfe9fb005146a47d33bc54b2f     nodulemnist3d_64.npz  c47c5b7d457bf6332200d2ea6d64ecd8

What is lost: the files name no patients. MedMNIST split by patient, so no one is in two splits; but within a split a
patient may hold several cases. In AdrenalMNIST3D a person's left and right glands may both be in the test split, and
nothing found in the file pairs them: neighbours' labels agree as often as by chance, mirror images are no more alike
in neighbours than in strangers, and neighbours' log volumes correlate by -0.06, -0.16 and 0.15 in train, val and test
(standard errors 0.03, 0.10, 0.06): in test nominally more than by chance, but too weakly to pair anyone. Each case
therefore stands for its own group, and intervals that resample groups may be somewhat too narrow.
"""

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np

from fewscans.data.samples import Samples
from fewscans.errors import DataError

NAMES = ("adrenalmnist3d", "nodulemnist3d")
SIZES = (28, 64)
SPLITS = ("train", "val", "test")
KEYS = tuple(f"{split}_{part}" for split in SPLITS for part in ("images", "labels"))
BINARY = ("adrenalmnist3d",)


def file_name(name: str, size: int = 28) -> str:
    """What MedMNIST calls the file of a set: "adrenalmnist3d.npz", "adrenalmnist3d_64.npz"."""
    if name not in NAMES or size not in SIZES:
        raise ValueError(f"no MedMNIST 3D file of {name!r} at {size}; sets {', '.join(NAMES)}, sizes 28 and 64")
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


def read(path: Path | str, name: str | None = None, size: int | None = None) -> Samples:
    """Read and check one set; its splits are the publisher's.

    Args:    path: the npz, or the folder that holds it.   name: "adrenalmnist3d" or "nodulemnist3d"; may be left out
             where the file's name, or the only one in the folder, tells.   size: 28 or 64 voxels a side; left out,
             a folder's 28 is preferred.
    Returns: images (n, size, size, size) uint8 in the file's order, train then val then test; group is the case.
    Raises:  DataError naming the file, the key or value at fault, and the remedy.
    """
    path, name, size = _find(Path(path), name, size)
    arrays = _load(path)
    for split in SPLITS:
        _check(path, split, arrays, name, size)
    counts = [len(arrays[f"{split}_labels"]) for split in SPLITS]
    labels = np.concatenate([arrays[f"{split}_labels"] for split in SPLITS])[:, 0].astype(np.int64)
    case = np.array([f"{s}{i:04d}" for s, n in zip(SPLITS, counts, strict=True) for i in range(n)])
    return Samples(
        images=np.concatenate([arrays[f"{split}_images"] for split in SPLITS]),  # (n, size, size, size)
        labels=labels,
        case=case,
        group=case.copy(),
        split=np.repeat(SPLITS, counts),
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest(),
        path=path,
    )


def _find(path: Path, name: str | None, size: int | None) -> tuple[Path, str, int]:
    """The file, and which set at which size it is by its name."""
    if name is not None and name not in NAMES:
        raise DataError(f"unknown MedMNIST 3D set {name!r}; read here: {', '.join(NAMES)}")
    if size is not None and size not in SIZES:
        raise DataError(f"MedMNIST 3D has no size {size}; its volumes are 28 or 64 voxels a side")
    known = {file_name(n, s): (n, s) for s in SIZES for n in NAMES if (name is None or n == name) and size in (None, s)}
    if path.is_dir():
        there = [file for file in known if (path / file).is_file()]  # size 28 first
        if len({known[file][0] for file in there}) > 1:
            raise DataError(f"{path} holds more than one set, {' and '.join(there)}; name the file")
        if not there:
            raise DataError(f"{path}: no such file as {' or '.join(known)} in this folder")
        path = path / there[0]
    if not path.is_file():
        raise DataError(f"{path}: no such file; put {' or '.join(known)} there, or name the folder that holds it")
    if path.name not in known:
        raise DataError(f"{path}: not the name of a file asked for, {' or '.join(known)}; MedMNIST's names are kept")
    return path, *known[path.name]


def _load(path: Path) -> dict[str, np.ndarray]:
    """All six arrays of the npz, whole: a zip checks its entries only as they are read."""
    again = f"download {path.name} again and compare its MD5"
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not an npz, or cut short; {again}")
    try:
        with np.load(path, allow_pickle=False) as npz:
            found = ((" lacks", set(KEYS) - set(npz.files)), (" has unknown", set(npz.files) - set(KEYS)))
            wrong = [f"{what} {', '.join(sorted(keys))}" for what, keys in found if keys]
            if wrong:
                raise DataError(f"{path}:{' and'.join(wrong)}; a MedMNIST file has exactly the keys {', '.join(KEYS)}")
            return {key: npz[key] for key in KEYS}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: damaged or cut short ({error}); {again}") from error


def _check(path: Path, split: str, arrays: dict[str, np.ndarray], name: str, size: int) -> None:
    """One split has the published shapes, types and values."""
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))[0])
        raise DataError(f"{path}: {split}_images[{bad}] holds NaN or infinity; images are uint8, 0 to 255")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size,) * 3:
        raise DataError(
            f"{path}: {split}_images is {images.dtype} {images.shape}; "
            f"in a file of this name it must be uint8 (n, {size}, {size}, {size})"
        )
    if labels.ndim != 2 or labels.shape[1] != 1:
        raise DataError(f"{path}: {split}_labels has shape {labels.shape}; it must be (n, 1)")
    wrong = labels[(labels != 0) & (labels != 1)]  # NaN differs from both
    if len(wrong):
        raise DataError(f"{path}: {split}_labels holds {wrong[0]}; a label is 0 or 1")
    if labels.dtype != np.uint8:
        raise DataError(f"{path}: {split}_labels is {labels.dtype}; it must be uint8")
    if len(images) != len(labels):
        raise DataError(f"{path}: {split} has {len(images)} images and {len(labels)} labels; each case needs both")
    if len(labels) == 0:
        raise DataError(f"{path}: {split}_images is empty; every split of {path.name} holds cases")
    if name in BINARY:
        for i, image in enumerate(images):  # one at a time: a mask of them all would double the memory
            if not np.isin(image, (0, 255)).all():
                value = int(image[(image != 0) & (image != 255)][0])
                raise DataError(f"{path}: {split}_images[{i}] holds {value}; {name} is a shape, its voxels 0 or 255")
