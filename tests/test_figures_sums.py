"""Figures of regression from sums say what the tables say, whatever part of the tables is there."""

import dataclasses
import functools
import itertools
import re
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans import claims, sets
from fewscans.experiments import numbered_arms
from fewscans.figures import (
    agreement,
    cost,
    questions,
    regression,
    reported,
    sources,
    sums,
    trainings,
    variants,
    wording,
    yardsticks,
)
from fewscans.figures.arms import LOOKS, filled
from fewscans.figures.sources import NotYet
from fewscans.figures.tasks import score_label
from fewscans.stats import Estimate
from fewscans.stats.icc import interval_of
from fewscans.verdicts import Tables

from .numbered_tables import ALL, MAIN, UNSEEN, world

pytestmark = pytest.mark.usefixtures("one_thread")

TWO = dict.fromkeys((*MAIN, "histogram"), (12, 25))


@pytest.fixture(scope="module")
def real():
    return world()


@pytest.fixture(scope="module")
def twin():
    return world(real=False, dataset="wmh2017", published=False, of=TWO | dict.fromkeys(UNSEEN, (25,)))


@functools.cache
def counts():
    return world(real=False, dataset="pvs", published=False, of=TWO)


@pytest.fixture(scope="module")
def paper():
    return reported.all_of_it()


FIGURES = {
    "the paper's": lambda real, twin, paper: reported.table_drawn(paper),
    "learning": lambda real, twin, paper: regression.learning([real, twin, counts()], paper),
    "learning, real alone": lambda real, twin, paper: regression.learning([real]),
    "differences": lambda real, twin, paper: regression.differences([real, twin]),
    "scatter": lambda real, twin, paper: agreement.scatter(real),
    "variants": lambda real, twin, paper: variants.variants(real),
    "black": lambda real, twin, paper: variants.black(real),
    "sites": lambda real, twin, paper: variants.sites(twin),
    "seeds": lambda real, twin, paper: trainings.seeds([real, twin]),
    "losses": lambda real, twin, paper: trainings.losses(real),
    "composition": lambda real, twin, paper: sums.composition(
        {"real hippocampi": regression.labels_of(real)["target"]}
    ),
}


@pytest.mark.parametrize("name", ["learning", "variants", "seeds"])
def test_the_same_tables_give_the_same_bytes(name, real, twin, paper):
    assert FIGURES[name](real, twin, paper).png == FIGURES[name](real, twin, paper).png


@pytest.mark.parametrize("name", FIGURES)
def test_texts_stay_inside_the_figure(name, real, twin, paper):
    picture = FIGURES[name](real, twin, paper)
    picture.png  # noqa: B018  draws it
    renderer = picture.figure.canvas.get_renderer()
    width, height = picture.figure.get_size_inches() * picture.figure.dpi
    texts = [picture.figure._suptitle, picture.figure._supxlabel]
    texts += [text for axes in picture.figure.axes for text in (axes.title, axes._left_title, axes.yaxis.label)]
    for text in (text for text in texts if text is not None and text.get_text()):
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def test_every_arm_of_the_experiment_has_its_look_and_its_place_among_the_variants():
    assert set(numbered_arms.ARMS) | {variants.TOGETHER} <= set(LOOKS)
    shown = {*MAIN, *UNSEEN, *variants.VARIANTS, *variants.OTHERS, "base-uniform"}
    assert set(numbered_arms.ARMS) <= shown


def test_no_two_lines_of_a_figure_look_alike():
    looks = [(filled(arm)["color"], filled(arm)["marker"], filled(arm)["linestyle"]) for arm in numbered_arms.ARMS]
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (0.6, "sums of 4 surely beat base at every size, and base at equal passes at every size"),
        (0.0, "do not surely differ from base or base at equal passes at any size"),
        (-0.6, "surely fall behind base at every size, and base at equal passes at every size"),
    ],
)
def test_the_title_follows_from_the_interval(gain, expected):
    made = world(of=dict.fromkeys(MAIN, (12, 25)), skilled=lambda arm, n: 0.65 + gain / 2 * (arm == "hydra-4"))
    assert expected in regression.finding(made)


def test_where_nothing_is_sure_the_gains_are_said_to_be_none():
    made = world(of=dict.fromkeys(MAIN, (12, 25)), skilled=lambda arm, n: 0.65)
    said = "at no size a sure difference between sums of 4 and base or base at equal passes"
    assert said in regression.differences([made]).title


def test_less_error_is_better_and_more_agreement_is_better():
    up, down = Estimate(1, 0.5, 2), Estimate(-1, -2, -0.5)
    assert regression.better(up, "icc") == regression.better(down, "mse") == regression.better(down, "mae") == 1
    assert regression.better(down, "icc") == regression.better(up, "mse") == regression.better(up, "mae") == -1
    assert regression.better(Estimate(0, -1, 1), "mse") == 0


def test_sums_that_win_by_agreement_win_by_squared_error_too(real):
    assert set(regression.signs(real, score="icc").values()) == {1}
    assert 1 in regression.signs(real, score="mse").values() and -1 not in regression.signs(real, score="mse").values()


def test_real_and_synthetic_are_said_apart(real, twin):
    note = regression.learning([real, twin]).figure._supxlabel.get_text().replace("\n", " ")
    assert "Real hippocampi (real, published" in note and "(synthetic, this machine" in note and "5 seeds" in note
    assert real.note.count("people") == 2 and "positive" not in real.note
    assert twin.name == "synthetic twin of the white-matter lesion volumes"


def test_the_paper_s_intervals_are_those_of_its_test_scans(paper):
    """Derived from its numbers and test scans alone, F-based, by hand: 0.79 of 30 is 0.605 to 0.894."""
    told = {(r.what, r.n_train, r.loss, r.arm): r for r in paper}
    for key, n, low, high in (
        ((reported.WMH, 30, "MSE", "base"), 30, 0.605, 0.894),
        ((reported.WMH, 30, "MSE", "hydra-4"), 30, 0.691, 0.921),
        ((reported.PVS, 25, "MSE", "base"), 1977, 0.656, 0.703),
        ((reported.PVS, 25, "MSE", "hydra-4"), 1977, 0.709, 0.750),
    ):
        e = told[key].interval
        assert told[key].n_test == n and abs(e.low - low) < 2e-3 and abs(e.high - high) < 2e-3
        assert e == interval_of(told[key].icc, n)
    assert len(reported.pairs(paper)) == 4 and "10 networks" in reported.counted_trainings(paper)


def test_two_thousand_scans_tell_what_thirty_do_not(paper):
    power = {one.n_test: reported.told(one, other).power for one, other in reported.pairs(paper)}
    assert power[1977] > 0.95 and max(power[30], power[20]) < 0.5
    one, other = next(pair for pair in reported.pairs(paper) if pair[0].seed_sd)
    assert reported.told(one, other, (one.seed_sd, other.seed_sd), 3).seed_share > 0.5


def test_power_grows_with_trainings_of_one_quality_and_is_given_for_few_and_many_shared_errors(paper):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in reported.seeds_table(paper).splitlines()[2:]]
    assert [row[1] for row in rows] == ["1", "3", "5", "10"] * 2
    power = [[int(x) for x in re.findall(r"\d+", row[3])] for row in rows]  # middle, least, most
    assert all(least <= middle <= most for middle, least, most in power)
    steady, unsteady = [row[0] for row in power[:4]], [row[0] for row in power[4:]]
    assert steady == pytest.approx([13, 29, 44, 72], abs=2) and max(unsteady) < 25
    assert power[0] == pytest.approx([13, 9, 22], abs=2)
    assert "13 % (9 to 22 %)" in reported.table(paper) and "0.5 to 6 times" in reported.assumptions(paper)
    assert "trainings that decide" in reported.seeds_in_words(paper)
    assert reported.in_words(paper).count("WMH") == 3 and "at most 59 %" in reported.in_words(paper)


def test_a_slope_is_one_for_the_truth_and_none_for_a_constant():
    y = np.array([1.0, 2.0, 4.0])
    assert agreement.slope(y, y + 7) == pytest.approx(1) and agreement.slope(y, 0.5 * y) == pytest.approx(0.5)
    assert agreement.slope(y, np.full(3, 2.0)) == pytest.approx(0)


def test_errors_are_labelled_with_the_unit_squared():
    assert score_label("mse", "ml") == "mean squared error (ml²)" and score_label("mae", "ml").endswith("(ml)")
    assert score_label("mse") == "mean squared error" and score_label("icc") == "ICC(A,1)"


def test_tables_star_what_is_sure_and_only_that(real):
    rows = [line for line in regression.gain_table(real).splitlines() if "(ml²), minus" in line or "), minus" in line]
    assert len(rows) == 6, "ICC(A,1), squared error and, folded, ICC(C,1), each against two"
    for line in rows:
        for cell in line.split("|")[2:-1]:
            low, high = (float(x.replace("−", "-")) for x in cell.partition("(")[2].partition(")")[0].split(" to "))
            assert (" *" in cell) == (low > 0 or high < 0)


def test_every_claim_of_sums_is_asked_under_one_question():
    ids = [claim.id for claim in claims.load() if any(test.experiment == "hydranet" for test in claim.tests)]
    assert ids and [i for i in ids if questions.of_sums(i) is None] == []
    assert questions.of_sums("planar-p4m-beats-plain-n30") is None
    asked = {i: questions.of_sums(i) for i in ids}
    assert "equal forward passes" in asked["sums-gain-shrinks-equal-compute"] and "Gains" in asked["sums-gain-shrinks"]
    row = type("Row", (), {"id": "sums-mse-n12", "verdict": "reproduced", "dataset": "d", "real": True})
    assert "1 ✓" in questions.about_sums([row]) and questions.about_sums([row]).count("✓") == 2


def test_forty_times_fewer_is_open_where_the_grid_ends_and_ruled_out_where_the_curve_says_so(real):
    assert "cannot be seen" in regression.fortyfold(real)
    flat = world(of=dict.fromkeys(MAIN, (12, 25, 100)), skilled=lambda arm, n: min(0.9, 0.1 + 0.2 * np.log(n)))
    assert "ruled out" in regression.fortyfold(flat)
    assert "base at equal passes" in regression.factor_table(real)
    nothing = world(of=dict.fromkeys(MAIN, (12, 25, 100)), skilled=lambda arm, n: 0.3)
    assert "no factor can be read off" in regression.fortyfold(nothing)


def test_variants_are_held_against_the_network_they_vary(real):
    found = variants.gains(real, 25)
    assert list(found) == ["hydra-4", "base-compute"]
    assert (
        wording.side(found["hydra-4"]["hydra-4-permuted"]) == -1 and wording.side(found["base-compute"]["hydra-4"]) == 1
    )
    title = variants.variants(real).title
    assert "of 12 changes" in title and "surely worse than sums of 4" in title
    assert "of 9 networks, 1 is surely better than base at equal passes (sums of 4)" in title, "without trivial ones"
    assert "19 of 19 variants" in variants.variants(real).figure._supxlabel.get_text().replace("\n", " ")


def test_what_was_asked_for_and_not_trained_is_said_and_no_figure_repeats_the_main_arms():
    bare, one = world(of=TWO), world(of=TWO | {"hydra-4-p0": (25,)})
    assert "none was trained" in variants.table(bare) and "|" not in variants.table(bare)
    with pytest.raises(NotYet, match="of 19 variants, peers and controls asked for, none was trained"):
        variants.variants(bare)
    assert "1 was trained: no black images. Not trained: sums of 2;" in variants.table(one)
    assert variants.size_of(one) == 25 and variants.pairs_table(bare) and variants.sites_table(bare)


def test_a_network_that_beats_no_baseline_is_named():
    blind = world(of=dict.fromkeys((*MAIN, "histogram"), (12,)), skilled=lambda arm, n: 0.2 + 0.6 * (arm == "hydra-4"))
    said = variants.beaten_by_trivial(blind)
    assert "base than histogram of values at N = 12" in said and "sums of 4" not in said


def test_whether_networks_learned_is_asked_of_the_mean_by_squared_error():
    """By ICC a constant has 0, so networks that are further from the labels than the mean would seem to beat it."""
    of = dict.fromkeys((*MAIN, "mean"), (12, 100))
    made = world(of=of, skilled=lambda arm, n: 0.9 * (arm != "mean"))
    assert regression.finding(made).endswith("at any size") and set(yardsticks.beats_mean(made).values()) == {True}
    table = made.tables.predictions.copy()
    table.loc[table["arm"] != "mean", "prediction"] += 5.0
    shifted = dataclasses.replace(made, tables=Tables(table, made.tables.history, 200))
    assert shifted.score("base", 100).value > 0
    assert regression.finding(shifted).endswith("beat the mean of the labels in 0 of 6 cases, sums of 4 in 0 of 2")
    assert "in **0 of 6** cases" in regression.learned(shifted) and "**none surely gains**" in regression.learned(
        shifted
    )
    assert "base at equal passes than mean of the training labels" in variants.beaten_by_trivial(shifted)
    told = [
        line for line in regression.score_table(shifted, (*MAIN, "mean")).splitlines() if line.startswith("| base |")
    ]
    assert "−" in told[-1] and "*" not in told[-1]
    able = [line for line in regression.score_table(made, (*MAIN, "mean")).splitlines() if line.startswith("| base |")]
    assert able[-1].count("*") == 2 and yardsticks.floor(made) == ""
    growing = world(of=of, skilled=lambda arm, n: (0.3 + 0.6 * (n == 100)) * (arm != "mean"))
    assert "none" not in regression.learned(growing)


@functools.cache
def of_two_seeds():
    return world(real=False, dataset="pvs", published=False, of=dict.fromkeys((*MAIN, "mean"), (12, 25)), seeds=2)


def test_a_run_of_two_seeds_has_no_intervals_and_stands_in_no_count(real):
    check = of_two_seeds()
    tables = [regression.gain_table(check), regression.score_table(check, MAIN), agreement.agreement_table(check)]
    assert not any(" to " in text or "*\n" in text or " * |" in text for text in tables)
    assert regression.finding(check) == regression.finding(check).partition(":")[0] + (
        ": 2 seeds, a check of the pipeline without a verdict"
    )
    for draw in (regression.learning, regression.differences):
        with_check, alone = draw([real, check]), draw([real])
        assert with_check.title == alone.title and "a check of the pipeline" in draw([check]).title
        assert "2 seeds, a check of the pipeline" in with_check.figure._supxlabel.get_text().replace("\n", " ")


def test_titles_speak_of_real_data_in_two_lines_and_the_note_of_twins(real, twin, paper):
    for source in (real, twin, counts(), of_two_seeds()):
        assert len(textwrap.wrap(regression.finding(source), 64)) <= 2
    picture = regression.learning([twin, real], paper)
    assert "Real hippocampi" in picture.title and "Synthetic" not in picture.title
    assert regression.finding(twin) in picture.figure._supxlabel.get_text().replace("\n", " ")
    assert "Synthetic" in regression.learning([twin]).title and "Synthetic" in regression.differences([twin]).title


def test_the_main_figure_names_every_size_and_shows_raters_around_their_own_task_alone(real, twin, paper):
    for sources_ in ([real], [real, twin, counts()]):
        panels = regression.learning(sources_, paper).figure.axes
        named = [text.get_text().strip() for text in panels[1].get_xticklabels()]
        assert named == ["12", "25", "100"]
        (band,) = panels[0].collections[:1]
        x = band.get_paths()[0].vertices[:, 0]
        ticks = dict(zip((t.get_text() for t in panels[0].get_xticklabels()), panels[0].get_xticks(), strict=True))
        assert list(ticks) == ["25\nPVS", "24\nWMH", "≈ 34\nWMH"], "the paper's scans that validate train nothing"
        assert x.min() > ticks["25\nPVS"] - 0.5 and x.max() < ticks["24\nWMH"] - 0.5


def test_no_star_stands_on_a_zero():
    e = Estimate(-0.048, -0.0956, -0.0004)
    assert yardsticks.starred(e) == "−0.0480 (−0.0956 to −0.0004) *"
    assert yardsticks.starred(Estimate(-0.048, -0.0956, 0.0)) == "−0.048 (−0.096 to 0.000)"
    assert yardsticks.say(Estimate(0.065, 0.004, 0.1), digits=2) == "0.065 (0.004 to 0.100)"


def test_curves_that_do_not_rise_have_no_row_of_factors():
    flat = world(of=dict.fromkeys(MAIN, (12, 25, 100)), skilled=lambda arm, n: 0.3)
    assert "|" not in regression.factor_table(flat) and "no factors against base" in regression.factor_table(flat)


def test_cells_that_are_not_there_yet_are_left_out_or_said_to_be_missing():
    base = world(of={"base": (12,)})
    assert "share no training size yet" in regression.finding(base)
    for draw in (agreement.scatter, variants.black, variants.sites):
        with pytest.raises(NotYet):
            draw(base)
    for draw in (lambda: regression.differences([base]), lambda: variants.variants(world(of={"hydra-4": (12,)}))):
        with pytest.raises(NotYet):
            draw()
    partial = world(of={"base": (12, 25), "hydra-4": (12,), "hydra-4-p0": (25,)}, seeds=2)
    assert regression.learning([partial]).png and regression.differences([partial]).png and variants.table(partial)
    assert "N = 12" in trainings.seeds_table([partial]) and trainings.seeds([partial]).png
    assert trainings.williams_table(partial) and variants.black_table(partial) and trainings.cost_table(partial)
    with pytest.raises(NotYet):
        regression.learning([world(of={"histogram": (12,)})])


def test_a_run_without_the_columns_of_sums_is_said_to_lack_them(real):
    bare = dataclasses.replace(real, records=[{"arm": "base", "n_train": 12, "device": "cpu", "torch": "2"}])
    assert "hold no f(0)" in variants.black_table(bare) and "no forward passes" in trainings.cost_table(bare)


def test_the_spread_over_seeds_has_its_interval_and_the_paper_s_its_own(real, paper):
    said = trainings.seeds_table([real], paper)
    of_paper = next(line for line in said.splitlines() if line.startswith("| paper"))
    assert "0.17 (0.03 to 1.04)" in of_paper, "six times less over three trainings each is not sure"
    assert trainings.spread_of(real, 25) is not None
    assert "<details>" in said and "of 6 comparisons on real scans" in said and "With 5 seeds" in said
    of_two = world(real=False, dataset="pvs", published=False, of=dict.fromkeys(MAIN, (12,)), seeds=2)
    assert "No spread here can be compared" in trainings.seeds_table([of_two])
    assert "cannot be compared: fewer than 3 seeds" in trainings.seeds([of_two]).title
    both = trainings.seeds([real, of_two])
    assert "of 3 comparisons on real scans, more in" in both.title
    assert "Not counted: 1" in both.figure._supxlabel.get_text().replace("\n", " ")


def test_a_spread_that_is_less_for_want_of_learning_is_said_to_be():
    of = dict.fromkeys((*MAIN, "mean"), (25,))
    idle = world(of=of, skilled=lambda arm, n: 0.01 if arm == "hydra-4" else 0.7)
    assert trainings.spread_of(idle, 25).high < 1
    assert "In 2 of these, sums do not surely beat the mean" in trainings.seeds_table([idle])
    able = world(of=of, skilled=lambda arm, n: 0.995 if arm == "hydra-4" else 0.7)
    assert trainings.spread_of(able, 25).high < 1 and "learned little" not in trainings.seeds_table([able])


def early(made, arm):
    """The same, where the arm's validation loss is best at the start."""
    history = made.tables.history.copy()
    history.loc[(history["arm"] == arm) & (history["step"] > 100), "val_loss"] = 9.0
    return dataclasses.replace(made, tables=Tables(made.tables.predictions, history, 200))


def test_networks_with_a_late_best_checkpoint_are_named_by_their_labels_at_all_sizes():
    made = early(world(of=dict.fromkeys(MAIN, (12, 25, 100))), "hydra-4")
    picture = trainings.losses(made, (25,))
    note = picture.figure._supxlabel.get_text().replace("\n", " ")
    named = "base at N = 12, 25 and 100; base at equal passes at N = 12, 25 and 100"
    assert "of 9 networks, 6 have their best checkpoint late" in picture.title and f"or more: {named}. Loss" in note
    said = cost.budget_is_enough(made, MAIN)
    assert f"**{named}**" in said and "base-compute" not in said and "improv" not in said
    assert "Without the arm of the mean" in said


def test_a_network_that_does_not_beat_the_mean_is_not_called_trained_enough():
    """Whatever its checkpoint: at its best early on, it may sit on the mean's plateau."""
    of = dict.fromkeys((*MAIN, "mean"), (25,))
    made = early(world(of=of, skilled=lambda arm, n: 0.9 * (arm in MAIN[:2])), "hydra-4")
    said = cost.budget_is_enough(made, MAIN)
    assert "In 1 of 3 cases a network **does not surely beat the mean" in said and "(sums of 4 at N = 25)" in said
    assert said.splitlines()[4].endswith("; no |") and said.splitlines()[2].endswith("; yes |")
    assert "of 3 networks, 2 surely beat the mean" in trainings.losses(made).title
    every = cost.budget_is_enough(world(of=of, skilled=lambda arm, n: 0.9 * (arm in MAIN)), MAIN)
    assert "Every network surely beats the mean" in every
    few = cost.budget_is_enough(world(of=of, seeds=2), MAIN)
    assert "2 seeds are too few" in few and "; yes" not in few
    assert " to " not in few.partition("what 4 times")[2], "no interval over two seeds"


def test_what_more_updates_bring_to_single_scans_is_said_with_its_interval():
    of = dict.fromkeys(MAIN, (25,))
    more = cost.more_updates(world(of=of, skilled=lambda arm, n: 0.9 - 0.6 * (arm == "base")))
    assert "base, what 4 times the updates change" in more and "**there, its own were not enough**" in more
    none = cost.more_updates(world(of=of, skilled=lambda arm, n: 0.5))
    assert "do not surely lower its squared error at any size" in none
    assert cost.more_updates(world(of={"base": (25,)})) == ""


def test_williams_test_is_read_in_both_directions():
    of = dict.fromkeys(MAIN, (25,))
    behind = trainings.williams_table(world(of=of, skilled=lambda arm, n: 0.9 - 0.7 * (arm == "hydra-4")))
    assert "by people **base correlates better**" in behind and "higher at 0, lower at 1 of 1 sizes" in behind
    ahead = trainings.williams_table(world(of=of, skilled=lambda arm, n: 0.2 + 0.7 * (arm == "hydra-4")))
    assert "by people **sums correlate better**" in ahead and "higher at 1, lower at 0 of 1 sizes" in ahead
    assert "surely" not in trainings.williams_table(world(of=of, seeds=2))


def test_the_protocol_says_epochs_and_voxels(real):
    given = dataclasses.replace(real, about=real.about | {"params": {"window": [24, 40, 30], "downsample": 2}})
    said = trainings.protocol_table([given])
    assert "12 × 20 × 15 (3,600)" in said and "133 to 16" in said  # 400 updates of 4 images, of 12 and of 100
    assert "real hippocampi, 133 of sums at N = 12 and 16 at N = 100" in said
    assert "voxels" in trainings.protocol_table([real]), "a table without its grid has a blank there"


def test_the_whole_sweep_counts_the_updates_of_every_network():
    one = world(of={"hydra-4": (25,), "mean": (25,)})
    assert cost.updates(one) == 5 * 400 and "2,000 updates" in cost.spent(one)
    both = world(of={"hydra-4": (25,), "hydra-4-unseen": (25,)})
    for record in both.records:
        record["images"] *= 3 if record["arm"].endswith("-unseen") else 1
    assert cost.updates(both) == 5 * 400 * (1 + 3), "a network for each of three sites"
    assert cost.updates(dataclasses.replace(one, records=[{"arm": "mean"}])) == 0


def test_the_number_of_scans_explains_labels_that_hardly_vary_and_not_those_that_do():
    rng = np.random.default_rng(0)
    alike, skewed = 3.3 + 0.43 * rng.normal(size=100), rng.exponential(10, 100)
    shares = [sums.count_share(y) for y in (alike, skewed)]
    p, n = 0.9, sets.SIZE
    for y, share in zip((alike, skewed), shares, strict=True):
        of_count = n * p * (1 - p) * y.mean() ** 2
        assert share == pytest.approx(of_count / (of_count + n * p * y.var()), abs=0.03)
    assert shares[0] > 0.8 > 0.2 > shares[1]
    assert sums.count_share(alike, centred=True) < 0.01


def test_streamed_gradients_are_the_branched_ones_and_single_squares_are_others():
    found = sums.gradients()
    assert torch.allclose(found["branched"], found["streamed"], rtol=0, atol=1e-12)
    assert torch.nn.functional.cosine_similarity(found["branched"], found["single"], dim=0) < 0.9
    assert "**the same**" in sums.gradients_in_words(found) and "one noisy number" in sums.gradients_in_words(found)
    assert "**not the same**" in sums.gradients_in_words(found | {"streamed": found["single"]})


def test_over_all_sets_a_loss_on_sums_is_the_usual_one_and_a_penalty_on_the_mean_error():
    rng = np.random.default_rng(0)
    for m, n, shift in ((7, 4, 0.0), (7, 4, 1.5), (5, 2, -0.3), (6, 6, 0.4)):
        e = rng.normal(size=m) + shift
        every = np.mean([sum(some) ** 2 for some in itertools.combinations(e, n)])
        single, common = sums.expected_square(e, n)
        assert single + common == pytest.approx(every)
        assert abs(single / n - np.mean(e**2)) > 1e-3 * np.mean(e**2), "without replacement it is somewhat less"
    said = sums.over_all_sets()
    assert "a cosine of 1.0000" in said and "· (1 − 3/24)" in said


def test_a_table_of_sets_adds_up_and_shows_black_places():
    text = sums.table_of_sets(np.arange(1.0, 13.0), "ml")
    assert "black, 0" in text
    for line in text.splitlines()[2:]:
        *places, total = line.split("|")[2:-1]
        assert sum(float(place.partition(", ")[2]) for place in places) == float(total.strip(" *ml"))


def test_layers_add_up_to_the_paper_s_parameters_alone_and_in_four_branches():
    lines = sums.layers_table().splitlines()
    parts = [int(line.split("|")[-2].replace(",", "")) for line in lines[2:-2]]
    assert sum(parts) == 196_418 and all("196,418" in line for line in lines[-2:])
    assert all(n in sums.distinct_table() for n in ("793", "12,950", "15,275", "31,930"))


def test_the_two_inferences_of_the_paper_differ_by_three_times_f_of_nothing():
    assert "f(0) = 0.100" in sums.inferences_in_words() and "0.300, is 3" in sums.inferences_in_words()


def test_labels_are_taken_once_a_scan(real):
    labels = regression.labels_of(real)
    assert labels["case"].is_unique and len(labels) == real.test_set["cases"] and labels["group"].nunique() == 30


def test_a_table_of_this_machine_that_still_grows_is_judged_by_seeds_that_all_have(real):
    table = real.tables.predictions
    grown = table[~((table["arm"] == "hydra-4") & (table["seed"] > 2))]
    kept = sources.whole(grown)
    assert set(kept["arm"].unique()) == set(ALL) or set(kept["seed"]) == {0, 1, 2, 3, 4}
    assert isinstance(kept, pd.DataFrame)
