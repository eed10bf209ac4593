"""What a reader hands to an experiment (`Cases`), what it is asked for (`Cut`), and what is known of a data set.

Every module of this package that reads a published layout ends in `DATASET`, its record. The registry finds it by name.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import lzma
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fewscans import files
from fewscans.errors import DataError, ParamsError

REFERENCE = {"kind": "str", "scan": "str", "nodule": "str", "case": "str", "malignant": "float64"}  # of `truth`
# What zip files and their members raise: cut short, damaged, encrypted, packed by a method that Python does not know.
UNZIPPED = (
    OSError, EOFError, RuntimeError, NotImplementedError, ValueError, LookupError, MemoryError, OverflowError,
    struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
UNPACKED = (*UNZIPPED, SyntaxError, TypeError, tokenize.TokenError)  # what the arrays of an .npz raise besides
ABOUT = "about "  # before the names of `about`'s columns in a kept file


@dataclass(frozen=True, eq=False)
class Cases:
    """Cases of one data set, cut to one size, with who they are and which split they belong to.

    Images are uint8, (n, H, W), (n, H, W, 3) or (n, D, H, W), possibly a memory map. Axes in space are the patient's.
    """

    images: np.ndarray
    target: np.ndarray  # (n,) int64 labels, 0 or 1; or float64 numbers, 0 or more, in `unit`
    case: np.ndarray  # (n,) str, unique
    group: np.ndarray  # (n,) str, the patient or scan
    split: np.ndarray  # (n,) str, "train", "val" or "test"; other names belong to no split
    fingerprint: str  # of what decides the content: the files and how they were cut
    path: Path
    unit: str | None = None  # of the numbers, such as "ml"; None for labels
    spacing_mm: np.ndarray | None = None  # (n, 3) float64, z y x, of the images' voxels
    about: pd.DataFrame = field(default_factory=pd.DataFrame)  # what else is known, a row a case in the same order
    truth: pd.DataFrame | None = None  # what FROC must know of the test split; None where it does not apply
    left_out: tuple[str, ...] = ()  # cases of the data set that are not among these; their reader says why

    def __len__(self) -> int:
        return len(self.target)

    def indices(self, split: str, repository: bool = False) -> np.ndarray:
        """Where the cases of one split are, (k,) ascending.

        repository: of the source's own split, which leaks. Raises ValueError where there is no such split.
        """
        if repository and "repository_split" not in self.about:
            raise ValueError(f"{self.path} has no second split")
        return np.flatnonzero((self.about["repository_split"].to_numpy(str) if repository else self.split) == split)

    def intensities(self, index: np.ndarray) -> np.ndarray:
        """Images of some cases as float32 in [0, 1]."""
        return self.images[index].astype(np.float32) / 255

    def reference(self) -> pd.DataFrame:
        """Scans, nodules, hits and excluded marks of the test split; no rows where FROC does not apply."""
        return pd.DataFrame(columns=list(REFERENCE)).astype(REFERENCE) if self.truth is None else self.truth


@dataclass(frozen=True)
class Cut:
    """How an experiment wants its images.

    size: voxels of an image as networks see it, (H, W) or (D, H, W).   downsample: images are averaged over blocks of
    so many voxels a side to get there.   spacing_mm: between voxels, in the order of `size`; None: as published.
    margin: voxels around an image, per axis, for augmentation to move in.   negatives_per_scan, train_negatives: how
    many candidates without a nodule are drawn, of each scan and of all training scans; None: all.   unit: of numbers
    that are published in several.
    Raises:  ParamsError for values that make no image.
    """

    size: tuple[int, ...]
    downsample: int = 1
    spacing_mm: tuple[float, ...] | None = None
    margin: tuple[int, ...] = ()
    negatives_per_scan: int | None = None
    train_negatives: int | None = None
    unit: str | None = None

    def __post_init__(self):
        def whole(values: Sequence, least: int) -> bool:
            return all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in values)

        axes, each = len(self.size), f"one for each axis of {self.size}"
        if axes not in (2, 3) or not whole((*self.size, self.downsample), 1):
            raise ParamsError(f"size {self.size}: it must be whole numbers of voxels, (D, H, W) or (H, W)")
        spacing = self.spacing_mm
        if spacing is not None and (len(spacing) != axes or not all(np.isfinite(s) and s > 0 for s in spacing)):
            raise ParamsError(f"spacing_mm {spacing}: it must be {axes} numbers above 0, {each}")
        if self.margin and (len(self.margin) != axes or not whole(self.margin, 0)):
            raise ParamsError(f"margin {self.margin}: it must be whole numbers from 0, {each}")
        for name in ("negatives_per_scan", "train_negatives"):
            number = getattr(self, name)
            if number is not None and not whole((number,), 1):
                raise ParamsError(f"{name} {number!r}: it must be a whole number above 0, or None")

    @property
    def window(self) -> tuple[int, ...]:
        """The size before averaging."""
        return tuple(side * self.downsample for side in self.size)

    def spacing_for(self, dataset: str) -> tuple[float, ...]:
        """The spacing, for a data set that is cut to one. Raises ParamsError if there is none."""
        if self.spacing_mm is None:
            raise ParamsError(f"spacing_mm is missing: the patches of {dataset} are cut at a spacing, (z, y, x) in mm")
        return self.spacing_mm


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before opening it. Nothing here decides a run."""

    name: str
    title: str  # what its cases are together: "LUNA16 candidate patches"
    case: str  # one of them: "patch"
    group: str  # what is split and resampled whole: "scan"
    shows: str  # what the images show and the answer is about; networks are asked about nothing else
    target: Literal["label", "number"]
    read: Callable[[Path], Any]  # a copy, as the layout's own type
    cases: Callable[[Path, Cut, Path | None], Cases]  # a copy cut for networks; the folder is for what is kept
    licence: str = ""
    cite: str = ""
    source: str = ""  # where a copy comes from
    downloads: Mapping[str, str] = field(default_factory=dict)  # address → "md5:…" of what `data fetch` gets
    attribution: str = ""  # published with results computed from it: origin, licence, changes, citations
    people: str = ""  # the study whose patients it shows; data sets of one study share patients
    unit: str = ""  # of the number; a count has none
    twin: str = ""  # the module of fewscans.twins that writes its synthetic stand-in
    control: bool = False  # no public data set: it exists as a twin only
    score: str = "auc"  # what networks are compared by: auc, froc, lesion_froc, icc, mean_auc or auc:FINDING
    file: str = ""  # the file that is a copy; "" where a copy is a folder of many files
    folder: str = ""  # where it belongs under the data root, if not in a folder of its name
    marks: tuple[tuple[str, ...], ...] = ()  # of a folder: what marks it as a copy, each with the places it may lie
    check: Callable[[Path], Mapping[str, Any]] | None = None  # of a folder: what it holds and lacks
    size_bytes: int | None = None  # None: not known to us
    sha256: str | None = None  # of the copy behind our results, or of the publisher's
    md5: str | None = None  # the publisher's
    counts: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)  # split → (cases, positives if known)
    labels: Callable[[Any, str], np.ndarray] = lambda copy, split: copy.target[copy.indices(split)]

    @property
    def plural(self) -> str:
        """ "patches", "scans"."""
        return self.case + ("es" if self.case.endswith(("ch", "s", "x")) else "s")


def quantised(unit: np.ndarray) -> np.ndarray:
    """Intensities in [0, 1] as uint8, to the nearest of 256 values."""
    return np.rint(np.asarray(unit) * 255).astype(np.uint8)


def digest(settings: Mapping, files: Sequence[Path] = (), root: Path | None = None) -> str:
    """A hash of what decides a content: settings, and where files are given, each one's bytes and name below `root`."""
    if root is not None:
        digests = {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}
        settings = {"files": digests, **settings}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def ends(file: Path, size: int = 1 << 16) -> list:
    """A large file's length and a hash of as many bytes at either end: they stand for it in a fingerprint."""
    with file.open("rb") as stream:
        start, length = stream.read(size), stream.seek(0, os.SEEK_END)
        stream.seek(max(0, length - size))
        return [length, hashlib.sha256(start + stream.read()).hexdigest()]


def unlisted(folder: Path, sums: str = "SHA256SUMS") -> list[str]:
    """What a copy lacks of the files that its list of hashes names, or holds with other bytes, a sentence each.

    Raises OSError or ValueError for a list that cannot be read.
    """
    lines = (folder / sums).read_text("utf-8").splitlines()
    listed = {folder / name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    odd = [f for f, s in listed.items() if not f.is_file() or hashlib.sha256(f.read_bytes()).hexdigest() != s]
    return [f"{file} is absent, or not the file that {sums} lists" for file in odd]


def opened_zip(file: Path, remedy: str) -> zipfile.ZipFile:
    """Raises DataError for a file that is absent or no zip that can be read."""
    try:
        archive = zipfile.ZipFile(file)
        once(archive)
        return archive
    except UNZIPPED as error:
        raise DataError(f"{file}: absent, or no whole zip file ({first_line(error)}); {remedy}") from error


def array_of(npz: Any, key: str) -> np.ndarray:
    """An array of an open .npz. Raises ValueError for what is none: numpy hands on its bytes."""
    array = npz[key]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{key} is no array")
    return array


def once(archive: zipfile.ZipFile) -> None:
    """Raises ValueError for a zip with two members of one name: readers differ in which they take."""
    twice = [name for name, times in Counter(archive.namelist()).items() if times > 1]
    if twice:
        raise ValueError(f"{twice[0]} is in it twice")


def code_of(files: Sequence[str]) -> list[str]:
    """The code in some source files without its comments: what was kept before it changed is not taken for new."""
    return [ast.unparse(ast.parse(Path(file).read_text(encoding="utf-8"))) for file in files]


def first_line(error: Exception) -> str:
    """An error's message on one line, as it is repeated in ours."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def and_more(names: Sequence) -> str:
    """What follows the first of several names in an error."""
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def read_table(path: Path, columns: Sequence[str], hint: str, **options) -> pd.DataFrame:
    """A CSV file with at least these columns; options as for `pandas.read_csv`.

    Raises:  DataError for a file that is absent, is no table, or lacks a column. `hint` ends the sentence: it says what
             columns there are, or where to get the file.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; {hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the first would shift columns
            read = partial(pd.read_csv, path, index_col=False, encoding="utf-8-sig")
            table = read(**options)
            named = [] if "names" in options else read(header=None, nrows=1, dtype=str).iloc[0].dropna().tolist()
    except (OSError, ValueError, OverflowError, pd.errors.ParserWarning) as error:  # ValueError: parser and decoding
        raise DataError(f"{path}: cannot be read as CSV ({first_line(error)}); {hint}") from error
    again = [name for name, times in Counter(map(str.strip, named)).items() if times > 1 and name]
    if again:  # pandas would take the first and call the other one "x.1"
        raise DataError(f"{path}: the column {again[0]!r} is there twice; remove the wrong one; {hint}")
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(f"{path}: column '{missing[0]}' is missing; {hint}")
    return table


def read_json(path: Path, hint: str) -> Any:
    """A JSON file in UTF-8. Raises DataError for one that cannot be read, or that gives a key twice; `hint` ends it."""

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        if twice:
            raise ValueError(f"the key {twice[0]!r} is there twice")
        return dict(pairs)

    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=mapping)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({first_line(error)}); {hint}") from error


def report(lacks: Sequence[str], counts: Mapping[str, int] | None = None, fingerprint: str = "") -> dict[str, Any]:
    """What a copy holds and lacks, as `Dataset.check` returns it: complete, lacks, counts, fingerprint."""
    return {"complete": not lacks, "lacks": list(lacks), "counts": dict(counts or {}), "fingerprint": fingerprint}


def kept(
    cache: Path | str | None, settings: Mapping, path: Path, code: Sequence[str], make: Callable[[], dict[str, Any]]
) -> Cases:
    """Cases as they were cut the last time, or cut now and kept: unpacking hundreds of files takes longer than a run.

    A file in `cache` is named by the fingerprint and by the code, so a change of either makes a new one. It appears
    whole or not at all, may be removed at any time, and is made again if it is damaged. A machine without nibabel can
    train on it.
    Args:    cache: a folder, or None to keep nothing.   settings: what decides the cases; their fingerprint is made
             of it.   path: where the data set lies now.   code: the files of the modules that cut the cases.
             make: cuts them; the fields of `Cases` but for fingerprint and path.
    Raises:  DataError if the folder cannot be written.
    """
    fingerprint = digest(settings)
    if cache is None:
        return Cases(**make(), fingerprint=fingerprint, path=path)
    file = Path(cache) / f"{digest({'cases': fingerprint, 'code': code_of([*code, __file__])})[:32]}.npz"
    if file.is_file():
        try:
            return _load(file, fingerprint, path)
        except UNPACKED as error:
            warnings.warn(f"{file}: damaged scans ({first_line(error)}); they are cut again", stacklevel=3)
    cases = Cases(**make(), fingerprint=fingerprint, path=path)
    try:
        files.write(file, _packed(cases))
    except OSError as error:
        remedy = "make room there, or make its folder writable"
        raise DataError(f"{file.parent} cannot be written ({error.strerror}); {remedy}") from error
    return cases


def _packed(cases: Cases) -> bytes:
    arrays = {name: getattr(cases, name) for name in ("images", "target", "spacing_mm")}
    arrays |= {name: np.asarray(getattr(cases, name), dtype=str) for name in ("case", "group", "split")}
    arrays |= {"unit": None if cases.unit is None else np.array(cases.unit)}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    arrays["left_out"] = np.array(cases.left_out, dtype=str)
    for name, column in cases.about.items():
        arrays[ABOUT + name] = column.to_numpy() if column.dtype.kind in "iufb" else column.to_numpy(str)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _load(file: Path, fingerprint: str, path: Path) -> Cases:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as npz:
        arrays = {name: array_of(npz, name) for name in npz.files}
    about = pd.DataFrame({name.removeprefix(ABOUT): arrays.pop(name) for name in list(arrays) if ABOUT in name})
    arrays["unit"] = str(arrays["unit"]) if "unit" in arrays else None
    arrays["left_out"] = tuple(arrays.get("left_out", np.array([])).tolist())
    return Cases(**arrays, about=about, fingerprint=fingerprint, path=path)
