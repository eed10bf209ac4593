"""Regression from sums, again: the same bytes, cut or not; it learns; and what cannot be is said before."""

from dataclasses import replace

import pytest
import torch

from fewscans import store
from fewscans.experiments.base import Run
from fewscans.experiments.hydranet import EXPERIMENT, Grid, noise
from fewscans.experiments.hydranet.arms import ARMS

from ..malformed import hydranet as malformed
from .toy_scans import SHAPE, make_scans

CPU = torch.device("cpu")
N = 12
GRID = Grid(
    arms={"base": (N,), "hydra-4": (N,)}, seeds=2, steps=6, eval_every=4, learning_rates=(1e-3,), images=8, warm_up=1,
    window=SHAPE,
)  # fmt: skip
WAYS = {
    "sums": ("hydra-4", {}),
    "half": ("hydra-2", {"half": True}),
    "published": ("base-published", {"images": 16}),
    "dropout": ("base-dropout", {}),
    "permuted": ("hydra-4-permuted", {"folds": 5}),
    "probe": ("base-probe", {}),
}
every_way = pytest.mark.parametrize("way", WAYS)


class Cut(Exception):
    """Stands in for a kill."""


@pytest.fixture(scope="module")
def scans():
    return make_scans()


def trained(arm, data, seed=1, n=N, rate=1e-3, grid=GRID, **options):
    grid = replace(grid, arms={arm: (n,)})
    return EXPERIMENT.train_run(Run(seed, n, arm, 0.0 if ARMS[arm].trivial else rate), grid, data, CPU, **options)


def same(a, b) -> bool:
    (a, weights), (b, weights_too) = a, b
    equal = weights.keys() == weights_too.keys() and all(torch.equal(weights[k], weights_too[k]) for k in weights)
    return a.predictions.equals(b.predictions) and a.history == b.history and equal


@pytest.fixture
def few_batches(monkeypatch):
    """To measure gradients on."""
    for name, few in (("BATCHES", 2), ("IN_PARTS", 1), ("POINTS", 2)):
        monkeypatch.setattr(noise, name, few)


@every_way
def test_a_run_that_was_cut_ends_as_if_it_had_not_been(scans, tmp_path, few_batches, way):
    arm, changes = WAYS[way]
    grid, count = replace(GRID, **changes), 0

    def cut(steps):
        nonlocal count
        count += steps
        if count == 5:
            raise Cut

    whole = trained(arm, scans, grid=grid)
    with pytest.raises(Cut):
        trained(arm, scans, grid=grid, checkpoint=tmp_path / "c", on_step=cut)
    told = []
    assert same(whole, trained(arm, scans, grid=grid, checkpoint=tmp_path / "c", on_step=told.append))
    assert told[0] >= 3 and len(told) == 7 - told[0], "it went on from the checkpoint"


def test_the_same_run_twice_gives_the_same_bytes_and_another_seed_others(scans, tmp_path):
    made = [trained("hydra-4", scans, seed) for seed in (0, 0, 1)]
    for number, (entry, _) in enumerate(made):
        store.write_table(entry.predictions, tmp_path / str(number), {"history": entry.history})
    first, again, other = ((tmp_path / str(number)).read_bytes() for number in range(3))
    assert first == again != other and same(*made[:2])


def test_half_precision_changes_a_run_little(scans):
    grid = replace(GRID, steps=30, eval_every=30)
    (whole, _), (half, _) = (trained("hydra-4", scans, grid=replace(grid, half=half)) for half in (False, True))
    one, other = (entry.predictions["prediction"].to_numpy() for entry in (whole, half))
    assert 0 < abs(one - other).max() < 2 * one.std()


def test_sums_of_four_teach_what_single_scans_do_and_sums_of_others_do_not():
    """How much of a scan is bright: anything learns that, unless the labels are of other sets."""
    data = make_scans(persons=60, shape=(2, 4, 4), dots=32, noise=(0, 30))
    grid = replace(GRID, steps=100, eval_every=50, window=(2, 4, 4), images=16, warm_up=10, max_shift_voxels=0.0)
    score, failed = {}, {}
    for arm in ("base", "base-compute", "hydra-4", "hydra-4-permuted"):
        entry, _ = trained(arm, data, 0, 40, 3e-3, grid)
        rows = entry.predictions.query("arm == @arm and split == 'test'")
        score[arm] = 1 - (rows["target"] - rows["prediction"]).pow(2).mean() / rows["target"].var(ddof=0)
        failed[arm] = entry.record["failed"]
    assert min(score[arm] for arm in ("base", "base-compute", "hydra-4")) > 0.5, score
    assert score["hydra-4-permuted"] < 0.2, score
    assert failed == {"base": False, "base-compute": False, "hydra-4": False, "hydra-4-permuted": True}


# What cannot be


@pytest.mark.parametrize("case", malformed.GRIDS)
def test_an_impossible_grid_names_what_is_wrong(case):
    changes, words = malformed.GRIDS[case]
    with pytest.raises(malformed.ParamsError) as raised:
        replace(GRID, **changes)
    assert all(word in str(raised.value) for word in words), raised.value


@pytest.mark.parametrize("case", malformed.SCANS)
def test_scans_that_cannot_carry_a_grid_are_an_error_before_anything_is_trained(scans, case):
    change, changes, kind, words = malformed.SCANS[case]
    with pytest.raises(kind) as raised:
        EXPERIMENT.check(replace(GRID, **changes), change(scans))
    assert all(word in str(raised.value) for word in words), raised.value


def test_good_scans_carry_every_arm(scans):
    for folds in (0, 5):
        EXPERIMENT.check(replace(GRID, arms=dict.fromkeys(ARMS, (N,)), folds=folds), scans)
    EXPERIMENT.check(replace(GRID, arms={"hydra-4-replacement": (3,), "base": (4,), "histogram": (1,)}), scans)
