"""Shown before networks are compared: rates that were tried, failed trainings, validation over updates, power."""

import dataclasses

import numpy as np
import pytest

from fewscans import claims
from fewscans.figures import curves, gcnn, tables
from fewscans.stats.power import power_of

from .worlds import world

PAIR = ("Z2", "p4m")


@pytest.fixture(scope="module")
def pilot():
    """p4m failed once, at N = 30; the rates 1e-3 and 9e-3 were tried, the second was chosen."""
    found = world(arms=(*PAIR, "centre"), seeds=3)
    records = [r | {"learning_rate": 9e-3, "val_score": 0.9, "failed": False} for r in found.records
               if r["arm"] in PAIR]  # fmt: skip
    records[-9] |= {"failed": True}
    assert (records[-9]["arm"], records[-9]["n_train"]) == ("p4m", 30)
    history = found.history.assign(val_auc=1 - found.history["val_loss"] / 2, compute=found.history["step"])
    return dataclasses.replace(found, records=records, history=history)


def trials(pilot, score=0.7, seeds=(0, 1)):
    return [
        r | {"learning_rate": 1e-3, "val_score": score, "failed": True} for r in pilot.records if r["seed"] in seeds
    ]


def test_rates_are_compared_over_the_seeds_that_tried_all_of_them(pilot):
    records = [r | {"val_score": 0.1 if r["seed"] == 2 else 0.9} for r in pilot.records]  # seed 2 tried one rate alone
    shown = tables.tried(dataclasses.replace(pilot, records=records), trials(pilot))
    assert list(shown.columns) == ["rate 0.001", "rate 0.009", "no network"]
    assert shown.loc[("plain CNN", "N = 300")].tolist()[:2] == ["0.700, 2 of 2 failed", "0.900*"]
    assert shown.loc[("G-CNN p4m (turns, mirrors)", "N = 30"), "rate 0.009"] == "0.900*, 1 of 2 failed"
    assert (
        shown["no network"].tolist()
        == [f"{pilot.resampled().values('centre', n).mean():.3f}" for n in (30, 100, 300)] * 2
    )


def test_tables_without_validation_scores_tell_of_no_rates(pilot):
    assert tables.tried(world(), []).empty


def test_failed_trainings_are_counted_and_old_tables_say_nothing(pilot):
    shown = tables.failed(pilot)
    assert shown.loc["G-CNN p4m (turns, mirrors)"].tolist() == ["1 of 3", "0 of 3", "0 of 3"]
    assert "brightness of the centre" not in shown.index and tables.failed(world()).empty


def test_validation_over_updates_has_a_line_an_arm_a_panel_a_size_and_the_level_of_what_needs_no_network(pilot):
    picture = curves.over_updates(pilot, PAIR, "Validation AUC over updates", baselines=("centre", "histogram"))
    assert picture.png and [axes.get_title("left") for axes in picture.figure.axes] == ["N = 30", "N = 100", "N = 300"]
    plain, group, level = picture.figure.axes[0].get_lines()
    mine = pilot.history.query("arm == 'p4m' and n_train == 30").groupby("step")["val_auc"].mean()
    assert np.allclose(group.get_ydata(), mine) and np.allclose(group.get_xdata(), mine.index)
    assert set(level.get_ydata()) == {pilot.resampled().values("centre", 30).mean()}


def test_power_is_that_of_the_pilots_difference_at_the_planned_seeds_and_grows_with_them(pilot):
    test = claims.Test("gcnn-luna16-patches", "p4m", 30, "auc", 0.0, claimed="above", baseline="Z2")
    factor = dataclasses.replace(test, metric="data_efficiency:auc", line=3.0, claimed="at least")
    absent, speed = dataclasses.replace(test, n_train=60), dataclasses.replace(test, metric="compute_to_auc@0.93")
    tests = {"gain": test, "factor": factor, "absent": absent, "speed": speed}
    few, many = (tables.power(pilot, tests, dict.fromkeys(tests, seeds), 40) for seeds in (2, 20))
    assert list(few.index) == ["gain", "factor"], "what the pilot cannot tell is left out"
    spread = pilot.resampled("auc").spread({("p4m", 30): 1.0, ("Z2", 30): -1.0})
    assert few.loc["gain", "power"] == f"{power_of(spread, spread.value, 2, 40):.0%}"
    assert float(many.loc["gain", "power"][:-1]) >= float(few.loc["gain", "power"][:-1])


def test_the_change_of_a_gain_between_sizes_has_its_power_too(pilot):
    test = claims.Test("gcnn-luna16-patches", "p4m", 30, "auc", 0.0, claimed="above", baseline="Z2", minus_n_train=300)
    shown = tables.power(pilot, {"shrinks": test}, {"shrinks": 10}, 40)
    gains = [pilot.gain("p4m", "Z2", n).value for n in (30, 300)]
    assert float(shown.iloc[0, 0].partition(" ")[0]) == pytest.approx(gains[0] - gains[1], abs=1e-3)


def test_a_factor_without_meaning_is_named_so_and_not_drawn():
    flat = world(strength=lambda arm, n: 0.9 + 0.4 * (arm == "p4m"), arms=PAIR)
    shown = tables.factors(flat, ["p4m"], "Z2")
    assert (shown == "not defined").all(axis=None) and curves.factors(flat, ["p4m"], "Z2").table.empty
    assert "factor" not in tables.metrics(flat, ["p4m"], "Z2")
    assert not (tables.factors(world(arms=PAIR), ["p4m"], "Z2") == "not defined").any(axis=None)


def test_updates_to_a_goal_are_told_where_seeds_get_there(pilot):
    near, far = (tables.speed(pilot, ["p4m"], "Z2", goal) for goal in (0.8, 0.999))
    assert near.loc["G-CNN p4m (turns, mirrors)", "N = 30"].startswith("0.60 (0.00 to ∞); 100%")
    assert (far == "too few get there").all(axis=None)


def test_only_what_is_published_is_drawn(monkeypatch):
    there = {"hippocampus-patches": world("hippocampus-patches", ("Z3", "D4")), "luna16-twin": None}
    monkeypatch.setattr(gcnn.results, "published", lambda experiment, dataset, *_: there.get(dataset))
    assert set(gcnn.kept()) == {f"gcnn_volumes_{what}" for what in ("learning_curves", "gains", "data_efficiency")}
