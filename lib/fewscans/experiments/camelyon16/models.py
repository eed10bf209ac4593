"""The networks of an arm: new, or with the weights that a run left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fewscans.experiments import base
from fewscans.experiments.camelyon16.arms import Arm
from fewscans.nn import efficientnet, inception
from fewscans.nn.dense import DenseDetector

OVERVIEW_STRIDE = 32  # of the network that sees whole slides: how far it pools


class OnLevels(nn.Module):
    """A network whose inputs, one a level, come as a list."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        return self.net(*levels)


def network_of(spec: Arm, grid: base.Grid, pretrained: bool = False) -> nn.Module:
    """The untrained network of an arm.   pretrained: with the ImageNet weights that it starts from, if it has some.

    Raises DataError if these are not at hand.
    """
    width = grid.full if spec.full else grid.small
    if spec.overview:
        return DenseDetector(grid.overview, OVERVIEW_STRIDE, width=round(width))
    if spec.lite:
        net = efficientnet.EfficientNetLite0()
        if pretrained and spec.imagenet:
            efficientnet.load_imagenet(net, efficientnet.weights_path())
        return efficientnet.as_detector(net)
    if grid.network == "dense" and not spec.imagenet:
        return DenseDetector(grid.patch, grid.stride, spec.levels, round(width))
    net = inception.InceptionV3(1.0 if spec.imagenet else width, spec.levels)
    if pretrained and spec.imagenet:
        inception.load_imagenet(net, grid.imagenet)
    return net


def macs(net: nn.Module, grid: base.Grid) -> int:
    """Multiply-adds for one patch, forward; a dense network knows its patch."""
    return net.macs() if hasattr(net, "sweep") else net.macs(grid.patch)


def networks(spec: Arm, grid: base.Grid, weights: Mapping[str, Tensor], device: torch.device) -> list[nn.Module]:
    """The trained networks of a run, ready to predict."""
    nets = []
    for member in sorted({int(name.partition("/")[0]) for name in weights if "/" in name}):
        net, prefix = network_of(spec, grid), f"{member}/"
        net.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        net = net.eval().folded() if hasattr(net, "folded") else net.eval()
        nets.append(net.to(device).to(memory_format=torch.channels_last))
    return nets
