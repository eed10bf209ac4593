"""The LUNA16 rule against a slow implementation written from its wording, and the properties one relies on."""

import math
from bisect import bisect_right
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans.stats.froc import RATES, FrocCurve, Marks, luna16_froc, sensitivities

from .scans import PLACE, covers, findings, marks, world

# ---- the rule, mark by mark, with plain numbers


def slow_points(annotations, excluded, candidates, series_uids):
    """Points of the curve as exact fractions, one threshold after the other."""
    nodules, others, given = (frame.to_dict("records") for frame in (annotations, excluded, candidates))
    false = []
    for mark in given:
        if not any(covers(finding, mark) for finding in [*nodules, *others]):
            false.append(mark["probability"])
    best = [max((m["probability"] for m in given if covers(nodule, m)), default=None) for nodule in nodules]
    found = [p for p in best if p is not None]
    points = [(Fraction(0), Fraction(0))]
    for threshold in sorted({*false, *found}, reverse=True):
        fp = sum(p >= threshold for p in false)
        tp = sum(p >= threshold for p in found)
        points.append((Fraction(fp, len(series_uids)), Fraction(tp, len(nodules))))
    return points


def slow_score(points, at=RATES):
    """Mean height of the curve: highest where it is vertical, straight between points, level after the last."""
    heights = []
    for rate in (Fraction(rate).limit_denominator(10**6) for rate in at):  # the third that 1 / 3 means
        k = bisect_right([x for x, _ in points], rate) - 1
        (x, y), (x_next, y_next) = points[k], points[min(k + 1, len(points) - 1)]
        heights.append(y + (y_next - y) * (rate - x) / (x_next - x) if x_next > x else y)
    return float(sum(heights) / len(heights))


@pytest.mark.parametrize("crowded", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_the_curve_is_that_of_the_rule_written_out(seed, crowded):
    case = world(seed, crowded=crowded)
    curve, points = luna16_froc(*case), slow_points(*case)
    np.testing.assert_array_equal(curve.false_positives, [float(x) for x, _ in points])
    np.testing.assert_array_equal(curve.sensitivity, [float(y) for _, y in points])
    assert len(curve.thresholds) == len(points) and curve.thresholds[0] == math.inf
    for at in (RATES, (0.5,), (0.0, 1 / 3, 100.0)):
        assert curve.score(at) == pytest.approx(slow_score(points, at), abs=1e-12)


def test_the_random_cases_hold_what_is_hard():
    """Else the test above proves little: ties, second hits, marks in two nodules, on a radius, in excluded findings."""
    held = dict.fromkeys(("tie", "second hit", "two nodules", "on the radius", "excluded", "both", "empty scan"), 0)
    for seed in range(60):
        nodules, others, given, uids = world(seed)
        held["tie"] += given["probability"].duplicated().any()
        held["empty scan"] += not set(uids) <= {*nodules["seriesuid"], *given["seriesuid"]}

        def relation(frame, given=given):
            same = given["seriesuid"].to_numpy()[:, None] == frame["seriesuid"].to_numpy()
            gap = given[PLACE[1:]].to_numpy(float)[:, None] - frame[PLACE[1:]].to_numpy(float)
            diameter = frame["diameter_mm"].to_numpy(float)
            slack = (gap**2).sum(-1) - (np.where(diameter < 0, 10, diameter) / 2) ** 2
            return same & (slack < 0), same & (slack == 0)

        (inside, on), (inside_other, _) = relation(nodules), relation(others)
        held["on the radius"] += on.any()
        held["second hit"] += (inside.sum(axis=0) > 1).any()
        held["two nodules"] += (inside.sum(axis=1) > 1).any()
        held["excluded"] += (inside_other.any(axis=1) & ~inside.any(axis=1)).any()
        held["both"] += (inside_other.any(axis=1) & inside.any(axis=1)).any()
    assert min(held.values()) >= 5, held


# ---- worked examples


NODULE = findings(["a", 0.0, 0.0, 0.0, 6.0])
NONE = findings()


def test_a_mark_on_the_radius_misses_and_one_just_inside_hits():
    for x, found in ((3.0, 0.0), (2.999, 1.0)):
        curve = luna16_froc(NODULE, NONE, marks(["a", x, 0.0, 0.0, 0.9]), ["a"])
        assert curve.sensitivity[-1] == found and curve.false_positives[-1] == 1 - found


def test_an_unknown_diameter_is_ten_millimetres_across():
    unknown = findings(["a", 0.0, 0.0, 0.0, -1.0])
    for x, found in ((4.999, 1.0), (5.0, 0.0), (9.0, 0.0)):
        assert luna16_froc(unknown, NONE, marks(["a", x, 0.0, 0.0, 0.9]), ["a"]).sensitivity[-1] == found


def test_marks_in_one_nodule_count_once_with_the_highest_probability():
    given = marks(["a", 0, 0, 0, 0.2], ["a", 1, 0, 0, 0.8], ["a", 0, 1, 0, 0.5], ["a", 50, 0, 0, 0.6])
    curve = luna16_froc(NODULE, NONE, given, ["a"])
    assert curve.false_positives.tolist() == [0, 0, 1]
    assert curve.sensitivity.tolist() == [0, 1, 1]
    assert curve.thresholds.tolist() == [math.inf, 0.8, 0.6]


def test_a_mark_inside_two_nodules_finds_both():
    two = findings(["a", 0.0, 0.0, 0.0, 6.0], ["a", 2.0, 0.0, 0.0, 6.0])
    curve = luna16_froc(two, NONE, marks(["a", 1.0, 0.0, 0.0, 0.9]), ["a"])
    assert curve.sensitivity.tolist() == [0, 1] and curve.false_positives.tolist() == [0, 0]


def test_a_mark_in_an_excluded_finding_is_forgotten_unless_a_nodule_holds_it_too():
    excluded = findings(["a", 0.0, 0.0, 0.0, 8.0], ["a", 30.0, 0.0, 0.0, -1.0])
    given = marks(["a", 0, 0, 0, 0.9], ["a", 30, 0, 0, 0.95], ["a", 3.5, 0, 0, 0.99])
    curve = luna16_froc(NODULE, excluded, given, ["a"])
    assert curve.false_positives.tolist() == [0, 0] and curve.sensitivity.tolist() == [0, 1]


def test_findings_of_another_scan_do_not_help():
    given = marks(["b", 0, 0, 0, 0.9], ["c", 0, 0, 0, 0.9])
    curve = luna16_froc(NODULE, findings(["b", 0, 0, 0, 9.0]), given, ["a", "b", "c"])
    assert curve.sensitivity.tolist() == [0, 0] and curve.false_positives.tolist() == [0, 1 / 3]


def test_scans_without_anything_divide_the_false_positives():
    given = marks(*(["a", 50 + i, 0, 0, 0.5] for i in range(8)), ["a", 0, 0, 0, 0.1])
    assert luna16_froc(NODULE, NONE, given, ["a"]).score(4.0) == 0
    assert luna16_froc(NODULE, NONE, given, ["a", "b"]).score(4.0) == 1.0


def test_no_scan_has_too_many_marks():
    given = marks(*(["a", 50 + i, 0, 0, 0.9] for i in range(300)), ["a", 0, 0, 0, 0.1])
    curve = luna16_froc(NODULE, NONE, given, ["a"])
    assert curve.false_positives[-1] == 300 and curve.sensitivity[-1] == 1


def test_missed_nodules_stay_in_the_denominator():
    four = findings(*(["a", 100.0 * i, 0.0, 0.0, 6.0] for i in range(4)))
    assert luna16_froc(four, NONE, marks(["a", 0, 0, 0, 0.9]), ["a"]).score() == 0.25


def test_perfect_marks_score_one_and_none_score_nothing():
    nodules, _, _, uids = world(3)
    perfect = nodules.rename(columns={"diameter_mm": "probability"}).assign(probability=0.7)
    assert luna16_froc(nodules, NONE, perfect, uids).score() == 1.0
    silent = luna16_froc(nodules, NONE, marks(), uids)
    assert silent.score() == 0.0 and silent.false_positives.tolist() == [0] and silent.sensitivity.tolist() == [0]


def test_the_score_lies_on_straight_lines_and_goes_on_level():
    two = findings(["a", 0.0, 0.0, 0.0, 6.0], ["b", 0.0, 0.0, 0.0, 6.0])
    tied = marks(["a", 0, 0, 0, 0.5], ["a", 50, 0, 0, 0.5], ["b", 50, 0, 0, 0.5])
    curve = luna16_froc(two, NONE, tied, ["a", "b"])
    assert curve.false_positives.tolist() == [0, 1] and curve.sensitivity.tolist() == [0, 0.5]
    assert [curve.score(x) for x in (0, 0.25, 1, 7)] == [0, 0.125, 0.5, 0.5]
    assert curve.score() == pytest.approx((0.125 + 0.25 + 0.5 + 4 * 1) / 2 / 7)


def test_where_the_curve_is_vertical_its_top_counts():
    two = findings(["a", 0.0, 0.0, 0.0, 6.0], ["a", 0.0, 90.0, 0.0, 6.0])
    given = marks(["a", 50, 0, 0, 0.9], ["a", 0, 0, 0, 0.8], ["a", 0, 90, 0, 0.7], ["a", 60, 0, 0, 0.6])
    curve = luna16_froc(two, NONE, given, ["a"])
    assert curve.false_positives.tolist() == [0, 1, 1, 1, 2]
    assert curve.score(1.0) == 1.0 and curve.score(0.5) == 0.0


def test_a_rate_that_binary_numbers_cannot_hold_still_meets_its_point():
    """0.29 x 100 is a little less than 29: taken literally, the top of the vertical at 29 of 100 would be missed."""
    uids = [f"s{i}" for i in range(100)]
    nodule = findings(["s0", 0.0, 0.0, 0.0, 6.0])
    given = marks(*([f"s{i}", 50, 0, 0, 0.9] for i in range(29)), ["s0", 0, 0, 0, 0.5], ["s1", 60, 0, 0, 0.1])
    assert luna16_froc(nodule, NONE, given, uids).score(0.29) == 1.0


# ---- properties


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), crowded=st.booleans())
def test_order_and_scale_of_the_marks_do_not_matter(seed, crowded):
    nodules, others, given, uids = world(seed, crowded=crowded)
    curve = luna16_froc(nodules, others, given, uids)
    shuffled = luna16_froc(*(f.sample(frac=1, random_state=seed) for f in (nodules, others, given)), uids[::-1])
    logits = luna16_froc(nodules, others, given.assign(probability=given["probability"] * 7 - 4), uids)
    for other in (shuffled, logits):
        np.testing.assert_array_equal(other.false_positives, curve.false_positives)
        np.testing.assert_array_equal(other.sensitivity, curve.sensitivity)
        assert other.score() == curve.score()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), crowded=st.booleans())
def test_the_curve_ascends_and_more_false_positives_never_help(seed, crowded):
    nodules, others, given, uids = world(seed, crowded=crowded)
    curve = luna16_froc(nodules, others, given, uids)
    assert (np.diff(curve.false_positives) >= 0).all() and (np.diff(curve.sensitivity) >= 0).all()
    assert (np.diff(curve.thresholds) < 0).all()
    assert 0 <= curve.score() <= 1
    heights = [curve.score(x) for x in (0, 0.1, 0.5, 1, 3, 20)]
    assert heights == sorted(heights)
    worse = pd.concat([given, marks([uids[0], 900.0, 0.0, 0.0, 2.0])])
    assert luna16_froc(nodules, others, worse, uids).score() <= curve.score()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_weighing_scans_equals_copying_them(seed):
    nodules, others, given, uids = world(seed, n_scans=5)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(5, np.full(5, 0.2), size=12).astype(float)
    curve = luna16_froc(nodules, others, given, uids)
    weights = weights[weights @ curve.marks.nodules > 0]
    got = sensitivities(curve.marks, weights, (1 / 8, 1 / 3, 1.0, 8.0))
    for row, values in zip(weights, got, strict=True):
        copies = [(uid, f"{uid}#{k}") for uid, w in zip(uids, row, strict=True) for k in range(int(w))]
        drawn = [
            pd.concat([f[f["seriesuid"] == uid].assign(seriesuid=name) for uid, name in copies])
            for f in (nodules, others, given)
        ]
        resample = luna16_froc(*drawn, [name for _, name in copies])
        np.testing.assert_allclose(values, [resample.score(x) for x in (1 / 8, 1 / 3, 1.0, 8.0)], atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_leaving_out_improbable_marks_changes_nothing(share, monkeypatch):
    """Resamples look only at the head of a long list; a few scans with nearly all marks make the head long."""
    rng = np.random.default_rng(5)
    n_scans, m = 40, 30_000
    scan = np.where(rng.random(m) < share, 0, rng.integers(n_scans, size=m))
    long = Marks.ranked(np.round(rng.random(m), 4), rng.random(m) < 0.3, scan, np.full(n_scans, 300))
    weights = rng.multinomial(n_scans, np.full(n_scans, 1 / n_scans), size=150).astype(float)
    weights[0] = 0
    weights[0, 7] = n_scans  # one scan alone: its marks lie far apart
    short = sensitivities(long, weights)
    whole = sensitivities(long, weights, (*RATES, m))[:, :-1]  # a rate beyond all marks: none can be left out
    np.testing.assert_array_equal(short, whole)


# ---- intervals


def drawn_test_set(rng, n):
    """n scans with two nodules and three false positives each, alike within a scan, overlapping between."""
    found, scan = np.tile([True, True, False, False, False], n), np.repeat(np.arange(n), 5)
    probability = found + rng.normal(size=5 * n) + 0.7 * rng.normal(size=n)[scan]
    return FrocCurve.of(Marks.ranked(probability, found, scan, np.full(n, 2)))


def test_the_interval_has_the_bounds_of_the_scripts_bootstrap():
    """Of 1,000 sorted scores, those at the places 25 and 975, counted from 0."""
    curve = drawn_test_set(np.random.default_rng(1), 30)
    got = curve.interval(rng=4)
    draws = np.random.default_rng(4).multinomial(30, np.full(30, 1 / 30), size=1000)
    scores = sorted(sensitivities(curve.marks, row[None].astype(float)).mean() for row in draws)
    assert (got.low, got.value, got.high) == (scores[25], curve.score(), scores[975])
    assert curve.interval(rng=4) == got and curve.interval(rng=np.random.default_rng(4)) == got
    assert curve.interval(1.0).value == curve.score(1.0) != got.value


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = drawn_test_set(rng, 40_000).score()
    intervals = (drawn_test_set(rng, 60).interval(n_bootstrap=400, rng=k) for k in range(200))
    assert 0.90 <= np.mean([e.low <= truth <= e.high for e in intervals]) <= 0.99


def test_an_interval_needs_scans_and_nodules():
    with pytest.raises(ValueError, match="there is 1; an interval needs at least 2"):
        luna16_froc(NODULE, NONE, marks(), ["a"]).interval()
    with pytest.raises(ValueError, match="of the resamples of 50 scans hold a nodule"):
        luna16_froc(NODULE, NONE, marks(), ["a", *map(str, range(49))]).interval()
    with pytest.raises(ValueError, match="n_bootstrap must be at least 100"):
        luna16_froc(NODULE, NONE, marks(), ["a", "b"]).interval(n_bootstrap=10)


# ---- what is refused


GOOD = {"annotations": NODULE, "excluded": findings(["b", 0, 0, 0, 5.0]), "candidates": marks(["a", 0, 0, 0, 0.5]),
        "series_uids": ["a", "b"]}  # fmt: skip


def changed(table, **columns):
    return {table: GOOD[table].assign(**columns)}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (changed("candidates", seriesuid="z"), "candidates: seriesuid 'z' in row 0 is none of the 2 series_uids"),
        (changed("annotations", seriesuid="z"), "annotations: seriesuid 'z'"),
        (changed("excluded", seriesuid="z"), "excluded: seriesuid 'z'"),
        (changed("candidates", seriesuid=np.nan), "candidates: seriesuid nan"),
        (changed("annotations", diameter_mm=0.0), "annotations: diameter_mm is 0 in row 0.*written as -1"),
        (changed("excluded", diameter_mm=0), "excluded: diameter_mm is 0 in row 0"),
        (changed("annotations", diameter_mm=np.nan), "annotations: diameter_mm is nan in row 0"),
        (changed("annotations", coordY=np.nan), "annotations: coordY is nan in row 0"),
        (changed("candidates", coordZ=np.inf), "candidates: coordZ is inf in row 0"),
        (changed("candidates", probability=np.nan), "candidates: probability is nan in row 0"),
        (changed("candidates", coordX="left"), "candidates: column 'coordX' must hold numbers"),
        ({"candidates": GOOD["candidates"].drop(columns="probability")}, "candidates: column 'probability' is missing"),
        ({"annotations": GOOD["annotations"].drop(columns="diameter_mm")}, "annotations: column 'diameter_mm' is mis"),
        ({"excluded": pd.DataFrame()}, "excluded: column 'seriesuid' is missing"),
        ({"series_uids": ["a", "b", "a"]}, "series_uids lists 'a' twice"),
        ({"series_uids": []}, "series_uids is empty"),
        ({"series_uids": "ab"}, "series_uids must be a list of scans, got a str"),
        ({"annotations": NONE}, "none of the 2 scans holds a nodule"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_value(change, complaint):
    luna16_froc(**GOOD)
    with pytest.raises(ValueError, match=complaint):
        luna16_froc(**GOOD | change)


@pytest.mark.parametrize("at", [-1.0, math.nan, math.inf, (), (0.5, -0.1)])
def test_a_rate_that_cannot_be_is_refused(at):
    with pytest.raises(ValueError, match="numbers of at least 0"):
        luna16_froc(**GOOD).score(at)
