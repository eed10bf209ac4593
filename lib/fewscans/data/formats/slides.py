"""Whole-slide images: blocks of pixels from any level of a slide, by OpenSlide's levels and with OpenSlide's pixels.

OpenSlide decides whether a file is a slide, and gives its levels and the size of its pixels. Tiles of TIFF and SVS
slides (JPEG, JPEG 2000 in RGB, LZW, Deflate, uncompressed) are then decoded one by one with tifffile and imagecodecs,
several times as fast; a damaged tile spoils that tile alone. All other slides are read by OpenSlide.
Formats: https://openslide.org/formats.
"""

from __future__ import annotations

import logging
import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewscans.errors import DataError

CACHE_BYTES = 256 << 20
WHITE = 255
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


@dataclass(frozen=True, eq=False)
class _Grid:
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
        self._cache = _Recent(cache_bytes)
        self._file = open(path, "rb")
        try:
            pages = _pages(path, handle, self.levels)
        except BaseException:
            self.close()
            raise
        self._grids = [
            self._openslide(level) if page is None else self._tiff(level, page) for level, page in enumerate(pages)
        ]

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Later reads raise ValueError."""
        self._file.close()
        self._handle.close()

    def at(self, downsample: float) -> int:
        """The coarsest level that is not coarser than asked, within 1 %.

        Raises:  ValueError for a downsample below 1.
        """
        fine = [level for level, known in enumerate(self.levels) if known.downsample <= 1.01 * downsample]
        if not fine:
            raise ValueError(f"downsample is {downsample}; level 0 has 1, and no level is finer")
        return max(fine, key=lambda level: self.levels[level].downsample)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A block of a level: (height, width, 3) uint8 RGB.

        White is what lies outside the slide, what is transparent, and tiles that are not stored.
        Args:    x, y: its first pixel, in pixels of this level; may be negative.
        Raises:  DataError naming level and tile where a tile cannot be decoded; other tiles can still be read.
        """
        x, y, width, height = map(operator.index, (x, y, width, height))
        if not 0 <= level < len(self.levels) or min(width, height) < 1:
            raise ValueError(
                f"level {level}, {width} x {height} pixels: {self.path.name} has levels 0 to {len(self.levels) - 1}, "
                "and a block has at least one pixel"
            )
        size, grid = self.levels[level], self._grids[level]
        block = np.full((height, width, 3), WHITE, np.uint8)
        for row, rows in _parts(y, height, size.height, grid.tile_height):
            for column, columns in _parts(x, width, size.width, grid.tile_width):
                tile = self._tile(level, column, row)
                if tile is not None:  # one channel fills all three
                    here = tile[_moved(rows, row * grid.tile_height), _moved(columns, column * grid.tile_width)]
                    block[_moved(rows, y), _moved(columns, x)] = here
        return block

    def _tile(self, level: int, column: int, row: int) -> np.ndarray | None:
        self._file.fileno()  # raises ValueError once the slide is closed
        key = level, column, row
        tile = self._cache.get(key)
        if tile is None:
            try:
                tile = self._grids[level].decode(column, row)
            except Exception as error:  # each codec has its own
                raise DataError(
                    f"{self.path}: level {level}, the tile in column {column}, row {row} is damaged ({error}); copy "
                    "the slide again, or leave this tile out"
                ) from error
            if tile is not None:
                self._cache.put(key, tile)
        return tile

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
    Raises:  DataError for a file that is absent, no slide, or cut short.
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
    return Slide(path, handle, mpp or _mpp(handle.properties), cache_bytes)


def _mpp(properties: Any) -> float | None:
    try:
        x, y = (float(properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        return None
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

    def quiet(record: logging.LogRecord) -> bool:  # tifffile warns of tags that do not matter here
        return False

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
    sizes = [(page.imagewidth, page.imagelength) for page in tiled]
    same = [(level.width, level.height) for level in levels] == sizes
    # Philips pads each level to whole tiles, which OpenSlide cuts away.
    padded = len(sizes) == len(levels) and all(
        w >= level.width and h >= level.height for (w, h), level in zip(sizes, levels, strict=True)
    )
    # Aperio's tiles that are not stored are drawn by OpenSlide from the finer levels.
    sparse = vendor == "aperio" and any(0 in page.databytecounts for page in tiled)
    if sparse or not (same or (vendor == "philips" and padded)):
        return none
    return [page if can else None for page, can in zip(tiled, readable, strict=True)]


def _is_readable(page: Any) -> bool:
    """Whether tifffile gives the pixels that OpenSlide does: 8 bits, grey or RGB, no transparency."""
    colour = (RGB, YCBCR) if page.compression == JPEG else (RGB,)
    whole = page.compression in COMPRESSIONS and page.planarconfig == 1 and not page.extrasamples
    kind = page.samplesperpixel == 3 if page.photometric in colour else page.photometric == GREY
    return whole and kind and page.dtype == np.uint8 and page.bitspersample == 8


def _parts(start: int, length: int, end: int, tile: int) -> list[tuple[int, slice]]:
    """The tiles along one axis that [start, start + length) meets within [0, end), and the pixels in each."""
    first, last = max(start, 0), min(start + length, end)
    numbers = range(first // tile, -(-last // tile)) if first < last else ()
    return [(n, slice(max(first, n * tile), min(last, (n + 1) * tile))) for n in numbers]


def _moved(pixels: slice, by: int) -> slice:
    return slice(pixels.start - by, pixels.stop - by)


class _Recent:
    """Decoded tiles; the least recently used are dropped once all take more than a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._tiles: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple) -> np.ndarray | None:
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def put(self, key: tuple, tile: np.ndarray) -> None:
        with self._lock:
            if key not in self._tiles:  # else another thread decoded it too
                self._tiles[key] = tile
                self.bytes += tile.nbytes
            while self.bytes > self.most_bytes:
                self.bytes -= self._tiles.popitem(last=False)[1].nbytes
