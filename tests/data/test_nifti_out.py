"""Labels that are written lie where the image's voxels lie, in the file's own order."""

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans.data.formats import nifti, nifti_out
from fewscans.errors import DataError

from .conftest import load_builders

BUILD = load_builders("nifti")
LABELS = np.random.default_rng(3).integers(0, 4, BUILD.SHAPE).astype(np.uint8)


def oblique(path, order="LPS", angle=0.3):
    """A file whose axes are turned about z and tilted."""
    image = BUILD.image(BUILD.scan(), order=order)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s / 2], [0, s / 2, c]])
    turn = np.linalg.qr(turn)[0]
    turn *= np.sign(np.diag(turn))
    affine = image.affine.copy()
    affine[:3] = turn @ affine[:3]
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)
    return path


def same_frame(written, source):
    """Shape, affine, orientation and both transforms with their codes, to the last bit."""
    a, b = nibabel.load(written), nibabel.load(source)
    assert a.shape == b.shape and np.array_equal(a.affine, b.affine)
    assert nibabel.aff2axcodes(a.affine) == nibabel.aff2axcodes(b.affine)
    for which in ("qform", "sform"):
        (mine, code), (theirs, other) = (getattr(i, f"get_{which}")(coded=True) for i in (a, b))
        assert code == other and (theirs is None or np.allclose(mine, theirs, atol=1e-6)), which
    assert a.header.get_xyzt_units() == b.header.get_xyzt_units() and a.get_data_dtype() == np.uint8


@pytest.mark.parametrize("order", ["RAS", "LPS", "PIR", "SAL"])
def test_labels_lie_on_the_image_s_voxels_and_in_its_frame(order, tmp_path):
    source = BUILD.write(tmp_path / "scan.nii.gz", BUILD.scan(), order=order)
    written = nifti_out.write_labels(tmp_path / "labels.nii.gz", LABELS, source)
    same_frame(written, source)
    back = nifti.read_mask(written)
    assert np.array_equal(back.array, LABELS)
    nifti.same_grid(nifti.read(source), back)


@pytest.mark.parametrize("order", ["RAS", "LPS", "SAR"])
def test_an_oblique_image_gets_oblique_labels(order, tmp_path):
    source = oblique(tmp_path / "oblique.nii", order)
    assert not np.allclose(np.sort(np.abs(nibabel.load(source).affine[:3, :3]).ravel())[:6], 0)
    written = nifti_out.write_labels(tmp_path / "labels.nii", LABELS, source)
    same_frame(written, source)
    nifti.same_grid(nifti.read(source), nifti.read_mask(written))
    assert np.array_equal(nifti.read_mask(written).array, LABELS)
    image, mask = nibabel.load(source), nibabel.load(written)
    bright = np.asarray(image.dataobj).astype(np.float32)
    for value in np.random.default_rng(0).choice(nifti.read(source).array.ravel(), 5):
        at = np.argwhere(bright == value)[0]
        canonical = np.argwhere(nifti.read(source).array == value)[0]
        assert np.asarray(mask.dataobj)[tuple(at)] == LABELS[tuple(canonical)]


@given(order=st.sampled_from(BUILD.ORDERS), packed=st.booleans())
@settings(deadline=None, max_examples=48)
def test_all_orders_of_storage_come_back(order, packed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("orders")
    source = BUILD.write(folder / "scan.nii.gz", BUILD.scan(), order=order)
    written = nifti_out.write_labels(folder / f"labels.nii{'.gz' * packed}", LABELS, source)
    same_frame(written, source)
    assert np.array_equal(nifti.read_mask(written).array, LABELS)


@pytest.mark.parametrize(("codes", "kind"), [((0, 1), nibabel.Nifti1Image), ((1, 0), nibabel.Nifti1Image),
                                             ((2, 4), nibabel.Nifti1Image), ((1, 1), nibabel.Nifti2Image)])  # fmt: skip
def test_codes_of_both_transforms_and_the_version_are_kept(codes, kind, tmp_path):
    stored = BUILD.image(BUILD.scan(), order="LPS")
    image = kind(np.asarray(stored.dataobj), stored.affine)
    image.set_qform(stored.affine, codes[0])
    image.set_sform(stored.affine, codes[1])
    nibabel.save(image, tmp_path / "scan.nii")
    written = nifti_out.write_labels(tmp_path / "labels.nii", LABELS, tmp_path / "scan.nii")
    same_frame(written, tmp_path / "scan.nii")
    assert type(nibabel.load(written)) is kind


def test_scaled_intensities_do_not_scale_labels_and_the_same_labels_are_the_same_bytes(tmp_path):
    image = BUILD.image(BUILD.scan().astype(np.int16))
    image.header.set_slope_inter(0.5, -100)
    image.header["cal_max"] = 900
    nibabel.save(image, tmp_path / "scan.nii")
    files = [
        nifti_out.write_labels(tmp_path / name, LABELS, tmp_path / "scan.nii") for name in ("a.nii.gz", "b.nii.gz")
    ]
    assert np.array_equal(nifti.read_mask(files[0]).array, LABELS)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert nibabel.load(files[0]).header["cal_max"] == 0


def test_what_cannot_be_written_is_one_clear_error(tmp_path):
    source = BUILD.write(tmp_path / "scan.nii.gz", BUILD.scan())
    for path, labels, words in (
        ("out.nrrd", LABELS, "name ends in .nii or .nii.gz"),
        ("scan.nii.gz", LABELS, "is the image itself"),
        ("out.nii", LABELS[:-1], r"labels are \(4, 6, 7\), and .*scan.nii.gz is \(5, 6, 7\)"),
        ("out.nii", LABELS.astype(int) * 200, "labels are from 0 to 600; they are whole, 0 to 255"),
        ("out.nii", LABELS * 0.5, "they are whole"),
    ):
        with pytest.raises(DataError, match=words):
            nifti_out.write_labels(tmp_path / path, labels, source)
    with pytest.raises(DataError, match="no such file"):
        nifti_out.write_labels(tmp_path / "out.nii", LABELS, tmp_path / "absent.nii")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.nii.gz"]
