"""Scans of the basal ganglia come masked, cropped and scaled as described, with counts; what is wrong is named."""

import os
import shutil

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fewscans.data import pvs, registry
from fewscans.data.formats import nifti
from fewscans.errors import DataError

from .conftest import load_builders

BUILD = load_builders("pvs")
SIZE = (6, 12, 10)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("pvs") / "pvs")


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "pvs")


@pytest.fixture(scope="module")
def scans(pristine):
    return pvs.read(pristine, SIZE)


def numbers(scans):
    return [int(case[4:]) for case in scans.case]


def test_every_case_has_the_count_of_the_table_whatever_its_order(scans):
    assert numbers(scans) == list(range(1, BUILD.CASES_IN_ALL + 1)) and scans.unit == "count"
    assert scans.target.tolist() == [BUILD.count(number) for number in numbers(scans)] and 0 in scans.target
    assert np.array_equal(scans.group, scans.case)


def test_images_are_scaled_and_multiplied_with_the_smoothed_mask_about_its_middle(pristine):
    for sigma in (0, 1, 2.0):
        scans = pvs.read(pristine, SIZE, sigma)
        for number, cut in zip(numbers(scans), scans.images, strict=True):
            mask = BUILD.mask(number).astype(np.float64)
            centre = np.argwhere(mask).mean(axis=0)
            wide = np.pad(mask, 10)  # smoothed whole, then cut
            soft = nifti.crop(gaussian_filter(wide, sigma) if sigma else wide, centre + 10, SIZE)
            image = nifti.crop(BUILD.image(number), centre, SIZE, outside=BUILD.image(number).min())
            assert np.abs(nifti.unit(image) * soft * 255 - cut).max() < 0.51


def test_what_lies_outside_the_region_is_black(pristine):
    hard = pvs.read(pristine, SIZE, sigma=0)
    for number, cut in zip(numbers(hard), hard.images, strict=True):
        mask = BUILD.mask(number)
        inside = nifti.crop(mask, np.argwhere(mask).mean(axis=0), SIZE)
        assert not cut[inside == 0].any() and cut[inside == 1].mean() > 5


def test_the_mask_is_smoothed_over_two_voxels_or_over_one_where_they_are_coarse(pristine, good, scans):
    assert np.array_equal(scans.images, pvs.read(pristine, SIZE, sigma=1).images)  # voxels of 1 mm in plane
    for number in range(1, BUILD.CASES_IN_ALL + 1):
        for name, array in (("T2", BUILD.image(number)), ("basal_ganglia", BUILD.mask(number))):
            BUILD.save(good, f"{BUILD.name(number)}/{name}.nii.gz", array, spacing=(0.8, 0.5, 0.5))
    assert np.array_equal(pvs.read(good, SIZE).images, pvs.read(pristine, SIZE, sigma=2).images)


def test_the_scanners_unit_does_not_matter(good, scans):
    for number in range(1, BUILD.CASES_IN_ALL + 1):
        BUILD.save(good, f"{BUILD.name(number)}/T2.nii.gz", BUILD.image(number) * 37 - 500)
    assert np.abs(pvs.read(good, SIZE).images.astype(int) - scans.images).max() <= 1


def test_the_share_of_the_region_that_is_cut_off_is_told(pristine, scans):
    voxel_ml = np.prod(BUILD.SPACING) / 1000
    assert scans.about["region_ml"].to_numpy() == pytest.approx(
        [BUILD.mask(number).sum() * voxel_ml for number in numbers(scans)], rel=1e-5
    )
    assert (scans.about["inside"] == 1).all()
    assert (pvs.read(pristine, (2, 4, 4)).about["inside"] < 1).all()
    assert scans.spacing_mm == pytest.approx(np.tile(BUILD.SPACING, (12, 1)))


@pytest.mark.parametrize(
    "held_out, split", [({"test": 0.5, "val": 0.1}, [6, 1, 5]), ({"test": 7, "val": 2}, [7, 2, 3])]
)
def test_splits_are_shares_of_the_persons_or_so_many_of_them(pristine, held_out, split):
    scans = pvs.read(pristine, SIZE, held_out=held_out)
    assert [len(scans.indices(name)) for name in ("test", "val", "train")] == split


def test_two_scans_of_one_person_are_never_parted(tmp_path):
    scans = pvs.read(BUILD.write(tmp_path / "pairs", persons=lambda number: f"p{number // 2}"), SIZE)
    assert len(set(scans.group)) == 7
    for person in set(scans.group):
        assert len(set(scans.split[scans.group == person])) == 1


def test_too_few_persons_are_refused(tmp_path):
    folder = BUILD.write(tmp_path / "one", persons=lambda number: "p1")
    with pytest.raises(DataError, match="too few for 1 for test, 1 for val"):
        pvs.read(folder, SIZE)


def test_a_person_without_a_name_is_refused(tmp_path):
    folder = BUILD.write(tmp_path / "x", persons=lambda number: "" if number == 5 else f"p{number}")
    with pytest.raises(DataError, match="sub-05 has no group; name the person"):
        pvs.read(folder, SIZE)


def test_spaces_and_a_byte_order_mark_in_the_table_do_not_matter(good, scans):
    text = (good / BUILD.COUNTS).read_text().replace(",", " , ")
    (good / BUILD.COUNTS).write_text(text.replace("case , count", "case,count"), encoding="utf-8-sig")
    assert np.array_equal(pvs.read(good, SIZE).target, scans.target)


def test_the_fingerprint_tells_contents_apart_and_nothing_else(good, scans):
    for path in good.rglob("*"):
        os.utime(path, (0, 0))
    (good / "notes.txt").write_text("mine")
    assert pvs.read(good, SIZE).fingerprint == scans.fingerprint
    assert pvs.read(good, SIZE, sigma=1).fingerprint != scans.fingerprint
    BUILD.table(lambda text: text.replace("sub-03,9", "sub-03,8"))(good)
    assert pvs.read(good, SIZE).fingerprint != scans.fingerprint


def test_what_was_cut_is_kept_and_read_back_the_same(pristine, scans, tmp_path):
    for _ in range(2):
        again = pvs.read(pristine, SIZE, cache=tmp_path)
        assert np.array_equal(again.images, scans.images) and np.array_equal(again.target, scans.target)
        assert again.about.equals(scans.about) and again.fingerprint == scans.fingerprint
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(good, name):
    change, words, file = BUILD.CASES[name]
    change(good)
    with pytest.raises(DataError) as error:
        pvs.read(good, SIZE)
    message = str(error.value)
    assert message.startswith(str(good)) and file in message and "\n" not in message
    for word in words:
        assert word in message


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; name the one that holds counts\.csv"):
        pvs.read(tmp_path / "nowhere")


@pytest.mark.parametrize("wrong", [{"size": (0, 4, 4)}, {"sigma": -1}, {"sigma": float("nan")}])
def test_impossible_wishes_are_refused(pristine, wrong):
    with pytest.raises(ValueError, match="three sides of at least 1, and a sigma of 0 or more"):
        pvs.read(pristine, **wrong)


def test_it_is_read_by_its_name_though_there_is_no_public_copy_to_find(pristine, tmp_path):
    assert len(registry.dataset("pvs").read(pristine)) == BUILD.CASES_IN_ALL
    with pytest.raises(DataError, match="'pvs' is no public data set"):
        registry.find("pvs", tmp_path)
