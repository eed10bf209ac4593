"""Figures of regression from sums say what the tables say, whatever part of the tables is there."""

import dataclasses
import functools
import re

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans import claims, sets
from fewscans.experiments import numbered_arms
from fewscans.figures import agreement, questions, regression, reported, sources, sums, trainings, variants, wording
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
        (0.6, "sums of 4 beat base at every size; they beat base at equal passes at every size"),
        (0.0, "cannot be told from base or base at equal passes at any size"),
        (-0.6, "fall behind base at every size"),
    ],
)
def test_the_title_follows_from_the_interval(gain, expected):
    made = world(of=dict.fromkeys(MAIN, (12, 25)), skilled=lambda arm, n: 0.65 + gain / 2 * (arm == "hydra-4"))
    assert expected in regression.finding(made)


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
    for line in regression.gain_table(real).splitlines()[2:-2]:
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
    assert "sums permuted" in title and "surely better: sums of 4" in title


def test_a_network_that_beats_no_baseline_is_named():
    blind = world(of=dict.fromkeys((*MAIN, "histogram"), (12,)), skilled=lambda arm, n: 0.2 + 0.6 * (arm == "hydra-4"))
    said = variants.beaten_by_trivial(blind)
    assert "base than histogram of values at N = 12" in said and "sums of 4" not in said


def test_a_title_says_so_where_networks_hardly_learned(real):
    nothing = world(of=dict.fromkeys((*MAIN, "histogram"), (12, 25)), skilled=lambda arm, n: 0.5 * (arm == "histogram"))
    assert regression.finding(nothing).endswith("; networks surely beat a histogram in 0 of 6 cases")
    learned = world(of=dict.fromkeys((*MAIN, "histogram"), (12,)), skilled=lambda arm, n: 0.9 * (arm != "histogram"))
    assert regression.floor(learned) == ""
    assert "histogram" in regression.learning([nothing]).title
    assert "None surely gains" not in regression.learned(nothing), "from 12 to 25 is too little to say so"
    flat = world(of=dict.fromkeys((*MAIN, "histogram"), (12, 100)), skilled=lambda arm, n: 0.5 * (arm == "histogram"))
    assert "**None surely gains" in regression.learned(flat)
    assert "None" not in regression.learned(real) and "sums of 4 by +" in regression.learned(real)


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
    assert "0.17 (0.03 to 1.04)" in said.splitlines()[2], "six times less over three trainings each is not sure"
    assert trainings.spread_of(real, 25) is not None


def test_runs_cut_short_are_named():
    made = world(of=dict.fromkeys(MAIN, (25,)))
    history = made.tables.history.copy()
    over = (history["arm"] == "hydra-4") & (history["step"] > 100)
    history.loc[over, "val_loss"] = 9.0
    other = dataclasses.replace(made, tables=Tables(made.tables.predictions, history, 200))
    title = trainings.losses(other).title
    assert "base at N = 25" in title and "sums of 4" not in title


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
    assert "**the same**" in sums.gradients_in_words(found) and "another direction" in sums.gradients_in_words(found)
    assert "**not the same**" in sums.gradients_in_words(found | {"streamed": found["single"]})


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
