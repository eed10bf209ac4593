"""Trivial baselines for a number learn from the training subset alone, and know no more than their names say."""

from dataclasses import replace

import numpy as np
import pytest

from fewscans.experiments import numbered_trivial as trivial

from .toy_scans import make_scans

SCANS = make_scans(persons=60)
TRAIN, TEST = SCANS.indices("train"), SCANS.indices("test")
every_predictor = pytest.mark.parametrize("name", trivial.PREDICTORS)


def error(predicted) -> float:
    return float(((predicted - SCANS.number[TEST]) ** 2).mean())


def test_the_mean_says_the_training_labels_mean_of_everyone():
    assert (trivial.mean(SCANS, TRAIN, TEST) == SCANS.number[TRAIN].mean()).all()


@pytest.mark.parametrize("name", ["histogram", "crop"])
def test_what_tells_of_the_number_is_used(name):
    """Dots are bright, and the toy's crops grow with them."""
    assert error(trivial.PREDICTORS[name](SCANS, TRAIN, TEST)) < 0.3 * error(trivial.mean(SCANS, TRAIN, TEST))


@every_predictor
def test_a_prediction_depends_on_the_training_subset_and_the_scan_alone(name):
    together = trivial.PREDICTORS[name](SCANS, TRAIN, TEST)
    assert together.shape == (len(TEST),) and together.dtype == np.float64
    alone = np.concatenate([trivial.PREDICTORS[name](SCANS, TRAIN, TEST[i : i + 1]) for i in range(len(TEST))])
    assert together == pytest.approx(alone, abs=1e-9)
    number = SCANS.number.copy()
    number[np.setdiff1d(np.arange(len(SCANS)), TRAIN)] = 99
    assert (trivial.PREDICTORS[name](replace(SCANS, number=number), TRAIN, TEST) == together).all()
    assert not np.allclose(trivial.PREDICTORS[name](SCANS, TRAIN[:20], TEST), together)


@every_predictor
def test_labels_in_another_unit_give_the_predictions_in_that_unit(name):
    other = replace(SCANS, number=SCANS.number * 4 + 3)
    plain = trivial.PREDICTORS[name](SCANS, TRAIN, TEST)
    assert trivial.PREDICTORS[name](other, TRAIN, TEST) == pytest.approx(plain * 4 + 3, abs=1e-9)


@every_predictor
def test_one_training_scan_gives_its_number(name):
    assert trivial.PREDICTORS[name](SCANS, TRAIN[:1], TEST) == pytest.approx(SCANS.number[TRAIN[0]])


def test_the_histogram_knows_nothing_of_shape():
    order = np.random.default_rng(0).permutation(SCANS.images[0].size)
    shuffled = replace(SCANS, images=SCANS.images.reshape(len(SCANS), -1)[:, order].reshape(SCANS.images.shape))
    found = trivial.histogram(shuffled, TRAIN, TEST)
    assert found == pytest.approx(trivial.histogram(SCANS, TRAIN, TEST), abs=1e-12)


def test_the_histogram_tells_intensities_of_16_bins_apart_and_no_closer_ones():
    def moved(images):
        return trivial.histogram(replace(SCANS, images=images), TRAIN, TEST)

    assert (moved(SCANS.images // 16 * 16) == moved(SCANS.images)).all()
    first_alone = SCANS.images.copy()
    first_alone[TEST[0]] = 255
    assert (moved(first_alone) != moved(SCANS.images)).tolist() == [True] + [False] * (len(TEST) - 1)


def test_the_crop_knows_the_sides_alone():
    blank = replace(SCANS, images=np.zeros_like(SCANS.images))
    assert (trivial.crop(blank, TRAIN, TEST) == trivial.crop(SCANS, TRAIN, TEST)).all()
    alike = replace(SCANS, about=SCANS.about.assign(**dict.fromkeys(trivial.SIDES, 30)))
    assert trivial.crop(alike, TRAIN, TEST) == pytest.approx(trivial.mean(SCANS, TRAIN, TEST))


def test_ridge_is_least_squares_with_a_penalty_on_standardised_features():
    """By another road: the penalty as rows of their own, which want weights of 0."""
    random = np.random.default_rng(0)
    x, y, x_new = random.normal(3, 5, (20, 3)), random.normal(size=20), random.normal(3, 5, (6, 3))
    z, z_new = ((a - x.mean(0)) / x.std(0) for a in (x, x_new))
    rows = np.vstack([z, np.sqrt(trivial.RIDGE) * np.eye(3)])
    weight = np.linalg.lstsq(rows, np.concatenate([y - y.mean(), np.zeros(3)]), rcond=None)[0]
    expected = z_new @ weight + y.mean()
    assert trivial.ridge(x, y, x_new) == pytest.approx(expected)
    assert trivial.ridge(x * [1, 100, 0.1] + 7, y, x_new * [1, 100, 0.1] + 7) == pytest.approx(expected)
    still = np.column_stack([x, np.full(20, 5.0)])
    assert trivial.ridge(still, y, np.column_stack([x_new, np.full(6, 5.0)])) == pytest.approx(expected)
