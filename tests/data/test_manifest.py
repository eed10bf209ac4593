"""A verified copy leaves the same few bytes wherever it lies; one that is not whole leaves none."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from fewscans import files, paths
from fewscans.data import lidc_nodules, luna16, luna16_patches, manifest, nodulemnist3d, registry
from fewscans.data.luna16_patches import FILE
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders
from .copies import COPIES


@pytest.fixture
def copy(tmp_path, builders):
    """A root with a small file in the published layout."""
    (tmp_path / "mine" / "luna16-patches").mkdir(parents=True)
    builders.write(tmp_path / "mine" / "luna16-patches" / FILE)
    return tmp_path / "mine"


@pytest.fixture
def published(monkeypatch, copy):
    """As if that small file were the published one."""
    patches = registry.dataset("luna16-patches").read(registry.find("luna16-patches", copy))
    counts = {s: (len(i := patches.indices(s)), int(patches.target[i].sum())) for s in ("train", "val", "test")}
    entry = dataclasses.replace(luna16_patches.DATASET, sha256=patches.fingerprint, counts=counts)
    monkeypatch.setattr(luna16_patches, "DATASET", entry)
    return counts


def test_a_whole_copy_is_noted_without_path_or_date(copy, published, tmp_path):
    found = manifest.verify("luna16-patches", copy, tmp_path / "a")
    text = (tmp_path / "a" / "luna16-patches.json").read_text()
    assert found.as_published and found.cases["train"] == published["train"][0]
    assert str(tmp_path) not in text and "mine" not in text
    moved = copy.rename(tmp_path / "elsewhere")
    manifest.verify("luna16-patches", moved, tmp_path / "b")
    assert (tmp_path / "b" / "luna16-patches.json").read_text() == text
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["luna16-patches.json"]


def test_other_bytes_with_the_same_counts_are_said_to_be_so(copy, published, builders, tmp_path):
    images = 255 - builders.arrays()["val_images"]
    builders.write(copy / "luna16-patches" / FILE, val_images=images)
    found = manifest.verify("luna16-patches", copy, tmp_path / "a")
    assert not found.as_published
    assert "other bytes" in found.summary()


def test_a_copy_with_other_counts_is_refused_with_all_that_differs(copy, tmp_path):
    with pytest.raises(DataError) as error:
        manifest.verify("luna16-patches", copy, tmp_path / "a")
    for word in ("train has", "not 5236 with 928", "val has", "test has", "17,355,522"):
        assert word in str(error.value)
    assert not (tmp_path / "a").exists()


def test_an_absent_copy_is_refused(tmp_path):
    with pytest.raises(DataError, match="FEWSCANS_DATA_ROOT"):
        manifest.verify("luna16-patches", tmp_path)


def test_the_real_copy_is_the_published_one(real_patches, tmp_path):
    found = manifest.verify("luna16-patches", real_patches.path.parent.parent, tmp_path)
    assert found.as_published
    assert found.positives == {"train": 928, "val": 167, "test": 245}


@pytest.fixture
def nodules(tmp_path, monkeypatch):
    """A root with a small nodulemnist3d.npz, as if its counts were the published ones; MD5 known, positives not."""
    folder = tmp_path / "mine" / "nodulemnist3d"
    folder.mkdir(parents=True)
    file = load_builders("medmnist3d").write(folder / "nodulemnist3d.npz")
    counts = {split: (n, None) for split, n in load_builders("medmnist3d").CASES_OF.items()}
    md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    entry = dataclasses.replace(nodulemnist3d.DATASET, md5=md5, counts=counts)
    monkeypatch.setattr(nodulemnist3d, "DATASET", entry)
    return file


def test_where_the_publisher_gives_an_md5_it_decides(nodules, tmp_path):
    found = manifest.verify("nodulemnist3d", tmp_path / "mine", tmp_path / "a")
    assert found.as_published and "the same bytes" in found.summary()
    assert found.sha256 == hashlib.sha256(nodules.read_bytes()).hexdigest()
    assert found.positives == {"train": 2, "val": 1, "test": 2}
    load_builders("medmnist3d").write(nodules, val_labels=np.array([[1], [1], [0]], np.uint8))
    found = manifest.verify("nodulemnist3d", tmp_path / "mine", tmp_path / "a")
    assert found.as_published is False and "val 3 (2 positive)" in found.summary()


def test_both_checksums_must_agree_where_both_are_known(nodules, tmp_path, monkeypatch):
    entry = dataclasses.replace(nodulemnist3d.DATASET, sha256="0" * 64)
    monkeypatch.setattr(nodulemnist3d, "DATASET", entry)
    assert manifest.verify("nodulemnist3d", tmp_path / "mine", tmp_path / "a").as_published is False


def test_where_no_positives_are_published_only_cases_are_compared(nodules, tmp_path):
    short = {key: array[:2] for key, array in load_builders("medmnist3d").arrays().items() if key.startswith("val")}
    load_builders("medmnist3d").write(nodules, **short)
    with pytest.raises(DataError, match=r"val has 2 cases, not 3\. It has [\d,]+ bytes\. Get https://zenodo"):
        manifest.verify("nodulemnist3d", tmp_path / "mine", tmp_path / "a")


def test_cubes_have_no_splits_and_are_counted_whole(tmp_path, monkeypatch):
    folder = tmp_path / "lidc-nodules"
    folder.mkdir()
    load_builders("lidc_nodules").write(folder)
    with pytest.raises(DataError, match="all has 6 cases with 3 positive, not 160 with 16"):
        manifest.verify("lidc-nodules", tmp_path, tmp_path / "a")
    entry = dataclasses.replace(lidc_nodules.DATASET, counts={"all": (6, 3)})
    monkeypatch.setattr(lidc_nodules, "DATASET", entry)
    assert "other bytes" in manifest.verify("lidc-nodules", tmp_path, tmp_path / "a").summary()


@pytest.fixture
def folder_says(tmp_path, monkeypatch):
    """A root with a folder luna16, and a way to say what its check reports."""
    (tmp_path / "mine" / "luna16" / "subset0").mkdir(parents=True)

    def say(lacks):
        asked = []

        def check(folder):
            asked.append(folder)
            fingerprint = "" if lacks else "ab" * 32
            counts = {"scans": 888, "subset0": 89}
            return {"complete": not lacks, "lacks": lacks, "counts": counts, "fingerprint": fingerprint}

        entry = dataclasses.replace(luna16.DATASET, check=check)
        monkeypatch.setattr(luna16, "DATASET", entry)
        return asked

    return say


def test_a_folder_that_lacks_nothing_is_noted_by_its_fingerprint(folder_says, tmp_path):
    asked = folder_says([])
    found = manifest.verify("luna16", tmp_path / "mine", tmp_path / "a")
    assert asked == [tmp_path / "mine" / "luna16"]
    assert (found.file, found.size_bytes, found.sha256) == ("", None, "ab" * 32)
    assert found.as_published is None and "scans 888, subset0 89" in found.summary()
    text = (tmp_path / "a" / "luna16.json").read_text()
    assert str(tmp_path) not in text and json.loads(text)["cases"] == {"scans": 888, "subset0": 89}


def test_all_that_a_folder_lacks_is_in_one_error(folder_says, tmp_path):
    folder_says(["subset3 is missing; unpack subset3.zip.", "seriesuids.csv is missing"])
    with pytest.raises(DataError) as error:
        manifest.verify("luna16", tmp_path / "mine", tmp_path / "a")
    for words in (
        "luna16 is not the whole of 'luna16': (1) subset3 is missing",
        "subset3.zip. (2) seriesuids.csv is missing. Get",
    ):
        assert words in str(error.value)
    assert not (tmp_path / "a").exists()


def test_a_started_download_of_luna16_is_told_all_that_is_still_to_come(tmp_path):
    (tmp_path / "luna16" / "subset0").mkdir(parents=True)
    with pytest.raises(DataError) as error:
        manifest.verify("luna16", tmp_path, tmp_path / "a")
    for words in (
        "annotations.csv is missing",
        "candidates_V2.csv is missing",
        "subset0 is",
        "subset9 is",
        "zenodo.org",
    ):
        assert words in str(error.value)
    assert "\n" not in str(error.value) and not (tmp_path / "a").exists()


@pytest.mark.parametrize("spoil, said", [
    (lambda sums: sums.unlink(), "it is missing, so nothing says whether the copy is whole"),
    (lambda sums: (sums.unlink(), sums.mkdir()), "it cannot be read (Is a directory)"),
    (lambda sums: (sums.unlink(), sums.symlink_to(sums.name)), "it cannot be read (Too many levels of symbolic links)"),
    (lambda sums: sums.write_bytes(b"\xff\xfe"), "it is damaged, and no text"),
    (lambda sums: sums.write_text(""), "it lists no file"),
    (lambda sums: sums.write_text(sums.read_text()[:60]), "is no SHA-256 with a name"),
])  # fmt: skip
@pytest.mark.parametrize("name", [n for n in COPIES if files.SUMS in registry.dataset(n).source])
def test_a_folder_without_its_list_of_hashes_is_one_sentence(name, spoil, said, tmp_path):
    entry = registry.dataset(name)
    folder = COPIES[name].write(tmp_path / "mine" / (entry.folder or name)) or tmp_path / "mine"
    files.write(folder / files.SUMS, f"{'0' * 64}  absent.csv\n")
    spoil(folder / files.SUMS)
    with pytest.raises(DataError) as error:
        manifest.verify(name, tmp_path / "mine", tmp_path / "a")
    text = str(error.value)
    assert text.startswith(f"{folder / files.SUMS}: ") and f"{said}; copy the folder again. Get the folder" in text
    assert "Errno" not in text and "codec" not in text and not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["adrenalmnist3d", "lidc-nodules"])
def test_the_real_copies_are_the_published_ones(name, tmp_path):
    try:
        registry.find(name, paths.data_root())
    except FewscansError:
        pytest.skip(f"no copy of {name} under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    assert manifest.verify(name, paths.data_root(), tmp_path).as_published
