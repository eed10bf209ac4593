"""Outlines of tumour on a slide, as the program ASAP stores them in XML, and the pixels inside them.

CAMELYON16's groups: `_0`, `_1` and `Tumor` are tumour; `_2`, `Exclusion` and `None` are cut out of it. A pixel is
tumour if its centre lies inside a tumour polygon and in no excluded one. A polygon that crosses itself follows the
even-odd rule, and a pixel centre on the edge of two neighbouring polygons belongs to one of them.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewscans.data.base import first_line
from fewscans.errors import DataError

TUMOUR, EXCLUDED = ("_0", "_1", "tumor"), ("_2", "exclusion", "none")
TYPES = ("polygon", "spline", "rectangle")  # a spline through points that lie close together is taken as a polygon
MAX_BYTES = 1 << 28  # of one file
FARTHEST = 1 << 31  # level-0 pixels
# What files, members of zip files and XML raise; a ValueError is also what defusedxml refuses.
UNREADABLE = (OSError, RuntimeError, EOFError, LookupError, ValueError, SyntaxError, zipfile.BadZipFile, zlib.error)
BLOCK = 8  # squares a side that are drawn at once


@dataclass(frozen=True, eq=False)
class Annotation:
    """Polygons, (n, 2) float64 each: x, y in level-0 pixels."""

    tumour: tuple[np.ndarray, ...] = ()
    excluded: tuple[np.ndarray, ...] = ()


def read(path: Path | zipfile.Path) -> Annotation:
    """Read one slide's annotations, from a file or a member of a zip file.

    Raises:  DataError naming the file, and the annotation: no ASAP XML, entities or a document type in it, an unknown
             group or type, fewer than three points, a coordinate that is no finite number.
    """
    from defusedxml import ElementTree

    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DataError(f"{path}: is larger than {MAX_BYTES:,} bytes; the outlines of one slide are much smaller")
        root = ElementTree.fromstring(content, forbid_dtd=True)
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as plain XML ({first_line(error)}); copy it again") from error
    if root.tag != "ASAP_Annotations":
        raise DataError(f"{path}: its root is {root.tag!r}; annotations drawn with ASAP have 'ASAP_Annotations'")
    tumour, excluded = [], []
    for element in root.iterfind("./Annotations/Annotation"):
        where = f"{path}: annotation {element.get('Name')!r}"
        group, kind = (element.get(what, "") for what in ("PartOfGroup", "Type"))
        if group.lower() not in TUMOUR + EXCLUDED:
            raise DataError(f"{where} is in the unknown group {group!r}; known are {', '.join(TUMOUR + EXCLUDED)}")
        if kind.lower() not in TYPES:
            raise DataError(f"{where} is of type {kind!r}, which has no area; areas are {', '.join(TYPES)}")
        (tumour if group.lower() in TUMOUR else excluded).append(_points(where, element))
    return Annotation(tuple(tumour), tuple(excluded))


def mask(annotation: Annotation, width: int, height: int, downsample: float, first=(0, 0)) -> np.ndarray:
    """(height, width) bool: where tumour is, on a level whose pixel (r, c) has its centre at ((c + 0.5), (r + 0.5)) *
    downsample level-0 pixels.   first: x and y of the first pixel, in pixels of that level.
    """
    where = first, width, height, downsample
    return _drawn(annotation.tumour, *where) & ~_drawn(annotation.excluded, *where)


def touches(annotation: Annotation, x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """(n,) bool: which squares [x, x + side) x [y, y + side) of level-0 pixels hold at least one tumour pixel.

    x, y: (n,) whole numbers.
    """
    near = np.zeros(len(x), bool)
    for polygon in annotation.tumour:
        (left, top), (right, bottom) = polygon.min(axis=0), polygon.max(axis=0)
        near |= (x <= right) & (x + side >= left) & (y <= bottom) & (y + side >= top)
    touched, block = np.zeros(len(x), bool), BLOCK * side
    blocks, of = np.unique(np.stack([x[near], y[near]], axis=1) // block, axis=0, return_inverse=True)
    for k, (left, top) in enumerate(blocks * block):
        tumour = mask(annotation, block + side, block + side, 1, (left, top))
        for i in np.flatnonzero(near)[of.ravel() == k]:
            touched[i] = tumour[y[i] - top :, x[i] - left :][:side, :side].any()
    return touched


def _points(where: str, element) -> np.ndarray:
    """(n, 2) x, y in their order."""
    rows = element.findall("./Coordinates/Coordinate")
    try:
        order = [int(row.get("Order", place)) for place, row in enumerate(rows)]
        points = np.array([[float(row.get(axis, "nan")) for axis in "XY"] for row in rows]).reshape(-1, 2)
    except ValueError as error:
        raise DataError(f"{where} has an Order, X or Y that is no number ({first_line(error)})") from error
    if len(points) < 3:
        raise DataError(f"{where} has {len(points)} points; an area has at least 3, so draw it again or remove it")
    if not (np.abs(points) < FARTHEST).all():
        raise DataError(f"{where} has a coordinate that is missing, infinite or beyond any slide; draw it again")
    return points[np.argsort(order, kind="stable")]


def _drawn(polygons: Sequence[np.ndarray], first: tuple[int, int], width: int, height: int, downsample: float):
    """(height, width) bool: pixels from the first on whose centres are in any of the polygons."""
    window = np.zeros((height, width), bool)
    for polygon in polygons:
        points = polygon / downsample - 0.5 - first  # pixel centres are at whole numbers
        low, high = np.ceil(points.min(axis=0)), np.floor(points.max(axis=0)) + 1
        (x, y), (right, bottom) = (np.clip(corner, 0, (width, height)).astype(int) for corner in (low, high))
        if x < right and y < bottom:
            window[y:bottom, x:right] |= _inside(points - (x, y), right - x, bottom - y)
    return window


def _inside(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width) bool: the whole numbers (x, y) above which an odd number of the polygon's edges cross x."""
    following = np.roll(points, -1, axis=0)
    first, last = (
        np.clip(np.ceil(extreme(points[:, 0], following[:, 0])), 0, width).astype(int)
        for extreme in (np.minimum, np.maximum)
    )  # an edge crosses the columns in [first, last)
    count = last - first
    edge = np.repeat(np.arange(len(points)), count)
    column = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)
    (x0, y0), (x1, y1) = points[edge].T, following[edge].T
    row = np.clip(np.ceil(y0 + (column - x0) * (y1 - y0) / (x1 - x0)), 0, height).astype(int)
    crossed = np.zeros((height + 1, width), bool)
    np.logical_xor.at(crossed, (row, column), True)
    return np.logical_xor.accumulate(crossed[:-1])
