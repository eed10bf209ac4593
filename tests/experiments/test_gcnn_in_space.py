"""The experiment in space: the same rules as on the plane, for slabs and cubes, and what only space has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewscans import train
from fewscans.data.base import Cases
from fewscans.errors import DataError
from fewscans.experiments import gcnn
from fewscans.experiments.base import Run
from fewscans.experiments.gcnn.arms import ARMS, SPACE_ARMS
from fewscans.groups import Group
from fewscans.nn.gconv import act_on_image

CPU = torch.device("cpu")
CUBE = ((2, 2, 2), (2, 2, 2), (1, 1, 1))
GRID = gcnn.Grid(
    arms={"Z3": (10,)}, seeds=2, steps=2, eval_every=1, learning_rates=(1e-2,), width=4, patch=(8, 8, 8), pools=CUBE,
    balanced_validation=True,
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


@pytest.mark.parametrize("arm", [arm for arm, spec in SPACE_ARMS.items() if "-" not in arm or arm.endswith("compute")])
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

    def fit(net, n_train, batch, *rest):
        targets[rest[3]] = batch(torch.arange(n_train), 0)[1]
        return real(net, n_train, batch, *rest)

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


def test_balanced_validation_weighs_both_classes_alike(volumes):
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
