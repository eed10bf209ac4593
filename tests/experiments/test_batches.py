"""What an update sees: single scans, sets whose labels are sums, black images that stay black; nothing smoothed."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewscans.experiments import rigid
from fewscans.experiments.hydranet import sets
from fewscans.experiments.hydranet.arms import ARMS, Arm
from fewscans.experiments.hydranet.batches import Batches, scaled, seen
from fewscans.nn.regressor import BaseRegressor

from .toy_scans import make_scans

N = 10
INTENSITIES = ("unit", "standard")
NETWORKS = {arm: spec for arm, spec in ARMS.items() if spec.trivial is None}
SETS = {arm: spec for arm, spec in NETWORKS.items() if spec.size > 1}
LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}
every_set_arm = pytest.mark.parametrize("arm", SETS)


def even(n: int = N) -> torch.Tensor:
    """Scans of one intensity each, which no flip changes: the k-th is k + 1 of n parts bright."""
    return ((torch.arange(n) + 1.0) / n)[:, None, None, None, None].expand(n, 1, 4, 6, 5).contiguous()


def noisy(n: int = N, intensities: str = "unit") -> torch.Tensor:
    return seen(torch.from_numpy(make_scans().images[:n]), intensities)


def batches(
    arm: str, images: torch.Tensor | None = None, seed: int = 0, still=True, count: int | None = None
) -> Batches:
    """Of scans whose label is their mean intensity; still: not shifted."""
    images = even() if images is None else images
    spec = NETWORKS[arm]
    spacing = torch.tensor([1.0, 1.0, 2.0]) * (1 + torch.arange(len(images))[:, None])
    labels, count = images.mean((1, 2, 3, 4)), count or 4 // spec.size
    return Batches(images, labels, spacing, spec, seed, count, LOSSES[spec.loss], 0.0 if still else 1.0)


@pytest.fixture
def in_unit(monkeypatch):
    """Scans as they are, so that what is shown tells the label."""
    monkeypatch.setattr(Arm, "seen_as", "unit")


def drawn(of: Batches, steps: int):
    """(inputs, target) of the first updates."""
    return [of.draw(step) for step in range(steps)]


class Watching(nn.Module):
    """Stands in for the regressor: the mean intensity times a weight, and remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.shown = []

    def forward(self, x, seeds=None):
        self.shown.append(x.detach())
        return self.weight * x.mean((1, 2, 3, 4))


# Scans as a network sees them


@pytest.mark.parametrize("intensities", INTENSITIES)
def test_a_scan_looks_the_same_whatever_lies_beside_it(intensities):
    images = torch.from_numpy(make_scans().images[:6])
    together = seen(images, intensities)
    assert together.shape == (6, 1, *images.shape[1:]) and together.dtype == torch.float32
    assert torch.equal(together, torch.cat([seen(image[None], intensities) for image in images]))


def test_unit_intensities_are_shares_of_the_brightest_there_can_be():
    images = torch.arange(256, dtype=torch.uint8).view(1, 4, 8, 8)
    assert torch.equal(seen(images, "unit").flatten(), torch.arange(256) / 255)


def test_standard_intensities_have_mean_0_and_standard_deviation_1_however_bright_the_scan():
    images = torch.from_numpy(make_scans().images[:6])
    x = seen(images, "standard")
    assert x.mean((1, 2, 3, 4)) == pytest.approx(torch.zeros(6), abs=1e-5)
    assert x.std((1, 2, 3, 4)) == pytest.approx(torch.ones(6), abs=1e-5)
    assert torch.allclose(seen(images // 2 * 2, "standard"), seen(images // 2, "standard"), atol=1e-5)


@pytest.mark.parametrize("arm", ["base-compute", "hydra-4-black10"])
@pytest.mark.parametrize("before", INTENSITIES)
def test_training_images_are_as_standard_as_those_that_are_tested(arm, before):
    """What is shifted in, or out, would change mean and spread."""
    of, net = batches(arm, noisy(intensities=before), still=False), Watching()
    for inputs, target in drawn(of, 3):
        of.gradients(net, inputs, target)
    x = torch.cat(net.shown)
    lit = x[x.flatten(1).any(1)]
    assert len(lit) > 6
    assert torch.allclose(lit.mean((1, 2, 3, 4)), torch.zeros(len(lit)), atol=1e-5)
    assert torch.allclose(lit.std((1, 2, 3, 4)), torch.ones(len(lit)), atol=0.01)


def test_from_beyond_the_border_comes_the_mean_of_standard_scans_and_air_of_scans_that_air_surrounds():
    """The same scan, an object in air: what a shift brings in is either as the air beside it or grey."""
    images = torch.zeros(1, 1, 6, 8, 8)
    images[..., 2:5, 2:6, 2:6] = 0.8
    away = rigid.Decisions(torch.zeros(1, 3, dtype=bool), torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]]))

    def shifted(before):
        of = batches("base-compute", scaled(images, before))
        return of.augmented(torch.tensor([0]), away)[0, 0]

    air, grey = shifted("unit"), shifted("standard")
    assert torch.allclose(air[0], air[1, 0, 0], atol=1e-6), "what came in is air"
    assert (grey[0] - grey[1, 0, 0]).min() > 0.3, "what came in is brighter than air"


def test_only_the_published_arms_turn_scans_and_blend_their_voxels(in_unit):
    images = (noisy() * 255).round()  # whole numbers
    images[..., 0] = 0

    def values(arm, of=images):
        of = batches(arm, of, still=False, count=4)
        return torch.cat([of.augmented(i.places[:, 0], i.decisions) for i, _ in drawn(of, 5)])

    ours, theirs = values("base-compute"), values("base-published")
    assert torch.equal(ours, ours.round()) and (theirs - theirs.round()).abs().max() > 0.2
    (inputs, _), *_ = drawn(batches("base-published", still=False), 1)
    assert 0.1 < inputs.decisions.angle_rad.abs().max() <= rigid.MAX_ANGLE_RAD


@pytest.mark.parametrize("arm", ["base-compute", "hydra-4-published"])
def test_scans_of_depth_1_stay_in_their_plane(arm):
    of = batches(arm, noisy()[:, :, :1], still=False)
    for inputs, _ in drawn(of, 4):
        assert not inputs.decisions.angle_rad[:, 1:].any() and not inputs.decisions.shift_voxels[:, 0].any()
        assert of.augmented(inputs.places[0].clamp(min=0), inputs.decisions[: of.spec.size]).flatten(1).any(1).all()


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_scan_without_contrast_is_all_zeros_in_standard_intensities(value):
    x = seen(torch.full((2, 4, 6, 5), value, dtype=torch.uint8), "standard")
    assert x.abs().max() < 1e-5, "to rounding"


# Single scans


@pytest.mark.parametrize("arm", ["base", "base-dropout", "base-published"])
def test_single_scans_come_once_a_pass_with_their_own_labels(arm):
    of = batches(arm)
    found = drawn(of, 5)  # 20 scans, two passes
    places = torch.cat([inputs.places for inputs, _ in found])
    assert places.shape == (20, 1) and all(count == 2 for count in Counter(places.flatten().tolist()).values())
    assert torch.equal(torch.cat([target for _, target in found]), of.labels[places[:, 0]])


def test_an_update_of_more_scans_than_there_are_has_some_twice():
    of = batches("base-compute", count=16)
    places = torch.cat([inputs.places for inputs, _ in drawn(of, 5)])
    assert len(places) == 80 and set(Counter(places.flatten().tolist()).values()) == {8}


# Sets


@every_set_arm
def test_an_epoch_has_as_many_sets_as_there_are_scans_and_the_next_has_others(arm):
    of, like = batches(arm, count=5), NETWORKS[arm]
    epochs = torch.cat([inputs.places for inputs, _ in drawn(of, 6)]).view(3, N, -1)
    for epoch, found in enumerate(epochs):
        expected = sets.epoch_sets(N, N, of.seed, epoch, like.size, like.p_black, like.replacement, like.fixed)
        assert torch.equal(found, expected), "the sampler's, none left out and none twice"
    assert torch.equal(epochs[0], epochs[1]) == torch.equal(epochs[1], epochs[2]) == (arm == "hydra-4-fixed")


def test_sets_do_not_depend_on_how_many_make_an_update():
    one, three = (torch.cat([i.places for i, _ in drawn(batches("hydra-2", count=k), 12 // k)]) for k in (1, 3))
    assert torch.equal(one, three)


@every_set_arm
def test_the_label_of_a_set_is_the_sum_of_its_scans_labels_and_of_what_is_shown(in_unit, monkeypatch, arm):
    """Each scan's label is its mean intensity here, so a set's is the sum of what its images show, black ones too."""
    monkeypatch.setattr(rigid, "MAX_ANGLE_RAD", 0.0)
    of, net = batches(arm), Watching()
    for inputs, target in drawn(of, 2 * N):
        by_hand = [sum(float(of.labels[i]) for i in row if i >= 0) for row in inputs.places.tolist()]
        loss = of.gradients(net, inputs, target)
        shown = net.shown.pop().mean((1, 2, 3, 4)).view(inputs.places.shape).sum(1)
        assert shown == pytest.approx(torch.tensor(by_hand), abs=1e-5)
        if arm != "hydra-4-permuted":
            assert target == pytest.approx(torch.tensor(by_hand), abs=1e-6)
            assert loss == pytest.approx(0, abs=1e-5), "the loss is on the sum"


def test_permuted_labels_are_those_of_other_sets_of_the_same_epoch():
    labels = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(3))  # no two sums are equal
    arms = ("hydra-4-permuted", "hydra-4")
    found, plain = (drawn(replace(batches(arm, count=1), labels=labels), 3 * N) for arm in arms)
    for (inputs, _), (inputs_too, _) in zip(found, plain, strict=True):
        assert torch.equal(inputs.places, inputs_too.places), "the scans are the same"
    permuted, own = (torch.cat([target for _, target in some]).view(3, N) for some in (found, plain))
    assert torch.equal(permuted.sort(1).values, own.sort(1).values)
    assert (permuted != own).all(), "no set keeps its own"
    order = [[row.tolist().index(value) for value in other.tolist()] for row, other in zip(own, permuted, strict=True)]
    assert all(len(set(row)) == N for row in order)
    assert order[0] != order[1] != order[2], "each epoch anew"


@every_set_arm
def test_the_share_of_black_images_is_the_arm_s(arm):
    p = 0.1 if arm in ("hydra-4-black10", "hydra-4-published") else 0.0
    black = torch.cat([inputs.places.flatten() for inputs, _ in drawn(batches(arm), 300)]) < 0
    assert float(black.float().mean()) == pytest.approx(p, abs=5 * (p * (1 - p) / len(black)) ** 0.5)


@every_set_arm
def test_a_scan_stands_twice_in_a_set_only_where_it_is_drawn_with_replacement(arm):
    rows = torch.cat([inputs.places for inputs, _ in drawn(batches(arm), 5 * N)]).tolist()
    shown = [[place for place in row if place >= 0] for row in rows]
    assert any(len(set(row)) < len(row) for row in shown) == (arm == "hydra-4-replacement")


@pytest.mark.parametrize("arm", ["hydra-4-black10", "hydra-4-published"])
@pytest.mark.parametrize("before", INTENSITIES)
def test_a_black_image_is_black_whatever_is_done_to_it(arm, before):
    of, net = batches(arm, noisy(intensities=before), still=False), Watching()
    black = 0
    for inputs, target in drawn(of, 20):
        of.gradients(net, inputs, target)
        dark = (~net.shown.pop().flatten(1).any(1)).view(inputs.places.shape)
        assert torch.equal(dark, inputs.places < 0)
        black += int(dark.sum())
    assert black > 3


# What is done to the scans


@pytest.mark.parametrize("arm", ["hydra-4", "hydra-4-published", "base-dropout"])
def test_a_batch_depends_on_seed_and_step_alone(arm):
    def numbers(of, step):
        inputs, target = of.draw(step)
        every = (inputs.places, *vars(inputs.decisions).values(), target, inputs.seeds)
        return [x.tolist() for x in every if x is not None]

    first = numbers(batches(arm), 3)
    assert first == numbers(batches(arm), 3)
    assert first != numbers(batches(arm), 4) and first != numbers(batches(arm, seed=1), 3)


def test_arms_that_share_a_seed_move_the_same_places_the_same_way():
    def decided(arm):
        return [vars(inputs.decisions) for inputs, _ in drawn(batches(arm, still=False), 3)]

    first = decided("base-compute")
    for arm in ("hydra-4", "hydra-2", "base-dropout", "hydra-4-permuted"):
        for a, b in zip(first, decided(arm), strict=True):
            assert all(torch.equal(a[name], b[name]) for name in a), arm


def test_every_scan_is_turned_in_its_own_voxels(monkeypatch):
    given, real = [], rigid.apply
    monkeypatch.setattr(rigid, "apply", lambda x, d, spacing: given.append(spacing) or real(x, d, spacing))
    of = batches("base-published", noisy(), still=False)
    for inputs, target in drawn(of, 3):
        of.gradients(Watching(), inputs, target)
        assert torch.equal(given.pop(), of.spacing_mm[inputs.places.flatten()])
    assert not given


def test_dropout_has_a_mask_of_its_own_for_each_image_and_step_and_other_arms_none():
    seeds = [inputs.seeds for inputs, _ in drawn(batches("base-dropout"), 5)]
    assert len(set(torch.cat(seeds).flatten().tolist())) == 20
    assert all(inputs.seeds is None for arm in ("base", "hydra-4") for inputs, _ in drawn(batches(arm), 1))


@pytest.mark.parametrize("arm", ["base", "hydra-4", "hydra-4-mae"])
def test_the_gradients_are_those_of_the_loss_on_sums(arm):
    of = batches(arm, noisy(intensities="standard"), still=False)
    net = BaseRegressor(norm=True).train()
    ((inputs, target),) = drawn(of, 1)
    x = of.augmented(inputs.places.flatten(), inputs.decisions)
    expected = torch.autograd.grad(of.loss(net(x).view(inputs.places.shape).sum(1), target), list(net.parameters()))
    loss = of.gradients(net, inputs, target)
    assert loss.shape == () and not loss.requires_grad
    assert all(torch.allclose(p.grad, g, atol=1e-6) for p, g in zip(net.parameters(), expected, strict=True))


@pytest.mark.parametrize("arm", ["base", "hydra-4", "hydra-4-black10", "hydra-4-mae"])
def test_guessing_is_the_loss_of_a_network_that_answers_every_scan_with_the_mean(arm, in_unit):
    """Measured on what updates are asked."""
    of, losses = batches(arm), []
    for inputs, target in drawn(of, 400):
        guess = (inputs.places >= 0).sum(1) * of.labels.mean()
        losses.append(of.loss(guess, target))
    assert of.guessing() == pytest.approx(float(torch.stack(losses).mean()), rel=0.1)
