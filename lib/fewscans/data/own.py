"""Your own scans: a folder of pictures and a table, added once by `fewscans data add`, then read as any data set.

What was checked is kept in the project, in data/own/NAME.json and NAME.parquet, which git ignores: what the set is
called, how its pictures are cut, and of each case its target, its patient and its part of the data. Pictures stay
where they are. If a file changes, the set must be added again. `own_checks` does the checking.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fewscans import paths
from fewscans.data import group_splits, own_boxes
from fewscans.data.base import Cases, Cut, Dataset, kept, report
from fewscans.data.formats import nifti, pictures
from fewscans.errors import DataError, FewscansError, ParamsError

TABLE, SETTINGS = "cases.csv", "dataset.yaml"
RECORD = "dataset.json"  # beside published results of an own set: what it is, without where it lies


@dataclass(frozen=True)
class Own:
    """What was found out about a set when it was added.

    patch: voxels of a picture as it is kept, (H, W) or (D, H, W).   spacing_mm: between them, where pictures have a
    size in mm; None: each picture is stretched to the patch.   window: intensities that become black and white; None:
    bytes as they are, others between the percentiles of each picture.   folds: parts of the patients that seeds rotate;
    0: the table's own split, or one made of it.   files, content: hashes of names, sizes and times, and of all bytes.
    """

    name: str
    folder: str
    target: Literal["label", "number"]
    title: str
    case: str
    licence: str
    cite: str
    unit: str
    patch: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    window: tuple[float, float] | None
    colour: bool
    folds: int
    files: str
    content: str

    def record(self) -> Dataset:
        """The set as the registry knows one."""
        whose = self.licence or "no licence is named"
        return Dataset(
            name=self.name, title=self.title, case=self.case, group="patient", shows=self.title, target=self.target,
            read=functools.partial(_read, self), cases=functools.partial(_cases, self), licence=self.licence,
            cite=self.cite, source=f"the folder that `fewscans data add {self.name}` was given", unit=self.unit,
            attribution=f"{self.title}; {whose}. {self.cite}".strip() + "\n", people=f"those of {self.name}",
            score="auc" if self.target == "label" else "icc", check=functools.partial(_check, self),
        )  # fmt: skip


def home() -> Path:
    """Where the project keeps what it knows of own sets; not in git."""
    return paths.root() / "data" / "own"


def names() -> tuple[str, ...]:
    """Own sets of this project, in alphabetical order, and those of which results were published on purpose."""
    try:
        added = {file.stem for file in home().glob("*.json") if file.stem != "networks"}
        return tuple(sorted(added | {file.parent.name for file in paths.published().glob(f"*/*/{RECORD}")}))
    except FewscansError:  # no project here
        return ()


def load(name: str) -> Own:
    """What is known of a set. Raises DataError if its file is damaged."""
    file = home() / f"{name}.json"
    if not file.is_file():
        file = next(paths.published().glob(f"*/{name}/{RECORD}"), file)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        for key in ("patch", "spacing_mm", "window"):
            found[key] = found[key] if found[key] is None else tuple(found[key])
        return Own(**found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); remove it, and add the set again") from error


def find(name: str) -> Path:
    """Its folder. Raises DataError if it is not there any more."""
    folder = Path(load(name).folder)
    if not (folder / TABLE).is_file():
        raise DataError(f"{folder / TABLE}: no such file; `fewscans data add {name} FOLDER` says where the set is now")
    return folder


def table_of(own: Own) -> pd.DataFrame:
    """Its cases: image, target, patient, split, fold, colour, what the files say, and all other columns."""
    try:
        return pd.read_parquet(home() / f"{own.name}.parquet")
    except (OSError, ValueError) as error:
        raise DataError(f"{home() / own.name}.parquet: cannot be read ({error}); add the set again") from error


def state_of(folder: Path, images: Sequence[str]) -> str:
    """A hash of the names, sizes and times of a set's files: cheap to make, and another one if a file was touched.

    Raises:  DataError for a file that is absent.
    """
    digest = hashlib.sha256()
    extra = [SETTINGS] if (folder / SETTINGS).is_file() else []
    for name in (TABLE, *extra, *images):
        try:
            stat = (folder / name).stat()
        except OSError as error:
            raise DataError(
                f"{folder / name}: cannot be found ({error.strerror}); put it back, or leave it out"
            ) from error
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read(own: Own, path: Path) -> Cases:
    """The set at the size that was chosen when it was added."""
    return _cases(own, path, Cut(own.patch, spacing_mm=own.spacing_mm), None)


def _check(own: Own, path: Path) -> dict[str, Any]:
    """Whether a copy is as it was when it was added, see `base.report`."""
    table = table_of(own)
    try:
        lacks = (
            [] if state_of(path, table["image"].tolist()) == own.files else ["a file changed since the set was added"]
        )
    except DataError as error:
        lacks = [str(error)]
    return report(lacks, {"cases": len(table), "patients": table["patient"].nunique()}, own.content)


def _cases(own: Own, path: Path, cut: Cut, cache: Path | None) -> Cases:
    """The set cut as asked: one size for all, centred where pictures have a size in mm, stretched where not.

    Pictures on the plane are given as volumes of depth 1 if so asked, then without colour.
    Raises:  DataError if a file changed since the set was added, ParamsError for a size of another dimension.
    """
    flat = len(own.patch) == 2 and len(cut.size) == 3 and cut.size[0] == 1
    size, spacing = (cut.size[1:], cut.spacing_mm and cut.spacing_mm[1:]) if flat else (cut.size, cut.spacing_mm)
    if len(size) != len(own.patch):
        raise ParamsError(f"size {cut.size}: pictures of {own.name} have {len(own.patch)} axes; name as many")
    table = table_of(own)
    if state_of(Path(path), table["image"].tolist()) != own.files:
        again = f"`fewscans data add {own.name} {path}` checks it again"
        raise DataError(f"{path}: a file changed since the set was added; {again}")
    if own.spacing_mm is not None:  # a coarser image has larger steps, not a smaller part of the picture
        spacing = tuple(mm * cut.downsample for mm in spacing or own.spacing_mm)
    elif spacing is not None:
        raise ParamsError(f"spacing_mm {spacing}: the files of {own.name} do not say the size of their voxels")
    settings = {"content": own.content, "size": size, "spacing_mm": spacing, "window": own.window, "flat": flat}
    code = (pictures.__file__, nifti.__file__, own_boxes.__file__, __file__)
    return kept(
        cache and Path(cache) / "scans", settings, Path(path), code,
        lambda: _cut(own, Path(path), table, tuple(size), spacing, flat),
    )  # fmt: skip


def _cut(own: Own, folder: Path, table: pd.DataFrame, size: tuple, spacing: tuple | None, flat: bool) -> dict[str, Any]:
    images = []
    for name in table["image"]:
        picture = pictures.read(folder / name)
        if picture.colour and (flat or not own.colour):
            grey = picture.values[..., 0] if not own.colour else picture.values.mean(-1).round().astype(np.uint8)
            picture = pictures.Picture(grey, picture.spacing_mm)
        image = pictures.fitted(picture, size, spacing, own.window)
        images.append(image[None] if flat else image)
    about = table.drop(columns=["target", "patient", "split", "content", "axes"]).assign(by_patient=True)
    about = about.assign(**own_boxes.columns(table, spacing) if own.target == "label" and len(size) == 2 else {})
    step = (1.0, *(spacing or (1.0,) * len(size)))[-3:] if len(size) == 2 else spacing or (1.0, 1.0, 1.0)
    number = own.target == "number"
    return {
        "images": np.stack(images), "target": table["target"].to_numpy(np.float64 if number else np.int64),
        "case": table["image"].to_numpy(str), "group": table["patient"].to_numpy(str),
        "split": table["split"].to_numpy(str), "unit": own.unit or None if number else None,
        "spacing_mm": np.tile(np.asarray(step, float), (len(table), 1)), "about": about,
    }  # fmt: skip


def part_of(own: Own, table: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """The part of each case for a seed, (n,) "train", "val" or "test"."""
    return group_splits.part_of_fold(table["fold"], own.folds, seed) if own.folds else table["split"].to_numpy(str)


def as_json(own: Own) -> dict[str, Any]:
    return dataclasses.asdict(own)


def as_published(name: str) -> dict[str, Any] | None:
    """What is kept beside published results of an own set; None for the library's sets."""
    return as_json(dataclasses.replace(load(name), folder="", files="")) if name in names() else None
