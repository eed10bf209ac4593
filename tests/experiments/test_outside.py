"""A network from a file is an arm as any other; its file's code decides its runs, and nobody else's."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from fewscans import experiments, paths
from fewscans.data.base import Cases
from fewscans.errors import ParamsError
from fewscans.experiments import outside, own_arms
from fewscans.experiments.base import Run
from fewscans.experiments.gcnn import Grid
from fewscans.experiments.hydranet import Grid as NumberGrid
from fewscans.nn.outside import Outside, load

NET = '''
"""Twenty lines."""
import torch
from torch import nn


class SmallNet(nn.Module):
    def __init__(self, in_channels, patch):
        super().__init__()
        conv = nn.Conv2d if len(patch) == 2 else nn.Conv3d
        self.one, self.drop, self.last = conv(in_channels, 4, 3, padding=1), nn.Dropout(0.5), nn.Linear(4, 1)

    def forward(self, x):
        y = torch.relu(self.one(x)).flatten(2).mean(2)
        return self.last(self.drop(y)).squeeze(1)


def two(in_channels, patch):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * patch[0] * patch[1], 2))


def brighter(images, generator):
    return images + torch.rand(len(images), generator=generator).view(-1, 1, 1, 1)


def dense(in_channels, patch):
    from monai.networks.nets import DenseNet121

    return DenseNet121(spatial_dims=len(patch), in_channels=in_channels, out_channels=1, init_features=8, growth_rate=4,
                       block_config=(1, 1))
'''
SETTINGS = {"seeds": 2, "steps": 4, "eval_every": 2, "learning_rates": (3e-3,), "width": 4, "patch": (16, 16)}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "my_net.py").write_text(NET)
    (tmp_path / "params.yaml").write_text(
        "\nnetworks:\n  mine: {from: my_net:SmallNet, patch: [16, 16], label: my small net}\n"
        "  bright: {augment: my_net:brighter}\n  dense: {from: my_net:dense}\n"
    )
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    yield tmp_path
    monkeypatch.undo()
    for name in own_arms.TAKEN_BY:
        own_arms.extend(experiments.get(name), {})


@pytest.fixture
def cases() -> Cases:
    rng, n = np.random.default_rng(0), 60
    target = np.arange(n) % 2
    images = (rng.random((n, 16, 16)) * 100).astype(np.uint8)
    images[target == 1, 4:12, 4:12] += 100
    split = np.array([["train", "train", "train", "val", "test"][i // 2 % 5] for i in range(n)])
    case = np.array([f"c{i}" for i in range(n)])
    return Cases(images, target, case, case, split, "f", Path("x"), spacing_mm=np.ones((n, 3)))


def trained(arm: str, cases: Cases, seed: int = 0):
    experiment = experiments.get("gcnn")
    grid = Grid(arms={arm: (10,)}, **SETTINGS)
    experiment.check(grid, cases)
    run = Run(seed, 10, arm, 3e-3)
    entry, weights = experiment.train_run(run, grid, cases, torch.device("cpu"))
    again = experiment.predict(run, grid, weights, cases, torch.device("cpu"))
    return entry, again, experiment.decides(run, grid)


@pytest.mark.parametrize("arm", ["mine", "bright", "dense"])
def test_an_own_arm_trains_predicts_and_comes_out_the_same_again(project, cases, one_thread, arm):
    (entry, again, _), (twice, _, _) = trained(arm, cases), trained(arm, cases)
    test = entry.predictions[entry.predictions["split"] == "test"].reset_index(drop=True)
    assert set(test["arm"]) == {arm} and entry.record["parameters"] > 0 and entry.record["macs"] > 0
    assert np.array_equal(test["prediction"], again["prediction"])
    assert np.array_equal(entry.predictions["prediction"], twice.predictions["prediction"])


def test_training_leaves_torchs_own_generator_alone_and_the_seed_decides(project, cases, one_thread):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, other = trained("mine", cases, 0)[0], trained("mine", cases, 1)[0]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not np.array_equal(one.predictions["prediction"], other.predictions["prediction"])


def test_editing_the_file_changes_what_decides_its_arms_and_no_other_s_but_a_comment_does_not(project):
    def decided() -> dict:
        experiment = experiments.get("gcnn")
        grid = Grid(arms={"mine": (10,), "bright": (10,), "Z2": (10,)}, **SETTINGS)
        return {arm: experiment.decides(Run(0, 10, arm, 3e-3), grid) for arm in grid.arms}

    first = decided()
    (project / "my_net.py").write_text(NET + "\n# nothing\n")
    assert decided() == first
    (project / "my_net.py").write_text(NET.replace("Dropout(0.5)", "Dropout(0.4)"))
    second = decided()
    assert second["Z2"] == first["Z2"] and second["mine"] != first["mine"]


def test_an_own_arm_has_its_label_and_a_colour_of_its_own(project):
    arms = experiments.get("gcnn").ARMS
    assert arms["mine"].label == "my small net" and arms["bright"].label == "bright"
    library = {arm.colour for arm in arms.values() if not outside.is_own(arm)}
    assert len({arms[name].colour for name in ("mine", "bright", "dense")} - library) == 3


def test_a_number_is_learned_by_an_own_network_too(project, cases, one_thread):
    experiment = experiments.get("hydranet")
    numbers = dataclasses.replace(cases, images=cases.images[:, None], target=cases.target + 1.0, unit="ml")
    grid = NumberGrid(arms={"mine": (10,), "bright": (10,)}, seeds=2, steps=4, eval_every=2, learning_rates=(3e-3,),
                      images=4, warm_up=1, window=(1, 16, 16))  # fmt: skip
    experiment.check(grid, numbers)
    for arm in grid.arms:
        entry, weights = experiment.train_run(Run(0, 10, arm, 3e-3), grid, numbers, torch.device("cpu"))
        rows = experiment.predict(Run(0, 10, arm, 3e-3), grid, weights, numbers, torch.device("cpu"))
        test = entry.predictions[entry.predictions["split"] == "test"]
        assert np.array_equal(test["prediction"], rows["prediction"]) and set(rows["arm"]) == {arm}


def test_a_network_that_a_command_names_is_kept_for_the_project(project):
    assert own_arms.remember("my_net:SmallNet") == "SmallNet"
    (project / "other_net.py").write_text("Z2 = print\n")
    with pytest.raises(ParamsError, match="gcnn has an arm 'Z2'; give the function another name"):
        own_arms.remember("other_net:Z2", experiments.get("gcnn"))
    assert experiments.get("gcnn").ARMS["SmallNet"].made_by == "my_net:SmallNet"
    (project / "my_net.py").rename(project / "other.py")
    (project / "params.yaml").write_text("")
    assert "SmallNet" not in experiments.get("gcnn").ARMS


def test_a_grid_gets_own_networks_at_the_sizes_of_its_first_arm(project):
    gcnn = experiments.get("gcnn")
    grid = Grid(arms={"Z2": (10, 20), "p4m": (10,)}, **SETTINGS)
    more = own_arms.added(grid, gcnn, ["my_net:SmallNet", "mine"])
    assert more.arms == {"Z2": (10, 20), "p4m": (10,), "SmallNet": (10, 20), "mine": (10, 20)}
    assert own_arms.added(grid, gcnn, []) is grid
    with pytest.raises(ParamsError, match="curriculum takes no network of yours; gcnn, hydranet do"):
        own_arms.added(grid, experiments.get("curriculum"), ["my_net:SmallNet"])


def test_where_the_file_lies_decides_nothing(project):
    gcnn, grid = experiments.get("gcnn"), Grid(arms={"mine": (10,)}, **SETTINGS)
    assert str(project) in str(gcnn.ARMS["mine"].files)
    assert str(project) not in str(gcnn.decides(Run(0, 10, "mine", 3e-3), grid))


def test_a_patch_that_the_network_does_not_want_is_refused(project):
    experiments.get("gcnn")
    with pytest.raises(ParamsError, match=r"networks.mine wants a patch of \[16, 16\], but the grid's is \[24, 24\]"):
        Grid(arms={"mine": (10,)}, **SETTINGS | {"patch": (24, 24)})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("my_net", "is 'my_net'; its keys are from"),
        ({"form": "my_net:SmallNet"}, "its keys are from"),
        ({"from": "my_net"}, "it must be module:name"),
        ({"from": "no_such_module:Net"}, "there is no no_such_module.py in .*, and no installed package"),
        ({"from": "my_net:SmallNet", "patch": 16}, "patch must be whole numbers"),
        ({"from": 3}, "from and augment are module:function"),
    ],
)
def test_a_faulty_entry_is_one_clear_error(project, said, message):
    with pytest.raises(ParamsError, match=message):
        own_arms.extend(experiments.get("gcnn"), {"odd": said})


def test_the_name_of_a_library_s_arm_is_taken(project):
    with pytest.raises(ParamsError, match="networks.Z2: the experiment gcnn has an arm of that name"):
        own_arms.extend(experiments.get("gcnn"), {"Z2": {"from": "my_net:SmallNet"}})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_net:two", r"gave \(2, 2\) for 2 images; it is a function of \(in_channels, patch\)"),
        ("my_net:absent", "holds no function or class 'absent'"),
        ("my_net:brighter", "failed .TypeError"),
        ("broken:x", "cannot be read as Python"),
        ("raises:x", "cannot be imported .ZeroDivisionError"),
    ],
)
def test_a_network_that_breaks_the_contract_is_named(project, name, message):
    (project / "broken.py").write_text("def x(:\n")
    (project / "raises.py").write_text("x = 1 / 0\n")
    with pytest.raises(ParamsError, match=message):
        own_arms.source_of(name)
        Outside(load(name, own_arms.file_of(name)[0]), name, 1, (16, 16), 0)


def test_the_project_is_the_one_that_the_file_lies_in(project):
    assert paths.root() == project.resolve()
