"""Medical Segmentation Decathlon: images and label maps in imagesTr and labelsTr; a structure's volume as the number.

Task04, the hippocampus, is small enough for a laptop, and has two traps. Both are measured in
tests/data/test_msd_hippocampus.py.
1. Cases 2k - 1 and 2k are the two sides of one person, it seems: over the 90 pairs that are whole, volumes correlate
   at 0.91 and median intensities at 1.00. Nothing published says so; a split by case tests on people it trained on.
2. The published images were cut around the label, some five voxels from it. Least squares on the three side lengths
   alone reaches an ICC of 0.55 with the volume, and padding to a common size shows a network those lengths: zeros and
   repeated planes are plainly seen, and noise is no tissue. So nothing is padded here. Every case is cut to one window
   inside its published image, about the same middle, give or take a random shift; intensities are scaled by what is in
   the window. That is what one would cut from the whole head, so all that is left of the box is its middle. What can
   be read of padding (fewscans.data.box) is then at chance, an ICC of -0.01. The default window leaves out six cases
   that are smaller. It shows 97 % of the hippocampus on average: the ends of large ones are outside, and the volume
   inside still gives the whole with an ICC of 0.97. What does show, as in any image of a hippocampus, is anatomy:
   least squares on mean and roughness of the six outermost planes reaches 0.37, on a histogram of 16 bins 0.33, which
   a network must beat.

Antonelli et al., Nature Communications 13:4128 (2022); CC BY-SA 4.0. Cases of imagesTs have no labels and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import group_splits, sources
from fewscans.data.base import Cases, Cut, Dataset, and_more, digest, kept, quantised, read_json, report
from fewscans.data.formats import nifti
from fewscans.data.group_splits import fold_of_group, split_by_group
from fewscans.data.listing import a_file, ending, entries
from fewscans.errors import DataError

IMAGES, LABELS, LIST = "imagesTr", "labelsTr", "dataset.json"
ENDINGS = (".nii.gz", ".nii")
PREFIX = "hippocampus_"

HIPPOCAMPUS = {1: "anterior", 2: "posterior"}
WINDOW = (24, 40, 30)  # z y x voxels of 1 mm
SHIFT = 1  # voxels either way along each axis
SHIFT_SEED, SPLIT_SEED, FOLD_SEED = 41, 42, 43
FOLDS = 5
HELD_OUT = {"test": 0.28, "val": 0.10}  # of the persons; what is left can train on 150 scans
PUBLISHED = 260


@dataclass(frozen=True, eq=False)
class Task:
    """The labelled cases of one task, as files."""

    path: Path
    cases: pd.DataFrame  # case (str, ascending), image and label (Path)
    label_names: Mapping[int, str]  # of dataset.json; empty where a copy lacks it
    fingerprint: str  # of images and label maps

    def read(self, row: int) -> tuple[nifti.Volume, nifti.Volume]:
        """Image and label map of one case, on one grid. Raises DataError as fewscans.data.formats.nifti does."""
        image = nifti.read(self.cases["image"].iloc[row])
        mask = nifti.read_mask(self.cases["label"].iloc[row])
        nifti.same_grid(image, mask)
        if not mask.array.any():
            raise DataError(f"{mask.path}: no voxel is labelled; copy the label map again")
        return image, mask


def find_cases(folder: Path | str, measured: Mapping[int, str] | None = None) -> Task:
    """Match images to label maps.   measured: labels whose names must be these; by default the hippocampus's.

    Raises:  DataError for a folder without them, an image without a label map or the reverse, a case stored twice, a
             dataset.json that cannot be read or names a case that is absent.
    """
    folder = Path(folder)
    found = {name: _files(folder / name) for name in (IMAGES, LABELS)}
    images, labels = found[IMAGES], found[LABELS]
    for here, there, what in ((images, labels, LABELS), (labels, images, IMAGES)):
        alone = sorted(set(here) - set(there))
        if alone:
            fault = f"its like is not in {folder / what}{and_more(alone)}"
            raise DataError(f"{here[alone[0]]}: {fault}; a case has one in both")
    names = sorted(images)
    table = pd.DataFrame({"case": names, "image": [images[n] for n in names], "label": [labels[n] for n in names]})
    fingerprint = digest({}, [*images.values(), *labels.values()], folder)
    listed = _list(folder / LIST, set(names), HIPPOCAMPUS if measured is None else measured)
    return Task(folder, table, listed, fingerprint)


def volume_ml(mask: nifti.Volume, labels: tuple[int, ...]) -> float:
    """The volume of some labels together. Raises DataError if there is none of them."""
    voxels = int(np.isin(mask.array, labels).sum())
    if voxels == 0:
        wanted = " or ".join(map(str, labels))
        raise DataError(f"{mask.path}: no voxel is labelled {wanted}; it has nothing to measure")
    return voxels * mask.voxel_ml


def read(
    folder: Path | str, window: tuple[int, int, int] = WINDOW, shift: int = SHIFT, factor: int = 1,
    cache: Path | str | None = None,
) -> Cases:  # fmt: skip
    """Task04 as scans with the volume of the whole hippocampus in ml, cut so that the box tells nothing of it.

    The window's middle is that of the published image plus a shift, uniform from -`shift` to `shift` voxels on each
    axis and drawn from the case's number alone. The published middle is the label's, more or less: a shift keeps the
    hippocampus from lying just so.
    Args:    window: (D, H, W) voxels.   factor: the side of the blocks that are averaged; 2 for half the resolution.
             cache: a folder to keep the cut scans in; else they are cut every time.
    Returns: cases whose published image holds window and shift; the others are named in `left_out`. `about` has number
             (in the file's name), the published shape_z, shape_y, shape_x, anterior_ml, posterior_ml, and fold, 0 to 4,
             by person: where experiments rotate folds, they stand in for `split`.
    Raises:  DataError for a case of another task, an unknown label, a label map without both parts, no case that is
             large enough, and whatever `find_cases` and `Task.read` refuse.
    """
    if min(window) < 1 or shift < 0 or factor < 1 or any(side % factor for side in window):
        raise ValueError(f"window {window}, shift {shift}, factor {factor}: the window is whole blocks of the factor")
    task = find_cases(folder)
    settings = {"data": task.fingerprint, "window": window, "shift": shift, "factor": factor}
    settings |= {"seeds": (SHIFT_SEED, SPLIT_SEED), "held_out": HELD_OUT}
    code = (nifti.__file__, group_splits.__file__, __file__)
    return kept(cache, settings, task.path, code, lambda: _cut(task, window, shift, factor))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The scans cut to the window and averaged to the size of the cut."""
    return read(path, cut.window, factor=cut.downsample, cache=cache and cache / "scans")


def _cut(task: Task, window: tuple[int, int, int], shift: int, factor: int) -> dict[str, Any]:
    images, rows, left_out = [], [], []
    for row, case in enumerate(task.cases["case"]):
        number = _number(task.cases["image"].iloc[row])
        image, mask = task.read(row)
        only_known(mask)
        parts = {f"{name}_ml": volume_ml(mask, (label,)) for label, name in HIPPOCAMPUS.items()}
        shape = dict(zip(("shape_z", "shape_y", "shape_x"), image.array.shape, strict=True))
        start = _start(image.array.shape, window, shift, number)
        if start is None:
            left_out.append(case)
            continue
        inside = image.array[tuple(slice(a, a + side) for a, side in zip(start, window, strict=True))]
        images.append(quantised(nifti.block_mean(nifti.unit(inside), factor)))
        spacing = tuple(mm * factor for mm in image.spacing_mm)
        rows.append({"case": case, "number": number, "spacing": spacing, **shape, **parts})
    if not rows:
        raise DataError(f"{task.path}: no image holds a window of {window} voxels (z y x) and {shift} more each side")
    about = pd.DataFrame(rows)
    person = {case: person_of(case) for case in task.cases["case"]}
    persons = np.array(list(person.values()))
    split = dict(zip(person, split_by_group(persons, HELD_OUT, SPLIT_SEED), strict=True))
    fold = dict(zip(person, fold_of_group(persons, FOLDS, FOLD_SEED), strict=True))
    case = about.pop("case")
    about["fold"] = case.map(fold)
    return {
        "images": np.stack(images), "target": (about["anterior_ml"] + about["posterior_ml"]).to_numpy(np.float64),
        "unit": "ml", "spacing_mm": np.array(about.pop("spacing").tolist(), np.float64), "case": case.to_numpy(str),
        "group": case.map(person).to_numpy(str),
        "split": case.map(split).to_numpy(str),  # of all persons, as folds are: it does not depend on the window
        "about": about, "left_out": tuple(left_out),
    }  # fmt: skip


def person_of(case: str) -> str:
    """Whose the case is, by its name: of two that follow each other, from an odd number, "person001"."""
    return f"person{(_number(Path(case)) + 1) // 2:03d}"


def only_known(mask: nifti.Volume) -> None:
    """Raises DataError for a label that Task04 does not have."""
    unknown = set(np.unique(mask.array).tolist()) - {0, *HIPPOCAMPUS}
    if unknown:
        raise DataError(f"{mask.path}: unknown label {min(unknown)}; 1 is anterior, 2 posterior, 0 background")


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy of Task04 holds, and what it lacks of the published one; see `base.report`."""
    try:
        task = find_cases(folder)
        persons = {(_number(image) + 1) // 2 for image in task.cases["image"]}
        for row in range(len(task.cases)):
            mask = task.read(row)[1]
            only_known(mask)
            for label in HIPPOCAMPUS:
                volume_ml(mask, (label,))
    except DataError as error:
        return report([str(error)])
    lacks = [] if len(task.cases) == PUBLISHED else [f"{len(task.cases)} cases, published are {PUBLISHED}"]
    return report(lacks, {"cases": len(task.cases), "persons": len(persons)}, task.fingerprint)


def _start(shape: tuple[int, ...], window: tuple[int, int, int], shift: int, number: int) -> list[int] | None:
    """Where the window begins on each axis; None if it does not fit.

    An odd surplus puts the middle between two voxels; a shift from a range of half a voxel more on either side, then
    rounded, makes the middle as likely on one side as on the other.
    """
    spare = np.array(shape) - window
    if (spare < 2 * shift).any():
        return None
    drawn = np.random.default_rng([SHIFT_SEED, number]).uniform(-shift - 0.5, shift + 0.5, 3)
    return np.clip(np.rint(spare / 2 + drawn), 0, spare).astype(int).tolist()


def _number(file: Path) -> int:
    found = re.fullmatch(rf"{PREFIX}(\d+)", _case(file))
    if found is None:
        raise DataError(f"{file}: not a case of Task04; its files are named hippocampus_001.nii.gz and so on")
    return int(found[1])


def _case(file: Path) -> str:
    return file.name.removesuffix(ending(file, ENDINGS))


def _files(folder: Path) -> dict[str, Path]:
    """The volumes of a folder by case; hidden files are unpackers' and no volumes."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a task of the Decathlon has {IMAGES} and {LABELS}")
    found: dict[str, Path] = {}
    for file in entries(folder):
        if file.is_dir() or (file.name.lower().startswith(PREFIX) and not ending(file, ENDINGS)):
            kind = "a folder" if file.is_dir() else "no .nii.gz or .nii file"
            raise DataError(f"{file}: is {kind}, so it would not be read; unpack what it holds, or move it away")
        if not ending(file, ENDINGS):
            continue
        if _case(file) in found:
            raise DataError(f"{file}: the case is there twice, also as {found[_case(file)].name}; remove one")
        found[_case(file)] = file
    if not found:
        raise DataError(f"{folder}: holds no .nii.gz files; unpack the task's tar archive again")
    return found


def _list(file: Path, names: set[str], measured: Mapping[int, str]) -> dict[int, str]:
    """The names of the labels, which are those that are measured; the cases that are listed are those that are there.

    Raises:  DataError for a list that cannot be read, or says otherwise than the files.
    """
    if not a_file(file).is_file():
        return {}
    hint = "copy the Decathlon's list again, or remove it"
    content = read_json(file, hint)
    try:
        label_names = {int(label): str(name) for label, name in content["labels"].items()}
        pairs = [[_case(Path(entry[what])) for what in ("image", "label")] for entry in content["training"]]
        number = int(content.get("numTraining", len(pairs)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fault = f"cannot be read as the Decathlon's list ({type(error).__name__}: {error})"
        raise DataError(f"{file}: {fault}; {hint}") from error
    for label, name in measured.items():
        if label_names.get(label, "").strip().lower() != name:
            fault = f"calls label {label} {label_names.get(label)!r}, and here it is measured as {name!r}"
            raise DataError(f"{file}: {fault}; if its label maps are numbered so, renumber them and correct the list")
    unlike = [pair for pair in pairs if pair[0] != pair[1]]
    if unlike:
        raise DataError(f"{file}: gives {unlike[0][0]} the label map of {unlike[0][1]}; {hint}")
    listed = [case for case, _ in pairs]
    absent, more = sorted(set(listed) - names), sorted(names - set(listed))
    if absent:
        raise DataError(f"{file}: names {absent[0]}, which is absent ({len(absent)} of {len(listed)}); copy it again")
    if more or len(listed) != number or len(set(listed)) != number:
        fault = f"lists {len(set(listed))} cases and says {number}, and {len(names)} are there"
        raise DataError(f"{file}: {fault}{f', such as {more[0]}' if more else ''}; {hint}")
    return label_names


DATASET = Dataset(
    name="msd-hippocampus", title="hippocampal volumes", case="scan", group="person", shows="hippocampi",
    target="number", read=read, cases=cases, licence="CC BY-SA 4.0",
    cite="Antonelli et al., Nature Communications 13:4128 (2022), doi 10.1038/s41467-022-30695-9",
    source="Task04_Hippocampus.tar of the Medical Segmentation Decathlon (medicaldecathlon.com), unpacked",
    downloads={f"{sources.MSD}/Task04_Hippocampus.tar": "md5:9d24dba78a72977dbd1d2e110310f31b"},
    attribution="""\
Hippocampi from MR of Task04 of the Medical Segmentation Decathlon (CC BY-SA 4.0), Vanderbilt University Medical Center.
No image is kept here, only each case's name, a number computed from its mask (the volume, or the anterior share of it)
and predictions. As these numbers derive from the masks, the tables of this folder are under CC BY-SA 4.0 as well, with
attribution as below. Changes: volumes are summed up from masks, predictions are rounded. Cite:

- Antonelli M. et al., The Medical Segmentation Decathlon, Nature Communications 13:4128 (2022), doi
  10.1038/s41467-022-30695-9.
- Simpson A. L. et al., A large annotated medical image dataset for the development and evaluation of segmentation
  algorithms, arXiv 1902.09063 (2019).
""",
    people="Task04 of the Medical Segmentation Decathlon", unit="ml", score="icc",
    marks=tuple((f"{folder}/hippocampus_001.nii.gz",) for folder in (IMAGES, LABELS)),
    check=check_copy, sha256="42823e0a4b5abf98a5973adfbb4af275dec90eb00b5b004527e6925f7f7a1809",
)  # fmt: skip
