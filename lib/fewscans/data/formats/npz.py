"""NumPy archives (.npz) from others, checked whole before anything is made of them: keys, shapes, types, values."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fewscans.data.base import UNPACKED, array_of, first_line, once
from fewscans.data.content import none_blank
from fewscans.errors import DataError


def load(path: Path, keys: Sequence[str], name: str, again: str) -> dict[str, np.ndarray]:
    """All arrays of an npz, whole: a zip checks its entries only as they are read.

    Args:    keys: exactly those it has.   name: of the published file.   again: what to do about a damaged one.
    Raises:  DataError for a file that is absent, no npz, cut short or damaged, has other keys, or pickled objects.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; put {name} there, or name the folder that holds it")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not an npz, or cut short; {again}")
    try:
        with np.load(path, allow_pickle=False) as npz:
            found = ((" lacks", set(keys) - set(npz.files)), (" has unknown", set(npz.files) - set(keys)))
            once(npz.zip)
            wrong = [f"{what} {', '.join(sorted(which))}" for what, which in found if which]
            if wrong:
                raise DataError(f"{path}:{' and'.join(wrong)}; {name} has exactly the keys {', '.join(keys)}")
            return {key: array_of(npz, key) for key in keys}
    except UNPACKED as error:
        raise DataError(f"{path}: damaged or cut short ({first_line(error)}); {again}") from error


def check_images(path: Path, key: str, images: np.ndarray, size: tuple[int, ...], names: Sequence[str] = ()) -> None:
    """DataError unless they are uint8 (n, *size), and none is blank.   names: of the images, if they have some."""
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))[0])
        raise DataError(f"{path}: {key}[{bad}] holds NaN or infinity; images are uint8, 0 to 255")
    if images.dtype != np.uint8 or images.ndim != 1 + len(size) or images.shape[1:] != size:
        wanted = f"in a file of this name it must be uint8 (n, {', '.join(map(str, size))})"
        raise DataError(f"{path}: {key} is {images.dtype} {images.shape}; {wanted}")
    none_blank(f"{path}: {key}", images, names)


def check_labels(path: Path, key: str, labels: np.ndarray, meaning: str = "0 or 1") -> None:
    """DataError unless they are uint8 (n, 1), each 0 or 1."""
    if labels.ndim != 2 or labels.shape[1] != 1:
        raise DataError(f"{path}: {key} has shape {labels.shape}; it must be (n, 1)")
    wrong = labels[(labels != 0) & (labels != 1)]  # NaN differs from both
    if len(wrong):
        raise DataError(f"{path}: {key} holds {wrong[0]}; a label is {meaning}")
    if labels.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {labels.dtype}; it must be uint8")


def check_lengths(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """DataError unless all hold as many cases, and some."""
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} {n}" for key, n in lengths.items())
        raise DataError(f"{path}: arrays of different lengths, {counts}; each case needs one of each")
    if not min(lengths.values()):
        raise DataError(f"{path}: {next(iter(lengths))} is empty; {path.name} holds cases")
