"""ResNet-50 for chest X-rays: grey images in, one logit a finding out. The network of Park et al.

Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, in MONAI's form, which has the stride in a
block's 3x3 convolution as torchvision's `resnet50` has. Submodules of `body` have torchvision's names, so that its
ImageNet weights load. Fewer channels (`width`) and fewer blocks (`layers`) make networks for a CPU.
"""

from __future__ import annotations

import copy
import os
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fewscans.nn.dense import count_macs, reset_parameters
from fewscans.nn.inception import load_weights

IMAGENET_STD = (0.229, 0.224, 0.225)  # of red, green and blue in [0, 1]: torchvision divides its inputs by these
PARTS = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")


class ResNet(nn.Module):
    """(B, 1, S, S), grey in [0, 1] minus the image's mean, in; (B, findings) logits out. The last map is S / 32 a side.

    width: channels of the first convolution; the last map has 32 times as many.   layers: blocks of each of the four
    stages. The defaults are ResNet-50. On a CPU `network.to(memory_format=torch.channels_last)` saves time.
    """

    def __init__(self, findings: int, width: int = 64, layers: Sequence[int] = (3, 4, 6, 3)):
        from monai.networks.nets.resnet import ResNet as Monai

        super().__init__()
        network = Monai(
            "bottleneck",
            list(layers),
            [width, 2 * width, 4 * width, 8 * width],
            spatial_dims=2,
            n_input_channels=1,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )
        self.body = nn.Sequential(OrderedDict((name, getattr(network, name)) for name in PARTS))
        self.head = nn.Linear(32 * width, findings)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """He initialisation; from torch's own generator if none is given."""
        reset_parameters(self, generator)

    def maps(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) → (B, 32 * width, S / 32, S / 32)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).mean((2, 3)))

    def macs(self, side: int = 224) -> int:
        """Multiply-adds for one image of that many pixels a side, forward."""
        return count_macs(self, (1, 1, side, side))


def load_imagenet(network: ResNet, path: str | os.PathLike) -> None:
    """Weights of torchvision's `resnet50`, a state dict, for all but the last layer, which keeps its own.

    The filters of red, green and blue, each over the standard deviation by which torchvision divides that colour, are
    added up. So a grey image minus its mean has the answers of the same image in RGB, normalised.
    Raises DataError if the file is no such state dict, or if it does not fit, as with a width other than 64.
    """
    body, grey = copy.deepcopy(network.body), network.body.conv1
    body.conv1 = nn.Conv2d(3, grey.out_channels, grey.kernel_size, grey.stride, grey.padding, bias=False)
    load_weights(body, path, without=("fc.",))
    filters = body.conv1.weight.detach() / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    network.body.load_state_dict(body.state_dict() | {"conv1.weight": filters.sum(1, keepdim=True)})
