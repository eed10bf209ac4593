"""The base regressor of Hydranet: a scan in, one number out, 196,418 parameters.

Source: Dubost et al., Hydranet: Data Augmentation for Regression Neural Networks, MICCAI 2019, figure 2. Its caption
names the parts (3D convolutions with a ReLU behind each, skip connections that concatenate, global average pooling, one
linear layer without activation) and the number of parameters. We took the layers from that number: among networks of
one or two blocks of 3x3x3 convolutions with biases, only two blocks of two convolutions with 32 and 64 maps, each
block's input concatenated to its output, have as many, and their mirror image of 64 and 32 maps.

The number says nothing of padding (here zeros, so that sizes stay) nor of the pooling between the blocks (here the
maximum of 2x2x2), and the paper nothing of initial weights (here Keras' default, as the paper used Keras: uniform
Glorot, biases zero).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAPS = (32, 64)  # of the first and the second block
POOL = 2


class BaseRegressor(nn.Module):
    """in (B, 1, D, H, W); out (B,).

    dropout: probability with which each value behind a convolution, and each feature behind the global average, is put
    to zero in training (the paper's variant has 0.3). Masks are decided by one seed an image, see `forward`.
    norm: batch norm behind each convolution, before the ReLU, as the paper's network has not; then 196,802 parameters.
    Images of depth 1 meet the middle plane of each kernel, as the zeros around them add nothing, and are pooled by
    1x2x2. On a CPU, `base.to(memory_format=torch.channels_last_3d)` saves time and changes no result.
    Raises ValueError if dropout is not in [0, 1).
    """

    def __init__(self, dropout: float = 0.0, norm: bool = False):
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        self.dropout = dropout
        first, second = MAPS
        pairs = ((1, first), (first, first), (1 + first, second), (second, second))
        self.convolutions = nn.ModuleList(nn.Conv3d(a, b, 3, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm3d(b) if norm else nn.Identity() for _, b in pairs)
        self.output = nn.Linear(1 + first + second, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Uniform Glorot weights and zero biases; from torch's own generator if none is given."""
        with torch.no_grad():
            for layer in (*self.convolutions, self.output):
                fan_out, fan_in = layer.weight.shape[:2]
                taps = layer.weight[0, 0].numel()
                bound = math.sqrt(6 / ((fan_in + fan_out) * taps))
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()

    def forward(self, x: Tensor, seeds: Tensor | Sequence[int] | None = None) -> Tensor:
        """One number for each scan.

        seeds: (B,) integers, one for each image's dropout masks, wanted only in training with dropout. An image with
        its seed is given the same masks alone and in any batch, on one kind of device.
        Raises ValueError for images of another form or with a side below 2 voxels, but for a depth of 1, and for seeds
        that lack or do not fit.
        """
        if x.ndim != 5 or x.shape[1] != 1:
            raise ValueError(f"BaseRegressor wants (B, 1, D, H, W), got {tuple(x.shape)}")
        window = _windows(x.shape[2:])
        if any(side < pool for side, pool in zip(x.shape[2:], window, strict=True)):
            raise ValueError(f"an image of {tuple(x.shape[2:])} voxels is too small; no size may be below {POOL}")
        masks = self._masks(x, seeds)
        y = masks(F.relu_(self._block(0, x)))
        # Pooling before the ReLU, with which a maximum commutes, and before concatenating: fewer values, same result.
        y = F.relu_(F.max_pool3d(masks(self._block(1, y)), window))
        between = torch.cat([F.max_pool3d(x, window), y], 1)  # (B, 33, D/2, H/2, W/2)
        y = masks(F.relu_(self._block(2, between)))
        y = masks(F.relu_(self._block(3, y)))
        features = torch.cat([between.mean((2, 3, 4)), y.mean((2, 3, 4))], 1)  # (B, 97)
        return self.output(masks(features)).squeeze(1)

    def macs(self, size: Sequence[int]) -> int:
        """Multiply-adds of the convolutions for one image of that size (D, H, W), forward."""
        coarse = [side // pool for side, pool in zip(size, _windows(size), strict=True)]
        weights = [layer.weight.numel() for layer in self.convolutions]
        fine, coarse = (math.prod(s) // (1 if s[0] > 1 else 3) for s in (size, coarse))
        return fine * sum(weights[:2]) + coarse * sum(weights[2:])

    def _block(self, nth: int, x: Tensor) -> Tensor:
        """A convolution and what follows it: as one of the plane where the depth is 1."""
        layer = self.convolutions[nth]
        if x.shape[2] > 1:
            return self.norms[nth](layer(x))
        plane = F.conv2d(x.squeeze(2), layer.weight[:, :, 1], layer.bias, padding=1)
        return self.norms[nth](plane.unsqueeze(2))

    def _masks(self, x: Tensor, seeds: Tensor | Sequence[int] | None):
        """The function that drops values, its generators set to the start of each image's masks."""
        if not self.training or not self.dropout:
            return lambda y: y
        if seeds is None:
            raise ValueError("dropout in training wants seeds, one an image: draw them with regressor.mask_seeds")
        seeds = [int(seed) for seed in seeds]
        if len(seeds) != len(x):
            raise ValueError(f"{len(x)} images want as many seeds, got {len(seeds)}")
        generators = [torch.Generator(x.device).manual_seed(seed) for seed in seeds]
        keep = 1 - self.dropout

        def drop(y: Tensor) -> Tensor:
            kept = torch.empty(y.shape, dtype=torch.bool, device=y.device)  # a quarter of a float mask's memory
            for image, generator in zip(kept, generators, strict=True):
                image.bernoulli_(keep, generator=generator)
            return (y * kept).div_(keep)

        return drop


def _windows(size: Sequence[int]) -> tuple[int, int, int]:
    """Of the pool between the blocks."""
    return (POOL if size[0] > 1 else 1, POOL, POOL)


def mask_seeds(shape: int | Sequence[int], generator: torch.Generator) -> Tensor:
    """Seeds for the dropout masks of that many images, int64, from a CPU generator."""
    return torch.randint(2**62, (shape,) if isinstance(shape, int) else tuple(shape), generator=generator)


@dataclass(frozen=True)
class LabelScale:
    """Labels as the network sees them, divided by a constant of the training set; whoever centres them does so before.

    Where black images stand in sets, labels are not centred: a black image's label is 0 and must stay so, and without
    a mean subtracted it does.
    """

    constant: float

    def __post_init__(self):
        if not (math.isfinite(self.constant) and self.constant > 0):
            raise ValueError(f"labels are divided by a finite number above 0, got {self.constant}")

    @classmethod
    def of(cls, labels: Tensor) -> LabelScale:
        """From the training labels: their root mean square, so that a network that says 0 has mean squared error 1.

        Raises ValueError if there are none, if all are 0 or if one is not finite.
        """
        labels = torch.as_tensor(labels).double()
        if not labels.numel() or not torch.isfinite(labels).all() or not labels.any():
            shown = labels.flatten().tolist()[:5]
            raise ValueError(f"labels to scale by must be finite and not all 0, got {labels.numel()}: {shown} ...")
        return cls(float(labels.square().mean().sqrt()))

    def to_network(self, labels: Tensor) -> Tensor:
        return labels / self.constant

    def from_network(self, predictions: Tensor) -> Tensor:
        return predictions * self.constant
