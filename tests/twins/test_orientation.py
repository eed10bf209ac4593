"""The control in which orientation is the label: all of it is in the orientation, and nowhere else."""

import numpy as np
import pytest

from fewscans import twins
from fewscans.data import registry
from fewscans.errors import DataError
from fewscans.stats.auc import auc
from fewscans.twins import orientation

ROTATIONS = [(k, False) for k in range(4)]


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    spec = twins.spec("orientation", {"cases": 1200, "noise": 0.3, "seed": 0})
    folder = twins.write("orientation", tmp_path_factory.mktemp("twins") / "orientation", spec)
    return registry.dataset("orientation").read(folder)


def average(images, elements):
    """The mean of an image's turned copies: all that an invariant function of the pixels can see, to first order."""
    return np.mean([orientation.turned(images, *element) for element in elements], axis=0)


def linear_auc(features, patches):
    """How well a ridge regression on these features tells the labels of the test split."""
    features = features.reshape(len(features), -1).astype(float)
    train, test = patches.indices("train"), patches.indices("test")
    mean, labels = features[train].mean(axis=0), patches.target
    gram = (features[train] - mean) @ (features[train] - mean).T
    weights = np.linalg.solve(
        gram + 0.1 * np.trace(gram) / len(gram) * np.eye(len(gram)), labels[train] - labels[train].mean()
    )
    return auc(labels[test], (features[test] - mean) @ ((features[train] - mean).T @ weights))


def test_only_the_identity_maps_the_shape_onto_itself():
    copies = [orientation.turned(orientation.shape(), *element).ravel() for element in orientation.ELEMENTS]
    assert len(copies) == 8
    correlations = np.corrcoef(copies)
    assert (correlations - np.eye(8)).max() < 0.7


def test_turning_commutes_with_the_networks_central_crop():
    shape = orientation.shape()
    for element in orientation.ELEMENTS:
        cropped_after = orientation.turned(shape, *element)[1:-1, 1:-1]
        assert np.array_equal(cropped_after, orientation.turned(shape[1:-1, 1:-1], *element))


@pytest.mark.parametrize("reflected", [False, True])
def test_every_orbit_of_the_rotations_holds_as_many_of_either_label(reflected):
    assert sorted(k % 2 for k in range(4)) == [0, 0, 1, 1]
    orbit = [orientation.turned(orientation.shape(), k, reflected) for k in range(4)]
    for label in (0, 1):
        of_label = [average(orbit[k], ROTATIONS) for k in range(4) if k % 2 == label]
        for image in of_label:
            np.testing.assert_allclose(image, average(orbit[0], ROTATIONS), atol=1e-6)


def test_patches_show_the_shape_turned_as_their_label_says(patches):
    copies = {e: orientation.turned(orientation.shape(), *e).ravel() for e in orientation.ELEMENTS}
    z = np.stack([c - c.mean() for c in copies.values()])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    best = (patches.images.reshape(len(patches), -1).astype(float) @ z.T).argmax(axis=1)
    elements = list(copies)
    assert [elements[b][0] % 2 for b in best] == patches.target.tolist()
    assert np.bincount(best, minlength=8).min() > len(patches) / 8 * 0.7


def test_labels_are_plain_in_the_pixels_and_gone_in_their_average_over_the_group(patches):
    assert linear_auc(patches.images, patches) > 0.99
    chance = 3.5 * 0.289 / np.sqrt(len(patches.indices("test")) / 4)  # 3.5 standard errors of an AUC at chance
    for elements in (ROTATIONS, orientation.ELEMENTS):
        assert abs(linear_auc(average(patches.images, elements), patches) - 0.5) < chance


def test_labels_are_not_in_brightness_contrast_or_histogram(patches):
    images = patches.images
    histogram = np.stack([((images >= 16 * b) & (images < 16 * b + 16)).mean(axis=(1, 2)) for b in range(16)], axis=1)
    chance = 3.5 * 0.289 / np.sqrt(len(patches) / 4)
    for feature in (images.mean(axis=(1, 2)), images.std(axis=(1, 2)), images[:, 20:30, 20:30].mean(axis=(1, 2))):
        assert abs(auc(patches.target, feature) - 0.5) < chance
    assert abs(linear_auc(histogram, patches) - 0.5) < 3.5 * 0.289 / np.sqrt(len(patches.indices("test")) / 4)


def test_noise_is_drawn_anew_for_every_case(patches):
    copies = np.stack([orientation.turned(orientation.shape(), *e) for e in orientation.ELEMENTS])
    away = copies.max(axis=0) < 1e-3  # ground in every orientation
    ground = patches.images[:200, away].astype(float)
    correlations = np.corrcoef(ground) - np.eye(200)
    assert np.abs(correlations).max() < 0.3


@pytest.mark.parametrize(
    ("change", "words"), [({"cases": 50}, "cases is 50"), ({"noise": -1.0}, "noise is -1"), ({"scans": 3}, "scans")]
)
def test_an_impossible_setting_is_named(change, words):
    with pytest.raises(DataError, match=words):
        twins.spec("orientation", {"cases": 300, "noise": 0.3, "seed": 0} | change)
