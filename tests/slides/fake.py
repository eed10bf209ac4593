"""A slide that is an array with its smaller levels, and networks whose answers one can work out."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from fewscans.data.formats.slides import Level


class FakeSlide:
    """Reads as `fewscans.data.formats.slides.Slide` does. Sides are halved downwards, so downsamples are uneven."""

    def __init__(self, image: np.ndarray, n_levels: int = 4, mpp: float | None = 1.0):
        self.path, self.mpp, self.images = Path("fake.tif"), mpp, [image]
        for _ in range(n_levels - 1):
            fine = self.images[-1]
            h, w = fine.shape[0] // 2, fine.shape[1] // 2
            blocks = fine[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3)
            self.images.append((blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8))
        height, width = image.shape[:2]
        sizes = [level.shape[:2] for level in self.images]
        self.levels = tuple(Level(w, h, (width / w + height / h) / 2) for h, w in sizes)
        self.reads: list[tuple[int, int, int, int, int]] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def at(self, downsample: float) -> int:
        return max(k for k, level in enumerate(self.levels) if level.downsample <= 1.01 * downsample)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        self.reads.append((level, x, y, width, height))
        image = self.images[level]
        block = np.full((height, width, 3), 255, np.uint8)
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, image.shape[1]), min(y + height, image.shape[0])
        if x0 < x1 and y0 < y1:
            block[y0 - y : y1 - y, x0 - x : x1 - x] = image[y0:y1, x0:x1]
        return block


def read_csv(path: Path) -> pd.DataFrame:
    """Detections in the challenge's form."""
    return pd.read_csv(path, header=None, names=["probability", "x", "y"], dtype=float)


def white(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Darkness(nn.Module):
    """The logit is how dark the middle of the patches is, `side` pixels wide: -4 for white, 4 for black."""

    def __init__(self, geometry, side: int):
        super().__init__()
        self.steps = [geometry.stride >> level for level in geometry.levels]
        self.margin, self.side = (geometry.patch - side) // 2, side

    def sweep(self, *regions):
        maps = []
        for x, step in zip(regions, self.steps, strict=True):
            cut = x.mean(1, keepdim=True)[:, :, self.margin :, self.margin :]
            cut = cut[:, :, : cut.shape[2] - self.margin, : cut.shape[3] - self.margin]
            maps.append(F.avg_pool2d(cut, self.side, step))
        return -4 * torch.stack(maps).mean(0).squeeze(1)

    def forward(self, *patches):
        return self.sweep(*patches)[:, 0, 0]


class FirstPixel(nn.Module):
    """Answers the first pixel of the patch, so that one sees where it was cut. Patch by patch only."""

    def forward(self, patch):
        return patch[:, :, 0, 0] @ torch.tensor([1.0, 3.0, 0.0])


PINK, TUMOUR = (200, 120, 180), (100, 30, 90)


def tissue_slide(width: int, height: int, tumours=(), corner=64) -> np.ndarray:
    """White with tissue from `corner` on, and tumours of 32 pixels at those (x, y)."""
    image = white(width, height)
    image[corner : height - corner, corner : width - corner] = PINK
    for x, y in tumours:
        image[y : y + 32, x : x + 32] = TUMOUR
    return image


def write_tiff(path: Path, image: np.ndarray, mpp: float | None = 1.0, n_levels: int = 3) -> Path:
    """A tiled pyramid that OpenSlide opens, without loss."""
    import tifffile

    unit = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as tiff:
        for k, level in enumerate(FakeSlide(image, n_levels).images):
            tiff.write(level, tile=(256, 256), photometric="rgb", compression="deflate", subfiletype=int(k > 0),
                       software=False, **unit)  # fmt: skip
    return path
