"""Images and label maps of the Decathlon: whole, on one window, by person, of any task in space."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from fewscans import paths
from fewscans.data import msd_segmentation as msd
from fewscans.data import registry
from fewscans.data.formats import nifti
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("msd_hippocampus")
SHARED = ("no images", "empty folder", "no label map", "no image", "case twice", "label 3", "label below 0",
          "label in between", "label map of another size", "label map elsewhere", "list that is none",
          "listed case absent")  # fmt: skip


@pytest.fixture
def good(tmp_path):
    return BUILD.write(tmp_path / "Task04_Hippocampus")


def listed(folder, names):
    """The task's list, of ten cases."""
    cases = [{kind: f"./{kind}sTr/liver_{n}.nii.gz" for kind in ("image", "label")} for n in range(10)]
    (folder / "dataset.json").write_text(json.dumps({"labels": names, "training": cases}))


@pytest.fixture
def task(tmp_path):
    """A CT task: int16 in HU, thick slices, an oblique affine, cases without a tumour."""
    folder = tmp_path / "Task03_Liver"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    affine = np.diag([0.8, 0.8, 5.0, 1])
    for number in range(10):
        random = np.random.default_rng(number)
        label = np.zeros((70, 30, 9), np.uint8)
        label[20:50, 8:20, 2:7] = 1
        label[30:35, 10:14, 4] = 2 * (number % 2)
        image = (random.normal(0, 60, label.shape) + 100 * (label > 0)).astype(np.int16)
        for kind, array in (("imagesTr", image), ("labelsTr", label)):
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / kind / f"liver_{number}.nii.gz")
    names = {"0": "background", "1": "liver", "2": "cancer"}
    listed(folder, names)
    return folder


def test_image_and_labels_lie_on_one_window_and_nothing_lies_beyond_the_image(good):
    cases = msd.read(good)
    assert cases.images.shape == (len(BUILD.numbers()), 2, *msd.WINDOW)
    for number, pair, shape in zip(BUILD.numbers(), cases.images, cases.about[msd.BOX].to_numpy(), strict=True):
        box = msd.inside(tuple(shape), msd.WINDOW)
        assert tuple(shape) == BUILD.shape(number)
        assert np.array_equal(pair[1][box], BUILD.ball(number))
        outside = np.ones(msd.WINDOW, bool)
        outside[box] = False
        assert not pair[:, outside].any()
        assert np.corrcoef(pair[0][box].ravel(), BUILD.image(number).ravel())[0, 1] > 0.99


def test_people_are_kept_together_and_folds_are_those_of_the_other_readers(good):
    cases = msd.read(good)
    assert cases.about.groupby(cases.group)["fold"].nunique().eq(1).all()
    assert cases.group[0] == "person001" and cases.about["labels"].iloc[0] == "anterior posterior"
    assert cases.target[0] == pytest.approx((BUILD.ball(1) > 0).sum() / 1000)


def test_an_image_that_is_larger_than_the_window_is_cut_about_its_middle(good):
    whole, cut = msd.read(good), msd.read(good, (16, 24, 16))
    first = whole.images[0][(slice(None), *msd.inside(tuple(whole.about[msd.BOX].iloc[0]), msd.WINDOW))]
    start = [int(np.floor((n - w) / 2 + 0.5)) for n, w in zip(first.shape[1:], (16, 24, 16), strict=True)]
    middle = tuple(slice(a, a + w) for a, w in zip(start, (16, 24, 16), strict=True))
    assert np.array_equal(cut.images[0], first[(slice(None), *middle)])
    assert np.array_equal(cut.target, whole.target)


def test_a_ct_task_is_read_by_the_names_of_its_list_each_case_a_person(task):
    cases = msd.read(task, (12, 32, 72))
    assert cases.about["labels"].iloc[0] == "liver cancer" and cases.about["stored"].iloc[0] == "int16"
    assert len(set(cases.group)) == 10 and np.allclose(cases.spacing_mm, [5, 0.8, 0.8])
    assert [int(pair[1].max()) for pair in cases.images] == [1, 2] * 5


def test_what_is_kept_is_what_was_cut(good, tmp_path):
    first, again = (msd.read(good, cache=tmp_path / "kept") for _ in range(2))
    assert np.array_equal(first.images, again.images) and first.about.equals(again.about)
    assert first.fingerprint == again.fingerprint


def test_files_of_a_mac_beside_images_are_passed_over(good):
    for folder in ("imagesTr", "labelsTr"):
        (good / folder / "._hippocampus_001.nii.gz").write_bytes(b"\x00\x05\x16\x07")
    assert len(msd.read(good)) == len(BUILD.numbers())


@pytest.mark.parametrize("name", SHARED)
def test_a_faulty_copy_is_one_clear_error(good, name):
    spoil, words, file = BUILD.CASES[name]
    spoil(good)
    with pytest.raises(DataError) as error:
        msd.read(good)
    assert all(word in str(error.value) for word in words) and file in str(error.value)


def test_a_plane_a_task_without_a_list_and_one_without_labels_are_refused(good, task):
    plane = task / "imagesTr" / "liver_3.nii.gz"
    kept = plane.read_bytes()
    nibabel.save(nibabel.Nifti1Image(np.zeros((30, 30), np.int16), np.eye(4)), plane)
    with pytest.raises(DataError, match=r"liver_3.*three axes"):
        msd.read(task)
    plane.write_bytes(kept)
    (task / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"dataset.json: no such file"):
        msd.read(task)
    for number in BUILD.numbers():
        BUILD.save(good, number, "labelsTr", 0 * BUILD.ball(number))
    with pytest.raises(DataError, match="nothing to learn|no voxel is labelled"):
        msd.read(good)


def test_labels_with_a_gap_are_refused(task):
    listed(task, {"0": "b", "1": "liver", "3": "cancer"})
    with pytest.raises(DataError, match="without a gap"):
        msd.read(task)


@pytest.fixture(scope="module")
def real():
    """The user's own copy, or a skip that says what is missing."""
    try:
        return msd.read(registry.find("msd-hippocampus", paths.data_root()))
    except FewscansError:
        pytest.skip("no copy of msd-hippocampus under FEWSCANS_DATA_ROOT or params.yaml's data_root")


def test_the_published_task_fits_the_window_whole(real):
    assert len(real) == 260 and len(set(real.group)) == 170
    assert real.about["stored"].value_counts().to_dict() == {"float32": 205, "uint8": 55}
    assert real.about.groupby(real.group)["stored"].nunique().max() == 1
    voxels = (real.images[:, 1] > 0).sum((1, 2, 3))
    assert np.allclose(voxels / 1000, real.target)  # no label is cut off


def test_nothing_is_read_twice_or_resampled(real):
    folder = real.path
    image = nifti.read(folder / "imagesTr" / f"{real.case[5]}.nii.gz")
    box = msd.inside(image.array.shape, msd.WINDOW)
    assert np.abs(real.images[5][0][box] / 255 - nifti.unit(image.array)).max() <= 0.5 / 255 + 1e-6


def test_copies_are_left_as_they_were(good):
    before = {p: p.read_bytes() for p in good.rglob("*") if p.is_file()}
    msd.read(good)
    assert before == {p: p.read_bytes() for p in good.rglob("*") if p.is_file()}
    shutil.rmtree(good)
