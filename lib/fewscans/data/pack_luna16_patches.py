"""Pack the LUNA16 candidate patches from their public parts: a repository of JPEGs and LUNA16's list of candidates.

The repository swethasubramanian/LungCancerDetection holds src/data/{train,val,test}/image_<row>.jpg: 8-bit grey axial
cuts of 50×50 pixels at the scan's own resolution, HU -1000 to 400 mapped linearly to 0 to 255. <row> counts LUNA16's
candidates.csv (Setio et al., Medical Image Analysis 42:1-13, 2017) from 0. Labels come from that list: the repository
keeps its own as pickles, and opening a stranger's pickle runs a stranger's code.
"""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from fewscans import files
from fewscans.data.base import read_table
from fewscans.data.content import not_blank
from fewscans.data.listing import ending, entries
from fewscans.data.luna16_patches import FILE, REPOSITORY_SPLITS, SIDE
from fewscans.errors import DataError

CANDIDATES = 551_065  # rows of candidates.csv; candidates_V2.csv is another list, with other rows
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "class")
NAME = re.compile(r"image_(0|[1-9][0-9]*)\.jpg")
# Training positives have two rotated copies each, numbered row + 1,000,000 and row + 2,000,000: the same nodule again.
COPY_STEP = 1_000_000
COPIES = 2
CUT_BY_BORDER = frozenset({393_762})  # a negative at the edge of its slice, the only patch that is not 50×50
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date a zip can hold
GET_IMAGES = "clone github.com/swethasubramanian/LungCancerDetection and name its folder src/data"
GET_CANDIDATES = "take candidates.csv of LUNA16 (luna16.grand-challenge.org), not candidates_V2.csv"


def pack(images: Path, candidates: Path, out: Path, rows: int = CANDIDATES) -> Path:
    """Write the npz that `luna16_patches.read` reads, patches in ascending order of their row within each split.

    Args:    images: the repository's folder src/data.   candidates: LUNA16's candidates.csv.   out: the folder to
             write into.   rows: how many candidates the list must have.
    Returns: the npz. Equal inputs give equal bytes; where zlib is the one that packed it, those of the published copy.
    Raises:  DataError naming the file or row at fault and the remedy, also if `out` holds another copy already.
    """
    labels = _labels(Path(candidates), rows)
    files = {split: _files(Path(images) / split, Path(candidates), labels) for split in REPOSITORY_SPLITS}
    seen: dict[int, Path] = {}
    for file_of in files.values():
        for row, file in file_of.items():
            if row in seen:
                raise DataError(f"{file}: {seen[row]} is the same candidate; a row is in one split only: {GET_IMAGES}")
            seen[row] = file
    arrays = {}
    for split, file_of in files.items():
        index = np.array(list(file_of), np.int64)
        arrays[f"{split}_images"] = np.stack([_pixels(file) for file in file_of.values()])  # (n, 50, 50)
        arrays[f"{split}_labels"] = labels[index, None]  # (n, 1)
        arrays[f"{split}_candidate_row"] = index
    return _write(Path(out) / FILE, npz_bytes(arrays))


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed npz of the arrays, in their order, without a clock in it.

    It is laid out as `numpy.savez_compressed` does, which wrote the published copy. Compressors differ between builds
    of zlib; where they do not, equal arrays make the very bytes that published results were computed from.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, array in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _labels(path: Path, rows: int) -> np.ndarray:
    """The class of each candidate, (rows,) uint8."""
    hint = f"the list has {', '.join(COLUMNS)}: {GET_CANDIDATES}"
    value = read_table(path, COLUMNS, hint, dtype=str, keep_default_na=False)["class"]
    value = value.fillna("")  # of a line that is cut short
    wrong = value[~value.isin(("0", "1"))]
    if len(wrong):
        fault = f"class '{wrong.iloc[0]}' in line {wrong.index[0] + 2}; it is 0 (no nodule) or 1 (nodule)"
        raise DataError(f"{path}: {fault}: {GET_CANDIDATES}")
    if len(value) != rows:
        raise DataError(f"{path}: {len(value):,} candidates, where there must be {rows:,}; {GET_CANDIDATES}")
    return value.eq("1").to_numpy(np.uint8)


def _files(folder: Path, candidates: Path, labels: np.ndarray) -> dict[int, Path]:
    """The patches of one split that are packed: row → file, ascending."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {GET_IMAGES}")
    files = {}
    for file in entries(folder):
        if not ending(file, (".jpg", ".jpeg")):
            continue  # what systems and the repository's scripts leave there
        name = NAME.fullmatch(file.name)
        if name is None:
            raise DataError(f"{file}: a patch is named image_<row>.jpg; remove the file, or {GET_IMAGES}")
        row = int(name[1])
        copy, original = divmod(row, COPY_STEP)
        if copy > COPIES or original >= len(labels):
            raise DataError(f"{file}: {candidates} has no row {row:,}, only {len(labels):,} from 0; {GET_CANDIDATES}")
        if copy and labels[original] != 1:
            # Only nodules were copied, so the list is not the one that the patches were cut by, or in another order.
            fault = f"a rotated copy of a nodule, but row {original:,} of {candidates} has class 0"
            raise DataError(f"{file}: {fault}; the list is in another order or another one: {GET_CANDIDATES}")
        if not copy and row not in CUT_BY_BORDER:
            files[row] = file
    if not files:
        raise DataError(f"{folder}: no images image_<row>.jpg; {GET_IMAGES}")
    return dict(sorted(files.items()))


def _pixels(file: Path) -> np.ndarray:
    """A patch, (50, 50) uint8."""
    again = "restore it from the repository, as with git checkout -- src/data"
    try:
        with Image.open(file, formats=["JPEG"]) as image:
            if image.mode != "L":
                raise DataError(f"{file}: colours ({image.mode}); a patch is 8-bit grey (L): {again}")
            if image.size != (SIDE, SIDE):
                width, height = image.size
                raise DataError(f"{file}: {width}x{height} pixels; a patch has {SIDE}x{SIDE}: {again}")
            return not_blank(str(file), np.asarray(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not a JPEG, or cut short ({error}); {again}") from error


def _write(path: Path, content: bytes) -> Path:
    """Put the file there, and never over another copy."""
    try:
        if path.exists():
            if path.read_bytes() != content:
                raise DataError(f"{path}: another copy is there already; move it away, or name a folder with --out")
            return path
        files.write(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); name another folder with --out") from error
    return path
