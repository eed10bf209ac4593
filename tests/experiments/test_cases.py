"""Each data set's cases fit the grid's patch, and nothing of an image is lost on the way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewscans.data.samples import Samples, reference_of
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import cases, gcnn

CUBE = gcnn.Grid({"Z3": (10,)}, 1, 1, 1, (1e-3,), patch=(12, 12, 12), downsample=2)


def samples(side: int, count: int = 6) -> Samples:
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, side)).astype(np.uint8)
    names = np.array([f"case{i}" for i in range(count)])
    split = np.array(["train", "val", "test"] * (count // 3))
    return Samples(images, np.arange(count) % 2, names, names, split, "made", Path("made"))


@pytest.mark.parametrize(("side", "fitted"), [(28, 14), (26, 13), (27, 14), (20, 12)])
def test_volumes_are_averaged_over_blocks_and_padded_where_they_are_too_small(side, fitted):
    made = cases._fitted(samples(side), CUBE)
    assert made.images.shape == (6, fitted, fitted, fitted) and made.images.dtype == np.uint8
    gcnn.check(replace(CUBE, arms={"Z3": (2,)}), made)


def test_a_block_s_value_is_the_mean_of_its_voxels():
    raw = samples(28)
    made = cases._fitted(raw, CUBE)
    blocks = raw.images.reshape(6, 14, 2, 14, 2, 14, 2).mean(axis=(2, 4, 6))
    assert np.abs(made.images - blocks).max() <= 0.5


def test_padding_is_dark_and_even_on_both_sides():
    made = cases._fitted(samples(20), replace(CUBE, downsample=1, patch=(24, 24, 24)))
    assert (made.images[:, 2:22, 2:22, 2:22] == samples(20).images).all()
    assert made.images.sum() == samples(20).images.sum(dtype=np.int64)


def test_without_averaging_and_large_enough_nothing_changes():
    assert (cases._fitted(samples(28), replace(CUBE, downsample=1)).images == samples(28).images).all()


def test_images_too_small_for_the_patch_are_refused_before_training():
    with pytest.raises(DataError, match="8 x 8 x 8 voxels, too small for a patch of 12 x 12 x 12"):
        gcnn.check(CUBE, samples(8))


@pytest.mark.parametrize("dataset", ["luna16", "lidc-nodules"])
def test_what_is_cut_from_scans_needs_a_spacing(dataset, tmp_path):
    with pytest.raises(ParamsError, match=f"spacing_mm is missing: the patches of {dataset}"):
        cases.read(dataset, tmp_path, CUBE)


def test_an_unknown_data_set_is_named_with_those_that_can_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot read 'wsi'; it reads luna16-patches, orientation, adrenalmnist3d"):
        cases.read("wsi", tmp_path, CUBE)


def test_the_margin_holds_what_turning_about_z_and_shifting_bring_into_view():
    """A corner of the paper's patch lies 36·√2 voxels from the centre, and a shift of three voxels is added."""
    z, y, x = cases.margin((12, 72, 72))
    assert 36 + y == 36 + x >= 36 * np.sqrt(2) + 3 > 36 + y - 1.1 and z == 1


def test_only_data_with_nodules_to_find_have_a_reference():
    assert reference_of(samples(8)).empty and list(reference_of(samples(8))) == list(reference_of(object()))
