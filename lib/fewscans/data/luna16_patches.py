"""LUNA16 candidate patches: 50×50 axial cuts centred on a possible lung nodule, and whether it is one.

The file is the npz of 8,105 patches made from the repository swethasubramanian/LungCancerDetection: its three splits,
drawn at random over candidates, so that one scan (even one nodule) sits in several of them. `read` keeps that leaky
split for show and makes a scan-disjoint one. LUNA16: Setio et al., Medical Image Analysis 42:1-13 (2017); scans:
LIDC-IDRI, Armato et al., Medical Physics 38:915-931 (2011).
"""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewscans.errors import DataError

FILE = "luna16_patches_50x50.npz"
SIDE = 50
REPOSITORY_SPLITS = ("train", "val", "test")
KEYS = tuple(f"{split}_{part}" for split in REPOSITORY_SPLITS for part in ("images", "labels", "candidate_row"))

# LUNA16's candidates.csv is grouped by scan, so a cut in its row order is a cut between scans once the rows near the
# cut are dropped. 1,500 rows are more than any usual scan holds.
CUTS = (0.64, 0.80)
MARGIN_ROWS = 1500
# 551,065 candidates in 888 scans: 621 rows a scan on average. The csv that names each row's scan does not come with the
# patches, so a block of 621 rows stands in for the scan. A real scan may hold more or fewer rows and so straddle two or
# three blocks; what is resampled or grouped by block is only roughly so by scan. The split does not depend on blocks.
ROWS_PER_SCAN = 621


@dataclass(frozen=True)
class Patches:
    """Candidate patches, sorted by their row in LUNA16's candidates.csv."""

    images: np.ndarray  # (n, 50, 50) uint8, lung window, y then x
    labels: np.ndarray  # (n,) int64, 1 = nodule
    candidate_row: np.ndarray  # (n,) int64, ascending, unique
    group: np.ndarray  # (n,) str, stand-in for the scan: the block of 621 candidate rows
    case: np.ndarray  # (n,) str, "row000123"
    split: np.ndarray  # (n,) str, "train" | "val" | "test" | "dropped": disjoint in scans
    repository_split: np.ndarray  # (n,) str, "train" | "val" | "test": the source's own, which leaks
    fingerprint: str  # sha256 of the file
    path: Path

    def __len__(self) -> int:
        return len(self.labels)

    def indices(self, split: str, repository: bool = False) -> np.ndarray:
        """Where the patches of one split are, (k,) ascending; `repository=True`: of the source's own, leaky split."""
        return np.flatnonzero((self.repository_split if repository else self.split) == split)


def read(path: Path | str) -> Patches:
    """Read and check the patches, and split them by scan.

    Args:    path: the npz, or the folder that holds it.
    Raises:  DataError naming the file, the key or value at fault, and the remedy.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    arrays = _load(path)
    for name in REPOSITORY_SPLITS:
        _check(path, name, arrays)
    images = np.concatenate([arrays[f"{s}_images"] for s in REPOSITORY_SPLITS])
    labels = np.concatenate([arrays[f"{s}_labels"] for s in REPOSITORY_SPLITS])[:, 0].astype(np.int64)
    rows = np.concatenate([arrays[f"{s}_candidate_row"] for s in REPOSITORY_SPLITS])
    origin = np.concatenate([np.full(len(arrays[f"{s}_labels"]), s) for s in REPOSITORY_SPLITS])

    order = np.argsort(rows, kind="stable")
    images, labels, rows, origin = images[order], labels[order], rows[order], origin[order]
    repeated = rows[1:][rows[1:] == rows[:-1]]
    if len(repeated):
        raise DataError(f"{path}: candidate_row {repeated[0]} occurs twice; each patch has a row of candidates.csv")
    split = scan_disjoint(rows)
    for name in REPOSITORY_SPLITS:
        if not (split == name).any():
            raise DataError(
                f"{path}: no patch is left in split '{name}' after cutting rows {rows[0]}..{rows[-1]} at {CUTS[0]:.0%} "
                f"and {CUTS[1]:.0%} and dropping {MARGIN_ROWS} rows either side of each cut; candidate_row must span "
                "the whole of candidates.csv"
            )
    return Patches(
        images=images,
        labels=labels,
        candidate_row=rows,
        group=np.array([f"block{row // ROWS_PER_SCAN:04d}" for row in rows]),
        case=np.array([f"row{row:06d}" for row in rows]),
        split=split,
        repository_split=origin,
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest(),
        path=path,
    )


def scan_disjoint(candidate_row: np.ndarray) -> np.ndarray:
    """The split of each row of candidates.csv, so that no scan has patches in two splits.

    The range of rows is cut at 64 % and 80 %; patches within 1,500 rows of a cut are "dropped".
    Args:    candidate_row: (n,) integers, in any order.
    Returns: (n,) str, "train" | "val" | "test" | "dropped".
    """
    low, high = int(candidate_row.min()), int(candidate_row.max())
    first, second = (low + cut * (high - low) for cut in CUTS)
    split = np.full(len(candidate_row), "dropped")
    split[candidate_row < first - MARGIN_ROWS] = "train"
    split[(candidate_row > first + MARGIN_ROWS) & (candidate_row < second - MARGIN_ROWS)] = "val"
    split[candidate_row > second + MARGIN_ROWS] = "test"
    return split


def _load(path: Path) -> dict[str, np.ndarray]:
    """All nine arrays of the npz, whole: a zip checks its entries only as they are read."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; put {FILE} there, or name the folder that holds it")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not an npz, or cut short; copy {FILE} again and compare its sha256")
    try:
        with np.load(path, allow_pickle=False) as npz:
            found = ((" lacks", set(KEYS) - set(npz.files)), (" has unknown", set(npz.files) - set(KEYS)))
            wrong = [f"{what} {', '.join(sorted(keys))}" for what, keys in found if keys]
            if wrong:
                raise DataError(f"{path}:{' and'.join(wrong)}; {FILE} has exactly the keys {', '.join(KEYS)}")
            return {key: npz[key] for key in KEYS}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: damaged or cut short ({error}); copy {FILE} again and compare its sha256") from error


def _check(path: Path, name: str, arrays: dict[str, np.ndarray]) -> None:
    """One split of the repository has the published shapes, types and values."""
    images, labels, rows = (arrays[f"{name}_{part}"] for part in ("images", "labels", "candidate_row"))
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))[0])
        raise DataError(f"{path}: {name}_images[{bad}] holds NaN or infinity; images are uint8, 0 to 255")
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{path}: {name}_images is {images.dtype} {images.shape}; it must be uint8 (n, {SIDE}, {SIDE})")
    if labels.ndim != 2 or labels.shape[1] != 1:
        raise DataError(f"{path}: {name}_labels has shape {labels.shape}; it must be (n, 1)")
    wrong = labels[(labels != 0) & (labels != 1)]  # NaN differs from both
    if len(wrong):
        raise DataError(f"{path}: {name}_labels holds {wrong[0]}; a label is 0 (no nodule) or 1 (nodule)")
    if labels.dtype != np.uint8:
        raise DataError(f"{path}: {name}_labels is {labels.dtype}; it must be uint8")
    if rows.dtype != np.int64 or rows.ndim != 1:
        raise DataError(f"{path}: {name}_candidate_row is {rows.dtype} {rows.shape}; it must be int64 (n,)")
    if not len(images) == len(labels) == len(rows):
        raise DataError(
            f"{path}: {name} has {len(images)} images, {len(labels)} labels and {len(rows)} candidate rows; "
            "each patch needs one of each"
        )
    if len(rows) == 0:
        raise DataError(f"{path}: {name}_images is empty; every split of {FILE} holds patches")
    if rows.min() < 0:
        raise DataError(f"{path}: {name}_candidate_row holds {rows.min()}; rows of candidates.csv are counted from 0")
