"""The README's opening is prose; the verdicts it tells of are computed. They must say the same."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from fewscans.figures import sums

ROOT = Path(__file__).parents[1]
OPENING = " ".join((ROOT / "README.md").read_text(encoding="utf-8").partition("## Two commands")[0].split())
VERDICTS = {
    row["id"]: row["verdict"]
    for row in json.loads((ROOT / "reports" / "scorecard.json").read_text(encoding="utf-8"))
    if row["dataset"] in ("luna16-patches", "adrenalmnist3d", "luna16-twin")
}


@pytest.mark.parametrize(
    ("words", "verdicts"),
    [
        ("p4m (turns and mirror images) is ahead of a plain network from 300 training patches on",
         {"planar-p4m-beats-plain-n300": "reproduced", "planar-p4m-beats-plain-n1000": "reproduced"}),
        ("a plain network that gets four times the updates, and so about the same computing time, draws level",
         {"control-beats-long-n300": "inconclusive"}),
        ("nearly so does one that is averaged over turned copies of each test patch",
         {"planar-beats-tta-n30": "inconclusive", "planar-beats-tta-n300": "inconclusive"}),
        ("Below 300 patches its gain in AUC is open",
         {"planar-p4m-beats-plain-n30": "inconclusive", "planar-p4m-beats-plain-n100": "inconclusive"}),
        ("ten times fewer is contradicted at 30 and open at 100",
         {"planar-tenfold-n30": "contradicted", "planar-tenfold-n100": "inconclusive"}),
        ("are not surely ahead of a plain network at any size from 30 to 518",
         {f"shape-{g}-beats-plain-n{n}": "inconclusive" for g in ("d4", "d4h", "o") for n in (30, 100, 300, 518)}
         | {f"shape-oh-beats-plain-n{n}": "inconclusive" for n in (30, 518)}),
        ("Oh is surely behind at 100 and 300",
         {f"shape-oh-beats-plain-n{n}": "contradicted" for n in (100, 300)}),
        ("D4, D4h and O are ahead of the plain network at 300 candidates, Oh is behind",
         {f"{g}-beats-plain-n300": "reproduced" for g in ("d4", "d4h", "o")} | {"oh-beats-plain-n300": "contradicted"}),
        ("at 30 no group is surely ahead",
         {f"{g}-beats-plain-n30": "inconclusive" for g in ("d4", "o", "oh")} | {"d4h-beats-plain-n30": "contradicted"}),
        ("ten times fewer is contradicted at 30 for D4h and O",
         {"shape-d4h-tenfold-n30": "contradicted", "shape-o-tenfold-n30": "contradicted"}),
    ],
)  # fmt: skip
def test_the_opening_says_what_the_verdicts_say(words, verdicts):
    assert words in OPENING, "the sentence changed: change what it rests on here too"
    assert {name: VERDICTS[name] for name in verdicts} == verdicts


@pytest.mark.parametrize(
    ("dataset", "words", "verdicts"),
    [
        ("msd-hippocampus", "sums over sets of four are not surely better than single scans at 12 or 25 training scans",
         {f"sums-{what}-n{n}": "inconclusive" for what in ("beat-base", "mse") for n in (12, 25)}),
        ("msd-hippocampus", "with as many forward passes not surely better or worse at 12, 25 or 150",
         {f"sums-equal-compute-n{n}": "inconclusive" for n in (12, 25, 150)}),
        ("msd-hippocampus", "Four times the updates do not surely help single scans either",
         {"compute-alone-helps-n25": "inconclusive"}),
        ("msd-hippocampus",
         "a ridge on the side lengths of the published crop, which no network sees, is surely ahead of both",
         {"base-beats-crop-n25": "contradicted", "sums-beat-crop-n25": "contradicted"}),
        ("wmh2017-twin",
         "sums are not surely better or worse than single scans at 24 training scans, and surely fall behind at as "
         "many forward passes",
         {"hydra-wmh-beats-base-n24": "inconclusive", "sums-equal-compute-n25": "contradicted"}),
    ],
)  # fmt: skip
def test_the_opening_says_of_sums_what_the_verdicts_say(dataset, words, verdicts):
    assert words in OPENING, "the sentence changed: change what it rests on here too"
    rows = json.loads((ROOT / "reports" / "scorecard.json").read_text(encoding="utf-8"))
    found = {row["id"]: row["verdict"] for row in rows if row["dataset"] == dataset}
    assert {name: found[name] for name in verdicts} == verdicts


def test_the_opening_s_sums_hardly_beat_the_mean_as_it_says():
    rows = json.loads((ROOT / "reports" / "scorecard.json").read_text(encoding="utf-8"))
    (row,) = (r for r in rows if r["id"] == "inferences-agree-n25" and r["dataset"] == "msd-hippocampus")
    assert "at 25, sums do not surely beat the mean of the training labels" in OPENING
    assert row["verdict"] == "not tested" and "neither hydra-4-black nor hydra-4 surely beats mean" in row["reason"]


def test_the_opening_s_test_hippocampi_are_the_published_ones():
    cases = re.search(r"\*Real MR: (\d+) test scans of (\d+) people, MSD hippocampus, five seeds", OPENING)
    about = (ROOT / "reports/published/hydranet/msd-hippocampus/README.md").read_text(encoding="utf-8")
    assert re.search(rf"\| hydra-4 \| 12, 25, 50, 100, 150 \| 5 \| {cases[1]} \([^)]*\) \| {cases[2]} \|", about)
    records = json.loads((ROOT / "reports/published/hydranet/msd-hippocampus/records.json").read_text("utf-8"))
    assert {f"{r['steps']:,} updates" in OPENING for r in records if r["arm"] == "hydra-4"} == {True}


def test_the_opening_s_labels_of_sets_are_mostly_a_count_as_it_says():
    assert "The volumes hardly vary, so that a set's label is mostly a count of scans" in OPENING
    table = pd.read_parquet(ROOT / "reports/published/hydranet/msd-hippocampus/base.parquet")
    volume_ml = table.groupby("case")["target"].first()
    assert volume_ml.std() / volume_ml.mean() < 0.15 and sums.count_share(volume_ml) > 0.8


def test_the_opening_s_test_set_is_the_published_one():
    cases = re.search(r"\*Real CT: ([\d,]+) test patches of LUNA16 candidates \((\d+) nodules\)", OPENING)
    about = (ROOT / "reports/published/gcnn/luna16-patches/README.md").read_text(encoding="utf-8")
    assert f"| p4m | 30, 100, 300, 1000, 1856 | 10 | {cases[1].replace(',', '')} ({cases[2]}) |" in about


def test_the_opening_s_runs_that_never_learned_are_those_of_the_published_history():
    history = pd.read_parquet(ROOT / "reports/published/gcnn/adrenalmnist3d/history.parquet")
    last = history.sort_values("step").groupby(["arm", "n_train", "seed"])["train_loss"].last()
    guessing = (last[last > 0.98 * math.log(2)]).groupby("arm").size()
    told = r"(\d+) of Oh's 20 runs, (\d+) of O's and (\d+) of D4's ended at the training loss of guessing"
    said = re.search(told, OPENING)
    assert [int(n) for n in said.groups()] == [guessing[arm] for arm in ("Oh", "O", "D4")]
    assert "none of D4h's or of the plain network's did" in OPENING and not {"D4h", "Z3"} & set(guessing.index)


def test_the_opening_s_test_glands_are_the_published_ones():
    cases = re.search(r"\*Real shapes: (\d+) test glands of AdrenalMNIST3D \((\d+) enlarged\), five seeds", OPENING)
    about = (ROOT / "reports/published/gcnn/adrenalmnist3d/README.md").read_text(encoding="utf-8")
    assert f"| Oh | 30, 100, 300, 518 | 5 | {cases[1]} ({cases[2]}) |" in about
