"""A verdict follows from the interval alone, and an open one says what would settle it."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fewscans import experiments
from fewscans.claims import Test as ClaimTest
from fewscans.data import registry
from fewscans.errors import RunError
from fewscans.results import Results, _check_reference
from fewscans.stats import Estimate
from fewscans.stats.resample import Spread
from fewscans.verdicts import evaluate, settling, verdict

SIZES = (30, 100, 300, 1000)


def rows(cells, seeds=6, n_groups=40, per_group=6, rng=0, seed_sd=0.05):
    """Predictions of cells {(arm, N): separation}."""
    rng = np.random.default_rng(rng)
    group = np.repeat(np.arange(n_groups), per_group)
    y = np.tile([0.0, 0, 0, 0, 1, 1], n_groups)
    common = rng.normal(size=(seeds, y.size)) + 0.3 * rng.normal(size=n_groups)[group]
    tables = []
    for (arm, n), separation in cells.items():
        for seed in range(seeds):
            s = (separation + seed_sd * rng.normal()) * y + common[seed] + 0.3 * rng.normal(size=y.size)
            cell = {"arm": arm, "n_train": n, "seed": seed, "split": "test"}
            case = {"case": [f"c{i:03d}" for i in range(y.size)], "group": [f"g{g:02d}" for g in group]}
            tables.append(pd.DataFrame(cell | case | {"target": y, "prediction": 1 / (1 + np.exp(-s))}))
    return pd.concat(tables, ignore_index=True)


def history(epochs):
    """{arm: per seed, the epoch at which the loss first falls to 0.3}; validated at 1 … 8."""
    return pd.DataFrame(
        {"arm": arm, "n_train": 1000, "seed": seed, "step": e, "epoch": float(e), "train_loss": 0.5,
         "val_loss": 0.3 if e >= at else 0.6}
        for arm, per_seed in epochs.items()
        for seed, at in enumerate(per_seed)
        for e in range(1, 9)
    )  # fmt: skip


CELLS = {("Z2", n): 0.35 * math.log10(n) for n in SIZES} | {("p4m", n): 0.35 * math.log10(8 * n) for n in SIZES}
def Tables(predictions, history, n_bootstrap=2000, reference=None, records=()) -> Results:
    about = {"experiment": "gcnn", "dataset": "luna16-patches"}
    return Results(predictions, history, list(records), about, reference, n_bootstrap=n_bootstrap)


TABLES = Tables(rows(CELLS), history({"Z2": [6] * 8, "p4m": [2] * 8}), n_bootstrap=300)


def test_of(**change):
    base = {
        "run": "gcnn-x",
        "arm": "p4m",
        "n_train": 100,
        "metric": "auc",
        "line": 0.0,
        "claimed": "above",
        "baseline": "Z2",
    }
    return ClaimTest(**base | change)


test_of.__test__ = False


@pytest.mark.parametrize(
    ("interval", "rule", "expected"),
    [
        ((0.01, 0.05), {"claimed": "above"}, "reproduced"),
        ((-0.05, -0.01), {"claimed": "above"}, "contradicted"),
        ((-0.01, 0.05), {"claimed": "above"}, "inconclusive"),
        ((0.01, 0.05), {"claimed": "below"}, "contradicted"),
        ((-0.05, -0.01), {"claimed": "below"}, "reproduced"),
        ((0.0, 0.0), {"claimed": "above"}, "contradicted"),  # two arms that are the same: no gain
        ((0.0, 0.0), {"claimed": "at most"}, "reproduced"),
        ((0.0, 0.1), {"claimed": "at least"}, "reproduced"),
        ((0.0, 0.1), {"claimed": "above"}, "inconclusive"),
        ((1.0, math.inf), {"claimed": "at least"}, "reproduced"),
        ((-1.0, math.inf), {"claimed": "at least"}, "inconclusive"),
        ((-0.01, 0.02), {"margin": 0.05}, "reproduced"),
        ((-0.01, 0.06), {"margin": 0.05}, "inconclusive"),
        ((-0.06, 0.06), {"margin": 0.05}, "inconclusive"),
        ((0.06, 0.09), {"margin": 0.05}, "contradicted"),
    ],
)
def test_the_interval_decides(interval, rule, expected):
    low, high = interval
    value = low if math.isinf(high) else (low + high) / 2
    assert verdict(Estimate(value, low, high), 0.0, **rule) == expected


def test_a_difference_that_is_there_is_reproduced_and_turned_round_contradicted():
    assert evaluate(test_of(), TABLES).verdict == "reproduced"
    turned = evaluate(test_of(arm="Z2", baseline="p4m"), TABLES)
    assert turned.verdict == "contradicted"
    assert turned.estimate.value == -evaluate(test_of(), TABLES).estimate.value
    assert turned.seeds == 6 and turned.reason == ""


def test_an_open_difference_says_what_would_settle_it():
    """And which way: the same value speaks for one claim and against the other."""
    close = Tables(rows(CELLS | {("p4", 100): 0.35 * math.log10(130)}, seeds=3, seed_sd=0.3), history({"Z2": [1]}), 300)
    now = "(now 3 seeds and 40 test scans)"
    below, above = (evaluate(test_of(arm="p4", claimed=claimed), close) for claimed in ("below", "above"))
    assert below.verdict == above.verdict == "inconclusive" and below.estimate.value < 0
    assert below.reason.endswith(f"would settle it, if the measured value stays {now}")
    assert above.reason.endswith(f"would contradict it, if the measured value stays {now}")
    near, far = (evaluate(test_of(arm="p4", claimed=None, margin=m), close) for m in (0.05, 0.005))
    assert near.verdict == far.verdict == "inconclusive"
    assert "contradict" not in near.reason and "contradict" in far.reason


def test_settling_blames_what_dominates():
    seeds = Spread(0.02, 0.002, 1e-5, 0.0, 5, 100)
    patients = Spread(0.02, 1e-5, 4e-4, 0.0, 10, 100)
    both = Spread(0.001, 0.01, 4e-4, 0.0, 5, 100)
    assert settling(seeds, 0.02).startswith("about ")
    assert "test groups would settle it, if the measured value stays; more seeds alone" in settling(patients, 0.02)
    assert settling(both, 0.001).startswith("neither more seeds nor more test cases")
    assert "test groups would contradict it, if the measured value stays" in settling(patients, 0.02, against=True)


def test_gains_can_be_compared_between_sizes():
    shrinking = {("Z2", 30): 0.5, ("p4m", 30): 1.6, ("Z2", 1000): 1.5, ("p4m", 1000): 1.6}
    outcome = evaluate(test_of(n_train=30, minus_n_train=1000), Tables(rows(shrinking), history({"Z2": [1]}), 300))
    assert outcome.verdict == "reproduced" and outcome.estimate.value > 0.05


@pytest.mark.parametrize(("small", "verdict_of_it"), [(0.0, "contradicted"), (1.45, "inconclusive")])
def test_a_loss_that_grows_is_no_gain_that_shrinks(small, verdict_of_it):
    cells = {("Z2", 30): 1.5, ("p4m", 30): small, ("Z2", 1000): 2.5, ("p4m", 1000): -0.5}
    outcome = evaluate(test_of(n_train=30, minus_n_train=1000), Tables(rows(cells), history({"Z2": [1]}), 300))
    assert outcome.estimate.low > 0, "the gain at 30 is larger than at 1,000"
    assert outcome.verdict == verdict_of_it and "but at N = 30 the gain is " in outcome.reason


def test_a_score_alone_is_held_against_a_line():
    assert evaluate(test_of(baseline=None, line=0.5), TABLES).verdict == "reproduced"
    chance = Tables(rows({("p4m-invariant", 100): 0.0}, n_groups=200, seed_sd=0.0), history({"Z2": [1]}), 300)
    test = test_of(arm="p4m-invariant", baseline=None, line=0.5, claimed=None, margin=0.05)
    assert evaluate(test, chance).verdict == "reproduced"
    assert evaluate(test_of(baseline=None, line=0.5, claimed=None, margin=0.05), TABLES).verdict == "contradicted"


def test_a_factor_is_judged_where_the_grid_reaches_and_not_beyond():
    factor = {"metric": "data_efficiency:auc", "claimed": "at least"}
    assert evaluate(test_of(line=2.0, n_train=30, **factor), TABLES).verdict == "reproduced"
    assert evaluate(test_of(line=25.0, n_train=30, **factor), TABLES).verdict == "contradicted"
    beyond = evaluate(test_of(line=10.0, n_train=300, **factor), TABLES)
    assert beyond.verdict == "not tested"
    assert "reach a factor of 3.33 at N = 300, short of 10" in beyond.reason
    assert beyond.estimate.high == math.inf
    open_one = evaluate(test_of(line=8.0, n_train=30, **factor), TABLES)
    assert open_one.verdict == "inconclusive" and "settle it" in open_one.reason
    for claimed, against in (("at least", True), ("at most", False)):  # the value is about 8
        far = evaluate(test_of(line=12.0, n_train=30, **factor | {"claimed": claimed}), TABLES)
        assert far.verdict == "inconclusive" and "if the measured value stays" in far.reason
        assert ("would contradict it" in far.reason) == against


def test_a_baseline_that_does_not_gain_from_data_decides_no_factor():
    """On a level curve a method of any score has a factor, even one with a narrow interval."""
    of = {"arm": "hydra-4", "baseline": "base", "n_train": 25}
    factor = {"metric": "data_efficiency:icc", "claimed": "at least", **of}
    flat = {("base", n): 1.2 for n in (12, 25, 50)}
    for own in (1.2, 2.0, 0.6):
        tables = Tables(numbers(flat | {("hydra-4", 25): own}), history({"base": [1]}), 300)
        for line in (1.5, 40.0):
            outcome = evaluate(test_of(line=line, **factor), tables)
            assert outcome.verdict == "not tested", (own, line)
            assert "the baseline does not gain: from N = 12 to 50 base gains " in outcome.reason
    losses = evaluate(test_of(line=1.5, **factor | {"metric": "data_efficiency:mse"}), tables)
    assert losses.verdict == "not tested" and losses.reason.endswith(" in mse")
    worse = Tables(numbers({("base", 12): 0.6, ("base", 50): 1.2, ("hydra-4", 25): 2.0}), history({"base": [1]}), 300)
    assert evaluate(test_of(line=1.5, **factor), worse).verdict == "not tested"
    rising = Tables(numbers({("base", 12): 1.2, ("base", 50): 0.6, ("hydra-4", 25): 2.0}), history({"base": [1]}), 300)
    for line in (1.5, 40.0):
        assert evaluate(test_of(line=line, **factor), rising).verdict == "contradicted"


def test_no_factor_is_decided_where_curves_cross():
    factor = test_of(metric="data_efficiency:auc", line=2.0, claimed="at least")
    assert evaluate(factor, TABLES).verdict == "reproduced"
    for change, said in (({("p4m", 1000): 0.2}, "p4m scores less than Z2 at N = 1000"),
                         ({("Z2", 100): 0.3}, "Z2 scores no better at N = 100 than at 30")):  # fmt: skip
        outcome = evaluate(factor, Tables(rows(CELLS | change), history({"Z2": [1]}), 300))
        assert outcome.verdict == "not tested" and outcome.estimate is not None
        assert outcome.reason == f"not defined where curves cross: {said}"


def trained(arm, n_train, failed, runs=10):
    return [{"arm": arm, "n_train": n_train, "seed": seed, "failed": seed < failed} for seed in range(runs)]


def test_arms_whose_training_failed_too_often_are_not_compared():
    def found(*records, **change):
        return evaluate(test_of(**change), replace(TABLES, records=[r for part in records for r in part]))

    assert found(trained("p4m", 100, 1), trained("Z2", 100, 1)).verdict == "reproduced", "one in ten may"
    for arm in ("p4m", "Z2"):
        outcome = found(trained(arm, 100, 3), trained(arm, 30, 0))
        assert outcome.verdict == "not tested" and outcome.estimate.low > 0
        assert outcome.reason == f"training failed in 3 of 10 runs of {arm} at N = 100"
    assert found(trained("p4m", 30, 3), trained("p4", 100, 3), trained("Z2", 300, 3)).verdict == "reproduced"
    assert "of Z2 at N = 1000" in found(trained("Z2", 1000, 3), minus_n_train=1000).reason
    assert "of Z2 at N = 300" in found(trained("Z2", 300, 3), n_train_baseline=300).reason
    assert found(trained("Z2", 100, 3), n_train_baseline=300).verdict != "not tested"
    factor = {"metric": "data_efficiency:auc", "line": 2.0, "claimed": "at least"}
    assert "of Z2 at N = 300" in found(trained("Z2", 300, 2), **factor).reason
    assert found(trained("Z2", 1000, 2), trained("p4m", 300, 2), **factor).verdict == "reproduced"


def test_noise_of_gradients_is_compared_over_runs():
    def found(ratios, **change):
        noise = {"noise_singles": 7.0, "noise_single": 28.0, "noise_set": 7.0 * np.array(ratios)}
        noise = pd.DataFrame({"arm": "base-probe", "n_train": 25, "seed": range(len(ratios)), "step": 0} | noise)
        of = {"arm": "base-probe", "n_train": 25, "baseline": None, "metric": "noise_ratio", "line": 2.0}
        return evaluate(test_of(**of | change), Tables(TABLES.predictions, noise))

    sure = found([3.6, 3.9, 4.1, 3.8, 4.2])
    assert sure.verdict == "reproduced" and sure.seeds == 5 and 3.5 < sure.estimate.low < sure.estimate.value < 4.2
    near = {"metric": "noise_ratio:single", "line": 1.0, "claimed": None}
    assert found([3.6, 3.9, 4.1, 3.8, 4.2], margin=0.25, **near).verdict == "reproduced"
    assert found([7.6, 7.9, 8.1, 8.8, 9.2], margin=0.25, **near).verdict == "contradicted"
    assert found([0.5, 0.6, 0.7]).verdict == "contradicted"
    weak, against = found([1.0, 4.0, 9.0]), found([1.0, 4.0, 9.0], claimed="below")
    assert weak.verdict == against.verdict == "inconclusive"
    assert re.fullmatch(r"about \d+ runs would settle it, if the measured value stays \(now 3\)", weak.reason)
    assert "runs would contradict it" in against.reason
    assert "runs would settle it" in found([2.0, 4.0, 9.0], margin=0.25, **near).reason
    few = found([3.0, 4.0])
    assert few.verdict == "not tested" and "needs 3 runs or more" in few.reason
    assert "lacks column 'noise_set'" in evaluate(test_of(metric="noise_ratio", baseline=None), TABLES).reason
    for change in ({"baseline": "base"}, {"minus_n_train": 30}):
        with pytest.raises(ValueError, match="compares with no baseline; drop base|baseline is missing"):
            found([3.0], **change)


def test_epochs_are_compared_by_seed():
    epochs = {"metric": "epochs_to_baseline", "n_train": 1000, "line": 1.0, "claimed": "below"}
    outcome = evaluate(test_of(**epochs), TABLES)
    assert outcome.verdict == "reproduced" and outcome.estimate.value == pytest.approx(1 / 3)
    few = Tables(TABLES.predictions, history({"Z2": [6] * 4, "p4m": [2] * 4}))
    assert evaluate(test_of(**epochs), few).reason == "the interval of a median needs 6 seeds (now 4)"
    never = Tables(TABLES.predictions, history({"Z2": [6] * 8, "p4m": [2] * 7 + [9]}))
    assert "88% of the seeds reached the goal" in evaluate(test_of(**epochs), never).reason


def test_computing_to_an_auc_is_compared_by_seed_and_says_who_did_not_arrive():
    def found(patches, whole, metric="compute_to_auc@0.80"):
        reached = history({"p4m": patches, "Z2": whole})
        reached = reached.assign(compute=10 * reached["epoch"], val_auc=np.where(reached["val_loss"] < 0.5, 0.8, 0.6))
        test = test_of(metric=metric, n_train=1000, line=1.0, claimed="below")
        return evaluate(test, Tables(TABLES.predictions, reached))

    faster = found([2] * 8, [6] * 8)
    assert faster.verdict == "reproduced" and faster.estimate.value == pytest.approx(1 / 3) and faster.reason == ""
    assert found([6] * 8, [2] * 8).verdict == "contradicted"
    alone = found([2] * 8, [9] * 8)
    assert alone.verdict == "reproduced" and alone.estimate.censored == "low" and alone.estimate.high == 0.25
    assert alone.reason == "100% of the seeds reached the goal within the budget, and 0% of those of Z2"
    neither = found([2] * 2 + [9] * 6, [9] * 8)
    assert neither.verdict == "not tested" and neither.reason.startswith("too few seeds of p4m and Z2 at N = 1000")
    assert "reach a validation AUC of 0.9" in found([2] * 8, [2] * 8, "compute_to_auc@0.9").reason
    lacking = evaluate(test_of(metric="compute_to_auc@0.8", n_train=1000, line=1.0), TABLES)
    assert lacking.verdict == "not tested" and "lacks column 'compute'" in lacking.reason


@pytest.mark.parametrize(("change", "complaint"), [({"metric": "compute_to_auc@0.4"}, "an AUC between 0.5 and 1"),
                                                   ({"metric": "compute_to_auc"}, "unknown score 'compute_to_auc'"),
                                                   ({"baseline": None}, "baseline is missing"),
                                                   ({"minus_n_train": 30}, "compares at one size")])  # fmt: skip
def test_a_test_of_computing_needs_a_goal_and_a_baseline(change, complaint):
    assert test_of(metric="compute_to_auc@0.80").ratio
    with pytest.raises(ValueError, match=complaint):
        test_of(**{"metric": "compute_to_auc@0.80"} | change)


def findings(skills):
    """Predictions of two findings of each case."""
    tables = [rows(skills, rng=k).assign(case=lambda t, f=f: t["case"] + "/" + f) for k, f in enumerate(["a", "b"])]
    return pd.concat(tables, ignore_index=True)


def test_several_findings_decide_by_their_mean_by_one_of_them_and_by_what_beats_a_trivial_arm(monkeypatch):
    table = findings({("p4m", 100): 2.0, ("Z2", 100): 0.5, ("mean", 100): 0.0})
    tables = Tables(table, history({"Z2": [1]}), 300)
    for metric, claimed in (("mean_auc", "above"), ("auc:b", "above"), ("log_loss", "below"), ("brier", "below")):
        assert evaluate(test_of(metric=metric, claimed=claimed), tables).verdict == "reproduced", metric
    absent = evaluate(test_of(metric="auc:c"), tables)
    assert absent.verdict == "not tested" and "the cases <image>/c are none" in absent.reason
    monkeypatch.setattr(type(experiments.get("gcnn")), "beaten_by", "mean_auc")
    equal = {"metric": "mean_auc", "claimed": None, "margin": 0.2, "beats": "mean"}
    assert evaluate(test_of(**equal, baseline="p4m"), tables).verdict == "reproduced"
    nothing = evaluate(test_of(**equal, arm="mean-too", baseline="Z2"), Tables(
        findings({("mean-too", 100): 0.0, ("Z2", 100): 0.0, ("mean", 100): 0.5}), history({"Z2": [1]}), 300))
    assert nothing.verdict == "not tested" and "in mean_auc, mean-too is ahead" in nothing.reason


def test_images_with_several_findings_are_counted_once_and_lesions_are_checked_by_their_own_rows(monkeypatch):
    known = replace(registry.dataset("luna16"), score="mean_auc")
    monkeypatch.setattr(registry, "dataset", lambda name: known)
    lesions = rows({("p4m", 100): 1.0, ("Z2", 100): 0.5}).assign(split="test-lesions")
    table = pd.concat([findings({("p4m", 100): 1.0, ("Z2", 100): 0.5}), lesions], ignore_index=True)
    about = {"dataset": "luna16", "run": "cxr-x", "experiment": "curriculum"}
    made = Results(table, history({"Z2": [1]}), [], about, reference(lesions), n_bootstrap=300)
    assert made.test_set == {"cases": 240, "groups": 40, "seeds": 6, "positive": 80} and made.score_name == "mean_auc"
    assert made.gain("p4m", "Z2", 100).low > 0 and made.score("p4m", 100, "lesion_froc").value > 0
    _check_reference(made)
    with pytest.raises(RunError, match="no prediction of case c004, which lies inside a nodule"):
        _check_reference(replace(made, predictions=table[table["case"] != "c004"]))


def reference(predictions):
    """Every positive case is a nodule of its own; the second of each scan is malignant."""
    case = predictions.drop_duplicates("case")
    hit = case[case["target"] == 1].assign(nodule=lambda t: "n" + t["case"])
    blank = {"nodule": "", "case": "", "malignant": np.nan}
    kinds = [
        pd.DataFrame({"kind": "scan", "scan": [*case["group"].unique(), "empty"]} | blank),
        pd.DataFrame({"kind": "nodule", "scan": hit["group"], "nodule": hit["nodule"], "case": "",
                      "malignant": np.tile([0.0, 1.0], len(hit) // 2)}),
        pd.DataFrame({"kind": "hit", "scan": hit["group"], "nodule": hit["nodule"], "case": hit["case"],
                      "malignant": np.nan}),
    ]  # fmt: skip
    return pd.concat(kinds, ignore_index=True)


def test_nodules_found_decide_as_well_as_areas():
    """froc, one of its rates, its factor, malignant nodules: each by the same road as an AUC."""
    tables = Tables(TABLES.predictions, TABLES.history, 300, reference(TABLES.predictions))
    for metric in ("froc", "froc@1"):
        outcome = evaluate(test_of(metric=metric), tables)
        assert outcome.verdict == "reproduced" and 0 < outcome.estimate.value < 1, metric
    alone = evaluate(test_of(metric="froc", baseline=None, line=0.99), tables)
    assert alone.verdict == "contradicted" and 0 < alone.estimate.low < alone.estimate.high < 0.99
    factor = test_of(metric="data_efficiency:froc", line=2.0, n_train=30, claimed="at least")
    assert evaluate(factor, tables).verdict == "reproduced"
    grown = evaluate(test_of(metric="malignant_in_top@40", baseline=None, line=0.0), tables)
    assert 10 < grown.estimate.low < grown.estimate.value < grown.estimate.high < 30  # half of the nodules are
    open_one = evaluate(test_of(metric="froc", arm="Z2", n_train=30, n_train_baseline=30, line=0.001), tables)
    assert open_one.verdict == "contradicted" and open_one.estimate.value == 0


def numbers(skill, seeds=6, cases=80, seed_sd=0.02, rng=0, unit=1.0):
    """Predictions of a number for cells {(arm, N): error in units of the label's spread}, pairs of cases in a group;
    each seed's error is a little larger or smaller, by `seed_sd`, a number or one for each arm.
    """
    rng = np.random.default_rng(rng)
    y, hard = 20 + 5 * rng.normal(size=cases), rng.normal(size=cases)
    tables = []
    for (arm, n), error in skill.items():
        for seed in range(seeds):
            own = error + (seed_sd[arm] if isinstance(seed_sd, dict) else seed_sd) * rng.normal()
            p = y + 5 * own * (0.8 * hard + 0.6 * rng.normal(size=cases))
            cell = {"arm": arm, "n_train": n, "seed": seed, "split": "test"}
            case = {"case": [f"c{i:03d}" for i in range(cases)], "group": [f"g{i // 2:02d}" for i in range(cases)]}
            tables.append(pd.DataFrame(cell | case | {"target": unit * y, "prediction": unit * p}))
    return pd.concat(tables, ignore_index=True)


SUMS = {("base", n): 2.4 / math.log(n) for n in (12, 25, 50, 100, 150)}
SUMS |= {("hydra-4", n): 2.4 / math.log(2.5 * n) for n in (12, 25)} | {("hydra-4", 150): 0.47, ("mean", 25): 1.0}


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_numbers_are_judged_by_their_own_scores_in_any_unit(unit):
    """Agreement above, errors below; a smaller error counts as better in a factor, too."""
    tables = Tables(numbers(SUMS, unit=unit), history({"base": [1]}), 300)
    of = {"arm": "hydra-4", "baseline": "base", "n_train": 25}
    for metric, claimed, other in (("icc", "above", "below"), ("icc:C", "above", "below"), ("mse", "below", "above"),
                                   ("mae", "below", "above")):  # fmt: skip
        assert evaluate(test_of(metric=metric, claimed=claimed, **of), tables).verdict == "reproduced", metric
        assert evaluate(test_of(metric=metric, claimed=other, **of), tables).verdict == "contradicted", metric
        alone = evaluate(test_of(metric=metric, claimed=claimed, **of | {"baseline": None}), tables).estimate
        assert alone.low >= 0 and (alone.high <= 1 or metric in ("mse", "mae")), metric
        for n in (12, 25):
            factor = {"metric": f"data_efficiency:{metric}", "claimed": "at least", **of, "n_train": n}
            outcome = evaluate(test_of(line=1.5, **factor), tables)
            assert outcome.verdict == "reproduced" and 2 < outcome.estimate.value < 4, (metric, outcome)
        assert evaluate(test_of(line=10.0, **factor | {"n_train": 12}), tables).verdict == "contradicted"
    far = evaluate(test_of(metric="data_efficiency:icc", line=40.0, **of | {"claimed": "at least"}), tables)
    assert far.verdict == "contradicted"  # the grid ends at a factor of 6; the interval of this one ends below 40
    shrinks = evaluate(test_of(metric="icc", minus_n_train=150, **of), tables)
    assert shrinks.verdict == "reproduced" and shrinks.estimate.value > 0.05
    near = evaluate(test_of(metric="icc", claimed=None, margin=0.02, **of | {"baseline": "hydra-4"}), tables)
    assert near.verdict == "reproduced" and near.estimate.value == 0


def test_a_factor_past_the_grid_is_not_tested():
    better = Tables(numbers(SUMS | {("hydra-4", 25): 0.3}), history({"base": [1]}), 300)
    of = {"arm": "hydra-4", "baseline": "base", "n_train": 25, "metric": "data_efficiency:icc", "claimed": "at least"}
    outcome = evaluate(test_of(line=40.0, **of), better)
    assert outcome.verdict == "not tested" and "reach a factor of 6 at N = 25, short of 40" in outcome.reason


def test_networks_that_learned_nothing_are_not_compared_where_that_would_be_passed():
    """`numbers` errs by multiples of the labels' spread: 1 is what the mean of the labels does, too."""

    def found(own, base, **change):
        cells = {("hydra-4", 25): own, ("base", 25): base, ("mean", 25): 1.0}
        tables = Tables(numbers(cells, cases=200), history({"base": [1]}), 300)
        of = {
            "run": "hydranet-x",
            "arm": "hydra-4",
            "baseline": "base",
            "n_train": 25,
            "metric": "icc",
            "beats": "mean",
        }
        return evaluate(test_of(**of | change), tables)

    equal = {"claimed": None, "margin": 0.1}
    nothing = found(1.2, 1.2, **equal)
    assert nothing.verdict == "not tested" and nothing.estimate is not None
    said = r"no network is shown to beat mean: in mse, (hydra-4|base) is ahead of it by -"
    assert re.match(said, nothing.reason), "of the two, the better"
    assert found(1.2, 1.2, **equal, beats=None).verdict == "reproduced"
    assert found(0.5, 0.5, **equal).verdict == "reproduced"
    for own, base in ((1.5, 0.5), (0.5, 1.5)):  # one learned, so the difference tells
        assert found(own, base, **equal).verdict == "contradicted"
    alone = {"claimed": "above", "baseline": None, "beaten_by": "base"}
    assert found(0.5, 0.5, **alone).verdict == "reproduced"
    assert "in mse, base is ahead of it by -" in found(0.5, 1.5, **alone).reason
    absent = found(0.5, 0.5, **equal, beats="histogram")
    assert absent.verdict == "not tested" and "no predictions of arm 'histogram'" in absent.reason


def test_spreads_over_seeds_are_compared_and_an_open_one_says_how_weak_it_is():
    test = test_of(arm="hydra-4", baseline="base", n_train=25, metric="seed_spread:icc", line=1.0, claimed="below")
    cells = {("hydra-4", 25): 0.6, ("base", 25): 0.6}

    def found(own, **options):
        tables = Tables(numbers(cells, seed_sd={"hydra-4": own, "base": 0.2}, **options), history({"base": [1]}), 300)
        return evaluate(test, tables)

    sure = found(0.01, seeds=8)
    assert sure.verdict == "reproduced" and sure.seeds == 8 and sure.estimate.high < 0.6
    assert "if scores are normal over seeds" in sure.reason  # see the module: one seed in ten that failed spoils it
    assert found(2.0, seeds=8).verdict == "contradicted"
    for own, base, steady in ((1.6, 0.6, "hydra-4"), (0.6, 1.6, "base")):  # who learned little varies little
        cells = {("hydra-4", 25): own, ("base", 25): base}
        sd = {"hydra-4": 1.0, "base": 1.0} | {steady: 0.01}
        outcome = evaluate(test, Tables(numbers(cells, seed_sd=sd, seeds=8), history({"base": [1]}), 300))
        assert outcome.verdict == "not tested" and outcome.reason.startswith(f"{steady} varies less but scores less")
    cells = {("hydra-4", 25): 0.6, ("base", 25): 0.6}
    weak = found(0.1, seeds=5, rng=1)
    assert weak.verdict == "inconclusive" and weak.estimate.low < 1 < weak.estimate.high
    assert "seeds would settle it, if ratio and correlation stay (now 5)" in weak.reason
    few = found(0.1, seeds=2)
    assert few.verdict == "not tested" and "needs at least 3 seeds, got 2" in few.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"metric": "seed_spread:auc", "baseline": "p4"}, "no predictions of arm 'p4' at N = 100"),
        ({"arm": "p4"}, "no predictions of arm 'p4' at N = 100"),
        ({"n_train": 1856}, "no predictions of arm 'p4m' at N = 1856; it has N = 30, 100, 300, 1000"),
        ({"metric": "froc"}, "froc needs the reference of the test split"),
        ({"metric": "data_efficiency:froc"}, "froc needs the reference of the test split"),
        ({"metric": "malignant_in_top@5"}, "malignant_in_top@5 needs the reference of the test split"),
        ({"split": "test-small-val"}, "no split 'test-small-val'"),
        ({"metric": "epochs_to_baseline"}, "no history of arm 'p4m' at N = 100"),
        ({"metric": "data_efficiency:auc", "baseline": "p4"}, "no predictions of baseline 'p4'"),
    ],
)
def test_what_is_absent_is_not_tested_with_the_reason(change, reason):
    outcome = evaluate(test_of(**change), TABLES)
    assert outcome.verdict == "not tested" and reason in outcome.reason and outcome.estimate is None
