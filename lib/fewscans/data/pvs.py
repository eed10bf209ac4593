"""Enlarged perivascular spaces of the basal ganglia: T2 images, the region's mask, and how many an expert counted.

The paper's scans (Rotterdam, 2017 persons) are private and no public set has their layout, so this one is our own:

    <root>/counts.csv                         columns case, count and, where a person has several scans, group
    <root>/<case>/T2.nii.gz                   a case's folder is named sub-..., such as sub-0001
    <root>/<case>/basal_ganglia.nii.gz        not 0 in the region, as FreeSurfer or a like program finds it

Public scans with such counts are those of task 1 of the VALDO challenge (MICCAI 2021, arXiv 2208.07167; registration
at valdo.grand-challenge.org), some of them from the same study. We had no copy of it and could not verify its file
names, so there is no reader of them: bring them into the layout above.

Preprocessing as in Dubost et al., MICCAI 2019: the mask, smoothed by a Gaussian of 2 voxels, is multiplied with the
image, which is then cropped about the mask. The crop's size, and how intensities are brought to [0, 1], it does not
say. Here the scale is set by what the crop would show without the mask: ventricle and furrows are nearly always in it,
so 1 is fluid. Were it set after the mask, 1 would be the brightest thing in the region, which is what is to be counted
in one person and plain grey matter in another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import group_splits
from fewscans.data.base import Cases, Cut, Dataset, and_more, digest, kept, quantised, read_table
from fewscans.data.formats import nifti
from fewscans.data.group_splits import split_by_group
from fewscans.data.listing import entries, named, strays
from fewscans.errors import DataError

COUNTS, IMAGE, MASK = "counts.csv", "T2.nii.gz", "basal_ganglia.nii.gz"
CASES = "sub-"
ENDINGS = (".nii.gz", ".nii")

SIZE = (12, 24, 24)  # z y x voxels: the region in the twin's coarse grid
SIGMA = 2.0  # voxels, the paper's
COARSE_MM, COARSE_SIGMA = 0.75, 1.0  # in plane: of larger voxels, two would blur the mask over a third of the region
TRUNCATE = 4.0  # a Gaussian ends after so many sigma
HELD_OUT = {"test": 2 / 3, "val": 1 / 12}  # of the persons: of 240, 160 and 20, and 60 to train on
SPLIT_SEED = 2019


@dataclass(frozen=True, eq=False)
class Counted:
    """The cases of a copy, as files."""

    path: Path
    cases: pd.DataFrame  # case ("sub-0001", ascending), count (int64), group (str), image, mask (Path)

    def read(self, row: int) -> tuple[nifti.Volume, nifti.Volume]:
        """Image and mask (int16) of one case.

        Raises:  DataError naming the file: whatever `nifti` refuses (such as four axes, or NaN), image and mask on
                 different grids, a mask without a voxel.
        """
        image, mask = nifti.read(self.cases["image"].iloc[row]), nifti.read_mask(self.cases["mask"].iloc[row])
        nifti.same_grid(image, mask)
        if not mask.array.any():
            raise DataError(f"{mask.path}: is 0 everywhere; it must mark the basal ganglia, so segment the case again")
        return image, mask


def find_cases(folder: Path | str) -> Counted:
    """Match the cases' folders to their counts.

    Raises:  DataError for a folder without cases or without a table of counts, a case that has no count, no image or no
             mask, a count without a case, a case counted twice, a count that is no whole number from 0 on.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds {COUNTS} and a folder for each case")
    there = {path.name: path for path in entries(folder) if _looks_like_a_case(path)}
    if not there:
        raise DataError(f"{folder}: holds no cases; each is a folder named {CASES}* with {IMAGE} and {MASK}")
    strays([path for name, path in there.items() if not name.startswith(CASES) or not path.is_dir()],
           f"looks like a case, and cases are folders named {CASES}*; rename it, or move it away")  # fmt: skip
    table = _counts(folder / COUNTS)
    for names, others, what in (
        (there, set(table["case"]), f"is not in {folder / COUNTS}; count it, or take it away"),
        (table["case"], set(there), f"is in {COUNTS}, but there is no such folder; copy it, or remove its row"),
    ):
        alone = sorted(set(names) - others)
        if alone:
            raise DataError(f"{folder / alone[0]}: {what}{and_more(alone)}")
    table = table.sort_values("case", ignore_index=True)
    files: dict[str, list[Path]] = {"image": [], "mask": []}
    for case in table["case"]:
        for what, name in (("image", IMAGE), ("mask", MASK)):
            stem = name.removesuffix(ENDINGS[0])
            file = named(there[case], stem, ENDINGS)
            if file is None:
                raise DataError(f"{there[case] / name}: no such file; a case has {IMAGE} and {MASK}, copy it again")
            files[what].append(file)
    return Counted(folder, table.assign(**files))


def read(
    folder: Path | str, size: tuple[int, int, int] = SIZE, sigma: float | None = None,
    held_out: Mapping[str, float] = HELD_OUT, cache: Path | str | None = None,
) -> Cases:  # fmt: skip
    """Images of the basal ganglia alone, cut about the middle of their mask, in [0, 1], with the count.

    Args:    size: (D, H, W) voxels; beyond the image is its lowest intensity.
             sigma: of the mask's smoothing, in voxels; 0 for none; None for the paper's 2, or for 1 where voxels are
             larger than 0.75 mm in plane.
             held_out: split → how many persons, or below 1 the share of them; the others are to train on.
             cache: a folder to keep the cut scans in; else they are cut every time.
    Returns: numbers from 0 on, in the unit "count". `about` has region_ml, the volume of the mask, and inside, the
             share of it that the crop shows.
    Raises:  DataError as `find_cases` and `Counted.read`, for an image that is even throughout the region, and for too
             few persons.
    """
    if min(size) < 1 or not (sigma is None or 0 <= sigma < math.inf):
        raise ValueError(f"size {size} and sigma {sigma}: three sides of at least 1, and a sigma of 0 or more voxels")
    found = find_cases(folder)
    files = [*found.cases["image"], *found.cases["mask"], found.path / COUNTS]
    settings = {"size": size, "sigma": sigma, "held_out": dict(held_out), "seed": SPLIT_SEED}
    settings["data"] = digest({}, files, found.path)
    split = split_by_group(found.cases["group"].to_numpy(str), held_out, SPLIT_SEED)
    code = (nifti.__file__, group_splits.__file__, __file__)
    return kept(cache, settings, found.path, code, lambda: _cut(found, size, sigma, split))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The images cut to the window and averaged to the size of the cut."""
    return nifti.averaged(read(path, cut.window, cache=cache and cache / "scans"), cut.downsample)


def region(image: np.ndarray, mask: np.ndarray, size: tuple[int, int, int], sigma: float) -> np.ndarray:
    """An image cut about the middle of a mask and scaled to [0, 1], times the smoothed mask.

    Args:    image: (D, H, W).   mask: (D, H, W) bool, some of it True.
    Returns: (*size) float32. The middle is the mask's centre of mass.
    """
    from scipy.ndimage import gaussian_filter

    centre = np.argwhere(mask).mean(axis=0)
    margin = math.ceil(TRUNCATE * sigma)  # of a whole head only what can matter is smoothed
    wide = nifti.crop(mask.astype(np.float32), centre, tuple(side + 2 * margin for side in size))
    soft = gaussian_filter(wide, sigma, mode="constant", truncate=TRUNCATE) if sigma else wide
    inner = tuple(slice(margin, margin + side) for side in size)
    return nifti.unit(nifti.crop(image, centre, size, outside=image.min())) * soft[inner]


def _cut(found: Counted, size: tuple[int, int, int], sigma: float | None, split: np.ndarray) -> dict[str, Any]:
    images, spacing, rows = [], [], []
    for row in range(len(found.cases)):
        image, mask = found.read(row)
        seen = mask.array > 0
        usual = SIGMA if max(image.spacing_mm[1:]) <= COARSE_MM else COARSE_SIGMA
        product = region(image.array, seen, size, usual if sigma is None else sigma)
        if not product.max() > 0:
            raise DataError(f"{image.path}: shows one intensity throughout the basal ganglia; copy it again")
        images.append(quantised(product))
        spacing.append(image.spacing_mm)
        inside = nifti.crop(seen, np.argwhere(seen).mean(axis=0), size).sum() / seen.sum()
        rows.append({"region_ml": seen.sum() * mask.voxel_ml, "inside": inside})
    return {
        "images": np.stack(images), "target": found.cases["count"].to_numpy(np.float64), "unit": "count",
        "spacing_mm": np.array(spacing), "case": found.cases["case"].to_numpy(str),
        "group": found.cases["group"].to_numpy(str), "split": split, "about": pd.DataFrame(rows),
    }  # fmt: skip


def _looks_like_a_case(path: Path) -> bool:
    """By its name, or by what it holds."""
    if path.name.lower().startswith(CASES):
        return True
    return path.is_dir() and any(named(path, name.removesuffix(ENDINGS[0]), ENDINGS) for name in (IMAGE, MASK))


def _counts(file: Path) -> pd.DataFrame:
    """The table, checked: case (str), count (int64), group (str; the case itself where the table has none)."""
    hint = "it is a table in UTF-8 with the columns case, count and, if need be, group"
    table = read_table(file, ("case", "count"), hint, dtype=str, keep_default_na=False)
    table = table[["case", "count", "group"] if "group" in table else ["case", "count"]].map(str.strip)
    twice = table["case"][table["case"].duplicated()]
    if len(twice):
        raise DataError(f"{file}: {twice.iloc[0]} is there twice; a case has one count, remove the other row")
    wrong = table[~table["count"].str.fullmatch("[0-9]{1,6}")]
    if len(wrong):
        case, count = wrong.iloc[0][["case", "count"]]
        fault = f"the count of {case} is {count!r}" if count else f"{case} has no count"
        raise DataError(f"{file}: {fault}; it must be a whole number from 0 on")
    if "group" in table and not table["group"].all():
        case = table["case"][table["group"] == ""].iloc[0]
        raise DataError(f"{file}: {case} has no group; name the person, or drop the column if every scan is of another")
    table["count"] = table["count"].astype(np.int64)
    return table if "group" in table else table.assign(group=table["case"])


DATASET = Dataset(
    name="pvs", title="perivascular-space counts", case="scan", group="person", shows="perivascular spaces",
    target="number", read=read, cases=cases, twin="pvs",
    control=True,  # the scans are private
    score="icc",
)  # fmt: skip
