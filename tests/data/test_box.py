"""What padding tells of an image's size is found, whichever way it was padded, and nothing where there is none."""

import numpy as np
import pytest

from fewscans.data import box


def tissue(n=4, shape=(9, 10, 11)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape)).astype(np.uint8)


def padded(kind: str, widths=((1, 2), (0, 3), (4, 1))) -> np.ndarray:
    return np.pad(tissue(), ((0, 0), *widths), mode=kind)


def test_tissue_shows_no_padding():
    assert not box.padding(tissue()).any()


@pytest.mark.parametrize("kind, column", [("constant", 0), ("edge", 1), ("symmetric", 2), ("reflect", 2)])
def test_the_width_of_padding_is_read_at_every_face(kind, column):
    read = box.padding(padded(kind)).reshape(4, 6, 3)[:, :, column]
    wide = np.array([1, 2, 0, 3, 4, 1])
    if kind == "constant":  # constant planes repeat one another too
        repeats = box.padding(padded(kind)).reshape(4, 6, 3)[:, :, 1]
        assert (repeats == np.maximum(wide - 1, 0)).all()
    assert (read == wide).all()


def test_a_blank_image_is_all_padding():
    assert (box.padding(np.zeros((1, 4, 5, 6)))[0].reshape(6, 3)[:, 0] == [4, 4, 5, 5, 6, 6]).all()


def test_each_person_is_predicted_by_others():
    """A feature that names the person would predict perfectly, were any of his cases in the fit."""
    rng = np.random.default_rng(1)
    person = np.repeat(np.arange(30), 2)
    number = rng.normal(size=30)[person]
    names = np.eye(30)[person]
    assert np.corrcoef(box.predicted(names, number, person), number)[0, 1] < 0.3
    assert np.corrcoef(box.predicted(names, number, np.arange(60)), number)[0, 1] > 0.6  # split by case, it leaks


def test_what_says_nothing_gives_the_mean_and_what_says_all_gives_the_number():
    rng = np.random.default_rng(2)
    number, person = rng.normal(5, 1, 60), np.arange(60)
    assert np.abs(box.predicted(np.zeros((60, 3)), number, person) - number.mean()).max() < 0.2
    assert box.predicted(2 * number[:, None] + 1, number, person) == pytest.approx(number)
