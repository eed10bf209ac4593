"""The public data sets: where a copy is found, how it is read, what it must contain, whom to cite.

One module a published layout. A twin (fewscans.twins) is written in the same layout and goes through the same reader.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fewscans.data import luna16_patches
from fewscans.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """What is known of a published data set before opening it."""

    name: str
    file: str  # the file (or folder) that marks a copy
    reader: Callable[[Path], luna16_patches.Patches]
    licence: str
    cite: str
    source: str  # where a copy comes from
    size_bytes: int
    sha256: str
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # split → (cases, positives)


DATASETS: Mapping[str, Dataset] = {
    "luna16-patches": Dataset(
        name="luna16-patches",
        file=luna16_patches.FILE,
        reader=luna16_patches.read,
        licence="LUNA16: CC BY 4.0, a subset of LIDC-IDRI: CC BY 3.0; repository that cut the patches: MIT",
        cite="Setio et al., Medical Image Analysis 42:1-13 (2017); Armato et al., Medical Physics 38:915-931 (2011), "
        "doi 10.7937/K9/TCIA.2015.LO9QL9SX",
        source="github.com/swethasubramanian/LungCancerDetection (commit 36e7980, patches in src/data/) and LUNA16's "
        "candidates.csv (luna16.grand-challenge.org), which `fewscans data pack luna16-patches` packs as one npz",
        size_bytes=17_355_522,
        sha256="7ad1806c3f174bda9418870bb4d2b53508a7ccef21da32079b89075e14c3aeb0",
        counts={"train": (5236, 928), "val": (1208, 167), "test": (1583, 245)},
    ),
}


# Twins of no public data set: controls, written in the layout of the one they belong to.
CONTROLS: Mapping[str, Callable[[Path], luna16_patches.Patches]] = {"orientation": luna16_patches.read}


def dataset(name: str) -> Dataset:
    """The registry's entry of a data set. Raises DataError listing the known ones."""
    if name not in DATASETS:
        raise DataError(f"unknown data set '{name}'; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def find(name: str, root: Path | str) -> Path:
    """The file of a data set under `root`: in root/<name>/, or else in any folder directly inside root.

    Raises:  DataError if there is none, with what to download and where to put it.
    """
    entry, root = dataset(name), Path(root)
    folders = [root / name, *sorted(p for p in root.iterdir() if p.is_dir())] if root.is_dir() else []
    for folder in folders:
        if (folder / entry.file).exists():
            return folder / entry.file
    why = f"{entry.file} is in none of its folders" if root.is_dir() else "there is no such folder"
    raise DataError(
        f"data set '{name}' is not under {root} ({why}). Get {entry.source}; put it at {root / name / entry.file}, "
        "or set data_root in params.yaml or FEWSCANS_DATA_ROOT to the folder that holds your data sets"
    )


def read(name: str, path: Path | str) -> luna16_patches.Patches:
    """Read a copy, real or twin, with the data set's reader. `path` is its file or the folder holding it."""
    reader = CONTROLS[name] if name in CONTROLS else dataset(name).reader
    return reader(Path(path))
