"""Metastases on slides: rows for every arm, and scores that are those of the official rule."""

import importlib.util
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from fewscans import store
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import camelyon16
from fewscans.experiments.camelyon16 import EXPERIMENT, Grid, density, lesion_rows, roughness
from fewscans.experiments.camelyon16.arms import ARMS, SMALL
from fewscans.nn import efficientnet, inception
from fewscans.slides import patches
from fewscans.slides.cells import NORMAL, NOTHING
from fewscans.slides.detections import suppress
from fewscans.slides.heatmap import turned
from fewscans.stats.froc import camelyon16_froc
from fewscans.stats.resample import Resampled

from ..slides.fake import FakeSlide
from . import toy_slides
from .toy_slides import GRID, MPP, N, run_of, trained

CPU = torch.device("cpu")
NETWORKS = [arm for arm, spec in ARMS.items() if spec.trivial is None and spec.computed_with is None]


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    return toy_slides.read(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def few(slides):
    return toy_slides.few(slides)


def picked(table, arm, split="test"):
    return table.query("arm == @arm and split == @split")


# Runs


def with_imagenet(file):
    """The grid of the arm that starts from ImageNet weights, with weights made up under torchvision's names."""
    state = inception.InceptionV3().towers[0].state_dict()
    state["Conv2d_1a_3x3.bn.bias"] += 0.5
    torch.save(state | {"fc.weight": torch.zeros(1000, 2048), "AuxLogits.fc.bias": torch.zeros(9)}, file)
    return replace(GRID, patch=75, imagenet=str(file), steps=1, eval_every=1, batch_size=2, validation=2)


@pytest.mark.parametrize("arm", NETWORKS)
def test_every_arm_trains_and_predicts_every_test_slide(slides, arm, tmp_path):
    if arm == "lite0-imagenet" and importlib.util.find_spec(efficientnet.PACKAGE) is None:
        pytest.skip(f"{efficientnet.PACKAGE} is not installed")
    large = arm == "40x-imagenet"
    few, grid = toy_slides.few(slides, 2 if large else 8), with_imagenet(tmp_path / "made up.pt") if large else GRID
    grid, told = replace(grid, arms={arm: (N,)}), []
    EXPERIMENT.check(grid, few)
    table, entry, weights = trained(arm, few, grid, on_step=told.append)
    assert list(table.columns) == list(store.COLUMNS) and table["prediction"].between(0, 1).all()
    assert list(dict.fromkeys(table["arm"])) == EXPERIMENT.arm_names(grid)
    for (_, split), rows in table.groupby(["arm", "split"]):
        if split in ("test", "test-independent", "test-roughness"):
            index = few.indices("independent" if split == "test-independent" else "test")
            assert rows["case"].tolist() == rows["group"].tolist() == few.case[index].tolist()
            assert split == "test-roughness" or rows["target"].tolist() == few.target[index].tolist()
        assert not rows["case"].duplicated().any()
    many = {"test-roughness", "test-lesions", "test-cells"} if arm != "overview" else set()
    for _, rows in table.groupby("arm"):
        assert set(rows["split"]) == {"test", "test-independent"} | many
        assert (rows["split"] == "test-lesions").sum() == (4 + 4 * 100 if many else 0)
    assert sum(told) == EXPERIMENT.steps(run_of(arm), grid) and EXPERIMENT.work(run_of(arm), grid) > 0
    assert entry.record["parameters"] > 0 and entry.history[-1]["step"] == grid.steps
    assert EXPERIMENT.predict(run_of(arm), grid, weights, few, CPU).equals(table), "the weights are all that it needs"
    if large:
        assert weights["0/towers.0.Conv2d_1a_3x3.bn.bias"].sub(0.5).abs().max() < 0.01


def test_the_network_of_the_paper_is_asked_patch_by_patch(slides):
    grid = replace(GRID, network="inception", small=0.1, patch=75, validation=2)
    table, entry, _ = trained(SMALL, toy_slides.few(slides, 2), grid)
    assert entry.record["parameters"] == 281_571 and np.isfinite(table["prediction"]).all()


def test_a_run_gives_the_same_bytes_twice_and_after_it_was_cut(few, tmp_path):
    class Cut(Exception):
        """Stands in for a kill."""

    def cut(steps):
        done.append(steps)
        if len(done) == 3:
            raise Cut

    done = []
    with pytest.raises(Cut):
        trained(SMALL, few, checkpoint=tmp_path / "c", on_step=cut)
    made = [trained(SMALL, few), trained(SMALL, few), trained(SMALL, few, checkpoint=tmp_path / "c")]
    for k, (table, *_) in enumerate(made):
        store.write_table(table, tmp_path / f"{k}.parquet")
    assert len({(tmp_path / f"{k}.parquet").read_bytes() for k in range(3)}) == 1
    assert len({str(entry.history) for _, entry, _ in made}) == 1
    assert all(torch.equal(weights[name], made[0][2][name]) for *_, weights in made for name in weights)
    assert trained(SMALL, few, seed=1)[1].history != made[0][1].history


def test_nothing_of_the_test_slides_reaches_training(few):
    blank = [np.full_like(cells, NOTHING) if split in ("test", "independent") else cells
             for cells, split in zip(few.cells, few.split, strict=True)]  # fmt: skip
    target = np.where(few.split == "test", 1 - few.target, few.target)
    table, entry, _ = trained(SMALL, few)
    changed, entry_too, _ = trained(SMALL, replace(few, cells=tuple(blank), target=target))
    assert entry.history == entry_too.history
    assert set(picked(changed, SMALL)["prediction"]) == {0.0} != set(picked(table, SMALL)["prediction"])


@pytest.fixture(scope="module")
def ensemble(few):
    return trained("ensemble-5", few)


@pytest.mark.parametrize("members", [1, 3, 5])
def test_an_ensemble_is_the_mean_of_its_members_heatmaps(few, ensemble, members):
    table, _, weights = ensemble
    spec, i = ARMS["ensemble-5"], camelyon16.shown(few)[0]
    nets = camelyon16.networks(spec, GRID, weights, CPU)
    each = camelyon16.heatmaps(nets, few, i, few.geometry, CPU)
    assert len(each) == 5 and not np.allclose(each[0], each[1], equal_nan=True)
    found = picked(table, f"ensemble-{members}", "test-cells").query("group == @few.case[@i]")["prediction"]
    mean = np.mean(each[:members], axis=0)
    np.testing.assert_allclose(found, mean[np.isfinite(mean)], atol=1e-6)
    assert picked(table, f"ensemble-{members}").set_index("case")["prediction"][few.case[i]] == np.nanmax(mean)


def test_the_averaged_arm_does_not_see_how_a_slide_lies_and_the_plain_one_does(few, monkeypatch):
    """On slides of whole cells; patches of an even side lie evenly about their cells."""
    images = np.random.default_rng(0).integers(0, 256, (len(few), 96, 128, 3), dtype=np.uint8)
    _, _, weights = trained(SMALL, few)
    tables = []
    for k in range(8):
        moved = [turned(torch.from_numpy(x).permute(2, 0, 1), k).permute(1, 2, 0).numpy() for x in images]
        cells = tuple(np.zeros((len(x) // 16, len(x[0]) // 16), np.int8) for x in moved)
        monkeypatch.setattr(patches, "open_case", lambda _, i, *rest, moved=moved: FakeSlide(moved[i]))
        lies = replace(few, cells=cells, lesion=cells)
        tables.append(EXPERIMENT.predict(run_of(SMALL, seed=1), GRID, weights, lies, CPU))
    for arm, same in ((f"{SMALL}-averaged", True), (SMALL, False)):
        scores = np.array([picked(table, arm)["prediction"] for table in tables])
        assert (np.ptp(scores, axis=0).max() < 1e-6) == same


def test_the_trivial_arm_knows_tissue_alone(slides):
    table, entry, weights = trained("tissue", slides, seed=1)
    assert weights == {} and entry.history == [] and entry.record == {"parameters": 0, "macs": 0}
    assert set(table["split"]) == {"test", "test-independent", "test-lesions", "test-roughness"}
    assert table["prediction"].between(0, 1).all()
    assert set(trained("tissue", slides)[0]["split"]) == {*table["split"], "test-cells"}, "heatmaps of seed 0"
    tissue = np.zeros((40, 40), bool)
    tissue[:, :20] = True
    made = density(tissue)
    assert np.isnan(made[:, 20:]).all() and made[20, 5] > 0.95 and made[20, 19] == pytest.approx(0.5, abs=0.1)


def test_roughness_is_0_of_a_constant_map_and_1_of_a_checkerboard():
    checks = np.indices((6, 7)).sum(axis=0) % 2.0
    assert roughness(np.full((6, 7), 0.3)) == 0 and roughness(checks) == 1
    checks[2, 3] = np.nan
    assert roughness(checks) == 1 and roughness(np.full((3, 3), np.nan)) == 0


# Lesions


def test_a_lesion_has_its_best_detection_and_other_detections_are_false_alarms(slides):
    i = slides.case.tolist().index("test_001")
    assert slides.lesions[i] == ("test_001/micro 1", "test_001/itc 2")
    probability = np.where(slides.cells[i] == NOTHING, np.nan, 0.1)
    (row, column), *_ = np.argwhere(slides.lesion[i] == 1)
    probability[row, column], probability[row + 7, column] = 0.7, 0.9
    itc = np.argwhere(slides.lesion[i] == 2)[0]
    probability[tuple(itc)] = 0.8
    probability[np.nonzero((slides.lesion[i] == 0) & (slides.cells[i] == NORMAL))] = 0.1
    assert slides.lesion[i][row + 7, column] == 1
    outside = [(3, 14), (22, 12)]
    for place, p in zip(outside, (0.6, 0.95), strict=True):
        assert slides.lesion[i][place] == 0 and slides.cells[i][place] != NOTHING
        probability[place] = p
    found = lesion_rows(probability, slides, i)
    assert found[:2] == [("test_001/micro 1", 1.0, 0.9), ("test_001/itc 2", 1.0, 0.8)]
    assert len(found) == 102 and [p for _, _, p in found[2:]] == [0.95, 0.6] + [0.0] * 98
    assert {target for _, target, _ in found[2:]} == {0.0} and len({case for case, *_ in found}) == 102
    assert lesion_rows(np.full_like(probability, 0.4), slides, i)[0] == ("test_001/micro 1", 1.0, 0.0), "missed"


@pytest.mark.parametrize("seed", range(4))
def test_the_froc_score_of_the_rows_is_the_official_one_of_masks_and_coordinates(slides, monkeypatch, seed):
    from scipy import ndimage

    rng, maps = np.random.default_rng(seed), []

    def guess(tissue):
        """Smooth by chance."""
        p = ndimage.gaussian_filter(rng.normal(size=tissue.shape), 1.5)
        maps.append(np.where(tissue, np.round(0.5 + p, 2).clip(0, 1), np.nan))
        return maps[-1]

    monkeypatch.setattr(camelyon16, "density", guess)
    table, _, _ = trained("tissue", slides, seed=1)
    test = slides.indices("test")
    detections = {str(slides.case[i]): suppress(p, slides.geometry) for i, p in zip(test, maps, strict=False)}
    masks = {name: np.where(toy_slides.tumour(name, 2), np.uint8(255), np.uint8(0)) for name in detections}
    masks["test_002"] = None
    assert sum(len(found) for found in detections.values()) > 8
    for name, per, rate in (("lesion_froc", "slide", None), ("lesion_froc:negative@1", "negative slide", 1)):
        made = Resampled(table, name, n_bootstrap=100, reference=slides.truth).values("tissue", N)[0]
        official = camelyon16_froc(masks, detections, per, level=2, microns_per_pixel=MPP)
        assert made == pytest.approx(official.score(rate), abs=1e-12)
    assert official.score(8) > 0


class Middle(torch.nn.Module):
    """Sure of tumour where the pixel in the middle of the patch is dark."""

    def forward(self, patch):
        return torch.where(patch[:, 0, 20, 20] < 0.25, 9.0, -9.0)


@pytest.mark.parametrize("name", toy_slides.SIZES)
def test_heatmap_lesion_and_level_0_agree_on_a_slide_of_odd_sides(slides, name):
    from scipy import ndimage

    i = slides.case.tolist().index(name)
    (probability,) = camelyon16.heatmaps([Middle()], slides, i, slides.geometry, CPU)
    found, outlined = suppress(probability, slides.geometry, radius=0), toy_slides.tumour(name)
    assert len(found) > 50 and slides.about["width"][i] % 16 and slides.about["height"][i] % 16
    x, y = found[["x", "y"]].to_numpy(int).T
    assert outlined[y, x].all(), "a detection's place in pixels of level 0 shows what was detected"
    assert (slides.lesion[i][found["row"], found["column"]] > 0).all()
    row, column = np.nonzero(slides.cells[i] != NOTHING)
    x, y = (axis.astype(int) for axis in slides.geometry.centre(row, column))
    assert outlined[y, x].sum() == len(found), "nothing else is detected, and nothing is left out"
    away = (ndimage.distance_transform_edt(~outlined) * MPP)[y, x]  # µm; masks have pixels of 7.8
    lesion = slides.lesion[i][row, column] > 0
    assert lesion[away < 37.5 - 7.8].all() and not lesion[away > 37.5 + 7.8].any()


# Grids and data that cannot be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": {SMALL: (3,)}}, r"arms.40x-small: half of the slides have tumour, so sizes are even, got \[3\]"),
        ({"arms": {SMALL: ()}}, "sizes are even"),
        ({"arms": {f"{SMALL}-mislabelled": (4,)}}, "2 slides are mislabelled; train on more"),
        ({"arms": {f"{SMALL}-averaged": (4,)}}, "it is computed along with 40x-small"),
        ({"arms": {"40x-imagenet": (4,)}}, "arms.40x-imagenet: imagenet must name a file.*got ''"),
        ({"network": "resnet"}, "network must be one of dense, inception, got 'resnet'"),
        ({"optimiser": "sgd"}, "optimiser must be one of adam, rmsprop, got 'sgd'"),
        ({"learning_rates": (0.0,)}, "learning_rates and microns_per_pixel must be above 0"),
        ({"microns_per_pixel": 0.0}, "must be above 0"),
        ({"halve_examples": 0}, "halve_examples must be at least 1"),
    ],
)
def test_an_impossible_grid_names_what_is_wrong(change, message):
    with pytest.raises(ParamsError, match=message):
        replace(GRID, **change)


def test_another_data_set_is_refused(tmp_path):
    with pytest.raises(
        DataError, match="the experiment camelyon16 cannot read 'luna16-patches': its cases are no slides"
    ):
        EXPERIMENT.read("luna16-patches", tmp_path, GRID)


def test_slides_that_cannot_carry_the_grid_are_refused_before_anything_is_trained(slides):
    EXPERIMENT.check(GRID, slides)
    with pytest.raises(DataError, match="subset of 10 cases is impossible.*largest"):
        EXPERIMENT.check(replace(GRID, arms={SMALL: (4, 10)}), slides)
    no_tumour = tuple(np.minimum(cells, NORMAL) for cells in slides.cells)
    with pytest.raises(DataError, match="no slide of the train split shows tumour"):
        EXPERIMENT.check(GRID, replace(slides, cells=no_tumour))
    split = np.where((slides.split == "test") & (slides.target == 1), "independent", slides.split)
    with pytest.raises(DataError, match="the test split lacks slides with tumour, or without"):
        EXPERIMENT.check(GRID, replace(slides, split=split))


CHANGED = {
    "steps": 5, "eval_every": 1, "patch": 44, "stride": 32, "microns_per_pixel": 1.0, "network": "inception",
    "small": 5, "batch_size": 5, "validation": 9, "overview": 64, "optimiser": "rmsprop", "halve_examples": 7,
}  # fmt: skip
ELSEWHERE = {
    "full": 9, "seeds": 3, "learning_rates": (0.5,), "tuning_seeds": 2, "imagenet": "elsewhere", "first_seed": 5,
    "seeds_at": {str(N): 2}, "rates": {SMALL: {str(N): 0.5}},
}  # fmt: skip


def test_each_parameter_either_decides_a_run_or_chooses_among_runs():
    assert set(CHANGED) | set(ELSEWHERE) | {"arms"} == {field.name for field in fields(Grid)}
    before = EXPERIMENT.decides(run_of(SMALL), GRID)
    for name, value in (CHANGED | ELSEWHERE).items():
        after = EXPERIMENT.decides(run_of(SMALL), replace(GRID, **{name: value}))
        assert (after != before) == (name in CHANGED), name
