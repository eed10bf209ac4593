"""Chest X-rays as networks see them, a batch at a time on the images' device: resized, cut, sharpened or blurred.

Source: Park et al. 2019, who sharpen or blur training images at random. How strongly, and by which filter, we could
not read: here it is an unsharp mask, or its opposite. Networks get grey in [0, 1] minus the image's (or patch's) mean.
Images are never flipped sideways: the heart lies left, and a network that sees it on either side must learn both.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def prepared(images: Tensor, side: int) -> Tensor:
    """uint8 (B, H, W) → float32 (B, 1, side, side): [0, 1], bilinear, averaged where it shrinks, minus its mean."""
    x = F.interpolate(images[:, None].float() / 255, (side, side), mode="bilinear", antialias=True)
    return x - x.mean((2, 3), keepdim=True)


def windows(images: Tensor, index: Tensor, x: Tensor, y: Tensor, extent: Tensor, side: int) -> Tensor:
    """Square windows of some images: float32 (B, 1, side, side), resampled as `prepared` does, each minus its own mean.

    images: uint8 (N, H, W).   index: (B,) places of the images.   x, y, extent: (B,) left and upper edge and side of
    each window, in shares of the image. Beyond the image's border its edge goes on. All on one device.
    """
    height, width = images.shape[1:]
    down, across = _weights(y, extent, height, side), _weights(x, extent, width, side)
    patches = (down @ (images[index].float() / 255) @ across.mT)[:, None]
    return patches - patches.mean((2, 3), keepdim=True)


def amounts(batch: int, generator: torch.Generator) -> Tensor:
    """(batch,) for `sharpened`: 0 with probability 1/2, else evenly from -1 to 1. From a CPU generator, on the CPU."""
    amount, chance = torch.rand(2, batch, generator=generator)
    return torch.where(chance < 0.5, 2 * amount - 1, 0)


def sharpened(x: Tensor, amount: Tensor) -> Tensor:
    """(B, 1, side, side) → the same: sharpened where `amount` (B,) is above 0, blurred where it is below.

    x + amount * (x - blurred x): at -1 the blurred image itself. The blur is Gaussian, with a standard deviation of
    side / 160 pixels, at least 0.6, and the image mirrored at its border. Values are not cut to a range.
    """
    blur = _blur(x.shape[-1]).to(x)
    return x + amount.to(x).view(-1, 1, 1, 1) * (x - blur @ x @ blur.T)


def _weights(start: Tensor, extent: Tensor, size: int, side: int) -> Tensor:
    """(B, side, size): how much each of an axis' pixels counts for each pixel of the window.

    A triangle as wide as a pixel of the window or of the image, whichever is larger: PIL's bilinear filter.
    """
    step = (extent * size / side).float().view(-1, 1, 1)  # pixels of the image in one of the window
    centre = start.float().view(-1, 1, 1) * size + step * (torch.arange(side, device=start.device).view(-1, 1) + 0.5)
    distance = torch.arange(size, device=start.device) + 0.5 - centre.clamp(0.5, size - 0.5)
    weights = (1 - distance.abs() / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(2, keepdim=True)


def _blur(side: int) -> Tensor:
    """(side, side): a Gaussian blur of one axis as a matrix. On a CPU its product takes a fraction of a convolution."""
    sigma = max(side / 160, 0.6)
    reach = min(round(3 * sigma), side - 1)
    bell = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    bell = (bell / bell.sum()).expand(side, -1)
    mirrored = F.pad(torch.arange(float(side))[None], (reach, reach), mode="reflect")[0].long()
    return torch.zeros(side, side).scatter_add_(1, mirrored.unfold(0, 2 * reach + 1, 1), bell)
