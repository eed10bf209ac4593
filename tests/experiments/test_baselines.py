"""Trivial baselines learn from the training subset alone, and know no more than their names say."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from fewscans.experiments import baselines, hydranet
from fewscans.experiments.base import Run
from fewscans.experiments.hydranet.arms import TRIVIAL_ARMS

from .toy_scans import SHAPE, make_scans

KINDS = ("histogram", "centre", "centre5", "volume", "nearest")
every_kind = pytest.mark.parametrize("kind", KINDS)


# Labels


def disc(radius, height, count, seed):
    """Patches with a bright disc of that height in noise, (count, 50, 50) uint8."""
    y, x = np.mgrid[:50, :50] - 24.5
    noise = np.random.default_rng(seed).normal(60, 10, (count, 50, 50))
    return np.clip(noise + height * (np.hypot(y, x) < radius), 0, 255).astype(np.uint8)


def two_kinds(count=20, seed=0):
    images = np.concatenate([disc(8, 100, count, seed), disc(3, 20, count, seed + 1)])
    return images, np.repeat([1, 0], count)


def score(kind, new, known=None):
    return baselines.probability(kind, *(two_kinds() if known is None else known), new)


@every_kind
@pytest.mark.parametrize("depth", [None, 6], ids=["on the plane", "in space"])
def test_scores_lie_between_0_and_1_and_separate_what_differs(kind, depth):
    (images, labels), (new, truth) = two_kinds(), two_kinds(seed=9)
    if depth:
        images, new = (np.repeat(x[:, None], depth, axis=1) for x in (images, new))
    found = score(kind, new, (images, labels))
    assert found.shape == (40,) and found.dtype == np.float64 and (0 <= found).all() and (found <= 1).all()
    assert found[truth == 1].min() > found[truth == 0].max()


@every_kind
def test_a_score_depends_on_the_training_subset_and_the_patch_alone(kind):
    """Fitted on the subset: other patches scored beside it change nothing."""
    images, _ = two_kinds(seed=9)
    together = score(kind, images)
    alone = np.concatenate([score(kind, images[i : i + 1]) for i in range(len(images))])
    assert together == pytest.approx(alone, abs=1e-6)
    assert not np.allclose(score(kind, images, two_kinds(seed=4)), together) or kind in ("centre", "centre5", "volume")


@every_kind
def test_labels_the_other_way_round_turn_the_score_round(kind):
    images, labels = two_kinds()
    new, _ = two_kinds(seed=9)
    one, other = (score(kind, new, (images, y)) for y in (labels, 1 - labels))
    assert one == pytest.approx(1 - other, abs=1e-6)


@every_kind
def test_one_patch_of_each_class_and_patches_without_contrast_get_finite_scores(kind):
    one_each, flat = two_kinds(1), np.full((4, 50, 50), 7, np.uint8)
    for known, new in itertools.product((one_each, (flat, np.array([0, 1, 0, 1]))), (one_each[0], flat)):
        assert np.isfinite(score(kind, new, known)).all()


def test_the_centre_looks_at_the_centre_alone():
    images, _ = two_kinds(seed=9)
    outside = images.copy()
    outside[:, :15] = 255
    assert (score("centre", outside) == score("centre", images)).all()
    assert (score("volume", outside) != score("volume", images)).all()


@pytest.mark.parametrize("side", [4, 11, 12])
def test_five_voxels_a_side_lie_around_the_middle_one(side):
    """Of an even side the middle is the later of two, as where one voxel is asked about."""
    images = np.zeros((1, side, side, side), np.uint8)
    images[0, side // 2 - 2 :, side // 2 - 2 :, side // 2 - 2 :][:5, :5, :5] = 255
    assert baselines.centre5(images) == 1 and baselines.centre5(255 - images) == 0


def test_a_likelihood_keeps_a_ridge_s_order_and_its_half():
    x, y = np.arange(20.0)[:, None], np.arange(20) % 2 * (np.arange(20) > 5)
    value, found = baselines.ridge(x, y, x), baselines.likelihood(x, y, x)
    assert ((found > 0) & (found < 1)).all() and (np.argsort(found) == np.argsort(value)).all()
    assert ((found > 0.5) == (value > 0.5)).all()


def test_the_nearest_neighbour_remembers_and_ignores_brightness_and_contrast():
    images, labels = two_kinds()
    found = score("nearest", images)
    assert ((found > 0.5) == labels).all()
    changed = np.clip(images * 0.8 + 10, 0, 255).astype(np.uint8)
    assert score("nearest", changed) == pytest.approx(found, abs=0.01)


# Numbers

SCANS = make_scans(persons=60)
TRAIN, TEST = SCANS.indices("train"), SCANS.indices("test")
GRID = hydranet.Grid(
    arms=dict.fromkeys(TRIVIAL_ARMS, (1, 20)), seeds=1, steps=60, eval_every=1, learning_rates=(1e-3,), window=SHAPE
)
every_arm = pytest.mark.parametrize("arm", TRIVIAL_ARMS)


def predicted(arm, scans=SCANS, n=20):
    """What the arm says of the test scans, trained on n that the seed draws."""
    table = hydranet.EXPERIMENT.baseline(Run(0, n, arm, 0.0), GRID, scans)
    prediction = table["prediction"].to_numpy()
    assert table["case"].tolist() == scans.case[scans.indices("test")].tolist() and prediction.dtype == np.float64
    return prediction


def drawn(n=20):
    return hydranet.EXPERIMENT._parts(GRID, SCANS, TRIVIAL_ARMS["mean"], n, 0)["train"]


def error(prediction) -> float:
    return float(((prediction - SCANS.target[TEST]) ** 2).mean())


def test_the_mean_says_the_training_labels_mean_of_everyone():
    assert (predicted("mean") == SCANS.target[drawn()].mean()).all()


@pytest.mark.parametrize("arm", ["histogram", "crop"])
def test_what_tells_of_the_number_is_used(arm):
    """Dots are bright, and the toy's crops grow with them."""
    assert error(predicted(arm)) < 0.3 * error(predicted("mean"))


@every_arm
def test_a_prediction_depends_on_the_training_subset_and_the_scan_alone(arm):
    """And on the validation scans, where they choose how strong a ridge is."""
    together = predicted(arm)
    number, used = SCANS.target.copy(), [*drawn(), *(SCANS.indices("val") if arm == "blocks" else ())]
    number[np.setdiff1d(np.arange(len(SCANS)), used)] = 99
    assert (predicted(arm, replace(SCANS, target=number)) == together).all()
    for i in range(len(TEST)):
        alone = replace(SCANS, split=np.where(np.isin(np.arange(len(SCANS)), np.delete(TEST, i)), "spare", SCANS.split))
        assert predicted(arm, alone) == pytest.approx(together[i : i + 1], abs=1e-9)
    number = SCANS.target.copy()
    number[drawn()[0]] += 9
    assert not np.allclose(predicted(arm, replace(SCANS, target=number)), together)


@every_arm
def test_labels_in_another_unit_give_the_predictions_in_that_unit(arm):
    other = replace(SCANS, target=SCANS.target * 4 + 3)
    assert predicted(arm, other) == pytest.approx(predicted(arm) * 4 + 3, abs=1e-9)


@every_arm
def test_one_training_scan_gives_its_number(arm):
    assert predicted(arm, n=1) == pytest.approx(SCANS.target[drawn(1)[0]])


def test_the_histogram_knows_nothing_of_shape():
    images, _ = two_kinds(seed=9)
    shuffled = np.random.default_rng(0).permuted(images.reshape(len(images), -1), axis=1).reshape(images.shape)
    assert score("histogram", shuffled) == pytest.approx(score("histogram", images), abs=1e-12)
    order = np.random.default_rng(0).permutation(SCANS.images[0].size)
    images = SCANS.images.reshape(len(SCANS), -1)[:, order].reshape(SCANS.images.shape)
    assert predicted("histogram", replace(SCANS, images=images)) == pytest.approx(predicted("histogram"), abs=1e-12)


def test_the_histogram_tells_intensities_of_16_bins_apart_and_no_closer_ones():
    assert (baselines.histogram(SCANS.images // 16 * 16) == baselines.histogram(SCANS.images)).all()
    first_alone = SCANS.images.copy()
    first_alone[TEST[0]] = 255
    changed = predicted("histogram", replace(SCANS, images=first_alone)) != predicted("histogram")
    assert changed.tolist() == [True] + [False] * (len(TEST) - 1)


def test_the_crop_knows_the_sides_alone():
    assert (predicted("crop", replace(SCANS, images=np.zeros_like(SCANS.images))) == predicted("crop")).all()
    alike = replace(SCANS, about=SCANS.about.assign(**dict.fromkeys(hydranet.SIDES, 30)))
    assert predicted("crop", alike) == pytest.approx(predicted("mean"))


def test_ridge_is_least_squares_with_a_penalty_on_standardised_features():
    """By another road: the penalty as rows of their own, which want weights of 0."""
    random = np.random.default_rng(0)
    x, y, x_new = random.normal(3, 5, (20, 3)), random.normal(size=20), random.normal(3, 5, (6, 3))
    z, z_new = ((a - x.mean(0)) / x.std(0) for a in (x, x_new))
    rows = np.vstack([z, np.sqrt(baselines.RIDGE) * np.eye(3)])
    weight = np.linalg.lstsq(rows, np.concatenate([y - y.mean(), np.zeros(3)]), rcond=None)[0]
    expected = z_new @ weight + y.mean()
    assert baselines.ridge(x, y, x_new) == pytest.approx(expected)
    assert baselines.ridge(x * [1, 100, 0.1] + 7, y, x_new * [1, 100, 0.1] + 7) == pytest.approx(expected)
    still = np.column_stack([x, np.full(20, 5.0)])
    assert baselines.ridge(still, y, np.column_stack([x_new, np.full(6, 5.0)])) == pytest.approx(expected)
