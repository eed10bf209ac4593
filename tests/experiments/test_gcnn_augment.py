"""Augmentation does what its decisions say, and its decisions are drawn as the paper has them."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans.experiments.gcnn import augment
from fewscans.groups import Group
from fewscans.nn.gconv import act_on_image

SIZE = 48
EXACT = 2e-5  # 1e-5 of the range of grey values, -1 to 1


def images(count: int = 3, side: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nothing(count: int) -> augment.Decisions:
    """Decisions that leave each patch alone."""
    return augment.Decisions(
        torch.eye(2).repeat(count, 1, 1), torch.zeros(count, 2), torch.zeros(count), torch.ones(count),
        torch.zeros(count),
    )  # fmt: skip


def applied(x: torch.Tensor, **changes) -> torch.Tensor:
    return augment.apply(x, replace(nothing(len(x)), **changes), SIZE, noise())


def largest(difference: torch.Tensor) -> float:
    return float(difference.abs().max())


@pytest.mark.parametrize("side", [48, 49, 50, 53])
def test_deciding_nothing_is_cutting_the_centre(side):
    x = images(side=side)
    done = augment.apply(x, nothing(len(x)), side - 2, noise())
    assert largest(done - augment.centre(x, side - 2)) < EXACT


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_quarter_turns_and_reflections_move_pixels_and_blend_none(turns, mirrored):
    # What stands at offset v = (x, y) of the output stood at matrix v of the input.
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    matrix = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float32)
    if mirrored:
        matrix = matrix @ torch.diag(torch.tensor([-1.0, 1.0]))
    x = images()
    turned = np.rot90(x.numpy(), turns, axes=(2, 3))
    expected = torch.from_numpy((np.flip(turned, 3) if mirrored else turned).copy())
    assert largest(applied(x, matrix=matrix.repeat(3, 1, 1)) - augment.centre(expected, SIZE)) < EXACT


@given(st.integers(-1, 1), st.integers(-1, 1))
@settings(max_examples=9, deadline=None)
def test_whole_shifts_are_another_cut(dx, dy):
    x = images()
    expected = x[..., 1 + dy : 49 + dy, 1 + dx : 49 + dx]
    assert largest(applied(x, shift=torch.tensor([[dx, dy]] * 3, dtype=torch.float32)) - expected) < EXACT


def test_enlarging_shows_less_of_the_patch():
    ramp = torch.linspace(-1, 1, 50).expand(1, 1, 50, 50)
    spread = {scale: float(applied(ramp, matrix=torch.eye(2)[None] / scale).std()) for scale in augment.SCALE}
    assert spread[1.2] < float(augment.centre(ramp, SIZE).std()) < spread[0.8] * 1.05


def test_nothing_but_the_patch_itself_appears_beyond_its_border():
    bright = torch.ones(64, 1, 50, 50)
    decisions = augment.draw(64, torch.Generator().manual_seed(0))
    plain = replace(decisions, noise=torch.zeros(64), gain=torch.ones(64), offset=torch.zeros(64))
    assert largest(augment.apply(bright, plain, SIZE, noise()) - 1) < EXACT


def test_gain_and_offset_change_grey_values_and_nothing_else():
    x = images()
    done = applied(x, gain=torch.full((3,), 1.1), offset=torch.full((3,), -0.05))
    assert largest(done - (augment.centre(x, SIZE) * 1.1 - 0.05)) < EXACT


def test_noise_has_the_decided_deviation_and_comes_from_the_given_generator():
    x = images(4)
    deviation = torch.tensor([0.0, 0.05, 0.1, 0.0])
    decisions = replace(nothing(4), noise=deviation)
    first, again, other = (augment.apply(x, decisions, SIZE, noise(seed)) for seed in (0, 0, 1))
    added = first - augment.centre(x, SIZE)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.allclose(added.std(dim=(1, 2, 3)), deviation, rtol=0.05, atol=1e-5)
    assert added[1].mean().abs() < 0.01 and not torch.allclose(added[1] * 2, added[2], atol=1e-2)


def test_recorded_decisions_replay_each_sample_alone():
    x, decisions = images(8), augment.draw(8, torch.Generator().manual_seed(3))
    quiet = replace(decisions, noise=torch.zeros(8))
    together = augment.apply(x, quiet, SIZE, noise())
    for i in range(8):
        alone = augment.Decisions(**{f.name: getattr(quiet, f.name)[i : i + 1] for f in fields(quiet)})
        assert largest(augment.apply(x[i : i + 1], alone, SIZE, noise()) - together[i]) < EXACT


def test_the_same_generator_decides_the_same():
    a, b, c = (augment.draw(16, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    assert not any(torch.equal(getattr(a, f.name), getattr(c, f.name)) for f in fields(a))


def test_decisions_keep_to_their_ranges_and_frequencies():
    count = 20_000
    d = augment.draw(count, torch.Generator().manual_seed(0))
    scale = torch.linalg.det(d.matrix).abs().rsqrt()
    assert augment.SCALE[0] - 1e-4 <= scale.min() and scale.max() <= augment.SCALE[1] + 1e-4
    assert d.shift.abs().max() <= max(augment.MAX_SHIFT_VOXELS)
    assert (d.gain - 1).abs().max() <= augment.GAIN and d.offset.abs().max() <= augment.OFFSET
    assert set(d.noise.tolist()) == {0.0, float(torch.tensor(augment.NOISE))}
    assert d.matrix.det().sign().mean().abs() < 0.03, "half of them are reflections"
    # A rotation alone: what is left of the matrix once scale and reflection are taken out.
    mirror = d.matrix.det().sign()
    rotation = d.matrix * scale[:, None, None] * torch.stack([mirror, torch.ones(count)], 1)[:, None]
    turned = (rotation - torch.eye(2)).abs().amax(dim=(1, 2)) > 1e-4
    chosen = {
        "rotation": turned, "scale": (scale - 1).abs() > 1e-5, "shift": d.shift.abs().amax(1) > 0, "noise": d.noise > 0,
        "gain": d.gain != 1, "offset": d.offset != 0,
    }  # fmt: skip
    for name, mask in chosen.items():
        assert mask.float().mean() == pytest.approx(augment.PROBABILITY, abs=0.02), name
    # Each is decided on its own, and every angle is as likely as another.
    together = torch.corrcoef(torch.stack([mask.float() for mask in chosen.values()])) - torch.eye(len(chosen))
    assert together.abs().max() < 0.04
    angle = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])[turned]
    assert torch.histc(angle, 8, -np.pi, np.pi) / len(angle) == pytest.approx(torch.full((8,), 1 / 8), abs=0.02)


@pytest.mark.parametrize("axes", [2, 3])
def test_upright_decisions_scale_and_shift_and_neither_turn_nor_mirror(axes):
    free, upright = (augment.draw(500, torch.Generator().manual_seed(2), (3.0,) * axes, up) for up in (False, True))
    assert all(torch.equal(getattr(free, n), getattr(upright, n)) for n in ("shift", "noise", "gain", "offset"))
    scale = torch.linalg.det(free.matrix).abs() ** (1 / axes)
    assert torch.allclose(upright.matrix, scale[:, None, None] * torch.eye(axes), atol=1e-5)


def test_each_image_is_turned_by_its_own_element():
    x, group = images(12)[..., :8, :8], Group.named("p4m")
    elements = torch.arange(12) % 8
    turned = augment.turned(x, group, elements)
    for i, element in enumerate(elements.tolist()):
        assert torch.equal(turned[i], act_on_image(group, element, x[i])), element
    assert not torch.equal(turned, x)


# In space: the same, turning about z alone, and mirrored along z as well.

DEEP = (8, 24, 24)


def volumes(count: int = 2) -> torch.Tensor:
    return torch.rand((count, 1, 10, 28, 28), generator=torch.Generator().manual_seed(1)) * 2 - 1


def nothing_in_space(count: int) -> augment.Decisions:
    d = nothing(count)
    return replace(d, matrix=torch.eye(3).repeat(count, 1, 1), shift=torch.zeros(count, 3))


def test_in_space_deciding_nothing_is_cutting_the_centre():
    x = volumes()
    assert largest(augment.apply(x, nothing_in_space(2), DEEP, noise()) - augment.centre(x, DEEP)) < EXACT


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("upside_down", [False, True])
def test_in_space_quarter_turns_about_z_and_mirroring_along_it_move_voxels_and_blend_none(turns, upside_down):
    x, angle = volumes(), turns * np.pi / 2
    matrix = torch.tensor([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix[2, 2] = -1 if upside_down else 1
    expected = torch.rot90(x, turns, (-2, -1))
    expected = expected.flip(2) if upside_down else expected
    done = augment.apply(x, replace(nothing_in_space(2), matrix=matrix.float().repeat(2, 1, 1)), DEEP, noise())
    assert largest(done - augment.centre(expected, DEEP)) < 10 * EXACT


def test_in_space_shifts_keep_to_each_axis_and_a_flat_one_stays_put():
    d = augment.draw(5000, torch.Generator().manual_seed(0), (3.0, 1.0, 0.0))
    assert (d.shift.abs().amax(0) <= torch.tensor([3.0, 1.0, 0.0])).all()
    assert d.shift.abs().amax(0)[:2] == pytest.approx(torch.tensor([3.0, 1.0]), rel=0.01)


def test_in_space_half_are_mirrored_along_z_whatever_is_done_in_the_plane():
    d = augment.draw(20_000, torch.Generator().manual_seed(0), (1.0, 1.0, 1.0))
    z, plane = d.matrix[:, 2, 2].sign(), d.matrix[:, :2, :2].det().sign()
    assert z.mean().abs() < 0.03 and plane.mean().abs() < 0.03 and (z * plane).mean().abs() < 0.03
    assert (d.matrix[:, 2, :2] == 0).all() and (d.matrix[:, :2, 2] == 0).all(), "z stays z"
    scale = d.matrix[:, :2, :2].det().abs().rsqrt()
    assert d.matrix[:, 2, 2].abs() == pytest.approx(1 / scale, rel=1e-4), "all axes are scaled alike"
