"""The two steps on toy X-rays: which windows are shown, what they are labelled with, what a run costs and predicts."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans.data import radiographs
from fewscans.data.base import Cases
from fewscans.data.radiographs import Box
from fewscans.errors import DataError, ParamsError
from fewscans.experiments.base import Run
from fewscans.experiments.curriculum import ARMS, EXPERIMENT, Grid, _computing, _folds, _schedule, places
from fewscans.experiments.curriculum.patches import Source

CPU, FINDINGS, N = torch.device("cpu"), ("nodule", "effusion"), 60


def toy(split=None, folds=False) -> Cases:
    """Every second image has a nodule, every third an effusion, each with its box; two images a patient."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 120, (N, 32, 32), dtype=np.uint8)
    labels = {"nodule": (np.arange(N) % 2 == 0) * 1.0, "effusion": (np.arange(N) % 3 == 0) * 1.0}
    boxes = [[] for _ in range(N)]
    for i in range(N):
        if labels["nodule"][i]:
            images[i, 6:12, 8:14] = 230
            boxes[i].append(Box("nodule", 8 / 32, 6 / 32, 6 / 32, 6 / 32))
        if labels["effusion"][i]:
            images[i, 20:30, 18:30] = 200
            boxes[i].append(Box("effusion", 18 / 32, 20 / 32, 12 / 32, 10 / 32))
    group = np.array([f"p{i // 2}" for i in range(N)])
    split = np.array(["train"] * 36 + ["val"] * 12 + ["test"] * 12) if not folds else np.full(N, "test")
    about = radiographs.about(labels, boxes, view=["AP", "PA"] * (N // 2), followup=np.arange(N), age=np.arange(N) + 20,
                              sex=["F", "M", "M"] * (N // 3))  # fmt: skip
    target = np.maximum(labels["nodule"], labels["effusion"]).astype(np.int64)
    case = np.array([f"i{i:02d}" for i in range(N)])
    cases = Cases(images, target, case, group, split, "toy", Path("toy"), about=about)
    return dataclasses.replace(cases, truth=places.truth(cases, FINDINGS))


def grid(**changes) -> Grid:
    settings = {
        "arms": {"curriculum": (24,)}, "seeds": 2, "steps": 4, "eval_every": 2, "learning_rates": (1e-2,), "width": 2,
        "findings": FINDINGS, "stored": 32, "size": 32, "patch": 16, "layers": (1, 1, 1, 1), "patch_steps": 4,
        "batch_size": 8,
    }  # fmt: skip
    return Grid(**settings | changes)


def source(share=1.0, cases=None, side=0.5) -> Source:
    cases = cases or toy()
    labels, boxes = radiographs.labels(cases, FINDINGS), radiographs.boxes(cases, FINDINGS)
    taught, rng = radiographs.boxed(cases, FINDINGS), np.random.default_rng(1)
    return Source(cases.indices("train"), labels, boxes, FINDINGS, taught, side, share, rng)


def test_windows_show_a_finding_or_normal_lung_of_training_images_alone():
    drawn = source().draw(400, np.random.default_rng(0))
    assert set(drawn.image) <= set(range(36)) and ((drawn.x >= 0) & (drawn.x + drawn.side <= 1)).all()
    lesion = np.nan_to_num(drawn.labels).max(axis=1) == 1
    assert 0.4 < lesion.mean() < 0.6
    normal = drawn.image[~lesion]
    assert not (normal % 2 == 0).any() and not (normal % 3 == 0).any()


@pytest.mark.parametrize("alike", [True, False])
def test_windows_of_normal_lung_may_be_as_large_as_those_around_boxes_so_that_scale_tells_nothing(alike):
    drawn = source(side=0.05).draw(2000, np.random.default_rng(0), alike=alike)
    lesion = np.nan_to_num(drawn.labels).max(axis=1) == 1
    assert (set(drawn.side[lesion]) == set(drawn.side[~lesion])) is alike
    assert bool(abs(drawn.side[lesion].mean() - drawn.side[~lesion].mean()) < 0.02) is alike


def test_a_window_is_labelled_with_the_boxes_it_covers_and_a_cut_box_is_unknown():
    of = source()
    image = np.array([0, 0])
    x, y = np.array([0.15, 0.45]), np.array([0.1, 0.5])
    made = of._labels(image, x, y, np.array([0.5, 0.4]))
    np.testing.assert_array_equal(made, [[1, 0], [0, 1]])
    cut = of._labels(np.array([0]), np.array([0.0]), np.array([0.0]), np.array([0.3]))  # a sixth of the nodule's box
    np.testing.assert_array_equal(cut, [[np.nan, 0]])


def test_a_finding_that_some_image_has_without_a_box_is_neither_taught_by_patches_nor_localised():
    cases = toy()
    boxes = [text if i != 6 else "[]" for i, text in enumerate(cases.about["boxes"])]
    nodules = np.where(np.arange(N) == 6, 0.0, cases.about["label nodule"])
    cases = dataclasses.replace(cases, about=cases.about.assign(**{"boxes": boxes, "label nodule": nodules}))
    drawn = source(cases=cases).draw(100, np.random.default_rng(0))
    assert np.isnan(drawn.labels[:, 1]).all() and np.isfinite(drawn.labels[:, 0]).any()
    rows = places.tables({48: np.full((2, 3, 3), 0.5)}, cases, radiographs.boxes(cases, FINDINGS), FINDINGS, False)
    assert {case.partition("/")[2].partition(" ")[0] for _, _, case, *_ in rows} == {"nodule"}


def test_a_share_of_the_boxes_is_that_share_of_the_images_that_have_some():
    assert source(0.25).boxes["image"].nunique() == round(0.25 * source().boxes["image"].nunique())
    drawn = source(0.25).draw(300, np.random.default_rng(0))
    assert set(drawn.image[np.nan_to_num(drawn.labels).max(axis=1) == 1]) <= set(source(0.25).boxes["image"])


def test_windows_anywhere_carry_the_labels_of_the_whole_image():
    drawn = source().draw(50, np.random.default_rng(0), anywhere=True)
    np.testing.assert_array_equal(drawn.labels[:, 0], drawn.image % 2 == 0)


def test_arms_compute_what_their_names_say():
    of = grid(patch_steps=12, steps=10)
    costs = {arm: _computing(_schedule(arm, of), of)[-1] for arm in ARMS if ARMS[arm].trivial is None}
    assert costs["baseline"] == 10 and costs["curriculum"] == costs["joint"] == costs["baseline-compute"] == 13
    patches = _schedule("curriculum", of)
    assert patches[:12].all() and not patches[12:].any()
    turns = _schedule("joint", of)
    assert turns.sum() == 12 and 0 < turns[:11].sum() < 11


def test_folds_part_no_patient_and_spread_positive_ones():
    cases = toy(folds=True)
    label = radiographs.labels(cases, FINDINGS)[:, 1]
    fold = _folds(cases.group, label, 5, seed=0)
    assert pd.Series(fold).groupby(cases.group).nunique().max() == 1
    positive = pd.Series(label).groupby(cases.group).max()
    assert np.ptp(positive.groupby(pd.Series(fold).groupby(cases.group).first()).sum()) <= 1
    tested = []
    for part in EXPERIMENT._parts(grid(folds=5), cases, 0):
        sets = [set(cases.group[index]) for index in (part.train, part.val, part.test)]
        assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
        tested += part.test.tolist()
    assert sorted(tested) == list(range(N))


@pytest.mark.parametrize("cell", [(0, 0), (0, 3), (3, 0), (3, 3), (1, 2)])
def test_the_first_mark_is_the_centre_of_the_highest_cell_wherever_it_lies(cell):
    p = np.full((4, 4), 0.1)
    p[cell] = 0.9
    probability, x, y = places.marks(p)
    assert (x[0], y[0], probability[0]) == ((cell[1] + 0.5) / 4, (cell[0] + 0.5) / 4, 0.9)
    gap = np.maximum(abs(x[1:] - x[0]), abs(y[1:] - y[0]))
    assert (gap > 0.25 + 1e-9).all() and len(x) <= places.MARKS


def test_a_map_that_points_into_the_box_hits_and_one_outside_it_does_not():
    cases = toy()
    boxes, hit, miss = radiographs.boxes(cases, FINDINGS), np.full((2, 8, 8), 0.1), np.full((2, 8, 8), 0.1)
    hit[0, 2, 2], miss[0, 7, 0] = 0.9, 0.8
    rows = places.tables({48: hit, 50: miss}, cases, boxes, FINDINGS, keep=False)
    table = pd.DataFrame(rows, columns=["split", "image", "case", "target", "prediction"]).set_index("case")
    pointing = table[table["split"] == "test-pointing"]["prediction"]
    assert pointing["i48/nodule"] == 1 and pointing["i50/nodule"] == 0
    lesions = table[table["split"] == "test-lesions"]
    assert lesions.loc["i48/nodule 1", "prediction"] == 0.9 and lesions.loc["i50/nodule 1", "prediction"] < 0.5
    assert lesions.loc["i50/nodule elsewhere 1", "prediction"] == 0.8
    assert (lesions[lesions["target"] == 0].groupby("image").size() == 2 * places.FALSE_ALARMS).all()


def test_the_prior_is_highest_where_boxes_overlap_most():
    hill = places.prior(radiographs.boxes(toy(), FINDINGS), FINDINGS)
    row, column = np.unravel_index(hill[0].argmax(), hill[0].shape)
    assert 6 / 32 <= (row + 0.5) / places.HILL <= 12 / 32 and 8 / 32 <= (column + 0.5) / places.HILL <= 14 / 32


@pytest.mark.parametrize("arm", ["curriculum", "joint", "curriculum-shuffled", "random-patches"])
def test_a_run_repeats_and_its_weights_predict_its_table(arm):
    of, cases, run = grid(arms={arm: (24,)}), toy(), Run(0, 24, arm, 1e-2)
    EXPERIMENT.check(of, cases)
    one, weights = EXPERIMENT.train_run(run, of, cases, CPU)
    two, _ = EXPERIMENT.train_run(run, of, cases, CPU)
    pd.testing.assert_frame_equal(one.predictions, two.predictions)
    pd.testing.assert_frame_equal(EXPERIMENT.predict(run, of, weights, cases, CPU), one.predictions)
    assert [row["compute"] for row in one.history][-1] == one.record["compute"] == 5
    tested = one.predictions[one.predictions["split"] == "test"]
    assert len(tested) == 12 * 2 and tested["case"].is_unique


def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path):
    of, cases, run = grid(), toy(), Run(0, 24, "curriculum", 1e-2)
    whole, _ = EXPERIMENT.train_run(run, of, cases, CPU)

    def stop(_, count=[0]):  # noqa: B006
        count[0] += 1
        if count[0] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EXPERIMENT.train_run(run, of, cases, CPU, tmp_path / "checkpoint", stop)
    rest, _ = EXPERIMENT.train_run(run, of, cases, CPU, tmp_path / "checkpoint")
    pd.testing.assert_frame_equal(rest.predictions, whole.predictions)


def test_with_folds_every_image_is_predicted_once_by_a_network_that_never_saw_its_patient():
    of, cases = grid(folds=3, arms={"curriculum": (16,), "shortcuts": (16,)}), toy(folds=True)
    EXPERIMENT.check(of, cases)
    entry, _ = EXPERIMENT.train_run(Run(0, 16, "curriculum", 1e-2), of, cases, CPU)
    counts = entry.predictions["split"].value_counts()
    assert counts["test"] == N * 2 and counts["test-AP"] == counts["test-PA"] == N and counts["val"] == N * 2
    assert entry.record["networks"] == 3
    trivial, _ = EXPERIMENT.train_run(Run(0, 16, "shortcuts", 0.0), of, cases, CPU)
    assert trivial.predictions["prediction"].between(0, 1).all()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"network": "vgg"}, "network must be one of resnet, lite0"),
        ({"findings": ("nodule", "nodule")}, "findings must name each once"),
        ({"patch": 64}, "size and patch exceed stored, 32"),
        ({"folds": 2}, "folds must be 3 or more"),
        ({"imagenet": "nowhere.pth"}, "imagenet names no file: 'nowhere.pth'"),
    ],
)
def test_an_impossible_grid_is_one_clear_error(changes, complaint):
    with pytest.raises(ParamsError, match=complaint):
        grid(**changes)


def test_cases_that_cannot_carry_a_grid_are_one_clear_error():
    cases = toy()
    with pytest.raises(ParamsError, match="arms.curriculum: 50 training images, and there are 36"):
        EXPERIMENT.check(grid(arms={"curriculum": (50,)}), cases)
    with pytest.raises(DataError, match="has no labels for 'mass'; it has nodule, effusion"):
        EXPERIMENT.check(grid(findings=("mass",)), cases)
    alike = cases.about.assign(**{"label nodule": np.where(cases.split == "val", 1.0, cases.about["label nodule"])})
    with pytest.raises(DataError, match="all images of a split agree on 'nodule'"):
        EXPERIMENT.check(grid(), dataclasses.replace(cases, about=alike))
    without = cases.about.assign(boxes=["[]"] * N)
    with pytest.raises(DataError, match="24 training images hold no box, or none without findings"):
        EXPERIMENT.check(grid(), dataclasses.replace(cases, about=without))
    with pytest.raises(ParamsError, match="arms.shortcuts: toy does not say view"):
        EXPERIMENT.check(
            grid(arms={"shortcuts": (24,)}), dataclasses.replace(cases, about=cases.about.drop(columns="view"))
        )
