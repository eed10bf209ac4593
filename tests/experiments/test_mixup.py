"""Blending is linear in scans and labels; partners are drawn as each paper has them."""

import pytest
import torch

from fewscans.experiments import mixup


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


OWN = torch.arange(5)
LABELS = torch.tensor([0.0, 1.0, 1.5, 4.0, 10.0])


def partners(bandwidth: float | None, own: int = 1, count: int = 40_000) -> torch.Tensor:
    """Share of each scan among the partners of one."""
    drawn = mixup.draw(torch.full((count,), own), LABELS, 1.0, generator(), bandwidth).partner
    return torch.bincount(drawn, minlength=5) / count


def test_scans_and_labels_are_blended_by_the_same_share():
    x, y = torch.rand(4, 1, 2, 3, 4, generator=generator()), torch.tensor([0.0, 1.0, 2.0, 3.0])
    other, share = torch.tensor([3, 3, 0, 2]), torch.tensor([1.0, 0.0, 0.25, 0.5])
    blended, labels = mixup.blend(x, x[other], share), mixup.blend(y, y[other], share)
    assert torch.equal(blended[0], x[0]) and torch.equal(blended[1], x[3])
    assert torch.allclose(blended[2], 0.25 * x[2] + 0.75 * x[0])
    assert labels.tolist() == [0, 3, 0.5, 2.5]


def test_labels_that_are_linear_in_the_scan_stay_so():
    """Why labels may be blended at all where they count something: a volume is a sum over voxels."""
    x, share = torch.rand(6, 1, 3, 3, 3, generator=generator()), torch.rand(6, generator=generator(1))
    volume = x.sum((1, 2, 3, 4))
    blended = mixup.blend(x, x.flip(0), share)
    assert torch.allclose(blended.sum((1, 2, 3, 4)), mixup.blend(volume, volume.flip(0), share), rtol=1e-5)


def test_mixup_takes_every_scan_as_partner_alike():
    assert partners(None) == pytest.approx(torch.full((5,), 0.2), abs=0.01)


@pytest.mark.parametrize("bandwidth", [0.5, 1.0, 3.0])
def test_c_mixup_draws_by_the_gaussian_kernel_of_label_distance(bandwidth):
    weights = torch.exp(-((LABELS - LABELS[1]) ** 2) / (2 * bandwidth**2))
    assert partners(bandwidth) == pytest.approx(weights / weights.sum(), abs=0.01)


def test_a_wide_kernel_is_mixup_and_a_narrow_one_leaves_scans_alone():
    wide = mixup.kernel(OWN, LABELS, 1e4)
    assert wide == pytest.approx(torch.full((5, 5), 0.2, dtype=torch.float64), abs=1e-6)
    narrow = mixup.kernel(OWN, LABELS, 1e-3)
    assert torch.allclose(narrow, torch.eye(5).double())


def test_a_label_far_from_all_others_has_itself_as_partner():
    probabilities = mixup.kernel(torch.tensor([1]), torch.tensor([0.0, 1e9]), 1.0)
    assert probabilities.tolist() == [[0, 1]]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_shares_follow_the_beta_distribution(alpha):
    share = mixup.draw(torch.zeros(40_000, dtype=torch.long), LABELS, alpha, generator()).share
    assert 0 <= share.min() and share.max() <= 1
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


@pytest.mark.parametrize("bandwidth", [None, 1.0])
def test_the_same_generator_decides_the_same(bandwidth):
    a, b, c = (mixup.draw(OWN, LABELS, 2.0, generator(seed), bandwidth) for seed in (4, 4, 5))
    assert torch.equal(a.partner, b.partner) and torch.equal(a.share, b.share)
    assert not torch.equal(a.share, c.share)


@pytest.mark.parametrize(("alpha", "bandwidth"), [(0.0, None), (-1.0, 1.0), (1.0, 0.0), (float("nan"), None)])
def test_impossible_distributions_are_refused(alpha, bandwidth):
    with pytest.raises(ValueError, match="must be above 0"):
        mixup.draw(OWN, LABELS, alpha, generator(), bandwidth)


def test_labels_that_are_no_number_are_refused():
    with pytest.raises(ValueError, match="finite"):
        mixup.draw(OWN, torch.tensor([1.0, float("nan"), 0, 0, 0]), 1.0, generator(), 1.0)
