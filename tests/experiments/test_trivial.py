"""Trivial baselines learn from the training subset alone, and do what their names say."""

import numpy as np
import pytest

from fewscans.experiments import trivial

every_scorer = pytest.mark.parametrize("name", trivial.SCORERS)


def disc(radius, height, count, seed):
    """Patches with a bright disc of that height in noise, (count, 50, 50) uint8."""
    y, x = np.mgrid[:50, :50] - 24.5
    noise = np.random.default_rng(seed).normal(60, 10, (count, 50, 50))
    return np.clip(noise + height * (np.hypot(y, x) < radius), 0, 255).astype(np.uint8)


def two_kinds(count=20, seed=0):
    images = np.concatenate([disc(8, 100, count, seed), disc(3, 20, count, seed + 1)])
    return images, np.repeat([1, 0], count)


@every_scorer
def test_scores_lie_between_0_and_1_and_separate_what_differs(name):
    score = trivial.SCORERS[name](*two_kinds())
    images, labels = two_kinds(seed=9)
    found = score(images)
    assert found.shape == (40,) and found.dtype == np.float64 and (0 <= found).all() and (found <= 1).all()
    assert found[labels == 1].min() > found[labels == 0].max()


@every_scorer
def test_a_score_depends_on_the_training_subset_and_the_patch_alone(name):
    """Fitted on the subset: other patches scored beside it change nothing."""
    score = trivial.SCORERS[name](*two_kinds())
    images, _ = two_kinds(seed=9)
    together = score(images)
    alone = np.concatenate([score(images[i : i + 1]) for i in range(len(images))])
    assert together == pytest.approx(alone, abs=1e-6)
    assert not np.allclose(trivial.SCORERS[name](*two_kinds(seed=4))(images), together) or name in ("centre", "volume")


@every_scorer
def test_labels_the_other_way_round_turn_the_score_round(name):
    images, labels = two_kinds()
    tests, _ = two_kinds(seed=9)
    one, other = (trivial.SCORERS[name](images, y)(tests) for y in (labels, 1 - labels))
    assert one == pytest.approx(1 - other, abs=1e-6)


@every_scorer
def test_it_works_from_one_patch_of_each_class(name):
    images, labels = two_kinds(1)
    assert np.isfinite(trivial.SCORERS[name](images, labels)(images)).all()


@every_scorer
def test_a_patch_without_contrast_gets_a_finite_score(name):
    flat = np.full((2, 50, 50), 7, np.uint8)
    assert np.isfinite(trivial.SCORERS[name](*two_kinds())(flat)).all()
    assert np.isfinite(trivial.SCORERS[name](np.concatenate([flat, flat]), np.array([0, 1, 0, 1]))(flat)).all()


def test_the_histogram_knows_nothing_of_shape():
    score = trivial.histogram(*two_kinds())
    images, _ = two_kinds(seed=9)
    shuffled = np.random.default_rng(0).permuted(images.reshape(len(images), -1), axis=1).reshape(images.shape)
    assert score(shuffled) == pytest.approx(score(images), abs=1e-12)


def test_the_centre_looks_at_the_centre_alone():
    score = trivial.centre(*two_kinds())
    images, _ = two_kinds(seed=9)
    outside = images.copy()
    outside[:, :15] = 255
    assert (score(outside) == score(images)).all()


def test_the_nearest_neighbour_remembers_and_ignores_brightness_and_contrast():
    images, labels = two_kinds()
    score = trivial.nearest(images, labels)
    assert ((score(images) > 0.5) == labels).all()
    changed = np.clip(images * 0.8 + 10, 0, 255).astype(np.uint8)
    assert score(changed) == pytest.approx(score(images), abs=0.01)


def test_in_space_as_on_the_plane():
    """Balls and blocks of voxels are told apart by the same four."""
    images, labels = two_kinds()
    deep = np.repeat(images[:, None], 6, axis=1)
    for name, scorer in trivial.SCORERS.items():
        found = scorer(deep, labels)(deep)
        assert found[labels == 1].min() > found[labels == 0].max(), name
