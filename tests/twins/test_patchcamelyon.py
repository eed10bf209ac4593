"""The twin passes for the real set: layout, labels of the centre, slides apart, a task beyond brightness."""

import numpy as np
import pytest

from fewscans import twins
from fewscans.data import patchcamelyon, registry
from fewscans.errors import DataError
from fewscans.stats.auc import auc
from fewscans.twins import patchcamelyon as twin
from fewscans.twins.camelyon16 import draw_slide

SETTINGS = {"train": 2, "valid": 1, "test": 1, "patches": 30, "side": 1024, "seed": 0}
SMALL = {"train": 1, "valid": 1, "test": 1, "patches": 4, "side": 926}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = twins.spec("patchcamelyon", SETTINGS)
    return twins.write("patchcamelyon", tmp_path_factory.mktemp("twins") / "patchcamelyon", spec)


@pytest.fixture(scope="module")
def patches(folder, tmp_path_factory):
    return patchcamelyon.read(folder, tmp_path_factory.mktemp("cache"))


def test_the_reader_takes_it_with_as_many_of_either_label_on_every_slide(patches):
    for split, slides in (("train", 2), ("val", 1), ("test", 1)):
        index = patches.indices(split)
        assert len(set(patches.group[index])) == slides
        for slide in set(patches.group[index]):
            assert 0.4 < patches.target[index][patches.group[index] == slide].mean() < 0.6
    assert len(patches) >= 3 * 30, "a slide may have fewer patches than were asked for, but not many"
    splits = [set(patches.group[patches.indices(split)]) for split in ("train", "val", "test")]
    assert not splits[0] & splits[1] and not splits[0] & splits[2] and not splits[1] & splits[2]


def test_files_are_named_and_stored_as_the_published_ones(folder):
    published = {address.rpartition("/")[2] for address in patchcamelyon.DATASET.downloads}
    assert {file.name for file in folder.iterdir()} == published | {"twin.json"}
    assert registry.find("patchcamelyon", folder.parent) == folder


def test_the_label_is_of_the_central_third_alone(monkeypatch):
    """On a slide of one colour but for the tumour: labels are those of the centre, and edges do show tumour."""
    spec, pixel = twins.spec("patchcamelyon", SETTINGS), {}

    def painted(slides, place, number):
        rgb, annotation, rest = draw_slide(slides, place, number)
        mask = twin.asap.mask(annotation, rgb.shape[1], rgb.shape[0], 1).astype(bool)
        pixel["share"] = mask.mean()
        rgb = np.full_like(rgb, 120)
        rgb[mask] = 200
        return rgb, annotation, rest

    monkeypatch.setattr(twin, "draw_slide", painted)
    found, labels = twin._patches((spec, "train", 0))
    tumour = (found == 200).all(-1)
    assert 0 < pixel["share"] < 1 and set(labels) == {0, 1}
    assert np.array_equal(tumour[:, 32:64, 32:64].any(axis=(1, 2)), labels == 1)
    assert tumour[labels == 0].any(), "tumour at the edge alone gives no label"


def test_one_spec_gives_the_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (
        twins.write("patchcamelyon", tmp_path / name, twins.spec("patchcamelyon", SMALL | {"seed": seed}))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    for file in first.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name
    x = "camelyonpatch_level_2_split_test_x.h5.gz"
    assert (other / x).read_bytes() != (first / x).read_bytes()


def test_no_patch_is_of_one_colour_and_none_is_there_twice(patches):
    images = patches.images[:]
    assert images.std(axis=(1, 2)).min() > 0
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_neither_brightness_nor_its_spread_solves_the_task_and_colour_helps(patches):
    images = patches.images[:].astype(float)
    for value in (images.mean(axis=(1, 2, 3)), images.mean(-1).std(axis=(1, 2))):
        assert 0.05 < auc(patches.target, value) < 0.95
    centre = images[:, 32:64, 32:64]
    assert max(auc(patches.target, sign * centre[..., c].mean(axis=(1, 2))) for c in range(3) for sign in (1, -1)) > 0.7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": 0}, "train is 0"),
        ({"patches": 1}, "patches is 1; it must be a whole number from 2 to 10000"),
        ({"side": 925}, "side is 925; it must be a whole number from 926"),
        ({"seed": -1}, "seed is -1"),
        ({"noise": 1}, "unknown setting noise; its settings are train, valid, test, patches, side, seed"),
    ],
)
def test_an_impossible_setting_is_named(change, words):
    with pytest.raises(DataError, match=words):
        twins.spec("patchcamelyon", SETTINGS | change)
