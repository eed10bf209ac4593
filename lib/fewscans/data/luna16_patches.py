"""LUNA16 candidate patches: 50×50 axial cuts centred on a possible lung nodule, and whether it is one.

The file is the npz of 8,105 patches made from the repository swethasubramanian/LungCancerDetection: its three splits,
drawn at random over candidates, so that one scan (even one nodule) sits in several of them. `read` keeps that leaky
split for show and makes a scan-disjoint one. Where there is a copy of the data set lidc-voi, its table of matches says
which nodule most positives show, how large it is and whether its readers call it malignant. LUNA16: Setio et al.,
Medical Image Analysis 42:1-13 (2017); scans: LIDC-IDRI, Armato et al., Medical Physics 38:915-931 (2011).
"""

import hashlib
from itertools import accumulate
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data import sources
from fewscans.data.base import Cases, Cut, Dataset, digest, read_table
from fewscans.data.formats import npz
from fewscans.errors import DataError

FILE = "luna16_patches_50x50.npz"
SIDE = 50
REPOSITORY_SPLITS = ("train", "val", "test")
PARTS = ("images", "labels", "candidate_row")
KEYS = tuple(f"{split}_{part}" for split in REPOSITORY_SPLITS for part in PARTS)

JOIN, JOIN_FOLDER, NODULES = "luna16-patches-join.csv", "lidc-voi-994", "nodules.csv"
KNOWN = {"candidate_row": int, "file": str, "seriesuid": str, "diameter_mm": float, "malignant": float}  # its columns

# LUNA16's candidates.csv is grouped by scan, so a cut in its row order is a cut between scans once the rows near the
# cut are dropped. 1,500 rows are more than any usual scan holds.
CUTS = (0.64, 0.80)
MARGIN_ROWS = 1500
# 551,065 candidates in 888 scans: 621 rows a scan on average. The csv that names each row's scan does not come with the
# patches, so a block of 621 rows stands in for the scan. A real scan may hold more or fewer rows and so straddle two or
# three blocks; what is resampled or grouped by block is only roughly so by scan. The split does not depend on blocks.
ROWS_PER_SCAN = 621


def read(path: Path | str) -> Cases:
    """Read and check the patches, and split them by scan.

    Args:    path: the npz, or the folder that holds it.
    Returns: images (n, 50, 50), lung window, y then x, in the order of LUNA16's candidates.csv; label 1: a nodule.
             group: the block of 621 rows.   split: disjoint in scans, or "dropped".   about: candidate_row (int64,
             ascending, unique), repository_split, the source's own, which leaks, and of the nodule where `joined`
             knows it: nodule (str, else ""), series (else ""), diameter_mm (else NaN), malignant (1, 0; -1 where it is
             indeterminate, unknown, or there is no nodule).
    Raises:  DataError naming the file, the key or value at fault, and the remedy.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    arrays = npz.load(path, KEYS, FILE, f"copy {FILE} again and compare its sha256")
    for name in REPOSITORY_SPLITS:
        _check(path, name, *(arrays[f"{name}_{part}"] for part in PARTS))
    images, labels, rows = (np.concatenate([arrays[f"{s}_{part}"] for s in REPOSITORY_SPLITS]) for part in PARTS)
    origin = np.repeat(REPOSITORY_SPLITS, [len(arrays[f"{s}_labels"]) for s in REPOSITORY_SPLITS])

    order = np.argsort(rows, kind="stable")
    rows = rows[order]
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
    target = labels[order, 0].astype(np.int64)
    table = join_file(path)
    known = joined(table, rows[target == 1]).reindex(rows)
    about = {
        "candidate_row": rows, "repository_split": origin[order],
        "nodule": known["file"].fillna("").str.removesuffix(".nii.gz").to_numpy(str),
        "series": known["seriesuid"].fillna("").to_numpy(str), "diameter_mm": known["diameter_mm"].to_numpy(float),
        "malignant": known["malignant"].fillna(-1).to_numpy(np.int64),
    }  # fmt: skip
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Cases(
        images=images[order], target=target,
        case=np.array([f"row{row:06d}" for row in rows]),
        group=np.array([f"block{row // ROWS_PER_SCAN:04d}" for row in rows]),
        split=split, path=path, about=pd.DataFrame(about),
        fingerprint=sha256 if table is None else digest({"patches": sha256}, [table], table.parent),
    )  # fmt: skip


def join_file(path: Path) -> Path | None:
    """The table of nodules that goes with an npz: beside it, or in the folder of lidc-voi beside its folder."""
    places = (path.parent / JOIN, path.parent.parent / JOIN_FOLDER / JOIN)
    found = [file for file in places if file.is_file()]
    if found and found[0].read_bytes() != found[-1].read_bytes():
        raise DataError(f"{found[0]} and {found[-1]}: two tables of one name that differ; remove the wrong one")
    return found[0] if found else None


def joined(table: Path | None, positives: np.ndarray) -> pd.DataFrame:
    """What is known of the nodules that positive patches show, indexed by candidate_row; no rows without a table.

    The table was made by matching images. As candidates.csv is sorted by series, a match whose series is out of that
    order is false, and left out: two of the published 977, one of them between training and test.
    Args:    positives: (k,) the rows of candidates.csv that are positive patches.
    Raises:  DataError for a table without its columns, a row twice or of no positive, a value out of range.
    """
    if table is None:
        return pd.DataFrame(columns=list(KNOWN)).astype(KNOWN).set_index("candidate_row")
    hint = f"copy {JOIN} again, or remove it: without it nothing is known of the nodules"
    known = read_table(table, list(KNOWN), hint, dtype={"file": str, "seriesuid": str})[list(KNOWN)]
    row, malignant = known["candidate_row"], known["malignant"]
    diameter = pd.to_numeric(known["diameter_mm"], errors="coerce")
    wrong = {
        "candidate_row": row.duplicated() | ~row.isin(positives), "malignant": ~malignant.isin([-1, 0, 1]),
        "diameter_mm": ~diameter.between(0.1, 500),
        "file": known["file"].isna(), "seriesuid": known["seriesuid"].isna(),
    }  # fmt: skip
    for column, fault in wrong.items():
        if fault.any():
            meant = "a positive patch's, once" if column == "candidate_row" else "that of a nodule"
            raise DataError(f"{table}: {column} {known[column][fault].iloc[0]} is not {meant}; {hint}")
    nodules = table.with_name(NODULES)
    if nodules.is_file():
        listed = read_table(nodules, ("file", "diameter_mm"), hint).drop_duplicates("file")
        sizes = listed.set_index("file")["diameter_mm"]
        other = known[~np.isclose(known["file"].map(sizes).fillna(known["diameter_mm"]), diameter, atol=0.01)]
        if len(other):
            name, size = other.iloc[0][["file", "diameter_mm"]]
            fault = f"{name} is {size:g} mm, and {sizes[name]:g} mm in {nodules}"
            raise DataError(f"{table}: {fault}; copy both again")
    known = known.sort_values("candidate_row").set_index("candidate_row")
    return known[known["seriesuid"] == list(accumulate(known["seriesuid"], max))]


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The patches at their published size; networks take the middle, and augmentation the rest."""
    return read(path)


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


def _check(path: Path, name: str, images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> None:
    """One split of the repository has the published shapes, types and values."""
    npz.check_images(path, f"{name}_images", images, (SIDE, SIDE))
    npz.check_labels(path, f"{name}_labels", labels, "0 (no nodule) or 1 (nodule)")
    if rows.dtype != np.int64 or rows.ndim != 1:
        raise DataError(f"{path}: {name}_candidate_row is {rows.dtype} {rows.shape}; it must be int64 (n,)")
    npz.check_lengths(
        path, {f"{name}_{part}": array for part, array in zip(PARTS, (images, labels, rows), strict=True)}
    )
    if rows.min() < 0:
        raise DataError(f"{path}: {name}_candidate_row holds {rows.min()}; rows of candidates.csv are counted from 0")


DATASET = Dataset(
    name="luna16-patches", title="LUNA16 candidate patches", case="patch", group="scan", shows="lung nodules",
    target="label", read=read, cases=cases,
    licence="LUNA16: CC BY 4.0, a subset of LIDC-IDRI: CC BY 3.0; repository that cut the patches: MIT",
    cite=f"{sources.LUNA16}; {sources.LIDC}",
    source="github.com/swethasubramanian/LungCancerDetection (commit 36e7980, patches in src/data/) and LUNA16's "
    "candidates.csv (luna16.grand-challenge.org), which `fewscans data pack luna16-patches` packs as one npz",
    attribution=f"""\
Patches cut from LUNA16 (CC BY 4.0), itself a subset of LIDC-IDRI (CC BY 3.0), as collected in
github.com/swethasubramanian/LungCancerDetection at 36e7980a891089921d18993ea631c89035296e76 (MIT). No image is kept
here, only each patch's row in LUNA16's candidates.csv, its label and the networks' predictions. Cite:

{sources.LUNA16_IN_FULL}{sources.LIDC_IN_FULL}""",
    people="LIDC-IDRI", twin="luna16_patches", file=FILE, size_bytes=17_355_522,
    sha256="7ad1806c3f174bda9418870bb4d2b53508a7ccef21da32079b89075e14c3aeb0",
    counts={"train": (5236, 928), "val": (1208, 167), "test": (1583, 245)},
)  # fmt: skip
