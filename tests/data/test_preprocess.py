"""Preprocessing undoes what it is for and moves nothing: bias field, voxel size, intensities."""

from pathlib import Path

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import preprocess
from fewscans.data.formats import nifti
from fewscans.errors import DataError

SHAPE, SPACING = (30, 44, 36), (2.0, 1.0, 1.5)  # z y x


def volume(array, spacing=SPACING, origin=(3.0, -40.0, 12.0)) -> nifti.Volume:
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin
    return nifti.Volume(np.asarray(array, np.float32), spacing, affine, Path("scan.nii"))


def coordinates(v: nifti.Volume) -> np.ndarray:
    """World coordinates of all voxel centres, (D, H, W, 3), x y z."""
    z, y, x = np.indices(v.array.shape)
    return np.stack([x, y, z], axis=-1) @ v.affine[:3, :3].T + v.affine[:3, 3]


@pytest.fixture(scope="module")
def head():
    """Two tissues in an ellipsoid, and the same under a smooth field of brightness."""
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    radius = np.sqrt((place**2).sum(0))
    clean = np.where(radius < 0.9, np.where(radius < 0.6, 150.0, 100.0), 0)
    clean = np.clip(clean + np.random.default_rng(0).normal(0, 3, SHAPE) * (clean > 0), 0, None)
    field = 1 + 0.4 * place[1] + 0.2 * place[2]
    return volume(clean), volume(clean * field), radius < 0.9


def test_n4_takes_most_of_a_smooth_field_away(head):
    clean, biased, mask = head
    inner = clean.array > 130

    def unevenness(v):
        return v.array[inner].std() / v.array[inner].mean()

    corrected = preprocess.n4(biased, mask, shrink=2)
    assert unevenness(corrected) < 0.4 * unevenness(biased)
    assert np.array_equal(corrected.affine, biased.affine) and corrected.array.dtype == np.float32
    assert np.array_equal(preprocess.n4(biased, mask, shrink=2).array, corrected.array)  # the same bytes


def test_n4_refuses_what_it_cannot_take_the_logarithm_of(head):
    clean, _, mask = head
    with pytest.raises(DataError, match="scan.nii: holds -5; N4 takes logarithms"):
        preprocess.n4(volume(np.full(SHAPE, -5.0)), mask)
    with pytest.raises(DataError, match="the mask is empty"):
        preprocess.n4(clean, np.zeros(SHAPE, bool))
    with pytest.raises(DataError, match=r"the mask is \(3, 3, 3\), the volume \(30, 44, 36\)"):
        preprocess.z_scores(clean, np.ones((3, 3, 3), bool))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 2.0, 0.7), (5.0, 0.5, 1.5)])
def test_resampling_keeps_every_place_in_the_world(spacing):
    """A ramp along each axis has at each new voxel the value of its own coordinate, but at the borders."""
    v = volume(np.zeros(SHAPE))
    for axis in range(3):
        ramp = preprocess.resampled(volume(coordinates(v)[..., axis]), spacing)
        assert ramp.spacing_mm == pytest.approx(spacing)
        shape = np.rint(np.multiply(SHAPE, SPACING) / spacing)
        assert ramp.array.shape == tuple(shape.astype(int))
        far = tuple(slice(n // 4, n - n // 4) for n in ramp.array.shape)
        np.testing.assert_allclose(ramp.array[far], coordinates(ramp)[..., axis][far], atol=0.02)


def test_labels_are_never_mixed_and_come_back():
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:22, 10:30, 9:25], labels[12:16, 15:22, 12:20] = 1, 3
    v = nifti.Volume(labels, SPACING, volume(labels).affine, Path("mask.nii"))
    fine = preprocess.resampled(v, (0.5, 0.5, 0.5), labels=True)
    assert set(np.unique(fine.array)) == {0, 1, 3} and fine.array.dtype == np.uint8
    back = preprocess.onto(fine, SHAPE, v.affine, labels=True)
    assert np.array_equal(back.array, labels)
    blurred = preprocess.resampled(volume(labels), (0.5, 0.5, 0.5))
    assert len(np.unique(blurred.array)) > 3  # the test can fail


def test_a_coarser_grid_shows_means_and_no_aliases():
    stripes = np.zeros(SHAPE)
    stripes[:, ::2] = 1
    coarse = preprocess.resampled(volume(stripes), (2.0, 4.0, 1.5)).array
    assert np.abs(coarse[:, 2:-2] - 0.5).max() < 0.1


def test_an_oblique_volume_keeps_its_angle():
    v = volume(np.random.default_rng(0).random(SHAPE))
    turn = np.linalg.qr(np.eye(3) + 0.2)[0]
    affine = v.affine.copy()
    affine[:3] = turn @ affine[:3]
    fine = preprocess.resampled(nifti.Volume(v.array, SPACING, affine, v.path), (1.0, 1.0, 1.0))
    direction = fine.affine[:3, :3] / np.linalg.norm(fine.affine[:3, :3], axis=0)
    np.testing.assert_allclose(direction, affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0), atol=1e-12)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.0, 1.0, 1.0), (1.0, np.nan, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(ValueError, match="three numbers above 0"):
        preprocess.resampled(volume(np.zeros(SHAPE)), spacing)


def test_scores_have_mean_0_and_deviation_1_inside_the_mask_whatever_the_scanner_s_scale(head):
    clean, _, mask = head
    scaled = preprocess.z_scores(clean, mask)
    assert scaled.array[mask].mean() == pytest.approx(0, abs=1e-4)
    assert scaled.array[mask].std() == pytest.approx(1, abs=1e-4)
    assert (scaled.array[~mask] == 0).all()
    other = preprocess.z_scores(volume(clean.array * 7 + 30), mask)
    np.testing.assert_allclose(other.array, scaled.array, atol=1e-3)
    with pytest.raises(DataError, match="all intensities inside the mask are 4; there is nothing to scale"):
        preprocess.z_scores(volume(np.full(SHAPE, 4.0)), mask)


def test_a_real_whole_brain_goes_through_all_steps():
    files = sorted((paths.data_root() / "isles22-case0009").glob("*_flair.nii.gz"))
    if not files:
        pytest.skip("no copy of isles22-case0009 under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    scan = preprocess.resampled(nifti.read(files[0]), (4.0, 4.0, 4.0))
    brain = scan.array > 0.1 * np.percentile(scan.array, 99)
    done = preprocess.z_scores(preprocess.n4(scan, brain), brain)
    assert done.array.shape == scan.array.shape and np.isfinite(done.array).all()
    assert done.array[brain].std() == pytest.approx(1, abs=1e-3)
