"""Patches are what ITK would resample there, and do not depend on how a scan's voxels happen to be stored."""

import numpy as np
import pytest

from fewscans.data.formats import cut as cutting
from fewscans.data.formats import mhd
from fewscans.data.formats.cut import AIR_HU, axial, cut, to_code, to_unit
from fewscans.errors import DataError

from .conftest import load_builders

BUILD = load_builders("luna16")
SHAPE, SPACING = (40, 56, 60), (0.8, 0.8, 1.25)  # z y x; mm x y z
MIDDLE = np.array([31.0, -12.5, -140.0])
NODULES = MIDDLE + [[0, 0, 0], [9, -6, 4], [-8, 5, -5]]
DIRECTIONS = list(BUILD.DIRECTIONS)
OTHERS = pytest.mark.parametrize("name", DIRECTIONS[1:])
EVERY = pytest.mark.parametrize("name", DIRECTIONS)


def scan(tmp_path, name="identity", spacing=SPACING, shape=SHAPE, hu=None):
    """The same anatomy, sampled through a grid of another direction."""
    direction = BUILD.DIRECTIONS[name]
    if name == "axes exchanged":  # the voxel axes x, y, z of this one go along the world's y, z, x
        spacing, shape = (spacing[1], spacing[2], spacing[0]), (shape[2], shape[0], shape[1])
    offset = BUILD.centred_offset(shape, spacing, direction, MIDDLE)
    grid = np.moveaxis(np.indices(shape), 0, -1)[..., ::-1]
    world = offset + (grid * spacing) @ direction.T
    hu = BUILD.anatomy(world, NODULES) if hu is None else hu(world)
    mhd.write(tmp_path / f"{name}.mhd", np.round(hu).astype(np.int16), spacing, offset, direction)
    return mhd.read(tmp_path / f"{name}.mhd")


def places(centre, size, spacing):
    """World x y z of a patch's samples, written out from the definition: (D, H, W, 3)."""
    z, y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True))
    return centre + np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], -1)


@EVERY
def test_every_nodule_is_where_its_coordinates_say_to_half_a_voxel(tmp_path, name):
    volume = scan(tmp_path, name)
    bright = np.argwhere(np.asarray(volume.array) > -350).astype(float)
    world = volume.voxel_to_world(bright)
    for nodule in NODULES:
        own = world[np.linalg.norm(world - nodule, axis=1) < 4]
        away = volume.world_to_voxel(own.mean(axis=0)[None]) - volume.world_to_voxel(nodule[None])
        assert np.abs(away).max() < 0.5


@EVERY
def test_a_patch_is_the_anatomy_at_its_places(tmp_path, name):
    size, spacing = (8, 12, 10), (1.5, 1.1, 1.0)
    centre = MIDDLE + [2.2, -1.3, 0.7]
    patch = cut(scan(tmp_path, name), [centre], size, spacing)[0]
    expected = BUILD.anatomy(places(centre, size, spacing), NODULES)
    assert patch.shape == size and patch.dtype == np.float32
    assert np.abs(patch - expected).max() < 45  # what linear interpolation takes off a nodule's rim
    assert np.sqrt(np.mean((patch - expected) ** 2)) < 12 < np.std(expected) / 10


@OTHERS
def test_the_same_anatomy_gives_the_same_patch_however_it_is_stored(tmp_path, name):
    centres = MIDDLE + [[0, 0, 0], [6.0, -5.0, 3.0]]
    plain, other = (cut(scan(tmp_path, n), centres, (6, 12, 14), (2.5, 1.25, 1.25)) for n in ("identity", name))
    difference = np.abs(other - plain)
    if name == "oblique":  # other places are sampled: alike as far as interpolation goes
        assert difference.max() < 60 and np.sqrt(np.mean(difference**2)) < 12
    else:
        assert difference.max() < 1e-3
    for axis in (1, 2, 3):  # a patch turned the wrong way would be noticed
        assert np.abs(np.flip(plain, axis) - plain).max() > 200


@EVERY
def test_values_are_those_of_simpleitks_linear_resampling(sitk, tmp_path, name):
    rng = np.random.default_rng(3)
    volume = scan(tmp_path, name, hu=lambda world: rng.integers(-1000, 2000, world.shape[:-1]))
    size, spacing = (14, 20, 18), (1.1, 1.15, 0.9)  # no step above 1.5 voxels: nothing is averaged
    centre = MIDDLE + [18.0, -16.1, 14.3]  # reaches over the border
    image = sitk.ReadImage(str(tmp_path / f"{name}.mhd"), sitk.sitkFloat32)
    grid = sitk.Image(size[::-1], sitk.sitkFloat32)
    grid.SetSpacing(spacing[::-1])
    grid.SetOrigin(places(centre, size, spacing)[0, 0, 0].tolist())
    expected = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, AIR_HU))
    patch = cut(volume, [centre], size, spacing)[0]
    assert (expected == AIR_HU).any() and (expected != AIR_HU).mean() > 0.3
    assert np.abs(patch - expected).max() < 0.01


@pytest.mark.parametrize("spacing", [(1.25, 0.8, 0.8), (3.0, 2.0, 2.0)], ids=["as stored", "coarser"])
def test_both_ways_of_sampling_agree(tmp_path, monkeypatch, spacing):
    """Grids along the world's axes take a shorter way; it gives what the way of the oblique ones gives."""
    volume, centres = scan(tmp_path, "upside down"), MIDDLE + [[0.3, 0.2, -0.1], [20.0, 18.0, 20.0]]
    short = cut(volume, centres, (6, 10, 12), spacing)
    monkeypatch.setattr(cutting, "_is_aligned", lambda steps: False)
    assert np.abs(cut(volume, centres, (6, 10, 12), spacing) - short).max() < 0.01


@EVERY
def test_a_coarse_patch_averages_what_is_between_its_samples(tmp_path, name, monkeypatch):
    """Stripes of 1.4 mm seen at 2.8 mm a step: each sample falls on a crest, and their mean is what is there."""
    spacing = (0.5, 0.5, 0.5)
    stripes = scan(tmp_path, name, spacing, hu=lambda w: -500 + 300 * np.cos(np.pi * (w[..., 0] - MIDDLE[0]) / 0.7))
    where = ([MIDDLE], (3, 4, 4), (2.8, 2.8, 2.8))
    assert np.abs(cut(stripes, *where) + 500).max() < 20
    monkeypatch.setattr(cutting, "ANTIALIAS_ABOVE", np.inf)
    assert np.abs(cut(stripes, *where) + 500).min() > 80


def test_beyond_the_scan_is_air_and_within_it_nothing_is(tmp_path):
    volume = scan(tmp_path, hu=lambda world: np.full(world.shape[:-1], 40.0))
    first, last = volume.voxel_to_world(np.array([[0.0, 0, 0], np.array(SHAPE) - 1]))
    for corner, towards in ((first, 1), (last, -1)):
        patch = cut(volume, [corner], (9, 9, 9), (1, 1, 1))[0]
        points = (places(corner, (9, 9, 9), (1, 1, 1)) - corner) * towards
        inside = (points > -np.array(SPACING) / 2).all(axis=-1)
        assert np.all(patch[inside] == 40) and np.all(patch[~inside] == AIR_HU)
        assert inside.sum() == 125


@EVERY
def test_a_centre_outside_the_scan_is_refused(tmp_path, name):
    volume = scan(tmp_path, name)
    edge = np.array([-0.5, 3, 3]) + [[0.01, 0, 0], [-0.01, 0, 0]]
    inside, outside = volume.voxel_to_world(edge)
    assert cut(volume, [inside], (2, 2, 2), (1, 1, 1)).shape == (1, 2, 2, 2)
    with pytest.raises(DataError, match=f"{name}.mhd: .* is outside the scan"):
        cut(volume, [inside, outside], (2, 2, 2), (1, 1, 1))


def test_padding_that_scanners_write_counts_as_air(tmp_path):
    volume = scan(tmp_path, hu=lambda w: np.where(w[..., 0] > MIDDLE[0], -3024, -900))
    patch = cut(volume, [MIDDLE], (2, 4, 20), (1, 1, 1))
    assert patch.min() == AIR_HU and patch.max() == -900
    assert np.all((patch >= AIR_HU) & (patch <= -900))


@EVERY
def test_an_axial_cut_is_the_middle_slice_of_an_odd_patch(tmp_path, name):
    volume = scan(tmp_path, name)
    flat = axial(volume, [MIDDLE, NODULES[1]], (12, 14), (1.1, 0.9))
    assert np.array_equal(flat, cut(volume, [MIDDLE, NODULES[1]], (3, 12, 14), (0.5, 1.1, 0.9))[:, 1])


def test_no_centres_give_no_patches(tmp_path):
    assert cut(scan(tmp_path), np.empty((0, 3)), (2, 3, 4), (1, 1, 1)).shape == (0, 2, 3, 4)


@pytest.mark.parametrize(("size", "spacing"), [((2, 3), (1, 1, 1)), ((2, 0, 3), (1, 1, 1)), ((2, 3, 4), (1, 0, 1)),
                                                ((2, 3, 4), (1, np.nan, 1))])  # fmt: skip
def test_sizes_and_spacings_that_are_none_are_refused(tmp_path, size, spacing):
    with pytest.raises(ValueError, match="numbers above 0"):
        cut(scan(tmp_path), [MIDDLE], size, spacing)


def test_the_window_spans_the_codes():
    hu = np.array([-3000, -1000, -350, 300, 3000], np.float32)
    assert to_unit(hu).tolist() == [-1, -1, 0, 1, 1]
    assert to_code(to_unit(hu)).tolist() == [0, 0, 128, 255, 255]
    every = np.arange(-1000, 301, dtype=np.float32)
    back = (to_code(to_unit(every)) / 127.5 - 1) * 650 - 350
    assert np.abs(back - every).max() <= 1300 / 255 / 2 + 1e-3
    assert to_code(to_unit(every)).dtype == np.uint8
