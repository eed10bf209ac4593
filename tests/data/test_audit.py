"""A patch seen twice, a little apart, is found; strangers are not."""

import numpy as np
import pytest

from fewscans.data import audit


def scenes(n, seed, side=70):
    """Smooth random images, larger than a patch."""
    white = np.fft.rfft2(np.random.default_rng(seed).normal(size=(n, side, side)))
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]) * side
    smooth = np.fft.irfft2(white * np.exp(-((f / 8) ** 2)), s=(side, side))
    return smooth / smooth.std()


def test_the_same_scene_up_to_eight_pixels_off_is_found():
    wide = scenes(40, seed=0)
    here = wide[:, 10:60, 10:60]
    for y, x in ((0, 0), (8, -8), (-5, 3)):
        there = wide[::-1, 10 + y : 60 + y, 10 + x : 60 + x]
        best, correlation = audit.nearest(here, there)
        assert np.array_equal(best, np.arange(40)[::-1])
        assert correlation.min() > 0.999


def test_brightness_and_contrast_do_not_hide_a_duplicate():
    here = scenes(10, seed=1)[:, 10:60, 10:60]
    best, correlation = audit.nearest(here, 40 + 17 * here)
    assert np.array_equal(best, np.arange(10)) and correlation.min() > 0.999


def test_strangers_and_scenes_further_off_do_not_match():
    wide = scenes(40, seed=2)
    assert audit.nearest(wide[:20, 10:60, 10:60], wide[20:, 10:60, 10:60])[1].max() < 0.9
    assert audit.nearest(wide[:20, 0:50, 0:50], wide[:20, 20:70, 20:70])[1].max() < 0.9


def test_a_blank_patch_matches_nothing():
    images = scenes(5, seed=3)[:, 10:60, 10:60]
    assert np.abs(audit.nearest(np.full((2, 50, 50), 9.0), images)[1]).max() == 0


@pytest.mark.parametrize("shift", [-1, 25])
def test_what_cannot_be_compared_is_refused(shift):
    images = np.zeros((2, 50, 50))
    with pytest.raises(ValueError, match="leaves no centre"):
        audit.nearest(images, images, shift)
    with pytest.raises(ValueError, match="0 references"):
        audit.nearest(images, images[:0])


def test_the_repositorys_split_of_the_real_file_leaks_and_the_scan_disjoint_one_does_not(real_patches):
    leaky, disjoint = (audit.near_duplicates(real_patches, repository) for repository in (True, False))
    assert (len(leaky), len(disjoint)) == (282, 245)
    assert len(leaky.above(0.99)) == 7 and leaky.above(0.99).same_scan.all()
    assert len(disjoint.above(0.99)) == 0 and not disjoint.same_scan.any()
    assert 20 <= leaky.above(0.9).same_scan.sum() <= 28
