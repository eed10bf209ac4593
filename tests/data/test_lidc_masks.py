"""Nodules with their masks keep the voxels of their scans, and know how far apart slices are."""

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import lidc_masks, registry
from fewscans.data.formats.cut import to_code, to_unit
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("lidc_voi")
WINDOW = (8, 48, 48)


def members(**changed):
    """The good folder's, with these members replaced: image=..., mask=..., made from a row."""
    made = {
        "image": lambda row: BUILD.packed(BUILD.image(row), row),
        "mask": lambda row: BUILD.packed(BUILD.mask(row), row),
    }
    made |= changed
    names = BUILD.table()["file"]
    return {f"{kind}s.zip": {name: make(row) for row, name in enumerate(names)} for kind, make in made.items()}


def test_image_and_mask_lie_in_the_middle_of_the_window_voxel_for_voxel(tmp_path):
    cases = lidc_masks.read(BUILD.write(tmp_path / "lidc"), WINDOW)
    assert cases.images.shape == (15, 2, *WINDOW)
    for row, (image, label) in enumerate(cases.images):
        mask = BUILD.mask(row)
        assert label.sum() == mask.sum() and set(np.unique(label)) == {0, 1}
        start = np.argwhere(label).min(0) - np.argwhere(mask).min(0)
        assert np.abs(start - (np.array(WINDOW) - mask.shape) / 2).max() <= 0.5, "in the middle"
        there = tuple(slice(first, first + size) for first, size in zip(start, mask.shape, strict=True))
        assert (label[there] == mask).all()
        scan = to_code(to_unit(BUILD.image(row).astype(np.float32)))
        assert (image[there] == scan).all()
    ml = [BUILD.mask(row).sum() * np.prod(BUILD.SPACING) / 1000 for row in range(15)]
    assert cases.target == pytest.approx(ml) and cases.unit == "ml"


@pytest.mark.parametrize(
    ("apart", "stored"),
    [(0.6, "thin"), (1.2500001, "thin"), (1.3, "between"), (1.9999999, "thick2mm"), (2.5, "thick2mm")],
)
def test_how_far_slices_are_apart_decides_what_a_scan_counts_as(tmp_path, apart, stored):
    spacing = (apart, 0.75, 0.75)
    content = members(
        image=lambda row: BUILD.packed(BUILD.image(row), row, spacing),
        mask=lambda row: BUILD.packed(BUILD.mask(row), row, spacing),
    )
    cases = lidc_masks.read(BUILD.write(tmp_path / "lidc", content=content), WINDOW)
    assert set(cases.about["stored"]) == {stored}


@pytest.mark.parametrize(
    "mask", [lambda row: np.zeros_like(BUILD.mask(row)), lambda row: BUILD.mask(row)[1:]], ids=["empty", "smaller"]
)
def test_a_mask_that_is_empty_or_of_another_shape_is_one_error_that_names_the_file(tmp_path, mask):
    folder = BUILD.write(tmp_path / "lidc", content=members(mask=lambda row: BUILD.packed(mask(row), row)))
    with pytest.raises(DataError, match=r"masks\.zip: LIDC-IDRI-0001_R_1\.nii\.gz.*\n?"):
        lidc_masks.read(folder, WINDOW)


def test_real_nodules_are_611_in_thin_and_307_in_thick_slices_and_no_patient_is_in_two_folds():
    try:
        folder = registry.find("lidc-voi", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of lidc-voi under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    cases = lidc_masks.read(folder)
    assert cases.about["stored"].value_counts().to_dict() == {"thin": 611, "thick2mm": 307, "between": 76}
    assert len(cases) == 994 and (cases.images[:, 1].reshape(994, -1).max(1) == 1).all()
    folds = cases.about.assign(group=cases.group).groupby("group")["fold"].nunique()
    assert folds.max() == 1
    depth, *plane = (cases.about[f"shape_{axis}"].to_numpy() for axis in "zyx")
    thick = cases.about["stored"].to_numpy(str) == "thick2mm"
    assert (depth <= 6).mean() > 0.5 and (depth[thick] <= 4).mean() > 0.5, "half or more, as notebook and claim say"
    seen = np.where(thick, 2, 1) * depth  # slices, of a patch of 16 x 48 x 48 voxels
    filled = np.mean(seen.clip(max=16) * np.prod([side.clip(max=48) for side in plane], axis=0)) / (16 * 48 * 48)
    assert filled == pytest.approx(0.5, abs=0.08), "about half of a patch is padding"
    assert 2 * depth.clip(max=16).mean() == pytest.approx(16, abs=0.5), "slices that two nodules show"
