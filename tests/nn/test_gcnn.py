"""NoduleNet has the paper's size and shape, and is invariant exactly where its head and its pools allow it."""

import functools

import pytest
import torch
from torch import nn

from fewscans.groups import NAMES, Group
from fewscans.nn.gcnn import NoduleNet, scaled_channels
from fewscans.nn.gconv import GroupConv, LiftingConv, act_on_features, act_on_image

PLANE = ("Z2", "p4", "p4m")
SPACE = ("Z3", "D4", "D4h", "O", "Oh")
TOLERANCE = 1e-5
DIFFERS = 1e-3


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def patch_of(name: str) -> tuple[int, ...]:
    """The smallest patch whose size is even at every pool; with one pool fewer in z than in y and x."""
    return (8, 8) if name in PLANE else (4, 8, 8)


def trained(net: NoduleNet, steps: int = 4) -> NoduleNet:
    """A few steps from random biases, so that norms have moments, scales and shifts that are no longer trivial."""
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for norm in net.norms:
        nn.init.uniform_(norm.bias)  # upwards: a network of few channels must not die
        norm.momentum = 0.5  # moments that fit the weights after so few steps
    for _ in range(steps):
        x, y = torch.randn(8, 1, *net.patch), torch.arange(8) % 2.0
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net.train()(x), y).backward()
        optimiser.step()
    return net.eval()


def spread(net: NoduleNet, x: torch.Tensor, elements=None) -> float:
    """How much the logits of turned copies differ, in units of the logits' size.

    Fails for a network that is invariant only because it answers every patch alike.
    """
    elements = range(net.group.order) if elements is None else elements
    with torch.no_grad():
        logits = torch.stack([net(act_on_image(net.group, h, x)) for h in elements])
    size = logits.abs().max()
    assert logits[0].max() - logits[0].min() > DIFFERS * size, "the network does not look at its patch"
    return float((logits - logits[0]).abs().max() / size)


# -------- the paper's network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "convolutions", "classifier"),
    [
        ("Z3", 214_704, 31_106),
        ("D4", 217_242, 89_426),
        ("D4h", 214_380, 124_418),
        ("O", 219_753, 151_634),
        ("Oh", 213_894, 209_954),
    ],
)
def test_parameters_are_the_papers_networks(name, convolutions, classifier):
    """Counts by the published channels; the paper's last layer has two logits with a bias each, ours has one."""
    net = NoduleNet(name)
    counted = sum(p.numel() for m in net.modules() if isinstance(m, LiftingConv | GroupConv) for p in m.parameters())
    assert counted == net.convolution_parameters() == convolutions
    assert 2 * sum(p.numel() for p in net.classifier.parameters()) == classifier


@pytest.mark.parametrize(("name", "convolutions"), [("D4", 26_838), ("D4h", 13_419), ("Z3", 214_704)])
def test_equal_compute_divides_channels_by_the_order(name, convolutions):
    net = NoduleNet(name, budget="compute")
    assert net.convolution_parameters() == convolutions
    assert net.macs() == NoduleNet("Z3").macs()


@pytest.mark.parametrize(("name", "gmacs"), [("Z3", 0.54), ("D4", 4.30), ("D4h", 8.28), ("O", 12.25), ("Oh", 23.40)])
def test_multiply_adds_are_those_of_the_papers_networks(name, gmacs):
    assert NoduleNet(name).macs() / 1e9 == pytest.approx(gmacs, abs=0.006)


@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds_are_those_of_the_convolutions_that_run(name):
    """Counted from the shapes that pass through, not from a formula."""
    net = NoduleNet(name, patch_of(name), width=4)
    counted = []

    def count(layer, inputs, output):
        weight = layer.expanded_weight()
        counted.append(weight.numel() * output[0, 0, 0].numel())

    for layer in net.convolutions:
        layer.register_forward_hook(count)
    net.eval()(torch.zeros(1, 1, *net.patch))
    assert sum(counted) == net.macs()


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_the_groups_are_about_equal(name):
    plain = NoduleNet("Z2" if name in PLANE else "Z3", patch_of(name), 16).convolution_parameters()
    assert NoduleNet(name, patch_of(name), 16).convolution_parameters() == pytest.approx(plain, rel=0.06)


def test_channels_are_rounded_and_never_vanish():
    assert scaled_channels(16, Group.named("D4")) == (6, 6, 11, 11, 23, 23)
    assert scaled_channels(16, Group.named("Oh")) == (2, 2, 5, 5, 9, 9)
    assert scaled_channels(8, Group.named("Oh"), "compute") == (1, 1, 1, 1, 1, 1)


def test_channels_may_be_given():
    net = NoduleNet("p4", (16, 16), channels=(1, 2, 3, 4, 5, 6))
    assert [layer.out_channels for layer in net.convolutions] == [1, 2, 3, 4, 5, 6]
    assert net(torch.zeros(2, 1, 16, 16)).shape == (2,)


@pytest.mark.parametrize("head", ["paper", "invariant"])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_patches_becomes_a_batch_of_logits(name, head):
    net = NoduleNet(name, patch_of(name), width=4, head=head)
    logits = net(torch.randn(3, 1, *net.patch))
    assert logits.shape == (3,)
    logits.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_pools_halve_as_in_the_paper():
    assert NoduleNet("Z3").feature_sizes()[-1] == (3, 9, 9)
    sides = [48, 24, 24, 12, 12, 6, 6]
    assert NoduleNet("p4m", (48, 48)).feature_sizes() == [(side, side) for side in sides]


# -------- symmetry ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p4", "p4m", "D4", "D4h"])
@pytest.mark.parametrize("when", ["fresh", "trained"])
def test_features_turn_with_the_patch(name, when):
    net = NoduleNet(name, patch_of(name), width=8)
    net = trained(net) if when == "trained" else net.eval()
    x = torch.randn(2, 1, *net.patch)
    with torch.no_grad():
        y = net.features(x)
        for h in range(net.group.order):
            error = (net.features(act_on_image(net.group, h, x)) - act_on_features(net.group, h, y)).abs().max()
            assert error < TOLERANCE * y.abs().max() and y.std() > DIFFERS * y.abs().max()


@pytest.mark.parametrize("name", ["p4", "p4m", "D4", "D4h"])
@pytest.mark.parametrize("when", ["fresh", "trained"])
def test_with_the_invariant_head_turned_patches_get_the_same_logit(name, when):
    net = NoduleNet(name, patch_of(name), width=8, head="invariant")
    net = trained(net) if when == "trained" else net.eval()
    assert spread(net, torch.randn(8, 1, *net.patch)) < TOLERANCE


@pytest.mark.parametrize("name", ["p4", "p4m", "D4", "D4h"])
def test_with_the_papers_head_they_do_not(name):
    net = trained(NoduleNet(name, patch_of(name), width=8, head="paper"))
    assert spread(net, torch.randn(8, 1, *net.patch)) > DIFFERS


@functools.cache
def plane_net(size: int) -> NoduleNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return trained(NoduleNet("p4m", (size, size), width=8, head="invariant"))


@pytest.mark.parametrize("size", [48, 32])
def test_sizes_even_at_every_pool_keep_invariance(size):
    assert spread(plane_net(size), torch.randn(8, 1, size, size)) < TOLERANCE


@pytest.mark.parametrize("size", [50, 28])
def test_sizes_odd_at_a_pool_end_invariance(size):
    """50, 25, 12: the pool drops a last row, which after a flip is another row."""
    assert spread(plane_net(size), torch.randn(8, 1, size, size)) > DIFFERS


@pytest.mark.parametrize("name", ["O", "Oh"])
def test_a_pool_that_spares_z_ends_the_law_for_turns_that_exchange_z(name):
    """The paper's first pool is 1x2x2: on a cube, the groups of the cube keep only the elements that leave z alone."""
    net = trained(NoduleNet(name, (8, 8, 8), width=4))
    x = torch.randn(2, 1, 8, 8, 8)
    with torch.no_grad():
        y = net.features(x)  # (2, 1, 1) positions are left
        for h, element in enumerate(net.group.elements):
            ours, turned = net.features(act_on_image(net.group, h, x)), act_on_features(net.group, h, y)
            if abs(element[0, 0]) == 1:
                assert (ours - turned).abs().max() < TOLERANCE * y.abs().max()
            else:
                assert ours.shape != turned.shape  # not even the sizes agree


CUBE = ((2, 2, 2), (2, 2, 2), (1, 1, 1))


@pytest.mark.parametrize("name", SPACE[1:])
@pytest.mark.parametrize("head", ["paper", "invariant"])
def test_on_cubes_with_cubic_pools_every_group_of_space_keeps_the_law_to_the_end(name, head):
    """12, 6, 3: the third pool is left out, as it would meet an odd size."""
    net = trained(NoduleNet(name, (12, 12, 12), width=4, head=head, pools=CUBE), steps=2)
    x = torch.randn(4, 1, 12, 12, 12)
    with torch.no_grad():
        y = net.features(x)
        for h in range(0, net.group.order, 5):
            error = (net.features(act_on_image(net.group, h, x)) - act_on_features(net.group, h, y)).abs().max()
            assert error < TOLERANCE * y.abs().max() and y.std() > DIFFERS * y.abs().max()
    if head == "invariant":
        assert spread(net, x, range(0, net.group.order, 5)) < TOLERANCE


@pytest.mark.parametrize("name", SPACE[1:])
def test_a_pool_that_meets_an_odd_size_ends_invariance_in_space_too(name):
    net = trained(NoduleNet(name, (14, 14, 14), width=4, head="invariant", pools=((2, 2, 2),) * 3), steps=2)
    assert spread(net, torch.randn(4, 1, 14, 14, 14)) > DIFFERS


def test_a_pool_left_out_leaves_the_sizes():
    assert NoduleNet("O", (12, 12, 12), pools=CUBE).feature_sizes()[-3:] == [(3, 3, 3)] * 3
    exported = NoduleNet("O", (12, 12, 12), width=4, pools=CUBE).export()
    assert sum(isinstance(stage, nn.MaxPool3d) for stage in exported.stages) == 2


def test_a_plain_network_is_not_invariant():
    net = trained(NoduleNet("Z2", (16, 16), width=8, head="invariant"))
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        assert (net(x) - net(x.flip(-1))).abs().max() > DIFFERS * net(x).abs().max()


# -------- export and errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["paper", "invariant"])
@pytest.mark.parametrize("name", NAMES)
def test_an_exported_network_is_plain_torch_with_the_same_logits(name, head):
    net = trained(NoduleNet(name, patch_of(name), width=4, head=head))
    plain = net.export()
    assert not any(type(m).__module__.endswith("gconv") for m in plain.modules())
    x = torch.randn(3, 1, *net.patch)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), net(x), rtol=1e-5, atol=1e-5)
        for p in net.parameters():
            p.zero_()
        assert plain(x).abs().max() > 0  # a copy, not a view


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(group="D4", patch=(48, 48)), "wants a patch with 3 sizes"),
        (dict(group="p4", patch=(12, 48, 48)), "wants a patch with 2 sizes"),
        (dict(group="p4", patch=(4, 4)), r"pooled to \(0, 0\)"),
        (dict(group="p4", patch=(48, 48), head="mean"), "'mean'"),
        (dict(group="p4", patch=(48, 48), budget="flops"), "'flops'"),
        (dict(group="p4", patch=(48, 48), channels=(1, 2, 3)), "six"),
        (dict(group="O", patch=(12, 12, 12), pools=((2, 2, 2), (2, 2, 2))), "pools must be three windows of 3 sizes"),
        (dict(group="O", patch=(12, 12, 12), pools=((2, 2), (2, 2), (2, 2))), "pools must be three windows of 3 sizes"),
        (dict(group="p4", patch=(48, 48), pools=((2, 2), (2, 2), (2, 0))), "of at least 1"),
        (dict(group="p5", patch=(48, 48)), "unknown group 'p5'"),
    ],
)
def test_arguments_that_make_no_network_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NoduleNet(**arguments)


@pytest.mark.parametrize("shape", [(2, 1, 16, 15), (2, 2, 16, 16), (1, 16, 16), (2, 1, 1, 16, 16)])
def test_patches_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"wants \(B, 1, 16, 16\)"):
        NoduleNet("p4", (16, 16), width=4)(torch.zeros(shape))


def test_one_generator_decides_the_initial_network():
    def drawn(seed):
        net = NoduleNet("p4", (16, 16), width=4)
        net.reset_parameters(torch.Generator().manual_seed(seed))
        return torch.cat([p.flatten() for p in net.parameters()])

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
