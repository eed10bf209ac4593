"""What the README says in prose is what the verdicts and the published tables say; what it lists is what there is."""

import dataclasses
import json
import math
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewscans import results, scorecard
from fewscans.data import registry
from fewscans.data.group_splits import nested_by_group
from fewscans.figures import tables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLAT = " ".join(README.split())
MOST_BYTES = 14_000
ROWS = json.loads((ROOT / "reports" / "scorecard.json").read_text(encoding="utf-8"))


def found(claim: str, dataset: str) -> dict:
    (row,) = (row for row in ROWS if row["id"] == claim and row["dataset"] == dataset)
    return row


@pytest.mark.parametrize(
    ("words", "dataset", "verdicts"),
    [
        ("p4m is better with 30 to 300 of them; with 1,000 no gain is shown", "luna16-patches",
         {f"planar-p4m-beats-plain-n{n}": "reproduced" for n in (30, 60, 100, 300)}
         | {"planar-p4m-beats-plain-n1000": "inconclusive"}),
        ("ten times as many is excluded", "luna16-patches", {"planar-tenfold-n30": "contradicted"}),
        ("On real volumes D4, eight turns in space, saves nothing", "lidc-voi",
         {f"lidc-d4-beats-plain-n{n}": "inconclusive" for n in (30, 60, 120)}),
        ("is worse in two of six comparisons", "lidc-voi",
         {"lidc-d4h-beats-plain-n30": "contradicted"}
         | {f"lidc-d4h-beats-plain-n{n}": "inconclusive" for n in (60, 120)}),
        ("is worse in two of six comparisons", "lidc-voi-malignancy",
         {"lidc-malignancy-d4h-n250": "contradicted"}
         | {f"lidc-malignancy-d4h-n{n}": "inconclusive" for n in (30, 100)}),
        ("on MR the plain network needs 0.9 times", "hippocampus-patches",
         {"mr-tenfold-n300": "contradicted"}
         | {f"mr-d4-beats-plain-n{n}": "inconclusive" for n in (30, 300, 3000, 30000)}),
        ("so nothing is decided there", "msd-hippocampus",
         {f"sums-{what}-n25": "not tested" for what in ("equal-labels", "equal-passes")}),
        ("of sums is 17 % larger (2 to 34 %)", "msd-hippocampus", {"sums-reversed-n150": "reproduced"}),
        ("the interval of the difference includes 0. No network could be shown to beat", "nih-subset",
         {"curriculum-auc": "inconclusive", "x-rays-beat-shortcuts": "inconclusive",
          "x-rays-baseline-beats-shortcuts": "inconclusive", "curriculum-points-better": "reproduced",
          "x-rays-point-better-than-prior": "contradicted"}),
        ("On the twin, patches first is better also against equal computing", "vindr-cxr-twin",
         {"curriculum-auc": "reproduced", "curriculum-auc-equal-compute": "reproduced"}),
    ],
)  # fmt: skip
def test_its_words_are_those_of_the_verdicts(words, dataset, verdicts):
    assert words in FLAT, "the sentence changed: change what it rests on here too"
    assert {name: found(name, dataset)["verdict"] for name in verdicts} == verdicts


def said_in(notebook: str) -> str:
    """The cell of a notebook that says what its results mean, on one line."""
    cells = json.loads((ROOT / "notebooks" / notebook).read_text(encoding="utf-8"))["cells"]
    (words,) = (text for cell in cells if "**What this means.**" in (text := "".join(cell["source"])))
    return " ".join(words.replace("−", "-").split())


def numbers(estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def test_the_numbers_of_the_patches_are_the_published_ones():
    run = results.published("gcnn", "luna16-patches")  # as many draws as the notebook has
    words = said_in("01_gcnn_data_efficiency.ipynb")
    gains = {
        ("p4m", "Z2"): (30, 60, 100, 300, 1000), ("p4m-compute", "Z2"): (30, 100, 300),
        ("p4m", "Z2-tta-p4m"): (30, 100, 300), ("p4m", "p4m-sham"): (30, 100), ("Z2", "Z2-upright"): (30, 100, 300),
        ("p4m-upright", "Z2-upright"): (30, 100, 300),
        ("p4m", "centre"): (30,),
    }  # fmt: skip
    for (arm, baseline), sizes in gains.items():
        assert [n for n in sizes if numbers(run.gain(arm, baseline, n)) not in words] == [], (arm, baseline)
    aucs = {(arm, n): f"{run.score(arm, n).value:.3f}" for arm in ("p4m", "Z2") for n in (30, 100, 1000)}
    assert [cell for cell, auc in aucs.items() if auc not in words] == []
    assert f"is {aucs['p4m', 30]}, the plain network's {aucs['Z2', 30]}" in FLAT
    assert f"the gain is {numbers(run.gain('p4m', 'Z2', 30))}" in FLAT
    rows = [found(f"planar-fewer-patches-n{n}", "luna16-patches") for n in (30, 60, 100)]
    factors = ["{value:.1f} times ({low:.1f} to {high:.1f})".format(**row) for row in rows]
    assert [factor for factor in factors if factor not in words] == [] and factors[0] in FLAT


def test_the_numbers_in_space_are_the_published_ones():
    words, matched = said_in("01_gcnn_data_efficiency.ipynb"), "matched_auc@0.1"
    nodules, malignant, ladder = (
        results.published("gcnn", name) for name in ("lidc-voi", "lidc-voi-malignancy", "hippocampus-patches")
    )
    gains = [nodules.gain("D4", "Z3", n) for n in (30, 60, 120)]
    gains += [malignant.gain("D4", "Z3", n, matched) for n in (30, 100, 250)]
    gains += [nodules.gain("D4h", "Z3", n) for n in (30, 60, 120)]
    gains += [malignant.gain("D4h", "Z3", n, matched) for n in (30, 100, 250)]
    gains += [malignant.gain(f"{arm}+diameter", "diameter", 250) for arm in ("Z3", "D4")]
    gains += [ladder.gain("D4", "Z3", n) for n in (30, 300)]
    turned = ladder.gain("Z3", "D4", 300, split="test-turned")
    assert [gain for gain in (*gains, turned) if numbers(gain) not in words] == []
    flat = [ladder.gain("D4", "Z3", n) for n in (3000, 30000)]
    assert max(abs(end) for gain in flat for end in (gain.low, gain.high)) <= 0.0035, "0.000 within 0.003"
    scores = [nodules.score("centre", 120), *(malignant.score(arm, 250, matched) for arm in ("Z3", "diameter"))]
    scores += [ladder.score(arm, 300) for arm in ("Z3", "Z3-turned")]
    scores += [ladder.score(arm, 300, split="test-turned") for arm in ("Z3", "Z3-turned", "D4")]
    assert [score for score in scores if f"{score.value:.3f}" not in words] == []
    row = found("mr-tenfold-n300", "hippocampus-patches")
    factor = "{value:.1f} times ({low:.1f} to {high:.1f})".format(**row)
    assert factor in words and factor in FLAT


def test_what_notebook_01_says_of_twice_the_updates_is_what_the_pilots_say():
    pilot, words = results.pilot("gcnn-luna16-patches"), said_in("01_gcnn_data_efficiency.ipynb")
    plain, p4m = (pilot.gain(f"{arm}-double", arm, 100) for arm in ("Z2", "p4m"))
    assert f"gain it {plain.value:.3f}, and as much as {plain.high:.3f} is within the interval" in words
    assert f"p4m gains {p4m.value:.3f}" in words
    assert f"still ahead there by {numbers(pilot.gain('p4m-double', 'Z2-double', 100))}" in words


def test_the_failed_trainings_of_glands_are_counted_right():
    pilot = [json.loads((ROOT / "reports/pilots" / f"gcnn-adrenalmnist3d.{kind}.json").read_text(encoding="utf-8"))
             for kind in ("records", "trials")]  # fmt: skip
    by_rate = {rate: [r["failed"] for r in sum(pilot, []) if r["learning_rate"] == rate] for rate in (1e-3, 3e-3, 1e-2)}
    assert {rate: (sum(failed), len(failed)) for rate, failed in by_rate.items()} == {
        1e-3: (0, 20), 3e-3: (0, 20), 1e-2: (5, 20)
    }  # fmt: skip
    cells = (ROOT / "notebooks" / "01_gcnn_data_efficiency.ipynb").read_text(encoding="utf-8")
    assert "5 of 20 trainings of O and Oh stayed at guessing" in cells and "and of none of 40" in cells
    history = results.published("gcnn", "adrenalmnist3d").history.sort_values("step")
    ends = history.groupby(["arm", "n_train", "seed"])["train_loss"].apply(lambda losses: losses.tail(2).mean())
    guessing = ends > 0.95 * math.log(2)
    assert (guessing["Oh"].sum(), len(guessing["Oh"])) == (11, 20)
    assert guessing["Oh", 518].sum() == 2 and guessing["O", 100].sum() + guessing["O", 300].sum() == 3


def test_the_numbers_of_hippocampi_and_areas_are_the_published_ones():
    run, words = results.published("hydranet", "msd-hippocampus"), said_in("04_hydranet_icc.ipynb")
    for baseline in ("base", "base-compute"):
        for n in (50, 100, 150):
            assert numbers(run.gain("hydra-4", baseline, n, "log_mse")) in words, (baseline, n)
    assert numbers(run.gain("base-compute", "blocks", 150, "r2")) in words
    cells = [(arm, 25) for arm in ("base", "base-compute", "hydra-4")] + [
        (a, 150) for a in ("base-compute", "blocks", "crop")
    ]
    assert [cell for cell in cells if f"{run.score(*cell, 'r2').value:.3f}" not in words] == []
    explained = {arm: f"{run.score(arm, 150, 'r2').value:.2f}" for arm in ("hydra-4", "base-compute")}
    said = f"explain {explained['hydra-4']} of the variance with sums and {explained['base-compute']} with single scans"
    larger = f"{math.expm1(run.gain('hydra-4', 'base-compute', 150, 'log_mse').value):.0%}".replace("%", " %")
    assert said in FLAT and f"of sums is {larger} larger" in FLAT and f"is {larger} larger" in words
    area = results.published("hydranet", "luna16-area")
    for arm, baseline, score in (
        ("hydra-4", "base", "log_mse"), ("hydra-4", "base-compute", "log_mse"),
        ("base-compute", "blocks", "r2"), ("base-compute", "mean", "r2"), ("hydra-4", "mean", "r2"),
    ):  # fmt: skip
        assert numbers(area.gain(arm, baseline, 150, score)) in words, (arm, baseline)
    r2 = {arm: area.score(arm, 150, "r2").value for arm in ("base", "base-compute", "hydra-4")}
    assert [arm for arm, value in r2.items() if f"{value:.3f}" not in words] == []
    noisier = found("set-gradient-noisier", "msd-hippocampus")
    assert "{value:.1f} times ({low:.1f} to {high:.1f})".format(**noisier) in words
    assert f"{noisier['value']:.0f} times as noisy" in FLAT


@pytest.mark.parametrize(
    ("words", "dataset", "n", "metric", "split", "values"),
    [
        ("the AUC is 0.73 with patches first and 0.71 without", "nih-subset", 190, "auc:opacity", "test",
         {"curriculum": 0.73, "baseline": 0.71}),
        ("a model that knows only view, visit, age and sex (0.70)", "nih-subset", 190, "auc:opacity", "test",
         {"shortcuts": 0.70}),
        ("outside all boxes in 66 % of cases instead of 80 %", "nih-subset", 190, "mae", "test-pointing",
         {"curriculum": 0.66, "baseline": 0.80}),
        ("(mean AUC over five findings 0.88 against 0.82)", "vindr-cxr-twin", 800, "mean_auc", "test",
         {"curriculum": 0.88, "baseline-compute": 0.82}),
    ],
)  # fmt: skip
def test_its_numbers_of_chest_x_rays_are_the_published_ones(words, dataset, n, metric, split, values):
    run = results.published("curriculum", dataset, n_bootstrap=100)
    assert words in FLAT, "the sentence changed: change what it rests on here too"
    assert {arm: round(run.score(arm, n, metric, split).value, 2) for arm in values} == values


PAPER = {"anterior": 0.8987, "posterior": 0.8820}  # Dice of nnU-Net in 3D, Isensee et al. (2018), Table 2


def test_the_numbers_of_slices_and_volumes_are_the_published_ones():
    run = results.published("volumes", "msd-hippocampus")
    scores = {arm: run.score(arm, 128, "mean:dice").value for arm in ("3D", "2D")}
    gain, thick = run.gain("3D", "2D", 128, "mean:dice"), run.gain("2D", "3D", 128, "mean:dice", "test-thick")
    words = f"a Dice of {scores['3D']:.3f}, one on slices {scores['2D']:.3f}; the difference is {tables.text(gain)}."
    few = run.gain("3D", "2D", 8, "mean:dice")
    assert words in FLAT and f"Trained on 8, it is {tables.text(few)}." in FLAT
    assert f"volumes are behind by {tables.text(thick)}" in FLAT
    nodules = results.published("volumes", "lidc-voi").gain("2D", "3D", 128, "mean:dice", "test-thin")
    assert f"they are behind by {tables.text(nodules)}, with twice the updates by" in FLAT
    notebook = (ROOT / "notebooks/06_slices_or_volumes.ipynb").read_text(encoding="utf-8")
    told = [gain, thick, *(run.gain("3D", "2D", 128, f"mean:dice-{part}") for part in ("anterior", "posterior"))]
    told += [run.gain(*pair, 128, "bias:consistency-z") for pair in (("3D", "2D"), ("2D-filtered", "2D"))]
    told += [few, run.gain("ensemble", "3D", 128, "mean:dice"), run.gain("3D-patches", "3D", 128, "mean:dice")]
    told += [run.gain("3D-patches", "3D-seams", 128, score) for score in ("mean:dice", "bias:consistency-z")]
    thickness = [("3D-thickness", "3D"), ("2D-thickness", "2D"), ("3D-thickness", "2D-thickness")]
    told += [run.gain(*pair, 128, "mean:dice", "test-thick") for pair in thickness]
    told += [run.gain(*pair, 128, "mean:dice") for pair in thickness[:2]]
    told += [run.gain("2D-filtered", "2D", 8, score) for score in ("mean:dice", "bias:consistency-z")]
    told += [run.gain("2D", "3D", n, "mean:dice", "test-thick") for n in (8, 32)]
    kinds = ("float32", "uint8"), ("uint8", "float32")
    stored = [(f"3D-{one}", f"3D-{other}", 16, "mean:dice", f"test-{other}") for one, other in kinds]
    told += [run.gain(*pair) for pair in stored]
    axes = [("3D", "2D"), ("3D", "2D-coronal"), ("3D", "2D-sagittal"), ("2D-vote", "2D"), ("2D-vote", "3D")]
    told += [run.gain(*pair, 32, "mean:dice") for pair in axes]
    turned = [(("2D-thick", 32), 1.0), (("3D-thick", 32), -1.0), (("2D", 32), -1.0), (("3D", 32), 1.0)]
    told.append(run.resampled("mean:dice", "test-thick").spread(results.combination(*turned)).estimate(0.95))
    told.append(results.pilot("volumes-msd-hippocampus").gain("3D", "2D", 8, "mean:dice"))
    told.append(run.gain("2D-thick", "3D-thick", 32, "mean:dice", "test-thick"))
    scans = {part: run.score("3D-by-scan", 128, f"mean:dice-{part}", "test-first") for part in PAPER}
    told += [*scans.values(), run.gain("3D-by-scan", "3D", 128, "mean:dice", "test-first")]
    assert all(abs(scans[part].value - dice) < 0.02 for part, dice in PAPER.items()), "within 0.02 of the paper's"
    assert [one for one in map(tables.text, told) if one not in notebook] == []
    learned = run.history.query("arm == '3D' and n_train == 8").pivot(index="step", columns="seed")
    slices, volumes = learned["val_loss_z"], learned["val_loss_volume"]
    assert set(slices.idxmin()) == {500, 1000} and (slices.min() > volumes.min()).all() and slices.shape[1] == 5
    closest = (slices.min() - volumes.min()).min()
    assert f"even its lowest loss is above that of 3D in every seed, once by only {closest:.3f}." in notebook
    tested = run.predictions.query("split == 'test' and n_train == 128")
    gains = {}
    for part in ("dice", "dice-posterior"):
        rows = tested[tested["case"].astype(str).str.endswith(f"/{part}") & tested["arm"].isin(["3D", "2D"])]
        arms = rows.astype({"case": str, "arm": str}).pivot(index=["case", "seed"], columns="arm", values="prediction")
        gains[part] = arms["3D"] - arms["2D"]
    won = f"{(gains['dice'] > 0).mean():.0%}".replace("%", " %")
    assert f"The median gain is {gains['dice'].median():.3f}, and 3D wins in {won} of cases." in notebook
    assert "Three posterior parts, which one 2D network (seed 0) half misses, gain more than 0.24" in notebook
    large = gains["dice-posterior"][gains["dice-posterior"] > 0.24]
    assert large.index.get_level_values("seed").tolist() == [0, 0, 0]
    rest = gains["dice-posterior"].drop(large.index).mean()
    assert f"without them the posterior part gains {rest:.3f}." in notebook
    rows = run.predictions.astype({"case": str, "arm": str}).query("split == 'test-thick' and n_train == 32")
    rows = rows[rows["case"].str.endswith("/dice")]
    arms = rows.pivot(index=["case", "seed"], columns="arm", values="prediction")
    ahead = arms["3D-thick"] - arms["2D-thick"]
    assert (ahead.groupby("seed").mean() > 0).all() and ahead.index.unique("seed").size == 5
    won = f"{(ahead > 0).mean():.0%}".replace("%", " %")
    assert f"with 3D ahead in all five seeds and in {won} of cases" in notebook


def test_the_other_facts_of_slices_and_volumes_are_those_of_the_tables():
    run = results.published("volumes", "msd-hippocampus")
    notebook = (ROOT / "notebooks/06_slices_or_volumes.ipynb").read_text(encoding="utf-8")
    at_32 = {arm: f"{run.score(arm, 32, 'mean:dice').value:.3f}" for arm in ("3D", "2D", "2D-vote")}
    assert f"{at_32['3D']} against {at_32['2D']}, again in all five seeds" in notebook
    assert f"make up for it: {at_32['2D-vote']}." in notebook
    seconds = pd.DataFrame(run.records).query("arm == '3D' and n_train == 32")
    slices = sum(seconds[f"seconds_{axis}"].mean() for axis in "zyx")
    assert round(slices / seconds["seconds_volume"].mean(), 1) == 4.5 and "four and a half times" in notebook
    rows = run.predictions.astype({"case": str, "arm": str})
    rows = rows[rows["case"].str.endswith("/dice")].pivot_table("prediction", ["split", "n_train", "seed"], "arm")
    ahead = [rows.loc["test", n].eval("`3D` - `2D`") for n in (8, 32)]
    ahead.append(rows.loc["test-uint8", 16].eval("`3D-uint8` - `3D-float32`"))
    assert all(len(gain) == 5 and (gain > 0).all() for gain in ahead)
    arms = ("3D", "2D", "3D-thickness", "2D-thickness")
    trained = [run.score(arm, 128, "bias:consistency-z", "test-thick") for arm in arms]
    assert all(one.low > 0 for one in trained) and "trained on 128 volumes lie above 0" in notebook
    split = pd.read_csv(ROOT / "reports/published/volumes/msd-hippocampus/split.csv")
    shared = {}
    for n in (sizes := (8, 32, 128)):
        pools = [np.flatnonzero(split[f"fold of seed {seed}"] == "train") for seed in range(5)]
        drawn = [set(nested_by_group(split["group"], n, seed, pool, sizes)) for seed, pool in enumerate(pools)]
        shared[n] = round(np.mean([len(a & b) / n for a, b in combinations(drawn, 2)]), 1)
    assert shared == {8: 0, 32: 0.1, 128: 0.4} and "none with 8, a tenth with 32, 40 % on average with 128" in notebook


def test_the_numbers_of_nodules_are_the_published_ones():
    run, notebook = results.published("volumes", "lidc-voi"), said_in("06_slices_or_volumes.ipynb")
    thin = {arm: f"{run.score(arm, 128, 'mean:dice', 'test-thin').value:.3f}" for arm in ("3D", "2D")}
    assert f"3D U-Net has a Dice of {thin['3D']}, the 2D U-Net {thin['2D']}." in notebook
    told = [run.gain("3D", "2D", 128, "mean:dice", split) for split in ("test-thin", "test-thick2mm")]
    pairs = [("3D-double", "3D"), ("2D-double", "2D"), ("3D-double", "2D-double"), ("3D", "2D")]
    told += [run.gain(*pair, 128, "mean:dice") for pair in pairs]
    cases, split = run.predictions["case"].astype(str), run.predictions["split"]
    thin = cases.isin(set(cases[split == "test-thin"])) & (split == "test")
    alone = results.Results(run.predictions[thin], run.history, run.records, run.about)
    told.append(alone.gain("3D-double", "2D-double", 128, "mean:dice"))
    assert f"with twice the updates by {tables.text(alone.gain('2D-double', '3D-double', 128, 'mean:dice'))}" in FLAT
    assert [one for one in map(numbers, told) if one not in notebook] == []
    of_seeds = [run.resampled("mean:dice", "test-thin").values(arm, 128) for arm in ("3D", "2D")]
    assert (of_seeds[0] < of_seeds[1]).all() and len(of_seeds[0]) == 5
    card = (ROOT / "reports/results/06-slices-or-volumes.md").read_text(encoding="utf-8")
    assert f"which gain {told[2].value:.3f} Dice from 4,000, slices {told[3].value:.3f}" in card


def test_the_numbers_of_grey_images_are_the_published_ones():
    run, notebook = results.published("grey", "pneumoniamnist"), said_in("06_slices_or_volumes.ipynb")
    scores = [run.score(f"copied-{weights}", 400).value for weights in ("imagenet", "random")]
    assert "an AUC of {:.3f} from ImageNet's weights and {:.3f} from random ones".format(*scores) in notebook
    assert f"an AUC of {run.score('sharpness', 25).value:.3f}: by" in notebook
    told = [run.gain("copied-imagenet", "copied-random", n) for n in (400, 100)]
    told += [run.gain("sharpness", f"copied-{weights}", 25) for weights in ("imagenet", "random")]
    told += [run.gain("stem-imagenet", "copied-imagenet", 400), run.gain("copied-imagenet", "copied-permuted", 100)]
    assert [one for one in map(numbers, told) if one not in notebook] == []
    spread = [run.resampled("auc").values(f"copied-{weights}", 100) for weights in ("imagenet", "random")]
    ends = [f"from {auc.min():.3f} to {auc.max():.3f}" for auc in spread]
    assert f"spread {ends[0]}, those of random weights {ends[1]}." in notebook
    tried = json.loads((ROOT / "reports/pilots/grey-pneumoniamnist.trials.json").read_text("utf-8"))
    tried = pd.DataFrame([*results.pilot("grey-pneumoniamnist").records, *tried]).query("n_train == 100")
    tried = tried.groupby(["arm", "learning_rate"])["val_score"].mean()
    best = tried["copied-imagenet-double", 3e-3], tried["copied-random-double", 1e-2]
    assert "ImageNet's weights were ahead with 100 images, {:.3f} against {:.3f}.".format(*best) in notebook
    mine = pd.DataFrame(run.records).query("n_train == 100").groupby("arm")["val_score"].mean()
    pixels = results.pilot("grey-pneumoniamnist").score("pixels", 100).value
    assert pixels > run.score("pixels", 100).value + 0.05, "validation images are easier, as the card says"
    validated = *mine[["copied-imagenet", "copied-random"]], pixels
    words = "have {:.3f} and {:.3f} on the same validation images, and the logistic regression {:.3f}"
    assert words.format(*validated) in notebook
    verdicts = {
        "imagenet-helps-n400": "inconclusive", "imagenet-helps-n100": "inconclusive",
        "imagenet-helps-n25": "not tested", "channels-alike-n400": "reproduced",
        "channels-alike-n100": "not tested", "filters-not-numbers": "inconclusive",
    }  # fmt: skip
    assert {name: found(f"thread-grey-{name}", "pneumoniamnist")["verdict"] for name in verdicts} == verdicts


def test_the_numbers_of_dynamic_networks_are_the_published_ones():
    run = results.published("dynamic", "luna16-patches")
    score = {(arm, n): f"{run.score(arm, n, 'auc').value:.3f}" for arm in ("dynamic", "p4m") for n in (100, 300, 1000)}
    gain = {(arm, n): tables.text(run.gain(arm, "p4m", n, "auc")) for n in (100, 300, 1000)
            for arm in ("dynamic", "dynamic-equivariant", "dynamic-compute")}  # fmt: skip
    both = f"AUC of {score['dynamic', 1000]}, the static network of as many parameters {score['p4m', 1000]}"
    assert f"{both}: {gain['dynamic', 1000]}; on 300 {gain['dynamic', 300]}." in FLAT
    assert f"equal multiply-adds, they gain {gain['dynamic-compute', 1000]} on 1,000." in FLAT
    notebook = (ROOT / "notebooks/05_dynamic_gcnn.ipynb").read_text(encoding="utf-8")
    pairs = [("p4m", "Z2"), ("dynamic-Z2", "Z2"), *(("dynamic", f"dynamic-{rival}") for rival in ("blind", "noise"))]
    told = [tables.text(run.gain(*pair, n, "auc")) for pair in pairs for n in (100, 300)]
    told += [tables.text(run.gain("dynamic", *rival, "auc")) for rival in (("centre", 100), ("p4m-gated", 300))]
    told += [tables.text(run.gain(*pair, 300, "auc")) for pair in (("dynamic", "dynamic-Z2"), ("dynamic-blind", "p4m"))]
    told += [f"noise has {run.resampled('auc').values('dynamic-noise', 300).min():.3f}"]
    told += [tables.text(run.gain("p4m", "Z2", 1000, "auc")), *gain.values(), *score.values()]
    seeds = {arm: run.resampled("auc").values(arm, 1000) for arm in ("dynamic", "p4m")}
    told += [f"from {seeds['dynamic'].min():.3f} to {seeds['dynamic'].max():.3f}"]
    told += [f"static: {seeds['p4m'].min():.3f} to"]
    for n, step, words in ((300, 1000, "ends at"), (1000, 1200, "and at")):
        late = run.history[(run.history["n_train"] == n) & (run.history["step"] == step)]
        loss = late.groupby(late["arm"].astype(str))["train_loss"].mean()
        told.append(f"{words} {loss['dynamic']:.2f} against {loss['p4m']:.2f}")
    took = {arm: np.median([r["seconds_cpu"] for r in run.records if (r["arm"], r["n_train"]) == (arm, 1000)])
            for arm in ("dynamic-compute", "p4m")}  # fmt: skip
    told.append(f"takes {took['dynamic-compute'] / took['p4m']:.2f} times the processor time")
    assert [one for one in told if one not in notebook] == []


def test_its_table_of_results_is_up_to_date(tmp_path):
    copy, rows = tmp_path / "README.md", [scorecard.Row(**row) for row in ROWS]  # of the file, whose test is elsewhere
    copy.write_text(README, encoding="utf-8")
    scorecard.update_readme(copy, rows)
    assert copy.read_text(encoding="utf-8") == README, "run `fewscans scorecard`"
    scorecard.update_readme(copy, [dataclasses.replace(row, verdict="reproduced") for row in rows])
    assert copy.read_text(encoding="utf-8") != README


def test_the_page_on_data_lists_the_data_sets_that_doctor_lists_twice():
    public, page = {entry.name for entry in registry.public()}, (ROOT / "docs/data.md").read_text(encoding="utf-8")
    get, _, train = page.partition("## What each carries here")
    for text in (get, train.partition("\n## ")[0]):
        rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} == public


def test_it_is_short():
    assert len(README.encode()) <= MOST_BYTES


def test_its_links_and_pictures_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
