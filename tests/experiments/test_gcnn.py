"""The planar experiment: fair arms, one plan for all of them, and predictions that can be trusted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans import store, train
from fewscans.data import splits
from fewscans.errors import DataError, RunError
from fewscans.experiments import base, gcnn
from fewscans.experiments.base import Run
from fewscans.experiments.gcnn import EXPERIMENT, Grid, augment
from fewscans.experiments.gcnn.arms import ARMS
from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import act_on_image
from fewscans.stats.auc import auc

CPU = torch.device("cpu")
RATES = (3e-4, 1e-3, 3e-3)
GRID = Grid(arms={"Z2": (10, 20)}, seeds=3, steps=4, eval_every=2, learning_rates=(1e-2,), width=4)


def trained(run: Run, patches, grid: Grid = GRID, **options):
    entry, weights = EXPERIMENT.train_run(run, grid, patches, CPU, **options)
    return entry.predictions, entry, weights


# Subsets and splits


@given(seed=st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_subsets_are_nested_balanced_and_of_the_training_split(patches, seed):
    pool = patches.indices("train")
    previous = set()
    for n in (2, 10, 20, 40):
        subset = splits.nested_balanced(patches.target, pool, n, seed)
        assert previous <= set(subset) <= set(pool) and len(set(subset)) == n
        assert patches.target[subset].sum() == n / 2
        previous = set(subset)


def seen_by(arm, patches, monkeypatch, seed=1, n=20):
    """The batches that an arm trains on."""
    batches = []
    real = train.fit

    def fit(net, n_train, batch, *rest, **more):
        batches.extend(batch(train.batch_indices(n_train, 8, step, seed), step) for step in range(3))
        return real(net, n_train, batch, *rest, **more)

    monkeypatch.setattr(train, "fit", fit)
    trained(Run(seed, n, arm, 1e-2), patches)
    monkeypatch.undo()
    return batches


def test_arms_that_share_a_seed_see_the_same_patches_turned_the_same_way(patches, monkeypatch):
    first = seen_by("Z2", patches, monkeypatch)
    for arm in ("p4m", "p4m-sham", "Z2-wide", "Z2-invariant"):
        for (x, y), (x_too, y_too) in zip(first, seen_by(arm, patches, monkeypatch), strict=True):
            assert torch.equal(x, x_too) and torch.equal(y, y_too), arm
    other = seen_by("Z2", patches, monkeypatch, seed=2)
    assert not torch.equal(first[0][0], other[0][0])


@pytest.mark.parametrize("arm", ["Z2", "nearest"])
def test_nothing_of_the_test_set_reaches_training(patches, arm):
    """Neither its images nor its labels: only predictions on the images that changed change."""
    run = Run(0, 20, arm, 0.0 if arm == "nearest" else 1e-2)
    test = patches.indices("test")
    before, entry, _ = trained(run, patches)
    labels, images = patches.target.copy(), patches.images.copy()
    labels[test] = 1 - labels[test]
    images[test[0]] = 255 - images[test[0]]
    after, entry_after, _ = trained(run, replace(patches, target=labels, images=images))
    assert entry.history == entry_after.history
    same = before["case"] != patches.case[test[0]]
    assert (before["prediction"][same] == after["prediction"][same]).all()
    assert not (before["prediction"][~same] == after["prediction"][~same]).all()


def test_no_arm_uses_the_repository_s_split(patches):
    for arm, rate in (("Z2", 1e-2), ("nearest", 0.0)):
        table, _, _ = trained(Run(0, 10, arm, rate), patches)
        assert set(table["case"]) == set(patches.case[patches.indices("test")]), arm


def test_a_size_the_data_cannot_carry_is_an_error_before_anything_is_trained(patches):
    with pytest.raises(DataError, match=r"subset of 1000 cases is impossible.* largest balanced n is \d+"):
        EXPERIMENT.check(replace(GRID, arms={"Z2": (10,), "histogram": (1000,)}), patches)
    EXPERIMENT.check(GRID, patches)


# Networks


def test_equal_parameters_are_about_equal_and_equal_compute_is_no_more():
    names = ("Z2", "p4", "p4m", "p4-compute", "p4m-compute", "Z2-wide")
    for width in (8, 16):
        nets = {arm: gcnn.model(arm, width, 0) for arm in names}
        plain = nets["Z2"]
        for arm in ("p4", "p4m"):
            assert nets[arm].convolution_parameters() == pytest.approx(plain.convolution_parameters(), rel=0.15)
            assert nets[f"{arm}-compute"].macs() == pytest.approx(plain.macs(), rel=0.15)
        assert nets["Z2-wide"].macs() == nets["p4m"].macs()
        assert nets["Z2-wide"].group.order == 1


def test_the_sham_differs_from_the_group_in_its_geometry_alone():
    true, sham = (gcnn.model(arm, 8, 0) for arm in ("p4m", "p4m-sham"))
    assert sum(p.numel() for p in true.parameters()) == sum(p.numel() for p in sham.parameters())
    assert true.macs() == sham.macs() and true.channels == sham.channels
    assert [p.shape for p in true.parameters()] == [p.shape for p in sham.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(true.parameters(), sham.parameters(), strict=True)), "one start"
    x = torch.randn(2, 1, gcnn.SIZE, gcnn.SIZE, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(true.eval()(x), sham.eval()(x))
    assert not torch.equal(gcnn.model("p4m-sham", 8, 1).eval()(x), sham.eval()(x)), "another seed, another sham"


def test_the_patch_stays_even_at_every_pool():
    net = gcnn.model("p4m", 8, 0)
    sizes = net.feature_sizes()
    assert all(size % 2 == 0 for size, pool in zip(sizes, net.pools, strict=False) if pool for size in size)


def test_a_network_s_start_depends_on_the_seed_alone():
    first, again, other = (gcnn.model("p4m", 4, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.fixture
def longer(monkeypatch):
    """The plain network with twice the updates."""
    monkeypatch.setitem(ARMS, "Z2-longer", replace(ARMS["p4"], group="Z2", updates=2))


def test_progress_counts_what_is_trained(patches, longer):
    for arm in ("Z2", "Z2-longer", "histogram"):
        counted = []
        run = Run(0, 10, arm, 0.0 if arm == "histogram" else 1e-2)
        trained(run, patches, on_step=counted.append)
        assert sum(counted) == EXPERIMENT.steps(run, GRID)
        assert EXPERIMENT.work(run, GRID) > 0
    assert EXPERIMENT.steps(Run(0, 10, "Z2-longer", 1e-2), GRID) == 2 * EXPERIMENT.steps(Run(0, 10, "Z2", 1e-2), GRID)


# Predictions


@pytest.mark.parametrize("arm", ["Z2", "p4m", "p4m-sham", "p4m-invariant", "histogram", "centre", "nearest"])
def test_predictions_are_probabilities_for_every_test_case_once(patches, arm):
    table, entry, weights = trained(Run(1, 20, arm, 0.0 if ARMS[arm].trivial else 1e-2), patches)
    test = patches.indices("test")
    assert list(table.columns) == list(store.COLUMNS)
    assert table["prediction"].between(0, 1).all() and np.isfinite(table["prediction"]).all()
    names = [name for name in EXPERIMENT.arm_names(replace(GRID, arms={arm: (20,)}))]
    assert list(dict.fromkeys(table["arm"])) == names
    for (_, _), rows in table.groupby(["arm", "split"]):
        assert rows["case"].tolist() == patches.case[test].tolist()
        assert rows["target"].tolist() == patches.target[test].tolist()
        assert rows["group"].tolist() == patches.group[test].tolist()
    assert set(table["n_train"]) == {20} and set(table["seed"]) == {1}
    assert set(table["split"]) == ({"test"} if ARMS[arm].trivial else {"test", "test-best"})
    assert set(table.query("split == 'test-best'")["arm"]) <= {arm}, "what is averaged is told of the last checkpoint"


def test_the_same_run_twice_gives_the_same_bytes(patches, tmp_path):
    for name in ("a", "b"):
        entry, weights = EXPERIMENT.train_run(Run(0, 20, "p4m", 1e-2), GRID, patches, CPU)
        notes = {"history": entry.history}
        store.write_table(entry.predictions, tmp_path / f"{name}.parquet", notes)
        torch.save({key: value for key, value in sorted(weights.items())}, tmp_path / f"{name}.pt")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("a", "b"))
    assert all(torch.equal(first[key], second[key]) for key in first)


class Cut(Exception):
    """Stands in for a kill."""


@pytest.mark.parametrize("arm", ["Z2", "p4m"])
def test_a_run_that_was_cut_ends_with_the_same_predictions(patches, tmp_path, arm):
    run, grid = Run(0, 20, arm, 1e-2), replace(GRID, steps=8)
    whole = trained(run, patches, grid)
    count = 0

    def cut(steps):
        nonlocal count
        count += steps
        if count == 5:
            raise Cut

    with pytest.raises(Cut):
        trained(run, patches, grid, checkpoint=tmp_path / "c", on_step=cut)
    again = trained(run, patches, grid, checkpoint=tmp_path / "c")
    assert whole[0].equals(again[0]) and whole[1].history == again[1].history
    assert all(torch.equal(whole[2][key], again[2][key]) for key in whole[2])


def test_weights_kept_are_those_that_made_the_test_predictions(patches):
    table, _, weights = trained(Run(0, 20, "p4", 1e-2), patches)
    net = NoduleNet("p4", (gcnn.SIZE, gcnn.SIZE), GRID.width)
    net.load_state_dict(weights)
    x = torch.from_numpy(patches.images[patches.indices("test")])[:, None, 1:49, 1:49].float() / 127.5 - 1
    with torch.no_grad():
        expected = torch.sigmoid(net.eval()(x)).numpy()
    assert np.abs(table.query("split == 'test'")["prediction"] - expected).max() < 1e-5


@pytest.mark.parametrize("group", ["p4", "p4m"])
def test_test_time_augmentation_is_the_mean_over_the_group(patches, group):
    table, _, weights = trained(Run(0, 20, "Z2", 1e-2), patches)
    net = NoduleNet("Z2", (gcnn.SIZE, gcnn.SIZE), GRID.width)
    net.load_state_dict(weights)
    images = patches.images[patches.indices("test")][:, 1:49, 1:49].astype(np.float32) / 127.5 - 1
    turned = [np.rot90(images, turns, axes=(1, 2)) for turns in range(4)]
    turned += [np.flip(x, 2) for x in turned] if group == "p4m" else []
    with torch.no_grad():
        each = [torch.sigmoid(net.eval()(torch.from_numpy(x.copy())[:, None])).numpy() for x in turned]
    found = table[(table["arm"] == f"Z2-tta-{group}") & (table["split"] == "test")]["prediction"].to_numpy()
    assert np.abs(found - np.mean(each, axis=0)).max() < 1e-5
    assert np.abs(found - each[0]).max() > 1e-5, "the plain prediction is another"
    assert len(each) == Group.named(group).order


def made_up(monkeypatch, *losses):
    """Trainings with these validation losses; returns what each left behind."""
    kept, real = [], train.fit

    def fit(net, n_train, batch, loss, validate, *rest, **more):
        fixed = iter(losses)
        kept.append(
            real(net, n_train, batch, loss, lambda net: {"val_ranking": 0.2, "val_loss": next(fixed)}, *rest, **more)
        )
        return kept[-1]

    monkeypatch.setattr(train, "fit", fit)
    return kept


def test_the_last_checkpoint_is_tested_and_the_best_on_validation_beside_it(patches, monkeypatch):
    kept = made_up(monkeypatch, 0.1, 0.9)
    table, entry, weights = trained(Run(0, 20, "p4m", 1e-1), patches)
    by_split = {split: rows["prediction"].to_numpy() for split, rows in table.groupby("split")}
    assert not np.allclose(by_split["test"], by_split["test-best"])
    assert all(torch.equal(weights[key], kept[0].last[key]) for key in weights)
    again = EXPERIMENT.predict(Run(0, 20, "p4m", 1e-1), GRID, kept[0].best["val_loss"], patches, CPU)
    assert (again.query("split == 'test'")["prediction"].to_numpy() == by_split["test-best"]).all()
    told = {name: entry.record[name] for name in ("best_val_loss", "last_val_loss", "val_score")}
    assert told == {"best_val_loss": 0.1, "last_val_loss": 0.9, "val_score": 0.8}


def test_a_run_without_a_finite_validation_loss_says_what_to_do(patches, monkeypatch):
    made_up(monkeypatch, np.nan, np.nan)
    with pytest.raises(RunError, match="Z2, N = 10, seed 0.*lower the learning rate"):
        trained(Run(0, 10, "Z2", 1e-2), patches)


@pytest.mark.parametrize(("loss", "failed"), [(0.70, True), (0.66, True), (0.65, False), (0.0, False)])
def test_a_training_whose_loss_ends_at_guessing_has_failed(patches, monkeypatch, loss, failed):
    real = train.fit

    def fit(*given, **more):
        done = real(*given, **more)
        for row, value in zip(done.history, (9.0, loss), strict=True):
            row["train_loss"] = value
        return done

    monkeypatch.setattr(train, "fit", fit)
    assert trained(Run(0, 10, "Z2", 1e-2), patches)[1].record["failed"] is failed


def test_history_tells_how_good_a_network_was_after_how_many_updates(patches, longer):
    """What convergence is computed from: the AUC on all validation patches, and updates as the measure of computing."""
    _, entry, weights = trained(Run(0, 20, "Z2-longer", 1e-2), patches)
    assert [row["compute"] for row in entry.history] == [row["step"] for row in entry.history] == [4, 8]
    assert all(set(row) == {"step", "epoch", "train_loss", "val_loss", "val_auc", "compute"} for row in entry.history)
    pilot = EXPERIMENT.predict(Run(0, 20, "Z2-longer", 1e-2), replace(GRID, pilot=True), weights, patches, CPU)
    rows = pilot.query("split == 'test' and arm == 'Z2-longer'")
    assert entry.history[-1]["val_auc"] == pytest.approx(auc(rows["target"], rows["prediction"]))
    assert entry.record["val_score"] == entry.history[-1]["val_auc"] and entry.record["n_val"] == len(rows)


def test_a_rate_is_divided_by_the_root_of_the_order_of_the_group(patches):
    grid = replace(GRID, rate_by_order=True)
    rate = {arm: trained(Run(0, 10, arm, 0.08), patches, grid)[1].record["rate"] for arm in ("Z2", "p4m", "p4m-sham")}
    assert rate["Z2"] == 0.08 and rate["p4m"] == rate["p4m-sham"] == pytest.approx(0.08 / np.sqrt(8))


@pytest.mark.parametrize("arm", ["Z2", "centre"])
def test_a_pilot_predicts_validation_patches_and_no_other(patches, arm):
    run, grid = Run(0, 10, arm, 0.0 if arm == "centre" else 1e-2), replace(GRID, pilot=True)
    table, entry, _ = trained(run, patches, grid)
    assert set(table["case"]) == set(patches.case[patches.indices("val")])
    assert EXPERIMENT.decides(run, grid) != EXPERIMENT.decides(run, GRID)
    assert entry.history == trained(run, patches)[1].history, "and is trained as any other"


def test_malignant_nodules_are_told_among_those_that_are_known_again(patches):
    """Test positives with a diameter: 1 where malignant, 0 where benign or not graded clearly; names tell the size."""
    place = np.arange(len(patches))
    known = place % 4 == 1
    about = pd.DataFrame({
        "nodule": np.where(known, "one", ""), "diameter_mm": np.where(known, 4 + place / 10, np.nan),
        "malignant": np.where(known, place // 4 % 3 - 1, -1), "repository_split": patches.split,
    })  # fmt: skip
    graded = replace(patches, about=about)
    for arm in ("Z2", "histogram"):
        table, _, _ = trained(Run(0, 10, arm, 1e-2 if arm == "Z2" else 0.0), graded)
        rows = table.query("split == 'test-malignant' and arm == @arm", local_dict={"arm": arm})
        some = [i for i in graded.indices("test") if known[i]]
        assert rows["case"].tolist() == [f"{graded.case[i]}@{about['diameter_mm'][i]:.1f}mm" for i in some]
        assert rows["target"].tolist() == [float(about["malignant"][i] == 1) for i in some]
        whole = table.query("split == 'test' and arm == @arm", local_dict={"arm": arm}).set_index("case")["prediction"]
        assert rows["prediction"].tolist() == [whole[graded.case[i]] for i in some]
    ungraded = replace(graded, about=about.assign(malignant=-1))
    assert "test-malignant" not in set(trained(Run(0, 10, "histogram", 0.0), ungraded)[0]["split"])


def test_shown_upright_a_patch_is_neither_turned_nor_mirrored_and_all_else_is_the_same(patches, monkeypatch):
    drawn = []
    real = augment.draw
    monkeypatch.setattr(augment, "draw", lambda *given: drawn.append(real(*given)) or drawn[-1])
    for arm in ("Z2", "Z2-upright", "p4m-upright"):
        trained(Run(0, 10, arm, 1e-2), patches)
    turned, upright, again = drawn[:4], drawn[4:8], drawn[8:]
    for one, other, third in zip(turned, upright, again, strict=True):
        scale = torch.linalg.det(one.matrix).abs().sqrt()
        assert torch.allclose(other.matrix, scale[:, None, None] * torch.eye(2), atol=1e-6)
        assert not torch.allclose(one.matrix, other.matrix, atol=0.1) and torch.equal(other.matrix, third.matrix)
        assert all(
            torch.equal(getattr(one, name), getattr(other, name)) for name in ("shift", "noise", "gain", "offset")
        )


def test_a_prediction_that_is_not_finite_is_never_stored(patches):
    with pytest.raises(RunError, match="arm Z2, N = 30, seed 1: 2 predictions are not finite"):
        base.rows(Run(1, 30, "Z2", 1e-3), "Z2", "test", patches, np.arange(3), [0.5, np.nan, np.inf])


def test_the_invariant_head_cannot_tell_a_patch_from_its_turned_copies(patches):
    """And the plain network can: the orientation control rests on both."""
    x = torch.from_numpy(patches.images[:8])[:, None, 1:49, 1:49].float() / 127.5 - 1
    for arm, invariant in (("p4m-invariant", True), ("p4-invariant", True), ("Z2-invariant", False)):
        net = gcnn.model(arm, 8, 0).eval()
        group = net.group if invariant else Group.named("p4m")
        with torch.no_grad():
            spread = max(float((net(act_on_image(group, g, x)) - net(x)).abs().max()) for g in range(group.order))
        assert (spread < 1e-5) == invariant, arm


def test_no_augmentation_means_the_patches_as_they_are(patches, monkeypatch):
    batches = []
    real = train.fit

    def fit(net, n_train, batch, *rest, **more):
        batches.append(batch(torch.arange(4), 0)[0])
        return real(net, n_train, batch, *rest, **more)

    monkeypatch.setattr(train, "fit", fit)
    trained(Run(0, 10, "Z2", 1e-2), patches, replace(GRID, augment=False))
    subset = splits.nested_balanced(patches.target, patches.indices("train"), 10, 0)
    expected = torch.from_numpy(patches.images[subset[:4]])[:, None, 1:49, 1:49].float() / 127.5 - 1
    assert torch.equal(batches[0], expected)
