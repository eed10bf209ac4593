"""Task04 is read with the volume of what is labelled, by person, and cut so that the box tells nothing of it."""

import os
import shutil

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import box, manifest, registry
from fewscans.data import msd_hippocampus as msd
from fewscans.data.formats import nifti
from fewscans.data.group_splits import nested_by_group
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("msd_hippocampus")
SIZES = ["shape_z", "shape_y", "shape_x"]


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("msd") / "good")


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "Task04_Hippocampus")


@pytest.fixture(scope="module")
def scans(pristine):
    return msd.read(pristine)


@pytest.fixture(scope="module")
def folder():
    """The user's own copy, or a skip that says what is missing."""
    try:
        return registry.find("msd-hippocampus", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of msd-hippocampus under FEWSCANS_DATA_ROOT or params.yaml's data_root")


@pytest.fixture(scope="module")
def real(folder):
    return msd.read(folder)


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """ICC(A,1) of two raters: Shrout & Fleiss (1979), case 2."""
    ratings = np.stack([a, b], axis=1)
    n, mean = len(ratings), ratings.mean()
    rows, columns = ratings.mean(axis=1, keepdims=True), ratings.mean(axis=0)
    between, raters = 2 * ((rows - mean) ** 2).sum() / (n - 1), n * ((columns - mean) ** 2).sum()
    error = ((ratings - rows - columns + mean) ** 2).sum() / (n - 1)
    return (between - error) / (between + error + 2 * (raters - error) / n)


def from_padding(images, scans) -> float:
    return agreement(box.predicted(box.padding(images), scans.target, scans.group), scans.target)


def in_full(folder, scans, mode: str, size=(48, 60, 44)) -> np.ndarray:
    """The published images, whole, each padded to one size: what a network must not be given."""
    out = []
    for case in scans.case:
        image = nifti.read(folder / "imagesTr" / f"{case}.nii.gz").array
        spare = np.array(size) - image.shape
        out.append(np.pad(nifti.unit(image), [(s // 2, s - s // 2) for s in spare], mode=mode))
    return np.stack(out)


def test_the_number_is_the_volume_of_what_is_labelled_in_ml(scans):
    for case, number, (anterior, posterior) in zip(
        scans.case, scans.target, scans.about[["anterior_ml", "posterior_ml"]].to_numpy(), strict=True
    ):
        labels = BUILD.ball(int(case[-3:]))
        assert number == pytest.approx((labels > 0).sum() / 1000) == pytest.approx(anterior + posterior)
        assert anterior == pytest.approx((labels == 1).sum() / 1000)
    assert scans.unit == "ml"


def test_images_are_the_published_ones_within_the_window(scans):
    assert scans.images.shape[1:] == msd.WINDOW and scans.images.dtype == np.uint8
    for case, image in list(zip(scans.case, scans.images, strict=True))[:3]:
        whole = BUILD.image(int(case[-3:])).astype(np.float32)
        views = np.lib.stride_tricks.sliding_window_view(whole, msd.WINDOW).reshape(-1, *msd.WINDOW)
        errors = [np.abs(nifti.unit(view) * 255 - image).max() for view in views]
        assert min(errors) < 0.51


def test_scales_of_scanners_are_gone(scans):
    assert (scans.images.min(axis=(1, 2, 3)) == 0).all() and (scans.images.max(axis=(1, 2, 3)) == 255).all()
    assert scans.intensities(np.arange(3)).max() == 1 and scans.intensities(np.arange(3)).dtype == np.float32


def test_a_case_that_does_not_hold_the_window_is_left_out_and_named(scans):
    assert scans.left_out == (BUILD.name(BUILD.SMALL),) and BUILD.name(BUILD.SMALL) not in scans.case
    assert len(scans) == len(BUILD.numbers()) - 1 == len(scans.about)


def test_both_sides_of_a_person_are_one_group_in_one_split(scans):
    for case, group in zip(scans.case, scans.group, strict=True):
        assert group == f"person{(int(case[-3:]) + 1) // 2:03d}"
    assert all(len(set(scans.split[scans.group == person])) == 1 for person in scans.group)
    assert set(scans.split) == {"train", "val", "test"}
    assert scans.reference().empty
    with pytest.raises(ValueError, match="no second split"):
        scans.indices("train", repository=True)


def test_a_persons_split_does_not_depend_on_the_window(pristine, scans):
    other = msd.read(pristine, window=(24, 40, 30), shift=0)
    split = dict(zip(other.case, other.split, strict=True))
    assert len(other) == len(scans) + 1 and [split[case] for case in scans.case] == scans.split.tolist()
    assert other.fingerprint != scans.fingerprint


def test_a_persons_fold_does_not_depend_on_the_window_either_and_folds_are_of_as_many_persons(pristine, scans):
    other = msd.read(pristine, window=(24, 40, 30), shift=0)
    fold = dict(zip(other.case, other.about["fold"], strict=True))
    assert [fold[case] for case in scans.case] == scans.about["fold"].tolist()
    persons = other.about["fold"].groupby(other.group).agg(set)
    sizes = np.bincount([of.pop() for of in persons])
    assert len(sizes) == 5 and sizes.max() - sizes.min() <= 1 and not any(persons)


def test_the_shift_is_drawn_about_the_middle_evenly_and_never_beyond():
    for spare in (2, 3, 8, 9):
        starts = np.array([msd._start((24 + spare, 40 + spare, 30 + spare), msd.WINDOW, 1, n) for n in range(3000)])
        off = starts - spare / 2
        assert starts.min() >= 0 and starts.max() <= spare and np.abs(off).max() == (1 if spare % 2 == 0 else 1.5)
        assert np.abs(off.mean(axis=0)).max() < 4.5 * np.sqrt(1 / 3000)
        assert np.abs(np.corrcoef(off.T) - np.eye(3)).max() < 0.1
    assert msd._start((25, 60, 60), msd.WINDOW, 1, 1) is None


def test_half_the_resolution_is_the_mean_of_blocks(pristine, scans):
    half = msd.read(pristine, factor=2)
    assert half.images.shape[1:] == (12, 20, 15) and (half.spacing_mm == 2).all() and (scans.spacing_mm == 1).all()
    mean = nifti.block_mean(scans.images[5].astype(float), 2)
    assert np.abs(half.images[5] - mean).max() <= 1
    assert np.array_equal(half.target, scans.target) and half.fingerprint != scans.fingerprint


def test_the_box_of_the_cut_images_tells_nothing_and_that_of_padded_ones_all(pristine, scans):
    """Sizes of the twin's published images go with the volume entirely; a reading that found nothing would be blind."""
    sizes = scans.about[SIZES].to_numpy(float)
    assert agreement(box.predicted(sizes, scans.target, scans.group), scans.target) > 0.9
    assert not box.padding(scans.images).any()
    assert from_padding(scans.images, scans) < 0.1
    for mode in ("constant", "edge", "symmetric"):
        assert from_padding(in_full(pristine, scans, mode, (36, 50, 42)), scans) > 0.8


def test_the_fingerprint_tells_contents_apart_and_nothing_else(good, pristine):
    before = msd.find_cases(pristine).fingerprint
    for path in good.rglob("*"):
        os.utime(path, (0, 0))
    (good / "imagesTr" / "._hippocampus_001.nii.gz").write_bytes(b"\0\5\x16\7")  # an unpacker's
    (good / "dataset.json").unlink()
    assert msd.find_cases(good).fingerprint == before and msd.find_cases(good).label_names == {}
    BUILD.save(good, 3, "labelsTr", BUILD.ball(3).clip(0, 1))
    assert msd.find_cases(good).fingerprint != before


def test_the_names_of_labels_are_those_of_the_list(pristine):
    assert msd.find_cases(pristine).label_names == {0: "background", 1: "Anterior", 2: "Posterior"}


@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(good, name):
    change, words, file = BUILD.CASES[name]
    change(good)
    with pytest.raises(DataError) as error:
        msd.read(good)
    message = str(error.value)
    assert message.startswith(str(good)) and file in message.split(": ")[0] and "\n" not in message
    for word in words:
        assert word in message
    assert msd.check_copy(good)["complete"] is False


def test_windows_that_cannot_be_are_refused(pristine):
    with pytest.raises(DataError, match=r"no image holds a window of \(24, 70, 30\)"):
        msd.read(pristine, window=(24, 70, 30))
    for wrong in ({"factor": 4}, {"shift": -1}, {"window": (0, 40, 30)}, {"factor": 0}):
        with pytest.raises(ValueError, match="whole blocks"):
            msd.read(pristine, **wrong)


def test_a_copy_of_other_size_is_not_complete(pristine):
    report = msd.check_copy(pristine)
    assert report["counts"] == {"cases": 40, "persons": 24} and report["lacks"] == ["40 cases, published are 260"]


def test_real_pairs_look_like_two_sides_of_a_person(folder):
    """The docstring's first trap: 2k - 1 and 2k go together, 2k and 2k + 1 do not."""
    task = msd.find_cases(folder)
    masks = [nifti.read_mask(file) for file in task.cases["label"]]
    volume = {int(mask.path.name[12:15]): msd.volume_ml(mask, (1, 2)) for mask in masks}

    def together(first):
        pairs = np.array([(volume[n], volume[n + 1]) for n in volume if n % 2 == first and n + 1 in volume])
        return len(pairs), np.corrcoef(pairs.T)[0, 1]

    assert together(1) == (90, pytest.approx(0.91, abs=0.01))
    assert abs(together(0)[1]) < 0.25


def test_the_real_box_tells_the_volume_and_the_cut_images_box_does_not(folder, real):
    """The docstring's second trap, with its numbers."""
    assert (len(real), len(set(real.group)), len(real.left_out)) == (254, 167, 6)
    sizes = real.about[SIZES].to_numpy(float)
    assert agreement(box.predicted(sizes, real.target, real.group), real.target) == pytest.approx(0.55, abs=0.02)
    assert from_padding(in_full(folder, real, "edge"), real) > 0.4
    assert not box.padding(real.images).any()
    assert abs(from_padding(real.images, real)) < 0.05


def test_real_training_subsets_reach_150_scans(real):
    grid = (12, 25, 50, 100, 150)
    for seed in range(20):
        draws = [nested_by_group(real.group, n, seed, real.indices("train"), grid) for n in grid]
        assert [len(set(draw)) for draw in draws] == list(grid)
        assert all(set(small) <= set(large) for small, large in zip(draws, draws[1:], strict=False))
    assert {split: len(real.indices(split)) for split in ("train", "val", "test")} == {
        "train": 156, "val": 23, "test": 75,
    }  # fmt: skip


def test_the_real_copy_is_the_one_behind_our_results(folder, tmp_path):
    found = manifest.verify("msd-hippocampus", folder.parent, tmp_path)
    assert found.as_published and found.cases == {"cases": 260, "persons": 170}
