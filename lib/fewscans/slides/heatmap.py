"""The probability of tumour over a whole slide, one number a cell, in memory that does not grow with the slide.

A slide is cut into cells of `stride` pixels; a cell's probability is the network's answer about the patch around its
centre. Patches overlap, so they are not read one by one: blocks of cells are, as one region for each magnification,
by threads that stay a few blocks ahead of the network. A dense network (`sweep`) answers a region in one pass; of any
other, the patches are cut from the region. Source: Liu et al., arXiv 1703.02442 (stride 128, 8 orientations averaged).
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

AHEAD = 4  # blocks that are read before the network asks for them
REGION = 1200  # pixels a side: much larger maps no longer lie in a processor's cache, and overlaps cost little
BATCH = 32  # patches at once, where there is no sweep
SAME_LEVEL = 0.05  # how far a level's downsample may lie from what the network expects
STRIP_PIXELS = 1 << 22  # read at once where a level is averaged down
TISSUE = 0.05  # share of a cell that must be tissue
PICTURE_UM = (4, 16)  # per pixel, where `tissue` is at home
OVERLAP_UM = 500  # more than the widest hole that `tissue` fills


@dataclass(frozen=True)
class Geometry:
    """Where a network looks. Cell (i, j) covers `stride` level-0 pixels a side, from (j * stride, i * stride).

    patch: side of a patch, in pixels of its level.   stride: level-0 pixels.   levels: of the patches around one
    centre; level l is 2**l times coarser than level 0.
    Raises ValueError unless stride is a whole number of pixels at each level.
    """

    patch: int
    stride: int
    levels: tuple[int, ...] = (0,)

    def __post_init__(self):
        if self.patch < 1 or not self.levels or min(self.levels) < 0 or self.stride < 1:
            raise ValueError(f"patch and stride must be at least 1, and levels some numbers from 0, got {self}")
        if self.stride % (1 << max(self.levels)):
            raise ValueError(f"stride must be a multiple of {1 << max(self.levels)} for these levels, got {self}")

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of cells of a slide."""
        return math.ceil(height / self.stride), math.ceil(width / self.stride)

    def centre(self, i, j) -> tuple:
        """x and y of the centre of cell (i, j) in level-0 pixels; numbers or arrays."""
        return (j + 0.5) * self.stride, (i + 0.5) * self.stride

    def first(self, index: int, downsample: float) -> int:
        """The first pixel of a cell's patch along one axis, in pixels `downsample` times coarser than level 0's."""
        return math.floor((index + 0.5) * self.stride / downsample - self.patch / 2)


@torch.inference_mode()
def heatmap(
    slide,
    network: nn.Module,
    geometry: Geometry,
    cells: np.ndarray,
    device: str | torch.device = "cpu",
    block: int | None = None,
    dense: bool | None = None,
    orientations: int = 1,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> np.ndarray:
    """Returns: (rows, cols) float32 probabilities, NaN where `cells` is False.

    cells: (rows, cols) bool, which to predict.   block: rows and columns of cells read at once; default: as many as
    REGION pixels hold.   dense: use the network's `sweep`, else patches through `forward`; default: `sweep` if it has
    one.   orientations: 1, or 8 to average over turned and mirrored copies.   on_progress: called with the cells done
    and the cells in all.
    The network is moved to the device and put in evaluation mode.
    Raises DataError for a tile that cannot be read.
    """
    block = block or max(1, (REGION - geometry.patch) // (geometry.stride >> min(geometry.levels)) + 1)
    network = network.to(device).eval()
    predict = _swept if (hasattr(network, "sweep") if dense is None else dense) else _patch_by_patch
    result = np.full(cells.shape, np.nan, np.float32)
    done, total = 0, int(cells.sum())

    def read(window: tuple[slice, slice]) -> list[np.ndarray]:
        return [_region(slide, geometry, level, *window) for level in geometry.levels]

    with closing(_ahead(read, _windows(cells, block))) as blocks:
        for window, regions in blocks:
            here = cells[window]
            images = [torch.from_numpy(r).to(device).permute(2, 0, 1)[None] for r in regions]  # (1, 3, H, W) uint8
            values = predict(network, images, geometry, here, orientations).cpu().numpy()
            result[window][here] = values
            done += len(values)
            on_progress(done, total)
    return result


def tissue_cells(slide, geometry: Geometry) -> np.ndarray:
    """(rows, cols) bool: cells of which at least 5 % is tissue, in a picture of a quarter of the stride, or 4 to 16 µm.

    The picture is made in strips that overlap. The slide must say how large its pixels are.
    """
    from fewscans.data.formats.tissue import tissue

    full, mpp = slide.levels[0], slide.mpp
    wanted = max(1, PICTURE_UM[0] / mpp, min(geometry.stride / 4, PICTURE_UM[1] / mpp))
    level, factor, downsample = source_of(slide, wanted, within=math.inf)
    width, height = (math.ceil(side / downsample) for side in (full.width, full.height))
    mask = np.zeros((height, width), bool)
    rows, overlap = max(1, STRIP_PIXELS // width), math.ceil(OVERLAP_UM / mpp / downsample)
    for y in range(0, height, rows):
        top, bottom = max(0, y - overlap), min(height, y + rows + overlap)
        strip = reduced(slide, level, factor, 0, top, width, bottom - top)
        mask[y : y + rows] = tissue(strip, mpp * downsample)[y - top :][:rows]
    shape, n = geometry.shape(full.width, full.height), max(1, round(geometry.stride / downsample))
    points = [((np.arange(side * n) + 0.5) * geometry.stride / n / downsample).astype(int) for side in shape]
    inside = np.ix_(np.minimum(points[0], height - 1), np.minimum(points[1], width - 1))
    return mask[inside].reshape(shape[0], n, shape[1], n).mean(axis=(1, 3)) >= TISSUE


def source_of(slide, downsample: float, within: float = SAME_LEVEL) -> tuple[int, int, float]:
    """Level to read, factor to average it down by, and the downsample that results, close to the one asked for.

    Sides of a level are rounded to whole pixels, which makes downsamples such as 8.06 of what is a plain 8.
    """
    level = slide.at(downsample)
    full, own = slide.levels[0], slide.levels[level]
    finest, whole = own.downsample, round(own.downsample)
    if max(abs(full.width - whole * own.width), abs(full.height - whole * own.height)) < whole:
        finest = whole
    factor = max(1, round(downsample / finest))
    if abs(factor * finest / downsample - 1) > within:
        level, factor, finest = 0, round(downsample), 1
    return level, factor, factor * finest


def reduced(slide, level: int, factor: int, x: int, y: int, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: means over factor x factor pixels of a level, x and y in such larger pixels."""
    if factor == 1:
        return slide.read(level, x, y, width, height)
    result = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // (width * factor**2))
    for start in range(0, height, rows):
        n = min(rows, height - start)
        strip = slide.read(level, x * factor, (y + start) * factor, width * factor, n * factor)
        total = strip.reshape(n, factor, width, factor, 3).sum(axis=(1, 3), dtype=np.uint32)
        result[start : start + n] = (total + factor**2 // 2) // factor**2
    return result


def _region(slide, geometry: Geometry, level: int, rows: slice, columns: slice) -> np.ndarray:
    """The pixels of a level that hold all patches of a window of cells."""
    source, factor, downsample = source_of(slide, 2**level)
    y, x = (geometry.first(window.start, downsample) for window in (rows, columns))
    height, width = ((w.stop - w.start - 1) * (geometry.stride >> level) + geometry.patch for w in (rows, columns))
    return reduced(slide, source, factor, x, y, width, height)


def _windows(cells: np.ndarray, block: int) -> Iterator[tuple[slice, slice]]:
    """Row by row, the smallest window around the cells of each block that has any."""
    for y in range(0, cells.shape[0], block):
        for x in range(0, cells.shape[1], block):
            i, j = np.nonzero(cells[y : y + block, x : x + block])
            if len(i):
                yield slice(y + i.min(), y + i.max() + 1), slice(x + j.min(), x + j.max() + 1)


def _ahead(function: Callable, items: Iterator) -> Iterator[tuple]:
    """Pairs of item and function(item) in order, computed by threads that are never more than AHEAD items ahead."""
    with ThreadPoolExecutor(min(AHEAD, os.cpu_count() or 1)) as pool:
        waiting = deque((item, pool.submit(function, item)) for item in islice(items, AHEAD))
        while waiting:
            item, future = waiting.popleft()
            waiting.extend((later, pool.submit(function, later)) for later in islice(items, 1))
            yield item, future.result()


def _swept(network, images: list[Tensor], geometry: Geometry, here: np.ndarray, orientations: int) -> Tensor:
    """(n,) probabilities of the cells that `here` marks, all of the window in one pass."""
    total = sum(_back(_probability(network.sweep, images, k), k) for k in range(orientations))  # (1, rows, cols)
    return total[0, torch.from_numpy(here).to(total.device)] / orientations


def _patch_by_patch(network, images: list[Tensor], geometry: Geometry, here: np.ndarray, orientations: int) -> Tensor:
    """As `_swept`, with each patch for itself."""
    pairs = [(image[0], geometry.stride >> level) for image, level in zip(images, geometry.levels, strict=True)]
    every = [x.unfold(1, geometry.patch, s).unfold(2, geometry.patch, s) for x, s in pairs]  # (3, rows, columns, P, P)
    parts = []
    for i, j in zip(*(torch.from_numpy(axis).split(BATCH) for axis in np.nonzero(here)), strict=True):
        patches = [x[:, i, j].movedim(1, 0) for x in every]  # (B, 3, P, P)
        parts.append(sum(_probability(network, patches, k) for k in range(orientations)))  # (B,)
    return torch.cat(parts) / orientations


def _probability(ask: Callable, images: list[Tensor], k: int) -> Tensor:
    """The answer to uint8 images, one a level, turned; convolutions are faster with channels last in memory."""
    return ask(*(scaled(turned(x, k).contiguous(memory_format=torch.channels_last)) for x in images)).sigmoid()


def scaled(image: Tensor) -> Tensor:
    """0 to 255 becomes -1 to 1."""
    return image.float() / 127.5 - 1


def turned(image: Tensor, k: int) -> Tensor:
    """One of 8 copies: k % 4 quarter turns of the last two axes, mirrored from 4 on."""
    image = torch.rot90(image, k % 4, (-2, -1))
    return image.flip(-1) if k >= 4 else image


def _back(grid: Tensor, k: int) -> Tensor:
    """Undoes `turned`."""
    return torch.rot90(grid.flip(-1) if k >= 4 else grid, -(k % 4), (-2, -1))
