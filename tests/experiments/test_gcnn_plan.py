"""The grid of the planar experiment: one plan for all arms, and keys that name all that decides a run."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans import store
from fewscans.errors import ParamsError
from fewscans.experiments.base import Run
from fewscans.experiments.gcnn import EXPERIMENT, Grid
from fewscans.experiments.gcnn.arms import ARMS, Arm

from .test_gcnn import GRID, RATES, trained

TUNED = replace(GRID, arms={"Z2": (10, 20), "p4m": (10,), "histogram": (10,)}, learning_rates=RATES, tuning_seeds=2)


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
    "pools": ((3, 3), (2, 2), (2, 2)), "cosine": True, "half": True, "rate_by_order": True,
}  # fmt: skip
ELSEWHERE = {
    "arms": {"p4": (10,)}, "seeds": 9, "learning_rates": RATES, "tuning_seeds": 2,
    # how cases are cut from scans: it decides the data, whose fingerprint is in the key
    "spacing_mm": (1.0, 1.0), "negatives_per_scan": 3, "train_negatives": 30,
    "first_seed": 5, "seeds_at": {"10": 2}, "rates": {"Z2": {"10": 1e-3}}, "steps_at": {"20": 9},
}  # fmt: skip


def test_each_parameter_either_decides_a_run_or_chooses_among_runs():
    below = {"downsample", "pilot", "folds", "turned_test", "colours"}  # tested there, and in space
    assert set(CHANGED) | set(ELSEWHERE) | below == {field.name for field in fields(Grid)}


@pytest.mark.parametrize("name", CHANGED)
def test_a_parameter_that_changes_a_run_changes_its_key(patches, name):
    run, base = Run(0, 10, "p4", 1e-2), replace(GRID, patch=(24, 24))
    changed = replace(base, **{name: CHANGED[name]})
    assert EXPERIMENT.decides(run, changed) != EXPERIMENT.decides(run, base)
    first, second = (trained(run, patches, grid) for grid in (base, changed))
    assert first[1].history != second[1].history, "and the key changes for a reason"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_parameter_that_only_chooses_among_runs_leaves_their_keys(name):
    run = Run(0, 10, "Z2", 1e-2)
    assert EXPERIMENT.decides(run, replace(GRID, **{name: ELSEWHERE[name]})) == EXPERIMENT.decides(run, GRID)


def test_updates_of_a_size_decide_its_runs(monkeypatch):
    monkeypatch.setitem(ARMS, "Z2-longer", replace(ARMS["p4"], group="Z2", updates=2))
    grid, run = replace(GRID, steps_at={"20": 8}), Run(0, 20, "Z2-longer", 1e-2)
    assert EXPERIMENT.decides(run, grid) == EXPERIMENT.decides(run, replace(GRID, steps=8, eval_every=4))
    assert EXPERIMENT.updates(run, grid) == 16 == 2 * EXPERIMENT.updates(run, GRID)


def test_every_run_has_a_key_of_its_own():
    runs = [
        Run(seed, n, arm, rate) for seed in (0, 1) for n in (10, 20) for arm in ARMS for rate in (0.0, 1e-3, 3e-3)
        if (rate == 0.0) == (ARMS[arm].trivial is not None)
    ]  # fmt: skip
    assert len({store.key(EXPERIMENT.decides(run, GRID)) for run in runs}) == len(runs)


DECIDES = {
    "group": "p4", "budget": "compute", "head": "invariant", "like": "p4m", "updates": 2, "sham": True,
    "shuffled": True, "averaged": "p4", "trivial": "centre", "computed_with": "p4m",
    "upright": True, "turned": True, "diameter": True,
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
        ({"folds": 2}, "folds must be 3 or more.* or 0, got 2"),
        ({"turned_test": True}, r"turned_test needs a patch that is a cube, got \[48, 48\]"),
        ({"arms": {"Z2-upright": (10,)}, "augment": False}, "arms.Z2-upright changes the augmentation, but"),
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
