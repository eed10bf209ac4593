"""Patches cut once and kept: many workers share them as a memory map, and a kill leaves nothing half.

A folder holds images.npy and meta.parquet (one row a case, with a checksum of its image). It appears whole or not at
all; the first process makes it under a lock, the others wait. It may be removed at any time and is made again.
"""

from __future__ import annotations

import shutil
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from filelock import Timeout

from fewscans import files
from fewscans.data.base import first_line
from fewscans.errors import DataError
from fewscans.locks import Locks

IMAGES, META = "images.npy", "meta.parquet"
WAIT_SECONDS = 6 * 3600.0  # for another process that cuts the same patches
CHECKED = 1000  # images whose checksum is compared on opening: some 0.1 s, however many there are


def opened(
    folder: Path, meta: pd.DataFrame, shape: Sequence[int], make: Callable[[], Iterable[np.ndarray]]
) -> np.ndarray:
    """The images of `meta`'s rows, made if they are not there or damaged.

    Args:    folder: named by all that decides the content.   meta: with a unique column `case`, in the images' order.
             shape: of one image.   make: yields (k, *shape) uint8 blocks that follow one another in that order.
    Returns: (n, *shape) uint8, a read-only memory map.
    Raises:  DataError if the folder cannot be written.
    """
    images = _found(folder, meta, shape)
    if images is None:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            locks = Locks(folder.parent)
            with locks.hold(folder.name, WAIT_SECONDS):
                images = _found(folder, meta, shape)  # another may have made it while we waited
                if images is None:
                    _write(folder, meta, shape, make(), alone=locks.kind.kind == "flock")
                    images = _found(folder, meta, shape)
        except Timeout as error:
            raise DataError(
                f"{folder} is made by {locks.holder(folder.name)} for more than {WAIT_SECONDS / 3600:.0f} hours now; "
                f"if that is gone, remove {error.lock_file}"
            ) from error
        except OSError as error:
            remedy = "make room there, or make its folder writable"
            raise DataError(f"{folder} cannot be written ({error.strerror or error}); {remedy}") from error
    if images is None:
        raise DataError(f"{folder} was written and reads back otherwise; is its disk sound?")
    return images


def _found(folder: Path, meta: pd.DataFrame, shape: Sequence[int]) -> np.ndarray | None:
    """The images, if they are there, whole, and of these cases; of a damaged folder a warning."""
    if not folder.is_dir():
        return None
    try:
        kept = pq.read_table(folder / META, page_checksum_verification=True).to_pandas()
        if kept["case"].tolist() != meta["case"].tolist():
            raise ValueError("other cases")
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        if images.dtype != np.uint8 or images.shape != (len(meta), *shape):
            raise ValueError(f"images are {images.dtype} {images.shape}")
        for row in np.unique(np.linspace(0, len(meta) - 1, min(len(meta), CHECKED)).astype(int)):
            if zlib.crc32(images[row]) != kept["crc32"].iloc[row]:
                raise ValueError(f"image {row} was altered")
    except Exception as error:  # pyarrow and numpy raise many kinds for a damaged file
        warnings.warn(f"{folder}: damaged patches ({first_line(error)}); they are cut again", stacklevel=4)
        return None
    return images


def _write(
    folder: Path, meta: pd.DataFrame, shape: Sequence[int], blocks: Iterable[np.ndarray], alone: bool = True
) -> None:
    """Under the lock. Appended, not written through a map: a full disk is then an error, not a signal.

    alone: the lock is no lease, which two may hold at once.
    """
    for left in folder.parent.glob(f"{folder.name}.*.part"):  # by a killed process
        if alone or files.abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    fresh = files.partial(folder)
    fresh.mkdir()
    try:
        _fill(fresh, meta, shape, blocks)
    except BaseException:  # a full disk, or Ctrl-C: what is half is of no use, and takes room
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if folder.exists() and (alone or _found(folder, meta, shape) is None):
        shutil.rmtree(folder)
    try:
        fresh.rename(folder)
    except OSError:
        if alone or not folder.exists():
            raise
        shutil.rmtree(fresh)  # another holder of the lease was first


def _fill(fresh: Path, meta: pd.DataFrame, shape: Sequence[int], blocks: Iterable[np.ndarray]) -> None:
    checksums: list[int] = []
    with (fresh / IMAGES).open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(meta), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            if block.dtype != np.uint8 or block.shape[1:] != tuple(shape):
                raise ValueError(f"a block is {block.dtype} {block.shape}; images are uint8 {tuple(shape)}")
            block = np.ascontiguousarray(block)
            file.write(block.data)
            checksums += [zlib.crc32(image) for image in block]
    if len(checksums) != len(meta):
        raise ValueError(f"{len(checksums)} images for {len(meta)} cases")
    meta.assign(crc32=np.array(checksums, np.int64)).to_parquet(fresh / META, index=False, write_page_checksum=True)
