"""A data set is found where its README says to put it; where it is not, the message says what to do."""

import pytest

from fewscans import data
from fewscans.data.luna16_patches import FILE
from fewscans.errors import DataError


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
        assert "CC BY" in entry.licence and "(2017)" in entry.cite and len(entry.sha256) == 64
