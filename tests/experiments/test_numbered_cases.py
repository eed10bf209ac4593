"""Scans come as a grid asks for them: averaged in blocks, or with the share of a part for their number."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewscans import paths
from fewscans.data import msd, pvs, wmh2017
from fewscans.errors import DataError
from fewscans.experiments import hydranet, numbered_cases

from ..malformed import msd as folders
from .toy_scans import make_scans

GRID = {"arms": {"base": (12,)}, "seeds": 1, "steps": 1, "eval_every": 1, "intensities": "unit"}


def grid(**changes) -> hydranet.Grid:
    return hydranet.Grid(**{**GRID, "window": (4, 6, 4), **changes})


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Readers that hand out toy scans, and what they were asked for."""
    calls = []

    def numbered(path, window, **options):
        calls.append((path, window, options))
        return make_scans(shape=(4, 6, 4))

    monkeypatch.setattr(paths, "build", lambda: tmp_path)
    monkeypatch.setattr(wmh2017, "numbered", numbered)
    monkeypatch.setattr(pvs, "numbered", numbered)
    return calls


def test_an_unknown_data_set_is_refused_with_those_that_are_known():
    known = "hydranet cannot read 'luna16'; it reads msd-hippocampus,.* wmh2017, wmh2017-40-20, pvs"
    with pytest.raises(DataError, match=known):
        hydranet.read("luna16", Path("x"), grid())


@pytest.mark.parametrize("dataset", ["wmh2017", "pvs"])
def test_scans_are_means_over_blocks_and_their_voxels_as_much_larger(asked, tmp_path, dataset):
    whole, half = (hydranet.read(dataset, Path("x"), grid(downsample=factor)) for factor in (1, 2))
    assert half.images.shape[1:] == (2, 3, 2) and half.images.dtype == np.uint8
    blocks = whole.images.reshape(-1, 2, 2, 3, 2, 2, 2).mean((2, 4, 6))
    assert np.abs(half.images - blocks).max() <= 0.501, "to the nearest intensity"
    assert (half.spacing_mm == 2 * whole.spacing_mm).all() and (half.number == whole.number).all()
    assert half.fingerprint != whole.fingerprint, "which is in the key of every run"
    assert [call[1] for call in asked] == [(4, 6, 4)] * 2
    assert all(call[2]["cache"] == tmp_path / "scans" for call in asked)


def test_the_unit_of_the_challenge_s_labels_is_the_grid_s(asked):
    for unit, expected in ((None, "ml"), ("ml", "ml"), ("voxels", "voxels")):
        hydranet.read("wmh2017", Path("x"), grid(unit=unit))
        assert asked.pop()[2]["unit"] == expected


def test_the_paper_s_larger_training_set_leaves_34_scans_to_train_on_and_18_to_test(asked):
    for name, test in (("wmh2017", 30), ("wmh2017-40-20", 18)):
        hydranet.read(name, Path("x"), grid())
        held_out = asked[-1][2]["held_out"]
        sites = np.repeat(["Utrecht", "Singapore", "Amsterdam GE3T"], 20)
        cases = pd.DataFrame({"site": sites, "part": "training", "case": [f"{k:03}" for k in range(60)]})
        split = wmh2017._split(cases, False, held_out)
        assert [(split == part).sum() for part in ("test", "val", "train")] == [test, 6, 54 - test]


def test_the_fraction_is_the_anterior_part_s_share_of_the_same_scans(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "build", lambda: tmp_path / "build")
    folder, small = folders.write(tmp_path / "copy"), grid(window=(24, 40, 30), downsample=2)
    volume, share = (hydranet.read(f"msd-hippocampus{name}", folder, small) for name in ("", "-fraction"))
    plain = msd.hippocampus(folder, (24, 40, 30), factor=2)
    assert np.array_equal(volume.images, plain.images) and np.array_equal(volume.number, plain.number)
    assert np.array_equal(share.images, volume.images) and (share.split == volume.split).all()
    assert share.number == pytest.approx(volume.about["anterior_ml"].to_numpy() / volume.number)
    assert ((0 < share.number) & (share.number < 1)).all()
    assert (share.unit, volume.unit) == ("anterior share", "ml") and share.fingerprint != volume.fingerprint
    pd.testing.assert_frame_equal(share.about, volume.about)


def test_the_code_that_decides_a_run_has_its_reader_and_no_other():
    for dataset, reader in (("pvs", "pvs"), ("wmh2017", "wmh2017"), ("msd-hippocampus-fraction", "msd")):
        found = hydranet.code(dataset)
        assert set(hydranet.SHARED_CODE) < set(found)
        assert {"fewscans.data.pvs", "fewscans.data.wmh2017", "fewscans.data.msd"} & set(found) == {
            f"fewscans.data.{reader}"
        }
    assert set(numbered_cases.READERS) == {
        "msd-hippocampus", "msd-hippocampus-fraction", "wmh2017", "wmh2017-40-20", "pvs",
    }  # fmt: skip
