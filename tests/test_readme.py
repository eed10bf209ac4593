"""What the README says in prose is what the verdicts and the published tables say; what it lists is what there is."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from fewscans import results, scorecard
from fewscans.data import registry

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
        ("the network p4m beats the plain one from 300 training patches on", "luna16-patches",
         {"planar-p4m-beats-plain-n300": "reproduced", "planar-p4m-beats-plain-n1000": "reproduced"}),
        ("A plain network with four times the updates closes that gap", "luna16-patches",
         {"control-beats-long-n300": "inconclusive"}),
        ("Ten times fewer is contradicted at 30 patches and open at 100", "luna16-patches",
         {"planar-tenfold-n30": "contradicted", "planar-tenfold-n100": "inconclusive"}),
        ("On real shapes of adrenal glands no group can be shown to beat the plain network", "adrenalmnist3d",
         {f"shape-{g}-beats-plain-n{n}": "inconclusive" for g in ("d4", "d4h", "o") for n in (30, 100, 300, 518)}),
        ("no difference from learning on single scans could be shown at any size", "msd-hippocampus",
         {f"sums-{what}-n{n}": "inconclusive" for what in ("beat-base", "mse") for n in (12, 25)}),
        ("the interval of the difference includes 0. No network could be shown to beat", "nih-subset",
         {"curriculum-auc": "inconclusive", "x-rays-beat-shortcuts": "inconclusive",
          "x-rays-baseline-beats-shortcuts": "inconclusive", "curriculum-points-better": "reproduced",
          "x-rays-point-better-than-prior": "contradicted"}),
        ("On the twin, patches first is better also against equal computing", "vindr-cxr-twin",
         {"curriculum-auc": "reproduced", "curriculum-auc-equal-compute": "reproduced"}),
        ("sums do not beat the mean of the training labels", "msd-hippocampus",
         {"inferences-agree-n25": "not tested"}),
    ],
)  # fmt: skip
def test_its_words_are_those_of_the_verdicts(words, dataset, verdicts):
    assert words in FLAT, "the sentence changed: change what it rests on here too"
    assert {name: found(name, dataset)["verdict"] for name in verdicts} == verdicts


def test_its_gain_is_the_published_one():
    gains = [found(f"planar-p4m-beats-plain-n{n}", "luna16-patches")["value"] for n in (300, 1000)]
    assert "by 0.02 to 0.03 in AUC" in FLAT and all(0.02 <= gain <= 0.03 for gain in gains)


def test_its_widest_interval_is_the_published_one():
    row = found("sums-beat-base-n12", "msd-hippocampus")
    assert "at 12 scans, −0.16 to 0.20 in ICC" in FLAT and (round(row["low"], 2), round(row["high"], 2)) == (-0.16, 0.2)


@pytest.mark.parametrize(
    ("words", "dataset", "n", "metric", "split", "values"),
    [
        ("the AUC is 0.73 with patches first and 0.71 without", "nih-subset", 190, "auc:opacity", "test",
         {"curriculum": 0.73, "baseline": 0.71}),
        ("a model that knows only view, visit, age and sex (0.70)", "nih-subset", 190, "auc:opacity", "test",
         {"shortcuts": 0.70}),
        ("outside all boxes in 66 % of cases instead of 80 %", "nih-subset", 190, "mae", "test-pointing",
         {"curriculum": 0.66, "baseline": 0.80}),
        ("does better still (33 %)", "nih-subset", 190, "mae", "test-pointing", {"prior": 0.33}),
        ("(mean AUC over five findings 0.88 against 0.82)", "vindr-cxr-twin", 800, "mean_auc", "test",
         {"curriculum": 0.88, "baseline-compute": 0.82}),
    ],
)  # fmt: skip
def test_its_numbers_of_chest_x_rays_are_the_published_ones(words, dataset, n, metric, split, values):
    run = results.published("curriculum", dataset, n_bootstrap=100)
    assert words in FLAT, "the sentence changed: change what it rests on here too"
    assert {arm: round(run.score(arm, n, metric, split).value, 2) for arm in values} == values


def test_no_difference_between_sums_and_single_scans_excludes_0_at_any_size():
    run = results.published("hydranet", "msd-hippocampus")
    gains = run.gains(["hydra-4"], "base")
    assert len(gains) >= 2 and (gains["low"] < 0).all() and (gains["high"] > 0).all()


def test_its_table_of_results_is_up_to_date(tmp_path):
    copy, rows = tmp_path / "README.md", [scorecard.Row(**row) for row in ROWS]  # of the file, whose test is elsewhere
    copy.write_text(README, encoding="utf-8")
    scorecard.update_readme(copy, rows)
    assert copy.read_text(encoding="utf-8") == README, "run `fewscans scorecard`"
    scorecard.update_readme(copy, [dataclasses.replace(row, verdict="reproduced") for row in rows])
    assert copy.read_text(encoding="utf-8") != README


def test_it_lists_the_data_sets_that_doctor_lists():
    public = {entry.name for entry in registry.public()}
    for text in (README.partition("## Use real data")[2], (ROOT / "docs/data.md").read_text(encoding="utf-8")):
        rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        names = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
        assert names - {"<split>_images"} >= public and {n for n in names if not n.startswith("make")} <= public


def test_it_is_short():
    assert len(README.encode()) <= MOST_BYTES


def test_its_links_and_pictures_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
