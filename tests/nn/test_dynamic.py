"""Dynamic layers obey f(h·x) = h·f(x), equal their definition sample by sample, and mix by what they see.

The library's own action turns feature maps here; test_gconv.py checks it against the definition.
"""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fewscans.groups import NAMES, Group
from fewscans.nn.dynamic import ATTENTIONS, ChannelGate, DynamicGroupConv
from fewscans.nn.gconv import GroupConv, act_on_features

TOLERANCE = 1e-5  # of the output's scale, float32
BROKEN = 1e-2  # a broken law is off by far more than rounding
CHANNELS = 4  # in; the attention's hidden layer has two
both = pytest.mark.parametrize("attention", ATTENTIONS)


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def features(name: str, batch: int = 3, channels: int = CHANNELS, side: int = 5) -> torch.Tensor:
    """Maps whose means differ by sample, channel and orientation, so that attention has something to see."""
    group = Group.named(name)
    means = torch.randn(batch, channels, group.order, *(1,) * group.dim)
    return means + torch.randn(batch, channels, group.order, *(side if group.dim == 2 else 3,) * group.dim)


def breach(f, group: Group, x: torch.Tensor) -> float:
    """The largest |f(h·x) - h·f(x)| over all elements h, in units of the largest |f(x)|."""
    with torch.no_grad():
        y = f(x)
        turned = [(act_on_features(group, h, x), act_on_features(group, h, y)) for h in range(group.order)]
        errors = [(f(a) - b).abs().max() for a, b in turned]
        return float(max(errors) / y.abs().max())


def trained(module: nn.Module, x: torch.Tensor, steps: int = 5) -> nn.Module:
    """A few Adam steps towards a target that tells positions and orientations apart, from random parameters."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(std=0.5)
            if name == "squeeze.bias":  # the attention's hidden layer is not all zero
                parameter.add_(1.0)
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


def by_definition(layer: DynamicGroupConv, x: torch.Tensor) -> torch.Tensor:
    """Σ_k weight_k · static_k(x), sample by sample, each orientation of the output by the weight of its own."""
    weights, out = layer.attend(x), 0
    for k in range(layer.kernels):
        static = GroupConv(
            layer.group, layer.in_channels, layer.out_channels, layer.kernel_size, layer.padding, layer.bias is not None
        ).to(x.dtype)
        own = slice(k * layer.out_channels, (k + 1) * layer.out_channels)
        static.load_state_dict({name: getattr(layer, name)[own] for name, _ in static.named_parameters()})
        answers = torch.cat([static(one) for one in x.split(1)])
        out = out + weights[:, k, :].view(len(x), 1, -1, *(1,) * layer.group.dim) * answers
    return out


# -------- the law ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("when", ["fresh", "trained"])
@both
@pytest.mark.parametrize("name", NAMES)
def test_a_dynamic_layer_obeys_the_law_before_and_after_training(name, attention, when, training):
    layer, x = DynamicGroupConv(name, CHANNELS, 2, 3, attention=attention), features(name)
    if when == "trained":
        layer = trained(layer, x)
    assert breach(layer.train(training), Group.named(name), x) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "kernel", "padding"), [("p4m", 1, "same"), ("p4", 5, 2), ("p4m", 3, "valid"), ("D4", (1, 3, 3), "same")]
)
@both
def test_the_law_holds_for_other_kernels_and_paddings(name, attention, kernel, padding):
    layer, x = DynamicGroupConv(name, CHANNELS, 2, kernel, 3, attention, padding=padding), features(name)
    assert breach(trained(layer, x), Group.named(name), x) < TOLERANCE


@pytest.mark.parametrize("name", ["p4m", "D4", "O"])
def test_weights_of_invariant_attention_stay_and_those_of_equivariant_attention_turn_with_the_map(name):
    group, x = Group.named(name), features(name)
    for attention in ATTENTIONS:
        layer = trained(DynamicGroupConv(name, CHANNELS, 2, 3, attention=attention), x)
        weights = layer.attend(x).detach()
        assert weights.shape == (3, 4, 1 if attention == "invariant" else group.order)
        assert (weights > 0).all() and torch.allclose(weights.sum(1), torch.ones(()))
        for h in range(group.order):
            found = layer.attend(act_on_features(group, h, x))
            places = group.product[group.inverse[h]] if attention == "equivariant" else [0]  # the index of h⁻¹g
            assert torch.allclose(found, weights[:, :, places], atol=1e-6)
        if attention == "equivariant":
            assert weights.std(2).max() > 1e-3, "orientations have weights of their own"


@both
def test_weights_that_do_not_turn_with_the_map_break_the_law(attention, monkeypatch):
    x = features("p4m")
    layer = trained(DynamicGroupConv("p4m", CHANNELS, 2, 3, attention="equivariant"), x)
    fixed = F.softmax(torch.randn(1, 4, 8), 1).expand(3, -1, -1)
    if attention == "invariant":  # the same weights for all orientations, of the first alone
        seen = layer.attend
        monkeypatch.setattr(layer, "attend", lambda x: seen(x)[:, :, :1].expand(-1, -1, 8))
    else:
        monkeypatch.setattr(layer, "attend", lambda x: fixed)
    assert breach(layer, layer.group, x) > BROKEN


@both
def test_a_sham_group_breaks_the_law(attention):
    group = Group.named("p4m")
    layer, x = DynamicGroupConv(group.sham(seed=0), CHANNELS, 2, 3, attention=attention), features("p4m")
    assert breach(layer, group, x) > BROKEN


# -------- the definition --------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", NAMES)
def test_one_convolution_a_batch_is_the_weighted_sum_of_static_layers_sample_by_sample(name, attention):
    layer = DynamicGroupConv(name, CHANNELS, 2, 3, 3, attention).double()
    x = features(name).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
        torch.testing.assert_close(layer(x), by_definition(layer, x), rtol=1e-10, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(["Z2", "p4", "p4m", "D4"]),
    attention=st.sampled_from(ATTENTIONS),
    batch=st.integers(1, 4),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 3)),
    kernel=st.sampled_from([1, 3]),
    kernels=st.integers(2, 5),
    bias=st.booleans(),
    temperature=st.sampled_from([0.3, 1.0, 30.0]),
    seed=st.integers(0, 2**16),
)
def test_the_layer_is_its_definition_in_any_shape(
    name, attention, batch, channels, kernel, kernels, bias, temperature, seed
):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = DynamicGroupConv(name, *channels, kernel, kernels, attention, temperature, bias=bias).double()
        x = features(name, batch, channels[0], side=int(torch.randint(1, 6, ()))).double()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.normal_()
            torch.testing.assert_close(layer(x), by_definition(layer, x), rtol=1e-9, atol=1e-9)


@both
@pytest.mark.parametrize("name", ["Z2", "p4m", "D4", "O"])
def test_one_kernel_is_the_static_layer_in_its_parameters_outputs_and_gradients(name, attention):
    static, x = GroupConv(name, CHANNELS, 2, 3), features(name)
    layer = DynamicGroupConv(name, CHANNELS, 2, 3, kernels=1, attention=attention)
    nn.init.normal_(static.bias)
    layer.load_state_dict(static.state_dict())
    scale = static(x).abs().max()
    assert (layer(x) - static(x)).abs().max() < 1e-6 * scale
    for one in (static, layer):
        one(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, static.weight.grad, rtol=1e-6, atol=0)
    assert (layer.export()(x.flatten(1, 2)) - static(x).flatten(1, 2)).abs().max() < TOLERANCE * scale


@both
def test_kernels_that_are_equal_are_the_static_layer_whatever_the_attention(attention):
    static, x = GroupConv("p4m", CHANNELS, 2, 3), features("p4m")
    layer = trained(DynamicGroupConv("p4m", CHANNELS, 2, 3, attention=attention), x)
    with torch.no_grad():
        for name in ("weight", "bias"):
            value = getattr(static, name).normal_()
            getattr(layer, name).copy_(value.repeat(4, *(1,) * (value.ndim - 1)))
    torch.testing.assert_close(layer(x), static(x), rtol=1e-4, atol=1e-4)


@both
def test_four_kernels_have_the_parameters_of_four_static_layers_and_a_small_attention(attention):
    count = {k: sum(p.numel() for p in DynamicGroupConv("p4m", 16, 16, 3, k, attention).parameters()) for k in (1, 4)}
    static = sum(p.numel() for p in GroupConv("p4m", 16, 16, 3).parameters())
    assert count[1] == static
    assert 0 < count[4] - 4 * static < (0.02 if attention == "invariant" else 0.15) * static


# -------- attention -------------------------------------------------------------------------------------------


@both
def test_kernels_depend_on_the_image_and_on_no_other_image_of_the_batch(attention):
    x = features("p4m")
    layer = trained(DynamicGroupConv("p4m", CHANNELS, 2, 3, attention=attention), x).eval()
    with torch.no_grad():
        kernels = layer._mixed(layer.attend(x))[0].unflatten(0, (3, -1))
        for a, b in itertools.combinations(kernels, 2):
            assert (a - b).abs().max() > BROKEN * a.abs().max()
        torch.testing.assert_close(torch.cat([layer(one) for one in x.split(1)]), layer(x), rtol=1e-4, atol=1e-4)


@both
def test_a_high_temperature_mixes_evenly_and_a_low_one_chooses(attention):
    x = features("p4m")
    layer = trained(DynamicGroupConv("p4m", CHANNELS, 2, 3, attention=attention), x)
    spread = []
    for temperature in (1e6, 30.0, 1.0, 1e-4):
        layer.temperature = temperature
        weights = layer.attend(x).detach()
        spread.append(float((weights - 0.25).abs().mean()))
    assert spread == sorted(spread) and spread[0] < 1e-5
    assert weights.max(1).values.min() > 0.99


@both
def test_attention_fed_with_noise_sees_nothing_and_is_drawn_again_from_its_seed(attention):
    x, other = features("p4m"), features("p4m")
    layer = trained(DynamicGroupConv("p4m", CHANNELS, 2, 3, attention=attention), x)
    assert not torch.allclose(layer.attend(x), layer.attend(other))
    layer.noise = 7
    assert torch.equal(layer.attend(x), layer.attend(other))
    assert not torch.allclose(layer.attend(x)[0], layer.attend(x)[1]), "each sample has noise of its own"
    first = layer.attend(x)
    layer.noise = 8
    assert not torch.allclose(first, layer.attend(x))


@both
def test_blind_attention_gives_every_sample_the_same_mixture_and_still_learns(attention):
    x = features("p4m")
    layer = DynamicGroupConv("p4m", CHANNELS, 2, 3, attention=attention)
    layer.blind = True
    untrained = layer.attend(x)
    trained(layer, x)
    weights = layer.attend(x)
    assert torch.equal(weights, weights[:1].expand_as(weights)), "no sample differs"
    assert not torch.allclose(weights, untrained)


@pytest.mark.parametrize("name", ["p4m", "D4"])
def test_a_channel_gate_obeys_the_law_scales_by_less_than_one_and_sees_the_image(name):
    x = features(name)
    gate = trained(ChannelGate(CHANNELS), x)
    assert breach(gate, Group.named(name), x) < TOLERANCE
    factor = (gate(x) / x).flatten(2).detach()  # (B, C, G·positions)
    assert torch.allclose(factor, factor[..., :1].expand_as(factor), atol=1e-5)
    assert (factor > 0).all() and (factor < 1).all() and factor[:, :, 0].std(0).max() > 1e-3


# -------- gradients, cost, errors -----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", ["p4m", "D4"])
def test_gradients_agree_with_finite_differences(name, attention):
    layer = DynamicGroupConv(name, 1, 2, 3, 2, attention).double()
    names = [n for n, _ in layer.named_parameters()]
    parameters = [p.detach().normal_().requires_grad_() for p in layer.parameters()]
    group = Group.named(name)
    x = torch.randn(2, 1, group.order, *(3,) * group.dim, dtype=torch.float64, requires_grad=True)

    def f(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(f, (x, *parameters), fast_mode=True)


@both
def test_gradients_are_the_same_bytes_every_time(attention):
    x, gradients = features("p4m"), set()
    layer = DynamicGroupConv("p4m", CHANNELS, 2, 3, attention=attention)
    for _ in range(3):
        layer.zero_grad()
        layer(x).square().sum().backward()
        gradients.add(b"".join(p.grad.numpy().tobytes() for p in layer.parameters()))
    assert len(gradients) == 1


def counted(layer: nn.Module, x: torch.Tensor) -> float:
    """Multiply-adds for one sample, forward, as torch counts them where they are done."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x)
    return counter.get_total_flops() / 2 / len(x)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("side", [8, 12, 24])
@both
def test_four_kernels_cost_at_most_a_tenth_more_multiply_adds_at_a_batch_of_32(attention, side, kernel):
    x = torch.randn(32, 4, 8, side, side)
    static = GroupConv("p4m", 4, 4, kernel, bias=False)
    layer = DynamicGroupConv("p4m", 4, 4, kernel, 4, attention, bias=False)
    assert counted(static, x) < counted(layer, x) <= 1.1 * counted(static, x)
    assert layer.macs(side**2) == counted(layer, x)
    assert DynamicGroupConv("p4m", 4, 4, kernel, 1, bias=False).macs(side**2) == counted(static, x)


def test_on_the_smallest_maps_equivariant_attention_costs_more_than_that():
    """Mixing costs K kernels a sample, whatever the map: 4 of 36 positions here."""
    x = torch.randn(32, 4, 8, 6, 6)
    costs = {a: counted(DynamicGroupConv("p4m", 4, 4, 3, 4, a, bias=False), x) for a in ATTENTIONS}
    static = counted(GroupConv("p4m", 4, 4, 3, bias=False), x)
    assert costs["invariant"] < 1.02 * static
    assert 1.11 * static < costs["equivariant"] < 1.12 * static


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kernels": 0}, "at least 1"),
        ({"temperature": 0.0}, "above 0"),
        ({"attention": "both"}, "'both'"),
        ({"kernel_size": 2}, "odd"),
        ({"in_channels": 0}, "positive"),
    ],
)
def test_wrong_options_are_an_error(options, told):
    with pytest.raises(ValueError, match=told):
        DynamicGroupConv(**{"group": "p4m", "in_channels": 2, "out_channels": 2, "kernel_size": 3} | options)


def test_wrong_inputs_and_the_export_of_many_kernels_are_errors():
    layer = DynamicGroupConv("p4m", 2, 2, 3)
    wrong = [((1, 3, 8, 4, 4), "C = 2"), ((1, 2, 4, 4, 4), "wants 8 orientations"), ((1, 2, 4, 4), r"\(B, C, G")]
    for shape, told in wrong:
        with pytest.raises(ValueError, match=told):
            layer(torch.randn(shape))
    with pytest.raises(ValueError, match="4 kernels"):
        layer.export()
