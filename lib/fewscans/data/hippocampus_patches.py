"""Patches of the Decathlon's hippocampi: is the voxel at the centre hippocampus, or tissue 2 to 6 mm outside it?

A ladder of training sets from 30 to 30,000 real patches, for hundreds come from one head. They are patches, not people:
as many are drawn of every person, so that any three of the five folds train on 30,000, and a random subset spreads over
the training persons as evenly as chance has it (30 patches over 26 of 102 persons, 300 over 97, 3,000 over all).

1. The published images end some five voxels from the label, so a patch that leaves one is nearly always of the
   outside: the share of padding alone has an AUC of 0.72. Here every patch lies inside its image. Nothing is padded.
2. An even side has no middle voxel. The one asked about is at index side // 2 of each axis, half a voxel from the
   middle of the patch, towards the patient's head, front and right; a patch that is turned or mirrored asks about a
   neighbour of it. Networks must not be expected to agree better than that.
3. Intensities are scaled by the whole published image, as `nifti.unit` does, not by the patch: how bright a place is
   in its head tells much (the centre voxel alone has an AUC of about 0.66), and any network may use it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import group_splits, msd_hippocampus
from fewscans.data.base import Cases, Cut, kept, quantised
from fewscans.data.formats import nifti
from fewscans.data.group_splits import fold_of_group, part_of_fold
from fewscans.data.msd_hippocampus import FOLD_SEED, FOLDS, Task, find_cases, only_known, person_of
from fewscans.errors import DataError, ParamsError

SIZE = (12, 12, 12)  # voxels of 1 mm
OUTSIDE_MM = (2.0, 6.0)  # how far from the nearest voxel of the hippocampus those outside lie
DRAWN, TESTED = 150, 60  # of a person: patches of each class, and how many of them are marked for testing
DRAW_SEED = 44


def read(folder: Path | str, size: tuple[int, int, int] = SIZE, cache: Path | None = None) -> Cases:
    """The patches of a folder of Task04, (n, *size) uint8 at the published 1 mm; 1 if the centre is hippocampus.

    150 of each class are drawn of each person, from both sides together, by the case's number alone.
    Returns: case "hippocampus_001/<z>-<y>-<x>", the centre in the image's voxels.   group: the person.   split: fold 0
             is tested, fold 1 validates.   about: fold (0 to 4, by person, those of `msd_hippocampus`), person, tested
             (bool, true for 60 of each class of each person: testing need not be as large as training).
    Raises:  DataError for what `msd_hippocampus` refuses, and a person with too few places for a whole patch.
    """
    task = find_cases(folder)
    settings = {"data": task.fingerprint, "patches": size, "outside_mm": OUTSIDE_MM, "drawn": (DRAWN, TESTED)}
    settings |= {"seeds": (DRAW_SEED, FOLD_SEED), "folds": FOLDS}
    code = (nifti.__file__, group_splits.__file__, msd_hippocampus.__file__, __file__)
    return kept(cache, settings, task.path, code, lambda: _cut(task, size))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The patches at the size of the cut. Raises ParamsError for one that is not of whole voxels of 1 mm in space."""
    if len(cut.size) != 3 or cut.downsample != 1 or any(cut.margin) or set(cut.spacing_mm or [1]) != {1}:
        raise ParamsError(f"{cut}: patches of the hippocampus are (D, H, W) voxels at 1 mm, and have no margin")
    return read(path, cut.size, cache and cache / "scans")


def _cut(task: Task, size: tuple[int, int, int]) -> dict[str, Any]:
    person = np.array([person_of(case) for case in task.cases["case"]])
    fold = fold_of_group(person, FOLDS, FOLD_SEED)
    images, rows = [], []
    for row, case in enumerate(task.cases["case"]):
        image, mask = task.read(row)
        only_known(mask)
        pixels = quantised(nifti.unit(image.array))
        sides = np.flatnonzero(person == person[row])
        share = [_share(n, len(sides), int(row - sides[0])) for n in (DRAWN, TESTED)]
        for label, places in enumerate(_places(mask, size)):
            if len(places) < share[0]:
                fault = f"{len(places)} of its voxels are the centre of a whole patch of {size} of class {label}"
                raise DataError(f"{mask.path}: {fault}, {share[0]} are drawn; use a smaller size")
            rng = np.random.default_rng([DRAW_SEED, int(case.rpartition("_")[2]), label])
            for i, centre in enumerate(rng.permutation(places)[: share[0]]):
                start = centre - np.array(size) // 2
                images.append(pixels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))])
                name = f"{case}/{'-'.join(map(str, centre))}"
                rows.append((name, label, person[row], fold[row], i < share[1]))
    case, target, group, fold, tested = map(np.array, zip(*rows, strict=True))
    return {
        "images": np.stack(images), "target": target.astype(np.int64), "case": case, "group": group,
        "split": part_of_fold(fold, FOLDS), "spacing_mm": np.ones((len(case), 3)),
        "about": pd.DataFrame({"fold": fold, "person": group, "tested": tested}),
    }  # fmt: skip


def _share(n: int, sides: int, side: int) -> int:
    """How many of n are drawn of one of a person's sides."""
    return n // sides + (side < n % sides)


def _places(mask: nifti.Volume, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Centres (k, 3) z y x outside and in the hippocampus, of patches that lie inside the image."""
    from scipy import ndimage

    inside = mask.array > 0
    if not inside.any():
        raise DataError(f"{mask.path}: no voxel is labelled; it has no hippocampus to find")
    away = ndimage.distance_transform_edt(~inside, sampling=mask.spacing_mm)
    whole = np.zeros(inside.shape, bool)
    whole[tuple(slice(n // 2, max(side - n + n // 2 + 1, 0)) for side, n in zip(inside.shape, size, strict=True))] = (
        True
    )
    low, high = OUTSIDE_MM
    return np.argwhere(whole & (away >= low) & (away <= high)), np.argwhere(whole & inside)


_WHOLE = msd_hippocampus.DATASET
DATASET = dataclasses.replace(
    _WHOLE, name="hippocampus-patches", title="patches of hippocampi", case="patch", target="label", read=read,
    cases=cases, unit="", score="auc", folder="msd-hippocampus", shows="places in and beside the hippocampus",
    attribution="""\
Patches of MR of Task04 of the Medical Segmentation Decathlon (CC BY-SA 4.0), Vanderbilt University Medical Center. No
image is kept here, only each patch's place, whether the mask holds it, and predictions. As labels derive from the
masks, the tables of this folder are under CC BY-SA 4.0 as well, with attribution as below. Changes: patches are cut at
places drawn at random, predictions are rounded. Cite:

""" + _WHOLE.attribution.partition("Cite:\n\n")[2],
)  # fmt: skip
