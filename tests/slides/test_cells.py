"""What is known of slides cell by cell is what their outlines and masks say, and is measured once."""

from dataclasses import replace

import numpy as np
import pytest

from fewscans.data import camelyon16
from fewscans.data.base import Cut
from fewscans.data.formats import lesions
from fewscans.errors import DataError
from fewscans.slides import cells as of_slides
from fewscans.slides.cells import NORMAL, NOTHING, TUMOUR
from fewscans.slides.heatmap import Geometry
from fewscans.stats.reference import Reference

from ..experiments import toy_slides
from ..experiments.toy_slides import MPP
from .fake import write_tiff

GEOMETRY, STRIDE = Geometry(40, 16), 16


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return toy_slides.write(tmp_path_factory.mktemp("toy") / "camelyon16")


@pytest.fixture(scope="module")
def cases(copy):
    return camelyon16.cases(copy, Cut((32, 32)))


@pytest.fixture(scope="module")
def slides(copy, cases):
    return of_slides.read(copy, cases, GEOMETRY, MPP, None)


def of(slides, name):
    return slides.case.tolist().index(name)


def by_cell(mask):
    """(H, W) bool → the share of True in each cell."""
    rows, columns = (-(-side // STRIDE) for side in mask.shape)
    padded = np.pad(mask, ((0, rows * STRIDE - mask.shape[0]), (0, columns * STRIDE - mask.shape[1])))
    return padded.reshape(rows, STRIDE, columns, STRIDE).mean(axis=(1, 3))


@pytest.mark.parametrize("name", toy_slides.NAMES)
def test_a_training_cell_is_tumour_where_its_square_holds_a_pixel_of_it(slides, name):
    i = of(slides, name)
    shown, touched = slides.cells[i], by_cell(toy_slides.tumour(name)) > 0
    expected = touched & (shown != NOTHING) & (slides.split[i] in ("train", "val"))
    assert shown.shape == touched.shape and ((shown == TUMOUR) == expected).all(), "of test slides nothing is taught"
    assert shown.dtype == np.int8 and set(np.unique(shown)) <= {NOTHING, NORMAL, TUMOUR}


@pytest.mark.parametrize("name", ["normal_001", "tumor_001", "test_001", "test_003"])
def test_cells_without_tissue_show_nothing(slides, name):
    from scipy import ndimage

    here, painted = slides.cells[of(slides, name)] != NOTHING, by_cell(toy_slides.concentrations(name).any(axis=2))
    assert here[painted > 0.25].all() and not here[~ndimage.binary_dilation(painted > 0)].any()
    assert 0.5 < here.mean() < 0.8


@pytest.mark.parametrize("name", ["test_001", "test_003"])
def test_lesions_are_those_of_the_official_rule_at_the_middle_of_each_cell(slides, name):
    """Of test_001 there is a mask file, of test_003 outlines alone."""
    i = of(slides, name)
    labelled = lesions.label(toy_slides.tumour(name, 2) * np.uint8(255), MPP * 4)
    for row, column in np.ndindex(*slides.lesion[i].shape):
        x, y = (int(at // 4) for at in GEOMETRY.centre(row, column))
        inside = y < labelled.labels.shape[0] and x < labelled.labels.shape[1]
        assert not inside or slides.lesion[i][row, column] == labelled.at(y, x)
    assert slides.lesions[i] == tuple(f"{name}/{size} {k}" for k, size in enumerate(labelled.size, 1))
    assert slides.lesion[i].max() == len(slides.lesions[i])


def test_slides_without_tumour_and_slides_that_train_have_no_lesions(slides):
    assert slides.lesions[of(slides, "test_001")] == ("test_001/micro 1", "test_001/itc 2")
    for i in np.flatnonzero((slides.target == 0) | np.isin(slides.split, ("train", "val"))):
        assert slides.lesions[i] == () and not slides.lesion[i].any()


def test_lesions_are_measured_with_the_pixels_that_are_named(copy, cases):
    smaller = of_slides.read(copy, cases, GEOMETRY, 1.4, None)
    assert smaller.lesions[of(smaller, "test_003")] == ("test_003/itc 1", "test_003/itc 2")


def test_the_truth_lists_scored_slides_their_lesions_and_isolated_cells_as_excluded(copy, cases, slides):
    truth = Reference.of(slides.truth)
    assert truth.scans.tolist() == ["test_001", "test_002", "test_003", "test_004"]
    assert truth.excluded.tolist() == ["test_001/itc 2"]
    assert truth.hit_case.tolist() == ["test_001/micro 1", "test_003/micro 1", "test_003/micro 2"]
    assert truth.scans[truth.nodule_scan].tolist() == ["test_001", "test_003", "test_003"]
    scored = np.array([name != "test_003" for name in cases.case])
    without = of_slides.read(copy, replace(cases, about=cases.about.assign(scored=scored)), GEOMETRY, MPP, None)
    assert Reference.of(without.truth).scans.tolist() == ["test_001", "test_002", "test_004"]
    assert without.lesions[of(without, "test_003")] == ()


def test_a_second_call_reads_no_slide_and_says_the_same(copy, cases, slides, tmp_path, monkeypatch):
    first = of_slides.read(copy, cases, GEOMETRY, MPP, tmp_path)
    monkeypatch.setattr(of_slides.slides, "open_slide", lambda *_: pytest.fail("a slide was opened"))
    second = of_slides.read(copy, cases, GEOMETRY, MPP, tmp_path)
    for i in range(len(cases)):
        for one in (first, second):
            assert np.array_equal(one.cells[i], slides.cells[i]) and np.array_equal(one.lesion[i], slides.lesion[i])
    assert first.lesions == second.lesions == slides.lesions and second.truth.equals(slides.truth)
    assert first.fingerprint == second.fingerprint == slides.fingerprint


@pytest.mark.parametrize("change", ["stride", "microns_per_pixel", "slides", "code"])
def test_whatever_decides_the_cells_has_them_measured_anew(copy, cases, slides, tmp_path, monkeypatch, change):
    of_slides.read(copy, cases, GEOMETRY, MPP, tmp_path)
    measured, real = [], of_slides._measured
    monkeypatch.setattr(of_slides, "_measured", lambda *of: measured.append(1) or real(*of))
    if change == "code":
        monkeypatch.setattr(of_slides, "code_of", lambda paths: "other code")
    data = replace(cases, fingerprint="other") if change == "slides" else cases
    geometry = Geometry(40, 32) if change == "stride" else GEOMETRY
    made = of_slides.read(copy, data, geometry, 1.5 if change == "microns_per_pixel" else MPP, tmp_path)
    assert measured and (made.fingerprint != slides.fingerprint) == (change != "code")


def test_a_slide_that_does_not_say_its_pixels_has_those_that_are_named(tmp_path):
    copy = toy_slides.write(tmp_path / "camelyon16")
    write_tiff(copy / "training/normal/normal_001.tif", toy_slides.image("normal_001"), mpp=None)
    made = of_slides.read(copy, camelyon16.cases(copy, Cut((32, 32))), GEOMETRY, MPP, None)
    i = of(made, "normal_001")
    assert np.isnan(made.about["mpp"][i]) and (made.cells[i] == NORMAL).sum() > 400


def test_a_tumour_slide_whose_outlines_are_gone_is_named(tmp_path):
    copy = toy_slides.write(tmp_path / "camelyon16")
    (copy / "testing/lesion_annotations/test_003.xml").unlink()
    with pytest.raises(DataError, match=r"test_003.tif: has tumour, but test_003.xml is absent"):
        of_slides.read(copy, camelyon16.cases(copy, Cut((32, 32))), GEOMETRY, MPP, None)
