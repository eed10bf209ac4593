"""The twin passes for the real set: layout, scans as groups, a task neither trivial nor impossible."""

import json

import numpy as np
import pytest

from fewscans import twins
from fewscans.data import audit, registry
from fewscans.data.luna16_patches import FILE
from fewscans.errors import DataError
from fewscans.stats.auc import auc

SETTINGS = {"scans": 80, "candidates_per_scan": 16, "positive_fraction": 0.3, "seed": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = twins.spec("luna16-patches", SETTINGS)
    return twins.write("luna16-patches", tmp_path_factory.mktemp("twins") / "luna16-patches", spec)


@pytest.fixture(scope="module")
def patches(folder):
    return registry.dataset("luna16-patches").read(folder)


def distance_from_centre():
    y, x = np.mgrid[:50, :50] - 24.5
    return np.hypot(y, x)


def test_the_reader_takes_it_and_finds_both_classes_everywhere(patches):
    assert len(patches) == 80 * 16
    assert patches.target.sum() == round(0.3 * 80 * 16)
    for repository in (False, True):
        for split in ("train", "val", "test"):
            assert set(patches.target[patches.indices(split, repository)]) == {0, 1}


def test_the_readers_blocks_are_its_scans(patches):
    groups, counts = np.unique(patches.group, return_counts=True)
    assert len(groups) == 80
    assert (counts == 16).all()


def test_it_is_found_like_a_users_copy(folder):
    assert registry.find("luna16-patches", folder.parent) == folder / FILE


def test_one_spec_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    again = twins.write("luna16-patches", tmp_path / "again", twins.spec("luna16-patches", SETTINGS))
    other = twins.write("luna16-patches", tmp_path / "other", twins.spec("luna16-patches", SETTINGS | {"seed": 1}))
    for name in (FILE, "twin.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
        assert (other / name).read_bytes() != (folder / name).read_bytes()
    assert json.loads((folder / "twin.json").read_text())["scans"] == 80


def test_a_scan_has_traits_of_its_own(patches):
    """Noise varies between scans, and hardly within: what a split that shares scans could give away."""
    images = patches.images.astype(float)
    detail = images[:, 1:, 1:] - images[:, :-1, 1:] - images[:, 1:, :-1] + images[:, :-1, :-1]
    noise = np.log1p(np.median(np.abs(detail), axis=(1, 2))).reshape(80, 16)
    assert noise.mean(axis=1).std() > 2 * noise.std(axis=1).mean() / np.sqrt(16)


def anisotropy(images):
    """How many standard errors gradients differ between the axes, or between the diagonals; the larger."""
    images = images.astype(float)
    axes = np.diff(images, axis=1)[:, :, 1:], np.diff(images, axis=2)[:, 1:]
    diagonals = images[:, 1:, 1:] - images[:, :-1, :-1], images[:, 1:, :-1] - images[:, :-1, 1:]
    difference = [(one**2 - other**2).mean(axis=(1, 2)) for one, other in (axes, diagonals)]
    return max(abs(d.mean()) / d.std() * np.sqrt(len(d)) for d in difference)


@pytest.mark.parametrize("label", [0, 1])
def test_no_orientation_is_special(patches, label):
    images = patches.images[patches.target == label]
    assert anisotropy(images) < 4
    assert anisotropy(images[:, ::2].repeat(2, axis=1)) > 4  # the check sees scans that are coarser one way


def test_nodules_are_bright_in_the_middle_of_dark_lung(patches):
    """Grey levels near the real set's: positives 180 at the centre and 65 beyond 12 pixels, negatives 123 and 64."""
    radius = distance_from_centre()
    for label, centre in ((1, 180), (0, 123)):
        mean = patches.images[patches.target == label].mean(axis=0)
        assert mean[radius < 1].mean() == pytest.approx(centre, abs=30)
        assert mean[radius > 12].mean() == pytest.approx(65, abs=15)


def test_neither_brightness_nor_histogram_solves_the_task_and_the_centre_helps(patches):
    """On real patches: brightness of the centre 0.85, mean brightness near 0.55."""
    images = patches.images
    assert 0.65 < auc(patches.target, images[:, distance_from_centre() < 4].mean(axis=1)) < 0.92
    assert 0.40 < auc(patches.target, images.mean(axis=(1, 2))) < 0.70


def test_a_nodule_marked_twice_leaks_through_the_random_split_only(patches):
    leaky, disjoint = (audit.near_duplicates(patches, repository).above(0.95) for repository in (True, False))
    assert leaky.same_scan.sum() >= 3
    assert not disjoint.same_scan.any()


def test_a_second_mark_shows_the_same_scene_off_centre(patches):
    positive = np.flatnonzero(patches.target == 1)
    pairs = [(a, b) for a, b in zip(positive[:-1], positive[1:], strict=True) if patches.group[a] == patches.group[b]]
    alike = [audit.nearest(patches.images[[a]], patches.images[[b]])[1][0] for a, b in pairs]
    assert 0.05 < np.mean(np.array(alike) > 0.9) < 0.6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scans": 0}, "scans is 0"),
        ({"scans": 2.5}, "scans is 2.5"),
        ({"candidates_per_scan": 622}, "candidates_per_scan is 622; it must be a whole number from 1 to 621"),
        ({"positive_fraction": 1}, "positive_fraction is 1"),
        ({"positive_fraction": "half"}, "positive_fraction is 'half'"),
        ({"positive_fraction": float("nan")}, "positive_fraction is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"noise": 1}, "unknown setting noise; its settings are scans"),
    ],
)
def test_an_impossible_setting_is_named(change, words):
    with pytest.raises(DataError, match=words.replace(".", r"\.")):
        twins.spec("luna16-patches", SETTINGS | change)


def test_a_missing_setting_is_named():
    with pytest.raises(DataError, match="has no seed"):
        twins.spec("luna16-patches", {k: v for k, v in SETTINGS.items() if k != "seed"})


def test_too_few_scans_to_split_are_refused(tmp_path):
    with pytest.raises(DataError, match="20 scans leave the scan-disjoint split"):
        twins.write("luna16-patches", tmp_path / "t", twins.spec("luna16-patches", SETTINGS | {"scans": 20}))
    assert not list(tmp_path.iterdir())
