"""Loose patches: a slide's patches are scored by a network that saw none of them."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewscans import paths
from fewscans.data import registry
from fewscans.data.base import Cases
from fewscans.errors import DataError, FewscansError, ParamsError, RunError
from fewscans.experiments.base import Run
from fewscans.experiments.camelyon16 import EXPERIMENT, Grid, loose
from fewscans.experiments.camelyon16.arms import ARMS, SMALL
from fewscans.nn import efficientnet
from fewscans.slides.cells import Slides
from fewscans.stats.auc import auc

CPU, SIDE, N = torch.device("cpu"), 48, 8
COUNTS = {"a": (0, 5), "b": (3, 0), "c": (6, 4), "d": (5, 5)}  # slide → (normal, tumour) patches
GRID = Grid(
    arms={SMALL: (N,)}, seeds=2, steps=4, eval_every=2, learning_rates=(1e-2,), patch=40, stride=16, network="dense",
    small=4, optimiser="adam", batch_size=4, validation=6,
)  # fmt: skip


def made() -> Cases:
    """Tumour is dotted and normal tissue is not, both of the same mean colour."""
    rng = np.random.default_rng(0)
    group = np.array([slide for slide, counts in COUNTS.items() for _ in range(sum(counts))])
    target = np.array([label for counts in COUNTS.values() for label in (0, 1) for _ in range(counts[label])])
    images = rng.normal((200, 130, 180), 8, (len(group), SIDE, SIDE, 3))
    dots = np.where(rng.random((len(group), SIDE // 4, SIDE // 4)) < 0.3, -90, 90 * 3 / 7).repeat(4, 1).repeat(4, 2)
    images += target[:, None, None, None] * dots[..., None] * 0.6
    return Cases(
        images=np.clip(images, 0, 255).astype(np.uint8), target=target, group=group, fingerprint="loose",
        case=np.array([f"{slide}{i}" for i, slide in enumerate(group)]), path=Path("loose"),
        split=np.where(np.isin(group, ("c", "d")), "test", "train"),
    )  # fmt: skip


CASES = made()


def trained(arm=SMALL, cases=CASES, grid=GRID, seed=0, **options):
    run = Run(seed, N, arm, 0.0 if ARMS[arm].trivial else 1e-2)
    entry, weights = EXPERIMENT.train_run(run, grid, cases, CPU, **options)
    return entry.predictions, entry, weights


def swapped(slide):
    """Another slide in its place: images of noise, labels exchanged."""
    here = CASES.group == slide
    noise = np.random.default_rng(1).integers(0, 256, CASES.images.shape, dtype=np.uint8)
    images = np.where(here[:, None, None, None], noise, CASES.images)
    return replace(CASES, images=images, target=np.where(here, 1 - CASES.target, CASES.target))


def test_what_trains_and_what_validates_is_of_other_slides_and_apart():
    for slide in loose.folds(CASES):
        chosen, rest = loose.divided(CASES, slide, N, seed=3)
        assert np.bincount(CASES.target[chosen]).tolist() == [N // 2, N // 2]
        assert sorted([*chosen, *rest]) == np.flatnonzero(CASES.group != slide).tolist()
        assert loose.divided(CASES, slide, 4, seed=3)[0].tolist() == chosen[:4].tolist()


def test_a_network_is_the_same_whatever_the_slide_shows_that_it_scores():
    before, after = trained()[2], trained(cases=swapped("c"))[2]
    same = {name: torch.equal(value, after[name]) for name, value in before.items() if value.is_floating_point()}
    assert all(equal for name, equal in same.items() if name.startswith("0/"))
    assert not all(equal for name, equal in same.items() if name.startswith("1/"))


def test_a_trivial_arm_does_not_look_at_the_labels_that_it_is_scored_by():
    here = CASES.group == "c"
    relabelled = replace(CASES, target=np.where(here, 1 - CASES.target, CASES.target))
    before, after = (trained("histogram", cases)[0].query("group == 'c'") for cases in (CASES, relabelled))
    assert before["prediction"].tolist() == after["prediction"].tolist()
    assert before["target"].tolist() != after["target"].tolist()


def test_the_histogram_knows_colours_and_not_their_places():
    mixed = np.random.default_rng(0).permuted(CASES.images.reshape(len(CASES), -1, 3), axis=1)
    before, after = (
        trained("histogram", c)[0] for c in (CASES, replace(CASES, images=mixed.reshape(CASES.images.shape)))
    )
    assert before.equals(after)
    assert auc(before["target"], before["prediction"]) > 0.9


def test_drawing_is_balanced_over_labels_and_then_over_slides():
    index = np.flatnonzero(CASES.group != "c")
    source = loose.Source(CASES, index, SIDE)
    images, labels = source.draw(4000, np.random.default_rng(0), jitter=False)
    assert float(labels.mean()) == pytest.approx(0.5, abs=0.03)
    slide = {image.tobytes(): str(group) for image, group in zip(CASES.images, CASES.group, strict=True)}
    drawn = np.array([slide[x.numpy().tobytes()] for x in images[0].permute(0, 2, 3, 1).contiguous()])
    shares = {(s, y): ((drawn == s) & (labels.numpy() == y)).mean() for s in "abd" for y in (0, 1)}
    expected = {("a", 0): 0, ("a", 1): 0.25, ("b", 0): 0.25, ("b", 1): 0, ("d", 0): 0.25, ("d", 1): 0.25}
    assert shares == pytest.approx(expected, abs=0.03)


def test_a_part_is_the_middle_or_anywhere_inside():
    images = np.arange(200 * 8 * 8 * 3).reshape(200, 8, 8, 3)
    assert torch.equal(loose.part(images, 4), torch.from_numpy(images[:, 2:6, 2:6]).permute(0, 3, 1, 2))
    corner = loose.part(images, 5, np.random.default_rng(0))[:, 0, 0, 0].numpy() - images[:, 0, 0, 0]
    assert {tuple(divmod(int(c) // 3, 8)) for c in corner} == {(y, x) for y in range(4) for x in range(4)}
    assert torch.equal(loose.part(images, 8, np.random.default_rng(0)), loose.part(images, 8))


def test_every_test_patch_has_a_row_an_arm_and_a_run_has_two_networks():
    told = []
    table, entry, weights = trained(on_step=told.append)
    for _, rows in table.groupby("arm"):
        test = CASES.indices("test")
        assert (
            rows["case"].tolist() == CASES.case[test].tolist() and rows["group"].tolist() == CASES.group[test].tolist()
        )
        assert rows["target"].tolist() == CASES.target[test].tolist() and set(rows["split"]) == {"test"}
        assert rows["prediction"].between(0, 1).all()
    assert list(dict.fromkeys(table["arm"])) == [SMALL, f"{SMALL}-averaged"]
    assert entry.record["networks"] == 2 and {name[:2] for name in weights} == {"0/", "1/"}
    assert entry.record["n_val"] == sum(len(CASES) - sum(COUNTS[slide]) - N for slide in "cd")
    assert sum(told) == pytest.approx(EXPERIMENT.steps(Run(0, N, SMALL, 1e-2), GRID))


def test_patches_are_told_apart_on_slides_that_were_not_trained_on():
    table, *_ = trained(grid=replace(GRID, steps=60, eval_every=20, batch_size=8))
    assert all(auc(rows["target"], rows["prediction"]) > 0.9 for _, rows in table.groupby(["arm", "group"]))


def test_the_mean_over_orientations_is_the_same_for_a_turned_patch_and_one_look_is_not():
    nets = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(1), torch.nn.Flatten(0)) for _ in "cd"]
    turned = replace(CASES, images=np.rot90(CASES.images, 1, (1, 2)))
    for orientations, same in ((8, True), (1, False)):
        one, other = (
            {i: p for i, (p,) in loose.scores(nets, c, 40, CPU, orientations).items()} for c in (CASES, turned)
        )
        assert (one == pytest.approx(other, abs=1e-6)) == same


@pytest.mark.parametrize("arm", [SMALL, "lite0", "lite0-imagenet"])
def test_a_run_gives_the_same_bytes_twice_whatever_was_drawn_before(arm):
    if arm == "lite0-imagenet" and importlib.util.find_spec(efficientnet.PACKAGE) is None:
        pytest.skip(f"{efficientnet.PACKAGE} is not installed")
    grid = replace(GRID, arms={arm: (N,)}, steps=2, eval_every=1)
    (table, entry, _), _, (again, entry_too, _) = trained(arm, grid=grid), torch.rand(7), trained(arm, grid=grid)
    assert table.equals(again) and entry.history == entry_too.history
    assert trained(arm, grid=grid, seed=1)[1].history != entry.history


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"arms": {"tissue": (N,)}}, ParamsError, "arms.tissue needs whole slides"),
        ({"arms": {"20x-small": (N,)}}, ParamsError, "arms.20x-small needs whole slides"),
        ({"arms": {"ensemble-5": (N,)}}, ParamsError, "arms.ensemble-5 needs whole slides"),
        ({"patch": 64}, ParamsError, "patch is 64, but the patches of loose have 48"),
        ({"arms": {SMALL: (18,)}}, DataError, "the largest balanced n is"),
        ({"arms": {SMALL: (16,)}}, DataError, "16 training patches for c leave none"),
    ],
)
def test_a_grid_that_loose_patches_cannot_carry_is_refused(change, error, words):
    grid = replace(GRID, arms={"lite0": (N,), f"{SMALL}-plain": (N,), "histogram": (N,)})
    EXPERIMENT.check(grid, CASES)
    with pytest.raises(error, match=words):
        EXPERIMENT.check(replace(grid, **change), CASES)


def test_slides_have_no_histogram_and_networks_of_slides_do_not_score_loose_patches():
    fields = {name: value for name, value in vars(CASES).items()}
    slides = Slides(**fields, cells=(), lesion=(), lesions=(), geometry=None)
    with pytest.raises(ParamsError, match=r"arms\.histogram"):
        EXPERIMENT.check(replace(GRID, arms={"histogram": (N,)}), slides)
    weights = {name: value for name, value in trained()[2].items() if name.startswith("0/")}
    with pytest.raises(RunError, match="a network for each of 2 slides"):
        EXPERIMENT.predict(Run(0, N, SMALL, 1e-2), GRID, weights, CASES, CPU)


def test_the_real_patches_are_read_as_they_are():
    try:
        folder = registry.find("camelyon16-patches", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of camelyon16-patches under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    found = EXPERIMENT.read("camelyon16-patches", folder, GRID)
    EXPERIMENT.check(replace(GRID, patch=224, arms={"lite0": (40,), "histogram": (40,)}), found)
    assert not isinstance(found, Slides) and found.images.shape == (89, 256, 256, 3)
    assert loose.folds(found) == ["tumor_064", "tumor_073"]
