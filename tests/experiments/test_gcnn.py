"""The planar experiment: fair arms, one plan for all of them, and predictions that can be trusted."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans import store, train
from fewscans.data import splits
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments import base, gcnn
from fewscans.experiments.base import Run
from fewscans.experiments.gcnn import EXPERIMENT, Grid
from fewscans.experiments.gcnn.arms import ARMS, Arm
from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import act_on_image

CPU = torch.device("cpu")
RATES = (3e-4, 1e-3, 3e-3)
GRID = Grid(arms={"Z2": (10, 20)}, seeds=3, steps=4, eval_every=2, learning_rates=(1e-2,), width=4)
TUNED = replace(GRID, arms={"Z2": (10, 20), "p4m": (10,), "histogram": (10,)}, learning_rates=RATES, tuning_seeds=2)


def trained(run: Run, patches, grid: Grid = GRID, **options):
    entry, weights = EXPERIMENT.train_run(run, grid, patches, CPU, **options)
    return entry.predictions, entry, weights


def losses_of(runs) -> dict[Run, float]:
    """A validation loss for each, with the lowest at 1e-3 for Z2 and at 3e-3 for p4m."""
    best = {"Z2": 1e-3, "p4m": 3e-3}
    return {run: abs(np.log(run.learning_rate / best.get(run.arm, 1))) if run.learning_rate else 0.0 for run in runs}


# The plan


def test_without_a_choice_of_rates_the_plan_is_the_table():
    grid = replace(TUNED, learning_rates=(1e-3,))
    assert set(EXPERIMENT.plan(grid, {})) == set(EXPERIMENT.final(grid, {}))
    assert len(EXPERIMENT.final(grid, {})) == (2 + 1 + 1) * 3


def test_every_arm_and_size_tries_the_same_rates_on_the_same_seeds():
    trials = [run for run in EXPERIMENT.plan(TUNED, {}) if ARMS[run.arm].trivial is None]
    tried = {(run.arm, run.n_train): set() for run in trials}
    for run in trials:
        tried[run.arm, run.n_train].add((run.seed, run.learning_rate))
    assert set(tried) == {("Z2", 10), ("Z2", 20), ("p4m", 10)}
    assert all(found == {(seed, rate) for seed in (0, 1) for rate in RATES} for found in tried.values())


def test_no_run_of_the_table_is_planned_before_all_trials_of_its_rate_are_in():
    trials = EXPERIMENT.plan(TUNED, {})
    z2 = [run for run in trials if run.arm == "Z2" and run.n_train == 10]
    assert EXPERIMENT.chosen_rate(TUNED, losses_of(z2[:-1]), "Z2", 10) is None
    assert {run.arm for run in EXPERIMENT.final(TUNED, losses_of(z2[:-1]))} == {"histogram"}
    done = EXPERIMENT.final(TUNED, losses_of(z2))
    assert {(r.arm, r.n_train) for r in done if r.arm != "histogram"} == {("Z2", 10)}


def test_the_rate_with_the_lowest_mean_validation_loss_is_chosen_and_its_trials_are_reused():
    trials = EXPERIMENT.plan(TUNED, {})
    losses = losses_of(trials)
    chosen = [EXPERIMENT.chosen_rate(TUNED, losses, arm, n) for arm, n in (("Z2", 20), ("p4m", 10))]
    assert chosen == [1e-3, 3e-3]
    final = EXPERIMENT.final(TUNED, losses)
    for arm, n, rate in (("Z2", 10, 1e-3), ("Z2", 20, 1e-3), ("p4m", 10, 3e-3)):
        assert [r for r in final if (r.arm, r.n_train) == (arm, n)] == [Run(s, n, arm, rate) for s in range(3)]
    # Two of three seeds were trials: the third alone is new.
    new = set(EXPERIMENT.plan(TUNED, losses)) - set(trials)
    assert {run.seed for run in new} == {2} and len(new) == 3


def test_one_seed_s_luck_does_not_choose_the_rate():
    trials = [r for r in EXPERIMENT.plan(TUNED, {}) if (r.arm, r.n_train) == ("Z2", 10)]
    losses = {r: {3e-4: (0.0, 0.9), 1e-3: (0.4, 0.4), 3e-3: (0.5, 0.5)}[r.learning_rate][r.seed] for r in trials}
    assert EXPERIMENT.chosen_rate(TUNED, losses, "Z2", 10) == 1e-3


@given(st.permutations(RATES))
@settings(deadline=None)
def test_tied_rates_go_to_the_one_named_first(order):
    grid = replace(TUNED, learning_rates=tuple(order))
    assert EXPERIMENT.chosen_rate(grid, dict.fromkeys(EXPERIMENT.plan(grid, {}), 0.5), "Z2", 10) == order[0]


@given(st.sets(st.sampled_from(range(24))))
@settings(deadline=None, max_examples=30)
def test_the_plan_grows_only_and_ends_with_the_table(finished):
    """However many runs are done, in whatever order they came."""
    everything = EXPERIMENT.plan(TUNED, losses_of(EXPERIMENT.plan(TUNED, {})))
    assert set(EXPERIMENT.final(TUNED, losses_of(everything))) <= set(everything)
    some = losses_of(run for i, run in enumerate(everything) if i in finished)
    assert set(EXPERIMENT.plan(TUNED, {})) <= set(EXPERIMENT.plan(TUNED, some)) <= set(everything)
    assert len(EXPERIMENT.plan(TUNED, some)) == len(set(EXPERIMENT.plan(TUNED, some)))


def test_trivial_baselines_have_no_rate_to_choose():
    runs = [run for run in EXPERIMENT.plan(TUNED, {}) if run.arm == "histogram"]
    assert runs == [Run(seed, 10, "histogram", 0.0) for seed in range(3)]


# What decides a run


CHANGED = {
    "steps": 5, "eval_every": 1, "batch_size": 7, "width": 5, "augment": False, "patch": (40, 40),
    "pools": ((3, 3), (2, 2), (2, 2)), "balanced_validation": True,
}  # fmt: skip
ELSEWHERE = {
    "arms": {"p4": (10,)}, "seeds": 9, "learning_rates": RATES, "tuning_seeds": 2,
    # how cases are cut from scans: it decides the data, whose fingerprint is in the key
    "spacing_mm": (1.0, 1.0), "negatives_per_scan": 3, "train_negatives": 30,
}  # fmt: skip


def test_each_parameter_either_decides_a_run_or_chooses_among_runs():
    in_space = {"downsample"}  # tested below
    assert set(CHANGED) | set(ELSEWHERE) | in_space == {field.name for field in fields(Grid)}


@pytest.mark.parametrize("name", CHANGED)
def test_a_parameter_that_changes_a_run_changes_its_key(patches, name):
    run, base = Run(0, 10, "Z2", 1e-2), replace(GRID, patch=(24, 24))
    changed = replace(base, **{name: CHANGED[name]})
    assert EXPERIMENT.decides(run, changed) != EXPERIMENT.decides(run, base)
    lopsided = np.where((patches.split == "val") & (np.arange(len(patches)) % 4 == 1), "dropped", patches.split)
    first, second = (trained(run, replace(patches, split=lopsided), grid) for grid in (base, changed))
    assert first[1].history != second[1].history, "and the key changes for a reason"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_parameter_that_only_chooses_among_runs_leaves_their_keys(name):
    run = Run(0, 10, "Z2", 1e-2)
    assert EXPERIMENT.decides(run, replace(GRID, **{name: ELSEWHERE[name]})) == EXPERIMENT.decides(run, GRID)


def test_every_run_has_a_key_of_its_own():
    runs = [
        Run(seed, n, arm, rate) for seed in (0, 1) for n in (10, 20) for arm in ARMS for rate in (0.0, 1e-3, 3e-3)
        if (rate == 0.0) == (ARMS[arm].trivial is not None)
    ]  # fmt: skip
    assert len({store.key(EXPERIMENT.decides(run, GRID)) for run in runs}) == len(runs)


DECIDES = {
    "group": "p4", "budget": "compute", "head": "invariant", "like": "p4m", "updates": 2, "sham": True,
    "shuffled": True, "repository_split": True, "averaged": "p4", "trivial": "centre", "computed_with": "p4m",
}  # fmt: skip
DRAWN = {"label": "another", "colour": "#123456", "marker": "x", "line": ":", "derived_from": "p4"}


def test_what_an_arm_is_belongs_to_its_key_and_how_it_is_drawn_does_not(monkeypatch):
    run = Run(0, 10, "Z2", 1e-2)
    before = EXPERIMENT.decides(run, GRID)
    assert set(DECIDES) | set(DRAWN) == {field.name for field in fields(Arm)}
    for name, value in (DECIDES | DRAWN).items():
        monkeypatch.setitem(ARMS, "Z2", replace(Arm(), **{name: value}))
        assert (EXPERIMENT.decides(run, GRID) != before) == (name in DECIDES), name


def test_a_new_arm_changes_no_other_s_key_but_that_of_the_one_it_is_computed_with(monkeypatch):
    runs = [Run(0, 10, arm, 1e-2) for arm, spec in ARMS.items() if spec.computed_with is None]
    before = {run: EXPERIMENT.decides(run, GRID) for run in runs}
    monkeypatch.setitem(ARMS, "p4-new", Arm(group="p4", derived_from="p4"))
    assert {run: EXPERIMENT.decides(run, GRID) for run in runs} == before
    monkeypatch.setitem(ARMS, "Z2-tta-new", Arm(averaged="p4", computed_with="Z2"))
    assert [run.arm for run in runs if EXPERIMENT.decides(run, GRID) != before[run]] == ["Z2"]


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

    def fit(net, n_train, batch, loss, validate, budget, *rest):
        batches.extend(batch(train.batch_indices(n_train, 8, step, seed), step) for step in range(3))
        return real(net, n_train, batch, loss, validate, budget, *rest)

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


def test_only_the_leaky_arms_use_the_repository_s_split(patches):
    for arm, leaky in (("Z2", False), ("Z2-leaky", True), ("nearest", False), ("nearest-leaky", True)):
        table, _, _ = trained(Run(0, 10, arm, 0.0 if "nearest" in arm else 1e-2), patches)
        assert set(table["case"]) == set(patches.case[patches.indices("test", leaky)]), arm


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


def test_progress_counts_what_is_trained(patches):
    for arm in ("Z2", "Z2-long", "histogram"):
        counted = []
        run = Run(0, 10, arm, 0.0 if arm == "histogram" else 1e-2)
        trained(run, patches, on_step=counted.append)
        assert sum(counted) == EXPERIMENT.steps(run, GRID)
        assert EXPERIMENT.work(run, GRID) > 0
    assert EXPERIMENT.steps(Run(0, 10, "Z2-long", 1e-2), GRID) == 4 * EXPERIMENT.steps(Run(0, 10, "Z2", 1e-2), GRID)


# Predictions


@pytest.mark.parametrize("arm", ["Z2", "p4m", "Z2-long", "p4m-sham", "p4m-invariant", "histogram", "centre", "nearest"])
def test_predictions_are_probabilities_for_every_test_case_once(patches, arm):
    table, entry, weights = trained(Run(1, 20, arm, 0.0 if ARMS[arm].trivial else 1e-2), patches)
    test = patches.indices("test")
    assert list(table.columns) == list(store.COLUMNS)
    assert table["prediction"].between(0, 1).all() and np.isfinite(table["prediction"]).all()
    names = [name for name in EXPERIMENT.arm_names(replace(GRID, arms={arm: (20,)}))]
    assert list(dict.fromkeys(table["arm"])) == names
    for (_, split), rows in table.groupby(["arm", "split"]):
        assert split in ("test", "test-small-val")
        assert rows["case"].tolist() == patches.case[test].tolist()
        assert rows["target"].tolist() == patches.target[test].tolist()
        assert rows["group"].tolist() == patches.group[test].tolist()
    assert set(table["n_train"]) == {20} and set(table["seed"]) == {1}
    if ARMS[arm].trivial is None:
        assert set(table["split"]) == {"test", "test-small-val"} and entry.record["best_val_loss"] > 0
        assert entry.record["n_small_val"] <= 20 <= entry.record["n_val"] + 20


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


def test_a_checkpoint_is_chosen_by_each_validation_set_by_its_own_losses(patches, monkeypatch):
    """With losses made up, so that the whole set chooses the first checkpoint and the small one the last."""
    kept = []
    real = train.fit

    def fit(net, n_train, batch, loss, validate, budget, *rest):
        fixed = iter([{"val_loss": 0.1, "small_val_loss": 0.9}, {"val_loss": 0.9, "small_val_loss": 0.1}])
        done = real(net, n_train, batch, loss, lambda net: next(fixed), budget, *rest)
        kept.append(done.best)
        return done

    monkeypatch.setattr(train, "fit", fit)
    table, entry, weights = trained(Run(0, 20, "p4m", 1e-1), patches)
    by_split = {split: rows["prediction"].to_numpy() for split, rows in table.groupby("split")}
    assert not np.allclose(by_split["test"], by_split["test-small-val"])
    assert all(torch.equal(weights[key], kept[0]["val_loss"][key]) for key in weights)
    assert entry.record["best_val_loss"] == 0.1


def test_a_run_without_a_finite_validation_loss_says_what_to_do(patches, monkeypatch):
    real = train.fit

    def fit(net, n_train, batch, loss, validate, *rest):
        return real(net, n_train, batch, loss, lambda net: {"val_loss": np.nan, "small_val_loss": np.nan}, *rest)

    monkeypatch.setattr(train, "fit", fit)
    with pytest.raises(RunError, match="Z2, N = 10, seed 0.*lower the learning rate"):
        trained(Run(0, 10, "Z2", 1e-2), patches)


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

    def fit(net, n_train, batch, *rest):
        batches.append(batch(torch.arange(4), 0)[0])
        return real(net, n_train, batch, *rest)

    monkeypatch.setattr(train, "fit", fit)
    trained(Run(0, 10, "Z2", 1e-2), patches, replace(GRID, augment=False))
    subset = splits.nested_balanced(patches.target, patches.indices("train"), 10, 0)
    expected = torch.from_numpy(patches.images[subset[:4]])[:, None, 1:49, 1:49].float() / 127.5 - 1
    assert torch.equal(batches[0], expected)


# Grids that cannot be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": {"Z4": (10,)}}, "unknown arm 'Z4'.*known arms: Z2, p4"),
        ({"arms": {"Z3": (10,)}}, r"arms.Z3 has a group of space, but patch is \[48, 48\]"),
        ({"patch": (8, 24, 24)}, r"arms.Z2 has a group of the plane, but patch is \[8, 24, 24\]"),
        ({"patch": (4, 4)}, r"patch must be .* got \[4, 4\]"),
        ({"pools": ((2, 2),)}, "pools must be three windows, got 1"),
        ({"pools": ((2, 2), (2, 2), (0, 2))}, r"a window of pools must be 2 numbers above 0.*got \[0, 2\]"),
        ({"negatives_per_scan": 0}, "negatives_per_scan must be at least 1"),
        ({"arms": {"Z2-tta-p4": (10,)}}, "unknown arm 'Z2-tta-p4'; it is computed along with Z2"),
        ({"arms": {}}, "arms is empty"),
        ({"arms": {"Z2": ()}}, "arms.Z2.*got \\[\\]"),
        ({"arms": {"Z2": (31,)}}, "arms.Z2: sizes must be even.*31"),
        ({"arms": {"Z2": (0,)}}, "arms.Z2"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"steps": -1}, "steps must be at least 1"),
        ({"width": 0}, "width must be at least 1"),
        ({"learning_rates": ()}, "learning_rates"),
        ({"learning_rates": (1e-3, 1.0)}, "learning_rates must lie between 0 and 1"),
        ({"learning_rates": (-1e-3,)}, "learning_rates must lie between 0 and 1"),
        ({"tuning_seeds": 4}, "tuning_seeds \\(4\\) exceeds seeds \\(3\\)"),
    ],
)
def test_an_impossible_grid_names_what_is_wrong(change, message):
    with pytest.raises(ParamsError, match=message):
        replace(GRID, **change)
