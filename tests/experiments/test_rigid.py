"""Scans are flipped, turned in millimetres and shifted as decided, and only so."""

from dataclasses import fields
from math import pi

import numpy as np
import pytest
import torch
from scipy import ndimage

from fewscans.experiments import rigid

EXACT = 1e-5  # of grey values from 0 to 1
Z, Y, X = range(3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scans(count: int = 2, size=(9, 12, 11), dtype=torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, *size, dtype=dtype, generator=generator(seed))


def decided(count: int = 2, flip=(), angle_rad=(0.0, 0.0, 0.0), shift_voxels=(0.0, 0.0, 0.0)) -> rigid.Decisions:
    """The same for every scan; nothing, unless said otherwise."""
    flips = torch.tensor([axis in flip for axis in range(3)])
    angle, shift = torch.tensor(angle_rad, dtype=torch.float64), torch.tensor(shift_voxels, dtype=torch.float64)
    return rigid.Decisions(*(v.repeat(count, 1) for v in (flips, angle, shift)))


def largest(difference: torch.Tensor) -> float:
    return float(difference.abs().max())


def offsets(size, spacing_mm=(1.0, 1.0, 1.0)) -> list[torch.Tensor]:
    """Distance of each voxel from the centre along z, y and x, in mm."""
    axes = [(torch.arange(n).double() - (n - 1) / 2) * mm for n, mm in zip(size, spacing_mm, strict=True)]
    return list(torch.meshgrid(*axes, indexing="ij"))


def ellipsoid(size, spacing_mm, radii_mm) -> torch.Tensor:
    """A body with a soft border, so that resampling it blends little: (1, 1, *size)."""
    distance = sum((o / r) ** 2 for o, r in zip(offsets(size, spacing_mm), radii_mm, strict=True)).sqrt()
    return torch.sigmoid((1 - distance) * 6)[None, None].float()


# -------- each decision does what it says -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(9, 12, 11), (8, 8, 8), (1, 5, 6)])
def test_deciding_nothing_changes_nothing(size):
    x = scans(size=size)
    assert largest(rigid.apply(x, decided()) - x) < EXACT


@pytest.mark.parametrize("axes", [(Z,), (Y,), (X,), (Z, X), (Z, Y, X)])
def test_flips_reverse_their_axes(axes):
    x = scans()
    assert largest(rigid.apply(x, decided(flip=axes)) - x.flip([axis + 2 for axis in axes])) < EXACT


@pytest.mark.parametrize("shift", [(1, 0, 0), (0, -2, 0), (0, 0, 2), (2, 1, -1)])
def test_whole_shifts_move_what_is_seen_and_bring_in_zeros(shift):
    x = scans()
    expected = torch.from_numpy(ndimage.shift(x.numpy(), (0, 0, *shift), order=0))
    assert largest(rigid.apply(x, decided(shift_voxels=shift)) - expected) < EXACT


@pytest.mark.parametrize(("about", "plane"), [(Z, (X, Y)), (Y, (Z, X)), (X, (Y, Z))])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_move_voxels_from_the_first_axis_to_the_second_and_blend_none(about, plane, quarters):
    x = scans(size=(7, 7, 7))
    angle = [0.0, 0.0, 0.0]
    angle[about] = quarters * pi / 2
    # np.rot90 and torch.rot90 turn the first of two axes towards the second.
    expected = torch.rot90(x, quarters, [axis + 2 for axis in plane])
    assert largest(rigid.apply(x, decided(angle_rad=angle)) - expected) < EXACT


def test_a_scan_is_flipped_before_it_is_turned_and_turned_before_it_is_shifted():
    x, turned, moved = scans(size=(7, 7, 7)), (pi / 2, 0.0, 0.0), (0.0, 2.0, 0.0)
    steps = rigid.apply(x, decided(flip=(X,)))
    steps = rigid.apply(steps, decided(angle_rad=turned))
    steps = rigid.apply(steps, decided(shift_voxels=moved))
    assert largest(rigid.apply(x, decided(flip=(X,), angle_rad=turned, shift_voxels=moved)) - steps) < EXACT


def test_turns_are_about_x_first_then_y_then_z():
    x = scans(size=(7, 7, 7))
    steps = x
    for axis in (X, Y, Z):
        steps = rigid.apply(steps, decided(angle_rad=[pi / 2 if axis == a else 0.0 for a in range(3)]))
    assert largest(rigid.apply(x, decided(angle_rad=(pi / 2,) * 3)) - steps) < EXACT


def test_rotations_keep_lengths_and_hands():
    matrices = rigid.rotation(torch.rand(50, 3, dtype=torch.float64, generator=generator()) * 6)
    assert torch.allclose(matrices @ matrices.transpose(1, 2), torch.eye(3).double().expand(50, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(matrices), torch.ones(50).double())


# -------- millimetres -------------------------------------------------------------------------------------------------

ANISOTROPIC = (3.0, 1.0, 1.0)
TURNED = (0.2, -0.15, 0.2)


def test_a_ball_in_millimetres_stays_a_ball():
    size = (17, 48, 48)
    ball = ellipsoid(size, ANISOTROPIC, (14, 14, 14))
    turned = rigid.apply(ball, decided(1, angle_rad=TURNED), ANISOTROPIC)
    assert largest(turned - ball) < 0.04
    in_voxels = rigid.apply(ball, decided(1, angle_rad=TURNED))
    assert largest(in_voxels - ball) > 0.3, "turned in voxels, the ball would be another body"


@pytest.mark.parametrize("about", [Z, Y, X])
def test_a_body_turns_by_the_decided_angle_where_voxels_are_not_cubes(about):
    """Its long axis, found from its second moments in millimetres, is turned by exactly as much."""
    size, angle = (17, 48, 48), 0.2
    first, second = {Z: (X, Y), Y: (Z, X), X: (Y, Z)}[about]
    radii = [8.0, 8.0, 8.0]
    radii[first] = 18.0
    body = ellipsoid(size, ANISOTROPIC, radii)
    angles = [0.0, 0.0, 0.0]
    angles[about] = angle
    turned = rigid.apply(body, decided(1, angle_rad=angles), ANISOTROPIC)[0, 0].double()
    o = offsets(size, ANISOTROPIC)
    a, b, ab = ((turned * o[i] * o[j]).sum() for i, j in ((first, first), (second, second), (first, second)))
    assert 0.5 * torch.atan2(2 * ab, a - b) == pytest.approx(angle, abs=0.01)


def test_scans_of_one_batch_may_differ_in_spacing():
    x, decisions = scans(3), decided(3, (Y,), TURNED, (0.5, 1.0, -1.5))
    spacing = torch.tensor([[3.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.2, 0.98, 3.0]])
    together = rigid.apply(x, decisions, spacing)
    for i in range(3):
        assert largest(rigid.apply(x[i : i + 1], decisions[i : i + 1], spacing[i].tolist()) - together[i]) < EXACT
    assert largest(rigid.apply(x, decisions, spacing[0])[1] - together[1]) > 0.1


def test_only_the_ratio_of_spacings_matters():
    x, decisions = scans(), decided(2, (), TURNED, (0.5, 1.0, -1.5))
    one, ten = (rigid.apply(x, decisions, [s * mm for mm in ANISOTROPIC]) for s in (1, 10))
    assert largest(one - ten) < EXACT


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), ANISOTROPIC, (1.2, 0.98, 3.0)])
def test_scipy_resamples_the_same(spacing_mm):
    """Another library's trilinear resampling, with the map written out in millimetres."""
    x, decisions = scans(4, dtype=torch.float64), rigid.draw(4, generator())
    ours = rigid.apply(x, decisions, spacing_mm)
    middle, mm = (np.array(x.shape[2:]) - 1) / 2, np.diag(spacing_mm)
    for i in range(4):
        about_z, about_y, about_x = (
            rigid.rotation(torch.eye(3).double()[a : a + 1] * decisions.angle_rad[i, a].double())[0].numpy()
            for a in range(3)
        )
        flip = np.diag(1.0 - 2 * decisions.flip[i].numpy())
        inverse = flip @ np.linalg.inv(mm) @ np.linalg.inv(about_z @ about_y @ about_x) @ mm
        start = middle - inverse @ (middle + decisions.shift_voxels[i].double().numpy())
        expected = ndimage.affine_transform(x[i, 0].numpy(), inverse, start, order=1, mode="grid-constant")
        assert np.abs(ours[i, 0].numpy() - expected).max() < 1e-9


# -------- whole voxels ------------------------------------------------------------------------------------------------


def test_moving_flips_then_shifts_and_changes_no_value():
    x = scans(60, (5, 6, 7))
    decisions = rigid.draw(60, generator(4), 0.0, 2.0, whole=True)
    moved = rigid.move(x, decisions)
    assert moved.shape == x.shape
    for image, of, flip, shift in zip(moved, x, decisions.flip, decisions.shift_voxels, strict=True):
        flipped = of[0].flip([axis for axis in range(3) if flip[axis]]).numpy()
        assert np.array_equal(image[0].numpy(), ndimage.shift(flipped, shift.numpy(), order=0))
    assert largest(rigid.apply(x, decisions) - moved) < EXACT, "as resampling does it"


def test_whole_shifts_are_all_as_likely_and_drawn_like_the_others():
    d = rigid.draw(30_000, generator(), 0.0, 1.5, whole=True)
    values, counts = d.shift_voxels.unique(return_counts=True)
    assert values.tolist() == [-1, 0, 1] and counts / counts.sum() == pytest.approx(torch.full((3,), 1 / 3), abs=0.01)
    assert torch.equal(d.flip, rigid.draw(30_000, generator()).flip)
    assert not rigid.draw(50, generator(), 0.0, 0.9, whole=True).shift_voxels.any()


@pytest.mark.parametrize(
    "decisions", [decided(3), decided(2, angle_rad=(0.1, 0, 0)), decided(2, shift_voxels=(0.5, 0, 0))]
)
def test_what_would_want_resampling_is_not_moved(decisions):
    with pytest.raises(ValueError, match="move wants 2 decisions without turns, and shifts by whole voxels"):
        rigid.move(scans(), decisions)


def test_scans_of_depth_1_stay_in_their_plane():
    d = rigid.draw(40, generator())
    flat = d.in_plane()
    assert not flat.angle_rad[:, Y:].any() and not flat.shift_voxels[:, Z].any()
    assert torch.equal(flat.angle_rad[:, Z], d.angle_rad[:, Z])
    assert torch.equal(flat.shift_voxels[:, Y:], d.shift_voxels[:, Y:])
    lit = torch.ones(40, 1, 1, 9, 9)
    assert rigid.apply(lit, flat)[..., 4, 4].min() > 1 - EXACT > rigid.apply(lit, d)[..., 4, 4].min()


# -------- black -------------------------------------------------------------------------------------------------------


def test_an_all_black_scan_stays_black():
    x = scans(20)
    x[::3] = 0
    done = rigid.apply(x, rigid.draw(20, generator()))
    assert not done[::3].any() and done[1].any()


def test_nothing_brighter_or_darker_than_the_scan_appears_and_zeros_lie_beyond():
    done = rigid.apply(torch.ones(50, 1, 9, 12, 11), rigid.draw(50, generator()))
    assert 0 <= done.min() and done.max() <= 1 + EXACT
    assert (done[:, 0, 4, 6, 5] - 1).abs().max() < EXACT, "the centre is never beyond"
    shifted = rigid.apply(torch.ones(1, 1, 4, 4, 4), decided(1, shift_voxels=(0, 0, 1)))
    assert largest(shifted[..., 0]) < EXACT and largest(shifted[..., 1:] - 1) < EXACT


# -------- recorded decisions ------------------------------------------------------------------------------------------


def test_recorded_decisions_replay_each_scan_alone():
    x, decisions = scans(6), rigid.draw(6, generator(3))
    together = rigid.apply(x, decisions, ANISOTROPIC)
    assert torch.equal(together, rigid.apply(x, decisions, ANISOTROPIC))
    for i in range(6):
        assert largest(rigid.apply(x[i : i + 1], decisions[[i]], ANISOTROPIC) - together[i]) < EXACT
    chosen = torch.tensor([True, False, False, True, True, False])
    assert largest(rigid.apply(x[chosen], decisions[chosen], ANISOTROPIC) - together[chosen]) < EXACT


def test_the_same_generator_decides_the_same():
    a, b, c = (rigid.draw(16, generator(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    assert not any(torch.equal(getattr(a, f.name), getattr(c, f.name)) for f in fields(a))


def test_decisions_keep_to_the_papers_ranges_evenly_and_independently():
    count = 20_000
    d = rigid.draw(count, generator())
    for values, most in ((d.angle_rad, 0.2), (d.shift_voxels, 2.0)):
        assert values.shape == (count, 3) and 0.99 * most < values.abs().max() <= most
        for axis in range(3):
            shares = torch.histc(values[:, axis], 8, -most, most) / count
            assert shares == pytest.approx(torch.full((8,), 1 / 8), abs=0.012)
    assert d.flip.float().mean(0) == pytest.approx(torch.full((3,), 0.5), abs=0.02)
    everything = torch.cat([d.flip.float(), d.angle_rad, d.shift_voxels], 1).T
    assert (torch.corrcoef(everything) - torch.eye(9)).abs().max() < 0.03


def test_ranges_and_flipped_axes_may_be_chosen():
    d = rigid.draw(500, generator(), max_angle_rad=0.0, max_shift_voxels=0.5, flip_axes=(X,))
    assert not d.angle_rad.any() and d.shift_voxels.abs().max() <= 0.5
    assert not d.flip[:, :X].any() and 0.4 < d.flip[:, X].float().mean() < 0.6
    assert not rigid.draw(50, generator(), flip_axes=()).flip.any()


def test_what_is_chosen_of_one_decision_leaves_the_others_as_they_were():
    """Arms that differ in one range see the same scans otherwise."""
    a, b = rigid.draw(10, generator()), rigid.draw(10, generator(), max_shift_voxels=0.0, flip_axes=())
    assert torch.equal(a.angle_rad, b.angle_rad)


# -------- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 9, 12, 11), torch.zeros(2, 1, 9, 12, 11).byte(), torch.zeros(2, 1, 9, 12, 11).half()],
)
def test_images_of_another_form_are_refused(images):
    with pytest.raises(ValueError, match="images must be float32 or float64"):
        rigid.apply(images, decided())


@pytest.mark.parametrize(
    "spacing_mm", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, float("nan"), 1.0), np.ones((3, 3))]
)
def test_an_impossible_spacing_is_refused(spacing_mm):
    with pytest.raises(ValueError, match="spacing_mm must be 3 sizes above 0, or 3 for each of 2 scans"):
        rigid.apply(scans(), decided(), spacing_mm)


def test_as_many_decisions_as_scans_are_wanted():
    with pytest.raises(ValueError, match="2 scans want as many decisions, got 3"):
        rigid.apply(scans(), decided(3))


def test_impossible_ranges_are_refused():
    with pytest.raises(ValueError, match="0 or more, got -0.1 rad"):
        rigid.draw(2, generator(), max_angle_rad=-0.1)
    with pytest.raises(ValueError, match=r"flip_axes must be among 0 \(z\), 1 \(y\) and 2 \(x\), got \(3,\)"):
        rigid.draw(2, generator(), flip_axes=(3,))


def test_scans_and_decisions_themselves_are_left_alone():
    x, decisions = scans(), rigid.draw(2, generator())
    before = [v.clone() for v in (x, decisions.flip, decisions.angle_rad, decisions.shift_voxels)]
    rigid.apply(x, decisions, ANISOTROPIC)
    after = (x, decisions.flip, decisions.angle_rad, decisions.shift_voxels)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
