"""Whole-slide images: blocks of pixels from any level of a slide, by OpenSlide's levels and with OpenSlide's pixels.

OpenSlide decides whether a file is a slide, and gives its levels and the size of its pixels. Tiles of TIFF and SVS
slides (JPEG, JPEG 2000 in RGB, LZW, Deflate, uncompressed) are then decoded one by one with tifffile and imagecodecs,
several times as fast; a damaged tile spoils that tile alone. All other slides are read by OpenSlide.
Formats: https://openslide.org/formats.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fewscans.errors import DataError

CACHE_BYTES = 256 << 20
WHITE = 255
SQUARE = 0.05  # by how much the sides of a pixel may differ
BLOCK = 512  # pixels a side that OpenSlide reads at once from a slide without tiles
VENDORS = ("generic-tiff", "aperio", "philips")  # TIFF tiles on a regular grid; others may overlap theirs
# TIFF's compression: none, LZW, JPEG, Deflate (two numbers), Aperio's JPEG 2000 of RGB. That of YCbCr, 33003, needs a
# conversion of its own, and is left to OpenSlide.
JPEG = 7
COMPRESSIONS = (1, 5, JPEG, 8, 32946, 33005)
GREY, RGB, YCBCR = 1, 2, 6  # TIFF's photometric interpretation


@dataclass(frozen=True)
class Level:
    """One resolution of a slide."""

    width: int  # pixels of this level
    height: int
    downsample: float  # level-0 pixels a side of one of its pixels


class _Grid(NamedTuple):
    """The tiles of a level, and how one is read."""

    tile_width: int  # pixels
    tile_height: int
    decode: Callable[[int, int], np.ndarray | None]  # (column, row) → (h, w, 1 or 3) uint8; None: nothing is stored


class Slide:
    """An open slide; a context manager, and safe to read from several threads. `open_slide` makes it."""

    def __init__(self, path: Path, handle: Any, mpp: float | None, cache_bytes: int) -> None:
        self.path = path
        self.mpp = mpp  # µm a level-0 pixel, the mean of x and y; None where nobody says it
        sizes = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
        self.levels = tuple(Level(width, height, downsample) for (width, height), downsample in sizes)
        self._handle = handle
        self._handle_lock = threading.Lock()
        pages = enumerate(_pages(path, handle, self.levels))
        self._grids = [self._openslide(level) if page is None else self._tiff(level, page) for level, page in pages]
        largest = max(3 * grid.tile_width * grid.tile_height for grid in self._grids)
        self._tile = functools.lru_cache(cache_bytes // largest)(self._decoded)
        self._file = open(path, "rb")

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Later reads raise ValueError."""
        self._file.close()
        self._handle.close()
        self._tile.cache_clear()

    def at(self, downsample: float) -> int:
        """The coarsest level that is not coarser than asked, within 1 %.   downsample: at least 1, that of level 0."""
        fine = [level for level, known in enumerate(self.levels) if known.downsample <= 1.01 * downsample]
        return max(fine, key=lambda level: self.levels[level].downsample)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A block of a level: (height, width, 3) uint8 RGB.

        White is what lies outside the slide, what is transparent, and tiles that are not stored.
        Args:    x, y: its first pixel, in pixels of this level; may be negative.
        Raises:  DataError naming level and tile where a tile cannot be decoded; other tiles can still be read.
        """
        self._file.fileno()  # raises ValueError once the slide is closed
        size, grid = self.levels[level], self._grids[level]
        block = np.full((height, width, 3), WHITE, np.uint8)
        bottom, right = min(y + height, size.height), min(x + width, size.width)
        for row in range(max(y, 0) // grid.tile_height, -(-bottom // grid.tile_height)):
            for column in range(max(x, 0) // grid.tile_width, -(-right // grid.tile_width)):
                tile = self._tile(level, column, row)
                if tile is not None:  # one channel fills all three
                    top, left = row * grid.tile_height, column * grid.tile_width
                    seen = tile[max(y - top, 0) : bottom - top, max(x - left, 0) : right - left]
                    i, j = max(top - y, 0), max(left - x, 0)
                    block[i : i + len(seen), j : j + seen.shape[1]] = seen
        return block

    def _decoded(self, level: int, column: int, row: int) -> np.ndarray | None:
        try:
            return self._grids[level].decode(column, row)
        except Exception as error:  # each codec has its own
            raise DataError(
                f"{self.path}: level {level}, the tile in column {column}, row {row} is damaged ({error}); copy "
                "the slide again, or leave this tile out"
            ) from error

    def _tiff(self, level: int, page: Any) -> _Grid:
        """Tiles by tifffile. The page's file is closed by now: its tables and its decoder were read before."""
        size, tables, decode = self.levels[level], page.jpegtables, page.decode
        offsets, counts = page.dataoffsets, page.databytecounts
        across = -(-page.imagewidth // page.tilewidth)

        def tile(column: int, row: int) -> np.ndarray | None:
            index = row * across + column
            if not counts[index]:
                return None
            data = os.pread(self._file.fileno(), counts[index], offsets[index])
            array = decode(data, index, jpegtables=tables)[0][0]  # (h, w, 1 or 3)
            left = size.height - row * page.tilelength, size.width - column * page.tilewidth
            needed = min(page.tilelength, left[0]), min(page.tilewidth, left[1])
            if array.shape[0] < needed[0] or array.shape[1] < needed[1]:
                raise ValueError(f"{array.shape[1]} x {array.shape[0]} pixels of {needed[1]} x {needed[0]}")
            return array

        return _Grid(page.tilewidth, page.tilelength, tile)

    def _openslide(self, level: int) -> _Grid:
        """Tiles by OpenSlide; where the downsample is no whole number, it shifts them by up to half a level-0 pixel."""
        import openslide
        from PIL import Image

        known, downsample = self._handle.properties, self.levels[level].downsample
        width, height = (int(known.get(f"openslide.level[{level}].tile-{side}", BLOCK)) for side in ("width", "height"))

        def tile(column: int, row: int) -> np.ndarray:
            place = round(column * width * downsample), round(row * height * downsample)  # level-0 pixels
            with self._handle_lock:
                try:
                    image = self._handle.read_region(place, level, (width, height))
                except openslide.OpenSlideError:
                    self._handle.close()  # a handle that failed once fails for ever
                    self._handle = openslide.OpenSlide(self.path)
                    raise
            white = Image.new("RGB", image.size, "white")
            white.paste(image, mask=image)
            return np.asarray(white)

        return _Grid(width, height, tile)


def open_slide(path: Path | str, mpp: float | None = None, cache_bytes: int = CACHE_BYTES) -> Slide:
    """Open a slide.

    Args:    mpp: µm a level-0 pixel, instead of what the file says.   cache_bytes: decoded tiles to keep.
    Raises:  DataError for a file that is absent, no slide, or cut short, or that gives its pixels two sizes.
    """
    import openslide

    path = Path(path)
    if mpp is not None and not 0 < mpp < np.inf:
        raise ValueError(f"mpp is {mpp}; it is the size of a pixel in µm, about 0.25 at 40x")
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {fault}; name the file of one slide, such as tumor_001.tif")
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        raise DataError(
            f"{path}: OpenSlide cannot read it as a slide ({error}); copy it again, or convert it to a tiled TIFF"
        ) from error
    return Slide(path, handle, mpp or _mpp(path, handle.properties), cache_bytes)


def not_blank(slide: Slide) -> None:
    """Raises DataError naming the slide if its coarsest level has one colour only; reads on to the second, no further.

    A tile that is damaged is found where it is needed.
    """
    level = len(slide.levels) - 1
    size, first = slide.levels[level], None
    for top in range(0, size.height, BLOCK):
        try:
            strip = slide.read(level, 0, top, size.width, min(BLOCK, size.height - top)).reshape(-1, 3)
        except DataError:
            return
        first = strip[0] if first is None else first
        if (strip != first).any():
            return
    colour = " ".join(map(str, first))
    raise DataError(f"{slide.path}: every pixel has the same colour, {colour}, so it shows nothing; copy it again")


def _mpp(path: Path, properties: Any) -> float | None:
    said = [properties.get(f"openslide.mpp-{axis}", "0") for axis in "xy"]
    try:
        x, y = map(float, said)
    except ValueError:
        x = y = np.nan
    if not (np.isfinite(x) and np.isfinite(y)):
        raise DataError(f"{path}: says that its pixels are {said[0]} x {said[1]} µm; give their size, as with --mpp")
    if min(x, y) > 0 and abs(x / y - 1) > SQUARE:
        raise DataError(f"{path}: says that its pixels are {x:g} x {y:g} µm; pixels are square, give their size (mpp)")
    return (x + y) / 2 if min(x, y) > 0 else None


def _pages(path: Path, handle: Any, levels: tuple[Level, ...]) -> list[Any]:
    """The TIFF page of each level, or None where only OpenSlide reads it.

    Raises:  DataError if a page's tiles lie beyond the end of the file.
    """
    import tifffile

    none = [None] * len(levels)
    vendor = handle.properties.get("openslide.vendor")
    if vendor not in VENDORS:
        return none
    quiet = logging.Filter("nobody")  # tifffile warns of tags that do not matter here
    tifffile.logger().addFilter(quiet)
    try:
        with tifffile.TiffFile(path) as tiff:
            tiled = [page for page in tiff.pages if page.is_tiled]
            if vendor == "generic-tiff":
                tiled = [page for page in tiled if page.index == 0 or page.subfiletype & 1]
                tiled.sort(key=lambda page: -page.imagewidth)
            readable = [_is_readable(page) and page.decode is not None for page in tiled]  # its first use reads on
            end = max(a + n for page in tiled for a, n in zip(page.dataoffsets, page.databytecounts, strict=True))
    except Exception:  # whatever tifffile does not understand, OpenSlide did
        return none
    finally:
        tifffile.logger().removeFilter(quiet)
    if end > path.stat().st_size:
        raise DataError(
            f"{path}: is cut short, its tiles take {end:,} bytes and it has {path.stat().st_size:,}; copy it again"
        )
    stored = np.array([(page.imagewidth, page.imagelength) for page in tiled])
    sizes = np.array([(level.width, level.height) for level in levels])
    fits = np.greater_equal if vendor == "philips" else np.equal  # padded to whole tiles, which OpenSlide cuts away
    # Aperio's tiles that are not stored are drawn by OpenSlide from the finer levels.
    sparse = vendor == "aperio" and any(0 in page.databytecounts for page in tiled)
    if sparse or len(stored) != len(sizes) or not fits(stored, sizes).all():
        return none
    return [page if can else None for page, can in zip(tiled, readable, strict=True)]


def _is_readable(page: Any) -> bool:
    """Whether tifffile gives the pixels that OpenSlide does: 8 bits, grey or RGB, no transparency."""
    colour = (RGB, YCBCR) if page.compression == JPEG else (RGB,)
    whole = page.compression in COMPRESSIONS and page.planarconfig == 1 and not page.extrasamples
    kind = page.samplesperpixel == 3 if page.photometric in colour else page.photometric == GREY
    return whole and kind and page.dtype == np.uint8 and page.bitspersample == 8
