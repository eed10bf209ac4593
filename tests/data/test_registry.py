"""A data set is found where its README says to put it; where it is not, the message says what to do."""

import pytest

from fewscans import data
from fewscans.data.luna16_patches import FILE
from fewscans.errors import DataError

from .conftest import load_builders

CSV = "annotations.csv"


@pytest.mark.parametrize("folder", ["luna16-patches", "some-folder-of-mine"])
def test_a_copy_is_found_in_its_own_folder_or_any_other_one_level_down(tmp_path, builders, folder):
    (tmp_path / "another-set").mkdir()
    (tmp_path / folder).mkdir()
    file = builders.write(tmp_path / folder / FILE)
    assert data.find("luna16-patches", tmp_path) == file
    assert len(data.read("luna16-patches", file)) == 90


def test_the_folder_of_its_name_comes_first(tmp_path, builders):
    for folder in ("a-folder", "luna16-patches"):
        (tmp_path / folder).mkdir()
        builders.write(tmp_path / folder / FILE)
    assert data.find("luna16-patches", tmp_path).parent.name == "luna16-patches"


@pytest.mark.parametrize("made", [True, False])
def test_an_absent_data_set_says_what_to_get_and_where_to_put_it(tmp_path, made):
    root = tmp_path / "data"
    if made:
        root.mkdir()
    with pytest.raises(DataError) as error:
        data.find("luna16-patches", root)
    where = ("swethasubramanian/LungCancerDetection", "candidates.csv", "fewscans data pack luna16-patches")
    for word in (str(root), FILE, *where, "data_root", "FEWSCANS_DATA_ROOT"):
        assert word in str(error.value)


def test_an_unknown_data_set_lists_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="unknown data set 'luna17'; known: luna16-patches"):
        data.find("luna17", tmp_path)
    with pytest.raises(DataError, match="unknown data set"):
        data.read("luna17", tmp_path)


def test_every_data_set_says_its_licence_and_whom_to_cite():
    for name, entry in data.DATASETS.items():
        assert entry.name == name
        assert "CC BY" in entry.licence and "doi 10." in entry.cite
        assert entry.source not in ("", None)


def test_every_file_is_known_by_a_checksum_and_by_its_counts():
    for entry in data.DATASETS.values():
        if entry.check is None:
            assert entry.counts and (entry.sha256 or entry.md5), entry.name
            assert len(entry.sha256 or "0" * 64) == 64 and len(entry.md5 or "0" * 32) == 32


@pytest.mark.parametrize("name", ["adrenalmnist3d", "nodulemnist3d"])
def test_a_medmnist_set_is_found_and_read_as_the_set_asked_for(tmp_path, name):
    (tmp_path / "medmnist").mkdir()
    for other in ("adrenalmnist3d", "nodulemnist3d"):  # as a download into one folder leaves them
        load_builders("medmnist3d").write(tmp_path / "medmnist" / f"{other}.npz")
    file = data.find(name, tmp_path)
    assert file == tmp_path / "medmnist" / f"{name}.npz"
    assert data.read(name, file).path == data.read(name, file.parent).path == file


def test_the_cubes_are_found_and_read(tmp_path):
    (tmp_path / "lidc-nodules-3d").mkdir()
    file = load_builders("lidc_nodules").write(tmp_path / "lidc-nodules-3d")
    assert data.find("lidc-nodules", tmp_path) == file
    assert len(data.read("lidc-nodules", file)) == 6


def luna16_like(folder, *places):
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).touch() if "." in place.rpartition("/")[2] else (folder / place).mkdir()
    return folder


@pytest.mark.parametrize("where", ["", "CSVFILES/", "evaluationScript/annotations/"])
@pytest.mark.parametrize("folder", ["luna16", "LUNA16"])
def test_a_data_set_of_many_files_is_its_folder_wherever_its_lists_lie(tmp_path, folder, where):
    luna16_like(tmp_path / "another-set", "candidates.csv")
    copy = luna16_like(tmp_path / folder, "subset0", where + CSV)
    assert data.find("luna16", tmp_path) == copy


def test_a_folder_of_its_name_is_found_half_downloaded_and_one_of_another_name_is_not(tmp_path):
    luna16_like(tmp_path / "downloads", CSV)
    with pytest.raises(DataError, match=r"subset0 with annotations\.csv is in none of its folders"):
        data.find("luna16", tmp_path)
    assert data.find("luna16", luna16_like(tmp_path / "x", "luna16/subset0")) == tmp_path / "x" / "luna16"
    assert data.find("luna16", luna16_like(tmp_path / "y", f"luna16/{CSV}")) == tmp_path / "y" / "luna16"


def test_a_whole_copy_elsewhere_comes_before_half_a_copy_in_the_folder_of_its_name(tmp_path):
    luna16_like(tmp_path / "luna16", "subset0")
    whole = luna16_like(tmp_path / "whole", "subset0", CSV)
    assert data.find("luna16", tmp_path) == whole


def test_an_empty_folder_of_its_name_is_no_copy(tmp_path):
    (tmp_path / "luna16").mkdir()
    with pytest.raises(DataError) as error:
        data.find("luna16", tmp_path)
    for word in ("zenodo.org/records/3723295", f"put it at {tmp_path / 'luna16'}, or", "seriesuids.csv"):
        assert word in str(error.value)


@pytest.mark.parametrize("layout", ["FIRST", "SECOND"])
def test_both_releases_of_the_wmh_challenge_are_found_under_any_name(tmp_path, layout):
    build = load_builders("wmh2017")
    folder = build.write(tmp_path / "WMH-challenge", getattr(build, layout))
    luna16_like(tmp_path / "another-set", "public/Utrecht")
    assert data.find("wmh2017", tmp_path) == folder
    assert len(data.read("wmh2017", folder)) == 15


def test_the_hippocampus_is_found_and_another_task_of_the_decathlon_is_not_taken_for_it(tmp_path):
    luna16_like(tmp_path / "Task07_Pancreas", "imagesTr/pancreas_001.nii.gz", "labelsTr/pancreas_001.nii.gz")
    with pytest.raises(DataError, match=r"imagesTr/hippocampus_001\.nii\.gz with labelsTr.* is in none of its folders"):
        data.find("msd-hippocampus", tmp_path)
    folder = load_builders("msd").write(tmp_path / "Task04_Hippocampus")
    assert data.find("msd-hippocampus", tmp_path) == folder
    assert data.read("msd-hippocampus", folder).unit == "ml"


@pytest.mark.parametrize("name, builder", [("wmh2017", "wmh2017"), ("msd-hippocampus", "msd")])
def test_a_folder_of_scans_that_is_not_whole_is_refused_with_what_it_lacks(tmp_path, name, builder):
    load_builders(builder).write(tmp_path / name)
    with pytest.raises(DataError, match=f"is not the whole of '{name}': .*published are"):
        data.verify(name, tmp_path, tmp_path / "manifests")
