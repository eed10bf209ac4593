"""The ResNet for chest X-rays has ResNet-50's size and names, and takes torchvision's weights for grey images."""

import functools

import pytest
import torch
from torch import nn

from fewscans.errors import DataError
from fewscans.nn.resnet import IMAGENET_STD, ResNet, load_imagenet


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(seed: int = 0, findings: int = 3) -> ResNet:
    network = ResNet(findings, width=8, layers=(1, 1, 2, 1))
    network.reset_parameters(generator(seed))
    return network.eval()


@functools.cache
def full() -> ResNet:
    return ResNet(1000).eval()


def in_colour(network: ResNet) -> nn.Sequential:
    """The body for RGB, its norms as if trained."""
    body = ResNet(1, network.head.in_features // 32, [len(network.body[i]) for i in range(4, 8)]).body
    grey = body.conv1
    body.conv1 = nn.Conv2d(3, grey.out_channels, 7, 2, 3, bias=False)
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1, generator=generator(1))
            nn.init.uniform_(layer.running_var, 0.5, 1.5, generator=generator(2))
    return body.eval()


# -------- the published network ---------------------------------------------------------------------------------------


def test_the_network_has_the_published_size():
    """25,557,032 parameters with 1000 classes and three colours, 4.09e9 multiply-adds at 224 pixels."""
    two_more_colours = 2 * 64 * 7 * 7
    assert sum(p.numel() for p in full().parameters()) + two_more_colours == 25_557_032
    assert full().macs(224) + two_more_colours * 112 * 112 == 4_089_184_256


def test_weights_have_torchvisions_names():
    names = full().body.state_dict().keys()
    assert len(names) + 2 == 320  # with fc.weight and fc.bias
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"} < names


@torch.no_grad()
def test_maps_have_a_32nd_of_the_images_side():
    x = torch.zeros(2, 1, 64, 96)
    assert small().maps(x).shape == (2, 256, 2, 3)
    assert small()(x).shape == (2, 3)
    assert full().maps(x[:1]).shape == (1, 2048, 2, 3)


@torch.no_grad()
def test_logits_are_the_head_on_the_maps_mean():
    network, x = small(), torch.randn(2, 1, 64, 64, generator=generator())
    assert torch.equal(network(x), network.head(network.maps(x).mean((2, 3))))


def test_a_reset_is_decided_by_its_generator():
    a, b, c = (small(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["body.conv1.weight"], c["body.conv1.weight"])
    assert not torch.equal(a["head.weight"], c["head.weight"])


def test_all_layers_learn():
    network = small().train()
    network(torch.randn(2, 1, 64, 64, generator=generator())).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


# -------- ImageNet weights --------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_grey_image_minus_its_mean_has_the_answers_of_the_normalised_image_in_colour(tmp_path):
    network = small()
    body, grey = in_colour(network), torch.rand(2, 1, 64, 64, generator=generator())
    head = {"fc.weight": torch.zeros(1000, 256), "fc.bias": torch.zeros(1000)}
    torch.save(body.state_dict() | head, tmp_path / "resnet.pth")
    before = network.head.weight.clone()
    load_imagenet(network, tmp_path / "resnet.pth")
    centred = grey - grey.mean((2, 3), keepdim=True)
    expected = body(centred.expand(-1, 3, -1, -1) / torch.tensor(IMAGENET_STD).view(3, 1, 1))
    torch.testing.assert_close(network.maps(centred), expected, atol=1e-3, rtol=1e-3)
    assert expected.std() > 0.01
    assert torch.equal(network.head.weight, before)


def test_weights_of_another_width_are_a_data_error_and_change_nothing(tmp_path):
    torch.save(in_colour(ResNet(1, 16, (1, 1, 2, 1))).state_dict(), tmp_path / "resnet.pth")
    network = small()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    with pytest.raises(DataError, match="resnet.pth: .* tensors are missing, unknown or of another shape"):
        load_imagenet(network, tmp_path / "resnet.pth")
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_a_damaged_file_is_a_data_error(tmp_path):
    (tmp_path / "resnet.pth").write_bytes(b"not weights")
    with pytest.raises(DataError, match="resnet.pth: no readable state dict"):
        load_imagenet(small(), tmp_path / "resnet.pth")
