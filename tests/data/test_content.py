"""An image that shows nothing, or no CT, is named by every reader: when it is verified and when it is trained on."""

import numpy as np
import pytest

from fewscans.data import content, luna16_candidates, registry
from fewscans.data.base import Cut
from fewscans.data.formats import luna16
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders
from .copies import COPIES, nifti, npz, raw, zipped

DERIVED = {"lidc-voi-malignancy", "luna16-area", "msd-hippocampus-fraction", "wmh2017-40-20"}  # by another's reader
SOME_BLANK = {"patchcamelyon"}  # patches of glass are published in it: its own test
HU = np.random.default_rng(0).normal(-800, 60, (12, 16, 16))
HU[4:8, 4:8, 4:8] = 30


def test_every_public_data_set_has_a_copy_here():
    assert {entry.name for entry in registry.public()} - DERIVED - SOME_BLANK == set(COPIES) - {"pvs"}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_without_fault_is_read(tmp_path, name):
    copy = COPIES[name]
    assert len(copy.cases(name, copy.write(tmp_path / "copy"))) > 0


@pytest.mark.parametrize("name", COPIES)
def test_a_blank_image_is_named_by_the_reader_and_by_verification(tmp_path, name):
    copy = COPIES[name]
    folder = copy.write(tmp_path / "copy")
    copy.blank(folder)
    with pytest.raises(DataError) as error:
        copy.cases(name, folder)
    assert copy.named in str(error.value) and "same" in str(error.value) and "\n" not in str(error.value)
    if name == "pvs":  # a control: nothing to verify
        return
    try:
        lacks = copy.lacks(name, folder)
    except FewscansError as error:
        lacks = [str(error)]
    assert any(copy.named in fault and "same" in fault for fault in lacks), lacks


NO_CT = {
    "stored values": (lambda hu: (hu + 1024).clip(0), "air"),
    "grey values": (lambda hu: ((hu + 1000) / 5).clip(0, 255), "air"),
    "rescaled twice": (lambda hu: hu - 1024, "below air"),
    "rescaled twice, without noise": (lambda hu: np.where(hu > 0, hu - 1024, -2000), "its highest value"),
    "bytes in the wrong order": (lambda hu: np.asarray(hu, "<i2").view(">i2"), "above 4000 HU"),
    "the end not copied": (lambda hu: np.where(np.arange(len(hu)) < len(hu) // 2, hu.T, 0).T, "zeros only"),
}


@pytest.mark.parametrize("case", NO_CT)
def test_a_scan_of_what_cannot_be_hounsfield_units_is_refused(case):
    change, words = NO_CT[case]
    with pytest.raises(DataError, match=words) as error:
        content.scan("scan 7", change(HU.round()))
    assert str(error.value).startswith("scan 7: ")


@pytest.mark.parametrize("value", [np.nan, np.inf, 40000.0, -40000.0, 1e30])
def test_one_voxel_that_no_ct_holds_is_enough(value):
    hu = HU.copy()
    hu[0, 0, 0] = value
    with pytest.raises(DataError):
        content.scan("scan 7", hu)


def test_what_real_scans_hold_is_no_fault():
    """Corners of -2000 or -3024, metal, a noisy scan, slices that the scanner filled."""
    corners, metal, noisy, filled = HU.copy(), HU.copy(), HU * 1.2, HU.copy()
    corners[:, :3, :3], corners[0, 3:5, 3:5] = -2000, -3024
    metal[5, 5, 5:9] = 30_000
    noisy[:, ::9] = -1445
    filled[-2:] = -1024
    for hu in (corners, metal, noisy, filled):
        assert content.scan("scan 7", hu) is hu


def test_luna16_is_refused_by_the_reader_and_by_verification_where_a_scan_holds_stored_values(tmp_path):
    folder = COPIES["luna16"].write(tmp_path / "luna16")
    raw(folder, lambda hu: (hu.astype(int) + 1024).clip(0))
    with pytest.raises(DataError, match=r"subset3.*\.mhd: .*air"):
        luna16_candidates.prepare(folder, Cut((4, 6, 6), spacing_mm=(1.5, 1, 1)))
    assert any("subset3" in fault and "air" in fault for fault in luna16.check_copy(folder)["lacks"])


@pytest.mark.parametrize(
    ("name", "spoil"),
    [("lidc-nodules", lambda f: npz(f, "lidc_cubes_48mm.npz", "cubes", 3, np.arange(48))),
     ("lidc-voi", lambda f: zipped(f, (load_builders("lidc_voi").image(4) + 1200)))],
)  # fmt: skip
def test_parts_of_a_ct_without_air_are_refused(tmp_path, name, spoil):
    copy = COPIES[name]
    folder = copy.write(tmp_path / "copy")
    spoil(folder)
    with pytest.raises(DataError) as error:
        copy.cases(name, folder)
    assert copy.named in str(error.value) and "air" in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "file"),
    [("msd-hippocampus", "imagesTr/hippocampus_003.nii.gz"), ("msd-hippocampus", "labelsTr/hippocampus_003.nii.gz"),
     ("wmh2017", "training/Utrecht/1/wmh.nii.gz"), ("pvs", "sub-03/basal_ganglia.nii.gz")],
)  # fmt: skip
def test_a_voxel_that_is_no_number_is_named(tmp_path, name, file, value):
    copy = COPIES[name]
    folder = copy.write(tmp_path / "copy")
    nifti(folder, file, lambda a: np.where(np.arange(a.size).reshape(a.shape) == 5, value, a).astype(np.float32))
    with pytest.raises(DataError, match="NaN or infinite") as error:
        copy.cases(name, folder)
    assert file in str(error.value)


@pytest.mark.parametrize(
    ("name", "file", "value"),
    [("msd-hippocampus", "labelsTr/hippocampus_003.nii.gz", 0),
     ("msd-hippocampus", "labelsTr/hippocampus_003.nii.gz", 1),
     ("wmh2017", "training/Utrecht/1/wmh.nii.gz", 0), ("pvs", "sub-03/basal_ganglia.nii.gz", 0)],
)  # fmt: skip
def test_a_mask_that_marks_nothing_is_named(tmp_path, name, file, value):
    copy = COPIES[name]
    folder = copy.write(tmp_path / "copy")
    nifti(folder, file, lambda a: a * 0 + value)
    with pytest.raises(DataError) as error:
        copy.cases(name, folder)
    assert file in str(error.value)
    if name != "pvs":
        assert any(file in fault for fault in copy.lacks(name, folder))


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_in_an_archive_that_marks_nothing_or_everything_is_named(tmp_path, value):
    copy = COPIES["lidc-voi"]
    folder = zipped(tmp_path / "copy", np.full_like(load_builders("lidc_voi").mask(4), value), "masks.zip")
    with pytest.raises(DataError, match="LIDC-IDRI-0005_R_1.nii.gz holds"):
        copy.cases("lidc-voi", folder)
    assert any("LIDC-IDRI-0005_R_1" in fault for fault in copy.lacks("lidc-voi", folder))
