"""Scores of detection from prediction tables: the same numbers as from coordinates, in every resample of the scans."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewscans.data import luna16_candidates
from fewscans.data.formats.luna16 import Luna16
from fewscans.stats.cells import Cell, cells
from fewscans.stats.efficiency import data_efficiency
from fewscans.stats.froc import luna16_froc
from fewscans.stats.reference import Reference
from fewscans.stats.resample import Resampled
from fewscans.stats.scores import score

from .asked import difference_interval, score_interval
from .scans import covers, findings, marks, reference_of, world


def table(candidates, probabilities):
    """Predictions of cells {(arm, N): (S, C)} for these candidates."""
    frames = []
    for (arm, n), p in probabilities.items():
        for seed, row in enumerate(p):
            cell = {"arm": arm, "n_train": n, "seed": seed, "split": "test"}
            case = {"case": [f"c{i:03d}" for i in range(len(candidates))], "group": candidates["seriesuid"].tolist()}
            frames.append(pd.DataFrame(cell | case | {"target": 0.0, "prediction": row}))
    return pd.concat(frames, ignore_index=True)


def scored(seed, n_scans=6, seeds=3):
    """A world, its reference and a table of two arms; grades of the nodules, one at least malignant."""
    rng = np.random.default_rng(seed)
    nodules, others, given, uids = world(seed, n_scans)
    given = pd.concat([given, marks([nodules["seriesuid"][0], 99, 99, 99, 0.0])], ignore_index=True)
    grade = rng.choice([1.0, 0.0, np.nan], len(nodules))
    grade[0] = 1.0
    probabilities = {(arm, 30): rng.integers(0, 7, (seeds, len(given))) / 7 for arm in ("D4", "Z3")}
    case = nodules, others, given, uids
    return case, grade, reference_of(*case, malignant=grade), probabilities


@pytest.mark.parametrize("seed", range(20))
def test_froc_of_a_table_is_that_of_the_coordinates(seed):
    (nodules, others, given, uids), _, reference, probabilities = scored(seed)
    predictions = table(given, probabilities)
    for name, at in (("froc", None), ("froc@1", 1.0), ("froc@0.25", 0.25)):
        got = Resampled(predictions, name, reference=reference)
        for key, p in probabilities.items():
            curves = [luna16_froc(nodules, others, given.assign(probability=row), uids) for row in p]
            expected = [curve.score() if at is None else curve.score(at) for curve in curves]
            np.testing.assert_allclose(got.values(*key), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_draws_are_those_of_scans_taken_as_often(seed):
    """All scans are drawn, also those without a candidate: the table alone does not know of them."""
    (nodules, others, given, uids), _, reference, probabilities = scored(seed, n_scans=12)
    made = Resampled(table(given, probabilities), "froc", n_bootstrap=100, rng=3, reference=reference)
    weights = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=100)
    per_scan = nodules["seriesuid"].value_counts().reindex(sorted(uids), fill_value=0).to_numpy()
    weights = weights[weights @ per_scan > 0]
    got = made.draws("D4", 30)
    assert got.shape == (3, len(weights))
    for b in range(0, len(weights), 20):
        copies = [(uid, f"{uid}#{k}") for uid, w in zip(sorted(uids), weights[b], strict=True) for k in range(w)]
        marked = given.assign(probability=probabilities["D4", 30][1])
        drawn = [
            pd.concat([f[f["seriesuid"] == uid].assign(seriesuid=name) for uid, name in copies])
            for f in (nodules, others, marked)
        ]
        expected = luna16_froc(*drawn, [name for _, name in copies]).score()
        assert got[1, b] == pytest.approx(expected, abs=1e-12)


def slow_malignant(best, malignant, top):
    """Mean over all orders of nodules of equal score."""
    order = sorted(range(len(best)), key=lambda i: -best[i])
    groups = [list(g) for _, g in itertools.groupby(order, key=lambda i: best[i])]
    counts = []
    for orders in itertools.product(*(itertools.permutations(g) for g in groups)):
        first = [i for g in orders for i in g][:top]
        counts.append(sum(malignant[i] == 1 for i in first))
    return np.mean(counts)


@pytest.mark.parametrize("top", [1, 2, 3, 50])
@pytest.mark.parametrize("seed", range(12))
def test_malignant_nodules_at_the_top_are_counted_over_all_orders_of_ties(seed, top):
    (nodules, others, given, uids), grade, reference, probabilities = scored(seed)
    hits = reference[reference["kind"] == "hit"]
    got = Resampled(table(given, probabilities), f"malignant_in_top@{top}", reference=reference)
    bound = got.score.bind(got.cell("Z3", 30), got.reference)
    rng = np.random.default_rng(seed)
    for p, value in zip(probabilities["Z3", 30], got.values("Z3", 30), strict=True):
        at = {i: p[[int(c[1:]) for c in hits["case"][hits["nodule"] == f"n{i}"]]] for i in range(len(nodules))}
        best = {i: v.max() for i, v in at.items() if len(v)}
        assert value == pytest.approx(slow_malignant(list(best.values()), [grade[i] for i in best], top))
        weights = rng.integers(0, 3, len(uids))
        copies = [i for i in best for _ in range(weights[sorted(uids).index(nodules["seriesuid"][i])])]
        if math.prod(math.factorial(list(map(best.get, copies)).count(b)) for b in set(best.values())) < 5000:
            drawn = bound.resample(p, weights[None].astype(float))[0]
            assert drawn == pytest.approx(slow_malignant([best[i] for i in copies], [grade[i] for i in copies], top))


@pytest.mark.parametrize("seed", range(10))
def test_what_the_reader_of_luna16_says_leads_to_the_score_from_coordinates(seed):
    """Its rule of who hits whom is its own, as data never import statistics; both must say the same."""
    nodules, others, given, uids = world(seed, n_scans=20)
    hits = [any(covers(n, m) for n in nodules.to_dict("records")) for m in given.to_dict("records")]
    candidates = given.drop(columns="probability").assign(**{"class": np.array(hits, dtype=int)})
    subset = np.arange(20) % 10
    scans = pd.DataFrame({"series": uids, "subset": subset, "path": ""})
    test = [uid for uid, fold in zip(uids, subset, strict=True) if fold >= 7]
    lists = Luna16(Path(), scans, {}, nodules.assign(malignant=np.nan), others, candidates, "", "")
    chosen = luna16_candidates.choose(lists)
    tested = chosen[chosen["split"] == "test"]
    p = np.random.default_rng(seed).integers(0, 5, len(tested)) / 5
    cell = Cell("D4", 30, np.arange(1), tested["case"].to_numpy(object), tested["series"].to_numpy(object),
                tested["label"].to_numpy(float), p[None])  # fmt: skip
    frames = [frame[frame["seriesuid"].isin(test)] for frame in (nodules, others, candidates)]
    made = luna16_candidates.reference(lists, chosen)
    if frames[0].empty:
        with pytest.raises(ValueError, match="holds no nodule in its 6 scans"):
            Reference.of(made)
        return
    excluded = [any(covers(n, m) for n in others.to_dict("records")) and not hits[i]
                for i, m in enumerate(candidates.to_dict("records"))]  # fmt: skip
    assert sorted(tested["row"]) == [i for i in frames[2].index if not excluded[i]]  # these count neither way
    marked = frames[2].assign(probability=pd.Series(p, tested["row"].to_numpy())).fillna({"probability": 1.0})
    expected = luna16_froc(*frames[:2], marked, test).score()
    assert score("froc").bind(cell, Reference.of(made)).function(p) == pytest.approx(expected)


# ---- intervals


def big(arms, seeds=4, n_scans=40, rng=0):
    """Two nodules and six false positives in most scans, nothing in the others; arms {(arm, N): separation}."""
    rng = np.random.default_rng(rng)
    uids = [f"s{i:02d}" for i in range(n_scans)]
    busy = uids[: n_scans * 4 // 5]
    nodules = findings(*([uid, 100.0 * k, 0.0, 0.0, 10.0] for uid in busy for k in range(2)))
    given = marks(*([uid, 100.0 * k, 60.0 * (k > 1), 0.0, 0.0] for uid in busy for k in range(8)))
    hit = np.tile(np.arange(8) < 2, len(busy))
    grade = (rng.random(len(nodules)) < 0.4).astype(float)
    common = rng.normal(size=(seeds, len(given)))
    probabilities = {
        key: 1 / (1 + np.exp(-(d * hit + common + 0.3 * rng.normal(size=common.shape)))) for key, d in arms.items()
    }
    return table(given, probabilities), reference_of(nodules, findings(), given, uids, grade)


ARMS = {("Z3", 30): 0.5, ("Z3", 300): 1.5, ("Z3", 3000): 2.5, ("D4", 30): 1.5}


def test_a_better_arm_has_an_interval_above_zero_and_a_factor_of_its_own():
    predictions, reference = big(ARMS)
    made = Resampled(predictions, "froc", n_bootstrap=300, reference=reference)
    gain = difference_interval(made, "D4", "Z3", 30)
    assert 0 < gain.low < gain.value < gain.high < 1
    alone = score_interval(made, "D4", 30)
    assert 0 <= alone.low < alone.value < alone.high <= 1
    factor = data_efficiency(made, "Z3", "D4", n_train=30)
    assert 5 < factor.low < factor.value < factor.high < 20


def test_scans_without_candidates_are_drawn_and_counted():
    predictions, reference = big(ARMS)
    made = Resampled(predictions, "froc", n_bootstrap=300, reference=reference)
    assert predictions["group"].nunique() == 32
    assert made.spread({("D4", 30): 1.0}).n_groups == 40
    assert Resampled(predictions.assign(target=predictions.index % 2), "auc").spread({("D4", 30): 1.0}).n_groups == 32


def test_other_scores_do_not_look_at_the_reference():
    predictions, _ = big(ARMS)
    predictions = predictions.assign(target=(predictions["case"].str[1:].astype(int) % 8 < 2).astype(float))
    one, other = (Resampled(predictions, "auc", n_bootstrap=100, reference=r) for r in (None, pd.DataFrame()))
    np.testing.assert_array_equal(one.draws("D4", 30), other.draws("D4", 30))


def test_the_order_of_the_references_rows_does_not_matter():
    predictions, reference = big(ARMS)
    for name in ("froc", "malignant_in_top@20"):
        one, other = (Resampled(predictions, name, n_bootstrap=100, reference=r).draws("D4", 30)
                      for r in (reference, reference.sample(frac=1, random_state=1)))  # fmt: skip
        np.testing.assert_array_equal(one, other)


# ---- what is refused


@pytest.mark.parametrize("name", ["froc", "froc@2", "malignant_in_top@5"])
def test_without_a_reference_the_score_says_what_it_needs(name):
    predictions, _ = big(ARMS, n_scans=10)
    with pytest.raises(ValueError, match=f"{name} needs the reference of the test split.*there is none"):
        Resampled(predictions, name).values("D4", 30)
    with pytest.raises(ValueError, match="needs the reference"):
        score(name).function(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("name", ["froc@", "froc@0", "froc@-1", "froc@inf", "froc@x", "malignant_in_top@0",
                                  "malignant_in_top", "malignant_in_top@2.5", "FROC"])  # fmt: skip
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"unknown score .* froc@RATE, malignant_in_top@K"):
        score(name)


def row(**columns):
    blank = {"kind": "scan", "scan": "", "nodule": "", "case": "", "malignant": np.nan}
    return lambda frame: pd.concat([frame, pd.DataFrame([blank | columns])], ignore_index=True)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: f.drop(columns="malignant"), "lacks column 'malignant'"),
        (row(kind="lesion"), "rows of kind 'lesion'; kinds are scan, nodule, hit, excluded"),
        (row(scan="s00"), "names scan 's00' twice"),
        (row(kind="nodule", scan="s00", nodule="n0"), "names nodule 'n0' twice"),
        (row(kind="nodule", scan="s99", nodule="new"), "a nodule of scan 's99', which it does not list"),
        (row(kind="nodule", scan="s00", nodule="new", malignant=3.0), "grades a nodule 3.0"),
        (row(kind="hit", scan="s00", nodule="new", case="c003"), "a hit of nodule 'new', which it does not list"),
        (row(kind="excluded", scan="s00", case="c000"), "case 'c000' both inside a nodule and excluded"),
        (lambda f: f[f["kind"] == "scan"], "holds no nodule in its 10 scans"),
    ],
)
def test_a_reference_that_contradicts_itself_is_refused(change, complaint):
    _, reference = big(ARMS, n_scans=10)
    Reference.of(reference)
    with pytest.raises(ValueError, match=complaint):
        Reference.of(change(reference))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda p: p[p["case"] != "c001"], "no prediction of case c001, which lies inside a nodule.*another test set"),
        (lambda p: p.assign(group=p["group"].replace("s03", "t03")), "group 't03', which is no scan of the reference"),
        (lambda p: p.assign(group=p["group"].replace("s03", "s04")), "of scan s04 cannot hit a nodule of scan s03"),
    ],
)
def test_a_table_of_another_test_set_is_refused(change, complaint):
    predictions, reference = big({("D4", 30): 1.0}, n_scans=10)
    layout = Reference.of(reference).layout(cells(predictions)["D4", 30])
    assert len(layout.found) == 16 and len(layout.false) == 48
    with pytest.raises(ValueError, match=complaint):
        Resampled(change(predictions), "froc", reference=reference).values("D4", 30)


def test_malignancy_needs_a_malignant_nodule_and_froc_enough_nodules():
    predictions, reference = big({("D4", 30): 1.0}, n_scans=10)
    benign = reference.assign(malignant=reference["malignant"] * 0)
    with pytest.raises(ValueError, match="malignant_in_top@5: no nodule of the reference is graded malignant"):
        Resampled(predictions, "malignant_in_top@5", reference=benign).values("D4", 30)
    lonely = reference[~reference["nodule"].isin([f"n{i}" for i in range(2, 16)])]
    with pytest.raises(ValueError, match="draws of 10 groups hold a nodule; too few scans hold one to resample them"):
        Resampled(predictions, "froc", reference=lonely).draws("D4", 30)
