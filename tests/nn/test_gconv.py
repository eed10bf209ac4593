"""Group layers obey f(h·x) = h·f(x), equal their definition, and what would break the law is caught.

Everything that turns an image or a feature map here is written out from the definition, position by position; the
library's own `act_on_image` and `act_on_features` are checked against that first.
"""

import copy
import functools
import io
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from fewscans.groups import NAMES, Group
from fewscans.nn.gconv import (
    GroupBatchNorm,
    GroupConv,
    GroupPool,
    LiftingConv,
    act_on_features,
    act_on_image,
)

TOLERANCE = 1e-5  # of the output's scale, float32
BROKEN = 1e-2  # a broken law is off by far more than rounding
WITH_TURNS = [name for name in NAMES if name not in ("Z2", "Z3")]


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def side(name: str) -> tuple[int, ...]:
    """A small patch whose size is even at two pools."""
    group = Group.named(name)
    return (8, 8) if group.dim == 2 else (4, 4, 4)


def image(name: str, batch: int = 2, channels: int = 2) -> torch.Tensor:
    return torch.randn(batch, channels, *side(name))


def features(name: str, batch: int = 2, channels: int = 2) -> torch.Tensor:
    return torch.randn(batch, channels, Group.named(name).order, *side(name))


def turned_image(group: Group, h: int, x: torch.Tensor) -> torch.Tensor:
    """(h·x)(p) = x(h⁻¹p), with positions p counted from the centre; for sizes that h leaves alone."""
    return x.flatten(-group.dim)[..., sources(group.name, h, tuple(x.shape[-group.dim :]))].view_as(x)


@functools.cache
def sources(name: str, h: int, sizes: tuple[int, ...]) -> np.ndarray:
    """The flat index of h⁻¹p for every position p."""
    centred = 2 * np.array(list(np.ndindex(*sizes))) - (np.array(sizes) - 1)
    inverse = np.linalg.inv(true_group(name).elements[h]).round().astype(int)
    return np.ravel_multi_index(tuple(((centred @ inverse.T + np.array(sizes) - 1) // 2).T), sizes)


def true_group(name: str) -> Group:
    return Group.named(name.removesuffix("-sham"))


def index_of(group: Group, matrix: np.ndarray) -> int:
    return next(i for i, element in enumerate(group.elements) if np.array_equal(element, matrix))


@functools.cache
def orientations(name: str, h: int) -> list[int]:
    """The index of h⁻¹g for every g."""
    group = true_group(name)
    return [index_of(group, group.elements[h].T @ g) for g in group.elements]


def turned_features(group: Group, h: int, y: torch.Tensor) -> torch.Tensor:
    """(h·y)(p, g) = y(h⁻¹p, h⁻¹g)."""
    return turned_image(group, h, y[:, :, orientations(group.name, h)])


def turned(group: Group, h: int, x: torch.Tensor) -> torch.Tensor:
    return (turned_features if x.ndim == 3 + group.dim else turned_image)(group, h, x)


def breach(f, group: Group, x: torch.Tensor) -> float:
    """The largest |f(h·x) - h·f(x)| over all elements h, in units of the largest |f(x)|."""
    with torch.no_grad():
        y = f(x)
        errors = [(f(turned(group, h, x)) - turned(group, h, y)).abs().max() for h in range(group.order)]
        return float(max(errors) / y.abs().max())


def trained(module: nn.Module, x: torch.Tensor, steps: int = 3) -> nn.Module:
    """A few Adam steps towards a target that tells positions and orientations apart, from biases that are not zero."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    before = [p.clone() for p in module.parameters()]
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    target = torch.randn_like(module(x).detach())
    for _ in range(steps):
        optimiser.zero_grad()
        F.mse_loss(module(x), target).backward()
        optimiser.step()
    assert all(torch.isfinite(p).all() for p in module.parameters())
    assert not any(torch.equal(p, q) for p, q in zip(before, module.parameters(), strict=True))
    return module


class MaxPool(nn.Module):
    """Spatial max-pool by two of a feature map, every orientation by itself."""

    def forward(self, y):
        pool = F.max_pool2d if y.ndim == 5 else F.max_pool3d
        return pool(y.flatten(1, 2), 2).unflatten(1, y.shape[1:3])


def stack(group) -> nn.Sequential:
    """Two blocks with pools: what a network is made of."""
    blocks = [LiftingConv(group, 2, 2, 3), GroupBatchNorm(group, 2), nn.ReLU(), MaxPool()]
    blocks += [GroupConv(group, 2, 3, 3), GroupBatchNorm(group, 3), nn.ReLU(), MaxPool()]
    return nn.Sequential(*blocks)


LAYERS = {
    "lifting": (lambda g: LiftingConv(g, 2, 3, 3), image),
    "group": (lambda g: GroupConv(g, 2, 3, 3), features),
    "norm": (lambda g: GroupBatchNorm(g, 2), features),
    "stack": (stack, image),
    "stack and pool": (lambda g: nn.Sequential(stack(g), GroupPool("max")), image),
}


# -------- the law ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_librarys_action_is_the_definitions(name):
    group, x, y = Group.named(name), image(name), features(name)
    for h in range(group.order):
        assert torch.equal(act_on_image(group, h, x), turned_image(group, h, x))
        assert torch.equal(act_on_features(group, h, y), turned_features(group, h, y))


def test_turning_an_image_that_is_not_square_exchanges_its_sizes():
    group, x = Group.named("p4"), torch.randn(1, 1, 4, 6)
    quarter = [act_on_image(group, h, x) for h in range(4) if abs(group.elements[h, 0, 1]) == 1]
    assert [q.shape for q in quarter] == [(1, 1, 6, 4)] * 2
    assert {k for k in (1, 3) for q in quarter if torch.equal(q, x.rot90(k, (-2, -1)))} == {1, 3}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("when", ["fresh", "trained"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_obeys_the_law_before_and_after_training(name, layer, when, training):
    make, sample = LAYERS[layer]
    module, x = make(name), sample(name)
    if when == "trained":
        module = trained(module, x)
    assert breach(module.train(training), Group.named(name), x) < TOLERANCE


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("name", NAMES)
def test_group_pool_turns_with_the_image(name, reduce):
    y = features(name)
    assert breach(GroupPool(reduce), Group.named(name), y) < TOLERANCE
    expected = y.max(dim=2).values if reduce == "max" else y.mean(dim=2)
    assert torch.equal(GroupPool(reduce)(y), expected)


def test_group_pool_knows_two_reductions():
    with pytest.raises(ValueError, match="'sum'"):
        GroupPool("sum")


@pytest.mark.parametrize(
    ("name", "kernel", "padding"),
    [
        ("p4m", 3, "valid"),
        ("p4m", 5, "same"),
        ("p4", 3, 2),
        ("p4", 1, 0),
        ("D4", (1, 3, 3), "same"),
        ("D4", (3, 1, 1), "same"),
        ("D4h", (1, 3, 3), "valid"),
        ("D4h", (3, 5, 5), (1, 0, 0)),
        ("O", 3, "valid"),
        ("Z2", (3, 5), "same"),
    ],
)
def test_the_law_holds_for_other_kernels_and_paddings(name, kernel, padding):
    group = Group.named(name)
    size = (6, 6) if group.dim == 2 else (5, 6, 6) if name.startswith("D") else (5, 5, 5)
    x = torch.randn(1, 2, *size)
    lifting = LiftingConv(name, 2, 2, kernel, padding=padding)
    convolution = GroupConv(name, 2, 2, kernel, padding=padding)
    y = lifting(x)
    sizes = (kernel,) * group.dim if isinstance(kernel, int) else kernel
    pads = (padding,) * group.dim if isinstance(padding, int) else padding
    if isinstance(padding, str):
        pads = [(k - 1) // 2 if padding == "same" else 0 for k in sizes]
    assert y.shape == (1, 2, group.order, *(s + 2 * p - k + 1 for s, p, k in zip(size, pads, sizes, strict=True)))
    assert breach(lifting, group, x) < TOLERANCE
    assert breach(convolution, group, torch.randn(1, 2, group.order, *size)) < TOLERANCE


# -------- the law is able to be broken ------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["lifting", "group"])
@pytest.mark.parametrize("name", WITH_TURNS)
def test_an_untied_bias_breaks_the_law(name, layer):
    make, sample = LAYERS[layer]
    convolution, x = make(name), sample(name)
    plain = convolution.export()
    order = Group.named(name).order

    def through_plain(y):
        return plain(y.flatten(1, -Group.named(name).dim - 1)).unflatten(1, (-1, order))

    assert breach(through_plain, Group.named(name), x) < TOLERANCE
    nn.init.normal_(plain.bias)
    assert breach(through_plain, Group.named(name), x) > BROKEN


class UntiedNorm(nn.Module):
    """What one gets by putting a plain batch norm behind a group convolution."""

    def __init__(self, group, channels):
        super().__init__()
        kind = nn.BatchNorm2d if group.dim == 2 else nn.BatchNorm3d
        self.norm = kind(channels * group.order)

    def forward(self, y):
        return self.norm(y.flatten(1, 2)).view_as(y)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", WITH_TURNS)
def test_an_untied_norm_breaks_the_law_once_it_is_trained(name, training):
    group, x = Group.named(name), features(name)
    norm = UntiedNorm(group, 2)
    assert breach(norm.train(), group, x) < TOLERANCE  # the trap: nothing shows before training
    assert breach(trained(norm, x).train(training), group, x) > BROKEN


@pytest.mark.parametrize(("group", "wider"), [("p4", "p4m"), ("D4", "D4h"), ("O", "Oh"), ("D4", "O"), ("Z2", "p4")])
def test_a_group_knows_nothing_of_elements_it_lacks(group, wider):
    """Pooled over orientations, a layer turns with the image under its own group, and under no other element."""
    small, large = Group.named(group), Group.named(wider)
    module = nn.Sequential(LiftingConv(small, 2, 2, 3), nn.ReLU(), GroupConv(small, 2, 2, 3), GroupPool("max"))
    x = image(wider)
    own = {element.tobytes() for element in small.elements}
    with torch.no_grad():
        y = module(x)
        for h, element in enumerate(large.elements):
            error = (module(turned_image(large, h, x)) - turned_image(large, h, y)).abs().max() / y.abs().max()
            assert error < TOLERANCE if element.tobytes() in own else error > BROKEN, (wider, element)


@pytest.mark.parametrize("name", WITH_TURNS)
def test_a_sham_group_has_the_parameters_but_not_the_law(name):
    group = Group.named(name)
    sham = group.sham(seed=0)
    for kind, sample in ((LiftingConv, image), (GroupConv, features)):
        true, false = kind(group, 2, 2, 3), kind(sham, 2, 2, 3)
        assert [p.shape for p in true.parameters()] == [p.shape for p in false.parameters()]
        assert breach(false, group, sample(name)) > BROKEN


# -------- the definition --------------------------------------------------------------------------------------


def by_definition(group, x, weight, bias, chosen):
    """y(p, g) = Σ_h,t x(p + t, h) w(g⁻¹h, g⁻¹t) + b, with x zero outside the image, in numpy loops.

    x (B, C, H, *S), weight (C', C, H, *K); for an image H has length one and no g⁻¹h is taken. Only the given output
    orientations g are computed.
    """
    kernel, sizes, lifting = weight.shape[3:], x.shape[3:], x.shape[2] == 1 and group.order > 1
    half = np.array(kernel) // 2
    padded = np.pad(x, [(0, 0)] * 3 + [(r, r) for r in half])
    out = np.zeros((len(x), len(weight), len(chosen), *sizes))
    for place, g in enumerate(chosen):
        back = np.rint(np.linalg.inv(group.elements[g])).astype(int)
        for h in range(x.shape[2]):
            turned_h = 0 if lifting else index_of(group, back @ group.elements[h])
            for t in itertools.product(*(range(-r, r + 1) for r in half)):
                tap = tuple(back @ np.array(t) + half)
                window = tuple(slice(r + o, r + o + s) for r, o, s in zip(half, t, sizes, strict=True))
                w = weight[(slice(None), slice(None), turned_h, *tap)]  # (C', C)
                seen = padded[(slice(None), slice(None), h, *window)]  # (B, C, *S)
                out[:, :, place] += np.einsum("oc,bc...->bo...", w, seen)
    return out + bias[:, None, *(None,) * len(sizes)]


@pytest.mark.parametrize("kind", [LiftingConv, GroupConv])
@pytest.mark.parametrize("name", NAMES)
def test_the_layer_is_its_definition(name, kind):
    group = Group.named(name)
    layer = kind(name, 2, 2, 3).double()
    nn.init.normal_(layer.bias)
    size = (4, 5) if group.dim == 2 else (3, 4, 2)  # the definition asks for no square
    x = torch.randn(1, 2, *(() if kind is LiftingConv else (group.order,)), *size, dtype=torch.float64)
    chosen = list(range(0, group.order, max(1, group.order // 5)))  # loops are slow: some of many
    with torch.no_grad():
        ours = layer(x)[:, :, chosen].numpy()
    as_map = x.numpy()[:, :, None] if kind is LiftingConv else x.numpy()
    expected = by_definition(group, as_map, layer.weight.detach().numpy(), layer.bias.detach().numpy(), chosen)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(["Z2", "p4", "p4m", "D4"]),
    batch=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 2**16),
)
def test_the_layer_is_its_definition_in_any_shape(name, batch, channels, kernel, seed):
    group, rng = Group.named(name), np.random.default_rng(seed)
    layer = GroupConv(name, *channels, kernel).double()
    size = tuple(rng.integers(1, 6, group.dim))
    x = rng.normal(size=(batch, channels[0], group.order, *size))
    g = int(rng.integers(group.order))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=layer.weight.shape)))
        ours = layer(torch.from_numpy(x))[:, :, [g]].numpy()
    expected = by_definition(group, x, layer.weight.detach().numpy(), layer.bias.detach().numpy(), [g])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


# -------- gradients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LiftingConv, GroupConv])
@pytest.mark.parametrize("name", NAMES)
def test_the_expansions_gradient_is_autograds_own(name, kind):
    layer = kind(name, 2, 3, 3).double()
    upstream = torch.randn_like(layer.expanded_weight())
    (ours,) = torch.autograd.grad(layer.expanded_weight(), layer.weight, upstream)
    by_index = layer.weight.flatten(1)[:, layer._table].view_as(upstream)
    assert torch.equal(by_index, layer.expanded_weight())
    (expected,) = torch.autograd.grad(by_index, layer.weight, upstream)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["p4m", "D4"])
def test_gradients_agree_with_finite_differences(name):
    group = Group.named(name)
    size = (3,) * group.dim
    for module, shape in (
        (LiftingConv(name, 1, 2, 3), (1, 1, *size)),
        (GroupConv(name, 2, 1, 3), (1, 2, group.order, *size)),
        (GroupBatchNorm(name, 2).train(), (2, 2, group.order, *size)),
        (GroupBatchNorm(name, 2).eval(), (2, 2, group.order, *size)),
    ):
        module = module.double()
        parameters = [p.detach().normal_().requires_grad_() for p in module.parameters()]
        names = [n for n, _ in module.named_parameters()]

        def f(x, *values, module=module, names=names):
            return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(f, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize("name", ["p4m", "Oh"])
def test_gradients_are_the_same_bytes_every_time(name):
    x = features(name)
    layer = GroupConv(name, 2, 3, 3)
    gradients = []
    for _ in range(3):
        layer.zero_grad()
        layer(x).square().sum().backward()
        gradients.append(layer.weight.grad.numpy().tobytes())
    assert len(set(gradients)) == 1


# -------- batch norm ------------------------------------------------------------------------------------------


def reference_norm(norm: GroupBatchNorm) -> nn.BatchNorm1d:
    """torch's own norm, for feature maps seen as (B, C, G·S)."""
    reference = nn.BatchNorm1d(norm.channels, norm.eps, norm.momentum).to(norm.weight.dtype)
    values = {**reference.state_dict(), **norm.state_dict()}
    reference.load_state_dict(values)
    return reference.train(norm.training)


def in_layout(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same feature map, lying channels-last in memory or not."""
    if layout == "contiguous":
        return x.contiguous()
    return x.movedim((1, 2), (-2, -1)).contiguous().movedim((-2, -1), (1, 2))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["Z2", "p4", "p4m", "Z3", "D4", "O"]),
    batch=st.integers(1, 4),
    channels=st.integers(1, 4),
    layout=st.sampled_from(["contiguous", "channels last"]),
    offset=st.sampled_from([0.0, 30.0]),
    scale=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 2**16),
)
def test_group_batch_norm_is_torchs_on_orientations_taken_as_positions(
    name, batch, channels, layout, offset, scale, seed
):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    norm = GroupBatchNorm(name, channels).double()
    with torch.no_grad():
        norm.weight.copy_(draw(channels))
        norm.bias.copy_(draw(channels))
    compare_with_torchs(norm, batch, layout, draw, offset, scale)


@pytest.mark.parametrize("name", ["Z2", "p4m", "D4"])
def test_group_batch_norm_is_torchs_for_a_batch_of_one_too(name):
    """torch's own backward may misread the strides of a lone channels-last sample, without a word."""

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    compare_with_torchs(GroupBatchNorm(name, 2).double(), 1, "channels last", draw)


def compare_with_torchs(norm, batch, layout, draw, offset=0.0, scale=1.0):
    """Two training steps, one evaluation: outputs, gradients and running moments are those of torch's own norm."""
    group, channels, reference = norm.group, norm.channels, reference_norm(norm)
    size = (3, 4, 2)[: group.dim]
    for training in (True, True, False):
        norm.train(training)
        reference.train(training)
        values = draw(batch, channels, group.order, *size) * scale + offset
        x = in_layout(values, layout).requires_grad_()
        x_reference = values.clone().requires_grad_()
        y, y_reference = norm(x), reference(x_reference.flatten(2)).view_as(values)
        upstream = draw(*y.shape)
        parameters = [norm.weight, norm.bias]
        ours = torch.autograd.grad(y, [x, *parameters], upstream)
        theirs = torch.autograd.grad(y_reference, [x_reference, reference.weight, reference.bias], upstream)
        torch.testing.assert_close(y, y_reference, rtol=1e-8, atol=1e-8)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(norm.running_mean, reference.running_mean)
        torch.testing.assert_close(norm.running_var, reference.running_var)  # unbiased


@pytest.mark.parametrize("training", [True, False])
def test_group_batch_norm_agrees_with_its_scale_and_shift(training):
    norm, x = GroupBatchNorm("p4m", 3), torch.randn(2, 3, 8, 4, 4)
    trained(norm, x).train(training)
    scale, shift = norm.scale_and_shift()
    folded = x * scale.view(-1, 1, 1, 1) + shift.view(-1, 1, 1, 1)
    assert torch.allclose(norm(x), folded, atol=1e-5) == (not training)  # in training the batch's moments count


def test_group_batch_norm_keeps_gradients_finite_where_a_channel_is_constant():
    norm, x = GroupBatchNorm("p4", 2), torch.full((2, 2, 4, 3, 3), 7.0, requires_grad=True)
    norm(x).square().sum().backward()
    assert all(torch.isfinite(t).all() for t in (x.grad, norm.weight.grad, norm.bias.grad, norm.running_var))


def test_group_batch_norm_survives_values_far_from_zero():
    """A mean of a thousand deviations in float32 must not drown the variance."""
    norm, x = GroupBatchNorm("p4m", 2), torch.randn(4, 2, 8, 6, 6) + 1000
    y = norm(x).detach()
    assert y.mean().abs() < 1e-3 and (y.std() - 1).abs() < 1e-2


@pytest.mark.parametrize("shape", [(2, 3, 8, 4, 4), (2, 2, 4, 4, 4), (2, 2, 8, 4), (2, 16, 4, 4)])
def test_group_batch_norm_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="C = 2, G = 8"):
        GroupBatchNorm("p4m", 2)(torch.zeros(shape))


def test_group_batch_norm_refuses_to_train_on_a_single_value():
    with pytest.raises(ValueError, match="more than one value per channel"):
        GroupBatchNorm("Z2", 2)(torch.zeros(1, 2, 1, 1, 1))


@pytest.mark.parametrize("name", ["p4m", "D4"])
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_layers_keep_the_layout_of_their_input_and_lifting_makes_it_channels_last(name, layout):
    """Speed rests on this: a copy into the other layout costs as much as the norm itself."""
    group = Group.named(name)
    last = torch.channels_last if group.dim == 2 else torch.channels_last_3d
    lies = torch.contiguous_format if layout == "contiguous" else last
    for module in (GroupConv(name, 2, 3, 3), GroupBatchNorm(name, 2), GroupBatchNorm(name, 2).eval()):
        y = module(in_layout(features(name), layout)).flatten(1, 2)
        assert y.is_contiguous(memory_format=lies)
    for channels in (1, 2):
        y = LiftingConv(name, channels, 3, 3)(image(name, channels=channels))
        assert y.flatten(1, 2).is_contiguous(memory_format=last)


# -------- evaluation and export -------------------------------------------------------------------------------


def frozen_weight(layer) -> torch.Tensor:
    with torch.no_grad():
        return layer._weight_and_bias()[0]


def test_evaluation_expands_once_and_again_only_after_a_change():
    layer, x = GroupConv("p4m", 2, 2, 3).eval(), features("p4m")
    first = frozen_weight(layer)
    with torch.no_grad():
        layer(x)
    assert frozen_weight(layer) is first

    layer(x).sum().backward()  # gradients asked for: expanded afresh, with its graph
    assert layer.weight.grad is not None
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    after_step = frozen_weight(layer)
    assert not torch.equal(after_step, first) and torch.equal(after_step, layer.expanded_weight())
    assert frozen_weight(layer) is after_step

    layer.load_state_dict({k: v + 1 for k, v in layer.state_dict().items()})
    after_load = frozen_weight(layer)
    assert torch.equal(after_load, after_step + 1)

    layer.to(torch.float64)
    assert frozen_weight(layer).dtype == torch.float64
    torch.testing.assert_close(frozen_weight(layer), after_load.double())

    layer.weight.data.mul_(2)  # invisible to version counters, but not across train() and eval()
    layer.train().eval()
    assert torch.equal(frozen_weight(layer), layer.expanded_weight())


def test_a_bias_that_changes_is_seen_in_evaluation():
    layer, x = LiftingConv("p4", 1, 2, 3).eval(), image("p4", channels=1)
    with torch.no_grad():
        before = layer(x)
        layer.bias.add_(1)
        torch.testing.assert_close(layer(x), before + 1)


def test_training_never_sees_the_cached_expansion():
    layer, x = GroupConv("p4", 1, 1, 3), features("p4", channels=1)
    with torch.no_grad():
        layer.eval()(x)
    y = layer.train()(x)
    y.sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0
    with torch.no_grad():  # train mode without gradients, as when batch norm's moments are re-estimated
        layer.weight.add_(1)
        expected = F.conv2d(x.flatten(1, 2), layer.expanded_weight(), padding=1).unflatten(1, (1, 4))
        torch.testing.assert_close(layer(x), expected)


def test_a_copy_keeps_its_own_expansion():
    layer = GroupConv("p4", 1, 1, 3).eval()
    frozen_weight(layer)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.add_(1)
    assert torch.equal(frozen_weight(twin), frozen_weight(layer) + 1)


@pytest.mark.parametrize("kind", [LiftingConv, GroupConv])
def test_a_state_dict_holds_what_is_learnt_and_no_tables(kind):
    layer = kind("Oh", 1, 2, 3)
    frozen_weight(layer.eval())
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert set(kind("Oh", 1, 2, 3, bias=False).state_dict()) == {"weight"}
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    assert buffer.tell() < 4 * sum(p.numel() for p in layer.parameters()) + 4096
    assert set(GroupBatchNorm("p4", 2).state_dict()) == {"weight", "bias", "running_mean", "running_var"}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [LiftingConv, GroupConv])
@pytest.mark.parametrize("name", NAMES)
def test_an_exported_layer_is_a_plain_convolution_with_the_same_output(name, kind, bias):
    group = Group.named(name)
    layer = kind(name, 2, 3, 3, bias=bias)
    x = image(name) if kind is LiftingConv else features(name)
    trained(layer, x)
    plain = layer.export()
    assert type(plain) is (nn.Conv2d if group.dim == 2 else nn.Conv3d)
    assert (plain.bias is not None) == bias
    with torch.no_grad():
        expected = layer.eval()(x)
        actual = plain(x.flatten(1, 2) if kind is GroupConv else x).unflatten(1, (3, group.order))
    assert (actual - expected).abs().max() < 1e-6 * expected.abs().max()
    with torch.no_grad():
        layer.weight.zero_()
    assert plain.weight.abs().sum() > 0  # a copy, not a view


@pytest.mark.parametrize("name", ["p4m", "D4"])
def test_mixed_precision_trains(name):
    # twice the side: on maps of 2 x 2 x 2, torch's own bfloat16 Conv3d reads memory that nobody wrote (torch 2.13, CPU)
    module, x = stack(name), torch.randn(2, 2, *(2 * size for size in side(name)))
    with torch.autocast("cpu", torch.bfloat16):
        assert module[1](module[0](x)).dtype == torch.bfloat16
        module(x).float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == torch.float32 for p in module.parameters())
    assert all(norm.running_var.dtype == torch.float32 for norm in module if isinstance(norm, GroupBatchNorm))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert breach(lambda x: module(x).float(), Group.named(name), x) < 0.1


# -------- shapes and errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LiftingConv, GroupConv])
@pytest.mark.parametrize(
    ("name", "kernel"), [("p4", 2), ("D4", (3, 4, 4)), ("Oh", (1, 3, 3)), ("p4m", (3, 5)), ("Z2", 0)]
)
def test_kernels_without_a_centre_or_that_change_shape_are_refused(name, kernel, kind):
    with pytest.raises(ValueError, match="kernel size"):
        kind(name, 1, 1, kernel)


@pytest.mark.parametrize("channels", [(0, 1), (1, 0), (-1, 1)])
def test_channels_must_be_positive(channels):
    with pytest.raises(ValueError, match=f"got {channels[0]} in and {channels[1]} out"):
        LiftingConv("p4", *channels, 3)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LiftingConv("p4", 2, 2, 3), (1, 1, 8, 8)),
        (LiftingConv("p4", 2, 2, 3), (1, 2, 8, 8, 8)),
        (LiftingConv("D4", 2, 2, 3), (1, 2, 8, 8)),
        (GroupConv("p4", 2, 2, 3), (1, 2, 8, 8)),
        (GroupConv("p4", 2, 2, 3), (1, 2, 8, 8, 8)),
        (GroupConv("p4", 2, 2, 3), (1, 4, 2, 8, 8)),
        (GroupConv("D4", 2, 2, 3), (1, 2, 16, 4, 4, 4)),
    ],
)
def test_inputs_of_another_shape_are_refused(layer, shape):
    with pytest.raises(ValueError, match="wants"):
        layer(torch.zeros(shape))


def test_a_group_may_be_given_by_name_or_as_itself():
    by_name, by_group = GroupConv("p4", 1, 1, 3), GroupConv(Group.named("p4"), 1, 1, 3)
    by_group.load_state_dict(by_name.state_dict())
    y = features("p4", channels=1)
    assert torch.equal(by_name(y), by_group(y))
    with pytest.raises(ValueError, match="unknown group 'p5'"):
        LiftingConv("p5", 1, 1, 3)


def test_one_generator_decides_the_initial_weights():
    def drawn(seed):
        layer = GroupConv("p4m", 4, 4, 3)
        layer.reset_parameters(torch.Generator().manual_seed(seed))
        return layer.weight

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    bound = (6 / (2 * 4 * 8 * 9)) ** 0.5  # Glorot, with the fans of the expanded convolution
    assert drawn(1).abs().max() <= bound and drawn(1).abs().max() > 0.95 * bound
