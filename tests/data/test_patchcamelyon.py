"""PatchCamelyon is read packed or unpacked, no more of it than is asked for, and what is wrong is named."""

import gzip
import shutil

import h5py
import numpy as np
import pytest

from fewscans import paths
from fewscans.data import camelyon16, patchcamelyon, registry
from fewscans.data.base import Cut
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("patchcamelyon")
OURS = {"train": "train", "valid": "val", "test": "test"}


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("pcam") / "patchcamelyon")


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "data" / "patchcamelyon")


@pytest.fixture
def room(tmp_path, monkeypatch):
    """The cache, and where a copy is checked."""
    monkeypatch.setattr(paths, "build", lambda: tmp_path / "build")
    return tmp_path / "cache"


def test_every_patch_is_read_once_with_its_label_slide_and_published_split(pristine, room):
    found = patchcamelyon.read(pristine, room)
    assert len(found) == len(set(found.case)) == sum(BUILD.COUNTS.values())
    assert (found.images.dtype, found.images.shape) == (np.uint8, (26, 96, 96, 3)) and found.target.dtype == np.int64
    for split, ours in OURS.items():
        index = found.indices(ours)
        assert np.array_equal(found.images[index], BUILD.patches(split))
        assert np.array_equal(found.target[index], BUILD.labels(split).reshape(-1))
        assert found.group[index].tolist() == BUILD.slides(split)


def test_unpacked_files_are_read_as_they_are_and_nothing_is_kept(good, room):
    packed = patchcamelyon.read(good, room / "packed")
    whole = packed.images[:]
    for file in good.glob("*.h5.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    found = patchcamelyon.read(good, room / "plain")
    assert np.array_equal(found.images[:], whole) and np.array_equal(found.group, packed.group)
    assert len(list(room.glob("packed/*/*.h5"))) == 6 and not (room / "plain").exists()


def test_packed_files_are_unpacked_once(good, room, monkeypatch):
    before = patchcamelyon.read(good, room)
    monkeypatch.setattr(gzip, "open", lambda *_: pytest.fail("unpacked again"))
    again = patchcamelyon.read(good, room)
    assert np.array_equal(again.images[:], before.images[:]) and again.fingerprint == before.fingerprint


def test_a_cleared_cache_is_filled_again_when_a_patch_is_asked_for(good, room):
    found = patchcamelyon.read(good, room)
    shutil.rmtree(room)
    assert np.array_equal(found.images[[3]], BUILD.patches("train")[[3]])


def test_patches_come_in_the_order_asked_for_however_they_are_asked_for(pristine, room):
    images = patchcamelyon.read(pristine, room).images
    whole = images[:]
    for index in ([25, 0, 13, 13, 4], slice(10, 20), np.arange(26) % 3 == 0, np.array([], int), [-1]):
        assert np.array_equal(images[index], whole[index])


@pytest.mark.parametrize("chunks", [None, (1, 96, 96, 3), (5, 12, 12, 1)])
def test_only_what_holds_the_patches_asked_for_is_read_and_once(good, room, monkeypatch, chunks):
    for split in BUILD.COUNTS:
        BUILD.save(good, split, "x", BUILD.hdf5(chunks, x=BUILD.patches(split)))
    found, asked = patchcamelyon.read(good, room), []
    plain = h5py.Dataset.__getitem__

    def watched(dataset, rows, *rest):
        part = plain(dataset, rows, *rest)
        asked.append((dataset.name, len(part)))
        return part

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    index = [13, 7, 1, 7, 3]  # of the training set but for one of the validation set
    assert np.array_equal(found.images[index], np.concatenate([BUILD.patches(s) for s in BUILD.COUNTS])[index])
    assert asked == [("/x", n) for n in ((5, 5, 5) if chunks and chunks[0] == 5 else (1, 1, 1, 1))]
    if chunks is None:
        asked.clear()
        found.images[2:9]
        assert asked == [("/x", 7)]
    asked.clear()
    patchcamelyon.read(good, room)
    assert {name for name, _ in asked} == {"/y"}


def test_without_tables_each_patch_is_its_own_group(tmp_path, room):
    found = patchcamelyon.read(BUILD.write(tmp_path / "bare", tables=False), room)
    assert np.array_equal(found.group, found.case)


def test_hidden_files_of_macos_are_passed_over(good, room):
    before = patchcamelyon.read(good, room).fingerprint
    for file in list(good.iterdir()):
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7" + bytes(60))
    assert patchcamelyon.read(good, room).fingerprint == before
    alone = good.parent / "left"
    alone.mkdir()
    for file in good.glob("._*"):
        file.rename(alone / file.name)
    assert registry.find("patchcamelyon", good.parent) == good
    with pytest.raises(DataError, match="no such file"):
        patchcamelyon.read(alone, room)


def test_the_fingerprint_is_of_files_and_slides_and_not_of_the_place(pristine, good, room):
    before = patchcamelyon.read(pristine, room).fingerprint
    assert patchcamelyon.read(good, room).fingerprint == before
    slides = BUILD.slides("test")
    BUILD.table(good, "test", [f"{i},{slide}" for i, slide in enumerate(slides[1:] + slides[:1])], ",wsi")
    assert patchcamelyon.read(good, room).fingerprint != before  # the same slides, of other patches
    BUILD.table(good, "test")
    BUILD.save(good, "test", "y", BUILD.hdf5(y=1 - BUILD.labels("test")))
    assert patchcamelyon.read(good, room).fingerprint != before


@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(name, good, room):
    change, words = BUILD.CASES[name]
    change(good)
    with pytest.raises(DataError) as error:
        patchcamelyon.read(good, room)
    for word in (str(good), *words):
        assert word in str(error.value)
    assert "\n" not in str(error.value) and str(room) not in str(error.value)
    assert not list(room.rglob("*.part"))
    report = patchcamelyon.check_copy(good)
    assert not report["complete"] and report["lacks"] == [str(error.value)]


def test_a_damaged_part_that_is_met_while_training_is_named(good, room):
    file = BUILD.save(good, "test", "x", BUILD.hdf5(x=BUILD.patches("test")), packed=False)
    found = patchcamelyon.read(good, room)
    file.write_bytes(file.read_bytes()[:90_000])
    with pytest.raises(DataError, match=f"{file.name}.*truncated"):
        found.images[found.indices("test")]


def test_a_full_disk_is_named(good, room, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DataError, match=r"_x\.h5\.gz: cannot be unpacked below .*No space left.*make room"):
        patchcamelyon.read(good, room)
    assert not list(room.rglob("*.*"))


@pytest.mark.parametrize("blank", [0, 1, 3])
def test_a_few_patches_of_one_colour_pass_and_many_are_named(good, blank, room, monkeypatch):
    monkeypatch.setattr(patchcamelyon, "COUNTS", {OURS[split]: n for split, n in BUILD.COUNTS.items()})
    monkeypatch.setattr(patchcamelyon, "MOST_BLANK", 2 / 26)
    patches = BUILD.patches("test")
    patches[2 : 2 + blank] = (7, 200, 31)
    BUILD.save(good, "test", "x", BUILD.hdf5(x=patches))
    report = patchcamelyon.check_copy(good)
    assert report["complete"] == (blank < 3) and len(report["lacks"]) == (blank > 2)
    if blank > 2:
        assert f"{good}: 3 of 26 patches are of one colour, such as test000002" in report["lacks"][0]


def test_a_copy_with_other_counts_is_not_the_whole_set(good, room):
    report = patchcamelyon.check_copy(good)
    assert not report["complete"] and report["counts"] == {"train": 12, "val": 6, "test": 8}
    assert "262144" in report["lacks"][0]


def test_the_cut_does_not_change_the_patches(pristine, room):
    cut = patchcamelyon.cases(pristine, Cut((48, 48)), room)
    assert np.array_equal(cut.images[:5], BUILD.patches("train")[:5])


def test_a_copy_is_found_packed_or_unpacked_and_shares_patients_with_the_slides(good):
    for file in list(good.glob("*valid*.gz")):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    mine = good.rename(good.parent / "pcamv1")
    assert registry.find("patchcamelyon", mine.parent) == mine
    record = registry.dataset("patchcamelyon")
    assert registry.share_patients("patchcamelyon", "camelyon16") and record.shows == camelyon16.DATASET.shows
    assert record.licence == "CC0 1.0" and "Veeling" in record.cite and record.twin == "patchcamelyon"


def test_the_real_copy_is_the_published_one(room):
    try:
        folder = registry.find("patchcamelyon", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of patchcamelyon under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    assert patchcamelyon.check_copy(folder)["complete"]
