"""Tables and figures of regression from sums say what the tables hold."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans import claims, results
from fewscans.data.base import Cases
from fewscans.figures import hydranet
from fewscans.results import Results

pytestmark = pytest.mark.usefixtures("one_thread")
SKILL = {"base": 0.3, "base-compute": 0.5, "hydra-4": 0.9, "hydra-4-p0": 0.9, "mean": 0.0}


def run(skill=SKILL, sizes=(12, 25), dataset="msd-hippocampus") -> Results:
    """Made-up predictions of 40 scans of 20 people by 3 seeds; `skill` is how much of a label an arm knows."""
    rng = np.random.default_rng(0)
    y, parts, history, records = rng.normal(3.3, 0.4, 40), [], [], []
    for arm, knows in skill.items():
        for n in sizes:
            for seed in range(3):
                noise = np.random.default_rng([seed, n, len(arm)]).normal(0, 0.1, 40)
                key = {"arm": arm, "n_train": n, "seed": seed}
                scans = {"case": [f"scan{i:02d}" for i in range(40)], "group": [f"p{i // 2}" for i in range(40)]}
                guess = y.mean() + knows * (y - y.mean()) + noise
                parts += [pd.DataFrame(key | {"split": "test"} | scans | {"target": y, "prediction": guess})]
                history += [key | {"step": step, "epoch": step, "val_loss": 1 / step} for step in (10, 20, 40)]
                records += [key]
    about = {"run": f"hydranet-{dataset}", "experiment": "hydranet", "dataset": dataset, "real": True, "profile": None}
    return Results(pd.concat(parts, ignore_index=True), pd.DataFrame(history), records, about, n_bootstrap=100)


@pytest.fixture(scope="module")
def skilled():
    return run()


@pytest.fixture(scope="module")
def paper():
    return claims.load()


def scans(n: int = 60) -> Cases:
    """Scans whose published sides tell the label, and whose images tell nothing."""
    rng = np.random.default_rng(0)
    y = rng.normal(3.3, 0.4, n)
    side = np.round(30 + 3 * y + 0.1 * rng.normal(size=n))
    about = pd.DataFrame({"shape_z": side, "shape_y": side + 10, "shape_x": np.full(n, 40.0)})
    names = np.array([f"scan{i:02d}" for i in range(n)])
    people, split = np.array([f"p{i // 2}" for i in range(n)]), np.array(["train", "train", "test"] * (n // 3))
    images = rng.integers(0, 255, (n, 6, 10, 8)).astype(np.uint8)
    return Cases(images, y, names, people, split, "f" * 64, None, unit="ml", about=about)


def test_an_asterisk_marks_the_gains_whose_interval_excludes_0(skilled):
    cells = {tuple(cell): "*" in cell for cell in hydranet.gain_table(skilled, "icc").to_numpy().ravel()}
    assert all(cells.values()) and len(cells) == 4
    alike = run(dict.fromkeys(SKILL, 0.5))
    for cell in hydranet.gain_table(alike, "icc").to_numpy().ravel():
        low, high = (float(x.replace("−", "-")) for x in re.findall(r"[−\d.]+", cell.partition("(")[2]))
        assert ("*" in cell) == (low > 0 or high < 0)


def test_gains_are_those_of_sums_over_each_rival(skilled):
    table = hydranet.gain_panel(skilled).table
    assert set(table["arm"]) == {"base", "base-compute"}
    for row in table.itertuples():
        assert row.value == skilled.gain("hydra-4", row.arm, row.n_train, "icc").value


def test_intervals_of_the_printed_iccs_follow_from_their_test_scans(paper):
    """By hand, F-based: 0.79 on 30 scans is 0.605 to 0.894."""
    table = hydranet.printed(paper).set_index("test scans")
    assert table.loc[30, "base"].tolist()[0] == "0.79 (0.60 to 0.89)"
    power = {n: int(row["power"].split()[0]) for n, row in table.iterrows()}
    assert power[1977] > 90 and power[20] < 30


def test_the_layers_have_the_parameters_that_the_paper_prints():
    table = hydranet.layers()["parameters"]
    assert table.iloc[:-2].sum() == table["all, alone"] == table["all, in four branches"] == 196_418


def test_branched_and_streamed_sets_have_one_gradient_and_single_losses_another():
    branched, streamed, single = hydranet.gradients(0).values()
    assert torch.allclose(branched, streamed, rtol=1e-9, atol=1e-12) and not torch.allclose(branched, single)


def test_of_equal_labels_a_set_tells_the_number_of_its_scans_alone():
    assert hydranet.count_share(np.full(12, 3.3)) == pytest.approx(1)
    y = np.random.default_rng(0).normal(size=50)
    assert hydranet.count_share(y - y.mean()) < 0.05


def test_a_crop_that_tells_the_label_is_found_out():
    leak = hydranet.leak(scans())["ICC(A,1) with the volume"]
    value = [float(cell.split()[0].replace("−", "-")) for cell in leak]
    assert value[0] > 0.8 and max(value[1:]) < 0.4


def test_scans_are_drawn_from_the_smallest_label_to_the_largest():
    axes = hydranet.gallery(scans(), "scans").figure.axes[:8]
    labels = [float(panel.get_title(loc="center").split()[0]) for panel in axes]
    assert labels == sorted(labels) and labels[0] < labels[-1]


def test_a_variant_stands_beside_the_arm_that_it_changes(skilled):
    assert hydranet.variants(skilled) == [("hydra-4-p0", "hydra-4", 25)]


def test_every_network_is_one_dot(skilled):
    table = hydranet.scores_by_seed(skilled)
    assert len(table) == 3 * 2 * 3 and set(table["arm"]) == set(hydranet.MAIN)


def test_the_paper_s_numbers_are_drawn_at_the_scans_that_train(paper):
    panel = hydranet.paper_panel(paper)
    assert set(panel.table["n_train"]) == {24, 34} and panel.paper


def test_git_keeps_four_figures_with_the_same_bytes_and_no_text_outside(monkeypatch):
    monkeypatch.setattr(results, "published", lambda experiment, name: run())
    drawn, again = hydranet.kept(), hydranet.kept()
    drawn["losses"], again["losses"] = hydranet.losses(run()), hydranet.losses(run())
    pairs = [("hydra-4", "base", 12), ("hydra-4", "base-compute", 25)]
    drawn["gain"], again["gain"] = (hydranet.differences(run(), pairs, "gains") for _ in range(2))
    assert len(drawn) - 2 <= 4 and all(name.startswith("hydranet_") for name in list(drawn)[:-2])
    for name, picture in drawn.items():
        assert picture.png == again[name].png
        width, height = picture.figure.bbox.size
        for text in (picture.figure._suptitle, *picture.figure.texts, *(axes.title for axes in picture.figure.axes)):
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()
