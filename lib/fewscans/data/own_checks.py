"""What `fewscans data add` looks at before a folder of one's own becomes a data set, and what it then says.

The folder holds cases.csv, with the columns image, label (0 or 1) or number, patient and perhaps split, and any others
(scanner, site, age), which `fewscans audit` tries as shortcuts; boxes as x, y, w, h; and perhaps dataset.yaml.
Every fault is one error that names the row or the file and says what would be right.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import yaml

from fewscans import files, strictyaml
from fewscans.data import own, own_boxes, patient_draws, registry
from fewscans.data.base import first_line, read_table
from fewscans.data.formats import pictures
from fewscans.data.group_splits import part_of_fold
from fewscans.data.own import SETTINGS, TABLE, Own
from fewscans.errors import DataError

HINT = "the table has columns image, label (0 or 1) or number, patient, and perhaps split"
KNOWN = ("image", "label", "number", "patient", "split")  # columns with a meaning of their own
SPLITS = ("train", "val", "test")
LONGEST_SIDE = {2: 64, 3: 32}  # of a picture as it is kept, unless dataset.yaml names a patch
MULTIPLE = {2: (8, 8), 3: (4, 8, 8)}  # of the patch's sides: networks halve them three times, twice along z
FOLDS, SEED = 5, 0
LEAST = {"train": 5, "val": 2, "test": 3}  # patients of each class, or twice as many in all where there is a number
IN_A_FOLD = 5  # patients of each class in a fold, or seeds do not rotate folds
SHARES = 8  # parts of the patients where folds do not rotate: 5 to train on, 1 to validate, 2 to test


@dataclass(frozen=True)
class Added:
    """A set that was added: what is known of it, its cases, and what there is to say about them."""

    own: Own
    table: pd.DataFrame
    notes: list[str]


def add(name: str, folder: Path | str, tell: Callable[[str], None] = lambda text: None) -> Added:
    """Checks a folder and adds it to the project under a name, in place of what had that name.

    tell: called with a sentence now and then while files are read.   Raises DataError for the first fault.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or name.endswith("-twin") or "-on-" in f"-{name}-":
        raise DataError(
            f"{name!r}: a data set's name is lower-case letters and digits joined by '-', without twin or on"
        )
    if name in registry.names() or name == "networks":
        raise DataError(f"{name!r} is the name of a data set of the library; choose another")
    folder = Path(folder).expanduser().resolve()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; it holds {TABLE} and the pictures that it names")
    table, settings = cases_table(folder / TABLE), settings_of(folder / SETTINGS)
    target = "label" if "label" in table else "number"
    table, content = _looked_at(folder, table, tell)
    repeats = _twins(table)
    colour = bool(table["colour"].any())
    patch, spacing, notes = _geometry(table, settings)
    table, folds, said = _split(table.rename(columns={target: "target"}), target)
    boxes = _boxes(table, target, spacing)
    decides = ["image", "target", "patient", "split", "fold", *(c for c in own_boxes.COLUMNS if c in table)]
    parts = table[decides].to_csv(index=False)
    chosen = Own(
        name=name, folder=str(folder), target=target, title=settings.title or name, case=settings.case,
        licence=settings.licence, cite=settings.citation, unit=settings.unit, patch=patch, spacing_mm=spacing,
        window=settings.window, colour=colour, folds=folds, files=own.state_of(folder, table["image"].tolist()),
        content=hashlib.sha256((content + parts).encode()).hexdigest(),
    )  # fmt: skip
    files.write(own.home() / f"{name}.parquet", table.to_parquet(index=False))
    files.write_json(own.home() / f"{name}.json", own.as_json(chosen))
    return Added(chosen, table, [*notes, *said, *repeats, *boxes])


def cases_table(path: Path) -> pd.DataFrame:
    """The table, checked without looking at a picture: images, targets, patients, splits."""
    text = dict.fromkeys(("image", "patient", "split", "label", "number"), str)
    table = read_table(path, ("image", "patient"), HINT, dtype=text, keep_default_na=False, na_values={})
    if table.empty:
        raise DataError(f"{path}: has no rows; {HINT}")
    if ("label" in table) == ("number" in table):
        both = "both label and number" if "label" in table else "neither label nor number"
        raise DataError(f"{path}: has {both}; a set has one of them: label is 0 or 1, number is what is measured")

    def refuse(wrong: pd.Series, column: str, right: str) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            value = table[column].iloc[row]
            shown = f"is {value!r}" if str(value).strip() else "is empty"
            raise DataError(f"{path}: row {row + 2}: {column} {shown}; {right}")

    for column in ("image", "patient", *(["split"] if "split" in table else [])):
        table[column] = table[column].str.strip()
    refuse(table["image"] == "", "image", "every row names a picture")
    refuse(table["image"].duplicated(), "image", "that row is there twice; a picture is a case once")
    refuse(table["patient"] == "", "patient", "every case names its patient, by any text, so that no patient is split")
    if "label" in table:
        refuse(~table["label"].isin(["0", "1", "0.0", "1.0"]), "label", "a label is 0 or 1")
        table["label"] = table["label"].astype(float).astype(int)
    else:
        number = pd.to_numeric(table["number"], errors="coerce")
        refuse(~np.isfinite(number), "number", "a number is written as 12.5, without a unit")
        refuse(number < 0, "number", "numbers are 0 or more here; add a constant to all of them")
        table["number"] = number.astype(float)
    if "split" in table:
        refuse(~table["split"].isin(SPLITS), "split", f"a split is {', '.join(SPLITS)}; or leave the column out")
        several = table.groupby("patient")["split"].nunique().loc[lambda n: n > 1]
        if len(several):
            raise DataError(f"{path}: patient {several.index[0]} is in {several.iloc[0]} splits; a patient is in one")
    for column in [c for c in table if c not in KNOWN]:  # numbers where all that is said is a number
        number, said = pd.to_numeric(table[column], errors="coerce"), table[column].astype(str).str.strip() != ""
        table[column] = number if (np.isfinite(number) == said).all() else table[column].astype(str)
    if table["patient"].nunique() == 1:
        raise DataError(f"{path}: all cases are of patient {table['patient'].iloc[0]}; nothing can be tested on others")
    return table


class Named(dict):
    """The settings of dataset.yaml, by attribute."""

    __getattr__ = dict.__getitem__


def settings_of(path: Path) -> Named:
    """What dataset.yaml says, checked; defaults where it says nothing, or is absent. Raises DataError."""
    from pydantic import BaseModel, ConfigDict, Field, ValidationError

    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        title: str = ""
        case: Annotated[str, Field(pattern=r"^[a-z ]+$")] = "case"
        licence: str = ""
        citation: str = ""
        unit: str = ""
        spacing_mm: list[Annotated[float, Field(gt=0)]] | None = None
        window: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
        patch: Annotated[list[Annotated[int, Field(ge=4, le=512)]], Field(min_length=2, max_length=3)] | None = None

    try:
        raw = strictyaml.load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found = Named(Settings.model_validate(raw or {}).model_dump())
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        known = ", ".join(Settings.model_fields)
        raise DataError(f"{path}: {where}: {fault['msg']}; its keys are {known}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read as YAML ({first_line(error)})") from error
    if found.window is not None and not found.window[0] < found.window[1]:
        raise DataError(f"{path}: window {found.window}: the first is what becomes black, the second white")
    return Named(found | {k: found[k] and tuple(found[k]) for k in ("window", "patch", "spacing_mm")})


def _looked_at(folder: Path, table: pd.DataFrame, tell: Callable[[str], None]) -> tuple[pd.DataFrame, str]:
    """The table with what the files say of each case, and a hash of all their bytes."""
    absent = [name for name in table["image"] if not (folder / name).is_file()]
    if absent:
        more = f" ({len(absent):,} such rows)" if len(absent) > 1 else ""
        raise DataError(f"{folder / absent[0]}: no such file, but {TABLE} names it{more}")
    rows, whole = [], hashlib.sha256()
    for number, name in enumerate(table["image"]):
        if number and number % 1000 == 0:
            tell(f"looked at {number:,} of {len(table):,} pictures")
        picture = pictures.read(folder / name)
        mark = hashlib.sha256(np.ascontiguousarray(picture.values).tobytes() + str(picture.size).encode()).hexdigest()
        whole.update(f"{name}\0{mark}\n".encode())
        shape = dict(zip(("shape_z", "shape_y", "shape_x")[-len(picture.size) :], picture.size, strict=True))
        mm = picture.spacing_mm or (np.nan,) * len(picture.size)
        spacing = dict(zip(("spacing_z", "spacing_y", "spacing_x")[-len(picture.size) :], mm, strict=True))
        said = {"scanner of file": picture.scanner, "bytes": (folder / name).stat().st_size}
        first = {"axes": len(picture.size), "stored in colour": picture.colour, "colour": not picture.grey}
        rows.append(shape | spacing | said | first | {"content": mark})
    found = pd.DataFrame(rows, index=table.index)
    _alike(folder, table["image"], found["axes"], {2: "on the plane", 3: "in space"})
    # pictures saved as RGB are grey if all of them are
    told = found["colour"] | (found["stored in colour"] & found["colour"].any())
    _alike(folder, table["image"], told, {False: "grey", True: "in colour"})
    named = [column for column in found if column in table]
    table = table.rename(columns={column: f"{column} of table" for column in named})
    return table.join(found.assign(colour=told).drop(columns="stored in colour")), whole.hexdigest()


def _alike(folder: Path, images: pd.Series, value: pd.Series, words: dict) -> None:
    if value.nunique() > 1:
        one, other = (images[value == v].iloc[0] for v in value.unique()[:2])
        kinds = [words[v] for v in value.unique()[:2]]
        raise DataError(f"{folder / one} is {kinds[0]}, {other} is {kinds[1]}; the pictures of a set are of one kind")


def _geometry(table: pd.DataFrame, settings: Named) -> tuple[tuple[int, ...], tuple[float, ...] | None, list[str]]:
    """The patch, its spacing if pictures have a size in mm, and what is said of it."""
    axes = int(table["axes"].iloc[0])
    letters = ("z", "y", "x")[-axes:]
    shape = table[[f"shape_{a}" for a in letters]].to_numpy(float)
    mm = table[[f"spacing_{a}" for a in letters]].to_numpy(float)
    known, longest = bool(np.isfinite(mm).all()), LONGEST_SIDE[axes]
    if settings.patch and len(settings.patch) != axes:
        raise DataError(
            f"{SETTINGS}: patch {list(settings.patch)} has {len(settings.patch)} sides, pictures {axes} axes"
        )
    if settings.spacing_mm and (not known or len(settings.spacing_mm) != axes):
        fault = f"has {len(settings.spacing_mm)} numbers, pictures have {axes} axes" if known else (
            "cannot be met: the files do not say the size of their voxels, so leave it out")  # fmt: skip
        raise DataError(f"{SETTINGS}: spacing_mm {list(settings.spacing_mm)} {fault}")
    middle = np.median(shape * mm if known else shape, axis=0)  # the usual extent, in mm or voxels
    if settings.patch:
        patch = settings.patch
    else:
        fine = np.median(shape, axis=0) * (
            1 if not settings.spacing_mm else np.median(mm, axis=0) / settings.spacing_mm
        )
        scale = min(1.0, longest / fine.max())
        patch = tuple(max(k, round(side * scale / k) * k) for side, k in zip(fine, MULTIPLE[axes], strict=True))
    odd = [side for side, k in zip(patch, MULTIPLE[axes], strict=True) if side % k]
    if odd:
        raise DataError(
            f"{SETTINGS}: patch {list(patch)}: sides are multiples of {', '.join(map(str, MULTIPLE[axes]))}"
        )
    spacing = settings.spacing_mm or (tuple(round(float(v), 4) for v in middle / patch) if known else None)
    sizes, size = len(np.unique(shape, axis=0)), " x ".join(map(str, patch))
    mixed = f"{sizes} sizes" if sizes > 1 else "one size"
    if known:
        how = f"cut about their middle to {size} voxels of {' x '.join(f'{v:g}' for v in spacing)} mm"
    else:
        how = f"stretched or shrunk to {size}" if (shape != patch).any() else f"kept at {size}"
    return tuple(patch), spacing, [f"pictures have {mixed}; they are {how}"]


def _split(table: pd.DataFrame, target: str) -> tuple[pd.DataFrame, int, list[str]]:
    """The parts of the data: the table's own, five folds that seeds rotate, or one split, as the patients allow."""
    groups = table["patient"].to_numpy(str)
    if target == "label":
        kinds = {f"label {v}": np.unique(groups[table["target"] == v]) for v in (0, 1)}
        positive = set(kinds["label 1"])
        strata = np.array([group in positive for group in groups], int)
    else:
        kinds = {"": np.unique(groups)}
        mean = table.groupby("patient")["target"].transform("mean")
        strata = pd.qcut(mean.rank(method="dense"), 4, labels=False, duplicates="drop").to_numpy(int)
    factor = 1 if target == "label" else 2
    if "split" in table:
        fold, folds = np.zeros(len(table), int), 0
        split, how = table["split"].to_numpy(str), "the table's own split"
    else:
        fold, folds = patient_draws.stratified_fold(groups, strata, FOLDS, SEED), FOLDS
        fewest = min(len(np.unique(groups[(fold == f) & np.isin(groups, who)])) for f in range(FOLDS) for who in
                     kinds.values())  # fmt: skip
        split, how = part_of_fold(fold, FOLDS), f"{FOLDS} parts of the patients, which seeds rotate"
        if fewest < IN_A_FOLD * factor:
            part = patient_draws.stratified_fold(groups, strata, SHARES, SEED)
            split = np.array([*["test"] * 2, "val", *["train"] * (SHARES - 3)])[part]
            fold, folds, how = np.zeros(len(table), int), 0, "one split of the patients"
    for name in SPLITS:
        for kind, who in kinds.items():
            have, need = len(np.unique(groups[(split == name) & np.isin(groups, who)])), LEAST[name] * factor
            if have < need:
                of = f" with {kind}" if kind else ""
                raise DataError(
                    f"{TABLE}: {len(who)} patients{of}, of whom {have} would be in {name}, are too few; {need} are "
                    f"needed there, and {sum(LEAST.values()) * factor} in all"
                )
    table = table.assign(split=split, fold=fold)
    counts = ", ".join(f"{name} {_count(table[split == name], target)}" for name in SPLITS)
    stratified = "" if "table" in how else f", stratified by {target}"
    first = " of the first seed" if folds else ""
    return table, folds, [f"split by patient{stratified}: {how}; parts{first}: {counts}"]


def _boxes(table: pd.DataFrame, target: str, spacing: tuple[float, ...] | None) -> list[str]:
    """Whether boxes on the plane can be used, if there are any."""
    if target != "label" or int(table["axes"].iloc[0]) != 2 or not set(own_boxes.COLUMNS) & set(table):
        return []
    why = own_boxes.why_not(table, spacing)
    return [f"boxes x, y, w, h: not used: {why}" if why else "boxes x, y, w, h: curriculum can use them"]


def _count(part: pd.DataFrame, target: str) -> str:
    positive = f", {int(part['target'].sum())} positive" if target == "label" else ""
    return f"{len(part)} of {part['patient'].nunique()} patients{positive}"


def _twins(table: pd.DataFrame) -> list[str]:
    """Refuses the same picture for two patients; says how often it is there twice for one."""
    again = table[table["content"].duplicated(keep=False)]
    if again.empty:
        return []
    people = again.groupby("content")["patient"].nunique()
    if (people > 1).any():
        names = again.loc[again["content"] == people[people > 1].index[0], ["image", "patient"]].to_numpy()
        (one, first), (other, second) = names[0], names[1]
        raise DataError(
            f"{TABLE}: {one} (patient {first}) and {other} (patient {second}) are the same picture; leave one out, or "
            f"give both one patient ({int((people > 1).sum())} such pictures)"
        )
    return [f"{len(again) - again['content'].nunique()} pictures are there again for the same patient"]
