"""PatchCamelyon: 327,680 patches of lymph nodes, 96 pixels a side at about 0.97 µm, and whether the centre has tumour.

The folder has, for each split of train, valid and test, camelyonpatch_level_2_split_<split>_x.h5.gz and _y.h5.gz: HDF5
with one key, `x` (n, 96, 96, 3) uint8 and `y` (n, 1, 1, 1), 1 where the central 32 x 32 pixels hold a tumour pixel.
The tables camelyonpatch_level_2_split_<split>_meta.csv, if they are there, name each patch's slide (`wsi`). Files that
are unpacked, .h5, are read as they are; packed ones are unpacked once, below the cache, as HDF5 cannot be searched
behind gzip. Splits share no slide. Without the tables each patch is its own group, and intervals are
too narrow. A few patches may be of one colour: a black one is known in the copy of the set that Kaggle hands out.

Veeling et al., Rotation Equivariant CNNs for Digital Pathology, MICCAI 2018 (arXiv 1806.03962); slides: CAMELYON16.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewscans import paths
from fewscans.data import camelyon16, sources
from fewscans.data.base import Cases, Cut, Dataset, digest, ends, first_line, read_table, report
from fewscans.errors import DataError

SPLITS = {"train": "train", "valid": "val", "test": "test"}  # as the files call them, and as we do
SIDE, KEYS = 96, ("x", "y")
AGAIN = "download it again"
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, MemoryError)  # damaged HDF5
MOST_BLANK = 0.01  # of a copy's patches; HDF5 reads parts that were never written as black


def name_of(split: str, what: str) -> str:
    """A published file's name, without .gz."""
    return f"camelyonpatch_level_2_split_{split}_{what}"


@dataclass(frozen=True, eq=False)
class Stored:
    """Images in HDF5 files, one behind the other, read where they are asked for: an array (n, 96, 96, 3) to index."""

    files: tuple[Path, ...]
    lengths: tuple[int, ...]
    room: Path  # where packed files are unpacked
    ndim: int = 4
    dtype: np.dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self.lengths), SIDE, SIDE, 3)

    def __len__(self) -> int:
        return sum(self.lengths)

    def __getitem__(self, index) -> np.ndarray:
        """Some images, in the order asked for.   index: (k,) whole numbers."""
        index, first = np.atleast_1d(np.arange(len(self))[index]), 0
        out = np.empty((len(index), SIDE, SIDE, 3), np.uint8)
        for file, length in zip(self.files, self.lengths, strict=True):
            mine = np.flatnonzero((index >= first) & (index < first + length))
            if len(mine):
                mine = mine[np.argsort(index[mine], kind="stable")]
                out[mine] = _read(file, self.room, "x", index[mine] - first)
            first += length
        return out


def read(path: Path | str, cache: Path | None = None) -> Cases:
    """All patches; images stay on disk until they are asked for.

    Args:    path: the folder.   cache: where packed files are unpacked; beside the system's other temporary files if
             None.
    Returns: images (n, 96, 96, 3), label 1: tumour in the centre.   group: the slide, or the patch where no table
             names it.   split: the published one.
    Raises:  DataError naming the file: absent, cut short, no HDF5, without its key, of another shape or type, patches
             and labels of different numbers, no patches, a label that is neither 0 nor 1, a table of another length.
    """
    path = Path(path)
    room = Path(tempfile.gettempdir()) / "fewscans" if cache is None else Path(cache) / "unpacked"
    images, parts = [], []
    for split, ours in SPLITS.items():
        x, y = (_file(path, name_of(split, key)) for key in KEYS)
        shape, labels = _shape(x, room), _labels(y, room)
        if shape[0] != len(labels):
            raise DataError(f"{x}: holds {shape[0]} patches, {y.name} {len(labels)} labels; {AGAIN}")
        images.append((x, shape[0]))
        names = np.array([f"{split}{i:06d}" for i in range(len(labels))])
        parts.append((labels, names, _slides(path, split, names), np.full(len(labels), ours)))
    target, case, group, split = (np.concatenate(column) for column in zip(*parts, strict=True))
    marks = {name_of(s, key): ends(_file(path, name_of(s, key))) for s in SPLITS for key in KEYS}
    return Cases(
        images=Stored(*map(tuple, zip(*images, strict=True)), room), target=target, case=case, group=group, split=split,
        fingerprint=digest({"files": marks, "groups": group.tolist()}),
        path=path,
    )  # fmt: skip


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The patches at their published size; networks take the middle, and augmentation the rest."""
    return read(path, cache)


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy holds and lacks, each patch looked at: many of one colour are a fault; see `base.report`."""
    try:
        found, blank = read(folder, paths.build()), []  # where training looks for them
        for start in range(0, len(found), 4096):
            some = found.images[start : start + 4096]
            blank += found.case[start + np.flatnonzero((some == some[:, :1, :1]).all(axis=(1, 2, 3)))].tolist()
        if len(blank) > MOST_BLANK * len(found):
            raise DataError(
                f"{folder}: {len(blank)} of {len(found)} patches are of one colour, such as {blank[0]}; {AGAIN}"
            )
    except (DataError, OSError, ValueError) as error:
        return report([first_line(error)])
    counts = {name: len(found.indices(name)) for name in SPLITS.values()}
    lacks = [] if counts == COUNTS else [f"it holds {counts} patches, the published set {COUNTS}"]
    return report(lacks, counts, found.fingerprint)


def _file(folder: Path, name: str) -> Path:
    """The unpacked file, or else the packed one."""
    for place in (folder / f"{name}.h5", folder / f"{name}.h5.gz"):
        if place.is_file():
            return place
    raise DataError(
        f"{folder / name}.h5.gz: no such file, nor {name}.h5; a copy holds six such files, see docs/data.md"
    )


def _unpacked(file: Path, room: Path) -> Path:
    if file.suffix != ".gz":
        return file
    there = room / f"{digest({'file': ends(file)})[:32]}.h5"
    if not there.is_file():
        room.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=room, suffix=".part", delete=False) as part:
            try:
                with gzip.open(file) as packed:
                    shutil.copyfileobj(packed, part, 1 << 24)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                Path(part.name).unlink()
                raise DataError(f"{file}: is no whole gzip file ({first_line(error)}); {AGAIN}") from error
            except OSError as error:
                Path(part.name).unlink()
                raise DataError(
                    f"{file}: cannot be unpacked below {room} ({error.strerror}); make room there"
                ) from error
        Path(part.name).replace(there)
    return there


def _opened(file: Path, room: Path):
    import h5py

    unpacked = _unpacked(file, room)
    try:
        return h5py.File(unpacked, "r")
    except UNREADABLE as error:
        raise DataError(f"{file}: cannot be read as HDF5 ({first_line(error)}); {AGAIN}") from error


def _read(file: Path, room: Path, key: str, rows: np.ndarray | None = None) -> np.ndarray:
    """An array, or some of its rows, ascending."""
    with _opened(file, room) as opened:
        try:
            keys = list(opened)  # of a damaged file not even these can be read
            if key in keys:
                return opened[key][:] if rows is None else _rows(opened[key], rows)
        except UNREADABLE as error:
            raise DataError(f"{file}: {key} cannot be read ({first_line(error)}); {AGAIN}") from error
    raise DataError(f"{file}: has no key '{key}', but {', '.join(keys) or 'none'}; {AGAIN}")


def _rows(stored, rows: np.ndarray) -> np.ndarray:
    """Each chunk is read once: given a list of rows, HDF5 reads chunks again and again, and takes minutes."""
    step = (stored.chunks or (1,))[0]
    apart = np.diff(rows // step) > (0 if stored.chunks else 1)  # without chunks, neighbours are read together
    parts = []
    for part in np.split(rows, np.flatnonzero(apart) + 1):
        start = part[0] // step * step
        parts.append(stored[start : part[-1] // step * step + step][part - start])
    return np.concatenate(parts)


def _shape(file: Path, room: Path) -> tuple[int, ...]:
    with _opened(file, room) as opened:
        try:
            found = opened.get("x")
            shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
        except UNREADABLE as error:
            raise DataError(f"{file}: x cannot be read ({first_line(error)}); {AGAIN}") from error
    if shape is None:
        raise DataError(f"{file}: has no key 'x' with patches; {AGAIN}")
    if len(shape) != 4 or shape[1:] != (SIDE, SIDE, 3) or dtype != np.uint8 or not shape[0]:
        raise DataError(f"{file}: x is {dtype} {shape}; it must be uint8 (n, {SIDE}, {SIDE}, 3), n above 0; {AGAIN}")
    return shape


def _labels(file: Path, room: Path) -> np.ndarray:
    labels = _read(file, room, "y")
    if labels.ndim < 1 or labels.size != len(labels) or labels.dtype.kind not in "iub":
        raise DataError(f"{file}: y is {labels.dtype} {labels.shape}; it must be whole numbers (n, 1, 1, 1); {AGAIN}")
    labels = labels.reshape(-1).astype(np.int64)
    wrong = labels[(labels != 0) & (labels != 1)]
    if len(wrong):
        raise DataError(f"{file}: y holds {wrong[0]}; a label is 0 or 1 (tumour in the centre); {AGAIN}")
    return labels


def _slides(folder: Path, split: str, names: np.ndarray) -> np.ndarray:
    """The slide of each patch, or the patch itself where there is no table."""
    table = folder / f"{name_of(split, 'meta')}.csv"
    if not table.is_file():
        return names
    slides = read_table(table, ["wsi"], AGAIN)["wsi"]
    if len(slides) != len(names) or slides.isna().any():
        raise DataError(f"{table}: names {slides.notna().sum()} slides for {len(names)} patches; {AGAIN}")
    return slides.to_numpy(str)


COUNTS = {"train": 262_144, "val": 32_768, "test": 32_768}
_SLIDES = camelyon16.DATASET
DATASET = Dataset(
    name="patchcamelyon", title="PatchCamelyon", case="patch", group="slide", shows=_SLIDES.shows, target="label",
    read=read, cases=cases, licence="CC0 1.0",
    cite=f"Veeling B. S. et al., Rotation Equivariant CNNs for Digital Pathology, MICCAI 2018; {_SLIDES.cite}",
    source="the six .h5.gz files, and the three tables, of PatchCamelyon (zenodo.org/records/2546921, "
    "github.com/basveeling/pcam)",
    downloads={
        f"{sources.ZENODO_PCAM}/{name_of(split, what)}": f"md5:{md5}"
        for split, what, md5 in (
            ("train", "x.h5.gz", "1571f514728f59376b705fc836ff4b63"),
            ("train", "y.h5.gz", "35c2d7259d906cfc8143347bb8e05be7"),
            ("train", "meta.csv", "5a3dd671e465cfd74b5b822125e65b0a"),
            # the README of basveeling/pcam has the sums of valid and test the other way round; Zenodo's are these
            ("valid", "x.h5.gz", "d5b63470df7cfa627aeec8b9dc0c066e"),
            ("valid", "y.h5.gz", "2b85f58b927af9964a4c15b8f7e8f179"),
            ("valid", "meta.csv", "67589e00a4a37ec317f2d1932c7502ca"),
            ("test", "x.h5.gz", "d8c2d60d490dbd479f8199bdfa0cf6ec"),
            ("test", "y.h5.gz", "60a7035772fbdb7f34eb86d4420cf66a"),
            ("test", "meta.csv", "3455fd69135b66734e1008f3af684566"),
        )
    },
    attribution=_SLIDES.attribution.replace("Slides of", "Patches of").replace("each slide's", "each patch's"),
    people=_SLIDES.people, twin="patchcamelyon", check=check_copy,
    marks=tuple((f"{name_of(s, k)}.h5.gz", f"{name_of(s, k)}.h5") for s in SPLITS for k in KEYS),
)  # fmt: skip
