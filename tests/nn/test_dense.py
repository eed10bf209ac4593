"""A sweep of the dense network gives each cell the logit of its patch, and a padded network would not."""

import pytest
import torch
from torch import nn

from fewscans.nn.dense import DenseDetector, count_macs

GEOMETRIES = [(39, 16, (0,)), (39, 16, (0, 1)), (299, 128, (0,)), (299, 128, (0, 2)), (43, 24, (1,)), (80, 32, (0, 1))]
EQUAL = 1e-4  # a logit


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def detector(patch: int, stride: int, levels, width: int = 4) -> DenseDetector:
    """In evaluation, with norms whose moments, scales and shifts are not trivial."""
    network = DenseDetector(patch, stride, levels, width)
    network.reset_parameters(generator())
    with torch.no_grad():
        for norm in (layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)):
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                values.uniform_(0.5, 1.5, generator=generator(1))
            norm.bias.sub_(1)
            norm.running_mean.sub_(1)
    return network.eval()


def regions(network: DenseDetector, rows: int, cols: int, batch: int = 2) -> list[torch.Tensor]:
    sides = [((rows - 1) * step + network.patch, (cols - 1) * step + network.patch) for step in network.strides]
    return [torch.rand(batch, 3, *side, generator=generator(i)) * 2 - 1 for i, side in enumerate(sides)]


@torch.no_grad()
def patch_by_patch(network: DenseDetector, images: list[torch.Tensor], rows: int, cols: int) -> torch.Tensor:
    logits = torch.empty(len(images[0]), rows, cols)
    for i in range(rows):
        for j in range(cols):
            corners = [(i * step, j * step) for step in network.strides]
            cut = [
                x[:, :, y : y + network.patch, z : z + network.patch] for x, (y, z) in zip(images, corners, strict=True)
            ]
            logits[:, i, j] = network(*cut)
    return logits


@torch.no_grad()
def largest_difference(network: DenseDetector, rows: int, cols: int) -> float:
    """Fails for a network that answers all cells alike."""
    images = regions(network, rows, cols)
    swept, cut = network.sweep(*images), patch_by_patch(network, images, rows, cols)
    assert swept.shape == cut.shape == (2, rows, cols)
    assert cut.std() > 20 * EQUAL, "the network does not look at its patch"
    return float((swept - cut).abs().max())


# -------- the sweep ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "cols"), [(1, 2), (2, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_sweep_gives_each_cell_the_logit_of_its_patch(geometry, rows, cols):
    assert largest_difference(detector(*geometry), rows, cols) <= EQUAL


def test_a_network_padded_to_keep_sizes_would_not():
    network = detector(39, 16, (0,))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.padding = (1, 1)
    network.kernel = 10  # side of its last map: 39 pixels, 20 behind the stem, 10 behind the pool
    assert largest_difference(network, 3, 3) > 10 * EQUAL


def test_a_network_whose_strides_do_not_divide_the_step_would_not():
    network = detector(39, 16, (0,))
    network.strides = [18]  # the step that regions are cut with; the maps have 18 / 4 pixels between cells
    assert largest_difference(network, 2, 2) > 10 * EQUAL


@pytest.mark.parametrize("geometry", [(39, 16, (0, 1)), (299, 128, (0,))], ids=str)
def test_folded_norms_change_no_logit(geometry):
    network = detector(*geometry)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    folded, images = network.folded(), regions(network, 2, 2)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    with torch.no_grad():
        assert (folded.sweep(*images) - network.sweep(*images)).abs().max() <= 1e-5
    assert all(torch.equal(before[name], values) for name, values in network.state_dict().items())


def test_memory_format_changes_no_logit():
    network = detector(39, 16, (0, 1))
    images = regions(network, 3, 3)
    with torch.no_grad():
        plain = network.sweep(*images)
        last = network.to(memory_format=torch.channels_last).sweep(*images)
    assert (last - plain).abs().max() <= 1e-5


# -------- layers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("geometry", "total_stride", "kernel", "channels", "parameters"),
    [
        ((39, 16, (0,)), 4, 4, [16, 24, 32, 48], 24_913),
        ((39, 16, (0, 1)), 4, 4, [16, 24, 32, 48], 49_825),
        ((299, 128, (0,)), 32, 5, [16, 24, 32, 48, 64, 96, 128, 192], 440_737),
        ((299, 128, (0, 3)), 16, 11, [16, 24, 32, 48, 64, 96, 128, 192], 881_473),
        ((25, 4, (0,)), 4, 1, [16, 24, 32, 48], 24_913),
    ],
    ids=str,
)
def test_layers_follow_from_patch_and_stride(geometry, total_stride, kernel, channels, parameters):
    network = DenseDetector(*geometry)
    assert (network.total_stride, network.kernel) == (total_stride, kernel)
    assert [m.out_channels for m in network.towers[0] if isinstance(m, nn.Conv2d)] == channels
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert all(step % total_stride == 0 for step in network.strides)
    assert network.towers[0].eval()(torch.zeros(1, 3, geometry[0], geometry[0])).shape[2:] == (kernel, kernel)


def test_multiply_adds_are_those_written_out():
    small = 16 * 27 * 19**2 + 24 * 144 * 17**2 + 32 * 216 * 6**2 + 48 * 288 * 4**2
    head = 48  # behind the mean
    assert DenseDetector(39, 16).macs() == small + head == 1_624_800
    assert DenseDetector(39, 16, (0, 1)).macs() == 2 * (small + head)
    assert DenseDetector(299, 128).macs() == 308_462_448


def test_a_cell_of_a_large_sweep_costs_a_third_of_its_patch():
    network, cells = DenseDetector(39, 16), 40**2
    a_cell = count_macs(network.towers[0], (1, 3, 39 * 16 + 39, 39 * 16 + 39)) / cells
    assert a_cell < 0.65e6
    assert a_cell < 0.4 * network.macs()


def test_every_level_has_its_say_and_every_parameter_learns():
    network = detector(39, 16, (0, 1)).train()
    images = [x.requires_grad_() for x in regions(network, 1, 1)]
    network(*images).sum().backward()
    assert all(x.grad.abs().max() > 0 for x in images)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_initial_weights_are_hes_and_decided_by_the_generator():
    network = DenseDetector(299, 128)
    for values in network.state_dict().values():
        values.fill_(7)  # a reset leaves nothing of what was
    network.reset_parameters(generator(3))
    again = DenseDetector(299, 128)
    again.reset_parameters(generator(3))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    again.reset_parameters(generator(4))
    assert not torch.equal(network.head.weight, again.head.weight)
    convolution = [layer for layer in network.towers[0] if isinstance(layer, nn.Conv2d)][-1]
    assert float(convolution.weight.detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


# -------- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "stride", "levels"),
    [(39, 6, (0,)), (39, 16, (0, 3)), (39, 0, (0,)), (24, 16, (0,)), (39, 16, ()), (39, 16, (-1,))],
    ids=str,
)
def test_a_geometry_that_makes_no_network_is_an_error(patch, stride, levels):
    with pytest.raises(ValueError, match="stride must be|too small"):
        DenseDetector(patch, stride, levels)


@pytest.mark.parametrize(
    "sizes",
    [
        [(39, 39)],
        [(39, 39)] * 3,
        [(55, 39), (39, 39)],
        [(40, 39), (39, 39)],
        [(23, 39), (31, 39)],
        [(55, 39), (55, 39)],
    ],
    ids=str,
)
def test_regions_that_hold_no_common_grid_are_an_error(sizes):
    with pytest.raises(ValueError, match="no common grid|argument"):
        detector(39, 16, (0, 1)).sweep(*(torch.zeros(1, 3, *size) for size in sizes))


def test_patches_of_another_size_are_an_error():
    with pytest.raises(ValueError, match="patches must be"):
        detector(39, 16, (0,))(torch.zeros(1, 3, 55, 39))
