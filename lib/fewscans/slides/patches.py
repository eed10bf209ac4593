"""Patches of training slides: the paper's sampling, and its augmentation, batched on the device.

Source: Liu et al. 2017 as others restate it: first tumour or normal with equal chance, then a slide that has such a
patch, then a patch of it, each uniformly; shifted by up to 8 of 128 pixels; one of eight orientations; brightness by up
to 64/255, saturation by a factor of 0.75 to 1.25, hue by 0.04 of a turn, contrast by a factor of 0.25 to 1.75.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewscans.data.formats import slides as formats
from fewscans.data.formats.stain import Stained
from fewscans.slides.cells import NORMAL, TUMOUR, Slides
from fewscans.slides.heatmap import Geometry, reduced, source_of, turned

JITTER = 8 / 128  # of the stride
BRIGHTNESS, SATURATION, HUE, CONTRAST = 64 / 255, 0.25, 0.04, 0.75
GREYS = (0.299, 0.587, 0.114)
TILES = 2**31  # bytes of decoded tiles that all slides of a run may keep


class Source:
    """Patches of some slides.

    labels: what is taught of each cell, (rows, cols) int8 an array a slide, as `Slides.cells`.
    """

    def __init__(self, slides: Slides, index: Sequence[int], labels: Sequence[np.ndarray], geometry: Geometry,
                 balanced: bool, stain: np.ndarray | None = None):  # fmt: skip
        self.slides, self.index, self.geometry, self.balanced = slides, list(index), geometry, balanced
        pairs = list(zip(index, labels, strict=True))
        self.places = {label: [(i, np.argwhere(cells == label)) for i, cells in pairs if label in cells]
                       for label in (NORMAL, TUMOUR)}  # fmt: skip
        self._open = {i: open_case(slides, i, stain, TILES // len(self.index)) for i in self.index}

    def close(self) -> None:
        for slide in self._open.values():
            slide.close()

    def draw(self, n: int, rng: np.random.Generator, jitter: bool) -> tuple[list[Tensor], Tensor]:
        """n patches, a (n, 3, P, P) uint8 tensor for each level, and their labels (n,)."""
        most = round(JITTER * self.geometry.stride) if jitter else 0
        counts = [sum(len(where) for _, where in self.places[label]) for label in (NORMAL, TUMOUR)]
        drawn = []
        for _ in range(n):
            tumour = rng.random() < (0.5 if self.balanced else counts[1] / sum(counts))
            pairs = self.places[TUMOUR if tumour else NORMAL]
            sizes = np.array([len(where) for _, where in pairs], dtype=float)
            chance = None if self.balanced else sizes / sizes.sum()
            i, where = pairs[rng.choice(len(pairs), p=chance)]
            row, column = where[rng.integers(len(where))]
            drawn.append((i, row, column, *rng.integers(-most, most + 1, size=2), tumour))
        return self.cut([place[:5] for place in drawn]), torch.tensor([float(place[5]) for place in drawn])

    def cut(self, places: Sequence[tuple[int, int, int, int, int]]) -> list[Tensor]:
        """Patches about cells, each (slide, row, column) moved by (x, y) pixels of level 0."""
        side, cut = self.geometry.patch, []
        for level in self.geometry.levels:
            patches = []
            for i, row, column, dx, dy in places:
                slide = self._open[i]
                source, factor, scale = source_of(slide, 2**level)
                x, y = (self.geometry.first(at, scale) + round(by / scale) for at, by in ((column, dx), (row, dy)))
                patches.append(reduced(slide, source, factor, x, y, side, side))
            cut.append(torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2))
        return cut


def open_case(slides: Slides, i: int, stain: np.ndarray | None = None, tile_bytes: int | None = None):
    """A slide to read from, its colours normalised to `stain` if that is given."""
    options = {} if tile_bytes is None else {"cache_bytes": tile_bytes}
    slide = formats.open_slide(Path(slides.about["slide"].iloc[i]), **options)
    return slide if stain is None else Stained(slide, stain)


def augmented(patches: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """uint8 (B, 3, P, P) of each level to [-1, 1], turned and coloured at random, all levels of a patch alike."""
    batch, device = len(patches[0]), patches[0].device
    turn = torch.randint(0, 8, (batch,), generator=generator)
    delta, saturation, hue, contrast = (2 * torch.rand(4, batch, 1, 1, 1, generator=generator) - 1).to(device)
    made = []
    for x in patches:
        x = torch.stack([turned(patch, int(t)) for patch, t in zip(x, turn, strict=True)]).float() / 255
        x = coloured(x + delta * BRIGHTNESS, 1 + saturation * SATURATION, hue * HUE)
        mean = x.mean(dim=(2, 3), keepdim=True)
        x = (x - mean) * (1 + contrast * CONTRAST) + mean
        made.append(x.clamp(0, 1) * 2 - 1)
    return made


def coloured(x: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """(B, 3, H, W) with its saturation scaled and its hue turned by parts of a turn, grey values (Rec. 601) kept.

    Both are done in the plane of colours of equal grey value, instead of in TensorFlow's HSV: the same for the small
    changes of the paper, and linear.
    """
    grey = sum(weight * x[:, k : k + 1] for k, weight in enumerate(GREYS))
    red, blue = (x[:, :1] - grey) * 0.713, (x[:, 2:] - grey) * 0.564
    angle = 2 * math.pi * hue
    red, blue = (saturation * (red * angle.cos() - blue * angle.sin()),
                 saturation * (red * angle.sin() + blue * angle.cos()))  # fmt: skip
    r, b = red / 0.713 + grey, blue / 0.564 + grey
    g = (grey - GREYS[0] * r - GREYS[2] * b) / GREYS[1]
    return torch.cat([r, g, b], 1)
