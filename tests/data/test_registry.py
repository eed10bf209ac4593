"""A data set is found where its README says to put it; where it is not, the message says what to do."""

import importlib
import itertools
from pathlib import Path

import pytest

from fewscans import twins
from fewscans.data import manifest, registry
from fewscans.data.luna16_patches import FILE
from fewscans.errors import DataError

from .conftest import load_builders

CSV = "annotations.csv"


@pytest.mark.parametrize("folder", ["luna16-patches", "some-folder-of-mine"])
def test_a_copy_is_found_in_its_own_folder_or_any_other_one_level_down(tmp_path, builders, folder):
    (tmp_path / "another-set").mkdir()
    (tmp_path / folder).mkdir()
    file = builders.write(tmp_path / folder / FILE)
    assert registry.find("luna16-patches", tmp_path) == file
    assert len(registry.dataset("luna16-patches").read(file)) == 90


def test_the_folder_of_its_name_comes_first(tmp_path, builders):
    for folder in ("a-folder", "luna16-patches"):
        (tmp_path / folder).mkdir()
        builders.write(tmp_path / folder / FILE)
    assert registry.find("luna16-patches", tmp_path).parent.name == "luna16-patches"


@pytest.mark.parametrize("made", [True, False])
def test_an_absent_data_set_says_what_to_get_and_where_to_put_it(tmp_path, made):
    root = tmp_path / "data"
    if made:
        root.mkdir()
    with pytest.raises(DataError) as error:
        registry.find("luna16-patches", root)
    where = ("swethasubramanian/LungCancerDetection", "candidates.csv", "fewscans data pack luna16-patches")
    for word in (str(root), FILE, *where, "data_root", "FEWSCANS_DATA_ROOT"):
        assert word in str(error.value)


def test_an_unknown_data_set_lists_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="unknown data set 'luna17'; known: adrenalmnist3d, camelyon16"):
        registry.find("luna17", tmp_path)
    with pytest.raises(DataError, match="unknown data set"):
        registry.dataset("luna17").read(tmp_path)


def test_every_module_with_a_record_is_found_by_its_name():
    folder = Path(registry.__file__).parent
    modules = {path.stem for path in folder.rglob("*.py") if hasattr(module(path, folder), "DATASET")}
    assert {name.replace("-", "_") for name in registry.names()} == modules
    assert list(registry.names()) == sorted(registry.names())
    for name in registry.names():
        assert registry.dataset(name).name == name
        assert registry.module_of(name) == f"fewscans.data.{name.replace('-', '_')}"


def module(path, folder):
    return importlib.import_module(".".join(("fewscans.data", *path.relative_to(folder).with_suffix("").parts)))


TERMS = ("CC0", "CC BY", "no restriction on use", "credentialed access")


@pytest.mark.parametrize("name", registry.names())
def test_every_record_says_what_is_to_be_known(name):
    entry = registry.dataset(name)
    assert entry.title and entry.case and entry.group and entry.shows and entry.plural.startswith(entry.case)
    assert entry.target == ("number" if entry.score == "icc" else "label") and callable(entry.cases)
    if entry.control:
        assert entry.twin and not (entry.licence or entry.people or entry.source)
    else:
        assert (terms := [word for word in TERMS if word in entry.licence]) and entry.source
        assert "doi 10." in entry.cite
        words = " ".join(entry.attribution.split())
        assert all(word in words for word in (terms[0], "No image is kept here", "Cite: - "))
        assert entry.attribution.endswith(".\n") and (entry.file or entry.marks and entry.check)
    assert not entry.twin or entry.twin.replace("_", "-") in twins.names()
    without = {"adrenalmnist3d", "nodulemnist3d", "camelyon16-patches", "nih-chestxray14", "nih-subset", "luna16-area",
               "pneumoniamnist"}  # fmt: skip
    assert entry.twin or name in without or "hippocamp" in name or "lidc" in name


def test_data_sets_of_one_study_share_patients_and_others_do_not():
    studies = [
        {"luna16", "luna16-patches", "luna16-area", "nodulemnist3d", "lidc-nodules", "lidc-voi", "lidc-voi-malignancy"},
        {"msd-hippocampus", "msd-hippocampus-fraction", "hippocampus-patches"},
        {"wmh2017", "wmh2017-40-20"}, {"camelyon16", "camelyon16-patches", "patchcamelyon"},
        {"nih-chestxray14", "nih-subset"},
    ]  # fmt: skip
    for one, other in itertools.combinations(registry.names(), 2):
        assert registry.share_patients(one, other) == any({one, other} <= study for study in studies), (one, other)


def test_what_networks_may_be_asked_about_is_the_same_in_what_shows_the_same():
    lungs = {name for name in registry.names() if registry.dataset(name).shows == "lung nodules"}
    assert lungs == {name for name in registry.names() if name.startswith(("luna16", "lidc", "nodule"))} - {"lidc-voi"}


@pytest.mark.parametrize("name", ["orientation", "handedness", "pvs"])
def test_a_control_is_not_looked_for_and_the_twin_is_named(tmp_path, name):
    with pytest.raises(DataError, match=f"'{name}' is no public data set; `fewscans twin {name}` writes it"):
        registry.find(name, tmp_path)
    assert name not in [entry.name for entry in registry.public()]


@pytest.mark.parametrize("name", ["wmh2017-40-20", "msd-hippocampus-fraction", "hippocampus-patches", "luna16-area"])
def test_a_data_set_derived_from_another_lies_in_its_folder(tmp_path, name):
    parent = registry.dataset(name).folder
    assert registry.home(name, tmp_path) == registry.home(parent, tmp_path) == tmp_path / parent


def test_every_file_is_known_by_a_checksum_and_by_its_counts():
    for entry in registry.public():
        if entry.check is None:
            assert entry.counts and (entry.sha256 or entry.md5), entry.name
            assert len(entry.sha256 or "0" * 64) == 64 and len(entry.md5 or "0" * 32) == 32


@pytest.mark.parametrize("name", ["adrenalmnist3d", "nodulemnist3d"])
def test_a_medmnist_set_is_found_and_read_as_the_set_asked_for(tmp_path, name):
    (tmp_path / "medmnist").mkdir()
    for other in ("adrenalmnist3d", "nodulemnist3d"):  # as a download into one folder leaves them
        load_builders("medmnist3d").write(tmp_path / "medmnist" / f"{other}.npz")
    file = registry.find(name, tmp_path)
    assert file == tmp_path / "medmnist" / f"{name}.npz"
    assert registry.dataset(name).read(file).path == registry.dataset(name).read(file.parent).path == file


def test_the_cubes_are_found_and_read(tmp_path):
    (tmp_path / "lidc-nodules-3d").mkdir()
    file = load_builders("lidc_nodules").write(tmp_path / "lidc-nodules-3d")
    assert registry.find("lidc-nodules", tmp_path) == file
    assert len(registry.dataset("lidc-nodules").read(file)) == 6


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
    assert registry.find("luna16", tmp_path) == copy


def test_a_folder_of_its_name_is_found_half_downloaded_and_one_of_another_name_is_not(tmp_path):
    luna16_like(tmp_path / "downloads", CSV)
    with pytest.raises(DataError, match=r"subset0 with annotations\.csv is in none of its folders"):
        registry.find("luna16", tmp_path)
    assert registry.find("luna16", luna16_like(tmp_path / "x", "luna16/subset0")) == tmp_path / "x" / "luna16"
    assert registry.find("luna16", luna16_like(tmp_path / "y", f"luna16/{CSV}")) == tmp_path / "y" / "luna16"


def test_a_whole_copy_elsewhere_comes_before_half_a_copy_in_the_folder_of_its_name(tmp_path):
    luna16_like(tmp_path / "luna16", "subset0")
    whole = luna16_like(tmp_path / "whole", "subset0", CSV)
    assert registry.find("luna16", tmp_path) == whole


def test_an_empty_folder_of_its_name_is_no_copy(tmp_path):
    (tmp_path / "luna16").mkdir()
    with pytest.raises(DataError) as error:
        registry.find("luna16", tmp_path)
    for word in ("zenodo.org/records/3723295", f"put it at {tmp_path / 'luna16'}, or", "seriesuids.csv"):
        assert word in str(error.value)


@pytest.mark.parametrize("layout", ["FIRST", "SECOND"])
def test_both_releases_of_the_wmh_challenge_are_found_under_any_name(tmp_path, layout):
    build = load_builders("wmh2017")
    folder = build.write(tmp_path / "WMH-challenge", getattr(build, layout))
    luna16_like(tmp_path / "another-set", "public/Utrecht")
    assert registry.find("wmh2017", tmp_path) == folder
    assert len(registry.dataset("wmh2017").read(folder)) == 15


def test_the_hippocampus_is_found_and_another_task_of_the_decathlon_is_not_taken_for_it(tmp_path):
    luna16_like(tmp_path / "Task07_Pancreas", "imagesTr/pancreas_001.nii.gz", "labelsTr/pancreas_001.nii.gz")
    with pytest.raises(DataError, match=r"imagesTr/hippocampus_001\.nii\.gz with labelsTr.* is in none of its folders"):
        registry.find("msd-hippocampus", tmp_path)
    folder = load_builders("msd_hippocampus").write(tmp_path / "Task04_Hippocampus")
    assert registry.find("msd-hippocampus", tmp_path) == folder
    assert registry.dataset("msd-hippocampus").read(folder).unit == "ml"


@pytest.mark.parametrize("name, builder", [("wmh2017", "wmh2017"), ("msd-hippocampus", "msd_hippocampus")])
def test_a_folder_of_scans_that_is_not_whole_is_refused_with_what_it_lacks(tmp_path, name, builder):
    load_builders(builder).write(tmp_path / name)
    with pytest.raises(DataError, match=f"is not the whole of '{name}': .*published are"):
        manifest.verify(name, tmp_path, tmp_path / "manifests")
