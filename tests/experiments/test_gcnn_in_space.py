"""The experiment in space: the same rules as on the plane, for slabs and cubes, and what only space has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans import train
from fewscans.data.base import Cases
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import gcnn
from fewscans.experiments.base import Run
from fewscans.experiments.gcnn.arms import ARMS, SPACE_ARMS
from fewscans.groups import Group
from fewscans.nn.gconv import act_on_image

CPU = torch.device("cpu")
CUBE = ((2, 2, 2), (2, 2, 2), (1, 1, 1))
GRID = gcnn.Grid(
    arms={"Z3": (10,)}, seeds=2, steps=2, eval_every=1, learning_rates=(1e-2,), width=4, patch=(8, 8, 8), pools=CUBE,
)  # fmt: skip
SLAB = replace(GRID, patch=(4, 8, 8), pools=None)


@pytest.fixture(scope="module")
def volumes() -> Cases:
    """Bright balls (1) and bright rods (0) in noise; a quarter of the validation set is positive."""
    random, count = np.random.default_rng(0), 100
    labels = np.arange(count) % 2
    axes = np.mgrid[:10, :10, :10] - 4.5
    ball, rod = np.linalg.norm(axes, axis=0) < 3, np.hypot(axes[0], axes[1]) < 2
    images = random.normal(60, 15, (count, 10, 10, 10)) + 80 * np.where(labels[:, None, None, None] == 1, ball, rod)
    split = np.array(["train", "train", "train", "val", "test"])[np.arange(count) // 2 % 5]
    spare = np.flatnonzero((split == "val") & (labels == 1))[::2]
    split[spare] = "train"
    names = np.array([f"case{i:03d}" for i in range(count)])
    images = np.clip(images, 0, 255).astype(np.uint8)
    return Cases(images, labels, names, names, split, "volumes", Path("volumes"))


def trained(arm: str, data: Cases, grid: gcnn.Grid = GRID, seed: int = 0):
    return gcnn.EXPERIMENT.train_run(Run(seed, 10, arm, 1e-2), grid, data, CPU)


@pytest.mark.parametrize("arm", [arm for arm in SPACE_ARMS if arm.isalnum() or arm.endswith("compute")])
@pytest.mark.parametrize("grid", [GRID, SLAB], ids=["cube", "slab"])
def test_every_arm_predicts_every_test_case_once(volumes, arm, grid):
    table = trained(arm, volumes, grid)[0].predictions
    test = volumes.case[volumes.indices("test")]
    for (_, _), rows in table.groupby(["arm", "split"]):
        assert rows["case"].tolist() == test.tolist() and rows["prediction"].between(0, 1).all()


def test_the_same_run_twice_gives_the_same_bytes(volumes):
    (first, weights), (again, weights_again) = (trained("D4", volumes) for _ in range(2))
    assert first.predictions.equals(again.predictions) and first.history == again.history
    assert all(torch.equal(weights[key], weights_again[key]) for key in weights)


def test_nothing_of_the_test_set_reaches_training(volumes):
    before, _ = trained("D4", volumes)
    test = volumes.indices("test")
    labels, images = volumes.target.copy(), volumes.images.copy()
    labels[test], images[test[0]] = 1 - labels[test], 255 - images[test[0]]
    after, _ = trained("D4", replace(volumes, target=labels, images=images))
    assert before.history == after.history
    changed = before.predictions["prediction"] != after.predictions["prediction"]
    assert set(before.predictions["case"][changed]) == {volumes.case[test[0]]}


@pytest.mark.parametrize("name", ["D4", "D4h"])
def test_test_time_augmentation_is_the_mean_over_the_group(volumes, name):
    entry, weights = trained("Z3", volumes)
    net = gcnn.model("Z3", GRID.width, 0, GRID.patch, GRID.pools).eval()
    net.load_state_dict(weights)
    group, x = Group.named(name), torch.from_numpy(volumes.images[volumes.indices("test")])[:, None, 1:9, 1:9, 1:9]
    with torch.no_grad():
        each = [torch.sigmoid(net(act_on_image(group, h, x / 127.5 - 1))).numpy() for h in range(group.order)]
    rows = entry.predictions.query("arm == @arm and split == 'test'", local_dict={"arm": f"Z3-tta-{name}"})
    assert np.abs(rows["prediction"].to_numpy() - np.mean(each, axis=0)).max() < 1e-5


def test_shuffled_labels_are_those_of_training_and_validation_and_never_of_the_test(volumes, monkeypatch):
    targets = {}
    real = train.fit

    def fit(net, n_train, batch, *rest, **more):
        targets[rest[3]] = batch(torch.arange(n_train), 0)[1]
        return real(net, n_train, batch, *rest, **more)

    monkeypatch.setattr(train, "fit", fit)
    shuffled, _ = trained("Z3-shuffled", volumes)
    permuted = targets.popitem()[1]
    plain, _ = trained("Z3", volumes)
    assert permuted.sum() == targets.popitem()[1].sum() == 5, "permuted, not drawn anew"
    assert [row["val_loss"] for row in shuffled.history] != [row["val_loss"] for row in plain.history]
    table = shuffled.predictions.query("split == 'test'")
    assert table["target"].tolist() == volumes.target[volumes.indices("test")].tolist()
    draws = [gcnn._labels(volumes, volumes.indices("train"), True, seed).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_validation_weighs_both_classes_alike(volumes):
    """The loss of a network that always says no is the mean of its loss on each class, whatever their numbers."""
    labels = torch.from_numpy(volumes.target[volumes.indices("val")]).float()
    losses = torch.where(labels == 1, 3.0, 1.0)
    assert labels.mean() < 0.4 and gcnn._class_mean(losses, labels) == 2 != losses.mean()


def test_the_sham_keeps_the_size_and_loses_the_geometry():
    true, sham = (gcnn.model(arm, 8, 0, (12, 12, 12), CUBE) for arm in ("D4", "D4-sham"))
    assert true.convolution_parameters() == sham.convolution_parameters() and true.macs() == sham.macs()
    assert not (true.group.elements == sham.group.elements).all() or not torch.equal(
        *(net.eval()(torch.ones(1, 1, 12, 12, 12) * torch.arange(12.0)) for net in (true, sham))
    )


def test_arms_have_about_equal_parameters_or_about_equal_compute():
    made = {arm: gcnn.model(arm, 16, 0, (12, 72, 72)) for arm in ("Z3", "D4", "D4h", "O", "Oh", "D4-compute")}
    plain = made.pop("Z3")
    compute = made.pop("D4-compute")
    for arm, net in made.items():
        assert abs(net.convolution_parameters() / plain.convolution_parameters() - 1) < 0.025, arm
    assert compute.macs() == plain.macs()
    assert ARMS["Z3-wide"].like == "D4"
    assert gcnn.model("Z3-wide", 8, 0, (12, 12, 12), CUBE).macs() == gcnn.model("D4", 8, 0, (12, 12, 12), CUBE).macs()


def test_images_too_small_for_the_patch_are_refused_before_training(volumes):
    small = replace(volumes, images=volumes.images[:, 1:9, 1:9, 1:9])
    with pytest.raises(DataError, match="8 x 8 x 8 voxels, too small for a patch of 12 x 12 x 12"):
        gcnn.EXPERIMENT.check(replace(GRID, patch=(12, 12, 12)), small)


def test_the_margin_holds_what_turning_about_z_and_shifting_bring_into_view():
    """A corner of the paper's patch lies 36·√2 voxels from the centre, and a shift of three voxels is added."""
    z, y, x = gcnn.margin((12, 72, 72))
    assert 36 + y == 36 + x >= 36 * np.sqrt(2) + 3 > 36 + y - 1.1 and z == 1


# Turned, rotated over folds, and with what is known of a case


FIVE = replace(GRID, folds=5, augment=False, turned_test=True)


@pytest.fixture(scope="module")
def folded(volumes) -> Cases:
    """The same in five folds, a few of each not to be tested, with a diameter that tells the label."""
    place = np.arange(len(volumes))
    about = {"fold": place // 2 % 5, "tested": (place % 20 < 16).astype(int), "diameter_mm": 4.0 + 3 * volumes.target}
    about |= {"shape_z": 3 + place % 2, "shape_y": 40 + place, "shape_x": 50, "slices": 2 + place % 3}
    about["diameter_mm"] = about["diameter_mm"] + place % 7
    return replace(volumes, about=pd.DataFrame(about))


def test_seeds_test_the_folds_in_turn_validate_on_the_next_and_train_on_the_rest(folded):
    fold, tested = folded.about["fold"].to_numpy(), folded.about["tested"].to_numpy() == 1
    for seed in range(7):
        part = gcnn.EXPERIMENT.fold_of(FIVE, folded, seed)
        assert set(np.flatnonzero(part == "test")) == set(np.flatnonzero((fold == seed % 5) & tested))
        assert set(np.flatnonzero(part == "val")) == set(np.flatnonzero((fold == (seed + 1) % 5) & tested))
        assert set(np.flatnonzero(part == "train")) == set(np.flatnonzero(~np.isin(fold, (seed % 5, (seed + 1) % 5))))
        table = trained("centre", folded, FIVE, seed)[0].predictions
        assert table["case"].tolist() == folded.case[part == "test"].tolist()
    unfolded = gcnn.EXPERIMENT.fold_of(replace(FIVE, folds=0), folded, 3)
    assert set(np.flatnonzero(unfolded == "test")) == set(folded.indices("test")) & set(np.flatnonzero(tested))


def test_folds_that_the_data_set_lacks_or_that_hold_one_class_are_refused_before_training(volumes, folded):
    gcnn.EXPERIMENT.check(FIVE, folded)
    for grid, cases in ((FIVE, volumes), (replace(FIVE, folds=4), folded)):
        with pytest.raises(ParamsError, match=f"volumes is not divided into {grid.folds} folds; leave the key out"):
            gcnn.EXPERIMENT.check(grid, cases)
    fold = np.where(folded.target == 1, 2, folded.about["fold"])  # two holds all positives
    with pytest.raises(DataError, match="largest balanced n is 0|are all of one class; it holds too few"):
        gcnn.EXPERIMENT.check(FIVE, replace(folded, about=folded.about.assign(fold=fold)))


@pytest.mark.parametrize("name", ["folds", "turned_test", "pilot"])
def test_what_is_tested_belongs_to_a_run_s_key(name):
    run = Run(0, 10, "Z3", 1e-2)
    assert gcnn.EXPERIMENT.decides(run, FIVE) != gcnn.EXPERIMENT.decides(
        run, replace(FIVE, **{name: not getattr(FIVE, name)})
    )


def test_the_turned_test_set_is_the_same_for_all_runs_and_turns_nothing_else(folded):
    entry, weights = trained("Z3", folded, FIVE)
    rows = entry.predictions.query("split == 'test-turned'")
    index = np.flatnonzero(gcnn.EXPERIMENT.fold_of(FIVE, folded, 0) == "test")
    assert set(rows["arm"]) == {"Z3"} and rows["case"].tolist() == folded.case[index].tolist()
    net = gcnn.model("Z3", GRID.width, 0, GRID.patch, GRID.pools).eval()
    net.load_state_dict(weights)
    cube, elements = Group.named("O"), np.random.default_rng(0).integers(24, size=len(folded))[index]
    x = torch.from_numpy(folded.images[index])[:, None, 1:9, 1:9, 1:9] / 127.5 - 1
    with torch.no_grad():
        expected = [float(torch.sigmoid(net(act_on_image(cube, h, x[i : i + 1])))) for i, h in enumerate(elements)]
    assert np.abs(rows["prediction"].to_numpy() - expected).max() < 1e-5
    invariant, _ = trained("O-invariant", folded, FIVE)
    as_is, turned = (
        invariant.predictions.query(f"split == '{s}'")["prediction"].to_numpy() for s in ("test", "test-turned")
    )
    assert np.abs(as_is - turned).max() < 1e-5, "a network that cannot tell them apart says the same"


def test_turned_training_patches_are_turned_or_mirrored_exactly_and_otherwise_as_they_are(folded, monkeypatch):
    batches, real = {}, train.fit

    def fit(net, n_train, batch, *rest, **more):
        batches[len(batches)] = [batch(torch.arange(n_train), step)[0] for step in range(6)]
        return real(net, n_train, batch, *rest, **more)

    monkeypatch.setattr(train, "fit", fit)
    trained("Z3", folded, FIVE)
    trained("Z3-turned", folded, FIVE)
    copies, elements = Group.named("Oh"), set()
    for plain, turned in zip(*batches.values(), strict=True):
        for one, other in zip(plain, turned, strict=True):
            fits = [h for h in range(48) if torch.equal(act_on_image(copies, h, one), other)]
            assert len(fits) == 1
            elements.add(fits[0])
    assert len(elements) > 24
    with pytest.raises(ParamsError, match="Z3-turned turns cubes exactly: augment must be false"):
        replace(GRID, arms={"Z3-turned": (10,)})


def test_a_network_and_the_diameter_are_weighed_on_validation_cases_alone(folded):
    """Where the diameter tells the label and the network does not, they rank as the diameter; without one, no rows."""
    grid = replace(FIVE, turned_test=False, steps=1)
    entry, weights = trained("D4", folded, grid)
    rows = entry.predictions.query("arm == 'D4+diameter'")
    assert set(rows["split"]) == {"test"} and rows["prediction"].between(0, 1).all()
    part = gcnn.EXPERIMENT.fold_of(grid, folded, 0)
    other = folded.target.copy()
    other[part != "val"] = 1 - other[part != "val"]
    run = Run(0, 10, "D4", 1e-2)
    same = gcnn.EXPERIMENT.predict(run, grid, weights, replace(folded, target=other), CPU)
    assert same.query("arm == 'D4+diameter'")["prediction"].tolist() == rows["prediction"].tolist()
    other = folded.target.copy()
    other[part == "val"] = 1 - other[part == "val"]
    changed = gcnn.EXPERIMENT.predict(run, grid, weights, replace(folded, target=other), CPU)
    assert changed.query("arm == 'D4+diameter'")["prediction"].tolist() != rows["prediction"].tolist()
    unknown = replace(folded, about=folded.about.drop(columns="diameter_mm"))
    assert "D4+diameter" not in set(gcnn.EXPERIMENT.predict(run, grid, weights, unknown, CPU)["arm"])


@pytest.mark.parametrize("arm", ["diameter", "box", "slices"])
def test_baselines_that_see_no_image_need_what_they_know(volumes, folded, arm):
    table = trained(arm, folded, FIVE)[0].predictions
    blank = replace(folded, images=np.zeros_like(folded.images))
    assert trained(arm, blank, FIVE)[0].predictions.equals(table) and table["prediction"].between(0, 1).all()
    if arm == "diameter":
        found = table["prediction"].to_numpy()
        size = folded.about["diameter_mm"].to_numpy()[np.isin(folded.case, table["case"])]
        assert (np.argsort(found) == np.argsort(size)).all() or np.corrcoef(found, size)[0, 1] > 0.9
    with pytest.raises(ParamsError, match=f"arms.{arm}: volumes does not say"):
        gcnn.EXPERIMENT.check(replace(FIVE, folds=0, arms={arm: (10,)}), volumes)
