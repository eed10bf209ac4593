"""Every score's fast resampling equals taking the drawn cases and scoring them."""

import math

import numpy as np
import pandas as pd
import pytest

from fewscans.stats.auc import auc, sensitivity_at
from fewscans.stats.calibration import brier, expected_calibration_error
from fewscans.stats.icc import agreement, icc
from fewscans.stats.resample import Resampled
from fewscans.stats.scores import score

from .asked import difference_interval, score_interval

PLAIN = {
    "auc": auc,
    "sensitivity@0.1": lambda y, p: sensitivity_at(y, p, 0.1),
    "sensitivity@0.33": lambda y, p: sensitivity_at(y, p, 0.33),
    "brier": brier,
    "calibration error": expected_calibration_error,
    "accuracy": lambda y, p: np.mean(np.where(y == 1, p >= 0.5, p < 0.5)),
    "log_loss": lambda y, p: -np.mean(np.log(np.maximum(np.where(y == 1, p, 1 - p), 1e-7))),
    "icc": agreement,
    "icc:C": lambda y, p: icc(np.column_stack([y, p]), "C,1").value,
    "mse": lambda y, p: np.mean((y - p) ** 2),
    "mae": lambda y, p: np.mean(np.abs(y - p)),
    "log_mse": lambda y, p: math.log(np.mean((y - p) ** 2)),
    "r2": lambda y, p: 1 - np.mean((y - p) ** 2) / np.var(y),
    "positives_in_top@7": lambda y, p: top(7, y, p),
    "positives_in_top@200": lambda y, p: y.sum(),  # more than there are
}
REGRESSION = ["icc", "icc:C", "mse", "mae", "log_mse", "r2"]


def top(n, y, p):
    """Positives among the n highest, equal predictions sharing the places that are left."""
    edge = np.sort(p)[-n]
    above, at = p > edge, p == edge
    return y[above].sum() + (n - above.sum()) * y[at].mean()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_resampling_by_weights_equals_resampling_by_copies(name, ties):
    rng = np.random.default_rng(3)
    group = rng.integers(0, 12, 90)
    y = (rng.random(90) < 0.4).astype(float)
    p = 1 / (1 + np.exp(-(y + rng.normal(size=90))))
    p = np.round(p, 1) if ties else p
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=40).astype(float)
    got = score(name).resample(y, p, group, weights)
    for row, value in zip(weights, got, strict=True):
        drawn = np.concatenate([np.flatnonzero(group == g) for g in range(12) for _ in range(int(row[g]))])
        assert value == pytest.approx(PLAIN[name](y[drawn], p[drawn]), abs=2e-6)


def test_a_function_of_ones_own_is_a_score():
    def mean_gap(y, p):
        return p[y == 1].mean() - p[y == 0].mean()

    y, p, group = np.array([0, 1, 1, 0.0]), np.array([0.1, 0.9, 0.5, 0.3]), np.array([0, 0, 1, 1])
    made = score(mean_gap)
    assert made.name == "mean_gap"
    assert made.resample(y, p, group, np.array([[1.0, 1], [2, 0]])) == pytest.approx([0.5, 0.8])


def test_known_functions_take_the_fast_way():
    assert score(auc).name == "auc" and score(auc).bounds == (0, 1)
    assert not score(brier).higher_is_better
    assert score(agreement).name == "icc" and score(agreement).bounds == (-math.inf, 1)
    assert [score(name).higher_is_better for name in REGRESSION] == [True, True, False, False, False, True]


@pytest.mark.parametrize(
    "name",
    [
        "AUC",
        "sensitivity",
        "sensitivity@2",
        "sensitivity@x",
        "icc:A",
        "ICC",
        "rmse",
        "",
        "matched_auc@1",
        "positives_in_top@0",
        "R2",
    ],
)
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="unknown score"):
        score(name)


def volumes(error, seeds=3, n=40, bias=0.0, rng=0):
    """Two sides of n people: volumes in ml, and predictions of arms with that error, alike within a person."""
    rng = np.random.default_rng(rng)
    person = np.repeat(np.arange(n), 2)
    target = 12 + 3 * rng.normal(size=n)[person] + rng.normal(size=2 * n)
    rows = []
    for seed in range(seeds):
        hard = rng.normal(size=2 * n)
        for arm, size in error.items():
            prediction = target + bias + size * (hard + 0.3 * rng.normal(size=2 * n))
            columns = {"arm": arm, "n_train": 25, "seed": seed, "split": "test"}
            columns |= {"case": np.arange(2 * n).astype(str), "group": person.astype(str)}
            rows.append(pd.DataFrame(columns | {"target": target, "prediction": prediction}))
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize("name", REGRESSION)
def test_scores_of_regression_have_intervals_from_a_prediction_table(name):
    table = volumes({"base": 2.0, "sets": 1.0})
    one = score_interval(table, "sets", 25, name, n_bootstrap=200)
    first = table[(table.arm == "sets") & (table.seed == 0)]
    assert one.low < one.value < one.high
    values = Resampled(table, name, n_bootstrap=200).values("sets", 25)
    assert values[0] == pytest.approx(PLAIN[name](first.target.to_numpy(), first.prediction.to_numpy()))
    gap = difference_interval(table, "sets", "base", 25, name, n_bootstrap=200)
    assert gap.low > 0 if score(name).higher_is_better else gap.high < 0


def test_an_icc_below_chance_or_at_it_can_be_resampled():
    """A predictor of one answer scores 0 in every draw, never NaN."""
    flat = volumes({"mean": 1.0}).assign(prediction=12.0)
    found = score_interval(flat, "mean", 25, "icc", n_bootstrap=200)
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-12)
    opposite = volumes({"mirror": 0.0})
    opposite["prediction"] = 24 - opposite.target
    assert score_interval(opposite, "mirror", 25, "icc:C", n_bootstrap=200).value == pytest.approx(-1)


def test_a_constant_bias_costs_agreement_and_not_consistency():
    fair, off = (volumes({"sets": 1.0}, bias=bias) for bias in (0.0, 4.0))
    for name, same in (("icc:C", True), ("icc", False), ("mse", False)):
        values = [score_interval(table, "sets", 25, name, n_bootstrap=200).value for table in (fair, off)]
        assert (values[0] == pytest.approx(values[1])) is same


def test_draws_without_two_different_targets_are_left_out_or_refused():
    table = volumes({"sets": 1.0}, n=5)
    kept = Resampled(table, "icc", n_bootstrap=3000).draws("sets", 25)
    assert np.isfinite(kept).all()
    one_differs = table.assign(target=np.where(table.case == "0", 1.0, 0.0))
    with pytest.raises(ValueError, match="draws of 5 groups hold two different targets; too few groups differ"):
        score_interval(one_differs, "sets", 25, "icc", n_bootstrap=200)


@pytest.mark.parametrize("name", REGRESSION)
def test_predictions_that_are_no_numbers_are_refused(name):
    with pytest.raises(ValueError, match="inf"):
        score(name).function(np.arange(3.0), np.array([1, np.inf, 2]))
    with pytest.raises(ValueError, match="(2,)"):
        score(name).function(np.arange(3.0), np.arange(2.0))


def chest(seeds=3, patients=30, rng=0, findings=("effusion", "nodule")):
    """Two images of each patient, a row an image and finding, predictions rounded so that some tie."""
    rng = np.random.default_rng(rng)
    rows = []
    patient = np.repeat(np.arange(patients), 2)
    labels = {finding: (rng.random(2 * patients) < 0.4).astype(float) for finding in findings}
    for arm, skill in (("patches", 2.0), ("whole", 1.0)):
        for seed in range(seeds):
            for finding, y in labels.items():
                score = (skill + (finding == "nodule")) * y + rng.normal(size=y.size) + 0.3 * rng.normal()
                cell = {"arm": arm, "n_train": 9, "seed": seed, "split": "test", "group": patient.astype(str)}
                cell |= {"case": [f"a/{i}/{finding}" for i in range(y.size)], "target": y}
                rows.append(pd.DataFrame(cell | {"prediction": np.round(1 / (1 + np.exp(-score)), 1)}))
    return pd.concat(rows, ignore_index=True)


def test_scores_by_finding_equal_a_loop_over_findings_and_drawn_patients():
    table = Resampled(chest(), "mean_auc", n_bootstrap=100)
    cell = table.cell("whole", 9)
    of = np.array([case.rpartition("/")[2] for case in cell.case])
    groups, weights = np.unique(cell.group), np.random.default_rng(1).integers(0, 3, (20, 30)).astype(float)
    for name, findings in (("mean_auc", ("effusion", "nodule")), ("auc:nodule", ("nodule",))):
        bound, p = score(name).bind(cell), cell.prediction[1]
        parts = [of == finding for finding in findings]
        assert bound.function(p) == pytest.approx(np.mean([auc(cell.target[rows], p[rows]) for rows in parts]))
        for row, value in zip(weights, bound.resample(p, weights), strict=True):
            copies = row[np.searchsorted(groups, cell.group)].astype(int)
            drawn = [np.repeat(np.flatnonzero(rows), copies[rows]) for rows in parts]
            assert value == pytest.approx(np.mean([auc(cell.target[d], p[d]) for d in drawn]), abs=1e-6)


def test_the_auc_of_a_finding_is_that_of_its_rows_alone():
    table = chest()
    one = table[table["case"].str.endswith("/nodule") & (table["group"] != "3")]  # nobody looked for it in patient 3
    some = pd.concat([one, table[table["case"].str.endswith("/effusion")]])
    for given, name in ((one, "auc"), (some, "auc:nodule"), (one, "mean_auc")):
        found = difference_interval(given, "patches", "whole", 9, name, n_bootstrap=200)
        assert found == difference_interval(one, "patches", "whole", 9, "auc", n_bootstrap=200), name
    spread = Resampled(some, "auc:nodule", n_bootstrap=200).spread({("whole", 9): 1.0})
    assert spread.n_groups == 29


def test_a_draw_counts_only_if_every_finding_has_both_classes():
    table = chest(patients=8)
    rare = table["case"].str.endswith("/nodule")
    table["target"] = np.where(rare, table["group"].isin(["0", "1", "2"]), table["target"]).astype(float)
    kept = {name: Resampled(table, name, n_bootstrap=2000).draws("whole", 9) for name in ("mean_auc", "auc:effusion")}
    assert all(np.isfinite(draws).all() for draws in kept.values())
    assert kept["mean_auc"].shape[1] < kept["auc:effusion"].shape[1]


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("auc:mass", {}, "arm patches at N = 9: the cases <image>/mass are none; a case here is a/0/effusion"),
        ("auc:effusion", {"target": 1.0}, "<image>/effusion have target 1; an AUC needs both classes"),
        ("mean_auc", {"target": 0.0}, "<image>/effusion have target 0; an AUC needs both classes"),
    ],
)
def test_a_finding_without_cases_or_of_one_class_is_named(name, change, complaint):
    table = chest()
    with pytest.raises(ValueError, match=complaint):
        Resampled(table.assign(**change), name, n_bootstrap=100).values("patches", 9)


def test_accuracy_and_cross_entropy_at_their_edges():
    assert score("accuracy").function([1, 0, 1, 0], [0.5, 0.5, 0.2, 0.1]) == 0.5
    assert score("log_loss").function([1, 0], [1.0, 1.0]) == pytest.approx(-np.log(1e-7) / 2, rel=1e-6)
    assert not score("log_loss").higher_is_better and score("accuracy").higher_is_better
    with pytest.raises(ValueError, match="labels must be 0 or 1, got 2"):
        score("accuracy").function([2, 0], [0.1, 0.2])


def test_differences_of_log_mse_are_ratios_and_no_error_is_no_crash():
    table = volumes({"base": 2.0, "sets": 1.0})
    gap = difference_interval(table, "sets", "base", 25, "log_mse", n_bootstrap=200)
    mse = [Resampled(table, "mse", n_bootstrap=200).values(arm, 25) for arm in ("sets", "base")]
    assert gap.value == pytest.approx(np.mean(np.log(mse[0]) - np.log(mse[1])))
    exact = score_interval(table.assign(prediction=table["target"]), "sets", 25, "log_mse", n_bootstrap=200)
    assert exact.low == pytest.approx(exact.high) and exact.high < -700
    with pytest.raises(ValueError, match="all 3 targets are 2; r2 needs two different ones"):
        score("r2").function(np.full(3, 2.0), np.arange(3.0))


def nodules(seeds=3, patients=20, rng=0, diameters=None):
    """Three nodules a patient; larger ones are likelier positive, and predictions see little but size."""
    rng = np.random.default_rng(rng)
    patient = np.repeat(np.arange(patients), 3)
    size = np.round(4 + 8 * rng.random(patient.size), 1) if diameters is None else diameters
    y = (size + 2 * rng.normal(size=size.size) > 8).astype(float)
    rows = []
    for seed in range(seeds):
        for arm, skill in (("texture", 1.0), ("size", 0.0)):
            p = np.round(size / 2 + skill * y + 0.3 * rng.normal(size=size.size), 1)
            cell = {"arm": arm, "n_train": 9, "seed": seed, "split": "test", "group": patient.astype(str)}
            cell |= {"case": [f"LIDC/{i}@{d:.1f}mm" for i, d in enumerate(size)], "target": y, "prediction": p}
            rows.append(pd.DataFrame(cell))
    return pd.concat(rows, ignore_index=True)


def matched(y, p, size, share):
    """A loop over pairs."""
    won = [(p[i] > p[j]) + 0.5 * (p[i] == p[j]) for i in np.flatnonzero(y == 1) for j in np.flatnonzero(y == 0)
           if abs(size[i] - size[j]) <= share * min(size[i], size[j]) + 1e-9]  # fmt: skip
    return np.mean(won)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.99])
def test_a_matched_auc_equals_a_loop_over_like_pairs_of_drawn_patients(share):
    table = Resampled(nodules(), f"matched_auc@{share}", n_bootstrap=100)
    cell = table.cell("texture", 9)
    size = np.array([float(case.rpartition("@")[2][:-2]) for case in cell.case])
    bound, p = table.score.bind(cell), cell.prediction[1]
    assert bound.function(p) == pytest.approx(matched(cell.target, p, size, share))
    groups, weights = np.unique(cell.group), np.random.default_rng(1).integers(0, 3, (20, 20)).astype(float)
    for row, value in zip(weights, bound.resample(p, weights), strict=True):
        drawn = np.repeat(np.arange(60), row[np.searchsorted(groups, cell.group)].astype(int))
        assert value == pytest.approx(matched(cell.target[drawn], p[drawn], size[drawn], share))


def test_diameters_within_the_share_count_and_what_only_sees_size_is_near_chance():
    edge = nodules(diameters=np.tile([8.0, 8.8, 8.9], 20)).assign(
        target=lambda t: t["case"].str.endswith("@8.0mm") * 1.0
    )
    cell = Resampled(edge, n_bootstrap=100).cell("size", 9)
    far = np.array([case.endswith("@8.9mm") for case in cell.case]) * 9.0
    for sign, expected in ((1, 1), (-1, 0)):  # 8.9 mm would outscore all, and is not compared
        assert score("matched_auc@0.1").bind(cell).function(sign * cell.target + far) == expected
    found = {(arm, name): score_interval(nodules(patients=150), arm, 9, name, n_bootstrap=200).value
             for arm in ("size", "texture") for name in ("auc", "matched_auc@0.1")}  # fmt: skip
    assert found["size", "auc"] > 0.85 and found["size", "matched_auc@0.1"] < 0.65
    assert found["texture", "matched_auc@0.1"] > found["size", "matched_auc@0.1"] + 0.2


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.assign(case=t["case"].str.replace("mm", "")), "case LIDC/.* names no diameter; names end in one"),
        (lambda t: t.assign(target=2.0), "labels must be 0 or 1, got 2"),
        (lambda t: t.assign(target=(t["case"].str[-6:-2].str.strip("@").astype(float) > 8) * 1.0), "within 0% of each"),
    ],
)
def test_cases_that_cannot_be_matched_are_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        Resampled(change(nodules()), "matched_auc@0.0001", n_bootstrap=100).values("size", 9)
    with pytest.raises(ValueError, match="matched_auc@0.1 needs the names of the cases"):
        score("matched_auc@0.1").function(np.ones(2), np.ones(2))


def test_draws_without_a_like_pair_are_left_out_or_refused():
    apart = np.concatenate([[8.0, 8.1, 8.2], 20 + 10 * np.arange(57.0)])
    y = lambda t: (t["case"].str.startswith("LIDC/0@")) * 1.0  # noqa: E731
    with pytest.raises(ValueError, match="groups hold a positive and a negative case of like diameters; too few"):
        Resampled(nodules(diameters=apart).assign(target=y), "matched_auc@0.1", n_bootstrap=200).draws("size", 9)


def measured() -> pd.DataFrame:
    """Two measures of six cases of three people by two seeds: a Dice, whose target is 1, and a distance."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(3):
        for case in range(6):
            for name, target in (("dice-front", 1.0), ("hd95-front", 0.0)):
                value = rng.uniform(0.5, 0.9) if target else rng.uniform(1, 4)
                rows.append(("a", 8, seed, "test", f"case{case}/{name}", f"p{case // 2}", target, value))
    columns = ["arm", "n_train", "seed", "split", "case", "group", "target", "prediction"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(("name", "measure", "of"), [
    ("mean:dice-front", "dice-front", lambda y, p: p.mean()), ("mean:hd95-front", "hd95-front", lambda y, p: p.mean()),
    ("bias:dice-front", "dice-front", lambda y, p: (p - y).mean()),
    ("mae:dice-front", "dice-front", lambda y, p: np.abs(p - y).mean()),
])  # fmt: skip
def test_scores_by_measure_take_the_rows_of_that_measure_alone(name, measure, of):
    table = measured()
    mine = table[table["case"].str.endswith(f"/{measure}")]
    found = Resampled(table, name, n_bootstrap=100).spread({("a", 8): 1.0}).value
    by_seed = [of(part["target"], part["prediction"]) for _, part in mine.groupby("seed")]
    assert found == pytest.approx(np.mean(by_seed))


def test_a_distance_is_better_where_it_is_smaller_and_an_unknown_measure_is_an_error():
    assert score("mean:dice-front").higher_is_better and not score("mean:hd95-front").higher_is_better
    assert score("mean:dice-front").bounds == (0, 1) and score("mean:hd95-front").bounds[1] == math.inf
    with pytest.raises(ValueError, match="no case <case>/volume-front"):
        Resampled(measured(), "mean:volume-front", n_bootstrap=100).spread({("a", 8): 1.0})
