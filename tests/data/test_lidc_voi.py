"""Nodules come in one window in mm, the patient's way round, with readings and all that size and box could tell."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from fewscans import paths
from fewscans.data import lidc_voi, lidc_voi_malignancy, registry
from fewscans.data.base import Cut
from fewscans.data.formats.cut import to_code, to_unit
from fewscans.errors import DataError, FewscansError, ParamsError

from .conftest import load_builders

BUILD = load_builders("lidc_voi")
WHOLE = Cut((4, 44, 46), spacing_mm=BUILD.SPACING)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("lidc") / "lidc-voi-994")


@pytest.fixture(scope="module")
def real():
    """The user's own copy at the default window, or a skip that says what is missing."""
    try:
        return lidc_voi.read(registry.find("lidc-voi", paths.data_root()))
    except FewscansError:
        pytest.skip("no copy of lidc-voi under FEWSCANS_DATA_ROOT or params.yaml's data_root")


def auc(target, value) -> float:
    rank, positives = rankdata(value), target.sum()
    return (rank[target == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(target) - positives))


def holding(folder, array, spacing=BUILD.SPACING):
    """A copy whose every image is this one."""
    content = BUILD.members()
    for row, name in enumerate(BUILD.table()["file"]):
        content["images.zip"][name] = BUILD.packed(array, row, spacing)
        mask = np.ones(array.shape, np.int16)
        mask[0, 0, 0] = 0
        content["masks.zip"][name] = BUILD.packed(mask, row, spacing)
    return BUILD.write(folder, content=content)


def test_every_nodule_has_its_readings_its_patient_and_its_size_in_its_name(folder):
    cases, rows = lidc_voi.read(folder), BUILD.table()
    assert cases.target.tolist() == (rows["texture_value"] <= 3).astype(int).tolist()
    assert cases.group.tolist() == rows["patient_id"].tolist() == cases.about["patient"].tolist()
    assert cases.case[0] == "LIDC-IDRI-0001/1@4.0mm" and cases.case[11] == "LIDC-IDRI-0002/2@17.5mm"
    assert len(set(cases.case)) == len(rows) == len(cases) and cases.unit is None
    for name in ("fold", "malignant", "malignancy_value", "diameter_mm"):
        assert cases.about[name].tolist() == pytest.approx(rows[name].tolist())
    assert cases.about["texture"].tolist() == rows["texture_value"].tolist()


def test_folds_are_the_tables_and_the_first_is_tested_where_they_do_not_rotate(folder):
    cases = lidc_voi.read(folder)
    parts = {0: "test", 1: "val", 2: "train", 3: "train", 4: "train"}
    assert cases.split.tolist() == [parts[fold] for fold in BUILD.table()["fold"]]


def test_at_the_published_spacing_images_are_the_published_ones_in_the_patients_axes(folder):
    """Stored either way round, and of four to six slices, of which the window shows the middle four."""
    images = lidc_voi.cases(folder, WHOLE).images
    for row, image in enumerate(images):
        hu = BUILD.image(row).astype(np.float32)
        hu = {4: hu, 5: (hu[:-1] + hu[1:]) / 2, 6: hu[1:-1]}[len(hu)]  # of five, the window's four lie between
        assert np.abs(image - to_code(to_unit(hu)).astype(int)).max() <= 1


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("size, spacing", [((4, 24, 24), (1.25, 1, 1)), ((3, 9, 20), (2.0, 3.1, 0.5))])
def test_what_is_linear_in_space_stays_so_about_the_middle_of_the_box(tmp_path, axis, size, spacing):
    shape = (5, 44, 46)
    millimetres = (np.arange(shape[axis]) - (shape[axis] - 1) / 2) * BUILD.SPACING[axis]
    ramp = np.broadcast_to(-350 + 10 * millimetres.reshape([-1 if a == axis else 1 for a in range(3)]), shape)
    images = lidc_voi.cases(holding(tmp_path, ramp.astype(np.float32)), Cut(size, spacing_mm=spacing)).images
    wanted = -350 + 10 * (np.arange(size[axis]) - (size[axis] - 1) / 2) * spacing[axis]
    line = to_code(to_unit(wanted)).reshape([-1 if a == axis else 1 for a in range(3)])
    assert np.abs(images.astype(int) - line).max() <= 1 and images.shape[1:] == size


def test_a_coarser_voxel_is_the_mean_over_its_extent_and_not_a_sample_of_it(tmp_path):
    array = np.full((5, 44, 44), -1000, np.int16)
    array[:, ::2] = 300
    images = lidc_voi.cases(holding(tmp_path, array), Cut((3, 6, 6), spacing_mm=(2.5, 3.0, 3.0))).images
    assert np.abs(images.astype(int) - 127.5).max() < 20  # samples of every fourth row would be 0 or 255


def test_beyond_the_box_its_outermost_voxels_go_on_and_the_share_is_known(folder):
    cases = lidc_voi.cases(folder, Cut((12, 44, 46), spacing_mm=BUILD.SPACING))
    slices = cases.about["shape_z"].to_numpy()
    assert cases.about["padded"].to_numpy() == pytest.approx(1 - slices / 12)
    assert cases.about["slices"].tolist() == slices.tolist()
    for image, n in zip(cases.images, slices, strict=True):
        low = (12 - n) // 2
        assert (image[:low] == image[0]).all() and (image[12 - low :] == image[-1]).all()
        assert not np.array_equal(image[low + 1], image[0])
    inside = lidc_voi.cases(folder, Cut((2, 24, 24), spacing_mm=(1.25, 1.0, 1.0)))
    assert (inside.about["padded"] == 0).all() and (inside.about["slices"] <= 2).all()


def test_a_margin_is_more_of_the_same_image(folder):
    bare = lidc_voi.cases(folder, Cut((2, 12, 12)))
    wide = lidc_voi.cases(folder, Cut((2, 12, 12), spacing_mm=lidc_voi.SPACING_MM, margin=(1, 4, 2)))
    assert wide.images.shape[1:] == (4, 20, 16) and np.array_equal(wide.images[:, 1:3, 4:16, 2:14], bare.images)
    assert bare.fingerprint != wide.fingerprint and (bare.spacing_mm == lidc_voi.SPACING_MM).all()


@pytest.mark.parametrize("cut", [Cut((24, 24)), Cut((4, 24, 24), downsample=2)])
def test_a_cut_that_makes_no_volume_in_mm_is_refused(folder, cut):
    with pytest.raises(ParamsError, match="at a spacing in mm"):
        lidc_voi.cases(folder, cut)


def test_what_was_cut_is_kept_and_is_the_same(folder, tmp_path, monkeypatch):
    first = lidc_voi.cases(folder, Cut((4, 24, 24)), tmp_path)
    monkeypatch.setattr(lidc_voi, "_cut", lambda *_: pytest.fail("it was cut again"))
    again = lidc_voi.cases(folder, Cut((4, 24, 24)), tmp_path)
    assert np.array_equal(first.images, again.images) and first.fingerprint == again.fingerprint
    pd.testing.assert_frame_equal(first.about, again.about, check_dtype=False)


def test_of_the_graded_the_indeterminate_are_left_out_and_named(folder):
    whole, graded = lidc_voi.read(folder), lidc_voi_malignancy.read(folder)
    grade = BUILD.table()["malignant"].to_numpy()
    assert graded.target.tolist() == grade[grade >= 0].tolist() and graded.target.dtype == np.int64
    assert graded.left_out == tuple(whole.case[grade < 0]) and graded.case.tolist() == whole.case[grade >= 0].tolist()
    assert np.array_equal(graded.images, whole.images[grade >= 0]) and graded.fingerprint != whole.fingerprint
    assert graded.about["malignant"].tolist() == graded.target.tolist()
    assert registry.home("lidc-voi-malignancy", folder) == registry.home("lidc-voi", folder)
    assert len(graded.spacing_mm) == len(graded.group) == len(graded.split) == len(graded)


@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(name, tmp_path):
    changes, file, words = BUILD.CASES[name]
    BUILD.write(tmp_path, **changes)
    with pytest.raises(DataError) as error:
        lidc_voi.read(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / file}: ") and "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", ["images.zip", "masks.zip", "nodules.csv"])
def test_a_file_that_is_absent_or_another_one_is_named(tmp_path, name):
    BUILD.write(tmp_path)
    (tmp_path / name).write_bytes(b"text")
    with pytest.raises(DataError, match=f"{name}: .*copy the folder again"):
        lidc_voi.read(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name}: no such file"):
        lidc_voi.read(tmp_path)


def test_a_copy_is_held_against_its_checksums(folder, tmp_path):
    found = lidc_voi.check_copy(folder)
    assert found["lacks"] == ["15 nodules, published are 994"]
    assert found["counts"] == {"nodules": 15, "patients": 10, "not solid": 6}
    other = BUILD.write(tmp_path)
    with (other / "masks.zip").open("ab") as file:
        file.write(b"\0")
    assert any("masks.zip is absent, or not the file" in fault for fault in lidc_voi.check_copy(other)["lacks"])
    (other / "SHA256SUMS").unlink()
    assert "SHA256SUMS" in lidc_voi.check_copy(other)["lacks"][0]


def test_the_real_nodules_are_those_of_the_readme_and_their_copy_is_whole(real):
    assert (len(real), real.target.sum(), len(set(real.group))) == (994, 119, 551)
    counts = real.about.assign(target=real.target).groupby("fold")["target"].agg(["size", "sum"])
    assert counts.to_numpy().tolist() == [[200, 30], [200, 24], [198, 29], [199, 17], [197, 19]]
    graded = lidc_voi_malignancy._graded(real)
    assert (len(graded), graded.target.sum(), len(graded.left_out)) == (630, 253, 364)
    assert lidc_voi.check_copy(real.path)["fingerprint"] == lidc_voi.DATASET.sha256


def test_of_the_real_nodules_size_tells_malignancy_and_neither_size_nor_box_tells_texture(real):
    texture = {name: auc(real.target, real.about[name]) for name in ("diameter_mm", "shape_z", "shape_y", "padded")}
    assert all(0.46 < value < 0.54 for value in texture.values()), texture
    middle = real.images[:, 1:3, 11:13, 11:13].mean(axis=(1, 2, 3))
    assert auc(real.target, middle) == pytest.approx(0.087, abs=0.002)  # what is not solid is dark: to be compared with
    graded = lidc_voi_malignancy._graded(real)
    assert auc(graded.target, graded.about["diameter_mm"]) == pytest.approx(0.907, abs=0.002)
    assert (real.about["padded"] > 0).mean() == pytest.approx(0.117, abs=0.002)
