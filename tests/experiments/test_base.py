"""What holds for every experiment, so that sweeps, figures and claims need to know none of them."""

import re

import pytest

from fewscans import experiments
from fewscans.errors import DataError, ParamsError
from fewscans.experiments import base, gcnn, hydranet

from ..malformed import medmnist3d, wmh2017

PLAIN = {"arms": {"Z2": (10, 20)}, "seeds": 2, "steps": 1, "eval_every": 1, "learning_rates": (1e-3,)}
every_experiment = pytest.mark.parametrize("name", experiments.names())


def test_experiments_are_found_by_name_and_an_unknown_one_lists_them():
    assert {"gcnn", "hydranet"} <= set(experiments.names())
    assert not {"base", "baselines"} & set(experiments.names())
    with pytest.raises(ParamsError, match="unknown experiment 'rnn'; known: .*gcnn.*hydranet"):
        experiments.get("rnn")


@every_experiment
def test_an_experiment_is_whole(name):
    experiment = experiments.get(name)
    assert isinstance(experiment, base.Experiment) and experiment.name == name
    assert experiment.target in ("label", "number") and experiment.smallest_n >= 1
    assert issubclass(experiment.Grid, base.Grid) and experiment.Grid.ARMS is experiment.ARMS


@every_experiment
def test_every_arm_can_be_drawn_and_what_it_refers_to_exists(name):
    arms = experiments.get(name).ARMS
    for arm, spec in arms.items():
        assert isinstance(spec, base.Arm) and spec.label and re.fullmatch("#[0-9A-Fa-f]{6}", spec.colour), arm
        assert {spec.computed_with, spec.derived_from} <= {None, *arms} - {arm}, arm
        if spec.computed_with is not None:
            assert arms[spec.computed_with].computed_with is None and spec.trivial is None, arm


@every_experiment
def test_how_an_arm_is_drawn_is_no_part_of_what_trains_it(name):
    for spec in experiments.get(name).ARMS.values():
        assert not {"label", "colour", "marker", "line", "derived_from"} & set(spec.training())


def test_the_arms_of_a_table_are_those_trained_each_followed_by_what_is_computed_with_it():
    grid = gcnn.Grid(arms={"p4m": (10,), "Z2": (10,)}, seeds=1, steps=1, eval_every=1, learning_rates=(1e-3,))
    assert gcnn.EXPERIMENT.arm_names(grid) == ["p4m", "Z2", "Z2-tta-p4", "Z2-tta-p4m"]
    assert [gcnn.ARMS[arm].computed_with for arm in ("Z2-tta-p4m", "p4m")] == ["Z2", None]


def test_some_sizes_may_have_more_seeds_and_pilots_count_theirs_from_another_number():
    grid = gcnn.Grid(**PLAIN | {"first_seed": 100, "seeds_at": {"20": 4}})
    planned = gcnn.EXPERIMENT.plan(grid, {})
    assert {n: [run.seed for run in planned if run.n_train == n] for n in (10, 20)} == {
        10: [100, 101], 20: [100, 101, 102, 103],
    }  # fmt: skip


def test_a_size_may_have_updates_of_its_own_and_is_validated_as_often():
    grid = gcnn.Grid(**PLAIN | {"steps": 100, "eval_every": 20, "steps_at": {"10": 50}})
    assert [(grid.steps_of(n), grid.every_of(n)) for n in (10, 20)] == [(50, 10), (100, 20)]


def test_a_rate_that_pilots_have_chosen_is_not_tried_again():
    grid = gcnn.Grid(**PLAIN | {"learning_rates": (1e-3, 3e-3), "rates": {"Z2": {"10": 2e-3}}})
    planned = gcnn.EXPERIMENT.plan(grid, {})
    assert {run.learning_rate for run in planned if run.n_train == 10} == {2e-3}
    assert {run.learning_rate for run in planned if run.n_train == 20} == {1e-3, 3e-3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds_at": {"30": 4}}, "seeds_at names the size '30', which no arm of the grid has"),
        ({"rates": {"p4m": {"10": 1e-3}}}, "rates.p4m names the size '10', which no arm of the grid has there"),
        ({"steps_at": {"30": 4}}, "steps_at names the size '30', which no arm of the grid has"),
        ({"first_seed": -1}, "first_seed is from 0"),
    ],
)
def test_seeds_and_rates_of_sizes_that_the_grid_lacks_are_named(change, message):
    with pytest.raises(ParamsError, match=message):
        gcnn.Grid(**PLAIN | change)


@pytest.mark.parametrize(
    ("experiment", "dataset", "lacks"), [("gcnn", "pvs", "label"), ("hydranet", "luna16", "number")]
)
def test_an_experiment_reads_no_data_set_whose_cases_lack_its_target(experiment, dataset, lacks, tmp_path):
    with pytest.raises(DataError, match=f"experiment {experiment} cannot read '{dataset}': its cases have no {lacks}"):
        experiments.get(experiment).read(dataset, tmp_path, None)


def test_an_unknown_data_set_is_named_with_those_that_can_be_read(tmp_path):
    with pytest.raises(DataError, match="unknown data set 'wsi'; known: adrenalmnist3d, .*luna16-patches"):
        gcnn.EXPERIMENT.read("wsi", tmp_path, None)


def test_images_are_cut_as_the_grid_says():
    common = {"seeds": 1, "steps": 1, "eval_every": 1}
    space = gcnn.Grid(
        arms={"Z3": (10,)}, learning_rates=(1e-3,), patch=(4, 16, 16), spacing_mm=(3.0, 1.5, 1.5), negatives_per_scan=8,
        train_negatives=1000, **common,
    )  # fmt: skip
    cut = gcnn.EXPERIMENT.cut(space)
    assert (cut.size, cut.window, cut.spacing_mm) == ((4, 16, 16), (4, 16, 16), (3.0, 1.5, 1.5))
    assert cut.margin == gcnn.margin((4, 16, 16)) and (cut.negatives_per_scan, cut.train_negatives) == (8, 1000)
    common |= {"learning_rates": (3e-3,), "warm_up": 0}
    number = hydranet.Grid(arms={"base": (12,)}, window=(4, 6, 4), downsample=2, unit="voxels", **common)
    cut = hydranet.EXPERIMENT.cut(number)
    assert (cut.size, cut.window, cut.unit) == ((2, 3, 2), (4, 6, 4), "voxels")


def test_what_an_experiment_reads_it_can_be_trained_on(tmp_path):
    """Whole volumes padded and averaged, scans cut to their window: neither is refused afterwards."""
    common = {"seeds": 1, "steps": 1, "eval_every": 1}
    shapes = gcnn.Grid(
        arms={"Z3": (2,), "volume": (2,)}, learning_rates=(1e-3,), patch=(12, 12, 12), downsample=2, **common
    )
    file = medmnist3d.write(tmp_path / "adrenalmnist3d.npz")
    cases = gcnn.EXPERIMENT.read("adrenalmnist3d", file, shapes)
    gcnn.EXPERIMENT.check(shapes, cases)
    assert cases.images.shape[1:] == (14, 14, 14), "the margin is for augmentation"
    common |= {"learning_rates": (3e-3,), "warm_up": 0}
    scans = hydranet.Grid(arms={"base": (4,), "histogram": (4,)}, window=(6, 12, 10), downsample=2, **common)
    folder = wmh2017.write(tmp_path / "wmh2017")
    cases = hydranet.EXPERIMENT.read("wmh2017", folder, scans, tmp_path / "cache")
    hydranet.EXPERIMENT.check(scans, cases)
    assert cases.images.shape[1:] == (3, 6, 5) and cases.unit == "ml"
