"""A patch is cut whole from its head about a voxel in the hippocampus or 2 to 6 mm outside, as many of every person."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from fewscans import paths
from fewscans.data import box, msd_hippocampus, registry
from fewscans.data import hippocampus_patches as patches
from fewscans.data.base import Cut, quantised
from fewscans.data.formats import nifti
from fewscans.errors import DataError, FewscansError, ParamsError

from .conftest import load_builders

BUILD = load_builders("msd_hippocampus")
SIZE = (6, 7, 8)  # of an even and an odd side


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("msd") / "Task04_Hippocampus")


@pytest.fixture(scope="module")
def drawn(folder):
    return patches.read(folder, SIZE)


@pytest.fixture(scope="module")
def real():
    """Patches of the user's own copy, or a skip that says what is missing."""
    try:
        folder = registry.find("hippocampus-patches", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of msd-hippocampus under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    return patches.cases(folder, Cut((12, 12, 12)))


def auc(target, value) -> float:
    rank, positives = rankdata(value), target.sum()
    return (rank[target == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(target) - positives))


def place(case: str) -> tuple[int, np.ndarray]:
    """The number of a case's scan, and its centre, z y x."""
    scan, _, centre = case.partition("/")
    return int(scan[-3:]), np.array(centre.split("-"), int)


def test_every_patch_lies_whole_in_its_scan_about_the_voxel_its_name_says(drawn):
    for i in range(0, len(drawn), 37):
        number, centre = place(drawn.case[i])
        whole = quantised(nifti.unit(BUILD.image(number).astype(np.float32)))
        start = centre - np.array(SIZE) // 2
        assert (start >= 0).all() and (start + SIZE <= whole.shape).all()
        z, y, x = (slice(a, a + n) for a, n in zip(start, SIZE, strict=True))
        assert np.array_equal(drawn.images[i], whole[z, y, x]) and drawn.images[i][3, 3, 4] == whole[tuple(centre)]
    assert drawn.images.shape[1:] == SIZE and (drawn.spacing_mm == 1).all() and drawn.unit is None


def test_positives_are_in_the_hippocampus_and_negatives_2_to_6_mm_outside(drawn):
    scan = np.array([place(case)[0] for case in drawn.case])
    centres = np.array([place(case)[1] for case in drawn.case])
    for number in np.unique(scan)[:6]:
        labelled, of = np.argwhere(BUILD.ball(number)), scan == number
        away = cdist(centres[of], labelled).min(axis=1)
        negative = drawn.target[of] == 0
        assert (away[~negative] == 0).all() and away[negative].min() >= 2 and away[negative].max() <= 6
        assert away[negative].min() < 2.5 and away[negative].max() > 4


def test_as_many_of_each_class_are_drawn_of_every_person_and_marked_for_testing(drawn):
    table = pd.DataFrame({"person": drawn.group, "target": drawn.target, "tested": drawn.about["tested"]})
    counts = table.groupby(["person", "target"])["tested"].agg(["size", "sum"])
    assert (counts["size"] == patches.DRAWN).all() and (counts["sum"] == patches.TESTED).all()
    assert len(counts) == 2 * BUILD.PERSONS and drawn.about["tested"].dtype == bool
    scans = pd.Series([case.partition("/")[0] for case in drawn.case])
    sides = scans.groupby(scans).size().groupby(lambda name: (int(name[-3:]) + 1) // 2).agg(set)
    assert {len(of) for of in sides} == {1} and set.union(*sides) == {150, 300}  # both sides alike
    assert len(set(drawn.case)) == len(drawn)


def test_folds_are_those_of_the_volumes_and_of_as_many_persons(folder, drawn):
    whole = msd_hippocampus.read(folder)
    fold = dict(zip(whole.group, whole.about["fold"], strict=True))
    small = set(drawn.group) - set(fold)  # left out of the volumes, whose window it does not hold
    of = dict(zip(drawn.group, drawn.about["fold"], strict=True))
    assert len(small) == 1 and all(of[person] == fold[person] for person in fold)
    persons = drawn.about.groupby("fold")["person"].nunique()
    assert persons.index.tolist() == [0, 1, 2, 3, 4] and persons.max() - persons.min() <= 1
    parts = pd.Series(drawn.split).groupby(drawn.about["fold"]).agg(set)
    assert parts.tolist() == [{"test"}, {"val"}, {"train"}, {"train"}, {"train"}]


def test_what_is_drawn_of_a_person_depends_on_no_other(folder, drawn, tmp_path):
    fewer = shutil.copytree(folder, tmp_path / "fewer")
    (fewer / "dataset.json").unlink()
    for kind in ("imagesTr", "labelsTr"):
        BUILD.path(fewer, 3, kind).unlink()
        BUILD.path(fewer, 4, kind).unlink()
    other = patches.read(fewer, SIZE)
    assert set(other.case) == {case for case in drawn.case if place(case)[0] not in (3, 4)}
    assert other.fingerprint != drawn.fingerprint


def test_what_was_cut_is_kept_and_is_the_same(folder, drawn, tmp_path, monkeypatch):
    first = patches.cases(folder, Cut(SIZE), tmp_path)
    monkeypatch.setattr(patches, "_cut", lambda *_: pytest.fail("it was cut again"))
    again = patches.cases(folder, Cut(SIZE), tmp_path)
    assert np.array_equal(again.images, drawn.images) and again.unit is first.unit is None
    assert again.fingerprint == drawn.fingerprint and again.case.tolist() == drawn.case.tolist()
    pd.testing.assert_frame_equal(again.about, drawn.about, check_dtype=False)
    assert again.about["tested"].dtype == bool


@pytest.mark.parametrize(
    "cut",
    [
        Cut((12, 12)), Cut((12, 12, 12), downsample=2), Cut((12, 12, 12), margin=(0, 1, 0)),
        Cut((12, 12, 12), spacing_mm=(1, 1, 2)),
    ],
)  # fmt: skip
def test_a_cut_that_would_need_other_voxels_is_refused(folder, cut):
    with pytest.raises(ParamsError, match="at 1 mm, and have no margin"):
        patches.cases(folder, cut)


def test_a_scan_with_too_few_places_is_named(folder):
    with pytest.raises(DataError, match=r"hippocampus_\d+\.nii\.gz: \d+ of its voxels .* use a smaller size"):
        patches.read(folder, (24, 40, 30))


@pytest.mark.parametrize("name", ["label 3", "nothing labelled", "label map of another size", "no image"])
def test_what_is_wrong_with_the_volumes_is_named(folder, tmp_path, name):
    change, words, file = BUILD.CASES[name]
    other = shutil.copytree(folder, tmp_path / "other")
    change(other)
    with pytest.raises(DataError) as error:
        patches.read(other, SIZE)
    assert file in str(error.value) and (name == "nothing labelled" or all(word in str(error.value) for word in words))


def test_any_three_folds_of_the_real_persons_hold_30_000_patches(real):
    counts = pd.crosstab(real.about["fold"], real.target).to_numpy()
    assert counts.tolist() == [[5100, 5100]] * 5 and real.about["person"].nunique() == 170


def test_nothing_is_padded_in_the_real_patches_and_brightness_tells_what_the_readme_says(real):
    some = real.images[::29]
    assert box.padding(some).sum() == 0
    centre, middle = real.images[:, 6, 6, 6], real.images[:, 4:9, 4:9, 4:9].mean(axis=(1, 2, 3))
    assert auc(real.target, centre) == pytest.approx(0.346, abs=0.003)  # the hippocampus is the darker
    assert auc(real.target, middle) == pytest.approx(0.344, abs=0.003)
