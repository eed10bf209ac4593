"""Tissue is kept however pale; glass, ink, padding and dust are not; and the scale of the picture does not matter."""

import numpy as np
import pytest
from skimage.draw import disk

from fewscans import paths
from fewscans.data.formats.slides import open_slide
from fewscans.data.formats.tissue import paper_rule, tissue

GLASS, EOSIN, NUCLEI, FOLD, STROMA = (242, 241, 243), (215, 130, 175), (95, 60, 140), (58, 25, 62), (238, 218, 229)
INKS = {"blue": (40, 70, 170), "pale blue": (150, 175, 225), "green": (40, 130, 70), "black": (30, 28, 34)}
SIDE_UM = 3200


def glass(um=8.0, colour=GLASS, seed=0):
    side = round(SIDE_UM / um)
    return noisy(np.broadcast_to(np.array(colour, float), (side, side, 3)).copy(), seed)


def noisy(picture, seed=0):
    noise = np.random.default_rng(seed).normal(0, 2.5, picture.shape)
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def drawn(picture, colour, centre_um, radius_um, um=8.0):
    """A disc in a colour; and where it is."""
    where = np.zeros(picture.shape[:2], bool)
    where[disk((centre_um[0] / um, centre_um[1] / um), radius_um / um, shape=where.shape)] = True
    picture[where] = noisy(np.full((where.sum(), 3), colour, float))
    return where


def inner(where, um=8.0, by_um=24):
    """The middle of a region, where the blur of its edge is past."""
    from scipy.ndimage import binary_erosion

    return binary_erosion(where, iterations=round(by_um / um))


@pytest.mark.parametrize(
    "colour", [GLASS, (255, 255, 255), (224, 224, 224), (236, 231, 237), (244, 243, 237), (0, 0, 0)]
)
def test_a_slide_without_tissue_shows_none(colour):
    assert not tissue(glass(colour=colour), 8.0).any()


@pytest.mark.parametrize("colour", [EOSIN, NUCLEI, FOLD, STROMA])
def test_tissue_is_kept_whatever_its_stain_even_when_it_is_alone(colour):
    picture = glass()
    where = drawn(picture, colour, (1600, 1600), 900)
    found = tissue(picture, 8.0)
    assert found[where].mean() > 0.99 and not found[~where & ~grown(where)].any()


def grown(where, by=4):
    from scipy.ndimage import binary_dilation

    return binary_dilation(where, iterations=by)


def test_pale_stroma_is_kept_beside_dark_tissue():
    picture = glass()
    drawn(picture, NUCLEI, (1000, 1000), 800)
    pale = drawn(picture, STROMA, (2400, 2400), 600)
    assert tissue(picture, 8.0)[pale].mean() > 0.99
    assert paper_rule(picture)[pale].mean() < 0.01  # which is why there are two


def test_fat_cells_enclosed_by_tissue_are_filled_and_a_wide_lumen_is_not():
    picture = glass()
    drawn(picture, EOSIN, (1600, 1600), 1300)
    cells = [drawn(picture, GLASS, (900 + dy, 1500 + dx), 60) for dy in (0, 150, 300) for dx in (0, 140, 280)]
    lumen = drawn(picture, GLASS, (2100, 1600), 400)  # 0.5 mm²
    cells.append(drawn(picture, GLASS, (400, 1600), 60))
    picture[30:50, 199:201] = GLASS  # its wall is torn, by 16 µm
    found = tissue(picture, 8.0)
    assert all(found[cell].all() for cell in cells)
    assert not found[inner(lumen)].any()


@pytest.mark.parametrize("ink", INKS)
def test_pen_marks_are_dropped_on_glass_on_tissue_and_around_it(ink):
    picture = glass()
    where = drawn(picture, EOSIN, (1600, 1600), 700)
    marks = [drawn(picture, INKS[ink], at, 150) for at in ((400, 400), (1600, 1600))]
    rows, columns = np.indices(where.shape) * 8.0 - 1600
    ring = np.abs(np.hypot(rows, columns) - 1000) < 40
    picture[ring] = INKS[ink]
    found = tissue(picture, 8.0)
    assert not any(found[inner(mark)].any() for mark in (*marks, ring))
    outside = np.hypot(rows, columns) > 750
    assert not found[outside].any()
    assert found[where & ~grown(marks[1])].all()


def test_black_padding_is_dropped_and_tissue_beside_it_is_kept():
    picture = glass()
    where = drawn(picture, EOSIN, (1600, 1600), 900)
    picture[:, 200:] = 0
    found = tissue(picture, 8.0)
    assert not found[:, 203:].any() and found[where][np.nonzero(where)[1] < 198].all()


def test_dust_is_dropped_and_a_small_lesion_is_not():
    picture = glass()
    drawn(picture, NUCLEI, (800, 800), 40)
    lesion = drawn(picture, NUCLEI, (2400, 2400), 100)
    found = tissue(picture, 8.0)
    assert found[lesion].all() and not found[~grown(lesion)].any()


def test_sizes_are_of_the_tissue_not_of_the_picture():
    """The same slide at 4, 8 and 16 µm a pixel: the same area."""
    areas = []
    for um in (4.0, 8.0, 16.0):
        picture = glass(um)
        drawn(picture, EOSIN, (1600, 1600), 900, um)
        drawn(picture, GLASS, (1600, 1600), 120, um)  # filled
        drawn(picture, GLASS, (1100, 1600), 300, um)  # 0.28 mm², not filled
        drawn(picture, NUCLEI, (300, 300), 45, um)  # dust
        areas.append(tissue(picture, um).sum() * um**2)
    assert max(areas) < 1.03 * min(areas)
    assert np.mean(areas) == pytest.approx(np.pi * (900**2 - 300**2), rel=0.04)


def test_a_picture_of_ink_alone_has_no_tissue_and_one_of_tissue_alone_is_full():
    assert not tissue(np.full((40, 40, 3), INKS["green"], np.uint8), 8.0).any()
    assert tissue(np.full((40, 40, 3), EOSIN, np.uint8), 8.0).all()


def test_the_papers_rule_is_luminance_of_at_most_four_fifths_and_black_is_padding():
    row = np.array([[[204, 204, 204], [205, 205, 205], [0, 0, 0], [1, 0, 0], [255, 0, 255], [0, 255, 255]]], np.uint8)
    assert paper_rule(row).tolist() == [[True, False, False, True, True, True]]  # the last: 0.7154 + 0.0721
    assert paper_rule(row, 0.78).tolist() == [[False, False, False, True, True, False]]


def test_pictures_that_cannot_be_are_wrong_arguments():
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))):
        for rule in (lambda rgb: tissue(rgb, 8.0), paper_rule):
            with pytest.raises(ValueError, match="must be .height, width, 3. uint8"):
                rule(wrong)
    for um in (0, -8.0, np.nan):
        with pytest.raises(ValueError, match="microns_per_pixel"):
            tissue(glass(), um)


@pytest.mark.parametrize(("name", "um"), [("CMU-1-Small-Region.svs", 0.499), ("TCGA-CR-7395-01A-01-TS1.svs", 0.5)])
def test_on_real_slides_hardly_a_dark_pixel_is_lost_and_glass_is(name, um):
    path = paths.data_root() / "wsi-samples" / name
    if not path.is_file():
        pytest.skip("no copy of wsi-samples under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    with open_slide(path) as slide:
        size = slide.levels[0]
        full = slide.read(0, 0, 0, size.width // 16 * 16, size.height // 16 * 16)
    small = full.reshape(len(full) // 16, 16, -1, 16, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    found, dark = tissue(small, 16 * um), paper_rule(small)
    assert found[dark].mean() > 0.97  # the rest is ink and dust
    assert not found[small.min(axis=-1) > 238].mean() > 0.05
