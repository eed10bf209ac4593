"""How large is the nodule in a LUNA16 patch, in mm²? 0 where there is none: a number with a true zero, as lesions have.

The patches are those of `luna16_patches`, as volumes of one slice. The number is the area of the nodule's mask in
`lidc_voi` in the axial slice where it is largest, for the positives whose nodule is known; positives whose nodule is
not are left out, for their area is unknown. Of the negatives, five times as many as positives, a draw is kept, as many
as positives in each fold: of a dozen patches hardly one would show a nodule otherwise.

Folds are five runs of candidates.csv with as many positives each. The list is grouped by scan, so at most four scans
are in two folds. Groups are the 621 rows that stand in for a scan; those that a known nodule's series shows to be of
one scan are one group.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import group_splits, lidc_voi, luna16_patches, sources
from fewscans.data.base import Cases, Cut, Dataset, kept, quantised, report
from fewscans.data.group_splits import part_of_fold
from fewscans.data.luna16_patches import SIDE, join_file
from fewscans.errors import DataError, ParamsError

SIZE = (1, 48, 48)
FOLDS = 5
DRAW_SEED = 45
PUBLISHED = 975  # patches with a known nodule


def read(path: Path | str, size: tuple[int, ...] = SIZE, factor: int = 1, cache: Path | None = None) -> Cases:
    """The patches' middle, (n, 1, H, W) uint8, with the area in mm².

    Args:    path: the npz, or the folder that holds it; masks.zip and luna16-patches-join.csv of lidc-voi lie beside
             it, or in the folder lidc-voi-994 beside its folder.   size: (1, H, W).   factor: pixels are means over
             squares of this side.
    Returns: group: the blocks of a scan.   split: fold 0 is tested, fold 1 validates.   spacing_mm: 1 everywhere, for
             the source does not tell the pixels' size; only turns out of the plane would need it.   about: fold (0 to
             4, by group), positive (bool), candidate_row, nodule, diameter_mm.   left_out: positives of unknown area.
    Raises:  DataError for what `luna16_patches.read` refuses, masks or a table that are absent or do not match.
    """
    patches = luna16_patches.read(path)
    table = join_file(patches.path)
    if table is None:
        where = f"{luna16_patches.JOIN} is neither beside it nor in {luna16_patches.JOIN_FOLDER} beside its folder"
        raise DataError(f"{patches.path}: {where}, so no area is known; get {lidc_voi.DATASET.source}")
    masks = table.with_name(lidc_voi.MASKS)
    if not masks.is_file():
        raise DataError(f"{masks}: no such file; areas are measured in it, {lidc_voi.AGAIN}")
    settings = {"patches": patches.fingerprint, "masks": hashlib.sha256(masks.read_bytes()).hexdigest()}
    settings |= {"size": size, "factor": factor, "folds": FOLDS, "seed": DRAW_SEED}
    code = (group_splits.__file__, luna16_patches.__file__, lidc_voi.__file__, __file__)
    return kept(cache, settings, patches.path, code, lambda: _cut(patches, table.parent, size, factor))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The patches at the size of the cut, averaged along y and x if it says so; ParamsError if they are smaller."""
    if len(cut.size) != 3 or cut.size[0] != 1 or max(cut.window[1:]) > SIDE or any(cut.margin):
        raise ParamsError(f"{cut}: patches are (1, H, W) of at most {SIDE} pixels a side before averaging, no margin")
    return read(path, cut.size, cut.downsample, cache and cache / "scans")


def blocks_of_scans(block: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Blocks in the order of candidates.csv, those that share a known series, and all between, as the first of them.

    Args:    block: (n,) str, a run each.   series: (n,) str, "" where it is unknown.
    Returns: (n,) str.
    """
    where = pd.Series(np.arange(len(block)))
    reach = where.groupby(block).max()
    ends = {name: reach[block[last]] for name, last in where.groupby(series).max().items() if name}
    out, end = block.copy(), -1
    for i in range(len(block)):
        if i > 0 and i <= end:
            out[i] = out[i - 1]
        end = max(end, reach[block[i]], ends.get(series[i], -1))
    return out


def _cut(patches: Cases, folder: Path, size: tuple[int, ...], factor: int) -> dict[str, Any]:
    known = patches.about["nodule"].to_numpy(str) != ""
    negative = patches.target == 0
    if known.sum() < FOLDS:
        raise DataError(f"{patches.path}: {known.sum()} patches show a known nodule, too few for {FOLDS} folds")
    group = blocks_of_scans(patches.group, patches.about["series"].to_numpy(str))
    # A group is of the fold in which the middle one of its positives would lie if those were cut into equal runs.
    counts = pd.Series(known).groupby(group, sort=False).sum()
    middle = (counts.cumsum() - counts / 2) / counts.sum() * FOLDS
    fold = pd.Series(group).map(middle.astype(int).clip(upper=FOLDS - 1)).to_numpy(np.int64)
    chosen = [np.flatnonzero(known)]
    for f in range(FOLDS):
        pool = np.flatnonzero(negative & (fold == f))
        drawn = np.random.default_rng([DRAW_SEED, f]).permutation(pool)
        chosen.append(drawn[: int((known & (fold == f)).sum())])
    index = np.sort(np.concatenate(chosen))
    area = np.zeros(len(patches))
    area[known] = lidc_voi.areas_mm2(folder, [f"{n}.nii.gz" for n in patches.about["nodule"][known]])
    low, side = [(SIDE - n * factor) // 2 for n in size[1:]], [n * factor for n in size[1:]]
    pixels = patches.images[index, low[0] : low[0] + side[0], low[1] : low[1] + side[1]]
    if factor > 1:
        blocks = pixels.reshape(len(index), size[1], factor, size[2], factor)
        pixels = quantised(blocks.mean(axis=(2, 4)) / 255)
    about = patches.about.loc[index, ["candidate_row", "nodule", "diameter_mm"]].reset_index(drop=True)
    return {
        "images": np.ascontiguousarray(pixels[:, None]), "target": area[index], "unit": "mm²",
        "case": patches.case[index], "group": group[index], "split": part_of_fold(fold[index], FOLDS),
        "spacing_mm": np.ones((len(index), 3)), "about": about.assign(fold=fold[index], positive=known[index]),
        "left_out": tuple(patches.case[~known & ~negative].tolist()),
    }  # fmt: skip


def check_copy(path: Path | str) -> dict[str, Any]:
    """What the patches and masks hold, and what they lack; see `base.report`."""
    try:
        found = read(path)
    except DataError as error:
        return report([str(error)])
    nodules = int(found.about["positive"].sum())
    lacks = [] if nodules == PUBLISHED else [f"{nodules} patches show a known nodule, published are {PUBLISHED}"]
    return report(lacks, {"patches": len(found), "nodules": nodules}, found.fingerprint)


DATASET = Dataset(
    name="luna16-area", title="areas of nodules in LUNA16 patches", case="patch", group="scan", shows="lung nodules",
    target="number", read=read, cases=cases,
    licence=luna16_patches.DATASET.licence, cite=luna16_patches.DATASET.cite,
    source=f"{luna16_patches.FILE} (`fewscans data verify luna16-patches` says how) and {lidc_voi.DATASET.source}",
    attribution=f"""\
Patches cut from LUNA16 (CC BY 4.0), itself a subset of LIDC-IDRI (CC BY 3.0), as collected in
github.com/swethasubramanian/LungCancerDetection at 36e7980a891089921d18993ea631c89035296e76 (MIT), and masks of their
nodules from github.com/PabloLION/ct-slicing at 07d32abf6d8b8f1c61a0dccb685affa29b1512af. No image is kept here, only
each patch's row in LUNA16's candidates.csv, an area measured in its mask and the networks' predictions. Cite:

{sources.LUNA16_IN_FULL}{sources.LIDC_IN_FULL}{sources.TCIA_IN_FULL}""",
    people="LIDC-IDRI", unit="mm²", score="icc", file=luna16_patches.FILE, folder="luna16-patches", check=check_copy,
)  # fmt: skip
