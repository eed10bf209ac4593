"""The reader takes PneumoniaMNIST as published or put together again, and says what is wrong with other files."""

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import pneumoniamnist, registry
from fewscans.data.base import Cut
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("pneumoniamnist")


@pytest.fixture
def good(tmp_path):
    return BUILD.write(tmp_path / "pneumoniamnist.npz")


def test_every_image_is_read_once_with_its_own_label_and_split(good):
    copy, arrays = pneumoniamnist.read(good.parent), BUILD.arrays()
    for split, n in BUILD.CASES_OF.items():
        index = copy.indices(split)
        assert np.array_equal(copy.images[index], arrays[f"{split}_images"])
        assert np.array_equal(copy.target[index], arrays[f"{split}_labels"][:, 0])
        assert copy.case[index].tolist() == [f"{split}{i:04d}" for i in range(n)]
    assert np.array_equal(copy.group, copy.case) and len(set(copy.case)) == sum(BUILD.CASES_OF.values())


def test_both_names_are_found_and_the_published_one_comes_first(good):
    rebuilt = BUILD.write(good.parent / "pneumoniamnist_rebuilt.npz")
    assert pneumoniamnist.read(good.parent).path == good
    good.unlink()
    assert pneumoniamnist.read(good.parent).path == rebuilt
    (good.parent / "pneumoniamnist").mkdir()
    rebuilt.rename(good.parent / "pneumoniamnist" / rebuilt.name)
    assert registry.find("pneumoniamnist", good.parent) == good.parent / "pneumoniamnist"


@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(name, tmp_path):
    changes, words = BUILD.CASES[name]
    path = BUILD.write(tmp_path / "pneumoniamnist.npz", **changes)
    with pytest.raises(DataError) as error:
        pneumoniamnist.read(path)
    assert all(word in str(error.value) for word in (str(path), *words)) and "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
def test_a_file_cut_short_anywhere_is_one_clear_error(good, kept):
    content = good.read_bytes()
    good.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match="cut short"):
        pneumoniamnist.read(good)


def test_what_is_absent_or_called_otherwise_is_named(good, tmp_path):
    good.rename(tmp_path / "mine.npz")
    with pytest.raises(DataError, match=r"pneumoniamnist\.npz: no such file; put pneumoniamnist\.npz there"):
        pneumoniamnist.read(tmp_path)
    with pytest.raises(DataError, match="mine.npz: not the name of a file asked for, pneumoniamnist.npz or"):
        pneumoniamnist.read(tmp_path / "mine.npz")


def test_images_are_cut_to_planes_alone(good):
    with pytest.raises(DataError, match="holds pictures, and these networks see patches of"):
        pneumoniamnist.cases(good, Cut((28, 28, 28)))
    padded = pneumoniamnist.cases(good, Cut((32, 32))).images
    assert padded.shape[1:] == (32, 32)
    assert np.array_equal(padded[:, 2:30, 2:30], pneumoniamnist.cases(good, Cut((28, 28))).images)


def test_a_copy_with_other_counts_is_not_the_whole_set(good):
    report = pneumoniamnist.check(good.parent)
    assert not report["complete"] and report["counts"] == BUILD.CASES_OF
    assert report["lacks"][0] == "train has 60 images, 40 with pneumonia, not 4708 and 3494"


def test_the_real_file_has_the_published_counts():
    try:
        copy = registry.find("pneumoniamnist", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of pneumoniamnist under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    assert pneumoniamnist.check(copy)["complete"]
