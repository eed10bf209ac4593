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

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data import content, sources
from fewscans.data.base import Cases, Cut, Dataset, read_table
from fewscans.data.formats import npz
from fewscans.errors import DataError

FILE = "lidc_cubes_48mm.npz"
TABLE = "cubes.csv"
SIDE = 48  # voxels of 1 mm
TEXT = ("scan", "patient")
KEYS = ("cubes", "is_nodule", "malignancy_mean", *TEXT)
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
    arrays = npz.load(path, KEYS, FILE, f"copy {FILE} again and compare its sha256")
    _check(path, arrays)
    table = _table(path.with_name(TABLE), arrays)
    return LidcNodules(
        hu=arrays["cubes"], is_nodule=arrays["is_nodule"] == 1, malignancy_mean=arrays["malignancy_mean"],
        diameter_mm=table["diameter_mm"].to_numpy(np.float64), case=table["case"].to_numpy(str),
        scan=arrays["scan"], patient=arrays["patient"], path=path,
        fingerprint=hashlib.sha256(path.read_bytes() + path.with_name(TABLE).read_bytes()).hexdigest(),
    )  # fmt: skip


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The cubes cut to size, all of them test cases: they are for looking at.

    Raises:  ParamsError for a cut without a spacing.
    """
    cubes = read(path)
    return Cases(
        images=cubes.patches(cut.size, cut.spacing_for("lidc-nodules")), target=cubes.is_nodule.astype(np.int64),
        case=cubes.case, group=cubes.patient, split=np.full(len(cubes), "test"), fingerprint=cubes.fingerprint,
        path=cubes.path,
    )  # fmt: skip


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


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The arrays have their shapes, types and values."""
    cubes, is_nodule, grade = arrays["cubes"], arrays["is_nodule"], arrays["malignancy_mean"]
    if cubes.dtype != np.int16 or cubes.ndim != 4 or cubes.shape[1:] != (SIDE,) * 3:
        raise DataError(f"{path}: cubes is {cubes.dtype} {cubes.shape}; it must be int16 (n, {SIDE}, {SIDE}, {SIDE})")
    for i, cube in enumerate(cubes):
        content.hounsfield(f"{path}: cubes[{i}]", cube)
    kinds = {"is_nodule": ("u", "uint8"), "malignancy_mean": ("f", "float32")} | dict.fromkeys(TEXT, ("U", "text"))
    for key, (kind, what) in kinds.items():
        if arrays[key].dtype.kind != kind or arrays[key].ndim != 1:
            raise DataError(f"{path}: {key} is {arrays[key].dtype} {arrays[key].shape}; it must be {what} (n,)")
    npz.check_lengths(path, arrays)
    if (is_nodule > 1).any():
        raise DataError(f"{path}: is_nodule holds {is_nodule[is_nodule > 1][0]}; it is 0 or 1")
    nodule = is_nodule == 1
    for i in np.flatnonzero(nodule & ~((grade >= 1) & (grade <= 5))):
        raise DataError(f"{path}: malignancy_mean[{i}] of a nodule is {grade[i]}; readers' ratings are 1 to 5")
    for i in np.flatnonzero(~nodule & ~np.isnan(grade)):
        raise DataError(f"{path}: malignancy_mean[{i}] of a negative is {grade[i]}; nobody rated those, it must be NaN")


def _table(path: Path, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """cubes.csv with a column `case` added, checked to tell of the same cubes in the same order."""
    text = dict.fromkeys(("patient", "series_uid", "kind"), str)
    table = read_table(
        path, COLUMNS, f"{FILE} is read with the table {TABLE} beside it: {', '.join(COLUMNS)}", dtype=text
    )
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
            fault = f"which is not cube {i} of {FILE}; the two must be in one order"
            raise DataError(f"{path}: row {i} has {column} {table[column][i]}, {fault}")
    table["case"] = uid_end + ":" + table["kind"] + table["k"].map("{:02d}".format)
    if table["case"].duplicated().any():
        twice = table["case"][table["case"].duplicated()].iloc[0]
        raise DataError(f"{path}: {twice} occurs twice; within a scan each kind is numbered by k")
    return table


DATASET = Dataset(
    name="lidc-nodules", title="LIDC-IDRI cubes", case="cube", group="patient", shows="lung nodules", target="label",
    read=read, cases=cases, licence="LIDC-IDRI: CC BY 3.0", cite=sources.LIDC,
    source="four CT series of LIDC-IDRI patients 0001, 0002 and 0132 (cancerimagingarchive.net) and cut cubes from "
    "them as the docstring of fewscans.data.lidc_nodules describes; they illustrate, nothing is trained on them",
    attribution=f"""\
Nodules of LIDC-IDRI (CC BY 3.0), doi 10.7937/K9/TCIA.2015.LO9QL9SX. No image is kept here, only each case's name, its
label and the networks' predictions. Cite:

{sources.LIDC_IN_FULL}""",
    people="LIDC-IDRI", file=FILE, size_bytes=22_991_678,
    sha256="fe37fba2df2c3841f94e3d749e40d8d86906abca05d5e6f81860bb13ea77363e",
    counts={"all": (160, 16)},
    labels=lambda copy, split: copy.is_nodule,  # there are no splits
)  # fmt: skip
