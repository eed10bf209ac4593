"""The twin of the WMH challenge is written as the challenge is, and its labels hold the volumes its images show."""

import json
import os

import numpy as np
import pytest

from fewscans import twins
from fewscans.data import box, wmh2017
from fewscans.data.formats import nifti
from fewscans.errors import DataError
from fewscans.stats.icc import icc
from fewscans.twins import brain, flair, lesions
from fewscans.twins import wmh2017 as twin

from .files import contents

SETTINGS = {"scans_per_site": 10, "grid": "coarse", "seed": 0}
SMALL = SETTINGS | {"scans_per_site": 4}
SPEC = twins.spec("wmh2017", SETTINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return twins.write("wmh2017", tmp_path_factory.mktemp("twins") / "wmh2017", SPEC)


@pytest.fixture(scope="module")
def scans(folder):
    return wmh2017.read(folder, twin.SIZES["coarse"])


@pytest.fixture(scope="module")
def cases():
    """Cases as drawn, by their name in the reader."""
    return {
        f"{site}/{which * 10 + number}": twin.draw_case(SPEC, site, number)
        for which, site in enumerate(twin.SITES)
        for number in range(3)
    }


def voxel_ml(case):
    return np.prod(case.spacing_mm) / 1000


def test_the_layout_is_that_of_the_second_release(folder):
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    places = [f"{site.folder}/{which * 10 + k}" for which, site in enumerate(twin.SITES.values()) for k in range(10)]
    names = ("orig/FLAIR.nii.gz", "pre/FLAIR.nii.gz", "wmh.nii.gz")
    assert files == {"twin.json", *(f"{place}/{name}" for place in places for name in names)}
    about = json.loads((folder / "twin.json").read_text())
    assert (about["twin"], about["layout"], about["scans_per_site"]) == ("wmh2017", "wmh2017", 10)


def test_our_reader_takes_it_and_the_crop_holds_every_lesion(scans):
    assert scans.images.shape == (30, *twin.SIZES["coarse"])
    assert scans.about["site"].value_counts().to_dict() == dict.fromkeys(twin.SITES, 10)
    assert scans.about["inside"].min() > 0.97
    assert {split: len(scans.indices(split)) for split in ("train", "val", "test")} == {
        "train": 12, "val": 3, "test": 15
    }  # fmt: skip


def test_files_run_to_the_left_and_the_back_and_are_read_as_they_were_drawn(folder, cases):
    nibabel = pytest.importorskip("nibabel")
    for stage, of in (("pre", "corrected"), ("orig", "original")):
        found = wmh2017.find_cases(folder, stage)
        for row, name in enumerate(found.cases["case"]):
            if name in cases:
                case, read = cases[name], found.read(row)
                assert nibabel.aff2axcodes(nibabel.load(read.flair.path).affine) == ("L", "P", "S")
                assert np.array_equal(read.flair.array, getattr(case, of))
                assert np.array_equal(read.wmh, case.labels == 1) and np.array_equal(read.other, case.labels == 2)
                assert read.flair.spacing_mm == pytest.approx(case.spacing_mm)
                assert read.flair.affine[:3, 3] == pytest.approx(case.origin_mm[::-1], abs=1e-3)


@pytest.mark.parametrize("site", twin.SITES)
def test_grids_are_whole_blocks_of_the_published_one(site):
    published = twin.SITES[site]
    for name, (blocks, _) in twin.GRIDS.items():
        grid, parts = twin._grid(site, name)
        assert np.array(grid.shape) // parts == pytest.approx(np.array(published.shape) // blocks[site])
        assert grid.spacing * parts == pytest.approx(np.array(published.spacing_mm) * blocks[site])
    assert np.prod(twin.SIZES["coarse"]) <= 8000 and np.prod(twin.SIZES["medium"]) <= 30_000


@pytest.mark.parametrize("site", twin.SITES)
def test_a_sites_volumes_are_distributed_as_published(site):
    s = twin.SITES[site]
    drawn = np.array([twin.volume_ml(site, (k + 0.5) / 2000) for k in range(2000)])
    assert np.median(drawn) == pytest.approx(s.median, rel=0.01)
    assert drawn.min() == pytest.approx(s.low, rel=0.01) and drawn.max() == pytest.approx(s.high, rel=0.01)
    assert drawn.mean() == pytest.approx(s.mean, rel=0.05) and drawn.std() == pytest.approx(s.sd, rel=0.05)


def test_few_scans_have_their_sites_median_too(scans):
    for site, s in twin.SITES.items():
        ml = scans.target[scans.about["site"].to_numpy() == site]
        assert s.median / 1.8 < np.median(ml) < s.median * 1.8
        assert s.low - 0.3 < ml.min() < ml.max() < s.high + 0.2


def test_the_label_is_the_volume_that_the_image_shows(cases):
    """And the image shows most of it in voxels that are partly filled."""
    partly = 0
    for case in cases.values():
        labelled, shown = (case.labels == 1).sum(), float(case.ill.sum())
        assert abs(labelled - shown) <= max(0.02 * labelled, 0.1)
        assert case.ill[case.labels == 1].min() >= case.ill[case.labels != 1].max()
        partly += case.ill[(case.ill > 0.02) & (case.ill < 0.9)].sum() / shown / len(cases)
    assert partly > 0.5


def test_the_image_is_brighter_where_the_label_says_lesion_than_in_the_white_matter_around(cases):
    """Read off the image alone, and the more so the more of a voxel is lesion."""
    from scipy.ndimage import binary_dilation

    brighter, steps = [], []
    for case in cases.values():
        labelled = case.labels == 1
        around = binary_dilation(labelled, iterations=2) & (case.ill < 0.01) & (case.labels == 0)
        around &= case.corrected > 0.6 * flair.WHITE
        brighter.append(np.median(case.corrected[labelled]) / np.median(case.corrected[around]))
        partly = (case.ill > 0.05) & (case.labels != 2)
        steps.append(np.corrcoef(case.ill[partly], case.corrected[partly])[0, 1])
    assert np.median(brighter) > 1.1 and min(brighter) > 1 and np.median(steps) > 0.5


def test_where_voxels_are_small_the_label_is_the_challenges_rule():
    """A ball of 1.8 ml in voxels of 3 x 1 x 1 mm: the fullest voxels, as many as its volume, are those over half."""
    at = [np.arange(24)[:, None, None], np.arange(24)[None, :, None], np.arange(24)[None, None, :]]
    field = (8.0 - np.sqrt(sum(np.square(axis - 11.7) for axis in at))).astype(np.float32)
    level = lesions.level_of(field, np.ones_like(field), 1800.0, 1.0)
    ill = lesions.block_means(brain.share(field - np.float32(level), 1.0), (3, 1, 1))
    assert 3 * ill.sum() == pytest.approx(1800, rel=1e-3)
    chosen, half = lesions.fullest(ill, 600), ill > 0.5
    assert chosen.sum() == 600 and np.count_nonzero(chosen ^ half) < 0.05 * 600


def test_lesions_are_bright_and_lie_at_the_ventricles_and_apart(cases):
    for case in cases.values():
        brightest = case.corrected[case.ill > 0.9]
        rest = case.corrected[(case.corrected > 0.6 * flair.WHITE) & (case.ill == 0)]
        assert not brightest.size or np.median(brightest) > 1.2 * np.median(rest)
    from scipy.ndimage import label

    apart = [label(case.labels == 1, np.ones((3, 3, 3)))[1] for case in cases.values()]
    assert np.median(apart) >= 5


def test_other_pathology_is_there_now_and_then_and_never_counted(scans, cases):
    other = scans.about["other_ml"].to_numpy()
    assert 0.1 < (other > 0).mean() < 0.6
    for case in cases.values():
        assert case.ill[case.labels == 2].sum() < 0.1 * max((case.labels == 2).sum(), 1)
    assert abs(np.corrcoef(other, scans.target)[0, 1]) < 0.6
    for name, case in cases.items():
        number = scans.target[scans.case == name][0]
        assert number == pytest.approx((case.labels == 1).sum() * voxel_ml(case))


def test_neither_mean_intensity_nor_a_histogram_gives_the_volume_away(scans, cases):
    """That the check can fail: how much lesion there is, cut off at nothing, gives it away."""

    def agreement(features):
        return icc(np.column_stack([scans.target, box.predicted(features, scans.target, scans.group)])).value

    grey = scans.images.reshape(len(scans), -1) / 255
    histogram = np.stack([np.histogram(one, 16, (0, 1))[0] / one.size for one in grey])
    bright = histogram[:, 10:].sum(axis=1, keepdims=True)
    assert agreement(grey.mean(axis=1, keepdims=True)) < 0.8
    assert agreement(histogram) < 0.8 and agreement(bright) < 0.8
    assert agreement((scans.about["voxels"].to_numpy() + 1.0)[:, None]) > 0.95


def test_the_ill_have_larger_ventricles_but_not_by_much():
    load = np.random.default_rng(0).standard_normal(400)
    people = [brain.draw_person(float(z), np.random.default_rng([1, k])) for k, z in enumerate(load)]
    for trait in ("ventricles", "sulci"):
        assert 0.15 < np.corrcoef(load, [getattr(person, trait) for person in people])[0, 1] < 0.55


def test_both_halves_of_a_brain_are_alike_but_no_mirror_images(cases):
    for case in cases.values():
        head = case.corrected[6:].astype(float)
        middle = round(wmh2017.centre_of_mass(head)[2])
        half = min(middle, head.shape[2] - 1 - middle)
        left, right = head[:, :, middle - half : middle], head[:, :, middle + 1 : middle + half + 1][:, :, ::-1]
        assert 0.5 < np.corrcoef(left.ravel(), right.ravel())[0, 1] < 0.99


def test_the_corrected_image_is_the_more_even_one(cases):
    """Over the brain's middle, where all tissues are everywhere."""
    evener = []
    for case in cases.values():
        low, high = [np.array(case.labels.shape) // 2 + sign * np.array([3, 6, 4]) for sign in (-1, 1)]
        middle = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        where = (case.ill[middle] == 0) & (case.original[middle] > 0.5 * flair.WHITE) & (case.labels[middle] == 0)
        spread = [np.std(np.log(image[middle][where])) for image in (case.corrected, case.original)]
        evener.append(spread[0] < spread[1])
    assert np.mean(evener) > 0.75


def test_noise_without_signal_is_rayleighs_and_beside_much_signal_normal():
    rng = np.random.default_rng(0)
    nothing = flair.receive(np.zeros((20, 40, 40), np.float32), 0.05, rng) / flair.WHITE
    assert nothing.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.02)
    much = flair.receive(np.ones((20, 40, 40), np.float32), 0.05, rng) / flair.WHITE
    assert much.std() == pytest.approx(0.05, rel=0.03) and much.mean() == pytest.approx(1, rel=0.01)


def test_sites_differ_in_contrast(scans):
    grey = scans.images.reshape(len(scans), -1) / 255
    mean = {site: grey[scans.about["site"].to_numpy() == site].mean() for site in twin.SITES}
    assert np.ptp(list(mean.values())) > 0.03


def test_one_spec_gives_the_same_bytes_however_many_processes_and_another_seed_others(tmp_path, monkeypatch):
    spec = twins.spec("wmh2017", SMALL)
    monkeypatch.setattr("fewscans.twins.wmh2017.WORTH_A_PROCESS", 6)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    alone = contents(twins.write("wmh2017", tmp_path / "alone", spec))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert contents(twins.write("wmh2017", tmp_path / "shared", spec)) == alone
    one, other = (twin.draw_case(twins.spec("wmh2017", SMALL | {"seed": seed}), "Utrecht", 0) for seed in (0, 1))
    assert not np.array_equal(one.corrected, other.corrected) and not np.array_equal(one.labels, other.labels)
    for name, content in alone.items():
        if name.endswith(".gz"):
            assert content[3:8] == bytes(5)  # neither a file's name nor a time in gzip's header


def test_a_scan_depends_on_its_own_number_only():
    one, other = (twin.draw_case(twins.spec("wmh2017", SMALL | {"scans_per_site": n}), "Singapore", 3) for n in (4, 90))
    assert np.array_equal(one.corrected, other.corrected) and np.array_equal(one.labels, other.labels)


def test_its_statistics_stand_beside_what_is_published(folder, scans):
    table = twin.statistics(folder).set_index(["site", "quantity"])
    assert table.twin["all", "scans"] == 30 and table.wmh2017["all", "scans"] == 60
    assert table.twin["all", "mean"] == pytest.approx(scans.target.mean())
    here = scans.target[scans.about["site"].to_numpy() == "Utrecht"]
    assert table.twin["Utrecht", "median"] == pytest.approx(np.median(here))
    assert table.wmh2017["Utrecht", "median"] == 24.13


def test_images_have_as_many_values_as_a_scanner_gives(folder):
    volume = nifti.read(next(folder.rglob("pre/FLAIR.nii.gz")))
    assert np.array_equal(volume.array, np.rint(volume.array)) and 300 < volume.array.max() < 32767


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scans_per_site": 3}, "scans_per_site is 3; it must be a whole number from 4"),
        ({"scans_per_site": 4.0}, r"scans_per_site is 4\.0"),
        ({"grid": "fine"}, "grid is 'fine'; it must be one of coarse, medium, published"),
        ({"grid": ["coarse"]}, "grid is .'coarse'.; it must be one of"),
        ({"seed": -1}, "seed is -1"),
        ({"scans": 60}, "unknown setting scans; its settings are scans_per_site"),
    ],
)
def test_an_impossible_setting_is_named(change, words):
    with pytest.raises(DataError, match=words):
        twins.spec("wmh2017", SETTINGS | change)
