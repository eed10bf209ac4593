"""The public data sets: where a copy is found, how it is read, what it must contain, whom to cite.

One module a published layout. A twin (fewscans.twins) is written in the same layout and goes through the same reader.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fewscans.data import lidc_nodules, luna16, luna16_patches, medmnist3d, msd, pvs, wmh2017
from fewscans.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """What is known of a published data set before opening it."""

    name: str
    file: str  # the file that is a copy; "" where a copy is a folder of many files
    reader: Callable[[Path], Any]  # to the layout's own type; Samples, or what has its fields, where networks train
    licence: str
    cite: str
    source: str  # where a copy comes from
    size_bytes: int | None  # None: not known to us
    sha256: str | None = None  # of the copy behind our results, or of the publisher's; None: not known to us
    md5: str | None = None  # the publisher's, where he gives one
    counts: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)  # split → (cases, positives if known)
    # The labels of one split of what the reader gives, 1 or True for a positive.
    labels: Callable[[Any, str], np.ndarray] = lambda copy, split: copy.labels[copy.indices(split)]
    # Of a folder: what marks it as a copy, and for each mark the places, from the folder, where it may lie.
    marks: tuple[tuple[str, ...], ...] = ()
    # Where it belongs under the data root, if not in a folder of its name.
    folder: str = ""
    # Of a folder: what it holds and lacks, as fewscans.data.luna16.check_copy tells it.
    check: Callable[[Path], Mapping[str, Any]] | None = None


_MEDMNIST = "Yang et al., MedMNIST v2, Scientific Data 10:41 (2023), doi 10.1038/s41597-022-01721-8"
_ZENODO = "https://zenodo.org/records/10519652/files/"
_LIDC = "Armato et al., Medical Physics 38:915-931 (2011), doi 10.7937/K9/TCIA.2015.LO9QL9SX"

DATASETS: dict[str, Dataset] = {
    "luna16-patches": Dataset(
        name="luna16-patches",
        file=luna16_patches.FILE,
        reader=luna16_patches.read,
        licence="LUNA16: CC BY 4.0, a subset of LIDC-IDRI: CC BY 3.0; repository that cut the patches: MIT",
        cite=f"Setio et al., Medical Image Analysis 42:1-13 (2017); {_LIDC}",
        source="github.com/swethasubramanian/LungCancerDetection (commit 36e7980, patches in src/data/) and LUNA16's "
        "candidates.csv (luna16.grand-challenge.org), which `fewscans data pack luna16-patches` packs as one npz",
        size_bytes=17_355_522,
        sha256="7ad1806c3f174bda9418870bb4d2b53508a7ccef21da32079b89075e14c3aeb0",
        counts={"train": (5236, 928), "val": (1208, 167), "test": (1583, 245)},
    ),
    "luna16": Dataset(
        name="luna16",
        file="",
        reader=luna16.read,
        licence="LUNA16: CC BY 4.0, a subset of LIDC-IDRI: CC BY 3.0",
        cite=f"Setio et al., Medical Image Analysis 42:1-13 (2017); {_LIDC}",
        source="LUNA16 (luna16.grand-challenge.org; zenodo.org/records/3723295 and 4121926): subset0 to subset9 "
        "unzipped, annotations.csv, candidates_V2.csv and, of the evaluation script, annotations_excluded.csv and "
        "seriesuids.csv",
        size_bytes=None,
        marks=(("subset0",), tuple(str(Path(folder, luna16.ANNOTATIONS)) for folder in luna16.FOLDERS)),
        check=luna16.check_copy,
    ),
    "adrenalmnist3d": Dataset(
        name="adrenalmnist3d",
        file=medmnist3d.file_name("adrenalmnist3d"),
        reader=partial(medmnist3d.read, name="adrenalmnist3d"),
        licence="CC BY 4.0",
        cite=_MEDMNIST,
        source=f"{_ZENODO}adrenalmnist3d.npz",
        size_bytes=276_833,
        sha256="8ffd78c0f000265deb7cf4ee0b454136fb3170f9839ecaa7bb01adf9f88aa7d1",
        md5="bbd3c5a5576322bc4cdfea780653b1ce",
        counts={"train": (1188, 259), "val": (98, 22), "test": (298, 69)},
    ),
    "nodulemnist3d": Dataset(
        name="nodulemnist3d",
        file=medmnist3d.file_name("nodulemnist3d"),
        reader=partial(medmnist3d.read, name="nodulemnist3d"),
        licence="CC BY 4.0, cut from LIDC-IDRI: CC BY 3.0",
        cite=f"{_MEDMNIST}; {_LIDC}",
        source=f"{_ZENODO}nodulemnist3d.npz",
        size_bytes=None,
        md5="8755a7e9e05a4d9ce80a24c3e7a256f3",
        counts={"train": (1158, None), "val": (165, None), "test": (310, None)},
    ),
    "lidc-nodules": Dataset(
        name="lidc-nodules",
        file=lidc_nodules.FILE,
        reader=lidc_nodules.read,
        licence="LIDC-IDRI: CC BY 3.0",
        cite=_LIDC,
        source="four CT series of LIDC-IDRI patients 0001, 0002 and 0132 (cancerimagingarchive.net) and cut cubes from "
        "them as the docstring of fewscans.data.lidc_nodules describes; they illustrate, nothing is trained on them",
        size_bytes=22_991_678,
        sha256="fe37fba2df2c3841f94e3d749e40d8d86906abca05d5e6f81860bb13ea77363e",
        counts={"all": (160, 16)},
        labels=lambda copy, split: copy.is_nodule,  # they have no splits
    ),
    "wmh2017": Dataset(
        name="wmh2017",
        file="",
        reader=wmh2017.numbered,
        licence="CC BY-NC 4.0",
        cite="Kuijf et al., IEEE TMI 38:2556-2568 (2019), doi 10.1109/TMI.2019.2905770; data doi 10.34894/AECRSD",
        source="the WMH Segmentation Challenge's data (doi.org/10.34894/AECRSD): its folder training, or that of the "
        "2017 release with Utrecht, Singapore and GE3T",
        size_bytes=None,
        marks=tuple(tuple(str(Path(above, site)) for above in wmh2017.ROOTS) for site in ("Utrecht", "Singapore")),
        check=wmh2017.check_copy,
    ),
    "msd-hippocampus": Dataset(
        name="msd-hippocampus",
        file="",
        reader=msd.hippocampus,
        licence="CC BY-SA 4.0",
        cite="Antonelli et al., Nature Communications 13:4128 (2022), doi 10.1038/s41467-022-30695-9",
        source="Task04_Hippocampus.tar of the Medical Segmentation Decathlon (medicaldecathlon.com), unpacked",
        size_bytes=None,
        sha256="42823e0a4b5abf98a5973adfbb4af275dec90eb00b5b004527e6925f7f7a1809",
        marks=tuple((f"{folder}/hippocampus_001.nii.gz",) for folder in (msd.IMAGES, msd.LABELS)),
        check=msd.check_copy,
    ),
}

# The same copy, asked or split otherwise, as fewscans.experiments.numbered_cases has it: the anterior part's share; and
# the Hydranet paper's larger training set, of 40 scans with those to validate on.
for _name, _copy in (("msd-hippocampus-fraction", "msd-hippocampus"), ("wmh2017-40-20", "wmh2017")):
    DATASETS[_name] = replace(DATASETS[_copy], name=_name, folder=_copy)


# Twins of no public data set: controls, written in the layout of the one they belong to, and `pvs`, whose real scans
# are private. VALDO's task 1 (MICCAI 2021) is the public set nearest to these; we could not verify its file names.
CONTROLS: Mapping[str, Callable[[Path], Any]] = {
    "orientation": luna16_patches.read,
    "handedness": partial(medmnist3d.read, name="adrenalmnist3d"),
    "pvs": pvs.numbered,
}


def dataset(name: str) -> Dataset:
    """The registry's entry of a data set. Raises DataError listing the known ones."""
    if name not in DATASETS:
        raise DataError(f"unknown data set '{name}'; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def home(name: str, root: Path | str) -> Path:
    """The folder under `root` where a copy of the data set belongs."""
    return Path(root) / (dataset(name).folder or name)


def find(name: str, root: Path | str) -> Path:
    """A data set's file, or folder where it is one, under `root`: in `home`, or else in any folder directly in root.

    A folder of the data set's name passes with any of its marks, so that a copy half downloaded is found and `verify`
    can say what it lacks; a folder of another name needs all marks.
    Raises:  DataError if there is none, with what to download and where to put it.
    """
    entry, root = dataset(name), Path(root)
    marks = entry.marks or ((entry.file,),)
    folders = [home(name, root), *sorted(p for p in root.iterdir() if p.is_dir())] if root.is_dir() else []
    for wanted in (all, any):
        for folder in folders if wanted is all else folders[:1]:
            if wanted(any((folder / place).exists() for place in places) for places in marks):
                return folder / entry.file
    what = " with ".join(places[0] for places in marks)
    why = f"{what} is in none of its folders" if root.is_dir() else "there is no such folder"
    raise DataError(
        f"data set '{name}' is not under {root} ({why}). Get {entry.source}; put it at "
        f"{home(name, root) / entry.file}, or set data_root in params.yaml or FEWSCANS_DATA_ROOT to the folder that "
        "holds your data sets"
    )


def read(name: str, path: Path | str) -> Any:
    """Read a copy, real or twin, with the data set's reader. `path` is its file or the folder holding it."""
    reader = CONTROLS[name] if name in CONTROLS else dataset(name).reader
    return reader(Path(path))
