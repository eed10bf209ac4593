"""Sets are drawn as the paper has them, their labels are sums, and the controls remove what they should."""

import itertools
from collections import Counter
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans.experiments.hydranet.sets import (
    BLACK,
    distinct_sets,
    draw_sets,
    epoch_sets,
    permuted,
    set_images,
    set_labels,
)
from fewscans.nn.regressor import LabelScale


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -------- which images stand together ---------------------------------------------------------------------------------


@given(m=st.integers(1, 30), n=st.integers(1, 20), size=st.integers(1, 6), p=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_sets_hold_images_or_black_and_no_image_twice(m, n, size, p, seed):
    size = min(size, m)
    sets = draw_sets(m, n, size, p, generator=generator(seed))
    assert sets.shape == (n, size) and sets.dtype == torch.int64
    assert sets.min() >= BLACK and sets.max() < m
    for row in sets.tolist():
        shown = [index for index in row if index != BLACK]
        assert len(set(shown)) == len(shown)


def test_the_number_of_images_that_are_not_black_is_binomial():
    """For 4 images, each black with probability 0.1: the shares that follow from the paper's numbers."""
    count = 200_000
    shown = (draw_sets(25, count, generator=generator()) != BLACK).sum(1)
    shares = torch.bincount(shown, minlength=5) / count
    for k, share in enumerate([0.0001, 0.0036, 0.0486, 0.2916, 0.6561]):
        assert comb(4, k) * 0.9**k * 0.1 ** (4 - k) == pytest.approx(share, abs=1e-12)
        assert shares[k] == pytest.approx(share, abs=5 * (share / count) ** 0.5)
    assert shown.float().mean() == pytest.approx(3.6, abs=0.01)


@pytest.mark.parametrize(("p", "share"), [(0.0, 0), (1.0, 1)])
def test_black_never_and_black_always(p, share):
    assert (draw_sets(8, 500, 4, p, generator=generator()) == BLACK).float().mean() == share


def test_every_choice_of_images_is_as_likely_as_another():
    count = 60_000
    drawn = Counter(tuple(sorted(row)) for row in draw_sets(6, count, 4, 0.0, generator=generator()).tolist())
    assert set(drawn) == set(itertools.combinations(range(6), 4))
    expected = count / comb(6, 4)
    assert all(abs(n - expected) < 5 * expected**0.5 for n in drawn.values())


def test_a_place_of_the_set_prefers_no_image():
    sets = draw_sets(10, 50_000, 4, 0.1, generator=generator())
    for place in sets.T:
        shares = torch.bincount(place[place != BLACK], minlength=10) / (place != BLACK).sum()
        assert shares == pytest.approx(torch.full((10,), 0.1), abs=0.008)


def test_with_replacement_an_image_may_stand_twice_and_few_images_suffice():
    sets = draw_sets(2, 4000, 4, 0.0, replacement=True, generator=generator())
    all_alike = (sets == sets[:, :1]).all(1).float().mean()
    assert all_alike == pytest.approx(2 / 2**4, abs=0.02)


@pytest.mark.parametrize(("m", "sets"), [(12, 793), (24, 12_950), (25, 15_275), (30, 31_930)])
def test_there_are_as_many_distinct_sets_as_combinations(m, sets):
    assert distinct_sets(m) == sets


def test_the_sets_drawn_are_exactly_those_counted():
    """And the one without any image, which the count leaves out."""
    drawn = draw_sets(6, 60_000, 4, 0.4, generator=generator()).tolist()
    shown = {frozenset(index for index in row if index != BLACK) for row in drawn}
    assert len(shown) == distinct_sets(6) + 1 == 57


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 5, 4), "set of 4 without replacement wants at least as many images, got 3"),
        ((0, 5, 4), "at least 1 image, set and place, got 0, 5 and 4"),
        ((5, 0, 4), "at least 1 image, set and place"),
        ((5, 5, 0), "at least 1 image, set and place"),
        ((5, 5, 4, 1.5), "p_black must be between 0 and 1, got 1.5"),
        ((5, 5, 4, float("nan")), "p_black must be between 0 and 1, got nan"),
    ],
)
def test_impossible_sets_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_sets(*arguments, generator=generator())


# -------- epochs ------------------------------------------------------------------------------------------------------


def test_a_generator_decides_the_sets():
    a, b, c = (draw_sets(12, 12, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_an_epoch_s_sets_follow_from_seed_and_epoch_alone():
    later = epoch_sets(12, 12, seed=3, epoch=7)
    epoch_sets(12, 12, seed=3, epoch=2)
    assert torch.equal(epoch_sets(12, 12, seed=3, epoch=7), later)
    assert not torch.equal(epoch_sets(12, 12, seed=4, epoch=7), later)


def test_epochs_bring_new_combinations_until_nearly_all_were_seen_and_fixed_sets_never_do():
    def seen(fixed: bool) -> set[frozenset[int]]:
        epochs = [epoch_sets(6, 6, 0, epoch, p_black=0.4, fixed=fixed) for epoch in range(300)]
        return {frozenset(i for i in row if i != BLACK) for sets in epochs for row in sets.tolist()} - {frozenset()}

    assert len(seen(fixed=False)) == distinct_sets(6)
    assert len(seen(fixed=True)) <= 6


def test_fixed_sets_are_those_of_the_first_epoch_black_images_included():
    first = epoch_sets(20, 20, seed=1, epoch=0)
    assert (first == BLACK).any()
    assert all(torch.equal(epoch_sets(20, 20, 1, epoch, fixed=True), first) for epoch in range(5))


# -------- images and labels -------------------------------------------------------------------------------------------


def test_black_images_are_zeros_and_the_others_are_as_they_were():
    images = torch.rand(5, 1, 2, 3, 4, generator=generator()) + 0.1
    untouched = images.clone()
    sets = torch.tensor([[4, BLACK], [0, 2], [BLACK, BLACK]])
    shown = set_images(images, sets)
    assert shown.shape == (3, 2, 1, 2, 3, 4)
    assert torch.equal(shown[0, 0], images[4]) and torch.equal(shown[1], images[[0, 2]])
    assert not shown[0, 1].any() and not shown[2].any()
    assert torch.equal(images, untouched)


def test_images_kept_as_bytes_stay_bytes():
    images = torch.randint(1, 256, (3, 1, 2, 2, 2), generator=generator(), dtype=torch.uint8)
    shown = set_images(images, torch.tensor([[BLACK, 1]]))
    assert shown.dtype == torch.uint8 and torch.equal(shown[0, 1], images[1]) and not shown[0, 0].any()


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_set_s_label_is_the_sum_over_its_images(seed):
    labels = torch.randn(9, dtype=torch.float64, generator=generator(seed))
    sets = draw_sets(9, 6, 4, 0.3, generator=generator(seed))
    expected = [sum(float(labels[i]) for i in row if i != BLACK) for row in sets.tolist()]
    assert set_labels(labels, sets).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_black_image_counts_nothing_even_where_the_last_label_is_unknown():
    labels = torch.tensor([1.0, 2.0, float("nan")])
    assert set_labels(labels, torch.tensor([[0, 1], [BLACK, BLACK]])).tolist() == [3, 0]


def test_labels_are_left_as_they_were():
    labels = torch.ones(3)
    set_labels(labels, torch.full((4, 4), BLACK))
    assert labels.tolist() == [1, 1, 1]


def test_permuted_labels_are_the_same_ones_on_other_owners():
    labels = torch.arange(50.0)
    other = permuted(labels, generator(1))
    assert torch.equal(other.sort().values, labels)
    assert all((permuted(labels[:n], generator(seed)) != labels[:n]).all() for n in (2, 5, 50) for seed in range(20))
    assert torch.equal(permuted(labels, generator(1)), other)
    assert torch.corrcoef(torch.stack([labels, other]))[0, 1].abs() < 0.4


# -------- the labels' scale -------------------------------------------------------------------------------------------


def test_black_stays_0_and_sums_stay_sums():
    """A centred label would break both; that is why there is no mean to subtract."""
    labels = 3295 + 433 * torch.randn(30, dtype=torch.float64, generator=generator())
    sets = draw_sets(30, 30, generator=generator())
    scale = LabelScale.of(labels)
    assert scale.to_network(torch.zeros(1)) == 0
    summed_before, summed_after = scale.to_network(set_labels(labels, sets)), set_labels(scale.to_network(labels), sets)
    assert torch.allclose(summed_before, summed_after, rtol=1e-12)

    def centre(values):
        return (values - labels.mean()) / labels.std()

    assert not torch.allclose(centre(set_labels(labels, sets)), set_labels(centre(labels), sets))


def test_scaled_labels_have_mean_square_1_and_come_back():
    labels = torch.tensor([0.0, 3.0, 250.0, 12.0])
    scale = LabelScale.of(labels)
    assert scale.to_network(labels).square().mean() == pytest.approx(1)
    assert torch.allclose(scale.from_network(scale.to_network(labels)), labels)


def test_labels_may_come_from_numpy():
    assert LabelScale.of(np.array([3, 4])).constant == pytest.approx(12.5**0.5)


@pytest.mark.parametrize("labels", [[], [0.0, 0.0], [1.0, float("nan")], [float("inf")]])
def test_labels_without_a_scale_are_refused(labels):
    with pytest.raises(ValueError, match="finite and not all 0"):
        LabelScale.of(torch.tensor(labels))


@pytest.mark.parametrize("constant", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_is_a_number_above_0(constant):
    with pytest.raises(ValueError, match="finite number above 0"):
        LabelScale(constant)
