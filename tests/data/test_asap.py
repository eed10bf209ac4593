"""Outlines drawn with ASAP become the pixels whose centres they enclose, on any level; anything odd is one error."""

import zipfile
from itertools import pairwise

import numpy as np
import pytest
from skimage.draw import polygon2mask

from fewscans.data.formats import asap
from fewscans.errors import DataError

from .conftest import load_builders

BUILD = load_builders("camelyon16")
TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)


def read(folder, *annotations):
    (folder / "tumor_001.xml").write_text(BUILD.xml(*annotations))
    return asap.read(folder / "tumor_001.xml")


def rectangle(left, top, width, height):
    return np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]], float)


def star(x, y, radius):
    far = radius * (1 + 0.4 * np.cos(7 * TURN))
    return np.stack([x + far * np.cos(TURN), y + far * np.sin(TURN)], axis=1)


@pytest.fixture(scope="module")
def annotation():
    return asap.Annotation((star(70.3, 60.2, 40), star(150.7, 90.1, 25)), (star(72.2, 61.4, 15),))


def test_groups_of_tumour_and_of_what_is_cut_out_are_told_apart_in_any_case(tmp_path):
    groups = {"_0": 1, "_1": 1, "Tumor": 1, "TUMOR": 1, "_2": 0, "Exclusion": 0, "exclusion": 0, "None": 0, "none": 0}
    shapes = {group: [(n, 0), (n + 1, 0), (n, 1.5)] for n, group in enumerate(groups)}
    got = read(tmp_path, *(BUILD.polygon(shapes[group], group) for group in groups))
    for kind, polygons in ((1, got.tumour), (0, got.excluded)):
        assert [p.tolist() for p in polygons] == [
            [list(map(float, p)) for p in shapes[group]] for group in groups if groups[group] == kind
        ]
        assert all(p.dtype == np.float64 for p in polygons)


@pytest.mark.parametrize("kind", ["Polygon", "Spline", "Rectangle", "polygon"])
def test_points_come_in_their_order_whatever_the_shape_is_called(tmp_path, kind):
    shuffled = BUILD.polygon([(5, 5), (1, 1), (5, 1), (1, 5)], kind=kind, order=(12, 0, 2, 13))
    assert read(tmp_path, shuffled).tumour[0].tolist() == [[1, 1], [5, 1], [5, 5], [1, 5]]


def test_a_slide_without_annotations_has_no_tumour(tmp_path):
    got = read(tmp_path)
    assert got.tumour == got.excluded == () and not asap.mask(got, 9, 7, 2).any()
    assert not touches(got, 0, 0, 128)


def test_a_pixel_is_tumour_if_its_centre_is_inside(tmp_path):
    got = read(tmp_path, BUILD.polygon(rectangle(2.6, 1.4, 2.6, 2.0)))
    inside = np.zeros((6, 9), bool)
    inside[1:3, 3:5] = True  # centres 3.5 and 4.5, 1.5 and 2.5
    assert np.array_equal(asap.mask(got, 9, 6, 1), inside)
    coarse = asap.mask(got, 4, 3, 2)  # centres 1, 3, 5, 7 and 1, 3, 5
    assert np.argwhere(coarse).tolist() == [[1, 1], [1, 2]]


@pytest.mark.parametrize("downsample", [1, 2, 4.003, 32])
def test_any_level_agrees_with_scikit_image(downsample):
    rng = np.random.default_rng(1)
    for _ in range(60):
        points = rng.uniform(-30, 130, (rng.integers(3, 12), 2)) * downsample  # crosses itself and the slide's border
        drawn = asap.mask(asap.Annotation((points,)), 100, 80, downsample)
        assert np.array_equal(drawn, polygon2mask((80, 100), (points / downsample - 0.5)[:, ::-1]))


def test_neighbours_that_share_an_edge_share_no_pixel_and_leave_none_out():
    edges = np.array([0, 3.5, 7, 7.5, 12])  # some of them through pixel centres
    parts = [asap.mask(asap.Annotation((rectangle(a, 0.5, b - a, 6),)), 14, 8, 1) for a, b in pairwise(edges)]
    whole = asap.mask(asap.Annotation((rectangle(0, 0.5, 12, 6),)), 14, 8, 1)
    assert np.array_equal(sum(map(np.uint8, parts)), whole)


def test_direction_and_first_point_do_not_matter(annotation):
    turned = asap.Annotation(tuple(np.roll(p[::-1], 5, axis=0) for p in annotation.tumour), annotation.excluded)
    assert np.array_equal(asap.mask(annotation, 220, 140, 1), asap.mask(turned, 220, 140, 1))


def test_what_is_excluded_is_cut_out_of_every_polygon(annotation):
    polygons = (*annotation.tumour, *annotation.excluded)
    one, other, hole = (asap.mask(asap.Annotation((polygon,)), 220, 140, 1) for polygon in polygons)
    assert np.array_equal(asap.mask(annotation, 220, 140, 1), (one | other) & ~hole)
    assert (one & hole).any()


@pytest.mark.parametrize("side", [1, 7, 16])
def test_a_square_touches_if_the_finest_mask_has_a_pixel_in_it(annotation, side):
    mask = np.pad(asap.mask(annotation, 220, 140, 1), ((20, 40), (20, 40)))
    y, x = (axis.ravel() for axis in np.mgrid[-20:150:3, -20:230:3])
    expected = [mask[b + 20 : b + 20 + side, a + 20 : a + 20 + side].any() for a, b in zip(x, y, strict=True)]
    touched = asap.touches(annotation, x, y, side)
    assert touched.dtype == bool and touched.tolist() == expected and 0 < touched.sum() < len(x)
    for k in range(0, len(x), 97):
        assert touches(annotation, x[k], y[k], side) == expected[k]


def touches(annotation, x, y, side):
    """Whether one square does."""
    return bool(asap.touches(annotation, np.array([x]), np.array([y]), side)[0])


def test_a_tumour_between_two_pixel_centres_touches_nothing():
    thin = asap.Annotation((rectangle(3.6, 0, 0.8, 50),))
    assert not touches(thin, 0, 0, 16) and not asap.mask(thin, 16, 16, 1).any()
    assert touches(asap.Annotation((rectangle(3.4, 0, 0.8, 50),)), 0, 0, 16)


def test_a_hole_as_large_as_the_square_frees_it():
    holed = asap.Annotation((rectangle(0, 0, 100, 100),), (rectangle(32, 32, 16, 16),))
    assert [touches(holed, x, 32, 16) for x in (31, 32, 33)] == [True, False, True]


def test_squares_far_out_on_a_large_slide_are_as_exact_as_near_ones(annotation):
    away = np.array([98_304.0, 196_608.0])
    moved = asap.Annotation(*(tuple(p + away for p in kind) for kind in (annotation.tumour, annotation.excluded)))
    y, x = (axis.ravel() for axis in np.mgrid[0:140:11, 0:220:11])
    near = asap.touches(annotation, x, y, 8)
    assert np.array_equal(asap.touches(moved, x + 98_304, y + 196_608, 8), near)


def test_no_squares_are_no_answers(annotation):
    assert asap.touches(annotation, np.array([], int), np.array([], int), 128).shape == (0,)


def test_a_member_of_a_zip_file_is_read_as_a_file_is(tmp_path):
    (tmp_path / "tumor_001.xml").write_text(BUILD.outline("tumor_001"))
    with zipfile.ZipFile(tmp_path / "lesion_annotations.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "tumor_001.xml", "lesion_annotations/Tumor_001.xml")
    member = zipfile.Path(tmp_path / "lesion_annotations.zip", "lesion_annotations/Tumor_001.xml")
    one, other = asap.read(tmp_path / "tumor_001.xml"), asap.read(member)
    assert len(one.tumour) == 1 and np.array_equal(one.tumour[0], other.tumour[0])
    content = bytearray((tmp_path / "lesion_annotations.zip").read_bytes())
    content[70:90] = bytes(20)
    (tmp_path / "lesion_annotations.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"lesion_annotations\.zip/lesion_annotations/Tumor_001\.xml: cannot be read"):
        asap.read(zipfile.Path(tmp_path / "lesion_annotations.zip", "lesion_annotations/Tumor_001.xml"))


@pytest.mark.parametrize("name", BUILD.OUTLINES)
def test_what_is_wrong_is_named_with_file_and_annotation(tmp_path, name):
    text, words = BUILD.OUTLINES[name]
    file = tmp_path / "tumor_001.xml"
    file.write_text(text)
    with pytest.raises(DataError) as error:
        asap.read(file)
    message = str(error.value)
    assert message.startswith(str(file)) and "\n" not in message
    for word in words:
        assert word in message


def test_an_absent_file_and_one_too_large_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"nothing\.xml: cannot be read"):
        asap.read(tmp_path / "nothing.xml")
    monkeypatch.setattr(asap, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="larger than 100 bytes"):
        read(tmp_path, BUILD.polygon(BUILD.SQUARE))
