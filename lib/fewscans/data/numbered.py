"""Scans with one number each: what a regression network is trained and tested on."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data.group_splits import nested_by_group
from fewscans.errors import DataError

ABOUT = "about "  # before the names of `about`'s columns in a kept file


@dataclass(frozen=True, eq=False)
class NumberedScans:
    """Cases of one data set, all of one size, each with a number that counts or measures something in it.

    Axes are the patient's: z to the head, y to the front, x to the right.
    """

    images: np.ndarray  # (n, D, H, W) uint8; a value v stands for the intensity v / 255, in [0, 1]
    number: np.ndarray  # (n,) float64, in `unit`; above 0, or a count from 0 on
    unit: str  # such as "ml"
    spacing_mm: np.ndarray  # (n, 3) float64, z y x, of the images' voxels
    case: np.ndarray  # (n,) str, unique
    group: np.ndarray  # (n,) str, the person
    split: np.ndarray  # (n,) str, "train", "val" or "test"
    about: pd.DataFrame  # a row a case, in the same order: what else is known of it
    fingerprint: str  # of what decides the content: the files and how they were cut
    path: Path
    left_out: tuple[str, ...] = ()  # cases of the data set that are not among these; their reader says why

    def __len__(self) -> int:
        return len(self.number)

    def indices(self, split: str, repository: bool = False) -> np.ndarray:
        """Where the cases of one split are, (k,) ascending; there is one split only, so no `repository` one."""
        if repository:
            raise ValueError(f"{self.path} has no second split")
        return np.flatnonzero(self.split == split)

    def subset(self, n: int, seed: int, grid: Sequence[int] = ()) -> np.ndarray:
        """Indices of n training cases, whole persons; see fewscans.data.group_splits.nested_by_group."""
        return nested_by_group(self.group, n, seed, self.indices("train"), grid)

    def intensities(self, index: np.ndarray) -> np.ndarray:
        """Images of some cases, (k, D, H, W) float32 in [0, 1]."""
        return self.images[index].astype(np.float32) / 255

    def reference(self) -> None:
        """FROC does not apply to a number."""
        return None


def quantised(unit: np.ndarray) -> np.ndarray:
    """Intensities in [0, 1] as uint8, to the nearest of 256 values."""
    return np.rint(np.asarray(unit) * 255).astype(np.uint8)


def digest(files: Sequence[Path], root: Path, settings: Mapping) -> str:
    """A hash of what decides a content: settings, and each file's bytes and name below `root`."""
    found = {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}
    return hashlib.sha256(json.dumps({"files": found, **settings}, sort_keys=True).encode()).hexdigest()


def kept(
    cache: Path | str | None, fingerprint: str, path: Path, code: Sequence[str], make: Callable[[], NumberedScans]
) -> NumberedScans:
    """Scans as they were cut the last time, or cut now and kept: unpacking hundreds of files takes longer than a run.

    A file in `cache` is named by the fingerprint and by the code, so it never is another's. It appears whole or not at
    all, may be removed at any time, and is made again if it is damaged. A machine without nibabel can train on it.
    Args:    cache: a folder, or None to keep nothing.   path: where the data set lies now.
             code: the files of the modules that cut the scans.
    Raises:  DataError if the folder cannot be written.
    """
    if cache is None:
        return make()
    sources = [ast.unparse(ast.parse(Path(file).read_text(encoding="utf-8"))) for file in (*code, __file__)]
    file = Path(cache) / f"{hashlib.sha256(json.dumps([fingerprint, sources]).encode()).hexdigest()[:32]}.npz"
    if file.is_file():
        try:
            return _load(file, fingerprint, path)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, TypeError) as error:
            cause = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(f"{file}: damaged scans ({cause}); they are cut again", stacklevel=3)
    scans = make()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=file.parent) as room:
            _save(Path(room) / file.name, scans)
            os.replace(Path(room) / file.name, file)
    except OSError as error:
        raise DataError(
            f"{file.parent} cannot be written ({error.strerror}); make room there, or make its folder writable"
        ) from error
    return scans


def _save(file: Path, scans: NumberedScans) -> None:
    arrays = {name: getattr(scans, name) for name in ("images", "number", "spacing_mm")}
    arrays |= {name: np.asarray(getattr(scans, name), dtype=str) for name in ("unit", "case", "group", "split")}
    arrays["left_out"] = np.array(scans.left_out, dtype=str)
    for name, column in scans.about.items():
        arrays[ABOUT + name] = column.to_numpy() if column.dtype.kind in "iuf" else column.to_numpy(str)
    np.savez(file, **arrays)


def _load(file: Path, fingerprint: str, path: Path) -> NumberedScans:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as npz:
        arrays = {name: npz[name] for name in npz.files}
    about = pd.DataFrame({name.removeprefix(ABOUT): arrays.pop(name) for name in list(arrays) if ABOUT in name})
    arrays |= {"unit": str(arrays.get("unit", "")), "left_out": tuple(arrays.get("left_out", np.array([])).tolist())}
    return NumberedScans(**arrays, about=about, fingerprint=fingerprint, path=path)
