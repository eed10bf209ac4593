"""Slides in two stains become alike, glass stays glass, and a slide without two stains is an error."""

import numpy as np
import pytest

from fewscans.data.formats import stain
from fewscans.errors import DataError

from ..experiments import toy_slides
from ..slides.fake import FakeSlide, tissue_slide, white

OTHER = 0.8 * np.array([[0.60, 0.74, 0.35], [0.06, 0.86, 0.50]])  # another laboratory, paler
NAME = "tumor_001"


@pytest.fixture(scope="module")
def pair():
    """One slide in two stains."""
    return [FakeSlide(toy_slides.image(NAME, stains), mpp=toy_slides.MPP) for stains in (toy_slides.STAINS, OTHER)]


def whole(slide):
    return slide.read(0, 0, 0, slide.levels[0].width, slide.levels[0].height).astype(int)


def tissue():
    return toy_slides.concentrations(NAME).any(axis=2)


def test_the_two_stains_of_a_slide_are_found(pair):
    for slide, true in zip(pair, (toy_slides.STAINS, OTHER), strict=True):
        found = stain.fit(slide)
        unit = true / np.linalg.norm(true, axis=1, keepdims=True)
        assert found.shape == (3, 3) and (np.sum(found[:2] * unit, axis=1) > 0.99).all(), "haematoxylin, then eosin"
        assert (found[2, :2] > 0).all() and np.array_equal(stain.fit(slide), found)


def test_two_copies_of_a_slide_in_two_stains_become_alike(pair):
    one, other = pair
    after = np.abs(whole(stain.Stained(other, stain.fit(one))) - whole(one))[tissue()]
    before = np.abs(whole(other) - whole(one))[tissue()]
    assert before.mean() > 20 > 3 * after.mean()
    itself = np.abs(whole(stain.Stained(one, stain.fit(one))) - whole(one))[tissue()]
    assert itself.mean() < 5, "and one that has these stains stays as it is"


def test_white_stays_white_inside_the_slide_and_beyond_it(pair):
    one, other = pair
    normalised = stain.Stained(other, stain.fit(one))
    assert whole(normalised)[~tissue()].min() > 240
    assert normalised.read(1, -50, -50, 40, 40).min() > 240


def test_a_part_or_another_level_is_normalised_as_the_whole_slide_is(pair):
    one, other = pair
    normalised = stain.Stained(other, stain.fit(one))
    assert np.array_equal(normalised.read(0, 60, 70, 50, 40), whole(normalised)[70:110, 60:110])
    assert (normalised.levels, normalised.mpp, normalised.path) == (other.levels, other.mpp, other.path)
    level = normalised.at(2)
    halves = whole(normalised)[:400, :448].reshape(200, 2, 224, 2, 3).mean(axis=(1, 3))
    assert level == 1 and np.abs(normalised.read(level, 0, 0, 224, 200) - halves).mean() < 3


@pytest.mark.parametrize(
    ("picture", "why"),
    [(white(448, 400), "fake.tif: its stains cannot be found"), (tissue_slide(448, 400), "has one colour only")],
)
def test_a_slide_of_glass_or_of_one_colour_is_an_error(picture, why):
    with pytest.raises(DataError, match=f"{why}.*leave out the arm that normalises"):
        stain.fit(FakeSlide(picture))
