"""What an update sees: sets whose labels are sums, black images that stay black, blends, the same in both forms."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewscans import train
from fewscans.experiments import rigid
from fewscans.experiments.hydranet import sets
from fewscans.experiments.hydranet.arms import ARMS
from fewscans.experiments.hydranet.batches import FORMS, INTENSITIES, Batches, scaled, seen
from fewscans.nn.regressor import BaseRegressor

from .toy_scans import make_scans

N = 10
NETWORKS = {arm: spec for arm, spec in ARMS.items() if spec.trivial is None and spec.computed_with is None}
SETS = {arm: spec for arm, spec in NETWORKS.items() if spec.size > 1}
LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}
every_set_arm = pytest.mark.parametrize("arm", SETS)


def even(n: int = N) -> torch.Tensor:
    """Scans of one intensity each, which no flip changes: the k-th is k + 1 of n parts bright."""
    return ((torch.arange(n) + 1.0) / n)[:, None, None, None, None].expand(n, 1, 4, 6, 5).contiguous()


def noisy(n: int = N, intensities: str = "unit") -> torch.Tensor:
    return seen(torch.from_numpy(make_scans().images[:n]), intensities)


def batches(
    arm: str, images: torch.Tensor | None = None, seed: int = 0, form="branched", still=True, intensities="unit"
) -> Batches:
    """Of scans whose label is their mean intensity; still: neither turned nor shifted."""
    images = even() if images is None else images
    spec = NETWORKS[arm]
    angle, shift = (0.0, 0.0) if still else (rigid.MAX_ANGLE_RAD, 1.0)
    spacing = torch.tensor([1.0, 1.0, 2.0]) * (1 + torch.arange(len(images))[:, None])
    labels = images.mean((1, 2, 3, 4))
    return Batches(images, labels, spacing, spec, seed, LOSSES[spec.loss], form, angle, shift, intensities)


def per_update(arm: str) -> int:
    return max(4, NETWORKS[arm].size) // NETWORKS[arm].size


def drawn(of: Batches, steps: int, count: int | None = None):
    """(places, target) of the first updates, as the training loop asks for them."""
    count = max(4, of.spec.size) // of.spec.size if count is None else count
    n = len(of.labels)
    for step in range(steps):
        inputs, target = of.draw(train.batch_indices(n, count, step, of.seed), step)
        yield inputs, target


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


@pytest.mark.parametrize("form", ["branched", "streamed"])
@pytest.mark.parametrize("arm", ["base-compute", "hydra-4"])
@pytest.mark.parametrize("before", INTENSITIES)
def test_training_images_are_as_standard_as_those_that_are_tested(arm, before, form):
    """Turning and shifting smooth an image: its spread would shrink."""
    of = batches(arm, noisy(intensities=before), form=form, still=False, intensities="standard")
    net, given = BaseRegressor(), []
    net.register_forward_pre_hook(lambda _, x: given.append(x[0].detach()))
    for step in range(3):
        inputs, target = of.draw(torch.arange(per_update(arm)), step)
        of.gradients(net, inputs, target)
    x = torch.cat(given)
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
        of = batches("base-compute", images, intensities="standard")
        of = replace(of, images=scaled(images, before))
        return of._augmented(torch.tensor([0]), away)[0, 0]

    air, grey = shifted("unit"), shifted("standard")
    assert torch.allclose(air[0], air[1, 0, 0], atol=1e-6), "what came in is air"
    assert (grey[0] - grey[1, 0, 0]).min() > 0.3, "what came in is brighter than air"


def test_of_two_blended_scans_each_is_standard_first():
    """A blend that is made standard after would be stretched, and its label would not."""
    of, net = batches("mixup", noisy(intensities="standard"), intensities="standard"), Watching()
    ((inputs, target),) = drawn(of, 1)
    with torch.no_grad():
        net.weight.zero_()
    of.gradients(net, inputs, target)
    scan, partner = (of._augmented(*some) for some in (
        (inputs.places.flatten(), inputs.decisions), (inputs.mixed.partner, inputs.mixed_decisions)
    ))  # fmt: skip
    share = inputs.mixed.share.view(-1, 1, 1, 1, 1).float()
    assert torch.allclose(net.shown[0], share * scan + (1 - share) * partner, atol=1e-5)
    assert (net.shown[0].std((1, 2, 3, 4)) < 0.95).any()


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_scan_without_contrast_is_all_zeros_in_standard_intensities(value):
    x = seen(torch.full((2, 4, 6, 5), value, dtype=torch.uint8), "standard")
    assert x.abs().max() < 1e-5, "to rounding"


# Single scans


@pytest.mark.parametrize("arm", ["base", "base-dropout", "mixup"])
def test_single_scans_come_once_a_pass_with_their_own_labels(arm):
    of = batches(arm)
    found = list(drawn(of, 5))  # 20 scans, two passes
    places = torch.cat([inputs.places for inputs, _ in found])
    assert places.shape == (20, 1) and all(count == 2 for count in Counter(places.flatten().tolist()).values())
    if arm != "mixup":
        assert torch.equal(torch.cat([target for _, target in found]), of.labels[places[:, 0]])


# Sets


@every_set_arm
def test_an_epoch_has_as_many_sets_as_there_are_scans_and_the_next_has_others(arm):
    of, m = batches(arm), N * NETWORKS[arm].size
    steps = 3 * N // per_update(arm)
    places = torch.cat([inputs.places for inputs, _ in drawn(of, steps)])
    epochs = places.view(3, N, -1)
    for epoch, found in enumerate(epochs):
        like = NETWORKS[arm]
        expected = sets.epoch_sets(N, N, of.seed, epoch, like.size, like.p_black, like.replacement, like.fixed)
        assert torch.equal(found, expected), "the sampler's, none left out and none twice"
    assert epochs[0].numel() == m
    assert torch.equal(epochs[0], epochs[1]) == torch.equal(epochs[1], epochs[2]) == (arm == "hydra-4-fixed")


def test_sets_do_not_depend_on_how_many_make_an_update():
    of = batches("hydra-2")
    one, three = (torch.cat([i.places for i, _ in drawn(of, 12 // k, k)]) for k in (1, 3))
    assert torch.equal(one, three)


@every_set_arm
def test_the_label_of_a_set_is_the_sum_of_its_scans_labels_and_of_what_is_shown(arm):
    """Each scan's label is its mean intensity here, so a set's is the sum of what its images show, black ones too."""
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
    found, plain = (list(drawn(replace(batches(arm), labels=labels), 3 * N)) for arm in arms)
    for (inputs, _), (inputs_too, _) in zip(found, plain, strict=True):
        assert torch.equal(inputs.places, inputs_too.places), "the scans are the same"
    permuted, own = (torch.cat([target for _, target in some]).view(3, N) for some in (found, plain))
    assert torch.equal(permuted.sort(1).values, own.sort(1).values)
    assert (permuted != own).all(), "no set keeps its own"
    order = [[row.tolist().index(value) for value in other.tolist()] for row, other in zip(own, permuted, strict=True)]
    assert all(len(set(row)) == N for row in order)
    assert order[0] != order[1] != order[2], "each epoch anew"


@pytest.mark.parametrize("arm", ["hydra-4", "hydra-2", "hydra-8", "hydra-4-p0", "hydra-4-p30", "hydra-4-p50"])
def test_the_share_of_black_images_is_the_arm_s(arm):
    p, of = NETWORKS[arm].p_black, batches(arm)
    black = torch.cat([inputs.places.flatten() for inputs, _ in drawn(of, 300)]) < 0
    assert p == {"p0": 0.0, "p30": 0.3, "p50": 0.5}.get(arm.removeprefix("hydra-4-"), 0.1)
    assert float(black.float().mean()) == pytest.approx(p, abs=5 * (p * (1 - p) / len(black)) ** 0.5)


@every_set_arm
def test_a_scan_stands_twice_in_a_set_only_where_it_is_drawn_with_replacement(arm):
    rows = torch.cat([inputs.places for inputs, _ in drawn(batches(arm), 5 * N)]).tolist()
    shown = [[place for place in row if place >= 0] for row in rows]
    assert any(len(set(row)) < len(row) for row in shown) == (arm == "hydra-4-replacement")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("intensities", INTENSITIES)
def test_a_black_image_is_black_whatever_is_done_to_it(intensities, form):
    of, net = batches("hydra-4-p50", noisy(intensities=intensities), form=form, still=False), Watching()
    black = 0
    for inputs, target in drawn(of, 6):
        net.shown.clear()
        of.gradients(net, inputs, target)
        dark = sum(int((~x.flatten(1).any(1)).sum()) for x in net.shown)
        stand = int((inputs.places < 0).sum())
        # streamed, what stands several times passes once, but twice over
        assert dark == stand if form == "branched" else dark == 2 * min(stand, 1)
        black += stand
    assert black > 3


# What is done to the scans


@pytest.mark.parametrize("arm", ["hydra-4", "mixup", "base-dropout"])
def test_a_batch_depends_on_seed_and_step_alone(arm):
    def numbers(of, step):
        inputs, target = of.draw(train.batch_indices(N, per_update(arm), step, of.seed), step)
        every = (inputs.places, *vars(inputs.decisions).values(), target, inputs.seeds)
        return [x.tolist() for x in every if x is not None]

    first = numbers(batches(arm), 3)
    assert first == numbers(batches(arm), 3)
    assert first != numbers(batches(arm), 4) and first != numbers(batches(arm, seed=1), 3)


def test_arms_that_share_a_seed_turn_the_same_places_the_same_way():
    def decided(arm):
        return [vars(inputs.decisions) for inputs, _ in drawn(batches(arm, still=False), 3)]

    first = decided("base-compute")
    for arm in ("hydra-4", "hydra-2", "mixup", "base-dropout", "hydra-4-permuted"):
        for a, b in zip(first, decided(arm), strict=True):
            assert all(torch.equal(a[name], b[name]) for name in a), arm


def test_every_scan_is_turned_in_its_own_voxels(monkeypatch):
    given = []
    real = rigid.apply
    monkeypatch.setattr(rigid, "apply", lambda x, d, spacing: given.append(spacing) or real(x, d, spacing))
    for arm in ("hydra-4-p0", "base"):
        of = batches(arm, noisy(), still=False)
        for inputs, target in drawn(of, 3):
            of.gradients(Watching(), inputs, target)
            assert torch.equal(given.pop(), of.spacing_mm[inputs.places.flatten()])
    assert not given


def test_dropout_has_a_mask_of_its_own_for_each_image_and_step_and_other_arms_none():
    seeds = [inputs.seeds for inputs, _ in drawn(batches("base-dropout"), 5)]
    assert len(set(torch.cat(seeds).flatten().tolist())) == 20
    assert all(inputs.seeds is None for arm in ("base", "hydra-4") for inputs, _ in drawn(batches(arm), 1))


# Blends


@pytest.mark.parametrize("arm", ["mixup", "c-mixup"])
def test_labels_are_blended_as_the_images_are(arm):
    """Each label is its scan's intensity here: what is shown tells the label."""
    of, net = batches(arm), Watching()
    for inputs, target in drawn(of, 10):
        loss = of.gradients(net, inputs, target)
        assert net.shown.pop().mean((1, 2, 3, 4)) == pytest.approx(target, abs=1e-5)
        assert loss == pytest.approx(0, abs=1e-5)
        assert not torch.equal(target, of.labels[inputs.places[:, 0]])


def test_the_second_scan_of_a_blend_is_turned_on_its_own():
    (inputs, _), *_ = drawn(batches("mixup", still=False), 1)
    assert not torch.equal(inputs.decisions.angle_rad, inputs.mixed_decisions.angle_rad)


def test_c_mixup_prefers_scans_of_near_labels():
    def distance(arm):
        of = batches(arm)
        pairs = [(inputs.places[:, 0], inputs.mixed.partner) for inputs, _ in drawn(of, 100)]
        return float(torch.cat([(of.labels[a] - of.labels[b]).abs() for a, b in pairs]).mean())

    plain = distance("mixup")
    assert plain == pytest.approx(0.33, abs=0.04), "any scan is as likely as another"
    assert distance("c-mixup") < 0.85 * plain


# Branched and streamed


@pytest.mark.parametrize("arm", [arm for arm, spec in NETWORKS.items() if spec.mix is None])
def test_streamed_gradients_are_the_branched_ones(arm):
    found = []
    for form in FORMS:
        of = batches(arm, noisy(intensities="standard"), form=form, still=False)
        net = BaseRegressor(NETWORKS[arm].dropout)
        net.reset_parameters(torch.Generator().manual_seed(0))
        ((inputs, target),) = drawn(of, 1)
        loss = of.gradients(net.train(), inputs, target)
        assert loss.shape == () and not loss.requires_grad
        found.append((loss, [p.grad for p in net.parameters()]))
    (loss, branched), (loss_too, streamed) = found
    assert loss_too == pytest.approx(float(loss), rel=1e-4)
    largest = max(float(g.abs().max()) for g in branched)
    assert largest > 0
    assert max(float((a - b).abs().max()) for a, b in zip(branched, streamed, strict=True)) < 1e-4 * largest


def test_a_streamed_set_passes_image_by_image_and_a_branched_one_at_once():
    shown = {}
    for form in FORMS:
        of, net = batches("hydra-8", noisy(), form=form), Watching()
        of = replace(of, spec=replace(of.spec, p_black=0.0))
        ((inputs, target),) = drawn(of, 1)
        of.gradients(net, inputs, target)
        shown[form] = [len(x) for x in net.shown]
    assert shown == {"branched": [8], "streamed": [1] * 16}
