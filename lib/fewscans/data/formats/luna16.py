"""LUNA16 as it is published: ten folds of CT scans, the nodules in them, and the candidates to classify.

subset0 ... subset9 hold the scans (UID.mhd and UID.raw); the lists are CSV files, world coordinates in mm, x y z, at
the root or in the folders that LUNA16's archives and their mirrors unpack to. `read` believes nothing and stops at the
first fault; `check_copy` lists all that a copy lacks. malignancy.csv is ours and optional: a grade per annotation, of
which LIDC-IDRI has the readers' and LUNA16 has none.
Setio et al., Medical Image Analysis 42:1-13 (2017); https://luna16.grand-challenge.org/Data/.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import content
from fewscans.data.base import and_more, read_table, report
from fewscans.data.formats import mhd
from fewscans.data.listing import below, ending, entries, named
from fewscans.errors import DataError

SUBSETS = 10
SPLITS = {**dict.fromkeys(range(6), "train"), 6: "val", **dict.fromkeys(range(7, 10), "test")}  # LUNA16's own folds
XYZ = ["coordX", "coordY", "coordZ"]
ANNOTATIONS, EXCLUDED, SERIES, MALIGNANCY = (
    "annotations.csv", "annotations_excluded.csv", "seriesuids.csv", "malignancy.csv",
)  # fmt: skip
CANDIDATES = ("candidates_V2.csv", "candidates.csv")  # LUNA16 keeps the first version for completeness only
VOXELS = (".raw", ".zraw", ".mha")  # what holds voxels, and is no header that is read
FOLDERS = (".", "CSVFILES", "candidates_V2", "evaluationScript/annotations", "evaluation/annotations")
UNKNOWN_DIAMETER_MM = 10.0  # what the official evaluation takes for a diameter below 0

# Rows of the published lists; the numbers of positives are those of the two versions of the candidates.
PUBLISHED = {SERIES: 888, ANNOTATIONS: 1186, EXCLUDED: 35192, "candidates_V2.csv": 754975, "candidates.csv": 551065}
PUBLISHED_POSITIVE = {"candidates_V2.csv": 1557, "candidates.csv": 1351}
SCANS_PER_SUBSET = 88  # 888 in ten folds: 88 or 89 each
COLUMNS = {
    ANNOTATIONS: ["seriesuid", *XYZ, "diameter_mm"],
    EXCLUDED: ["seriesuid", *XYZ, "diameter_mm"],
    MALIGNANCY: ["seriesuid", *XYZ, "malignant"],
    **{name: ["seriesuid", *XYZ, "class"] for name in CANDIDATES},
}
HASHED_WHOLE = 1 << 30  # bytes of all scans together: a second
SAME_PLACE_MM = 0.01  # a grade belongs to the annotation at its coordinates, however many digits were written


@dataclass(frozen=True, eq=False)
class Luna16:
    """A checked folder in LUNA16's layout. Frames keep the rows and the row order of their files."""

    path: Path
    scans: pd.DataFrame  # series (ascending), subset (int), path (of the .mhd)
    headers: dict[str, mhd.Header]  # by series
    annotations: pd.DataFrame  # seriesuid, coordX, coordY, coordZ, diameter_mm, malignant (1.0, 0.0 or NaN: no grade)
    excluded: pd.DataFrame  # seriesuid, coordX, coordY, coordZ, diameter_mm: findings that count neither way
    candidates: pd.DataFrame  # seriesuid, coordX, coordY, coordZ, class (0 or 1)
    candidates_file: str
    fingerprint: str  # of lists, headers and scans; see `_fingerprint`


def read(folder: Path | str) -> Luna16:
    """Read the lists and the headers of all scans, and check that they agree.

    Raises:  DataError naming file, row and value: a missing column, a coordinate or diameter that is none, a class
             neither 0 nor 1, a row given twice, a series not listed, absent or there twice, a data file of the wrong
             size, a candidate or nodule outside its scan.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds LUNA16's subset0 to subset9")
    lists = _lists(folder)
    names = _names(lists)
    for name in names.values():
        if name not in lists:
            raise DataError(f"{folder}: {_absent(folder, name)}")
    series = _series(lists[SERIES])
    files, faults = _find_scans(folder)
    faults += _disagreements(folder, lists[SERIES], series, files)
    if faults:
        raise DataError(faults[0])
    headers = {uid: mhd.read_header(path) for uid, (_, path) in files.items()}
    for header in headers.values():
        mhd.check_size(header)
    tables = {what: _table(lists[name], name) for what, name in names.items() if name != SERIES}
    for what, table in tables.items():
        _refuse(lists[names[what]], table, ~table["seriesuid"].isin(series), "seriesuid", f"it is not in {SERIES}")
    for what in ("annotations", "candidates"):  # an excluded finding outside its scan harms nothing
        _inside(lists[names[what]], tables[what], headers)
    grades = _table(lists[MALIGNANCY], MALIGNANCY) if MALIGNANCY in lists else None
    used = [lists[name] for name in (*names.values(), MALIGNANCY) if name in lists]
    subsets, paths = zip(*files.values(), strict=True)
    return Luna16(
        path=folder, scans=pd.DataFrame({"series": list(files), "subset": subsets, "path": paths}), headers=headers,
        annotations=_graded(lists, tables["annotations"], grades), excluded=tables["excluded"],
        candidates=tables["candidates"], candidates_file=names["candidates"],
        fingerprint=_fingerprint(used, files, headers),
    )  # fmt: skip


def check_copy(folder: Path | str) -> dict[str, Any]:
    """All that a copy lacks of the published LUNA16, at once; see `base.report`.

    Counts: scans, annotations, excluded, candidates and positive of the version that would be used, and scans in each
    subset. The fingerprint is that of `Luna16`, or "" for a copy that lacks something.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return report([f"{folder}: no such folder"])
    lacks: list[str] = []
    try:
        lists = _lists(folder)
    except DataError as error:
        return report([str(error)])
    counts = _check_lists(folder, lists, lacks)
    counts |= _check_scans(folder, lists, lacks)
    fingerprint = ""
    if not lacks:  # else an error of reading is among them already, or follows from them
        with _noting(lacks):
            fingerprint = read(folder).fingerprint
    return report(lacks, counts, fingerprint)


def scan(header: Path | str) -> mhd.Volume:
    """One scan. Raises DataError for what `mhd.read` refuses, and values that cannot be a CT's (`content.scan`)."""
    volume = mhd.read(header)
    content.scan(str(header), volume.array)
    return volume


@contextmanager
def _noting(lacks: list[str]) -> Iterator[None]:
    """Adds the error that occurs inside, if one does."""
    try:
        yield
    except DataError as error:
        lacks.append(str(error))


def _check_lists(folder: Path, lists: dict[str, Path], lacks: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for what, name in _names(lists).items():
        if name not in lists:
            lacks.append(_absent(folder, name))
            continue
        with _noting(lacks):
            table = _series(lists[name]) if name == SERIES else _table(lists[name], name)
            counts[what] = n = len(table)
            if n != PUBLISHED[name]:
                lacks.append(f"{lists[name]}: {n:,} rows, published are {PUBLISHED[name]:,}; download it again")
            if what == "candidates":
                counts["positive"] = n = int(table["class"].sum())
                if n != PUBLISHED_POSITIVE[name]:
                    published = f"published are {PUBLISHED_POSITIVE[name]:,}"
                    lacks.append(f"{lists[name]}: {n:,} candidates are of class 1, {published}")
    return counts


def _check_scans(folder: Path, lists: dict[str, Path], lacks: list[str]) -> dict[str, int]:
    files, faults = _find_scans(folder)
    lacks += faults
    counts = {"scans": len(files)}
    for subset in range(SUBSETS):
        counts[f"subset{subset}"] = n = sum(number == subset for number, _ in files.values())
        if not n:
            packed = (folder / f"subset{subset}.zip").is_file()
            remedy = f"{'' if packed else 'download and '}unpack subset{subset}.zip"
            lacks.append(f"subset{subset} is missing or empty; {remedy}")
        elif n < SCANS_PER_SUBSET:
            lacks.append(f"subset{subset} has {n} scans, published are {SCANS_PER_SUBSET} or more; unpack it again")
    for _, path in files.values():
        with _noting(lacks):
            scan(path)
    with _noting([]):  # a list that cannot be read is among them already
        if SERIES in lists:
            lacks += _disagreements(folder, lists[SERIES], _series(lists[SERIES]), files)
    return counts


def _lists(folder: Path) -> dict[str, Path]:
    """Where each CSV is; the folders are looked through in the order of FOLDERS. DataError for two that differ."""
    found: dict[str, Path] = {}
    for inside in (folder / name for name in FOLDERS):
        for name in (SERIES, *COLUMNS) if inside.is_dir() else ():
            path = named(inside, name, [""])
            if path and found.setdefault(name, path).read_bytes() != path.read_bytes():
                raise DataError(f"{found[name]} and {path}: two lists of one name that differ; remove the wrong one")
    return found


def _names(lists: dict[str, Path]) -> dict[str, str]:
    """The lists that are read: what each holds, and its name."""
    candidates = next((name for name in CANDIDATES if name in lists), CANDIDATES[0])
    return {"series": SERIES, "annotations": ANNOTATIONS, "excluded": EXCLUDED, "candidates": candidates}


def _absent(folder: Path, name: str) -> str:
    packed, script = folder / f"{Path(name).stem}.zip", "in its evaluation script's folder annotations/"
    where = f"LUNA16 has it {script if name in (EXCLUDED, SERIES) else 'at its root'}"
    also = f", and so is {CANDIDATES[1]}" if name == CANDIDATES[0] else ""
    return f"{name} is missing{also}; {f'unpack {packed.name}' if packed.is_file() else where}"


def _find_scans(folder: Path) -> tuple[dict[str, tuple[int, Path]], list[str]]:
    """Series → (subset, header), ascending, and what is wrong, a sentence each: two files that are of one series, and
    what looks like a scan and would not be read.
    """
    found: dict[str, tuple[int, Path]] = {}
    faults = []
    known = {f"subset{subset}": subset for subset in range(SUBSETS)}
    for inside in entries(folder):
        if inside.name not in known:
            if inside.is_dir() and inside.name.lower().startswith("subset"):
                faults.append(f"{inside}: is none of subset0 to subset9, so it would not be read; rename or remove it")
            continue
        files = below(inside) if inside.is_dir() else [inside]
        headers = {file.with_suffix("") for file in files if ending(file, [".mhd"])}
        for path in files:
            place, uid = path.relative_to(inside).parts[:-1], path.name.removesuffix(ending(path, [".mhd"]))
            if not ending(path, [".mhd"]):
                if ending(path, VOXELS) and path.with_suffix("") not in headers:
                    faults.append(f"{path}: has no header beside it, {path.stem}.mhd; copy it again, or remove it")
                continue
            if place not in ((), (inside.name,)):  # the latter is some unpackers' folder
                faults.append(f"{path}: lies in a folder of {inside.name} and would not be read; move it up, or away")
            elif uid in found:
                faults.append(f"{found[uid][1]} and {path}: one series in two places; remove one of them")
            else:
                found[uid] = (known[inside.name], path)
    return dict(sorted(found.items())), faults


def _series(path: Path) -> list[str]:
    """The listed series: one a line, no header."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); copy it again") from error
    if lines and lines[0] == "seriesuid":  # LUNA16's has no header, but a copy saved from a spreadsheet may
        lines = lines[1:]
    if not lines:
        raise DataError(f"{path}: is empty; it lists the series, one a line")
    repeated = [uid for uid, n in Counter(lines).items() if n > 1]
    if repeated:
        raise DataError(f"{path}: {repeated[0]} is listed twice; each series has one line")
    return lines


def _disagreements(folder: Path, source: Path, series: list[str], files: dict) -> list[str]:
    """What scans are listed and absent, or there and not listed."""
    faults = []
    absent, extra = sorted(set(series) - set(files)), sorted(set(files) - set(series))
    if absent:
        fault = f"{len(absent)} of {len(series)} listed scans are in no subset, {absent[0]}{and_more(absent)}"
        faults.append(f"{folder}: {fault}; complete the copy")
    if extra:
        fault = f"its series is not in {source}{and_more(extra)}"
        faults.append(f"{files[extra[0]][1]}: {fault}; remove the file, or add it to the list")
    return faults


def _table(path: Path, name: str) -> pd.DataFrame:
    """One CSV, its columns present and its values possible."""
    columns = COLUMNS[name]
    options = {"dtype": {"seriesuid": str}, "low_memory": False}
    table = read_table(path, columns, f"LUNA16's has {','.join(columns)}", **options)[columns]
    _refuse(path, table, table["seriesuid"].isna(), "seriesuid", "it must name the scan")
    for column in columns[1:]:
        values = pd.to_numeric(table[column], errors="coerce").astype(float)
        _refuse(path, table, ~np.isfinite(values), column, "it must be a number")
        table = table.assign(**{column: values})
    last = columns[-1]
    if last == "diameter_mm":
        _refuse(path, table, table[last] == 0, last, "it must be above 0 mm, or -1 where it is unknown")
        if name == EXCLUDED:  # findings of several readers at one place
            return table
    else:
        _refuse(path, table, ~table[last].isin((0, 1)), last, "it must be 0 or 1")
    again = np.flatnonzero(table.duplicated(columns[:-1]))
    if len(again):
        row = table.iloc[again[0]]
        first = int(np.flatnonzero((table[columns[:-1]] == row[columns[:-1]]).all(axis=1))[0])
        raise DataError(
            f"{path}: line {again[0] + 2} is at the place of line {first + 2}, {_joined(row[XYZ])} mm in scan "
            f"{row['seriesuid']}; a place is listed once, remove one of the two"
        )
    return table if last == "diameter_mm" else table.astype({last: "int64"})


def _refuse(path: Path, table: pd.DataFrame, wrong: pd.Series, column: str, right: str) -> None:
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{path}: {column} is {table[column].iloc[first]} in line {first + 2}; {right}")


def _inside(path: Path, table: pd.DataFrame, headers: dict[str, mhd.Header]) -> None:
    places = table[XYZ].to_numpy()
    for uid, rows in table.groupby("seriesuid").indices.items():
        header, points = headers[uid], places[rows]
        voxels = header.world_to_voxel(points)
        outside = np.flatnonzero(((voxels < -0.5) | (voxels > np.array(header.shape) - 0.5)).any(axis=1))
        if len(outside):
            first = outside[0]
            raise DataError(
                f"{path}: line {rows[first] + 2} is outside its scan: {_joined(points[first])} mm is voxel "
                f"{_joined(voxels[first][::-1].round(1))} (x y z) of {header.path.name}, which has "
                f"{_joined(header.dim_size_xyz)}; coordinates are world mm, x y z"
            )


def _graded(lists: dict[str, Path], annotations: pd.DataFrame, grades: pd.DataFrame | None) -> pd.DataFrame:
    """The annotations with their grades, matched by place."""
    malignant = np.full(len(annotations), np.nan)
    if grades is not None:
        path, places = lists[MALIGNANCY], annotations[XYZ].to_numpy()
        rows_of = annotations.groupby("seriesuid").indices
        for line, (uid, *place, grade) in enumerate(grades.itertuples(index=False), start=2):
            rows = rows_of.get(uid, np.empty(0, int))
            near = rows[np.abs(places[rows] - place).max(axis=1, initial=0) <= SAME_PLACE_MM]
            if not len(near):
                raise DataError(f"{path}: line {line} is at no annotation of {ANNOTATIONS}; places must be the same")
            if not np.isnan(malignant[near]).all():
                raise DataError(f"{path}: line {line} grades an annotation a second time; remove one of the two")
            malignant[near] = grade
    return annotations.assign(malignant=malignant)


def _fingerprint(lists: list[Path], files: dict[str, tuple[int, Path]], headers: dict[str, mhd.Header]) -> str:
    """sha256 over the lists, the headers and the data files: of a large copy their sizes and four pages of each.

    100 GB are not read each time; the pages tell a scan that was written anew with other voxels.
    """
    digest = hashlib.sha256()
    for path in lists:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    sizes = {uid: header.data_file.stat().st_size for uid, header in headers.items()}
    whole = sum(sizes.values()) <= HASHED_WHOLE
    for uid, (subset, path) in files.items():
        digest.update(f"{uid} {subset} {sizes[uid]}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(mhd.LONGEST_HEADER))
        with headers[uid].data_file.open("rb") as file:
            if whole:
                digest.update(file.read())
                continue
            for part in (1, 3, 5, 7):
                file.seek(sizes[uid] * part // 8 // 4096 * 4096)
                digest.update(file.read(4096))
    return digest.hexdigest()


def _joined(values) -> str:
    return " ".join(f"{value:g}" for value in values)
