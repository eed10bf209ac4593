"""Tables and figures of regression from sums say what the tables hold."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans import claims, results
from fewscans.data.base import Cases
from fewscans.figures import hydranet
from fewscans.results import Results

pytestmark = pytest.mark.usefixtures("one_thread")
SKILL = {"base": 0.3, "base-compute": 0.5, "hydra-4": 0.9, "hydra-4-fixed": 0.9, "mean": 0.0}


def run(skill=SKILL, sizes=(12, 25), dataset="msd-hippocampus", folds=1, seeds=3) -> Results:
    """Made-up predictions of 40 scans of 20 people; `skill` is how much of a label an arm knows.

    folds: seed s tests the people of fold s % folds.
    """
    rng = np.random.default_rng(0)
    y, parts, history, records = rng.normal(3.3, 0.4, 40), [], [], []
    names, people = np.array([f"scan{i:02d}" for i in range(40)]), np.array([f"p{i // 2}" for i in range(40)])
    for arm, n, seed in [(arm, n, seed) for arm in skill for n in sizes for seed in range(seeds)]:
        tested = np.arange(40) // 2 % folds == seed % folds
        noise = np.random.default_rng([seed, n, len(arm)]).normal(0, 0.1, 40)
        key = {"arm": arm, "n_train": n, "seed": seed}
        guess = y.mean() + skill[arm] * (y - y.mean()) + noise
        columns = {"case": names, "group": people, "target": y, "prediction": guess}
        rows = pd.DataFrame({name: values[tested] for name, values in columns.items()})
        parts += [rows.assign(**key, split=split) for split in ("test", "test-best")]
        for step in (10, 20, 40):
            loss = {"train_loss": 1 / step, "val_loss": 1 / step}
            history.append(key | {"step": step, "epoch": step} | loss | noisy(arm, step))
        records += [key | {"learning_rate": 1e-3, "failed": False}]
    about = {"run": f"hydranet-{dataset}", "experiment": "hydranet", "dataset": dataset, "real": True, "profile": None,
             "seeds": list(range(seeds))}  # fmt: skip
    return Results(pd.concat(parts, ignore_index=True), pd.DataFrame(history), records, about, n_bootstrap=100)


def noisy(arm: str, step: int) -> dict[str, float]:
    """Noise of gradients along runs of the arm that measures it: of a set, six times that of four single scans."""
    measured = arm == hydranet.PROBE and step > 10
    return {"noise_set": 6.0 * step, "noise_single": 4.0 * step, "noise_singles": 1.0 * step} if measured else {}


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
    cells = {tuple(cell): "*" in cell for cell in hydranet.gain_table(skilled).to_numpy().ravel()}
    assert all(cells.values()) and len(cells) == 4
    alike = run(dict.fromkeys(SKILL, 0.5))
    for cell in hydranet.gain_table(alike).to_numpy().ravel():
        low, high = (float(x.replace("−", "-")) for x in re.findall(r"[−\d.]+", cell.partition("(")[2]))
        assert ("*" in cell) == (low > 0 or high < 0)


def test_gains_are_those_of_sums_over_each_rival_in_percent_of_the_squared_error(skilled):
    table, mse = hydranet.gain_panel(skilled).table, skilled.resampled("mse")
    assert set(table["arm"]) == {"base", "base-compute"}
    for row in table.itertuples():
        ratio = mse.values("hydra-4", row.n_train) / mse.values(row.arm, row.n_train)
        assert row.value == pytest.approx(100 * (np.exp(np.log(ratio).mean()) - 1), abs=0.02)
        assert row.low < row.value < row.high < 0


def test_curves_show_the_sizes_that_all_main_arms_have():
    few = run({"base": 0.3, "hydra-4": 0.9, "base-compute": 0.5}, sizes=(12, 16, 25))
    gone = (few.predictions["arm"] == "base-compute") & (few.predictions["n_train"] == 16)
    few = replace(few, predictions=few.predictions[~gone], _resampled={})
    marks = [line for line in hydranet.learning_curves([few]).figure.axes[0].get_lines() if line.get_marker() != "None"]
    assert marks and all(len(line.get_xdata()) in (0, 2) for line in marks)


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


def test_images_of_the_plane_are_drawn_in_one_row():
    deep = scans()
    flat = replace(deep, images=deep.images[:, :1])
    assert [len(hydranet.gallery(cases, "cases").figure.axes) for cases in (flat, deep)] == [8, 16]


def test_a_variant_is_compared_with_the_arm_that_it_changes_where_both_are_there(skilled):
    assert hydranet.variants(skilled) == [("hydra-4-fixed", "hydra-4", 25)]
    for arm, other in hydranet.VARIANTS:
        spec = hydranet.ARMS[arm]
        assert other in ("mean", "hydra-2", spec.derived_from) or (arm, other) == ("hydra-4-mae", "base-mae")


def test_every_network_is_one_dot(skilled):
    table = hydranet.scores_by_seed(skilled)
    assert len(table) == 3 * 2 * 3 and set(table["arm"]) == set(hydranet.MAIN)


def test_where_folds_rotate_each_prediction_is_one_dot():
    rotating = run(folds=2, seeds=4)
    panels = hydranet.scatter_of(rotating).figure.axes
    assert [len(panel.collections[0].get_offsets()) for panel in panels] == [4 * 20] * 4
    assert np.isfinite(panels[0].collections[0].get_offsets()).all()


def test_the_spread_over_seeds_is_that_of_the_scores(skilled):
    scores = skilled.resampled("icc").values("hydra-4", 25)
    assert hydranet.spread(skilled).iloc[0, 1] == pytest.approx(scores.std(ddof=1), abs=5e-4)


def test_the_ratio_of_noise_counts_a_run_once_and_only_measured_updates():
    probing = run({"base-probe": 0.5, "base": 0.5})
    table = hydranet.noise_table([probing])
    assert table.iloc[0, :3].tolist() == [12, 3, 6] or table.iloc[0, :3].tolist() == [25, 3, 6]
    assert table.iloc[0, 3].startswith("6.00 (") and table.iloc[0, 4].startswith("1.50 (")
    assert hydranet.noise_table([run()]).empty and hydranet.probed(run()).empty


def test_noise_of_each_run_is_a_thin_line_and_the_mean_a_thick_one():
    lines = hydranet.noise([run({"base-probe": 0.5}, sizes=(25,), seeds=4)]).figure.axes[0].get_lines()
    widths = [line.get_linewidth() for line in lines if len(line.get_xdata())]
    assert len(widths) == 3 * (4 + 1) and sum(width > 2 for width in widths) == 3


def test_the_loss_of_sums_is_told_over_that_of_guessing():
    """Of 25 scans with variance 1, sums of four drawn without replacement have 4 (25 - 4) / 24."""
    axes = hydranet.losses(run({"hydra-4": 0.5}, sizes=(25,)), ["hydra-4"]).figure.axes[0]
    first = [line.get_ydata()[0] for line in axes.get_lines() if len(line.get_ydata()) == 3]
    assert first == pytest.approx([0.1 / (4 * 21 / 24)] * len(first), rel=0.002)  # drawn to four digits


def test_power_is_asked_of_the_claims_that_the_pilot_can_speak_of(paper):
    pilot = run(folds=3, seeds=3, sizes=(25, 150))
    grid = hydranet.Grid(arms={"base": (25, 150)}, seeds=5, seeds_at={"25": 10}, steps=10, eval_every=5,
                         warm_up=1, learning_rates=(1e-3,), window=(4, 4, 4), folds=5)  # fmt: skip
    table = hydranet.power(pilot, grid, paper)
    assert table.loc["sums-equal-labels-n25", "planned seeds"] == 10
    assert table.loc["sums-gain-shrinks", "planned seeds"] == 5
    assert (table["planned groups"] == round(20 * 5 / 3)).all() and "set-gradient-noisier" not in table.index


def test_the_paper_s_numbers_are_drawn_at_the_scans_that_train(paper):
    panel = hydranet.paper_panel(paper)
    assert set(panel.table["n_train"]) == {24, 34} and panel.paper


def test_git_keeps_four_figures_with_the_same_bytes_and_no_text_outside(monkeypatch):
    probing = SKILL | {"base-probe": 0.5, "crop": 0.2, "blocks": 0.4}
    monkeypatch.setattr(results, "published", lambda experiment, name, n_bootstrap: run(probing))
    drawn, again = hydranet.kept(), hydranet.kept()
    assert len(drawn) == 4 and all(name.startswith("hydranet_") for name in drawn)
    pairs = [("hydra-4", "base", 12), ("hydra-4", "base-compute", 25)]
    for pictures in (drawn, again):
        pictures |= {"losses": hydranet.losses(run()), "gain": hydranet.differences(run(), pairs, "gains")}
        pictures |= {
            "seeds": hydranet.seeds([run(), run()]),
            "icc": hydranet.learning_curves([run()], claims.load(), "icc"),
        }
    for name, picture in drawn.items():
        assert picture.png == again[name].png
        width, height = picture.figure.bbox.size
        for text in (picture.figure._suptitle, *picture.figure.texts, *(axes.title for axes in picture.figure.axes)):
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def test_of_nothing_published_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(results, "published", lambda experiment, name, n_bootstrap: None)
    assert hydranet.kept() == {}
