"""Scans with one number each: what a regression network is trained and tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data.group_splits import nested_by_group


@dataclass(frozen=True, eq=False)
class NumberedScans:
    """Cases of one data set, all of one size, each with a number that counts or measures something in it.

    Axes are the patient's: z to the head, y to the front, x to the right.
    """

    images: np.ndarray  # (n, D, H, W) uint8; a value v stands for the intensity v / 255, in [0, 1]
    number: np.ndarray  # (n,) float64, in `unit`; above 0
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
