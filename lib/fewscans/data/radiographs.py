"""Chest X-rays in one form: square images, a label for each finding, boxes around findings, who was examined.

What `Cases` has no field for stands in its table `about`: a column "label <finding>" for each finding, 1, 0, or NaN
where nobody looked for it, and "boxes", one JSON text an image. Images are stretched to a square, as in Park et al.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from fewscans.data import patch_cache
from fewscans.data.base import Cases, code_of, digest
from fewscans.errors import DataError

WORKERS = 4  # files that are decoded at once
FINDINGS = ("nodule", "consolidation", "interstitial", "effusion", "pneumothorax")  # the five of Park et al. 2019


class Box(NamedTuple):
    """A finding's box, in shares of the image's width and height: 0 is its left or upper edge, 1 the other."""

    finding: str
    x: float
    y: float
    width: float
    height: float


def square(pixels: np.ndarray, side: int) -> np.ndarray:
    """(H, W) grey values from 0 to 1 → (side, side) uint8: bilinear, averaged where it shrinks."""
    x = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))[None, None]
    small = F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)[0, 0]
    return (small.clamp(0, 1) * 255).round().byte().numpy()


def checked_box(what: str, finding: str, x: float, y: float, width: float, height: float, size: tuple) -> Box:
    """A box given in pixels of an image of size (width, height).

    Raises DataError that begins with `what`, the file and row, for one of zero area or not wholly in the image (one
    pixel over its edge is allowed and cut off).
    """
    across, down = size
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, across), min(y + height, down)
    if not (width > 0 and height > 0) or right <= left <= across or bottom <= top <= down:
        raise DataError(f"{what}: a box of {width:g} x {height:g} pixels shows nothing; correct it, or leave it out")
    if not (x >= -1 and y >= -1 and x + width <= across + 1 and y + height <= down + 1):
        raise DataError(
            f"{what}: the box from ({x:g}, {y:g}) to ({x + width:g}, {y + height:g}) reaches over the image of "
            f"{across} x {down} pixels; correct it, or leave it out"
        )
    return Box(finding, left / across, top / down, (right - left) / across, (bottom - top) / down)


def each(files: Sequence[Path], make: Callable[[Path], Any]) -> Iterator[Any]:
    """What `make` gives for each file, in their order, some of them at once."""
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(make, files)


def stored(
    cache: Path | None, fingerprint: str, code: Sequence[str], case: np.ndarray, side: int,
    decoded: Callable[[], Iterator[np.ndarray]],
) -> np.ndarray:  # fmt: skip
    """Images that a reader decodes, (n, side, side); with a cache they are decoded once and are a memory map.

    fingerprint, code: of the images, and the files of the reader's modules.   case: (n,) names.   decoded: yields
    (k, side, side) uint8 blocks in their order.
    """
    if cache is None:
        return np.concatenate([*decoded()])
    place = Path(cache) / digest({"cases": fingerprint, "code": code_of([*code, __file__])})[:32]
    return patch_cache.opened(place, pd.DataFrame({"case": case}), (side, side), decoded)


def about(labels: Mapping[str, Sequence[float]], boxes: Sequence[Sequence[Box]], **others: Sequence) -> pd.DataFrame:
    """`Cases.about` of some images: by finding 1, 0 or NaN for each image; each image's boxes; other columns."""
    columns = {f"label {finding}": np.asarray(values, float) for finding, values in labels.items()}
    return pd.DataFrame(columns | {"boxes": [json.dumps(of_image) for of_image in boxes]} | others)


def labels(cases: Cases, findings: Sequence[str]) -> np.ndarray:
    """(n, K) float64: 1, 0, or NaN where nobody looked. Raises DataError for a finding that the data set lacks."""
    lacking = [finding for finding in findings if f"label {finding}" not in cases.about]
    if lacking:
        known = ", ".join(name.removeprefix("label ") for name in cases.about if name.startswith("label "))
        raise DataError(f"{cases.path}: has no labels for {lacking[0]!r}; it has {known}")
    return cases.about[[f"label {finding}" for finding in findings]].to_numpy(float)


def boxes(cases: Cases, findings: Sequence[str]) -> pd.DataFrame:
    """Boxes of these findings: image (place in `cases`), finding, x, y, width, height (shares of the image)."""
    rows = [(i, *box) for i, text in enumerate(cases.about["boxes"]) for box in json.loads(text) if box[0] in findings]
    frame = pd.DataFrame(rows, columns=["image", *Box._fields])
    return frame.astype({"image": int} | dict.fromkeys(Box._fields[1:], float))


def boxed(cases: Cases, findings: Sequence[str]) -> list[str]:
    """Those of these findings of which every positive image has a box: others can be neither cut out nor localised."""
    drawn, known = boxes(cases, findings), labels(cases, findings)
    has = [set(drawn.loc[drawn["finding"] == finding, "image"]) for finding in findings]
    return [f for f, images, y in zip(findings, has, known.T, strict=True) if set(np.flatnonzero(y == 1)) <= images]
