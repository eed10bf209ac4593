"""The number is the area of the mask's largest slice, 0 where there is no nodule; scans are whole, folds balanced."""

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import luna16_area, luna16_patches, registry
from fewscans.data.base import Cut
from fewscans.data.group_splits import nested_by_group
from fewscans.errors import DataError, FewscansError, ParamsError

from .conftest import load_builders

VOI = load_builders("lidc_voi")
CUT = Cut(luna16_area.SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, builders):
    """Patches, and the nodules of some beside their folder."""
    root = tmp_path_factory.mktemp("data")
    (root / "luna16-patches").mkdir()
    patches = luna16_patches.read(builders.write(root / "luna16-patches" / luna16_patches.FILE))
    VOI.write(root / "lidc-voi-994")
    VOI.join(patches).to_csv(root / "lidc-voi-994" / luna16_patches.JOIN, index=False)
    return root / "luna16-patches"


@pytest.fixture(scope="module")
def patches(folder):
    return luna16_area.read(folder)


@pytest.fixture(scope="module")
def real():
    """The user's own copy, or a skip that says what is missing."""
    try:
        return luna16_area.read(registry.find("luna16-area", paths.data_root()))
    except FewscansError:
        pytest.skip("no copy of luna16-patches and lidc-voi under FEWSCANS_DATA_ROOT or params.yaml's data_root")


def test_the_area_is_that_of_the_masks_largest_slice_and_zero_without_a_nodule(patches):
    files = [f"{nodule}.nii.gz" for nodule in patches.about["nodule"]]
    row = {file: i for i, file in enumerate(VOI.table()["file"])}
    for file, area, positive in zip(files, patches.target, patches.about["positive"], strict=True):
        assert area == pytest.approx(14 * (5 + row[file]) * 0.75**2 if positive else 0)
    assert patches.unit == "mm²" and patches.target.dtype == np.float64 and len(set(patches.target)) == 16


def test_patches_are_volumes_of_one_slice_cut_from_the_middle(folder, patches):
    whole = luna16_patches.read(folder)
    row = dict(zip(whole.case, range(len(whole)), strict=True))
    index = [row[case] for case in patches.case]
    assert np.array_equal(patches.images, whole.images[index, 1:49, 1:49][:, None])
    half = luna16_area.cases(folder, Cut((1, 20, 24), downsample=2))
    means = whole.images[index, 5:45, 1:49].reshape(-1, 20, 2, 24, 2).mean(axis=(2, 4))
    assert half.images.shape[1:] == (1, 20, 24) and np.abs(half.images[:, 0] - means).max() <= 0.5
    assert half.fingerprint != patches.fingerprint and (half.spacing_mm == 1).all()


def test_positives_of_unknown_area_are_left_out_and_as_many_negatives_as_positives_kept_in_each_fold(folder, patches):
    whole = luna16_patches.read(folder)
    unknown = (whole.target == 1) & (whole.about["nodule"] == "")
    assert patches.left_out == tuple(whole.case[unknown]) and len(patches.left_out) == 15
    positive = patches.about["positive"]
    assert positive.sum() == 30 and set(patches.case[positive]) < set(whole.case[whole.target == 1])
    for fold in range(5):
        of = patches.about["fold"] == fold
        negatives = (~positive & of).sum()
        assert (positive & of).sum() == 6 and 0 < negatives <= 6
    assert set(patches.split) == {"train", "val", "test"}


def test_folds_are_runs_of_the_list_and_of_whole_groups(patches):
    fold = patches.about["fold"].to_numpy()
    assert (np.diff(patches.about["candidate_row"]) > 0).all() and (np.diff(fold) >= 0).all()
    assert all(len(set(fold[patches.group == group])) == 1 for group in patches.group)


def test_blocks_that_a_series_joins_are_one_with_all_between():
    block = np.array(list("aabbccddef"))
    series = ["", "1", "", "", "1", "", "", "2", "", "2"]
    assert "".join(luna16_area.blocks_of_scans(block, np.array(series))) == "aaaaaadddd"
    assert "".join(luna16_area.blocks_of_scans(block, np.array([""] * 10))) == "aabbccddef"
    chain = np.array(["", "1", "1", "2", "2", "", "", "", "", ""])
    assert "".join(luna16_area.blocks_of_scans(block, chain)) == "aaaaaaddef"
    assert "".join(luna16_area.blocks_of_scans(block, np.array(["1", "1", *[""] * 8]))) == "aabbccddef"


def test_what_was_cut_is_kept_and_is_the_same(folder, patches, tmp_path, monkeypatch):
    luna16_area.cases(folder, CUT, tmp_path)
    monkeypatch.setattr(luna16_area, "_cut", lambda *_: pytest.fail("it was cut again"))
    again = luna16_area.cases(folder, CUT, tmp_path)
    assert np.array_equal(again.images, patches.images) and again.unit == "mm²"
    assert np.array_equal(again.target, patches.target) and again.fingerprint == patches.fingerprint
    assert again.about["positive"].dtype == bool and again.left_out == patches.left_out


@pytest.mark.parametrize(
    "cut", [Cut((48, 48)), Cut((2, 48, 48)), Cut((1, 26, 26), 2), Cut((1, 8, 8), margin=(0, 1, 1))]
)
def test_a_cut_that_patches_do_not_hold_is_refused(folder, cut):
    with pytest.raises(ParamsError, match="at most 50 pixels a side"):
        luna16_area.cases(folder, cut)


def test_patches_without_masks_or_a_table_are_refused_with_what_to_get(tmp_path, builders):
    patches = luna16_patches.read(builders.write(tmp_path / luna16_patches.FILE))
    with pytest.raises(DataError, match=r"luna16-patches-join\.csv is neither beside it nor in .*images\.zip"):
        luna16_area.read(tmp_path)
    assert "no area is known" in luna16_area.check_copy(tmp_path)["lacks"][0]
    table = VOI.join(patches)
    table.to_csv(tmp_path / luna16_patches.JOIN, index=False)
    with pytest.raises(DataError, match=r"masks\.zip: no such file"):
        luna16_area.read(tmp_path)
    VOI.write(tmp_path)
    table.replace({"file": {table["file"][0]: "LIDC-IDRI-9999_R_1.nii.gz"}}).to_csv(
        tmp_path / luna16_patches.JOIN, index=False
    )
    with pytest.raises(DataError, match=r"masks\.zip: LIDC-IDRI-9999_R_1\.nii\.gz is not in it"):
        luna16_area.read(tmp_path)
    table[:4].to_csv(tmp_path / luna16_patches.JOIN, index=False)
    with pytest.raises(DataError, match="4 patches show a known nodule, too few for 5 folds"):
        luna16_area.read(tmp_path)


def test_the_real_patches_are_half_of_nodules_and_whole_groups_add_up_to_every_size(real):
    positive, fold = real.about["positive"].to_numpy(), real.about["fold"].to_numpy()
    assert (len(real), positive.sum(), len(real.left_out)) == (1950, 975, 376)
    assert [int((positive & (fold == f)).sum()) for f in range(5)] == [196, 194, 195, 194, 196]
    assert (positive == (real.target > 0)).all() and 11 < real.target[positive].min() and real.target.max() < 900
    round_ = np.pi / 4 * real.about["diameter_mm"][positive] ** 2
    assert np.corrcoef(real.target[positive], round_)[0, 1] > 0.95
    for seed in range(5):
        train = np.flatnonzero(~np.isin(fold, [seed % 5, (seed + 1) % 5]))
        assert len(nested_by_group(real.group, 150, seed, train, (12, 25, 50, 100, 150))) == 150


def test_a_real_patient_s_nodules_are_in_one_fold(real):
    patient = real.about["nodule"].str.partition("_")[0]
    assert real.about[real.about["positive"]].groupby(patient)["fold"].nunique().max() == 1
