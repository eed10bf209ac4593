"""Both releases of the WMH challenge are read as they lie, label 1 alone is counted, and what is wrong is named."""

import os
import shutil

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import registry, wmh2017
from fewscans.data.formats import nifti
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("wmh2017")
SIZE = (6, 14, 10)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("wmh") / "2022")


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "WMH2017")


@pytest.fixture(scope="module")
def scans(pristine):
    return wmh2017.read(pristine, SIZE)


def rows(challenge):
    return [(row, *case.split("/")) for row, case in enumerate(challenge.cases["case"])]


def test_every_case_is_found_with_its_site_and_its_part(pristine):
    found = wmh2017.find_cases(pristine)
    assert found.cases.groupby(["site", "part"]).size().to_dict() == {
        ("Utrecht", "training"): 5, ("Singapore", "training"): 5, ("Amsterdam GE3T", "training"): 5,
        ("Amsterdam Philips", "test"): 5,
    }  # fmt: skip
    assert found.cases["case"].is_unique and found.cases["case"].is_monotonic_increasing
    for _, site, number in rows(found):
        assert BUILD.SITES[site][0] <= int(number) < BUILD.SITES[site][0] + BUILD.PER_SITE


def test_the_first_release_gives_the_same_training_cases(pristine, scans, tmp_path):
    first = wmh2017.read(BUILD.write(tmp_path / "2017", BUILD.FIRST), SIZE)
    assert first.case.tolist() == scans.case.tolist() and first.split.tolist() == scans.split.tolist()
    assert np.array_equal(first.images, scans.images) and np.array_equal(first.target, scans.target)
    assert not [name for name in first.about if name in ("o3_ml", "o4_ml")]


@pytest.mark.parametrize("below", ["public", "dataverse_files/training", "a/b"])
def test_where_it_was_unpacked_does_not_matter(tmp_path, below):
    layout = {site: place.replace("public", below) for site, place in BUILD.FIRST.items()}
    assert len(wmh2017.find_cases(BUILD.write(tmp_path / "x", layout)).cases) == 15
    assert len(wmh2017.find_cases(tmp_path / "x" / below / "Utrecht").cases) == 5


def test_only_label_1_is_counted(pristine):
    found = wmh2017.find_cases(pristine)
    for row, site, number in rows(found):
        scan, labels = found.read(row), BUILD.labels(site, int(number))
        assert scan.voxels == (labels == 1).sum() > 0
        assert scan.volume_ml == pytest.approx((labels == 1).sum() * np.prod(BUILD.SITES[site][2]) / 1000)
        assert np.array_equal(scan.wmh, labels == 1) and np.array_equal(scan.other, labels == 2)
        if int(number) % 2:  # `mask > 0` would be many times the lesions
            assert (labels > 0).sum() > 5 * scan.voxels


def test_images_come_in_the_patients_axes_whatever_the_site_stores(pristine):
    found = wmh2017.find_cases(pristine)
    for row, site, number in rows(found):
        scan = found.read(row)
        assert np.array_equal(scan.flair.array, BUILD.flair(site, int(number)))
        assert scan.flair.spacing_mm == pytest.approx(BUILD.SITES[site][2])


def test_the_scanners_own_image_may_be_asked_for(pristine):
    pre, orig = (wmh2017.find_cases(pristine, stage).read(0).flair.array for stage in ("pre", "orig"))
    assert np.array_equal(orig, 2 * pre)
    with pytest.raises(ValueError, match="'pre' and 'orig'"):
        wmh2017.find_cases(pristine, "raw")


def test_the_number_is_a_volume_or_as_in_the_paper_a_count(pristine, scans):
    counted = wmh2017.read(pristine, SIZE, unit="voxels")
    assert np.array_equal(counted.target, scans.about["voxels"]) and (scans.unit, counted.unit) == ("ml", "voxels")
    for case, number, voxels in zip(scans.case, scans.target, counted.target, strict=True):
        site, name = case.split("/")
        assert voxels == (BUILD.labels(site, int(name)) == 1).sum()
        assert number == pytest.approx(voxels * np.prod(BUILD.SITES[site][2]) / 1000)
    assert counted.fingerprint != scans.fingerprint


def test_images_are_cut_about_the_centre_of_mass_and_scaled(scans):
    assert scans.images.shape == (15, *SIZE) and scans.images.dtype == np.uint8
    for case, image in zip(scans.case, scans.images, strict=True):
        site, name = case.split("/")
        flair = BUILD.flair(site, int(name)).astype(float)
        grid = np.indices(flair.shape)
        centre = (grid * flair).sum(axis=(1, 2, 3)) / flair.sum()
        assert wmh2017.centre_of_mass(flair) == pytest.approx(centre)
        cut = nifti.unit(nifti.crop(flair, centre, SIZE)) * 255
        assert np.abs(cut - image).max() < 0.51
    assert scans.images.min() == 0 and scans.images.max() == 255


def test_moving_the_head_moves_the_crop_with_it():
    head = BUILD.flair("Utrecht", 3)
    moved = np.roll(np.pad(head, 4), (2, -3, 1), axis=(0, 1, 2))
    apart = wmh2017.centre_of_mass(moved) - wmh2017.centre_of_mass(head)
    assert apart == pytest.approx(np.array([2, -3, 1]) + 4)
    assert wmh2017.centre_of_mass(np.where(head > 0, head, -1000)) == pytest.approx(wmh2017.centre_of_mass(head))


def test_a_crop_larger_than_the_image_is_filled_and_its_share_of_lesions_told(pristine, scans):
    whole = wmh2017.read(pristine, (40, 60, 70))
    assert (whole.about["inside"] == 1).all() and scans.about["inside"].between(0, 1).all()
    assert not whole.images[:, 0].any() and not whole.images[:, :, :, -1].any()
    assert (wmh2017.read(pristine, (1, 1, 1)).about["inside"] < 1).any()


def test_each_site_gives_as_many_to_every_split(scans):
    for site in set(scans.about["site"]):
        here = scans.split[scans.about["site"].to_numpy() == site].tolist()
        assert {split: here.count(split) for split in ("train", "val", "test")} == {"train": 2, "val": 1, "test": 2}
    assert np.array_equal(scans.group, scans.case)


def test_the_official_test_cases_may_be_the_test(pristine, scans):
    official = wmh2017.read(pristine, SIZE, official_test=True)
    test = official.split == "test"
    assert (official.about["part"][test] == "test").all() and test.sum() == 5 and (official.split == "val").sum() == 3
    assert set(scans.about["part"]) == {"training"}


def test_official_test_cases_that_a_copy_lacks_are_missed(tmp_path):
    folder = BUILD.write(tmp_path / "2017", BUILD.FIRST)
    with pytest.raises(DataError, match="has no test cases; the release of 2022"):
        wmh2017.read(folder, SIZE, official_test=True)


def test_other_observers_are_read_where_there_are_any(scans):
    assert list(wmh2017.find_cases(scans.path).observers) == ["o3", "o4"]
    for name, case in (("o3_ml", "Singapore/51"), ("o4_ml", "Amsterdam GE3T/102")):
        seen = dict(zip(scans.case, scans.about[name], strict=True))
        voxel_ml = np.prod(BUILD.SITES[case.split("/")[0]][2]) / 1000
        own = dict(zip(scans.case, scans.target, strict=True))
        assert seen.pop(case) == pytest.approx(own[case] + voxel_ml) and np.isnan(list(seen.values())).all()


def test_the_fingerprint_tells_contents_apart_and_nothing_else(good, scans):
    for path in good.rglob("*"):
        os.utime(path, (0, 0))
    (good / "training" / "Utrecht" / "._1").mkdir()
    shutil.copy(good / BUILD.MASK, good / "training" / "Utrecht" / "._1" / "wmh.nii.gz")  # an unpacker's
    assert wmh2017.read(good, SIZE).fingerprint == scans.fingerprint
    labels = BUILD.labels("Utrecht", 1)
    labels[5, 9, 5] = 1
    BUILD.save(good, BUILD.MASK, labels)
    assert wmh2017.read(good, SIZE).fingerprint != scans.fingerprint


@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(good, name):
    change, words, file = BUILD.CASES[name]
    change(good)
    with pytest.raises(DataError) as error:
        wmh2017.read(good, SIZE)
    message = str(error.value)
    assert message.startswith(str(good)) and file in message and "\n" not in message
    for word in words:
        assert word in message


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; name the one that holds Utrecht"):
        wmh2017.read(tmp_path / "nowhere")


@pytest.mark.parametrize("wrong", [{"unit": "mm3"}, {"size": (0, 14, 10)}])
def test_impossible_wishes_are_refused(pristine, wrong):
    with pytest.raises(ValueError, match="'ml' or 'voxels'"):
        wmh2017.read(pristine, **wrong)


def test_a_copy_of_other_size_is_not_complete_and_says_how(pristine, good):
    report = wmh2017.check_copy(pristine)
    assert report["lacks"] == [f"training {site} has 5 cases, published are 20" for site in wmh2017.TRAINING_SITES]
    assert report["counts"] == {
        "training Utrecht": 5, "training Singapore": 5, "training Amsterdam GE3T": 5, "test": 5,
        "observer o3": 1, "observer o4": 1,
    }  # fmt: skip
    BUILD.CASES["mask cut short"][0](good)
    assert "cut short" in wmh2017.check_copy(good)["lacks"][0]


def test_the_real_training_cases_have_the_volumes_that_others_measured():
    """Voxels of label 1, smallest and largest of each site, as a third party's table of the release has them."""
    try:
        folder = registry.find("wmh2017", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of wmh2017 under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    scans = wmh2017.read(folder)
    assert len(scans) == 60 and scans.about["ml"].max() == pytest.approx(74.99, abs=0.05)
    smallest = scans.about.groupby("site")["ml"].min().to_dict()
    assert smallest == pytest.approx({"Utrecht": 0.85, "Singapore": 0.79, "Amsterdam GE3T": 1.52}, abs=0.02)
