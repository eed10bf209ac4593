"""994 lung nodules of LIDC-IDRI in 3D with their readers' ratings: is a nodule other than solid?

The images are cuts around nodules that are 3 mm or larger, with a mask each, from 551 patients. There are no places
without a nodule. The answer is the rating of texture (3 or less: part-solid or ground-glass), which size does not tell.
What may tell an answer without being looked at:

1. The published box is the nodule's, and some 15 voxels more in the plane, so its size is the nodule's. Here every
   nodule is cut to one window in mm, centred on the box. A window larger than a box repeats the outermost voxels, as
   is needed along z nearly always: boxes have no context there. `about["padded"]` says how much of an image is so.
2. `about["diameter_mm"]` alone tells malignancy (an AUC of 0.91) and hardly texture; so does the distance of slices, a
   little: a scanner's or a hospital's. Every network must be compared with them.
3. Half of the boxes have six slices or fewer, and 5 mm show four: `about["slices"]` counts those that an image shows.
4. A nodule that is not solid is dark: the mean of the middle 2 x 2 x 2 voxels alone tells texture with an AUC of 0.91.

LIDC-IDRI: Armato et al., Medical Physics 38:915-931 (2011); the cuts and the table are of the Computer Vision Center,
Universitat Autonoma de Barcelona (github.com/PabloLION/ct-slicing).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import content, group_splits, sources
from fewscans.data.base import (
    UNZIPPED,
    Cases,
    Cut,
    Dataset,
    digest,
    first_line,
    kept,
    opened_zip,
    read_table,
    report,
    unlisted,
)  # fmt: skip
from fewscans.data.formats import cut as cutting
from fewscans.data.formats import nifti
from fewscans.data.group_splits import part_of_fold
from fewscans.data.listing import strays
from fewscans.errors import DataError, ParamsError

IMAGES, MASKS, TABLE = "images.zip", "masks.zip", "nodules.csv"
RANGES = {"fold": (0, 4), "malignant": (-1, 1), "malignancy_value": (1, 5), "texture_value": (1, 5)}  # whole numbers
COLUMNS = ("file", "patient_id", "nodule_id", "diameter_mm", *RANGES)
NON_SOLID = 3  # the highest texture that is not called solid; 5 is solid, 1 ground-glass
SIZE, SPACING_MM = (4, 24, 24), (1.25, 1.0, 1.0)  # z y x: 24 mm in the plane, 5 mm across it
PUBLISHED = 994
AGAIN = "copy the folder again"


def read(
    folder: Path | str, size: tuple[int, ...] = SIZE, spacing_mm: tuple[float, ...] = SPACING_MM,
    cache: Path | None = None,
) -> Cases:  # fmt: skip
    """The nodules cut to one window, (n, *size) uint8: 0 at -1000 HU or less, 255 at 300 or more.

    Linear between voxel centres; where the target is coarser, the mean over each target voxel's extent.
    Returns: target 1: texture 3 or less.   case: "LIDC-IDRI-0001/1@23.4mm", patient, number and diameter.   group: the
             patient.   split: fold 0 is tested, fold 1 validates.   about: patient, fold (0 to 4, by patient), the
             ratings malignant (1: 4 or 5, 0: 1 or 2, -1: 3), malignancy_value and texture, diameter_mm, the published
             box's shape_z, shape_y, shape_x and spacing_z, slices (how many of them have their middle in the image)
             and padded (the share of the image that lies beyond the box).
    Raises:  DataError naming the file and value at fault, and the remedy.
    """
    folder = Path(folder)
    table = nodules(folder)
    files = [folder / name for name in (IMAGES, MASKS, TABLE)]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise DataError(f"{absent[0]}: no such file; {AGAIN}")
    settings = {"data": digest({}, files, folder), "size": size, "spacing_mm": spacing_mm}
    code = (cutting.__file__, nifti.__file__, group_splits.__file__, __file__)
    return kept(cache, settings, folder, code, lambda: _cut(folder, table, size, spacing_mm))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The nodules in a window of the cut's size and margin at its spacing. Raises ParamsError for one not in space."""
    if len(cut.size) != 3 or cut.downsample != 1:
        raise ParamsError(f"{cut}: nodules are cut to (D, H, W) at a spacing in mm, and not averaged afterwards")
    size = tuple(n + 2 * m for n, m in zip(cut.size, cut.margin or (0, 0, 0), strict=True))
    return read(path, size, cut.spacing_mm or SPACING_MM, cache and cache / "scans")


def nodules(folder: Path) -> pd.DataFrame:
    """The table of nodules. Raises DataError for an absent column, no rows, a value out of range, a nodule twice."""
    path = folder / TABLE
    table = read_table(path, COLUMNS, AGAIN, dtype={"file": str, "patient_id": str})
    if table.empty:
        raise DataError(f"{path}: has no rows; {AGAIN}")
    for column, (low, high) in (RANGES | {"diameter_mm": (0.1, 500), "nodule_id": (0, 9999)}).items():
        number = pd.to_numeric(table[column], errors="coerce")
        wrong = table[~number.between(low, high) | ((number % 1 != 0) & (column != "diameter_mm"))]
        if len(wrong):
            of, value = wrong.iloc[0][["file", column]]
            raise DataError(f"{path}: {column} of {of} is {value}; it is from {low} to {high}; {AGAIN}")
        table[column] = number
    twice = table["file"][table["file"].duplicated() | table[["patient_id", "nodule_id"]].duplicated()]
    if len(twice):
        raise DataError(f"{path}: {twice.iloc[0]} is a nodule that is there twice; {AGAIN}")
    parted = table.groupby("patient_id")["fold"].nunique().loc[lambda n: n > 1]
    if len(parted):
        raise DataError(f"{path}: {parted.index[0]} is in two folds; a patient is in one; {AGAIN}")
    return table


class Archive:
    """A zip of .nii.gz files. Raises DataError where it, or a member, is absent or damaged; used as a context."""

    def __init__(self, path: Path):
        self.path, self._zip = path, opened_zip(path, AGAIN)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_) -> None:
        self._zip.close()

    def read(self, name: str, mask: bool = False) -> nifti.Volume:
        """One volume, in the patient's axes: HU, or a mask of 0 and 1, some of which is nodule and some is not."""
        where = f"{self.path}: {name}"
        try:
            volume = nifti.read_packed(where, self._zip.read(name), mask)
        except KeyError as error:
            raise DataError(f"{where} is not in it; {AGAIN}") from error
        except UNZIPPED as error:
            raise DataError(f"{where} is damaged ({first_line(error)}); {AGAIN}") from error
        if not mask:
            content.hounsfield(where, volume.array)
            return volume
        values = np.unique(volume.array).tolist()
        if values != [0, 1]:
            raise DataError(f"{where} holds {' '.join(map(str, values[:9]))}; a mask holds both 0 and 1; {AGAIN}")
        return volume

    def only(self, names: Sequence[str]) -> None:
        """Raises DataError for a member that is none of the named: it would not be read."""
        more = sorted(name for name in set(self._zip.namelist()) - set(names) if Path(name).suffix)
        strays([Path(f"{self.path}: {name}") for name in more], f"is not in {TABLE}; {AGAIN}")


def areas_mm2(folder: Path, names: Sequence[str]) -> np.ndarray:
    """The area of each nodule's mask in the axial slice where it is largest, (n,) mm²."""
    with Archive(folder / MASKS) as masks:
        volumes = [masks.read(name, mask=True) for name in names]
    return np.array([(v.array > 0).sum(axis=(1, 2)).max() * v.spacing_mm[1] * v.spacing_mm[2] for v in volumes])


def _cut(folder: Path, table: pd.DataFrame, size: tuple[int, ...], spacing_mm: tuple[float, ...]) -> dict[str, Any]:
    images, rows = [], []
    for scan in _scans(folder, table):
        shape, patch = scan.array.shape, scan.array
        for axis, n in enumerate(shape):  # each turn contracts the leading axis and puts the new one last
            weights = _weights(n, scan.spacing_mm[axis], size[axis], spacing_mm[axis])
            patch = np.tensordot(patch, weights, axes=(0, 1))
        images.append(cutting.to_code(cutting.to_unit(patch)))
        middles = (np.arange(shape[0]) - (shape[0] - 1) / 2) * scan.spacing_mm[0]
        slices = int((np.abs(middles) <= size[0] * spacing_mm[0] / 2).sum())
        inside = np.minimum(1, np.multiply(shape, scan.spacing_mm) / np.multiply(size, spacing_mm))
        rows.append((*shape, scan.spacing_mm[0], slices, 1 - inside.prod()))
    about = table[["malignant", "malignancy_value", "diameter_mm", "fold"]].assign(
        patient=table["patient_id"], texture=table["texture_value"]
    )
    about[["shape_z", "shape_y", "shape_x", "spacing_z", "slices", "padded"]] = pd.DataFrame(rows)
    case = table.apply(lambda r: f"{r['patient_id']}/{r['nodule_id']}@{r['diameter_mm']:.1f}mm", axis=1)
    return {
        "images": np.stack(images), "target": (table["texture_value"] <= NON_SOLID).to_numpy(np.int64),
        "case": case.to_numpy(str), "group": table["patient_id"].to_numpy(str),
        "split": part_of_fold(table["fold"], 5), "spacing_mm": np.tile(spacing_mm, (len(table), 1)),
        "about": about,
    }  # fmt: skip


def _scans(folder: Path, table: pd.DataFrame) -> Iterator[nifti.Volume]:
    """The images in the order of the table, each compared with its mask."""
    with Archive(folder / IMAGES) as scans, Archive(folder / MASKS) as masks:
        for archive in (scans, masks):
            archive.only(table["file"])
        for name in table["file"]:
            scan = scans.read(name)
            nifti.same_grid(scan, masks.read(name, mask=True))
            yield scan


def _weights(voxels: int, spacing_mm: float, n: int, step_mm: float) -> np.ndarray:
    """How much each voxel counts in each of n samples about their common middle, (n, voxels); rows sum to 1.

    A step coarser than the voxels is the mean of as many places in it as it spans voxels.
    """
    parts = int(np.ceil(step_mm / spacing_mm - 1e-6))
    steps = (np.arange(n) - (n - 1) / 2)[:, None] + (np.arange(parts) + 0.5) / parts - 0.5  # (n, parts)
    places = (voxels - 1) / 2 + steps * step_mm / spacing_mm
    nearest = np.clip(places, 0, voxels - 1)[..., None] - np.arange(voxels)  # (n, parts, voxels)
    return np.maximum(0, 1 - np.abs(nearest)).mean(axis=1)


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy holds, and which files are absent or have other bytes than SHA256SUMS says; see `base.report`."""
    folder = Path(folder)
    try:
        table, lacks = nodules(folder), unlisted(folder)
        for _ in _scans(folder, table):
            pass
    except (DataError, OSError, ValueError) as error:
        return report([first_line(error)])
    files = [folder / name for name in (IMAGES, MASKS, TABLE)]
    if len(table) != PUBLISHED:
        lacks.append(f"{len(table)} nodules, published are {PUBLISHED}")
    counts = {"nodules": len(table), "patients": table["patient_id"].nunique()}
    counts["not solid"] = int((table["texture_value"] <= NON_SOLID).sum())
    return report(lacks, counts, "" if lacks else digest({}, files, folder))


DATASET = Dataset(
    name="lidc-voi", title="lung nodules in 3D", case="nodule", group="patient", shows="textures of lung nodules",
    target="label", read=read, cases=cases,
    licence="LIDC-IDRI: CC BY 3.0; the source of the cuts states no other for them", cite=sources.LIDC,
    source="the folder lidc-voi-994: images.zip, masks.zip and nodules.csv, made of data/VOIs and MetadatabyNoduleMax"
    "Voting.xlsx of github.com/PabloLION/ct-slicing (commit 07d32ab), and SHA256SUMS",
    attribution=f"""\
Nodules of LIDC-IDRI (CC BY 3.0), doi 10.7937/K9/TCIA.2015.LO9QL9SX, cut and listed by the Computer Vision Center,
Universitat Autonoma de Barcelona (github.com/PabloLION/ct-slicing at 07d32abf6d8b8f1c61a0dccb685affa29b1512af). No
image is kept here, only each nodule's name, size, label and the networks' predictions. The authors acknowledge the
National Cancer Institute and the Foundation for the National Institutes of Health, and their critical role in the
creation of the free publicly available LIDC/IDRI Database used in this study. Cite:

{sources.LIDC_IN_FULL}{sources.TCIA_IN_FULL}{sources.LUNA16_IN_FULL}""",
    people="LIDC-IDRI", folder="lidc-voi-994", marks=((IMAGES,), (MASKS,), (TABLE,)), check=check_copy,
    sha256="cd07400b6b296331b334d584eef8a731c57c4a87a6057e3314bf38ad6eb6061b",
)  # fmt: skip
