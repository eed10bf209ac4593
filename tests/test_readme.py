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
        ("the gain is 0.034 (0.002 to 0.065)", "luna16-patches", {"planar-p4m-beats-plain-n30": "reproduced"}),
        ("so ten times fewer scans is not tested", "luna16-patches", {"planar-tenfold-n30": "not tested"}),
        ("On real shapes of adrenal glands (first protocol) no group can be shown to beat", "adrenalmnist3d",
         {f"shape-{g}-beats-plain-n{n}": "inconclusive" for g in ("d4", "d4h", "o") for n in (30, 100, 300, 518)}),
        ("so the claims are not tested", "msd-hippocampus",
         {f"sums-{what}-n25": "not tested" for what in ("equal-labels", "equal-passes")}),
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


def test_its_gain_is_the_published_one():
    row = found("planar-p4m-beats-plain-n30", "luna16-patches")
    assert [round(row[end], 3) for end in ("value", "low", "high")] == [0.034, 0.002, 0.065]
    run = results.published("gcnn", "luna16-patches", n_bootstrap=100)
    assert "an AUC (area under the ROC curve; 0.5 is chance, 1 is perfect) of 0.875, the plain network 0.842" in FLAT
    assert {arm: round(run.score(arm, 30).value, 3) for arm in ("p4m", "Z2")} == {"p4m": 0.875, "Z2": 0.842}


def test_the_numbers_of_notebook_01_are_the_published_ones():
    run = results.published("gcnn", "luna16-patches")  # as many draws as the notebook has
    words = " ".join(
        json.loads((ROOT / "notebooks" / "01_gcnn_data_efficiency.ipynb").read_text())["cells"][38]["source"]
    )
    words = " ".join(words.split())
    for said, (arm, baseline) in {
        "0.034 in AUC, with an interval from 0.002 to 0.065": ("p4m", "Z2"),
        "by 0.042 (0.019 to 0.065)": ("p4m", "p4m-sham"),
        "loses 0.064 (0.035 to 0.094)": ("Z2", "Z2-upright"),
        "then 0.035 (0.018 to 0.053)": ("p4m-upright", "Z2-upright"),
    }.items():
        e = run.gain(arm, baseline, 30)
        measured = [round(x, 3) for x in (e.value, e.low, e.high)]
        assert said in words and [float(x) for x in re.findall(r"\d\.\d+", said)] == measured
    assert "has an AUC of 0.838" in words and round(run.score("centre", 30).value, 3) == 0.838


def test_what_it_says_of_pilots_is_what_their_tables_say():
    run = results.pilot("hydranet-msd-hippocampus", n_bootstrap=100)
    assert "explain 0.27 of the variance, a ridge regression on blocks of the image 0.39" in FLAT
    explained = {arm: round(run.score(arm, 150, "r2").value, 2) for arm in ("base-compute", "blocks")}
    assert explained == {"base-compute": 0.27, "blocks": 0.39}


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
