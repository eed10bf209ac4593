"""Inception V3 as Liu et al. (arXiv 1703.02442) use it on patches: one tower a magnification, one logit.

Source of the layers: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, in the form of TensorFlow's slim
(3x3 stem, batch norm with eps 0.001, no auxiliary head). Submodules have the names of torchvision's `inception_v3`, so
that its ImageNet weights load. Full width has 21.8 million parameters; the paper's 40X-small, `width=0.1`, has 281,571.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans.errors import DataError
from fewscans.nn.dense import count_macs, reset_parameters

MIN_FILTERS = 16  # of a convolution at small widths, as in slim; filters are rounded down
SMALLEST = 75  # pixels a patch needs for one pixel behind the last block


class InceptionV3(nn.Module):
    """One (B, 3, P, P) in [-1, 1] for each level in, P at least 75; (B,) logits out.

    width: multiplier of every convolution's filters.   levels: one tower for each, all with their own weights; their
    features, 2048 each at full width, are concatenated before the last layer.
    On a CPU `network.to(memory_format=torch.channels_last)` saves time.   Raises ValueError for a width not above 0.
    """

    def __init__(self, width: float = 1.0, levels: Sequence[int] = (0,)):
        super().__init__()
        if not width > 0 or not levels:
            raise ValueError(f"width must be above 0 and levels at least one, got width {width} and levels {levels}")
        self.levels = tuple(levels)
        self.towers = nn.ModuleList(_Tower(width) for _ in self.levels)
        self.fc = nn.Linear(len(self.levels) * self.towers[0].features, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """He initialisation; from torch's own generator if none is given."""
        reset_parameters(self, generator)

    def forward(self, *patches: Tensor) -> Tensor:
        if any(min(x.shape[2:]) < SMALLEST for x in patches):
            raise ValueError(
                f"patches must have at least {SMALLEST} pixels a side, got {[x.shape[2] for x in patches]}"
            )
        features = [tower(x).mean((2, 3)) for tower, x in zip(self.towers, patches, strict=True)]
        return self.fc(torch.cat(features, 1)).squeeze(1)

    def macs(self, patch: int = 299) -> int:
        """Multiply-adds for one patch of that many pixels a side at each level, forward."""
        return count_macs(self, *[(1, 3, patch, patch)] * len(self.levels))


def load_imagenet(network: InceptionV3, path: str | os.PathLike) -> None:
    """Weights of torchvision's `inception_v3`, a state dict, into every tower; its two classifiers are left out.

    Raises DataError if the file is no such state dict, or if it does not fit, as with a width other than 1.
    """
    for tower in network.towers:
        load_weights(tower, path, without=("fc.", "AuxLogits."))


def load_weights(network: nn.Module, path: str | os.PathLike, without: tuple[str, ...] = ()) -> None:
    """A state dict from a file, all its tensors but those whose names begin as `without` says.

    Raises DataError if the file holds no state dict, or has other names or shapes than the network, which then keeps
    its weights. Counters of batches, which old files lack and nothing reads, are left out.
    """
    counter = "num_batches_tracked"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: x for name, x in state.items() if not name.startswith(without) and not name.endswith(counter)}
        shapes = {name: tuple(x.shape) for name, x in state.items()}
    except Exception as error:  # torch raises many kinds for a damaged file
        raise DataError(
            f"{path}: no readable state dict ({type(error).__name__}); download the weights again"
        ) from error
    own = {name: tuple(x.shape) for name, x in network.state_dict().items() if not name.endswith(counter)}
    wrong = sorted(name for name in own.keys() | shapes.keys() if own.get(name) != shapes.get(name))
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} tensors are missing, unknown or of another shape, first {wrong[0]}: the file has "
            f"{shapes.get(wrong[0])}, the network {own.get(wrong[0])}; give the weights of this network"
        )
    network.load_state_dict(state, strict=False)


ROW, COLUMN = (1, 7), (7, 1)
_POOLS = {"average": nn.AvgPool2d(3, 1, 1), "maximum": nn.MaxPool2d(3, 2)}


def _block_a(pool: int) -> list[list]:
    """Branches, each a list of steps: a pool by name, (name, filters, kernel[, stride]), or a fork, a list of such.

    Kernels of stride 1 are padded so that sizes stay, those of stride 2 not.
    """
    return [
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ["average", ("branch_pool", pool, 1)],
    ]


def _block_c(inner: int) -> list[list]:
    double = (("_1", inner, 1), ("_2", inner, COLUMN), ("_3", inner, ROW), ("_4", inner, COLUMN), ("_5", 192, ROW))
    return [
        [("branch1x1", 192, 1)],
        [("branch7x7_1", inner, 1), ("branch7x7_2", inner, ROW), ("branch7x7_3", 192, COLUMN)],
        [("branch7x7dbl" + name, filters, kernel) for name, filters, kernel in double],
        ["average", ("branch_pool", 192, 1)],
    ]


_BLOCK_B = [
    [("branch3x3", 384, 3, 2)],
    [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)],
    ["maximum"],
]
_BLOCK_D = [
    [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
    [
        ("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, ROW), ("branch7x7x3_3", 192, COLUMN),
        ("branch7x7x3_4", 192, 3, 2),
    ],
    ["maximum"],
]  # fmt: skip
_BLOCK_E = [
    [("branch1x1", 320, 1)],
    [("branch3x3_1", 384, 1), [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))]],
    [
        ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3),
        [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))],
    ],
    ["average", ("branch_pool", 192, 1)],
]  # fmt: skip
_BLOCKS = {
    "Mixed_5b": _block_a(32), "Mixed_5c": _block_a(64), "Mixed_5d": _block_a(64),
    "Mixed_6a": _BLOCK_B,
    "Mixed_6b": _block_c(128), "Mixed_6c": _block_c(160), "Mixed_6d": _block_c(160), "Mixed_6e": _block_c(192),
    "Mixed_7a": _BLOCK_D,
    "Mixed_7b": _BLOCK_E, "Mixed_7c": _BLOCK_E,
}  # fmt: skip


class _Tower(nn.Sequential):
    """The network up to the last feature map: (B, 3, P, P) → (B, features, S, S), S = 8 for P = 299."""

    def __init__(self, width: float):
        super().__init__()
        self.features = 3

        def convolution(name: str, filters: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
            filters = _scaled(filters, width)
            self.add_module(name, _Convolution(self.features, filters, kernel, stride, padding))
            self.features = filters

        convolution("Conv2d_1a_3x3", 32, 3, stride=2)
        convolution("Conv2d_2a_3x3", 32, 3)
        convolution("Conv2d_2b_3x3", 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        convolution("Conv2d_3b_1x1", 80, 1)
        convolution("Conv2d_4a_3x3", 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        for name, branches in _BLOCKS.items():
            block = _Block(self.features, branches, width)
            self.add_module(name, block)
            self.features = block.features


class _Block(nn.Module):
    """Branches side by side, their outputs concatenated."""

    def __init__(self, incoming: int, branches: list[list], width: float):
        super().__init__()
        self.branches = [[step if isinstance(step, str | list) else [step] for step in branch] for branch in branches]
        self.features = 0
        for branch in self.branches:
            channels = incoming
            for fork in branch:
                if isinstance(fork, str):
                    continue
                for name, filters, kernel, *stride in fork:
                    filters = _scaled(filters, width)
                    self.add_module(name, _Convolution(channels, filters, kernel, *(stride or (1, "same"))))
                channels = len(fork) * filters
            self.features += channels

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for branch in self.branches:
            ends = [x]
            for step in branch:
                y = ends[0]  # only the last step of a branch is a fork
                ends = [_POOLS[step](y)] if isinstance(step, str) else [getattr(self, name)(y) for name, *_ in step]
            outputs += ends
        return torch.cat(outputs, 1)


class _Convolution(nn.Module):
    def __init__(self, incoming: int, filters: int, kernel, stride: int = 1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(incoming, filters, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(filters, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _scaled(filters: int, width: float) -> int:
    return max(int(filters * width), MIN_FILTERS)
