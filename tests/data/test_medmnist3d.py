"""The reader takes MedMNIST's files as they were published, keeps their splits, and says what is wrong with others."""

import hashlib
import zipfile

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import adrenalmnist3d, nodulemnist3d, registry
from fewscans.data.base import Cut
from fewscans.data.formats import medmnist3d
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("medmnist3d")


@pytest.fixture
def good(tmp_path):
    return BUILD.write(tmp_path / "adrenalmnist3d.npz")


@pytest.fixture(scope="module")
def real():
    """The user's own AdrenalMNIST3D, or a skip that says what is missing."""
    try:
        return registry.dataset("adrenalmnist3d").read(registry.find("adrenalmnist3d", paths.data_root()))
    except FewscansError:
        pytest.skip("no copy of adrenalmnist3d under FEWSCANS_DATA_ROOT or params.yaml's data_root")


def test_every_case_is_read_once_with_its_own_label_and_split(good):
    samples = adrenalmnist3d.read(good)
    arrays, seen = BUILD.arrays(), 0
    for split, n in BUILD.CASES_OF.items():
        index = samples.indices(split)
        assert np.array_equal(samples.images[index], arrays[f"{split}_images"])
        assert np.array_equal(samples.target[index], arrays[f"{split}_labels"][:, 0])
        assert samples.case[index].tolist() == [f"{split}{i:04d}" for i in range(n)]
        seen += len(index)
    assert seen == len(samples) == len(set(samples.case))
    assert (samples.images.dtype, samples.target.dtype) == (np.uint8, np.int64)


def test_no_patients_are_known_so_each_case_is_its_own_group(good):
    samples = adrenalmnist3d.read(good)
    assert np.array_equal(samples.group, samples.case)
    assert samples.reference().empty


def test_there_is_no_second_split(good):
    with pytest.raises(ValueError, match="no second split"):
        adrenalmnist3d.read(good).indices("train", repository=True)


def test_file_and_folder_are_the_same_to_it(good):
    by_file, by_folder = adrenalmnist3d.read(good), adrenalmnist3d.read(good.parent)
    assert by_file.path == by_folder.path == good
    assert by_file.fingerprint == by_folder.fingerprint == hashlib.sha256(good.read_bytes()).hexdigest()


def test_a_folder_of_both_sizes_gives_28_unless_64_is_asked_for(good):
    large = BUILD.write(good.parent / "adrenalmnist3d_64.npz", size=64)
    assert adrenalmnist3d.read(good.parent).path == good
    samples = adrenalmnist3d.read(good.parent, size=64)
    assert samples.path == large and samples.images.shape == (15, 64, 64, 64)
    good.unlink()
    assert adrenalmnist3d.read(good.parent).path == large


def test_of_a_folder_of_two_sets_the_one_asked_for_is_read(good):
    other = BUILD.write(good.parent / "nodulemnist3d.npz")
    assert (adrenalmnist3d.read(good.parent).path, nodulemnist3d.read(good.parent).path) == (good, other)


def test_grey_values_are_right_in_a_nodule_and_wrong_in_a_shape(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 28), dtype=np.uint8)
    samples = nodulemnist3d.read(BUILD.write(tmp_path / "nodulemnist3d.npz", val_images=grey))
    assert np.array_equal(samples.images[samples.indices("val")], grey)
    with pytest.raises(DataError, match="0 or 255"):
        adrenalmnist3d.read(BUILD.write(tmp_path / "adrenalmnist3d.npz", val_images=grey))


@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(name, tmp_path):
    changes, words = BUILD.CASES[name]
    path = BUILD.write(tmp_path / "adrenalmnist3d.npz", **changes)
    with pytest.raises(DataError) as error:
        adrenalmnist3d.read(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    for word in words:
        assert word in message


def test_a_file_of_28_under_the_name_of_64_is_refused(tmp_path):
    path = BUILD.write(tmp_path / "nodulemnist3d_64.npz")
    with pytest.raises(DataError, match=r"\(7, 28, 28, 28\); in a file of this name it must be .* \(n, 64, 64, 64\)"):
        nodulemnist3d.read(path)


def test_networks_on_the_plane_are_told_that_it_holds_volumes(good):
    with pytest.raises(DataError, match=r"npz: holds volumes, and these networks see patches of \(48, 48\)"):
        adrenalmnist3d.DATASET.cases(good, Cut((48, 48)), None)


def test_what_is_absent_is_named(good, tmp_path):
    with pytest.raises(DataError, match=r"nodulemnist3d\.npz: no such file; put nodulemnist3d"):
        nodulemnist3d.read(tmp_path / "nodulemnist3d.npz")
    with pytest.raises(DataError, match=r"no such file; put nodulemnist3d\.npz or nodulemnist3d_64\.npz there"):
        nodulemnist3d.read(tmp_path)
    with pytest.raises(DataError, match="not the name of a file asked for, nodulemnist3d.npz"):
        nodulemnist3d.read(good)
    with pytest.raises(ValueError, match="no MedMNIST 3D file of adrenalmnist3d at 32"):
        adrenalmnist3d.read(tmp_path, size=32)
    with pytest.raises(ValueError, match="no MedMNIST 3D file"):
        medmnist3d.file_name("adrenalmnist3d", 32)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.1, 0.5, 0.9, 0.999, -1])
def test_a_file_cut_short_anywhere_is_one_clear_error(good, kept):
    content = good.read_bytes()
    kept = int(kept * len(content)) if isinstance(kept, float) else kept
    good.write_bytes(content[:kept])
    with pytest.raises(DataError, match="cut short"):
        adrenalmnist3d.read(good)


def test_a_damaged_byte_in_an_image_is_found(good):
    with zipfile.ZipFile(good) as archive:
        inside = archive.getinfo("train_images.npy").header_offset + 5000
    content = bytearray(good.read_bytes())
    content[inside] ^= 0xFF
    good.write_bytes(content)
    with pytest.raises(DataError, match="damaged or cut short"):
        adrenalmnist3d.read(good)


def test_the_real_file_has_the_counts_and_shapes_of_its_publication(real):
    counts = {s: (len(i := real.indices(s)), int(real.target[i].sum())) for s in ("train", "val", "test")}
    assert counts == {"train": (1188, 259), "val": (98, 22), "test": (298, 69)}
    assert real.images.shape == (1584, 28, 28, 28)


def test_the_order_of_the_real_file_pairs_no_ones_glands(real):
    """The docstring says what is lost; were neighbours of one patient, labels would agree and sizes go together."""
    for split in ("train", "val", "test"):
        index = real.indices(split)
        labels, n = real.target[index], len(index)
        chance = labels.mean() ** 2 + (1 - labels.mean()) ** 2
        assert abs((labels[1:] == labels[:-1]).mean() - chance) < 3 * np.sqrt(chance * (1 - chance) / n)
        size = np.log((real.images[index] > 0).sum(axis=(1, 2, 3)))
        assert abs(np.corrcoef(size[:-1], size[1:])[0, 1]) < 0.2  # the docstring gives the values found
