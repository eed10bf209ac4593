"""Slices against volumes: fair networks, people kept apart, and measures of masks that are those of others."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans.data.base import Cases
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments.base import Run
from fewscans.experiments.volumes import EXPERIMENT, Grid, batches, first_of_each, networks, on_thick_slices
from fewscans.experiments.volumes import measures as m
from fewscans.experiments.volumes.arms import ARMS, AXES, VOLUME
from fewscans.experiments.volumes.batches import Batches, thick_labels, thickened, through_thick

CPU = torch.device("cpu")
WINDOW = (20, 24, 20)
GRID = Grid(
    arms={"3D": (4, 8)}, seeds=1, steps=2, eval_every=1, learning_rates=(1e-3,), window=WINDOW, patch=(16, 16, 16),
    volumes=1, width=2, all_axes=(8,),
)  # fmt: skip
TRAINED = [name for name, arm in ARMS.items() if arm.trivial is None and arm.computed_with is None]


@pytest.fixture(scope="module")
def cases() -> Cases:
    """Twenty people with two sides each: dark balls in noise, of two labels; a quarter stored as uint8."""
    random, count = np.random.default_rng(0), 40
    shapes = np.stack([random.integers(15, side + 1, count) for side in WINDOW], axis=1)
    images = np.zeros((count, 2, *WINDOW), np.uint8)
    for image, shape in zip(images, shapes, strict=True):
        start = [(w - n) // 2 for w, n in zip(WINDOW, shape, strict=True)]
        z, y, x = (np.arange(n) - (n - 1) / 2 + random.normal(0, 1) for n in shape)
        ball = z[:, None, None] ** 2 + y[:, None] ** 2 / 2 + x**2 < 20
        label = ball * np.where(y[:, None] > 0, 1, 2)
        box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
        image[0][box] = np.clip(150 - 60 * ball + random.normal(0, 15, shape), 0, 255)
        image[1][box] = label
    person = np.arange(count) // 2
    about = pd.DataFrame(shapes, columns=["shape_z", "shape_y", "shape_x"]).assign(
        fold=person % 5, labels="front back", stored=np.where(person % 4, "float32", "uint8")
    )
    return Cases(
        images=images, target=(images[:, 1] > 0).sum((1, 2, 3)) / 1000, unit="ml",
        case=np.array([f"case{i:02d}" for i in range(count)]), group=np.array([f"person{p:02d}" for p in person]),
        split=np.array(["test", "val", "train", "train", "train"])[person % 5], fingerprint="balls", path=Path("balls"),
        spacing_mm=np.ones((count, 3)), about=about,
    )  # fmt: skip


def run(arm="3D", n=8, seed=0):
    return Run(seed, n, arm, 0.0 if ARMS[arm].trivial else 1e-3)


def grid_of(arm, n=8, **changes):
    return replace(GRID, arms={arm: (n,)}, **({"all_axes": ()} | changes))


def masks(seed=0, shape=(12, 14, 13)):
    z, y, x = np.ogrid[tuple(map(slice, shape))]
    shift = np.random.default_rng(seed).uniform(-2, 2, (2, 3))
    return [
        (z - 6 - a) ** 2 + (y - 7 - b) ** 2 + (x - 6 - c) ** 2 < r**2
        for (a, b, c), r in zip(shift, (5, 4), strict=True)
    ]


# measures


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_monai(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own deprecated arguments
        from monai.metrics import compute_hausdorff_distance, compute_surface_dice

        pair, spacing = masks(seed), (2.0, 1.0, 0.7)
        one, other = (torch.from_numpy(np.stack([~mask, mask])[None]).float() for mask in pair)
        asked = {"include_background": False, "spacing": spacing}
        far = compute_hausdorff_distance(one, other, percentile=95, **asked).item()
        within = compute_surface_dice(one, other, class_thresholds=[1.0], **asked).item()
    assert m.surfaces(*pair, spacing) == pytest.approx((far, within), rel=1e-5)


def test_a_perfect_mask_has_the_targets_of_every_measure():
    truth = np.where(masks()[0], 1 + masks()[1], 0)
    for name, (target, found) in m.measure(truth, truth, (1, 1, 1), ["a", "b"]).items():
        assert found == target, name


def test_empty_masks_follow_the_rule():
    full, empty = masks()[0], np.zeros_like(masks()[0])
    assert m.dice(empty, empty) == 1 and m.dice(full, empty) == 0
    assert m.surfaces(empty, empty, (1, 1, 1)) == (0.0, 1.0)
    assert m.surfaces(full, empty, (1, 1, 2)) == m.surfaces(empty, full, (1, 1, 2))
    assert m.surfaces(full, empty, (1, 1, 2)) == (np.hypot(np.hypot(12, 14), 26), 0.0)
    assert m.consistency(empty) == 1


def test_slices_that_were_moved_at_random_are_less_consistent():
    ball = masks()[0]
    shaken = np.stack([np.roll(plane, shift, 0) for plane, shift in zip(ball, [0, 3, -2] * 4, strict=True)])
    assert m.consistency(shaken) < m.consistency(ball) - 0.1
    assert m.consistency(np.stack([ball[6]] * 5)) == 1


def test_volumes_are_in_ml_of_the_voxels_own_size():
    truth = masks()[0].astype(int)
    assert m.measure(truth, truth, (2, 3, 0.5), ["a"])["volume-a"][0] == pytest.approx(3 * truth.sum() / 1000)


# networks


@pytest.mark.parametrize("width", [4, 8, 16])
def test_networks_on_slices_and_on_volumes_have_as_many_parameters_and_multiply_adds(width):
    count = [sum(p.numel() for p in networks.build(name, 3, width, 0).parameters()) for name in ("z", VOLUME)]
    work = [networks.multiply_adds(name, width, 1000) for name in ("z", VOLUME)]
    assert count[0] / count[1] == pytest.approx(1, abs=0.08) and work[0] / work[1] < 2.2


def test_a_network_is_drawn_from_its_seed_alone():
    first = [networks.build("z", 3, 2, seed).state_dict() for seed in (3, 3, 4)]
    torch.manual_seed(1)
    same = [torch.equal(first[0][key], first[1][key]) for key in first[0]]
    assert all(same) and any(not torch.equal(first[0][key], first[2][key]) for key in first[0])


@pytest.mark.parametrize("network", [VOLUME, *AXES])
def test_probabilities_have_the_volumes_shape_whatever_it_is(network):
    net = networks.build(network, 3, 2, 0).eval()
    with torch.inference_mode():
        found = networks.probabilities(net, network, torch.randn(9, 13, 17))
    assert found.shape == (3, 9, 13, 17) and torch.allclose(found.sum(0), torch.ones(9, 13, 17), atol=1e-5)


@pytest.mark.parametrize("network", [VOLUME, *AXES])
def test_an_image_lies_in_the_middle_of_a_training_patch_or_of_whole_blocks(network):
    seen = []

    def net(x):
        seen.append(x)
        return torch.cat([x, -x], 1)

    image = torch.rand(9, 30, 21) + 1
    found = networks.logits(net, network, image, (16, 24, 24))
    assert torch.equal(found, torch.stack([image, -image]))
    sides = [size for name, size in zip("zyx", (16, 32, 24), strict=True) if name != network]
    before = [extra for name, extra in zip("zyx", (3, 1, 1), strict=True) if name != network]
    assert list(seen[0].shape[2:]) == sides
    assert torch.nonzero(seen[0]).amin(0)[2:].tolist() == before


def test_a_network_on_slices_sees_no_other_slice_and_one_on_volumes_does():
    image = torch.randn(16, 16, 16)
    changed = image.clone()
    changed[7] += torch.randn(16, 16)
    for network, alone in (("z", True), (VOLUME, False)):
        net = networks.build(network, 3, 2, 0).eval()
        with torch.inference_mode():
            pair = [networks.logits(net, network, x) for x in (changed, image)]
        moved = (pair[0] - pair[1]).abs().amax((0, 2, 3))
        assert moved[7] > 0 and (bool((moved[[6, 8]] == 0).all()) is alone)


def test_patches_side_by_side_do_not_know_of_each_other_and_overlapping_ones_do():
    net = networks.build(VOLUME, 3, 2, 0).eval()
    image = torch.randn(48, 64, 48)
    changed = image.clone()
    changed[:24] += torch.randn(24, 64, 48)
    with torch.inference_mode():
        for overlap, alone in ((0.0, True), (0.5, False)):
            pair = [networks.in_patches(net, x, overlap)[:, 24:] for x in (image, changed)]
            assert torch.equal(*pair) is alone


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_patches_lie_inside_the_image_as_in_training_and_each_voxel_comes_back_to_its_place(overlap):
    seen = []

    def net(x):  # what it says of a voxel depends on that voxel alone
        seen.append(x)
        return torch.cat([x, -x], 1)

    image = torch.rand(35, 51, 20) + 1  # nowhere 0, and thinner along x than a patch
    found = networks.in_patches(net, image, overlap)
    assert torch.allclose(found, torch.stack([image, -image]).softmax(0), atol=1e-5)
    assert all((part[..., :20] > 0).all() and (part[..., 20:] == 0).all() for part in seen)


def test_the_filter_keeps_one_part_closes_holes_and_changes_no_label_inside():
    label = np.zeros((10, 20, 10), int)
    label[2:8, 2:8, 2:8], label[2:8, 8:14, 2:8], label[8, 18, 8] = 1, 2, 1
    holed = label.copy()
    holed[5, 5, 5] = 0
    probability = np.eye(3)[holed].transpose(3, 0, 1, 2) + 0.1 * np.eye(3)[label].transpose(3, 0, 1, 2)
    label[8, 18, 8] = 0
    assert np.array_equal(networks.filtered(probability), label)


# thick slices


def test_thick_slices_are_means_of_three_and_labels_the_majority():
    image = torch.arange(11.0)[:, None, None].expand(11, 2, 2)
    assert thickened(image)[:, 0, 0].tolist() == [1, 4, 7]
    label = torch.tensor([0, 1, 1, 2, 2, 0, 0, 1, 2, 1.0])[:, None, None]
    assert thick_labels(label, 3).flatten().tolist() == [1, 2, 0]


def test_interpolating_back_keeps_a_ramp_between_the_middles_and_the_mean():
    ramp = torch.arange(12.0)
    back = through_thick(12) @ ramp
    assert torch.allclose(back[1:11], ramp[1:11], atol=1e-5)
    assert torch.allclose(through_thick(12).sum(1), torch.ones(12), atol=1e-6)


def test_both_kinds_of_networks_are_scored_on_the_same_thick_grid():
    nets = {name: networks.build(name, 3, 2, 0).eval() for name in (VOLUME, "z")}
    with torch.inference_mode():
        found = [on_thick_slices(nets, name, torch.randn(17, 16, 18), GRID) for name in nets]
    assert [mask.shape for mask in found] == [(5, 16, 18)] * 2


# training samples


@pytest.mark.parametrize("network", [VOLUME, *AXES])
@pytest.mark.parametrize("thick", [0.0, 0.5, 1.0])
def test_updates_on_slices_and_on_volumes_show_as_much_of_images_and_known_labels(cases, network, thick):
    drawn = Batches(cases, np.arange(6), network, (16, 24, 16), 2, seed=1, thick=thick)
    image, label = drawn.draw(torch.arange(drawn.count) % len(drawn), 0)
    if network == VOLUME:
        assert image.shape == label.shape == (2, 1, 16, 24, 16)
    else:
        sides = cases.about[f"shape_{network}"].to_numpy()[:6].clip(max=(16, 24, 16)["zyx".index(network)])
        assert len(image) == round(2 * sides.mean()), "as many slices as two volumes show, without their padding"
    assert set(label.unique().tolist()) == {0, 1, 2} and torch.isfinite(image).all()
    again = Batches(cases, np.arange(6), network, (16, 24, 16), 2, seed=1, thick=thick)
    assert torch.equal(again.draw(torch.arange(drawn.count) % len(drawn), 0)[0], image)


def test_patches_are_moved_by_whole_voxels_so_that_what_is_not_turned_keeps_its_values(monkeypatch):
    monkeypatch.setattr(batches, "MOVED", 0.0)
    low, high = torch.tensor([[2, 4, 1]]).repeat(200, 1), torch.tensor([[20, 20, 16]]).repeat(200, 1)
    grid = batches._places(low, high, (16, 16, 18), WINDOW, True, torch.Generator().manual_seed(0))
    voxel = (grid.flip(-1) + 1) * (torch.tensor(WINDOW) - 1) / 2
    assert torch.allclose(voxel, voxel.round(), atol=1e-4)
    first, last = voxel.amin((1, 2, 3)).round(), voxel.amax((1, 2, 3)).round()
    assert set(first[:, 0].tolist()) == {2, 3, 4}, "inside an image of 18 voxels"
    assert first[:, 1].unique().tolist() == [4] and set(last[:, 2].tolist()) == {15, 16, 17, 18}, "around one of 15"


@pytest.mark.parametrize("start", range(3))
def test_what_thick_training_asks_of_a_volume_is_the_truth_on_thick_slices(start):
    label = torch.from_numpy(np.random.default_rng(start).integers(0, 3, (17, 6, 5))).float()
    asked = batches._labels_of_thick(label, start)
    assert torch.equal(thick_labels(asked[start:], 3), thick_labels(label[start:], 3))


@pytest.mark.parametrize("network", [VOLUME, *AXES])
def test_labels_move_with_their_image(cases, network):
    """Where the label is, the balls are dark."""
    drawn = Batches(cases, np.arange(12), network, (16, 16, 16), 2, seed=0)
    image, label = drawn.draw(torch.arange(drawn.count) % len(drawn), 3)
    assert image[label > 0].mean() < image[label == 0].mean() - 1


def test_front_and_back_are_never_exchanged(cases):
    for network in (VOLUME, *AXES):
        drawn = Batches(cases, np.arange(4), network, (16, 24, 16), 2, seed=0)
        if network == "y":
            continue  # its slices show no front
        _, label = drawn.draw(torch.arange(drawn.count) % len(drawn), 0)
        y = torch.arange(label.shape[3 if network in (VOLUME, "x") else 2], dtype=torch.float)
        along = [1, 3] if network == VOLUME else None
        for sample in label:
            places = [torch.nonzero(sample == c)[:, 2 if network in (VOLUME, "x") else 1].float() for c in (1, 2)]
            if all(len(p) > 20 for p in places):
                assert places[0].mean() > places[1].mean(), (network, along, len(y))


@pytest.mark.parametrize("network", [VOLUME, "z"])
def test_thick_training_is_standardised_after_it_is_thickened_as_a_thick_test_volume_is(cases, network, monkeypatch):
    def unmoved(low, high, size, window, mirrored, random):
        axes = [torch.linspace(-1, 1, n) for n in window]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flip(-1).expand(len(low), *window, len(window))

    monkeypatch.setattr(batches, "_places", unmoved)
    for name in ("GAIN", "OFFSET", "NOISE"):
        monkeypatch.setattr(batches, name, 0.0)
    drawn = Batches(cases, np.arange(1), network, (16, 24, 16), 2, seed=1, thick=1.0)
    image, label = drawn.draw(torch.arange(len(drawn)), 0)
    shape = cases.about[["shape_z", "shape_y", "shape_x"]].to_numpy()[0]
    assert float(image.square().sum() / shape.prod()) == pytest.approx(1, abs=0.01), "deviation 1 inside the box"
    assert float(image.sum() / shape.prod()) == pytest.approx(0, abs=1e-3)
    outside = torch.from_numpy(cases.images[0, 0] == 0)
    if network == VOLUME:
        assert not image[0, 0][outside].abs().max() > 1e-4 and set(label.unique().tolist()) == {0, 1, 2}


# who is trained on and tested


@pytest.mark.parametrize("arm", TRAINED)
def test_no_tested_case_is_trained_on_and_only_a_split_by_scan_shares_people(cases, arm):
    n = 8 if arm != "3D-uint8" else 4
    if arm == "3D-by-scan":
        n = 24
    for seed in range(5):
        parts = EXPERIMENT._parts(grid_of(arm, n), cases, ARMS[arm], n, seed)
        test = parts["test"] if arm != "3D-by-scan" else first_of_each(cases, parts["test"])
        assert len(parts["train"]) == n == len(set(parts["train"])) and not set(parts["train"]) & set(test)
        shared = set(cases.group[parts["train"]]) & set(cases.group[test])
        assert bool(shared) is (arm == "3D-by-scan")
        assert not set(cases.group[parts["val"]]) & (set(cases.group[parts["train"]]) | set(cases.group[test]))
        if arm in ("3D-float32", "3D-uint8"):
            assert set(cases.about["stored"][parts["train"]]) == {arm[3:]}


def test_training_sets_are_nested_over_sizes(cases):
    small, large = (set(EXPERIMENT._parts(GRID, cases, ARMS["3D"], n, 2)["train"]) for n in (4, 8))
    assert small < large


# runs


@pytest.fixture(scope="module")
def trained(cases):
    return EXPERIMENT.train_run(run(), GRID, cases, CPU)


def test_one_run_gives_rows_of_all_that_is_computed_with_it(cases, trained):
    table = trained[0].predictions
    assert set(table["arm"]) == {"3D", *EXPERIMENT.computed_with("3D")}
    measured = set(table["case"].str.rpartition("/")[2])
    assert {"dice", "dice-front", "hd95-back", "surface-front", "volume-back", "consistency-z"} <= measured
    assert set(table["split"]) == {"test", "test-thick", "test-first", "test-float32", "test-uint8"}
    test = table.query("arm == '2D' and split == 'test'")
    assert len(test) == 8 * len(measured) and set(test["group"]) == {f"person{p:02d}" for p in (0, 5, 10, 15)}
    assert set(table.query("arm == '3D' and split == 'test-first'")["case"].str.partition("/")[0]) == {
        "case00", "case10", "case20", "case30"
    }  # fmt: skip


def test_a_run_is_the_same_again_and_its_weights_predict_its_rows(cases, trained):
    again, _ = EXPERIMENT.train_run(run(), GRID, cases, CPU)
    pd.testing.assert_frame_equal(again.predictions, trained[0].predictions)
    pd.testing.assert_frame_equal(EXPERIMENT.predict(run(), GRID, trained[1], cases, CPU), trained[0].predictions)


def test_history_has_one_row_a_validation_and_the_loss_of_each_network(trained):
    rows = trained[0].history
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[0]["val_loss"] == pytest.approx(np.mean([rows[0][f"val_loss_{n}"] for n in (VOLUME, *AXES)]))


def test_a_split_by_scan_is_scored_on_first_sides_alone(cases):
    entry, _ = EXPERIMENT.train_run(run("3D-by-scan", 24), grid_of("3D-by-scan", 24), cases, CPU)
    assert set(entry.predictions["split"]) == {"test-first"}
    assert set(entry.predictions["arm"]) == {"3D-by-scan", "2D-by-scan"}


def test_a_size_may_have_more_updates_and_as_many_validations(cases):
    entry, _ = EXPERIMENT.train_run(run(), grid_of("3D", steps_at={"8": 6}), cases, CPU)
    assert [row["step"] for row in entry.history] == [3, 6] and entry.record["steps"] == 6


def test_a_grid_without_all_axes_gives_no_vote(cases):
    grid = grid_of("3D")
    arms = set(EXPERIMENT.train_run(run(), grid, cases, CPU)[0].predictions["arm"])
    assert {"2D", "ensemble"} <= arms and not {"2D-vote", "2D-coronal"} & arms


def test_slices_and_volumes_may_have_rates_of_their_own(cases):
    plain, other = grid_of("3D"), grid_of("3D", slice_rates={"8": 1e-2})
    assert EXPERIMENT.decides(run(), plain) != EXPERIMENT.decides(run(), other)
    record = EXPERIMENT.train_run(run(), other, cases, CPU)[0].record
    assert record["slice_rate"] == 1e-2


def test_an_atlas_draws_what_most_training_cases_have_there(cases):
    table = EXPERIMENT.train_run(run("atlas"), grid_of("atlas"), cases, CPU)[0].predictions
    dice = table[table["case"].str.endswith("/dice")]["prediction"]
    assert 0.3 < dice.mean() < 0.95
    with pytest.raises(RunError, match="no network"):
        EXPERIMENT.predict(run("atlas"), GRID, {}, cases, CPU)


def test_a_pilot_predicts_validation_cases(cases):
    parts = EXPERIMENT._parts(replace(GRID, pilot=True), cases, ARMS["3D"], 8, 0)
    assert set(parts["test"]) == set(parts["val"])


# what is refused


@pytest.mark.parametrize(("change", "words"), [
    ({"patch": (16, 16, 12)}, "patch must be"), ({"window": (8, 8, 8)}, "window must be"),
    ({"all_axes": (5,)}, "all_axes names"), ({"folds": 2}, "folds must be"), ({"steps_at": {"8": 0}}, "steps_at must"),
    ({"slice_rates": {"9": 1e-3}}, "slice_rates names"), ({"width": 0}, "width must"),
])  # fmt: skip
def test_impossible_grids_are_refused(change, words):
    with pytest.raises(ParamsError, match=words):
        replace(GRID, **change)


def test_cases_without_masks_of_the_window_are_refused(cases):
    with pytest.raises(DataError, match="images and masks are"):
        EXPERIMENT.check(replace(GRID, window=(24, 24, 24)), cases)
    with pytest.raises(DataError, match="it has no masks"):
        EXPERIMENT.read("pvs", Path("x"), GRID)
    with pytest.raises(DataError, match="cannot be drawn"):
        EXPERIMENT.check(grid_of("3D-by-scan", 40), cases)


# slices as they are far apart


def test_networks_on_volumes_see_thick_slices_interpolated_and_answer_for_each(cases):
    grid = grid_of("3D", slice_mm=1.25)
    assert [grid.parts_of(apart) for apart in (0.45, 1.25, 1.8, 2.0, 2.5, 5.0)] == [1, 1, 1, 2, 2, 4]
    assert GRID.parts_of(2.5) == 1, "unless the grid asks for it"
    seen = batches.interpolated(torch.tensor([0.0, 4.0]).view(2, 1, 1), 2)
    assert seen.flatten().tolist() == [0, 1, 3, 4], "between the middles of slices"
    net, image = networks.build(VOLUME, 3, 2, seed=0).eval(), torch.randn(9, 13, 17)
    with torch.inference_mode():
        each = networks.probabilities(net, VOLUME, batches.interpolated(image, 2))
        found = networks.probabilities(net, VOLUME, image, finer=2)
        alike = [networks.logits(net, VOLUME, image, finer=times).softmax(0) for times in (1, 2)]
    assert torch.allclose(found, each.view(3, 9, 2, 13, 17).mean(2), atol=1e-5)
    assert not torch.allclose(*alike, atol=1e-3)


def test_training_on_interpolated_slices_keeps_labels_with_their_image(cases):
    drawn = Batches(cases, np.arange(12), VOLUME, (16, 16, 16), 2, seed=0, finer=[1, 2] * 6)
    assert drawn.image.shape[2] == 2 * WINDOW[0] and set(drawn.label.unique().tolist()) == {0, 1, 2}
    depth = (drawn.high - drawn.low)[:, 0].tolist()
    assert depth == [n * t for n, t in zip(cases.about["shape_z"][:12], [1, 2] * 6, strict=True)]
    assert drawn.image[drawn.label > 0].mean() < drawn.image[drawn.label == 0].mean() - 1
    image, label = drawn.draw(torch.arange(2), 3)
    assert image.shape == (2, 1, 16, 16, 16) and image[label > 0].mean() < image[label == 0].mean() - 1
    flat = Batches(cases, np.arange(12), "z", (16, 16, 16), 2, seed=0, finer=[1, 2] * 6)
    plain = Batches(cases, np.arange(12), "z", (16, 16, 16), 2, seed=0)
    assert torch.equal(flat.image, plain.image) and len(flat) == 12 and len(plain) == len(plain.image)


def test_of_cases_with_few_and_with_many_slices_each_is_drawn_as_often(cases, monkeypatch):
    few = replace(cases, about=cases.about.assign(shape_z=[2, 20] * 20))
    monkeypatch.setattr(batches, "MOVED", 0.0)
    for name in ("GAIN", "OFFSET", "NOISE"):
        monkeypatch.setattr(batches, name, 0.0)
    drawn = Batches(few, np.arange(4), "z", (16, 24, 24), 2, seed=0, finer=[2, 1] * 2)
    assert drawn.slices.tolist() == [2, 20, 2, 20] and len(drawn) == 4
    of = torch.arange(4).repeat_interleave(drawn.slices)
    drawn.image = (1.0 + of).view(-1, 1, 1, 1).expand(-1, 1, *WINDOW[1:])
    seen, _ = drawn.draw(torch.arange(4).repeat(50), 0)
    assert torch.equal(seen.amax((1, 2, 3)).round() - 1, torch.arange(4.0).repeat(50)), "slices of the case asked for"
    drawn.image = torch.arange(1.0, 45).view(-1, 1, 1, 1).expand(-1, 1, *WINDOW[1:])
    seen = drawn.draw(torch.ones(400, dtype=torch.long), 0)[0].amax((1, 2, 3)).round().unique()
    assert seen.tolist() == list(range(3, 23)), "all of them"


def test_a_run_on_interpolated_slices_has_scores_of_its_own_and_predicts_them_again(cases):
    far = replace(cases, spacing_mm=np.full((40, 3), [2.0, 1, 1]))
    grid = grid_of("3D", slice_mm=1.0)
    entry, weights = EXPERIMENT.train_network(run(), grid, far, CPU, None, None)
    assert entry.predictions.equals(EXPERIMENT.predict(run(), grid, weights, far, CPU))
    plain, _ = EXPERIMENT.train_network(run(), grid_of("3D"), far, CPU, None, None)
    assert set(entry.predictions["split"]) < set(plain.predictions["split"]), "none is thickened"
    assert "val_dice_2D" not in entry.record
    piloted, _ = EXPERIMENT.train_network(run(), replace(grid, pilot=True), far, CPU, None, None)
    dice = piloted.predictions.query("arm == '2D' and split == 'test' and case.str.endswith('/dice')")["prediction"]
    assert piloted.record["val_dice_2D"] == pytest.approx(dice.mean())
    assert EXPERIMENT.decides(run(), grid) != EXPERIMENT.decides(run(), grid_of("3D"))


def test_slices_are_not_interpolated_where_training_cuts_or_thickens_them():
    for arm in ("3D-patches", "3D-thick"):
        with pytest.raises(ParamsError, match=f"slice_mm does not go with arms.{arm}"):
            grid_of(arm, slice_mm=1.0)
    with pytest.raises(ParamsError, match="above 0"):
        grid_of("3D", slice_mm=0)
