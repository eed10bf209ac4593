"""Lesions of a mask: those of the official script's steps on the whole mask, and worked examples of each step."""

import numpy as np
import pytest

from fewscans.data.formats.lesions import label

LEVEL_5 = 0.243 * 32  # µm per pixel of a level-5 mask


def whole(mask, microns_per_pixel):
    """The steps of the challenge's script, each on the whole mask: labels, major axes in pixels, which are ITC."""
    from scipy import ndimage
    from skimage import measure

    grown = ndimage.distance_transform_edt(255 - mask) < 75 / (microns_per_pixel * 2)
    labels = measure.label(ndimage.binary_fill_holes(grown), connectivity=2)
    axes = np.array([region.axis_major_length for region in measure.regionprops(labels)])
    return labels, axes, axes < 275 / microns_per_pixel


def ellipse(mask, row, column, height, width, value=255):
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask[((y - row) / (height / 2)) ** 2 + ((x - column) / (width / 2)) ** 2 < 1] = value


def blobs(seed):
    """Ellipses and rings of all sizes, some cut by the border, some inside others. 128 is no tumour."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(rng.integers(40, 260, 2), np.uint8)
    for _ in range(rng.integers(1, 25)):
        row, column = rng.uniform(-5, 5 + np.array(mask.shape))
        height, width = np.exp(rng.normal(2, 1, 2)) + 2
        ellipse(mask, row, column, height, width)
        if rng.random() < 0.4:
            ellipse(mask, row, column, height * 0.8, width * 0.8, rng.choice([0, 128]))
    mask[tuple(rng.integers(0, mask.shape))] = 255
    return mask


@pytest.mark.parametrize("microns_per_pixel", [LEVEL_5, LEVEL_5 * 2, LEVEL_5 / 2, 0.226 * 32, 60.0, 200.0])
@pytest.mark.parametrize("seed", range(25))
def test_lesions_are_those_of_the_steps_on_the_whole_mask(seed, microns_per_pixel):
    mask = blobs(seed)
    labels, axes, itc = whole(mask, microns_per_pixel)
    lesions = label(mask, microns_per_pixel)
    np.testing.assert_array_equal(lesions.labels, labels)
    np.testing.assert_allclose(lesions.major_axis_um, axes * microns_per_pixel, rtol=1e-9, atol=1e-5)
    np.testing.assert_array_equal(lesions.itc, itc)
    assert lesions.labels.dtype == np.int32


def test_the_random_masks_hold_what_is_hard():
    """Else the test above proves little: merged lesions, filled holes, ITC and others, several in one mask."""
    from scipy import ndimage

    held = dict.fromkeys(("merged", "hole", "itc", "scored", "several", "border"), 0)
    for seed in range(25):
        mask = blobs(seed)
        lesions = label(mask, LEVEL_5)
        held["merged"] += ndimage.label(mask == 255, np.ones((3, 3)))[1] > len(lesions.itc)
        near = ndimage.distance_transform_edt(mask != 255) < 75 / (2 * LEVEL_5)
        held["hole"] += ((lesions.labels > 0) & ~near).any()
        held["itc"] += lesions.itc.any()
        held["scored"] += not lesions.itc.all()
        held["several"] += len(lesions.itc) > 1
        held["border"] += lesions.labels[:, [0, -1]].any()
    assert min(held.values()) >= 5, held


def test_lesions_closer_than_75_micrometres_are_one():
    for gap, count in ((9, 1), (10, 2)):  # 70 and 78 µm between the pixels
        mask = np.zeros((40, 60), np.uint8)
        mask[20, [20, 20 + gap]] = 255
        assert len(label(mask, LEVEL_5).itc) == count


def test_lesions_that_touch_at_a_corner_once_grown_are_one():
    """Pixels grow by up to 3 along the diagonal, so that of these pairs one touches at a corner and one does not."""
    for step, count in ((7, 1), (8, 2)):
        mask = np.zeros((40, 40), np.uint8)
        mask[[10, 10 + step], [10, 10 + step]] = 255
        assert len(label(mask, LEVEL_5).itc) == count


def test_a_hole_belongs_to_the_lesion_and_an_open_bay_does_not():
    mask = np.zeros((120, 120), np.uint8)
    ellipse(mask, 60, 60, 100, 100)
    ellipse(mask, 60, 60, 80, 80, 0)
    assert label(mask, LEVEL_5).at(60, 60) == 1
    mask[60:] = 0
    assert label(mask, LEVEL_5).at(59, 60) == 0


def test_a_lesion_within_the_hole_of_another_is_part_of_it():
    mask = np.zeros((300, 300), np.uint8)
    ellipse(mask, 150, 150, 280, 280)
    ellipse(mask, 150, 150, 260, 260, 0)
    ellipse(mask, 150, 150, 20, 20)
    assert label(mask, LEVEL_5).major_axis_um == pytest.approx([(280 + 2 * 4.5) * LEVEL_5], rel=0.02)


@pytest.mark.parametrize(("extent_um", "size"), [(120, "itc"), (185, "itc"), (215, "micro"), (1900, "micro"),
                                                 (2100, "macro")])  # fmt: skip
def test_the_size_is_that_without_the_growth(extent_um, size):
    mask = np.zeros((100, 320), np.uint8)
    ellipse(mask, 50, 160, min(extent_um, 300) / LEVEL_5, extent_um / LEVEL_5)
    lesions = label(mask, LEVEL_5)
    assert lesions.size.tolist() == [size] and lesions.itc.tolist() == [size == "itc"]
    assert lesions.major_axis_um == pytest.approx([extent_um + 75], rel=0.02, abs=15)


def test_a_mask_of_zeros_holds_no_lesion():
    lesions = label(np.zeros((20, 30), np.uint8), LEVEL_5)
    assert not lesions.labels.any() and lesions.labels.shape == (20, 30)
    assert len(lesions.major_axis_um) == len(lesions.itc) == len(lesions.size) == 0


def test_a_mask_of_tumour_alone_is_one_lesion():
    assert (label(np.full((20, 30), 255, np.uint8), LEVEL_5).labels == 1).all()


@pytest.mark.parametrize("mask", [np.eye(9, dtype=np.uint8), np.eye(9, dtype=bool), 2 * np.eye(9, dtype=np.uint8)])
def test_a_mask_with_another_value_for_tumour_is_refused(mask):
    with pytest.raises(ValueError, match=rf"holds {mask.max()} but never 255; tumour must be 255"):
        label(mask, LEVEL_5)


def test_other_shapes_and_pixel_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(H, W\), got \(9, 9, 3\); give one channel"):
        label(np.zeros((9, 9, 3), np.uint8), LEVEL_5)
    for size in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="microns_per_pixel must be above 0"):
            label(np.zeros((9, 9), np.uint8), size)


def test_a_pixel_outside_the_mask_is_refused():
    lesions = label(np.full((9, 8), 255, np.uint8), LEVEL_5)
    assert lesions.at(8, 7) == 1
    for place in ((-1, 0), (9, 0), (0, 8)):
        with pytest.raises(ValueError, match="outside the mask of 9 x 8 pixels"):
            lesions.at(*place)
