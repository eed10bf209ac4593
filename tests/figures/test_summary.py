"""All published results side by side: what is compared with what, and what the figure of factors says of each."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewscans import results, scorecard
from fewscans.figures import summary

ROOT = Path(__file__).parents[2]
ROWS = scorecard.load(local=False)


@pytest.fixture(scope="module")
def patches():
    return results.published("gcnn", "luna16-patches", 100)


@pytest.fixture(scope="module")
def areas():
    return results.published("hydranet", "luna16-area", 100)


def test_the_baseline_is_the_network_that_the_claims_compare_with(patches, areas):
    assert (summary.baseline(patches), summary.baseline(areas)) == ("Z2", "base")
    lone = results.published("gcnn", "orientation-twin", 100)
    assert summary.baseline(lone) is None and summary.factors([areas, lone])["run"].unique().tolist() == [0]


def test_ideas_and_rivals_are_all_other_networks_with_a_learning_curve(patches):
    ideas, rivals = summary.methods(patches), summary.methods(patches, ideas=False)
    assert ideas == ["p4m"] and {"Z2-tta-p4m", "p4m-sham", "p4m-compute"} <= set(rivals)
    curves = {arm for arm in patches.arms if len(patches.sizes(arm)) > 1 and not patches.arm(arm).trivial}
    assert {*ideas, *rivals, "Z2"} == curves


def test_a_factor_that_is_not_defined_is_said_and_not_drawn(patches):
    table = summary.factors([patches])
    marked = table.assign(defined=table["n_train"] != 60)
    said = summary.factor_table([patches], marked)
    assert said["N = 60"].tolist() == ["not defined"] and "not defined" not in said["N = 30"].tolist()
    labels = [label.get_text() for label in summary.fewer([patches], marked, "T").figure.axes[0].get_yticklabels()]
    assert "G-CNN p4m, N = 30" in labels and "G-CNN p4m, N = 60" not in labels
    with pytest.raises(ValueError, match="no factor is defined"):
        summary.fewer([patches], table.assign(defined=False), "T")


def test_a_bound_is_a_triangle_and_an_open_end_an_arrow(patches):
    row = {"run": 0, "arm": "p4m", "n_train": 30, "value": 1.0, "low": 0.0, "high": np.inf, "defined": True}
    markers = {}
    for censored in (None, "low", "high"):
        picture = summary.fewer([patches], pd.DataFrame([row | {"censored": censored}]), "T")
        lines = picture.figure.axes[0].get_lines()
        (markers[censored],) = (m for line in lines if (m := line.get_marker()) in ("o", "<", ">"))
        assert {8, 9} <= {line.get_marker() for line in lines}, "both ends are open"
    assert markers == {None: "o", "low": "<", "high": ">"}


def test_the_figure_is_the_same_bytes_each_time_and_names_its_runs(patches, areas):
    runs = [patches, areas]
    table = summary.factors(runs)
    one, other = (summary.fewer(runs, table, "T") for _ in range(2))
    assert one.png == other.png
    assert [source["run"] for source in one.provenance["sources"]] == [run.run for run in runs]


def test_what_needs_no_network_is_the_best_of_its_kind(patches):
    (row,) = summary.trivial([patches]).to_dict("records")
    n = int(row["N"].replace(",", ""))
    best = max(patches.score(arm, n).value for arm in patches.arms if patches.arm(arm).trivial)
    assert row["its score "].startswith(f"{best:.3f}") and row["network knows"].startswith("more")


def test_costs_count_every_network_that_was_trained(patches):
    (row,) = summary.cost([patches]).to_dict("records")
    records = json.loads((ROOT / "reports/published/gcnn/luna16-patches/records.json").read_text(encoding="utf-8"))
    assert row["networks"] == sum(record["parameters"] > 0 for record in records) and row["device"] == "cpu"


def test_headline_values_are_those_of_the_scorecard_and_few():
    values = summary.headline(ROWS)
    assert len(values) == sum(row.headline and row.verdict != "not tested" for row in ROWS)
    assert values["planar-tenfold-n30.luna16-patches"]["verdict"] == "contradicted"
    assert set().union(*values.values()) == {"verdict", "value", "low", "high", "line", "source"}
    turned = [dataclasses.replace(row, verdict="not tested") for row in ROWS]
    assert summary.headline(turned) == {}


def test_controls_are_ours_and_were_tested():
    table = summary.controls(ROWS)
    assert len(table) and set(table["verdict"]) <= {"reproduced", "inconclusive", "contradicted"}


def test_an_svg_is_the_same_bytes_each_time_and_holds_its_provenance(patches):
    one, other = (summary.fewer([patches], summary.factors([patches]), "T") for _ in range(2))
    assert one.svg == other.svg and b"gcnn-luna16-patches" in one.svg and b"<dc:date>" not in one.svg
    before = one.png
    assert one.png == before == other.png, "drawing it the one way does not change it the other way"
