"""From a folder of pictures to the page in two commands, under the set's own name; plans fit the hours and are kept."""

import dataclasses
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans import cli, experiments, results
from fewscans.compare import ideas, page, plan
from fewscans.data import own
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import own_arms
from fewscans.nn import efficientnet
from fewscans.stats import learning_curve
from fewscans.sweep import engine

from .experiments.test_outside import NET
from .malformed import own as folders
from .toy import Inline

WEIGHTS = efficientnet.weights_path
PARAMS = "profile: quick\ndata_root: data\ntwins: {}\nruns: {}\ngrids: {}\nnotebooks: {}\n"


def no_weights():
    raise DataError("the package with the weights is not installed")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project whose workers are this process, and whose comparisons are as small as can be."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "my_net.py").write_text(NET)
    for name in ("FEWSCANS_STORE", "FEWSCANS_DATA_ROOT", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FEWSCANS_ROOT", str(folder))
    monkeypatch.setattr("fewscans.compare.run.LocalEngine", lambda slots: Inline())
    monkeypatch.setattr(engine, "LocalEngine", lambda slots: Inline())
    monkeypatch.setattr(plan, "DESIGNS", (plan.Design(2, 2, 3, (3e-3,), 1),))
    monkeypatch.setattr(efficientnet, "weights_path", no_weights)
    monkeypatch.setattr(plan, "TIMED", (1, 2))
    monkeypatch.setattr(results, "N_BOOTSTRAP", 100)
    yield folder
    monkeypatch.undo()
    for name in own_arms.TAKEN_BY:
        own_arms.extend(experiments.get(name), {})


@pytest.fixture
def call(monkeypatch, capsys):
    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fewscans", *arguments])
        with pytest.raises(SystemExit) as left, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return called


def test_from_200_patches_to_the_page_in_two_commands_with_an_own_network(project, call, tmp_path, one_thread):
    folders.pictures(tmp_path / "clinic", n=200, patients=60, side=16)
    (tmp_path / "clinic" / "dataset.yaml").write_text("title: Patches of our clinic\ncase: patch\n")
    code, out, err = call("data", "add", "clinic", str(tmp_path / "clinic"))
    assert code == 0 and "clinic: 200 cases of 60 patients" in out, err
    code, out, err = call("compare", "clinic", "--hours", "2", "--network", "my_net:SmallNet")
    assert code == 0, err
    text = (project / "runs" / "clinic" / "README.md").read_text()
    said = text.replace(learning_curve.MEASURED, "") + out  # which names the data that curves were checked on
    assert text.startswith("# Patches of our clinic: what saves labels here?") and "LUNA" not in said
    for words in ("group convolutions", "SmallNet", "plain CNN", "histogram of values", "gain found 4 times in 5",
                  "AUC 0.9", "sums: it wants a number for each case", "curriculum: ", "static p4m",
                  "| corner pixels ", "near-duplicates, the split: 0 of"):  # fmt: skip
        assert words in text, words
    assert (project / "runs" / "clinic" / "learning-gcnn.png").stat().st_size > 10_000
    assert not (project / "reports").exists()
    runs = results.read_run("gcnn-clinic")
    assert runs.dataset.title == "Patches of our clinic" and "SmallNet" in runs.arms

    # the same command finds all done; editing the network's file trains its arm alone
    _, _, again = call("compare", "clinic", "--hours", "2", "--network", "my_net:SmallNet")
    assert "a pilot" not in again and (project / "runs" / "clinic" / "README.md").read_text() == text
    keys = {(r["arm"], r["n_train"], r["seed"]): r["key"] for r in runs.records}
    (project / "my_net.py").write_text(NET.replace("Dropout(0.5)", "Dropout(0.4)"))
    assert call("compare", "clinic", "--hours", "2", "--network", "my_net:SmallNet")[0] == 0
    edited = {(r["arm"], r["n_train"], r["seed"]): r["key"] for r in results.read_run("gcnn-clinic").records}
    assert {run[0] for run in keys if keys[run] != edited[run]} == {"SmallNet"}

    code, out, _ = call("show", "gcnn-clinic", "--figure")
    assert code == 0 and out.startswith("AUC, real Patches of our clinic") and "SmallNet" in out
    assert (project / "runs" / "gcnn-clinic.png").exists()


def test_boxes_make_patches_first_an_idea_for_own_pictures(project, call, tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(efficientnet, "weights_path", WEIGHTS)
    monkeypatch.setattr(plan, "DESIGNS", (plan.Design(2, 2, 1, (3e-3,), 1),))
    folders.boxed(tmp_path / "clinic")
    code, out, err = call("data", "add", "clinic", str(tmp_path / "clinic"))
    assert code == 0 and "boxes x, y, w, h: curriculum can use them" in out, err
    code, _, err = call("compare", "clinic", "--ideas", "curriculum", "--hours", "2")
    assert code == 0, err
    text = (project / "runs" / "clinic" / "README.md").read_text()
    assert "| patches around boxes first | whole images only, equal computing |" in text
    assert "1 updates on whole pictures after 1 on windows" in text
    assert "| label finding" not in text and "| boxes" not in text, "the label is no shortcut to itself"
    run = results.read_run("curriculum-clinic")
    tested = run.predictions[run.predictions["split"] == "test"]
    one, other = (set(tested["case"][tested["seed"] == seed]) for seed in (0, 1))
    assert one and other and not one & other, "seeds rotate the parts of the patients"
    plain, first = (run.records[[r["arm"] for r in run.records].index(a)] for a in ("baseline-compute", "curriculum"))
    assert first["pretrained"] == "ImageNet" and first["networks"] == 1
    assert abs(plain["compute"] - first["compute"]) <= 0.5, "as much computing, to the nearest update"
    assert {plain["failed"], first["failed"]} <= {True, False}

    # another box is another set; a split of the table's own is kept
    before, table = own.load("clinic").content, pd.read_csv(tmp_path / "clinic" / "cases.csv")
    split = np.repeat(["train", "val", "test"], [34, 14, 16])
    table.assign(x=table["x"] - 2, split=split).to_csv(tmp_path / "clinic" / "cases.csv", index=False)
    assert call("data", "add", "clinic", str(tmp_path / "clinic"))[0] == 0
    mine, kind = own.load("clinic"), experiments.get("curriculum")
    grid = plan.grid("curriculum", mine, ["curriculum"], [8, 16], plan.DESIGNS[0])
    cases = kind.read("clinic", tmp_path / "clinic", grid, project / "build")
    assert mine.content != before and mine.folds == 0 and cases.split.tolist() == split.tolist()
    box = json.loads(cases.about["boxes"][1])[0]
    assert box[1:] == pytest.approx([(table["x"][1] - 2) / 80, table["y"][1] / 72, 20 / 80, 20 / 72])
    kind.check(grid, cases)
    with pytest.raises(ParamsError, match="rotate must be true"):
        kind.check(dataclasses.replace(grid, rotate=False), cases)


def test_the_pilot_times_a_network_on_one_thread_as_it_will_be_trained(monkeypatch):
    seen, before = [], torch.get_num_threads()

    def some(experiment, own, arm, cases, n, steps, device):
        seen.append(torch.get_num_threads())
        return 1.0 + 0.01 * min(n, 30) * steps  # an update takes as long as its batch is large

    monkeypatch.setattr(plan, "_took", some)
    monkeypatch.setattr(plan.group_splits, "parts", lambda *asked: np.array(["train", "val", "test"]))
    torch.set_num_threads(3)
    try:
        cost = plan.timed("gcnn", SimpleNamespace(folds=0), ["Z2"], None, [8, 34, 150], "cpu")["Z2"]
        assert set(seen) == {1} and torch.get_num_threads() == 3
        assert [round(cost.of(100, n), 6) for n in (8, 34, 150)] == [10.0, 32.0, 32.0], "small batches cost less"
    finally:
        torch.set_num_threads(before)


def test_80_volumes_of_different_spacing_with_a_number_each_end_in_a_page(project, call, tmp_path, one_thread):
    folders.volumes(tmp_path / "balls", n=80)
    (tmp_path / "balls" / "dataset.yaml").write_text("title: Balls\nunit: ml\ncase: scan\n")
    assert call("data", "add", "balls", str(tmp_path / "balls"))[0] == 0
    code, out, err = call("compare", "balls", "--hours", "2")
    assert code == 0, err
    text = (project / "runs" / "balls" / "README.md").read_text()
    for words in ("sums over sets of scans", "ICC(A,1)", "gcnn: it wants a label", "mean of the training labels"):
        assert words in text, words
    sizes = results.read_run("hydranet-balls").sizes("hydra-4", "base-compute")
    assert len(sizes) == 2


def test_too_few_hours_say_how_many_would_do_and_nothing_is_trained(project, call, tmp_path, one_thread):
    folders.pictures(tmp_path / "clinic", n=120, patients=60, side=16)
    call("data", "add", "clinic", str(tmp_path / "clinic"))
    code, _, err = call("compare", "clinic", "--ideas", "gcnn", "--hours", "0.0000001")
    assert code == 1 and "the smallest comparison takes about" in err and not (project / "runs").exists()
    code, _, err = call("compare", "clinic", "--ideas", "sums")
    assert code == 1 and "none can be tried on clinic: sums: it wants a number for each case" in err
    code, _, err = call("compare", "clinic", "--ideas", "magic")
    assert code == 1 and "ideas are gcnn, sums, dynamic, pretrained, curriculum" in err
    code, _, err = call("compare", "absent")
    assert code == 1 and "'absent' is no set of yours" in err


# Plans


def mine(**changes) -> own.Own:
    known = {
        "name": "x", "folder": "f", "target": "label", "title": "X", "case": "case", "licence": "", "cite": "",
        "unit": "", "patch": (16, 16), "spacing_mm": None, "window": None, "colour": False, "folds": 0, "files": "",
        "content": "c",
    }  # fmt: skip
    return own.Own(**known | changes)


def test_more_hours_never_buy_less_and_the_price_is_within_them(monkeypatch):
    monkeypatch.setattr(plan, "sizes", lambda own, cases, most, seeds: [8, 16, 32, 64, 128, 256][-most:])
    costs = {"gcnn": {"Z2": plan.Cost(0.01, 0.2), "p4m": plan.Cost(0.03, 0.4), "centre": plan.Cost(0.0, 0.1)}}
    ranks = []
    for hours in (0.1, 0.3, 1.0, 3.0, 30.0):
        design, n, more = plan.fitted(mine(), {"gcnn": None}, costs, hours, 2)
        took = plan.seconds(design, n, costs["gcnn"], more)
        assert took <= hours * 3600 * 2
        ranks.append(plan.DESIGNS.index(design))
    assert ranks == sorted(ranks, reverse=True) and ranks[-1] == 0
    with pytest.raises(ParamsError, match="the smallest comparison takes about"):
        plan.fitted(mine(), {"gcnn": None}, costs, 1e-6, 2)


def test_a_kept_plan_is_taken_for_the_same_question_and_made_anew_for_another(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"gcnn": plan.grid("gcnn", mine(), ["Z2", "p4m"], [8, 16], plan.DESIGNS[0], {"8": 20})}

    asked = {"hours": 1.0, "arms": {"gcnn": ["Z2"]}}
    first = plan.kept(tmp_path / "plan.json", asked, make)
    assert plan.kept(tmp_path / "plan.json", asked, make) == first and len(made) == 1
    assert first["gcnn"].seeds_at == {"8": 20} and first["gcnn"].arms["p4m"] == (8, 16)
    plan.kept(tmp_path / "plan.json", asked | {"hours": 2.0}, make)
    assert len(made) == 2 and json.loads((tmp_path / "plan.json").read_text())["asked"]["hours"] == 2.0


@pytest.mark.parametrize("stored", [64, 100, 150, 224])
def test_a_window_costs_as_much_of_a_picture_as_it_is_counted_for(stored, monkeypatch):
    monkeypatch.setattr(plan, "table_of", lambda own: pd.DataFrame({"shape_y": [stored], "shape_x": [stored]}))
    grid = plan.grid("curriculum", mine(), ["curriculum"], [8, 16], plan.DESIGNS[0])
    net = efficientnet.Lite0XRay(1, efficientnet.EfficientNetLite0())
    assert grid.size <= grid.stored
    assert net.macs(grid.patch) / net.macs(grid.size) == pytest.approx(grid.patch_cost, rel=1e-3)


def test_every_idea_says_why_it_cannot_be_tried(monkeypatch):
    assert ideas.why_not("gcnn", mine()) == "" and "wants a number" in ideas.why_not("sums", mine())
    assert "3" in ideas.why_not("dynamic", mine(patch=(8, 8, 8)))
    assert "2 axes" in ideas.why_not("pretrained", mine(patch=(8, 8, 8)))
    assert ideas.why_not("sums", mine(target="number")) == ""
    with pytest.raises(ParamsError):
        ideas.chosen("", mine())
    monkeypatch.setattr(ideas, "table_of", lambda own: pd.DataFrame({"x": [1], "y": [1], "w": [1]}))
    assert "there is no column h" in ideas.why_not("curriculum", mine())
    monkeypatch.setattr(efficientnet, "weights_path", no_weights)
    assert ideas.why_not("pretrained", mine()) == "the package with the weights is not installed"
    run, without = ideas.chosen(None, mine())
    assert "gcnn" in run and set(run) | set(without) == set(ideas.NAMES)


def test_the_last_idea_is_left_out_where_the_hours_are_too_few_for_all(monkeypatch):
    monkeypatch.setattr(plan, "sizes", lambda own, cases, most, seeds: [8, 16, 32, 64, 128, 256][-most:])
    costs = {"gcnn": {"Z2": plan.Cost(0.01, 0.2)}, "grey": {"copied-random": plan.Cost(1.0, 1.0, plan.FINE)}}
    assert plan.lightest(mine(), {"gcnn": None}, costs, 0.1, 2)[1] == ["gcnn"]
    assert plan.lightest(mine(), {"gcnn": None}, costs, 10.0, 2)[1] == ["gcnn", "grey"]
    assert plan.Cost(1.0, 0.0, plan.FINE).of(800, 30) == plan.FINE
    with pytest.raises(plan.TooFew):
        plan.lightest(mine(), {"gcnn": None}, costs, 1e-6, 2)


def test_pretrained_networks_are_fine_tuned_at_a_third_of_the_rates_grey_or_in_colour():
    for colour in (False, True):
        grid = plan.grid("grey", mine(colour=colour, patch=(24, 72)), ["copied-random"], [8, 16], plan.DESIGNS[0])
        assert grid.patch == (24, 72) and grid.side == 72 and grid.steps == plan.FINE
        assert max(grid.learning_rates) == 0.003


def test_a_gain_found_four_times_in_five_is_larger_than_the_half_width():
    found = results.load_published("gcnn", "luna16-patches", 200)
    (one,) = page.findings({"gcnn": found}, ["gcnn"], mine())
    again = found.resampled().spread({("p4m", one.n_train): 1.0, ("Z2", one.n_train): -1.0})
    assert one.rival == "plain CNN"
    assert again.half_width() < one.detectable < 2 * again.half_width()


def test_a_score_that_the_smallest_set_reaches_is_said_to_want_fewer_cases_not_one():
    found = results.load_published("gcnn", "luna16-patches", 200)
    rows = page.needed(found, "p4m").set_index("to reach")
    smallest = min(found.sizes("p4m"))
    assert rows.loc["AUC 0.8", "training cases"] == f"fewer than {smallest}"
    assert "AUC 0.95" in rows.index and "fewer" not in rows.loc["AUC 0.95", "training cases"]


def test_a_set_too_small_for_a_curve_is_refused(monkeypatch):
    monkeypatch.setattr(plan, "_largest", lambda own, cases, seed: 12)
    with pytest.raises(DataError, match="at most 12 cases; a curve needs 16 or more"):
        plan.sizes(mine(), None, 4, 10)
    monkeypatch.setattr(plan, "_largest", lambda own, cases, seed: 128)
    n = plan.sizes(mine(), None, 4, 10)
    assert n[-1] == 128 and all(b >= 2 * a for a, b in zip(n, n[1:], strict=False)) and all(k % 2 == 0 for k in n)


def test_verdicts_are_words_for_every_outcome():
    assert len(set(page.VERDICTS.values())) == len(page.VERDICTS)
