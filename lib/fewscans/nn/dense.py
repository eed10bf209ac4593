"""DenseDetector: a patch network that answers every cell of a region in one pass, as it would answer patch by patch.

Idea: no convolution or pool is padded, and all strides together divide the step between cells. So a patch meets the
same windows inside a region as when it is cut out, and neighbouring patches share their features. A network with SAME
padding, such as Inception V3, has no such sweep: zeros at the border of a patch change its features.

Liu et al. (arXiv 1703.02442) join several magnifications the same way: one tower for each, features concatenated before
the last layer. The layers of a tower are ours: they follow from `patch` and `stride`, see `_layers`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class DenseDetector(nn.Module):
    """Patches of RGB in, one logit out; or whole regions in, one logit a cell out.

    patch: side of a patch in pixels.   stride: step between cells in level-0 pixels, so stride / 2**level at a level.
    levels: one tower for each; level l is 2**l times coarser than level 0.   width: channels of the first convolution.
    On a CPU `network.to(memory_format=torch.channels_last)` saves time, and so does `folded`.
    Raises ValueError for a stride that some level does not divide into a multiple of 4 and for a patch below 25 pixels.
    """

    def __init__(self, patch: int, stride: int, levels: Sequence[int] = (0,), width: int = 16):
        super().__init__()
        self.patch, self.levels = patch, tuple(levels)
        if not self.levels or min(self.levels) < 0 or stride < 1 or stride % (4 << max(self.levels)):
            raise ValueError(
                f"stride must be a multiple of 4 at every level from 0, got stride {stride} and levels {self.levels}"
            )
        self.strides = [stride >> level for level in self.levels]
        layers, self.total_stride, self.kernel = _layers(patch, min(self.strides), width)
        self.towers = nn.ModuleList(_tower(layers) for _ in self.levels)
        self.head = nn.Conv2d(len(self.levels) * layers[-1][0], 1, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """He initialisation; from torch's own generator if none is given."""
        reset_parameters(self, generator)

    def forward(self, *patches: Tensor) -> Tensor:
        """One (B, 3, patch, patch) in [-1, 1] for each level → (B,) logits."""
        if any(tuple(x.shape[1:]) != (3, self.patch, self.patch) for x in patches):
            raise ValueError(
                f"patches must be (B, 3, {self.patch}, {self.patch}), got {[tuple(x.shape) for x in patches]}"
            )
        return self.sweep(*patches)[:, 0, 0]

    def sweep(self, *regions: Tensor) -> Tensor:
        """One region for each level → (B, rows, cols) logits, in evaluation those of `forward` on each patch.

        regions: (B, 3, (rows - 1) * stride / 2**level + patch, (cols - 1) * stride / 2**level + patch), in [-1, 1].
        Raises ValueError if the regions are not one a level, or are of other sizes.
        """
        grids = {
            tuple((size - self.patch) / step for size in x.shape[2:])
            for x, step in zip(regions, self.strides, strict=True)
        }
        if len(grids) != 1 or any(n < 0 or n % 1 for n in min(grids)):
            raise ValueError(
                f"regions of {[tuple(x.shape) for x in regions]} hold no common grid of cells with "
                f"patch {self.patch} and strides {self.strides}"
            )
        features = [
            F.avg_pool2d(tower(x), self.kernel, step // self.total_stride)  # (B, C, rows, cols)
            for tower, x, step in zip(self.towers, regions, self.strides, strict=True)
        ]
        return self.head(torch.cat(features, 1)).squeeze(1)

    def folded(self) -> DenseDetector:
        """A copy for prediction: each norm is folded into the convolution before it. Same logits, less time."""
        network = copy.deepcopy(self).eval()
        for tower in network.towers:
            for i, layer in enumerate(tower):
                if isinstance(layer, nn.BatchNorm2d):
                    tower[i - 1], tower[i] = fuse_conv_bn_eval(tower[i - 1], layer), nn.Identity()
        return network

    def macs(self) -> int:
        """Multiply-adds for one patch, forward."""
        return count_macs(self, *[(1, 3, self.patch, self.patch)] * len(self.levels))


def count_macs(network: nn.Module, *shapes: Sequence[int]) -> int:
    """Multiply-adds of the convolutions and linear layers for inputs of those shapes, forward: counted as they run."""
    network, total = copy.deepcopy(network).eval(), 0

    def count(layer: nn.Module, _, output: Tensor) -> None:
        nonlocal total
        total += layer.weight[0].numel() * output.numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(*[next(network.parameters()).new_zeros(shape) for shape in shapes])
    return total


def reset_parameters(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """He initialisation of every convolution, norms as at the start, a last layer that answers about 0."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            last = layer.bias is not None  # all others have a norm behind them, and so no bias
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if last else "relu", generator=generator)
            if last:
                nn.init.zeros_(layer.bias)


def _layers(patch: int, stride: int, width: int) -> tuple[list[tuple[int, int, bool]], int, int]:
    """The 3x3 convolutions (channels, stride, max-pool of 2 behind), their total stride, and the side of the last map.

    A convolution of stride 2, one with a pool, then pairs of convolutions. A pool follows a pair, and channels double,
    as long as the total stride still divides `stride` and the map keeps 5 pixels a side.
    """
    layers, total = [(width, 2, False), (3 * width // 2, 1, True)], 4
    size = ((patch - 3) // 2 - 1) // 2
    if size < 5:
        raise ValueError(f"a patch of {patch} pixels is too small for the layers, at least 25 are wanted")
    while True:
        size, width = size - 4, 2 * width
        pool = stride % (2 * total) == 0 and size // 2 >= 5
        layers += [(width, 1, False), (3 * width // 2, 1, pool)]
        if not pool:
            break
        size, total = size // 2, 2 * total
        if size < 8:  # a further pair would leave less than 4 pixels
            break
    return layers, total, size


def _tower(layers: list[tuple[int, int, bool]]) -> nn.Sequential:
    modules, incoming = [], 3
    for channels, stride, pool in layers:
        modules += [nn.Conv2d(incoming, channels, 3, stride, bias=False), nn.BatchNorm2d(channels)]
        modules += [nn.MaxPool2d(2)] * pool + [nn.ReLU(inplace=True)]  # a maximum commutes with the ReLU: fewer values
        incoming = channels
    return nn.Sequential(*modules)
