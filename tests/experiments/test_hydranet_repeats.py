"""Regression from sums, again: the same bytes, cut or not; the same network, branched or streamed; and it learns."""

from dataclasses import replace

import pytest
import torch

from fewscans import store
from fewscans.experiments.base import Run
from fewscans.experiments.hydranet import EXPERIMENT, Grid
from fewscans.experiments.hydranet.arms import ARMS
from fewscans.stats.icc import agreement

from ..malformed import hydranet as malformed
from .toy_scans import SHAPE, make_scans

CPU = torch.device("cpu")
N = 12
GRID = Grid(arms={"base": (N,), "hydra-4": (N,)}, seeds=2, steps=4, eval_every=2, window=SHAPE, intensities="standard")
WAYS = {
    "branched": ("hydra-4", {}),
    "streamed": ("hydra-4", {"form": "streamed", "decay": True}),
    "decay": ("hydra-2", {"decay": True}),
    "dropout": ("base-dropout", {"decay": True}),
    "dropout, streamed": ("base-dropout", {"form": "streamed"}),
    "blends": ("c-mixup", {}),
    "permuted": ("hydra-4-permuted", {}),
}
# one of each kind; that the gradients of one update agree is tested for every arm
STREAMED = (
    "base", "base-mae", "base-centred", "base-dropout", "hydra-2", "hydra-4", "hydra-8", "hydra-4-p50", "hydra-4-mae",
    "hydra-4-centred", "hydra-4-replacement", "hydra-4-fixed", "hydra-4-permuted",
)  # fmt: skip
every_way = pytest.mark.parametrize("way", WAYS)


class Cut(Exception):
    """Stands in for a kill."""


@pytest.fixture(scope="module")
def scans():
    return make_scans()


def trained(arm, data, seed=1, n=N, rate=1.0, grid=GRID, **options):
    grid = replace(grid, arms={arm: (n,)})
    return EXPERIMENT.train_run(Run(seed, n, arm, 0.0 if ARMS[arm].trivial else rate), grid, data, CPU, **options)


def same(a, b) -> bool:
    (a, weights), (b, weights_too) = a, b
    equal = weights.keys() == weights_too.keys() and all(torch.equal(weights[k], weights_too[k]) for k in weights)
    return a.predictions.equals(b.predictions) and a.history == b.history and equal


@every_way
def test_a_run_that_was_cut_ends_as_if_it_had_not_been(scans, tmp_path, way):
    arm, changes = WAYS[way]
    grid, count = replace(GRID, steps=6, **changes), 0

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
    assert told == [4, 1, 1], "it went on from the checkpoint"


def test_the_same_run_twice_gives_the_same_bytes_and_another_seed_others(scans, tmp_path):
    made = [trained("hydra-4", scans, seed) for seed in (0, 0, 1)]
    for number, (entry, _) in enumerate(made):
        store.write_table(entry.predictions, tmp_path / str(number), {"history": entry.history})
    first, again, other = ((tmp_path / str(number)).read_bytes() for number in range(3))
    assert first == again != other and same(*made[:2])


def test_an_interrupted_run_of_several_networks_restarts_from_its_first_and_ends_alike(scans, tmp_path):
    """One checkpoint could not tell which network it is of."""
    whole = trained("hydra-4-unseen", scans)
    told = []

    def cut(steps):
        told.append(steps)
        if sum(told) > 2:
            raise Cut

    with pytest.raises(Cut):
        trained("hydra-4-unseen", scans, checkpoint=tmp_path / "c", on_step=cut)
    assert same(whole, trained("hydra-4-unseen", scans, checkpoint=tmp_path / "c"))


@pytest.mark.parametrize("arm", STREAMED)
def test_streamed_training_ends_with_the_branched_network(scans, arm):
    grid = replace(GRID, steps=4 if ARMS[arm].share == 1 else 8, eval_every=4)
    (a, branched), (b, streamed) = (
        trained(arm, scans, grid=replace(grid, form=form)) for form in ("branched", "streamed")
    )
    assert max(float((branched[k] - streamed[k]).abs().max()) for k in branched) < 1e-4
    assert a.predictions["prediction"].to_numpy() == pytest.approx(b.predictions["prediction"].to_numpy(), abs=1e-3)
    assert a.predictions.columns.equals(b.predictions.columns) and a.record["images"] == b.record["images"]


def test_sums_of_four_teach_what_single_scans_do_and_sums_of_others_do_not():
    """How much of a scan is bright: anything learns that, unless the labels are of other sets."""
    data = make_scans(persons=60, shape=(2, 4, 4), dots=32, noise=(0, 30))
    grid = replace(
        GRID, steps=120, eval_every=120, window=(2, 4, 4), intensities="unit", decay=True, max_angle_rad=0.0,
        max_shift_voxels=0.0,
    )  # fmt: skip
    icc = {}
    for arm in ("base-compute", "hydra-4", "hydra-4-permuted"):
        entry, _ = trained(arm, data, 0, 40, 2.0, grid)
        rows = entry.predictions.query("arm == @arm and split == 'test'")
        icc[arm] = agreement(rows["target"].to_numpy(), rows["prediction"].to_numpy())
    assert icc["base-compute"] > 0.8 and icc["hydra-4"] > 0.8, icc
    assert icc["hydra-4-permuted"] < icc["hydra-4"] - 0.15, icc


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
    arms = [arm for arm, spec in ARMS.items() if spec.computed_with is None]
    EXPERIMENT.check(replace(GRID, arms=dict.fromkeys(arms, (N,))), scans)
    EXPERIMENT.check(replace(GRID, arms={"hydra-4-replacement": (3,), "base": (4,), "histogram": (1,)}), scans)
