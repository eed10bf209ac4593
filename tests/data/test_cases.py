"""Each data set's cases come as the cut says, nothing of an image is lost on the way, and what was cut is kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewscans.data import (
    adrenalmnist3d,
    lidc_nodules,
    luna16_patches,
    msd_hippocampus,
    pvs,
    registry,
    wmh2017,
    wmh2017_40_20,
)  # fmt: skip
from fewscans.data.base import Cases, Cut
from fewscans.data.formats.medmnist3d import fitted
from fewscans.errors import ParamsError

from .conftest import load_builders


def volumes(side: int, count: int = 6) -> Cases:
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, side)).astype(np.uint8)
    names = np.array([f"case{i}" for i in range(count)])
    split = np.array(["train", "val", "test"] * (count // 3))
    return Cases(images, np.arange(count) % 2, names, names, split, "made", Path("made"))


@pytest.mark.parametrize(("side", "size"), [(28, 14), (26, 13), (27, 14), (20, 12)])
def test_volumes_are_averaged_over_blocks_and_padded_where_they_are_too_small(side, size):
    made = fitted(volumes(side), Cut((12, 12, 12), downsample=2))
    assert made.images.shape == (6, size, size, size) and made.images.dtype == np.uint8


def test_a_block_s_value_is_the_mean_of_its_voxels():
    raw = volumes(28)
    made = fitted(raw, Cut((12, 12, 12), downsample=2))
    blocks = raw.images.reshape(6, 14, 2, 14, 2, 14, 2).mean(axis=(2, 4, 6))
    assert np.abs(made.images - blocks).max() <= 0.5


def test_padding_is_dark_and_even_on_both_sides():
    made = fitted(volumes(20), Cut((24, 24, 24)))
    assert (made.images[:, 2:22, 2:22, 2:22] == volumes(20).images).all()
    assert made.images.sum() == volumes(20).images.sum(dtype=np.int64)


def test_without_averaging_and_large_enough_nothing_changes():
    assert (fitted(volumes(28), Cut((12, 12, 12))).images == volumes(28).images).all()


@pytest.mark.parametrize("name", ["adrenalmnist3d", "nodulemnist3d"])
def test_a_medmnist_set_is_fitted_to_the_cut(tmp_path, name):
    file = load_builders("medmnist3d").write(tmp_path / f"{name}.npz")
    cut = Cut((32, 32, 32))
    read, cases = registry.dataset(name).read(file), registry.dataset(name).cases(file, cut, None)
    assert cases.images.shape[1:] == (32, 32, 32) and np.array_equal(cases.images, fitted(read, cut).images)
    assert np.array_equal(cases.target, read.target) and cases.fingerprint == read.fingerprint


def test_patches_come_whole_and_controls_are_read_as_the_set_whose_layout_they_have(tmp_path, builders):
    file = builders.write(tmp_path / luna16_patches.FILE)
    read = luna16_patches.read(file)
    for name in ("luna16-patches", "orientation"):
        assert np.array_equal(registry.dataset(name).cases(file, Cut((48, 48)), None).images, read.images)
    file = load_builders("medmnist3d").write(tmp_path / "adrenalmnist3d.npz")
    made = registry.dataset("handedness").cases(file, Cut((12, 12, 12), 2), None)
    assert np.array_equal(made.images, adrenalmnist3d.cases(file, Cut((12, 12, 12), 2)).images)


def test_the_cubes_are_cut_to_size_and_all_to_test(tmp_path):
    file = load_builders("lidc_nodules").write(tmp_path)
    cubes, cases = lidc_nodules.read(file), lidc_nodules.cases(file, Cut((6, 12, 12), 1, (2.5, 1.25, 1.25)))
    assert np.array_equal(cases.images, cubes.patches((6, 12, 12), (2.5, 1.25, 1.25)))
    assert cases.target.tolist() == cubes.is_nodule.tolist() and cases.target.dtype == np.int64
    assert set(cases.split) == {"test"} and np.array_equal(cases.group, cubes.patient)


def test_what_is_cut_from_scans_needs_a_spacing(tmp_path):
    file = load_builders("lidc_nodules").write(tmp_path)
    for name in ("luna16", "lidc-nodules"):
        with pytest.raises(ParamsError, match=f"spacing_mm is missing: the patches of {name}"):
            registry.dataset(name).cases(file, Cut((12, 12, 12)), None)


def test_candidates_are_kept_below_the_folder_for_what_is_kept_and_have_a_reference(tmp_path):
    folder = load_builders("luna16").write(tmp_path / "LUNA16")
    cut = Cut((4, 8, 10), 1, (2.0, 1.2, 1.2), (1, 1, 1), negatives_per_scan=1)
    kept, loose = (registry.dataset("luna16").cases(folder, cut, cache) for cache in (tmp_path / "build", None))
    assert (tmp_path / "build" / "patches").resolve() in kept.images.filename.resolve().parents
    assert np.array_equal(kept.images, loose.images) and kept.fingerprint == loose.fingerprint
    assert not kept.reference().empty and list(kept.reference()) == list(volumes(8).reference())


SCANS = {"wmh2017": ("wmh2017", (6, 14, 10)), "pvs": ("pvs", (6, 12, 10)),
         "msd-hippocampus": ("msd_hippocampus", (24, 40, 30))}  # fmt: skip


@pytest.fixture(scope="module", params=SCANS)
def scans(request, tmp_path_factory):
    """A data set of scans, a copy of it, and a window."""
    builder, window = SCANS[request.param]
    return request.param, load_builders(builder).write(tmp_path_factory.mktemp(builder) / "copy"), window


def test_scans_are_means_over_blocks_and_their_voxels_as_much_larger(scans, tmp_path):
    name, folder, window = scans
    half_window = tuple(side // 2 for side in window)
    whole = registry.dataset(name).cases(folder, Cut(window), tmp_path)
    half = registry.dataset(name).cases(folder, Cut(half_window, downsample=2), tmp_path)
    assert half.images.shape[1:] == half_window and half.images.dtype == np.uint8
    d, h, w = half_window
    blocks = whole.images.reshape(-1, d, 2, h, 2, w, 2).mean((2, 4, 6))
    assert np.abs(half.images - blocks).max() <= 1, "to the nearest intensity"
    assert np.allclose(half.spacing_mm, 2 * whole.spacing_mm) and (half.target == whole.target).all()
    assert half.fingerprint != whole.fingerprint, "which is in the key of every run"
    assert {path.parent.name for path in tmp_path.rglob("*.npz")} == {"scans"}
    assert np.array_equal(registry.dataset(name).cases(folder, Cut(window), None).images, whole.images)


def test_the_unit_of_the_challenge_s_labels_is_that_of_the_cut(tmp_path):
    folder = load_builders("wmh2017").write(tmp_path / "copy")
    made = [wmh2017.cases(folder, Cut((6, 14, 10), unit=unit)) for unit in (None, "ml", "voxels")]
    assert [cases.unit for cases in made] == ["ml", "ml", "voxels"] and made[0].fingerprint == made[1].fingerprint


def test_the_paper_s_larger_training_set_leaves_34_scans_to_train_on_and_18_to_test():
    for held_out, test in ((wmh2017.HELD_OUT, 30), (wmh2017_40_20.HELD_OUT, 18)):
        sites = np.repeat(["Utrecht", "Singapore", "Amsterdam GE3T"], 20)
        table = pd.DataFrame({"site": sites, "part": "training", "case": [f"{k:03}" for k in range(60)]})
        split = wmh2017._split(table, False, held_out)
        assert [(split == part).sum() for part in ("test", "val", "train")] == [test, 6, 54 - test]


def test_the_larger_training_set_is_of_the_same_scans_in_another_split(tmp_path):
    folder = load_builders("wmh2017").write(tmp_path / "copy")
    plain, larger = (registry.dataset(name).read(folder) for name in ("wmh2017", "wmh2017-40-20"))
    assert np.array_equal(plain.images, larger.images) and plain.fingerprint != larger.fingerprint
    cut = registry.dataset("wmh2017-40-20").cases(folder, Cut(wmh2017.SIZE), None)
    assert cut.fingerprint == larger.fingerprint and np.array_equal(cut.split, larger.split)


def test_the_fraction_is_the_anterior_part_s_share_of_the_same_scans(tmp_path):
    folder, cut = load_builders("msd_hippocampus").write(tmp_path / "copy"), Cut((12, 20, 15), downsample=2)
    names = ("msd-hippocampus", "msd-hippocampus-fraction")
    volume, share = (registry.dataset(name).cases(folder, cut, tmp_path) for name in names)
    plain = msd_hippocampus.read(folder, (24, 40, 30), factor=2)
    assert np.array_equal(volume.images, plain.images) and np.array_equal(volume.target, plain.target)
    assert np.array_equal(share.images, volume.images) and (share.split == volume.split).all()
    assert share.target == pytest.approx(volume.about["anterior_ml"].to_numpy() / volume.target)
    assert ((0 < share.target) & (share.target < 1)).all()
    assert (share.unit, volume.unit) == ("anterior share", "ml") and share.fingerprint != volume.fingerprint
    pd.testing.assert_frame_equal(share.about, volume.about)


def test_only_data_with_nodules_to_find_have_a_reference_and_only_the_patches_a_second_split(tmp_path):
    assert volumes(8).reference().empty
    folder = load_builders("pvs").write(tmp_path / "copy")
    with pytest.raises(ValueError, match="no second split"):
        pvs.cases(folder, Cut((6, 12, 10))).indices("train", repository=True)
