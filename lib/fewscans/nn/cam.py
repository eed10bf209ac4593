"""Class activation maps: where in an image a network sees each finding.

Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016. For a network whose answer is a
linear layer on the mean of its last maps, the same layer on the maps themselves tells how much each place adds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def cam(network: nn.Module, x: Tensor) -> Tensor:
    """(B, 1, S, S) → (B, K, h, w), one map a finding; a map's mean plus the finding's bias is its logit.

    network: with `maps` and `head`, such as `nn.resnet.ResNet`, in evaluation. Values are neither cut at 0 nor scaled:
    below 0, a place speaks against the finding.
    """
    return torch.einsum("kc,bchw->bkhw", network.head.weight, network.maps(x))


def upsampled(maps: Tensor, side: int) -> Tensor:
    """(B, K, h, w) → (B, K, side, side), bilinear, to lay over the image."""
    return F.interpolate(maps, (side, side), mode="bilinear", align_corners=False)
