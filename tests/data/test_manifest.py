"""A verified copy leaves the same few bytes wherever it lies; one that is not whole leaves none."""

import dataclasses

import pytest

from fewscans import data
from fewscans.data import registry
from fewscans.data.luna16_patches import FILE
from fewscans.errors import DataError


@pytest.fixture
def copy(tmp_path, builders):
    """A root with a small file in the published layout."""
    (tmp_path / "mine" / "luna16-patches").mkdir(parents=True)
    builders.write(tmp_path / "mine" / "luna16-patches" / FILE)
    return tmp_path / "mine"


@pytest.fixture
def published(monkeypatch, copy):
    """As if that small file were the published one."""
    patches = data.read("luna16-patches", data.find("luna16-patches", copy))
    counts = {s: (len(i := patches.indices(s)), int(patches.labels[i].sum())) for s in ("train", "val", "test")}
    entry = dataclasses.replace(registry.DATASETS["luna16-patches"], sha256=patches.fingerprint, counts=counts)
    monkeypatch.setitem(registry.DATASETS, "luna16-patches", entry)
    return counts


def test_a_whole_copy_is_noted_without_path_or_date(copy, published, tmp_path):
    manifest = data.verify("luna16-patches", copy, tmp_path / "a")
    text = (tmp_path / "a" / "luna16-patches.json").read_text()
    assert manifest.as_published and manifest.cases["train"] == published["train"][0]
    assert str(tmp_path) not in text and "mine" not in text
    moved = copy.rename(tmp_path / "elsewhere")
    data.verify("luna16-patches", moved, tmp_path / "b")
    assert (tmp_path / "b" / "luna16-patches.json").read_text() == text
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["luna16-patches.json"]


def test_other_bytes_with_the_same_counts_are_said_to_be_so(copy, published, builders, tmp_path):
    images = 255 - builders.arrays()["val_images"]
    builders.write(copy / "luna16-patches" / FILE, val_images=images)
    manifest = data.verify("luna16-patches", copy, tmp_path / "a")
    assert not manifest.as_published
    assert "other bytes" in manifest.summary()


def test_a_copy_with_other_counts_is_refused_with_all_that_differs(copy, tmp_path):
    with pytest.raises(DataError) as error:
        data.verify("luna16-patches", copy, tmp_path / "a")
    for word in ("train has", "not 5236 with 928", "val has", "test has", "17,355,522"):
        assert word in str(error.value)
    assert not (tmp_path / "a").exists()


def test_an_absent_copy_is_refused(tmp_path):
    with pytest.raises(DataError, match="FEWSCANS_DATA_ROOT"):
        data.verify("luna16-patches", tmp_path)


def test_the_real_copy_is_the_published_one(real_patches, tmp_path):
    manifest = data.verify("luna16-patches", real_patches.path.parent.parent, tmp_path)
    assert manifest.as_published
    assert manifest.positives == {"train": 928, "val": 167, "test": 245}
