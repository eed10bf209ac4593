"""Class activation maps explain a logit place by place, as torchcam computes them."""

import pytest
import torch
from torch.nn import functional as F

from fewscans.nn.cam import cam, upsampled
from fewscans.nn.efficientnet import Lite0XRay
from fewscans.nn.resnet import ResNet


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def resnet() -> ResNet:
    network = ResNet(3, width=8, layers=(1, 1, 1, 1))
    network.reset_parameters(generator())
    torch.nn.init.uniform_(network.head.bias, generator=generator(1))
    return network.eval()


def images() -> torch.Tensor:
    return torch.randn(2, 1, 96, 128, generator=generator())


@torch.no_grad()
@pytest.mark.parametrize("make", [resnet, lambda: Lite0XRay(3).eval()], ids=["ResNet", "Lite0XRay"])
def test_the_mean_of_a_map_plus_the_bias_is_the_logit(make):
    network, x = make(), images()
    maps = cam(network, x)
    assert maps.shape == (2, 3, 3, 4)
    torch.testing.assert_close(maps.mean((2, 3)) + network.head.bias, network(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_maps_are_torchcams():
    methods = pytest.importorskip("torchcam.methods")
    network, x = resnet().double(), images().double()
    ours = cam(network, x)
    with methods.CAM(network, "body", "head") as oracle:
        logits = network(x)
        for finding in range(3):
            theirs = oracle(class_idx=[finding] * 2, scores=logits, normalized=False)[0]
            torch.testing.assert_close(ours[:, finding], theirs, atol=1e-6, rtol=0)
    assert ours.min() < -0.01 and ours.max() > 0.01


def test_upsampled_maps_keep_each_places_value_at_its_centre():
    maps = torch.randn(2, 3, 4, 4, generator=generator())
    large = upsampled(maps, 12)
    assert large.shape == (2, 3, 12, 12)
    torch.testing.assert_close(large[:, :, 1::3, 1::3], maps)
    torch.testing.assert_close(F.avg_pool2d(upsampled(torch.ones(1, 1, 4, 4), 12), 3), torch.ones(1, 1, 4, 4))
