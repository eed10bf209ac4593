"""A volume lies as the patient does, however its file stores it; what is no volume is one clear error."""

import gzip
import tracemalloc

import nibabel
import numpy as np
import pytest

from fewscans import paths
from fewscans.data.formats import nifti
from fewscans.errors import DataError

from .conftest import load_builders

BUILD = load_builders("nifti")


@pytest.fixture(scope="module")
def real():
    """Real MR volumes in other orders than RAS, or a skip that says what is missing."""
    files = sorted((paths.data_root() / "ms-wm-lesions" / "MNI").glob("*/FLAIR.nii.gz"))
    if not files:
        pytest.skip("no copy of ms-wm-lesions under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    return files


@pytest.mark.parametrize("order", BUILD.ORDERS)
def test_all_48_orders_of_storage_give_one_volume(tmp_path, order):
    array = BUILD.scan()
    volume = nifti.read(BUILD.write(tmp_path / "scan.nii.gz", array, order=order))
    assert np.array_equal(volume.array, array) and volume.array.dtype == np.float32
    assert volume.spacing_mm == pytest.approx(BUILD.SPACING)
    assert volume.affine == pytest.approx(BUILD.ras_affine(), abs=1e-5)


def test_every_voxel_keeps_its_place_in_the_world(tmp_path):
    """Also where the axes are oblique: they are then nearly the patient's, and nothing is resampled."""
    array = BUILD.scan()
    stored = BUILD.image(array, order="PIR")
    turn = np.linalg.qr(np.eye(3) + 0.2 * np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn = turn * np.sign(np.diag(turn))  # near the identity
    affine = stored.affine.copy()
    affine[:3] = turn @ affine[:3]
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(stored.dataobj), affine), tmp_path / "oblique.nii")
    volume = nifti.read(tmp_path / "oblique.nii")
    assert np.array_equal(volume.array, array)
    for i, j, k in ((0, 0, 0), (6, 0, 0), (2, 5, 4)):  # x y z of the RAS volume
        there = np.flatnonzero(np.asanyarray(stored.dataobj).ravel() == array[k, j, i])
        voxel = np.unravel_index(there[0], stored.shape)
        assert (volume.affine @ [i, j, k, 1])[:3] == pytest.approx((affine @ [*voxel, 1])[:3], abs=1e-4)


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<f4", ">f4", "<f8", "<u2"])
def test_any_kind_of_number_is_read_scaled_as_the_file_says(tmp_path, dtype):
    array = np.arange(210).reshape(BUILD.SHAPE).astype(dtype)
    image = BUILD.image(array)
    if dtype[0] == ">":
        image = nibabel.Nifti1Image(image.dataobj, image.affine, image.header.as_byteswapped(">"))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    assert np.array_equal(nifti.read(tmp_path / "scan.nii.gz").array, array.astype(np.float32))
    half = nibabel.Nifti1Image(image.get_fdata() / 2, image.affine)
    half.set_data_dtype(np.uint8)  # nibabel then stores a slope
    nibabel.save(half, tmp_path / "scaled.nii")
    assert nifti.read(tmp_path / "scaled.nii").array == pytest.approx(array.astype(float) / 2, abs=0.5)


def test_both_versions_of_the_format_packed_or_not_are_one(tmp_path):
    array = BUILD.scan()
    image = nibabel.Nifti2Image(array.T, BUILD.ras_affine())
    for name in ("two.nii", "two.nii.gz"):
        nibabel.save(image, tmp_path / name)
        assert np.array_equal(nifti.read(tmp_path / name).array, array)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(tmp_path, name, packed):
    content, words = BUILD.CASES[name]
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError) as error:
        nifti.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", BUILD.PACKED)
def test_a_damaged_gzip_is_one_clear_error(tmp_path, name):
    change, words = BUILD.PACKED[name]
    path = BUILD.write(tmp_path / "scan.nii.gz", BUILD.scan())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError) as error:
        nifti.read(path)
    assert str(error.value).startswith(f"{path}: ") and all(word in str(error.value) for word in words)


def test_a_gzip_that_holds_far_more_than_its_header_says_is_not_unpacked(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(BUILD.image(BUILD.scan()).to_bytes() + bytes(1 << 26)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="longer than"):
            nifti.read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"scan\.nii\.gz: no such file"):
        nifti.read(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_are_whole_numbers_however_they_are_stored(tmp_path, dtype):
    labels = np.random.default_rng(0).integers(0, 3, BUILD.SHAPE).astype(dtype)
    mask = nifti.read_mask(BUILD.write(tmp_path / "mask.nii.gz", labels, order="LPS"))
    assert np.array_equal(mask.array, labels) and mask.array.dtype == np.int16


@pytest.mark.parametrize("value, said", [(-1, "-1"), (0.5, "0.5"), (1.0021, "1.0021"), (40000, "40000")])
def test_a_label_that_is_none_is_named(tmp_path, value, said):
    labels = np.zeros(BUILD.SHAPE, np.float32)
    labels[1, 2, 3] = value
    with pytest.raises(DataError, match=f"holds the label {said}.*; labels are whole"):
        nifti.read_mask(BUILD.write(tmp_path / "mask.nii.gz", labels))


def test_a_voxel_has_its_volume_also_where_axes_are_not_square(tmp_path):
    affine = np.array([[1.0, 0.3, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(BUILD.scan().T, affine), tmp_path / "sheared.nii")
    assert nifti.read(tmp_path / "sheared.nii").voxel_ml == pytest.approx(6e-3)


def test_image_and_mask_of_one_grid_may_be_stored_in_different_orders(tmp_path):
    image = nifti.read(BUILD.write(tmp_path / "image.nii.gz", BUILD.scan(), order="LPS"))
    nifti.same_grid(image, nifti.read_mask(BUILD.write(tmp_path / "mask.nii.gz", np.zeros(BUILD.SHAPE), order="PIR")))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"origin": (-20.0, -31.5, 12.6)}, "corner 0.35 mm from"),
        ({"spacing": (3.0, 1.1, 0.93)}, "corner 0.18 mm from"),
        ({"array": np.zeros((5, 6, 6))}, r"\(5, 6, 6\).* \(5, 6, 7\)"),
    ],
)
def test_image_and_mask_of_different_grids_are_refused(tmp_path, change, words):
    image = nifti.read(BUILD.write(tmp_path / "image.nii.gz", BUILD.scan()))
    mask = nifti.read_mask(BUILD.write(tmp_path / "mask.nii.gz", **({"array": np.zeros(BUILD.SHAPE)} | change)))
    with pytest.raises(DataError, match=rf"mask\.nii\.gz: .*{words}"):
        nifti.same_grid(image, mask)


def test_a_rounded_affine_is_the_same_grid(tmp_path):
    image = nifti.read(BUILD.write(tmp_path / "image.nii.gz", BUILD.scan()))
    rounded = BUILD.write(tmp_path / "mask.nii.gz", np.zeros(BUILD.SHAPE), spacing=(3.0, 1.1001, 0.9))
    nifti.same_grid(image, nifti.read_mask(rounded))


@pytest.mark.parametrize("size", [(3, 4, 5), (8, 2, 20), (1, 1, 1)])
def test_a_crop_has_the_place_in_its_middle_and_fills_what_is_outside(size):
    array = BUILD.scan()
    for centre in ((2, 3, 3), (0, 0, 0), (4, 5, 6), (2.4, 2.6, 3.0)):
        box = nifti.crop(array, np.array(centre), size, outside=-1)
        padded = np.pad(array, 30, constant_values=-1)
        start = [int(np.floor(c - (s - 1) / 2 + 0.5)) + 30 for c, s in zip(centre, size, strict=True)]
        assert np.array_equal(box, padded[tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))])
        assert all(abs(a - 30 + (s - 1) / 2 - c) <= 0.5 for a, s, c in zip(start, size, centre, strict=True))


def test_intensities_keep_their_order_and_lose_their_unit():
    array = BUILD.scan(3, (20, 20, 20))
    unit = nifti.unit(array)
    assert (unit.min(), unit.max()) == (0, 1) and unit.dtype == np.float32
    assert nifti.unit(7e5 * array.astype(float) + 3) == pytest.approx(unit, abs=1e-5)
    array[0, 0, 0] = 1e9  # one bright voxel
    assert np.abs(nifti.unit(array) - unit).ravel()[1:].max() < 0.02
    assert not nifti.unit(np.full((3, 3, 3), 7, np.float32)).any()


def test_a_block_mean_is_the_mean_of_each_block():
    coarse = BUILD.scan(4, (3, 4, 5))
    assert nifti.block_mean(np.kron(coarse, np.ones((2, 2, 2))), 2) == pytest.approx(coarse)
    array = BUILD.scan(5, (4, 6, 8))
    assert nifti.block_mean(array, 2)[1, 2, 3] == pytest.approx(array[2:, 4:, 6:].mean())
    assert np.array_equal(nifti.block_mean(array, 1), array)
    with pytest.raises(ValueError, match="blocks of 4 voxels"):
        nifti.block_mean(array, 4)


def test_real_volumes_agree_with_their_masks_and_are_of_a_head(real):
    for file in real:
        image, mask = nifti.read(file), nifti.read_mask(file.with_name("lesions.nii.gz"))
        nifti.same_grid(image, mask)
        assert image.spacing_mm == pytest.approx((1, 1, 1)) and image.voxel_ml == pytest.approx(1e-3)
        assert 1000 < np.count_nonzero(image.array) * image.voxel_ml < 2500  # brain-extracted
        assert set(np.unique(mask.array)) == {0, 1}
