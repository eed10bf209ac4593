"""The dynamic experiment: arms that cost the same, attention that is told, predictions that can be made again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fewscans import params, store
from fewscans.errors import DataError, ParamsError
from fewscans.experiments.base import Run
from fewscans.experiments.dynamic import EXPERIMENT, Grid
from fewscans.experiments.dynamic.arms import ARMS

PUBLISHED = Path(__file__).parents[2] / "reports" / "published" / "dynamic" / "luna16-patches"
CPU = torch.device("cpu")
NETWORKS = [name for name, arm in ARMS.items() if arm.trivial is None and arm.computed_with is None]
DYNAMIC = [name for name in NETWORKS if ARMS[name].kernels > 1]
GRID = Grid(arms={"p4m": (10, 20)}, seeds=2, steps=4, eval_every=2, learning_rates=(1e-2,), width=4)
WIDE = replace(GRID, width=8)
LONGER = replace(WIDE, steps=30, eval_every=15)  # long enough for answers to differ between images


def trained(arm: str, patches, grid: Grid = GRID, seed: int = 0, n: int = 20, **options):
    return EXPERIMENT.train_run(Run(seed, n, arm, 1e-2), grid, patches, CPU, **options)


def network(arm: str, grid: Grid = WIDE, seed: int = 0):
    return EXPERIMENT.network(Run(seed, 20, arm, 1e-2), grid)


def parameters(arm: str) -> int:
    return sum(p.numel() for p in network(arm).parameters())


# Networks


def test_arms_have_equal_parameters_but_the_one_at_equal_compute():
    for arm in set(NETWORKS) - {"dynamic-compute"}:
        assert parameters(arm) == pytest.approx(parameters("p4m"), rel=0.07), arm
    for arm in ("dynamic", "dynamic-noise", "p4m-gated"):
        assert parameters(arm) == pytest.approx(parameters("p4m"), rel=0.02), arm
    assert network("dynamic-compute").macs() == pytest.approx(network("p4m").macs(), rel=0.01)
    assert 3.9 < parameters("dynamic-compute") / parameters("p4m") < 4.1


def test_the_control_and_both_attentions_differ_in_nothing_but_what_attention_is():
    true, noise = network("dynamic"), network("dynamic-noise")
    assert all(torch.equal(a, b) for a, b in zip(true.parameters(), noise.parameters(), strict=True)), "one start"
    assert true.macs() == noise.macs() and (true.noise, noise.noise) == (None, 0)
    assert network("dynamic-noise", seed=4).noise == 4
    blind = network("dynamic-blind")
    assert all(torch.equal(a, b) for a, b in zip(true.parameters(), blind.parameters(), strict=True)), "one start"
    assert [layer.blind for layer in (*true.dynamic(), *blind.dynamic())] == [False] * 5 + [True] * 5
    assert network("dynamic-equivariant").channels == true.channels
    assert {layer.attention for layer in network("dynamic-equivariant").dynamic()} == {"equivariant"}


def test_the_temperature_falls_over_half_of_the_updates_of_a_size():
    grid = replace(GRID, steps=100, steps_at={"10": 40})
    assert [EXPERIMENT.network(Run(0, n, "dynamic", 1e-2), grid).anneal for n in (10, 20)] == [20, 50]


# Runs


@pytest.mark.parametrize("arm", NETWORKS)
def test_every_arm_is_trained_and_gives_probabilities_for_every_test_case_once(patches, arm):
    entry, weights = trained(arm, patches)
    table, test = entry.predictions, patches.indices("test")
    assert list(table.columns) == list(store.COLUMNS) and table["prediction"].between(0, 1).all()
    assert list(dict.fromkeys(table["arm"])) == EXPERIMENT.arm_names(replace(GRID, arms={arm: (20,)}))
    for _, rows in table.groupby(["arm", "split"]):
        assert rows["case"].tolist() == patches.case[test].tolist()
        assert rows["target"].tolist() == patches.target[test].tolist()
    again = EXPERIMENT.predict(Run(0, 20, arm, 1e-2), GRID, weights, patches, CPU)
    last = table.query("split == 'test'").reset_index(drop=True)
    assert again.query("split == 'test'").reset_index(drop=True).equals(last)


@pytest.mark.parametrize(
    ("arm", "turned"), [("dynamic", "dynamic-turned"), ("dynamic-equivariant", "equivariant-turned")]
)
def test_the_mean_over_turned_copies_is_the_answer_itself(patches, arm, turned):
    table = trained(arm, patches, LONGER)[0].predictions.query("split == 'test'")
    by_arm = {name: rows["prediction"].to_numpy() for name, rows in table.groupby("arm")}
    assert np.abs(by_arm[turned] - by_arm[arm]).max() < 1e-5 < 1e-4 < by_arm[arm].std()


@pytest.mark.parametrize(
    ("arm", "equivariant"), [("p4m", True), ("dynamic", True), ("dynamic-equivariant", True), ("dynamic-Z2", False)]
)
def test_a_published_network_gives_turned_and_mirrored_images_the_same_answer(arm, equivariant):
    about = json.loads((PUBLISHED / "weights" / "weights.json").read_text(encoding="utf-8"))
    grid = params.typed(about["grid"], Grid, "grid")
    ((seed, n),) = {(r["seed"], r["n_train"]) for r in (one["record"] for one in about["networks"]) if r["arm"] == arm}
    net = EXPERIMENT.network(Run(seed, n, arm, 1e-2), grid).eval()
    net.load_state_dict(load_file(PUBLISHED / "weights" / f"{arm}.safetensors"))
    x = torch.rand(6, grid.colours, *grid.patch, generator=torch.Generator().manual_seed(0))
    copies = [turned for half in (x, x.flip(-1)) for turned in (half.rot90(k, (-2, -1)) for k in range(4))]
    with torch.no_grad():
        answers = torch.stack([net(copy) for copy in copies])
    assert answers[0].std() > 1e-3, "images have answers of their own"
    off = (answers - answers[0]).abs().max() / answers[0].abs().max()
    assert (off <= 1e-5) == equivariant, float(off)


@pytest.mark.parametrize("arm", DYNAMIC)
def test_attention_is_told_for_every_dynamic_layer(patches, arm):
    told = trained(arm, patches)[0].record["attention"]
    assert len(told) == 5
    for layer in told:
        assert set(layer) == {"entropy", "spread"}
        assert 0 < layer["entropy"] <= 1 and 0 <= layer["spread"] < 0.5


@pytest.mark.parametrize("arm", ["p4m", "p4m-gated", "Z2"])
def test_of_static_networks_no_attention_is_told(patches, arm):
    assert "attention" not in trained(arm, patches)[0].record


def test_attention_that_is_even_has_entropy_one_and_attention_that_chooses_none(patches):
    net, x = network("dynamic", GRID).eval(), torch.from_numpy(patches.images[:30, None])
    net.updates.fill_(10**6)  # cooled
    for bias, entropy in ((0.0, 1.0), (1e4, 0.0)):
        for layer in net.dynamic():
            torch.nn.init.zeros_(layer.weigh.weight)
            torch.nn.init.zeros_(layer.weigh.bias)
            layer.weigh.bias.data[0] = bias
        assert EXPERIMENT.seen_in(net, x, GRID)["attention"] == [{"entropy": entropy, "spread": 0.0}] * 5
    assert not any(layer._forward_hooks for layer in net.dynamic())


@pytest.mark.parametrize("arm", ["dynamic", "dynamic-noise"])
def test_the_same_run_twice_gives_the_same_bytes(patches, tmp_path, arm):
    for name in ("a", "b"):
        entry, _ = trained(arm, patches)
        store.write_table(entry.predictions, tmp_path / f"{name}.parquet", {"history": entry.history})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


class Cut(Exception):
    """Stands in for a kill."""


@pytest.mark.parametrize("arm", ["dynamic-equivariant", "dynamic-noise"])
def test_a_run_that_was_cut_ends_with_the_same_predictions(patches, tmp_path, arm):
    grid, count = replace(GRID, steps=8), 0
    whole = trained(arm, patches, grid)

    def cut(steps):
        nonlocal count
        count += steps
        if count == 5:
            raise Cut

    with pytest.raises(Cut):
        trained(arm, patches, grid, checkpoint=tmp_path / "c", on_step=cut)
    again = trained(arm, patches, grid, checkpoint=tmp_path / "c")
    assert whole[0].predictions.equals(again[0].predictions) and whole[0].history == again[0].history
    assert all(torch.equal(whole[1][key], again[1][key]) for key in whole[1])


def test_compute_counts_multiply_adds_not_updates(patches):
    for arm in ("p4m", "dynamic"):
        history = trained(arm, patches)[0].history
        macs = network(arm, GRID).macs()
        assert [row["compute"] for row in history] == [round(row["step"] * macs / 1e9, 6) for row in history]


def test_a_pilot_predicts_validation_patches_and_no_other(patches):
    table = trained("dynamic", patches, replace(GRID, pilot=True))[0].predictions
    assert set(table["case"]) == set(patches.case[patches.indices("val")])


@pytest.mark.parametrize("arm", ["p4m"])
def test_images_in_colour_are_seen_in_colour(patches, arm):
    grey = patches.images
    painted = replace(patches, images=np.stack([grey, 255 - grey, grey // 2], axis=-1))
    swapped = replace(painted, images=np.ascontiguousarray(painted.images[..., ::-1]))
    grid = replace(LONGER, colours=3)
    entry, weights = trained(arm, painted, grid)
    found = EXPERIMENT.predict(Run(0, 20, arm, 1e-2), grid, weights, swapped, CPU)
    assert EXPERIMENT.network(Run(0, 20, arm, 1e-2), grid).lift.in_channels == 3
    before = entry.predictions.query("split == 'test'")["prediction"].to_numpy()
    assert np.abs(before - found.query("split == 'test'")["prediction"].to_numpy()).max() > 1e-4


# What is wrong is said


@pytest.mark.parametrize(("option", "told"), [
    ({"patch": (50, 48)}, r"8 divides.*\[50, 48\]"), ({"patch": (8, 8, 8)}, "patch"), ({"colours": 2}, "1 or 3, got 2"),
    ({"arms": {"p4": (10,)}}, "p4"),
])  # fmt: skip
def test_a_wrong_grid_is_an_error(option, told):
    with pytest.raises(ParamsError, match=told):
        replace(GRID, **option)


def test_a_grid_for_other_colours_than_the_images_is_an_error(patches):
    EXPERIMENT.check(GRID, patches)
    with pytest.raises(ParamsError, match="colours is 3, but images of patches have 1"):
        EXPERIMENT.check(replace(GRID, colours=3), patches)


def test_patches_too_small_are_an_error(patches):
    with pytest.raises(DataError, match="too small for a patch of 56 x 56"):
        EXPERIMENT.check(replace(GRID, patch=(56, 56)), patches)


def test_what_decides_a_run_names_arm_colours_and_kernels():
    grids = params.load().grid("dynamic-luna16-patches", "long")
    decided = {arm: EXPERIMENT.decides(Run(0, 100, arm, 3e-3), grids) for arm in ("dynamic", "dynamic-noise", "p4m")}
    assert len({repr(sorted(d.items(), key=str)) for d in decided.values()}) == 3
    assert all(d["colours"] == 1 for d in decided.values())
    assert decided["dynamic"]["spec"]["kernels"] == 4 and decided["p4m"]["spec"]["kernels"] == 1


def test_controls_have_the_learning_rate_of_the_network_that_they_change():
    grid = params.load().grid("dynamic-luna16-patches", "long")
    for network, changed in (("p4m", ["p4m-gated"]), ("dynamic", ["dynamic-noise", "dynamic-blind"])):
        rate = EXPERIMENT.chosen_rate(grid, {}, network, 100)
        assert rate in grid.learning_rates
        assert [EXPERIMENT.chosen_rate(grid, {}, arm, 100) for arm in changed] == [rate] * len(changed)
