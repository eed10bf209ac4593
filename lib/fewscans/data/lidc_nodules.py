"""LIDC-IDRI cubes: 16 lung nodules and 144 places that are none, in real CT, to show what networks look at.

An illustration, never a training set: the nodules are of three patients, and the negatives are their collector's own,
local maxima of the smoothed CT in the lung at least 15 mm from every annotated nodule of 3 mm or more (vessels, for
the most part), which no radiologist has read. There is therefore no split. Two of the four scans are one patient's.

The file was cut from four CT series by trilinear interpolation: 48 mm a side at 1 mm, with the mark between the two
middle voxels of each axis, in the order slice, row, column. `cubes.csv` beside it has a row a cube, in the same order;
its remaining columns (position in the series, spacing, each reader's rating) are not read.
Scans and readings: LIDC-IDRI, Armato et al., Medical Physics 38:915-931 (2011), doi 10.7937/K9/TCIA.2015.LO9QL9SX,
CC BY 3.0.
"""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.errors import DataError

FILE = "lidc_cubes_48mm.npz"
TABLE = "cubes.csv"
SIDE = 48  # voxels of 1 mm
KEYS = ("cubes", "is_nodule", "malignancy_mean", "scan", "patient")
COLUMNS = ("patient", "series_uid", "kind", "k", "malignancy_mean", "diameter_mm")
KINDS = {"nodule": 1, "negative": 0}
UID_END = 12  # the npz names a scan by the last digits of its series UID
WINDOW_HU = (-1000, 300)


@dataclass(frozen=True)
class LidcNodules:
    """Cubes around nodules and other places, in the file's order."""

    hu: np.ndarray  # (n, 48, 48, 48) int16, Hounsfield units at 1 mm; slice, row, column; -1024 outside the scan
    is_nodule: np.ndarray  # (n,) bool: marked by a radiologist
    malignancy_mean: np.ndarray  # (n,) float32, readers' mean, 1 highly unlikely to 5 highly suspicious; NaN: negative
    diameter_mm: np.ndarray  # (n,) float64, NaN where unknown, as for every negative
    case: np.ndarray  # (n,) str, unique, "059720603192:nodule00"
    scan: np.ndarray  # (n,) str, the last 12 digits of the series UID
    patient: np.ndarray  # (n,) str
    fingerprint: str  # sha256 of the npz and the table
    path: Path

    def __len__(self) -> int:
        return len(self.is_nodule)

    def patches(self, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """Cut every cube about its centre to another size and spacing, in the lung window.

        Linear between voxel centres; where the target is coarser than 1 mm, the mean over each target voxel's extent.
        Half a voxel at the cube's faces lies beyond the outermost centres and takes their values.
        Args:    size: (D, H, W) voxels.   spacing_mm: (z, y, x).
        Returns: (n, D, H, W) uint8; v stands for v / 127.5 - 1, from -1 at -1000 HU or less to 1 at 300 or more.
        Raises:  ValueError if the patch is not within the cube, or a size or spacing is not above 0.
        """
        if len(size) != 3 or len(spacing_mm) != 3:
            raise ValueError(f"size {size} and spacing_mm {spacing_mm} must both be of three axes, z y x")
        along = [_weights(n, step) for n, step in zip(size, spacing_mm, strict=True)]
        low, high = WINDOW_HU
        out = np.empty((len(self), *size), dtype=np.uint8)
        for i, cube in enumerate(self.hu):
            patch = cube.astype(np.float64)
            for weights in along:  # each turn contracts the leading axis and puts the new one last
                patch = np.tensordot(patch, weights, axes=(0, 1))
            unit = (np.clip(patch, low, high) - low) / (high - low)
            out[i] = np.rint(unit * 255)
        return out


def read(path: Path | str) -> LidcNodules:
    """Read and check the cubes and the table beside them.

    Args:    path: the npz, or the folder that holds it.
    Raises:  DataError naming the file, the key, row or value at fault, and the remedy.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    arrays = _load(path)
    _check(path, arrays)
    table = _table(path.with_name(TABLE), arrays)
    return LidcNodules(
        hu=arrays["cubes"],
        is_nodule=arrays["is_nodule"] == 1,
        malignancy_mean=arrays["malignancy_mean"],
        diameter_mm=table["diameter_mm"].to_numpy(np.float64),
        case=table["case"].to_numpy(str),
        scan=arrays["scan"],
        patient=arrays["patient"],
        fingerprint=hashlib.sha256(path.read_bytes() + path.with_name(TABLE).read_bytes()).hexdigest(),
        path=path,
    )


def _weights(n: int, step_mm: float) -> np.ndarray:
    """How much each of the 48 voxels counts in each of n target voxels along one axis, (n, 48); rows sum to 1."""
    if not (n > 0 and step_mm > 0 and n * step_mm <= SIDE):
        raise ValueError(f"{n} voxels of {step_mm} mm do not fit: above 0 and within the cube's {SIDE} mm")
    voxels = np.arange(SIDE)
    centres = (SIDE - 1) / 2 + (np.arange(n) - (n - 1) / 2) * step_mm  # (n,) in voxels: they are of 1 mm
    if step_mm <= 1:
        distance = np.clip(centres, 0, SIDE - 1)[:, None] - voxels
        return np.maximum(0, 1 - np.abs(distance))
    low, high = centres - step_mm / 2, centres + step_mm / 2
    inside = (np.clip(edge, 0, SIDE - 1)[:, None] - voxels for edge in (low, high))  # (n, 48) each
    below, above = map(_hat_integral, inside)
    weights = above - below
    weights[:, 0] += np.maximum(0, -low)
    weights[:, -1] += np.maximum(0, high - (SIDE - 1))
    return weights / step_mm


def _hat_integral(t: np.ndarray) -> np.ndarray:
    """The integral up to t of max(0, 1 - |t|), by which linear interpolation weighs a voxel at distance t."""
    t = np.clip(t, -1, 1)
    return 0.5 + t - 0.5 * t * np.abs(t)


def _load(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the npz, whole: a zip checks its entries only as they are read."""
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


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The arrays have their shapes, types and values."""
    cubes, is_nodule, grade = arrays["cubes"], arrays["is_nodule"], arrays["malignancy_mean"]
    if cubes.dtype != np.int16 or cubes.ndim != 4 or cubes.shape[1:] != (SIDE,) * 3:
        raise DataError(f"{path}: cubes is {cubes.dtype} {cubes.shape}; it must be int16 (n, {SIDE}, {SIDE}, {SIDE})")
    for key, kind, what in (("is_nodule", "u", "uint8"), ("malignancy_mean", "f", "float32")):
        if arrays[key].dtype.kind != kind or arrays[key].ndim != 1:
            raise DataError(f"{path}: {key} is {arrays[key].dtype} {arrays[key].shape}; it must be {what} (n,)")
    for key in ("scan", "patient"):
        if arrays[key].dtype.kind != "U" or arrays[key].ndim != 1:
            raise DataError(f"{path}: {key} is {arrays[key].dtype} {arrays[key].shape}; it must be text (n,)")
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} {n}" for key, n in lengths.items())
        raise DataError(f"{path}: arrays of different lengths, {told}; each cube needs one of each")
    if not len(cubes):
        raise DataError(f"{path}: cubes is empty; {FILE} holds 160")
    if (is_nodule > 1).any():
        raise DataError(f"{path}: is_nodule holds {is_nodule[is_nodule > 1][0]}; it is 0 or 1")
    nodule = is_nodule == 1
    for i in np.flatnonzero(nodule & ~((grade >= 1) & (grade <= 5))):
        raise DataError(f"{path}: malignancy_mean[{i}] of a nodule is {grade[i]}; readers' ratings are 1 to 5")
    for i in np.flatnonzero(~nodule & ~np.isnan(grade)):
        raise DataError(f"{path}: malignancy_mean[{i}] of a negative is {grade[i]}; nobody rated those, it must be NaN")


def _table(path: Path, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """cubes.csv with a column `case` added, checked to tell of the same cubes in the same order."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; {FILE} is read with the table {TABLE} beside it")
    try:
        table = pd.read_csv(path, dtype={"patient": str, "series_uid": str, "kind": str})
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors; UnicodeDecodeError is one too
        raise DataError(f"{path}: no table of comma-separated values ({error}); copy {TABLE} again") from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise DataError(f"{path}: lacks column {', '.join(missing)}; {TABLE} has {', '.join(COLUMNS)}")
    if len(table) != len(arrays["cubes"]):
        raise DataError(f"{path}: {len(table)} rows for {len(arrays['cubes'])} cubes; there must be one a cube")
    for column in ("k", "diameter_mm", "malignancy_mean"):
        if table[column].dtype.kind not in "if" or (column == "k" and table[column].dtype.kind != "i"):
            raise DataError(f"{path}: column {column} holds {table[column].dtype}; it must hold numbers")
    for i in np.flatnonzero((table["diameter_mm"] <= 0) | np.isinf(table["diameter_mm"])):
        raise DataError(f"{path}: row {i} has diameter_mm {table['diameter_mm'][i]}; above 0, or empty where unknown")
    uid_end = table["series_uid"].fillna("").str[-UID_END:]
    grades_agree = np.isclose(table["malignancy_mean"], arrays["malignancy_mean"], atol=0.01, equal_nan=True)
    same = {
        "patient": table["patient"].to_numpy() == arrays["patient"],
        "series_uid": uid_end.to_numpy() == arrays["scan"],
        "kind": table["kind"].map(KINDS).to_numpy() == arrays["is_nodule"],
        "malignancy_mean": grades_agree,
    }
    for column, agrees in same.items():
        for i in np.flatnonzero(~agrees):
            raise DataError(
                f"{path}: row {i} has {column} {table[column][i]}, which is not cube {i} of {FILE}; the two must "
                "be in one order"
            )
    table["case"] = uid_end + ":" + table["kind"] + table["k"].map("{:02d}".format)
    if table["case"].duplicated().any():
        twice = table["case"][table["case"].duplicated()].iloc[0]
        raise DataError(f"{path}: {twice} occurs twice; within a scan each kind is numbered by k")
    return table
