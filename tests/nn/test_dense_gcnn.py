"""Dense networks of group convolutions: invariant answers after training, one start a seed, a falling temperature."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fewscans.groups import Group
from fewscans.nn.dense_gcnn import COOLED, DenseGcnn
from fewscans.nn.gconv import act_on_features, act_on_image

PATCH = (16, 16)
KINDS = {
    "static": {},
    "gated": {"gate": True},
    "dynamic": {"kernels": 4},
    "dynamic, equivariant": {"kernels": 4, "attention": "equivariant"},
    "noise": {"kernels": 4, "noise": 3},
}


def net(group="p4m", seed=0, **options) -> DenseGcnn:
    made = DenseGcnn(group, **{"patch": PATCH, "width": 3} | options)
    made.reset_parameters(torch.Generator().manual_seed(seed))
    return made


def images(count=4, channels=1, patch=PATCH) -> torch.Tensor:
    return torch.randn(count, channels, *patch, generator=torch.Generator().manual_seed(0))


def trained(made: nn.Module, x: torch.Tensor, steps: int = 4) -> nn.Module:
    optimiser = torch.optim.Adam(made.train().parameters(), lr=0.01)
    target = (torch.arange(len(x)) % 2).float()
    for _ in range(steps):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(made(x), target).backward()
        optimiser.step()
    return made.eval()


@pytest.mark.parametrize("group", ["Z2", "p4", "p4m"])
@pytest.mark.parametrize("kind", KINDS)
def test_after_training_features_turn_with_the_image_and_the_answer_stays(group, kind):
    made, x = net(group, **KINDS[kind]), images()
    made = trained(made, x)
    with torch.no_grad():
        features, answer = made.features(x), made(x)
        assert answer.shape == (len(x),) and answer.std() > 0
        for h in range(made.group.order):
            turned = act_on_image(made.group, h, x)
            expected = act_on_features(made.group, h, features)
            assert (made.features(turned) - expected).abs().max() < 1e-5 * features.abs().max()
            assert (made(turned) - answer).abs().max() < 1e-5 * answer.abs().max()


def test_without_a_group_the_answer_changes_as_the_image_is_turned():
    made, x, group = trained(net("Z2"), images()), images(), Group.named("p4m")
    with torch.no_grad():
        moved = [(made(act_on_image(group, h, x)) - made(x)).abs().max() / made(x).abs().max() for h in range(1, 8)]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_multiply_adds_are_those_that_torch_counts(kind):
    made, x = net(**KINDS[kind]).eval(), images()
    gates = sum(p.numel() for gate in made.gates for p in gate.parameters() if p.ndim == 2)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made(x)
    answer = made.classifier.in_features
    assert counter.get_total_flops() / 2 / len(x) == made.macs() + gates + answer


def test_at_equal_width_four_kernels_add_at_most_a_hundredth_to_the_multiply_adds_of_a_whole_patch():
    static = net(patch=(48, 48), width=8).macs()
    assert static < net(patch=(48, 48), width=8, kernels=4).macs() < 1.01 * static
    assert static < net(patch=(48, 48), width=8, kernels=4, attention="equivariant").macs() < 1.02 * static


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_depends_on_the_seed_alone(kind):
    first, again, other = (net(seed=seed, **KINDS[kind]).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_the_temperature_falls_evenly_with_updates_then_stays_and_prediction_leaves_it():
    made, x, seen = net(kernels=4, anneal=4), images(), []
    for _ in range(6):
        made.train()(x)
        seen.append({layer.temperature for layer in made.dynamic()})
        with torch.no_grad():
            made.eval()(x)
    hot, cold = COOLED
    assert seen == [{hot - (hot - cold) * min(1, step / 4)} for step in range(6)]
    assert int(made.updates) == 6


def test_a_network_read_from_its_state_goes_on_at_the_same_temperature_and_noise():
    first, x = net(kernels=4, anneal=10, noise=1), images()
    for _ in range(3):
        first.train()(x)
    second = net(seed=1, kernels=4, anneal=10, noise=1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.train()(x), second.train()(x))
    assert [a.temperature for a in first.dynamic()] == [b.temperature for b in second.dynamic()]


def test_noise_differs_between_updates_layers_and_seeds():
    made, drawn = net(kernels=4, noise=5), []
    for _ in range(3):
        made.train()(images())
        drawn += [layer.noise for layer in made.dynamic()]
    other = net(kernels=4, noise=6)
    other.train()(images())
    drawn += [layer.noise for layer in other.dynamic()]
    assert len(set(drawn)) == len(drawn) == 4 * len(made.dynamic())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "noise"])
def test_an_image_is_judged_alone_whatever_is_beside_it(kind):
    made, x = trained(net(**KINDS[kind]), images(6)), images(6)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat([made(one) for one in x.split(1)]), made(x), rtol=1e-4, atol=1e-5)


def test_a_copy_for_prediction_answers_the_same_and_is_no_view():
    made, x = trained(net(kernels=4), images()), images()
    copied = made.export()
    with torch.no_grad():
        assert torch.equal(copied(x), made(x))
        for parameter in made.parameters():
            parameter.zero_()
        assert copied(x).abs().max() > 0


def test_colour_images_and_layers_in_their_order():
    made = net(in_channels=3, kernels=2)
    assert made(images(channels=3)).shape == (4,)
    assert len(made.dynamic()) == 5 and made.channels == (3, 3, 3, 3, 3, 3)
    pairs = itertools.pairwise(made.dynamic())
    assert all(a.out_channels in (b.in_channels, b.in_channels - 3) for a, b in pairs)


@pytest.mark.parametrize(
    ("group", "patch"), [("D4", (16, 16)), ("p4m", (20, 16)), ("p4m", (16,)), ("p4m", (16, 16, 16))]
)
def test_a_group_of_space_or_sides_that_pools_do_not_halve_are_an_error(group, patch):
    with pytest.raises(ValueError, match="two sides that 8 divides"):
        DenseGcnn(group, patch)
