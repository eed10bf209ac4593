"""Medical Segmentation Decathlon: images with their label maps, whole, for networks that draw the labels.

Any task of the Decathlon with one channel, MR or CT, lies as `msd_hippocampus` says: imagesTr, labelsTr, and the names
of the labels in dataset.json. Task04 is read without that list as well.

Every image is put into the middle of one window, and cut where it is larger. Where it is smaller, the window's voxels
beyond the published image are 0, and no network is asked about them (`inside`). Task04's images were cut around the
label, so the place in the image tells much: an atlas in relative coordinates, which looks at no intensity, reaches a
Dice of 0.74 and 0.68. A segmentation must beat it.

People of Task04 are grouped as there; of other tasks, every case counts as a person: the Decathlon tells no more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import group_splits, msd_hippocampus
from fewscans.data.base import Cases, kept, quantised
from fewscans.data.formats import nifti
from fewscans.data.group_splits import fold_of_group, part_of_fold
from fewscans.data.msd_hippocampus import FOLD_SEED, FOLDS, HIPPOCAMPUS, LIST, Task, find_cases, person_of
from fewscans.errors import DataError

WINDOW = (48, 64, 48)  # z y x voxels; holds every image of Task04
PREFIX = "hippocampus_"  # of the cases of Task04
BOX = ["shape_z", "shape_y", "shape_x"]


def read(folder: Path | str, window: tuple[int, int, int] = WINDOW, cache: Path | None = None) -> Cases:
    """A task as images and label maps, (n, 2, D, H, W) uint8: intensities, each image on its own scale, and labels.

    Returns: target: the volume of all labels in ml, as published, also where the window cuts some off.   split: fold 0
             is tested, fold 1 validates.   about: fold (0 to 4, by person), labels (the names of labels 1, 2 and so on,
             in one string), shape_z, shape_y, shape_x (of the published image, as far as the window shows it), stored
             ("float32" or another type: how the file holds its voxels), intensity_low and intensity_high (stored values
             of 0 and 255).
    Raises:  DataError for a folder that is no task, an image without a label map or the reverse, a list that is absent
             where it is needed, an image that is not in space, a label that the list does not name, a task without any
             label, and whatever else `msd_hippocampus.find_cases` and `nifti` refuse.
    """
    if len(window) != 3 or min(window) < 1:
        raise ValueError(f"window {window}: it must be (D, H, W) voxels")
    task = find_cases(folder, measured={})
    names = label_names(task)
    settings = {"data": task.fingerprint, "masks": window, "labels": names, "seeds": FOLD_SEED, "folds": FOLDS}
    code = (nifti.__file__, group_splits.__file__, msd_hippocampus.__file__, __file__)
    return kept(cache, settings, task.path, code, lambda: _cut(task, window, names))


def label_names(task: Task) -> tuple[str, ...]:
    """The names of labels 1, 2 and so on. Raises DataError where nothing says them, or a number is left out."""
    names = {label: name for label, name in task.label_names.items() if label != 0}
    if not names and all(case.startswith(PREFIX) for case in task.cases["case"]):
        names = HIPPOCAMPUS
    if not names:
        raise DataError(f"{task.path / LIST}: no such file, or it names no label; copy it from the task's archive")
    if sorted(names) != list(range(1, len(names) + 1)):
        raise DataError(f"{task.path / LIST}: labels are {sorted(names)}; they must be 1, 2 and so on, without a gap")
    return tuple(names[label].lower().replace(" ", "_") for label in sorted(names))


def inside(shape: tuple[int, ...], window: tuple[int, ...]) -> tuple[slice, ...]:
    """Where an image of that shape lies in the window, as `nifti.crop` puts it there."""
    start = [max((w - n) // 2, 0) for n, w in zip(shape, window, strict=True)]
    return tuple(slice(a, a + min(n, w)) for a, n, w in zip(start, shape, window, strict=True))


def only_listed(mask: nifti.Volume, names: tuple[str, ...]) -> None:
    """Raises DataError for a label that has no name."""
    unknown = set(np.unique(mask.array).tolist()) - set(range(len(names) + 1))
    if unknown:
        known = ", ".join(f"{i} is {name}" for i, name in enumerate(names, start=1))
        raise DataError(f"{mask.path}: unknown label {min(unknown)}; {known}, 0 background")


def _cut(task: Task, window: tuple[int, int, int], names: tuple[str, ...]) -> dict[str, Any]:
    images, rows = [], []
    for row in range(len(task.cases)):
        image, mask = task.read(row)
        only_listed(mask, names)
        middle = (np.array(image.array.shape) - 1) / 2
        low, high = np.percentile(image.array, [0.1, 99.9])
        pair = quantised(nifti.unit(image.array)), mask.array.astype(np.uint8)
        images.append(np.stack([nifti.crop(part, middle, window) for part in pair]))
        shape = np.minimum(image.array.shape, window)
        volume = np.count_nonzero(mask.array) * mask.voxel_ml
        rows.append((volume, image.spacing_mm, *shape, _stored(task.cases["image"].iloc[row]), low, high))
    columns = ["volume", "spacing", *BOX, "stored", "intensity_low", "intensity_high"]
    about = pd.DataFrame(rows, columns=columns)
    volume = about.pop("volume").to_numpy(np.float64)
    if not volume.any():
        raise DataError(f"{task.path}: no voxel of its label maps is labelled; there is nothing to learn")
    case = task.cases["case"].to_numpy(str)
    person = np.array([person_of(name) if name.startswith(PREFIX) else name for name in case])
    fold = fold_of_group(person, FOLDS, FOLD_SEED)
    return {
        "images": np.stack(images), "target": volume, "unit": "ml", "case": case, "group": person,
        "spacing_mm": np.array(about.pop("spacing").tolist(), np.float64), "split": part_of_fold(fold, FOLDS),
        "about": about.assign(fold=fold, labels=" ".join(names)),
    }  # fmt: skip


def _stored(file: Path) -> str:
    """How the file holds its voxels."""
    import nibabel

    return str(nibabel.load(file).get_data_dtype())
