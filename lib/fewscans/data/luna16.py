"""LUNA16 as it is published: ten folds of CT scans, the nodules in them, and the candidates to be told apart.

subset0 ... subset9 hold the scans (UID.mhd and UID.raw); the lists are CSV files, world coordinates in mm, x y z, at
the root or in the folders that LUNA16's archives and their mirrors unpack to. `read` believes nothing and stops at the
first fault; `check_copy` lists all that a copy lacks. malignancy.csv is ours and optional: a grade per annotation, of
which LIDC-IDRI has the readers' and LUNA16 has none.
Setio et al., Medical Image Analysis 42:1-13 (2017); https://luna16.grand-challenge.org/Data/.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data import mhd
from fewscans.errors import DataError

SUBSETS = 10
SPLITS = {**dict.fromkeys(range(6), "train"), 6: "val", **dict.fromkeys(range(7, 10), "test")}  # LUNA16's own folds
XYZ = ["coordX", "coordY", "coordZ"]
ANNOTATIONS, EXCLUDED, SERIES, MALIGNANCY = (
    "annotations.csv", "annotations_excluded.csv", "seriesuids.csv", "malignancy.csv",
)  # fmt: skip
CANDIDATES = ("candidates_V2.csv", "candidates.csv")  # LUNA16 keeps the first version for completeness only
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
    for name in (SERIES, ANNOTATIONS, EXCLUDED):
        if name not in lists:
            raise DataError(f"{folder}: {name} is missing; LUNA16 has it {_whence(name)}")
    candidates_file = next((name for name in CANDIDATES if name in lists), None)
    if candidates_file is None:
        raise DataError(f"{folder}: {CANDIDATES[0]} is missing, and so is {CANDIDATES[1]}; LUNA16 has it at its root")
    series = _series(lists[SERIES])
    files = _scans(folder)
    _agree(folder, lists[SERIES], series, files)
    headers = {uid: mhd.read_header(path) for uid, (_, path) in files.items()}
    for header in headers.values():
        mhd.check_size(header)
    tables = {name: _table(lists[name], name) for name in (ANNOTATIONS, EXCLUDED, candidates_file)}
    for name, table in tables.items():
        _known_series(lists[name], table, set(series))
    for name in (ANNOTATIONS, candidates_file):  # an excluded finding outside its scan harms nothing
        _inside(lists[name], tables[name], headers)
    grades = _table(lists[MALIGNANCY], MALIGNANCY) if MALIGNANCY in lists else None
    used = [lists[name] for name in (SERIES, *tables, MALIGNANCY) if name in lists]
    return Luna16(
        path=folder,
        scans=pd.DataFrame(
            {"series": list(files), "subset": [n for n, _ in files.values()], "path": [p for _, p in files.values()]}
        ),
        headers=headers,
        annotations=_graded(lists, tables[ANNOTATIONS], grades),
        excluded=tables[EXCLUDED],
        candidates=tables[candidates_file],
        candidates_file=candidates_file,
        fingerprint=_fingerprint(used, files, headers),
    )


def check_copy(folder: Path | str) -> dict:
    """All that a copy lacks of the published LUNA16, at once.

    Returns: complete (bool); lacks (list of sentences, empty if complete); counts (int by name: scans, annotations,
             excluded, candidates and positive of the version that would be used, and scans in each subset); fingerprint
             (str, as `Luna16.fingerprint`, or "" if the folder cannot be read).
    """
    folder = Path(folder)
    if not folder.is_dir():
        return {"complete": False, "lacks": [f"{folder}: no such folder"], "counts": {}, "fingerprint": ""}
    lacks: list[str] = []
    counts: dict[str, int] = {}
    lists = _lists(folder)
    _check_lists(folder, lists, lacks, counts)
    found, twice = _find_scans(folder)
    lacks += [f"{first} and {second}: one series in two places; remove one" for first, second in twice]
    _check_scans(folder, lists, found, lacks, counts)
    fingerprint = ""
    try:
        fingerprint = read(folder).fingerprint
    except DataError as error:
        if not lacks:  # else it is among what was said already, or follows from it
            lacks.append(str(error))
    return {"complete": not lacks, "lacks": lacks, "counts": counts, "fingerprint": fingerprint}


def _check_lists(folder: Path, lists: dict[str, Path], lacks: list[str], counts: dict[str, int]) -> None:
    candidates = next((name for name in CANDIDATES if name in lists), CANDIDATES[0])
    named = {SERIES: "series", ANNOTATIONS: "annotations", EXCLUDED: "excluded", candidates: "candidates"}
    for name, what in named.items():
        if name not in lists:
            packed = folder / f"{Path(name).stem}.zip"
            remedy = f"unpack {packed.name}" if packed.is_file() else f"LUNA16 has it {_whence(name)}"
            lacks.append(f"{name} is missing; {remedy}")
            continue
        try:
            table = _series(lists[name]) if name == SERIES else _table(lists[name], name)
        except DataError as error:
            lacks.append(str(error))
            continue
        counts[what] = len(table)
        if len(table) != PUBLISHED[name]:
            lacks.append(f"{lists[name]}: {len(table):,} rows, published are {PUBLISHED[name]:,}; download it again")
        if name == candidates:
            counts["positive"] = positive = int(table["class"].sum())
            if positive != PUBLISHED_POSITIVE[name]:
                lacks.append(
                    f"{lists[name]}: {positive:,} candidates are of class 1, published are {PUBLISHED_POSITIVE[name]:,}"
                )


def _check_scans(
    folder: Path,
    lists: dict[str, Path],
    found: dict[str, tuple[int, Path]],
    lacks: list[str],
    counts: dict[str, int],
) -> None:
    counts["scans"] = len(found)
    for subset in range(SUBSETS):
        counts[f"subset{subset}"] = number = sum(n == subset for n, _ in found.values())
        if not number:
            packed = (folder / f"subset{subset}.zip").is_file()
            remedy = f"{'' if packed else 'download and '}unpack subset{subset}.zip"
            lacks.append(f"subset{subset} is missing or empty; {remedy}")
        elif number < SCANS_PER_SUBSET:
            lacks.append(
                f"subset{subset} has {number} scans, published are {SCANS_PER_SUBSET} or more; unpack it again"
            )
    for _, path in found.values():
        try:
            mhd.check_size(mhd.read_header(path))
        except DataError as error:
            lacks.append(str(error))
    try:
        series = set(_series(lists[SERIES])) if SERIES in lists else set(found)
    except DataError:
        return  # said already
    absent, extra = sorted(series - set(found)), sorted(set(found) - series)
    if absent:
        lacks.append(f"{len(absent)} of {len(series)} listed scans are in no subset: {_few(absent)}")
    if extra:
        lacks.append(f"{len(extra)} scans are in no list: {_few(extra)}")


def _lists(folder: Path) -> dict[str, Path]:
    """Where each CSV is; the folders are looked through in the order of FOLDERS."""
    places = [(name, folder / inside / name) for inside in FOLDERS for name in (SERIES, *COLUMNS)]
    return {name: path for name, path in reversed(places) if path.is_file()}


def _whence(name: str) -> str:
    return "in its evaluation script's folder annotations/" if name in (EXCLUDED, SERIES) else "at its root"


def _find_scans(folder: Path) -> tuple[dict[str, tuple[int, Path]], list[tuple[Path, Path]]]:
    """Series → (subset, header), ascending, and the pairs of files that are of one series."""
    found: dict[str, tuple[int, Path]] = {}
    twice = []
    for subset in range(SUBSETS):
        inside = folder / f"subset{subset}"
        for path in sorted(
            [*inside.glob("*.mhd"), *inside.glob(f"subset{subset}/*.mhd")]
        ):  # as some unpackers leave it
            uid = path.name.removesuffix(".mhd")
            if uid.startswith("."):
                continue  # what macOS adds to archives
            if uid in found:
                twice.append((found[uid][1], path))
            else:
                found[uid] = (subset, path)
    return dict(sorted(found.items())), twice


def _scans(folder: Path) -> dict[str, tuple[int, Path]]:
    found, twice = _find_scans(folder)
    if twice:
        raise DataError(f"{twice[0][0]} and {twice[0][1]}: one series in two places; remove one of them")
    return found


def _series(path: Path) -> list[str]:
    """The listed series: one a line, no header."""
    lines = _text(path).split()
    if lines and lines[0] == "seriesuid":  # LUNA16's has no header, but a copy saved from a spreadsheet may
        lines = lines[1:]
    if not lines:
        raise DataError(f"{path}: is empty; it lists the series, one a line")
    repeated = pd.Series(lines)
    repeated = repeated[repeated.duplicated()]
    if len(repeated):
        raise DataError(f"{path}: {repeated.iloc[0]} is listed twice; each series has one line")
    return lines


def _agree(folder: Path, source: Path, series: list[str], files: dict) -> None:
    absent, extra = sorted(set(series) - set(files)), sorted(set(files) - set(series))
    if absent:
        raise DataError(
            f"{folder}: {len(absent)} of {len(series)} series in {source.name} have no .mhd in subset0 to subset9 "
            f"({_few(absent)}); complete the copy: fewscans data verify luna16 tells what it lacks"
        )
    if extra:
        raise DataError(f"{files[extra[0]][1]}: its series is not in {source}; remove the file, or add it to the list")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); copy it again") from error


def _table(path: Path, name: str) -> pd.DataFrame:
    """One CSV, its columns present and its values possible."""
    columns = COLUMNS[name]
    form = {"dtype": {"seriesuid": str}, "encoding": "utf-8-sig", "low_memory": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the first would shift columns
            table = pd.read_csv(path, index_col=False, **form)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:  # parser and decoding errors are ValueErrors
        cause = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: cannot be read as CSV ({cause}); it has the columns {','.join(columns)}") from error
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise DataError(f"{path}: column '{lacking[0]}' is missing; LUNA16's has {','.join(columns)}")
    table = table[columns]
    _refuse(path, table, table["seriesuid"].isna(), "seriesuid", "it must name the scan")
    for column in columns[1:]:
        values = pd.to_numeric(table[column], errors="coerce").astype(float)
        _refuse(path, table, ~np.isfinite(values), column, "it must be a number")
        table = table.assign(**{column: values})
    last = columns[-1]
    if last == "diameter_mm":
        _refuse(path, table, table[last] == 0, last, "it must be above 0 mm, or -1 where it is unknown")
        return table
    _refuse(path, table, ~table[last].isin((0, 1)), last, "it must be 0 or 1")
    again = np.flatnonzero(table.duplicated(columns[:-1]))
    if len(again):
        row = table.iloc[again[0]]
        first = int(np.flatnonzero((table[columns[:-1]] == row[columns[:-1]]).all(axis=1))[0])
        raise DataError(
            f"{path}: line {again[0] + 2} is at the place of line {first + 2}, {_joined(row[XYZ])} mm in scan "
            f"{row['seriesuid']}; a place is listed once, remove one of the two"
        )
    return table.astype({last: "int64"})


def _refuse(path: Path, table: pd.DataFrame, wrong: pd.Series, column: str, right: str) -> None:
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{path}: {column} is {table[column].iloc[first]} in line {first + 2}; {right}")


def _known_series(path: Path, table: pd.DataFrame, series: set[str]) -> None:
    unknown = ~table["seriesuid"].isin(series)
    _refuse(path, table, unknown, "seriesuid", f"it is not in {SERIES}")


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
                raise DataError(
                    f"{path}: line {line} is at no annotation of {ANNOTATIONS}; coordinates must be the same"
                )
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


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
