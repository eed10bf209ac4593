"""Regression from sums: fair arms, subsets of whole persons, labels in their unit, predictions that can be trusted."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch

from fewscans import store, train
from fewscans.data.base import Cases
from fewscans.errors import RunError
from fewscans.experiments.base import Entry, Run
from fewscans.experiments.hydranet import EXPERIMENT, Grid
from fewscans.experiments.hydranet.arms import ARMS, TRIVIAL_ARMS, Arm
from fewscans.experiments.hydranet.batches import Batches, seen
from fewscans.nn import hydra
from fewscans.nn.regressor import BaseRegressor

from .toy_scans import SHAPE, SITES, make_scans

CPU = torch.device("cpu")
N = 12
GRID = Grid(arms={"base": (N,), "hydra-4": (N,)}, seeds=2, steps=2, eval_every=1, window=SHAPE, intensities="unit")
NETWORKS = {arm: spec for arm, spec in ARMS.items() if spec.trivial is None and spec.computed_with is None}
BY_CHANCE = [arm for arm, spec in NETWORKS.items() if not spec.uniform and not spec.unseen]
UNIFORM = [arm for arm, spec in NETWORKS.items() if spec.uniform]
UNSEEN = [arm for arm, spec in NETWORKS.items() if spec.unseen]
every_network = pytest.mark.parametrize("arm", NETWORKS)


@pytest.fixture(scope="module")
def scans() -> Cases:
    return make_scans()


def grid_of(arm: str, sizes=(N,), **changes) -> Grid:
    return replace(GRID, arms={arm: sizes}, **changes)


def run_of(arm: str, seed: int = 1, n: int = N, rate: float = 1.0) -> Run:
    return Run(seed, n, arm, 0.0 if ARMS[arm].trivial else rate)


def trained(arm: str, data: Cases, grid: Grid | None = None, seed: int = 1, **options):
    return EXPERIMENT.train_run(run_of(arm, seed), grid or grid_of(arm), data, CPU, **options)


def rows_of(entry: Entry, arm: str, split: str = "test"):
    return entry.predictions.query("arm == @arm and split == @split")


def network(weights, before: str = "") -> BaseRegressor:
    """The kept network, in evaluation; `before` its weights' names stands the site that it was not trained on."""
    net = BaseRegressor()
    names = dict(net.named_parameters())
    net.load_state_dict({name: weights[before + name] for name in names})
    return net.eval()


@dataclass
class Asked:
    """What one network was to be trained with."""

    start: dict
    n_train: int
    batches: Batches
    losses: dict
    budget: train.Budget
    optimiser: torch.optim.Optimizer
    schedule: object

    def who(self, data: Cases) -> np.ndarray:
        """Which scans it was to be trained on, by their images: (n,)."""
        images = (self.batches.images[:, 0] * 255).round().byte().numpy()
        same = [(data.images == image).all((1, 2, 3)).nonzero()[0] for image in images]
        assert all(len(found) == 1 for found in same)
        return np.concatenate(same)


@pytest.fixture
def asked(monkeypatch):
    """Runs an arm with nothing trained, and tells what each of its networks was to be trained with."""

    def ask(arm, data, grid=None, seed=1, n=N) -> list[Asked]:
        calls = []

        def fit(net, n_train, draw, loss, validate, budget, seed, _, __, optimiser, gradients, schedule):
            state = {name: value.clone() for name, value in net.state_dict().items()}
            losses = validate(net.eval())
            made = optimiser(net.parameters(), lr=budget.learning_rate)
            assert gradients == draw.__self__.gradients
            calls.append(Asked(state, n_train, draw.__self__, losses, budget, made, schedule))
            return train.Fitted([{"step": 1} | losses], dict.fromkeys(losses, state), losses)

        with monkeypatch.context() as patch:
            patch.setattr(train, "fit", fit)
            EXPERIMENT.train_run(run_of(arm, seed, n), grid or grid_of(arm, (n,)), data, CPU)
        return calls

    return ask


# The plan, and what decides a run


def test_the_plan_is_the_table_and_every_arm_has_the_same_rate():
    grid = replace(GRID, arms={"base": (8, N), "hydra-4": (N,), "mean": (N,)}, learning_rates=(0.5,))
    runs = EXPERIMENT.plan(grid, {})
    assert sorted(EXPERIMENT.final(grid, {})) == runs and len(set(runs)) == len(runs) == 4 * grid.seeds
    assert {(run.arm, run.learning_rate) for run in runs} == {("base", 0.5), ("hydra-4", 0.5), ("mean", 0.0)}
    assert [run.seed for run in runs] == [0] * 4 + [1] * 4, "seed by seed"


def test_an_arm_computed_along_with_another_stands_behind_it():
    assert EXPERIMENT.arm_names(replace(GRID, arms={"hydra-4": (N,), "base": (N,)})) == [
        "hydra-4", "hydra-4-black", "base"
    ]  # fmt: skip


CHANGED = {
    "steps": 3, "eval_every": 2, "images": 8, "rho": 0.5, "validation": 3, "max_angle_rad": 0.0,
    "max_shift_voxels": 0.0, "form": "streamed", "decay": True, "intensities": "standard",
    "beyond": "black",
}  # fmt: skip
# the rate is the run's; what is cut, and in which unit, decides the data, whose fingerprint is in the key
ELSEWHERE = {
    "seeds": 9, "learning_rates": (0.5,), "tuning_seeds": 2, "unit": "voxels", "window": (6, 6, 6), "downsample": 2,
}  # fmt: skip


def test_each_parameter_either_decides_a_run_or_chooses_among_runs():
    assert set(CHANGED) | set(ELSEWHERE) | {"arms"} == {field.name for field in fields(Grid)}
    for name, value in ELSEWHERE.items():
        if name != "downsample":
            assert EXPERIMENT.decides(run_of("base"), replace(GRID, **{name: value})) == EXPERIMENT.decides(
                run_of("base"), GRID
            )


@pytest.mark.parametrize("name", CHANGED)
def test_a_parameter_that_changes_a_run_changes_its_key(scans, name):
    grid = grid_of("hydra-2", **({"intensities": "standard"} if name == "beyond" else {}))  # of unit ones 0 is black
    changed = replace(grid, **{name: CHANGED[name]})
    assert EXPERIMENT.decides(run_of("hydra-2"), changed) != EXPERIMENT.decides(run_of("hydra-2"), grid)
    if name != "form":
        first, second = (trained("hydra-2", scans, some)[0] for some in (grid, changed))
        assert first.history != second.history, "and the key changes for a reason"


def test_sizes_that_are_nested_with_a_run_s_are_in_its_key_and_others_are_not():
    """A subset depends on all sizes that are drawn alike."""
    base = EXPERIMENT.decides(run_of("base"), GRID)
    for arm, alike in (("mean", True), ("hydra-4-unseen", False)):
        more = replace(GRID, arms=GRID.arms | {arm: (9,)})
        assert (EXPERIMENT.decides(run_of("base"), more) != base) == alike


def test_every_run_has_a_key_of_its_own():
    runs = [run_of(arm, seed, n) for seed in (0, 1) for n in (8, N) for arm in ARMS] + [run_of("base", rate=0.5)]
    assert len({store.key(EXPERIMENT.decides(run, GRID)) for run in runs}) == len(runs)


DECIDES = {
    "size": 2, "share": 0.5, "p_black": 0.2, "replacement": True, "fixed": True, "permuted": True, "dropout": 0.1,
    "loss": "mae", "centred": True, "mix": "mixup", "uniform": True, "unseen": True, "intensities": "unit",
    "black": True, "trivial": "mean", "computed_with": "hydra-4",
}  # fmt: skip
DRAWN = {"label": "another", "colour": "#123456", "marker": "x", "line": ":", "derived_from": "hydra-4"}


def test_what_an_arm_is_belongs_to_its_key_and_how_it_is_drawn_does_not(monkeypatch):
    run, own = run_of("base"), ARMS["base"]
    before = EXPERIMENT.decides(run, GRID)
    assert set(DECIDES) | set(DRAWN) == {field.name for field in fields(Arm)}
    for name, value in (DECIDES | DRAWN).items():
        monkeypatch.setitem(ARMS, "base", replace(own, **{name: value}))
        assert (EXPERIMENT.decides(run, GRID) != before) == (name in DECIDES), name


# Budgets


@every_network
def test_every_arm_is_shown_as_many_images_as_hydra_4_and_base_a_quarter(scans, arm, monkeypatch):
    shown, told, real = [], [], BaseRegressor.forward

    def forward(self, x, seeds=None):
        shown.append(len(x) if self.training else 0)
        return real(self, x, seeds)

    monkeypatch.setattr(BaseRegressor, "forward", forward)
    grid = grid_of(arm, steps=4, eval_every=4)
    entry, _ = trained(arm, scans, grid, on_step=told.append)
    spec, networks, record = ARMS[arm], len(SITES) if ARMS[arm].unseen else 1, entry.record
    share = 0.25 if arm in ("base", "base-mae", "base-uniform", "base-unseen") else 1
    assert record["images"] == sum(shown) == 16 * share * networks
    assert record["steps"] == 4 * share * (0.5 if arm == "hydra-8" else 1)
    assert record["sets"] == (record["images"] / spec.size if spec.size > 1 else 0)
    assert sum(told) == pytest.approx(EXPERIMENT.steps(run_of(arm), grid)) and EXPERIMENT.work(run_of(arm), grid) > 0
    assert record["parameters"] == 196_418 and record["macs"] == BaseRegressor().macs(SHAPE)
    assert record["n_val"] > record["n_small_val"] == 5 and record["seconds_cpu"] > 0 < record["seconds_wall"]
    assert record["best_val_loss"] >= 0 and record["label_constant"] > 0
    assert {tuple(row) for row in entry.history} == {("step", "epoch", "train_loss", "val_loss", "small_val_loss")}
    predicted(entry, arm, scans)


def predicted(entry: Entry, arm: str, data: Cases) -> None:
    """Every test case once for each arm and split, with its own number."""
    assert list(entry.predictions.columns) == list(store.COLUMNS)
    assert list(dict.fromkeys(entry.predictions["arm"])) == EXPERIMENT.arm_names(grid_of(arm))
    test, splits = data.indices("test"), {"test"} if arm in TRIVIAL_ARMS else {"test", "test-small-val"}
    assert set(entry.predictions["split"]) == splits
    for _, rows in entry.predictions.groupby(["arm", "split"]):
        rows = rows.sort_values("case")
        assert rows["case"].tolist() == data.case[test].tolist()
        assert rows["group"].tolist() == data.group[test].tolist()
        assert rows["target"].tolist() == data.target[test].tolist()
        assert np.isfinite(rows["prediction"]).all()
    assert set(entry.predictions["n_train"]) == {N} and set(entry.predictions["seed"]) == {1}


@pytest.mark.parametrize("arm", TRIVIAL_ARMS)
def test_trivial_arms_predict_every_test_case_and_cost_nothing(scans, arm):
    told = []
    entry, weights = trained(arm, scans, on_step=told.append)
    predicted(entry, arm, scans)
    assert weights == {} and entry.history == [] and entry.record == {"parameters": 0, "macs": 0}
    assert sum(told) == EXPERIMENT.steps(run_of(arm), grid_of(arm)) == 1


def test_arms_are_validated_as_often_whatever_their_number_of_updates(scans):
    for arm in ("base", "hydra-4", "hydra-8"):
        entry, _ = trained(arm, scans, grid_of(arm, steps=8, eval_every=4))
        assert len(entry.history) == 2, arm
        if arm != "hydra-8":
            assert entry.history[-1]["epoch"] == 8 / N, "as many epochs, m scans in one and m sets in the other"


def test_all_arms_of_a_seed_have_one_start_and_the_scans_drawn_alike(scans, asked):
    for arms in (BY_CHANCE, UNIFORM, UNSEEN):
        first = asked(arms[0], scans)
        for arm in arms[1:]:
            for one, other in zip(first, asked(arm, scans), strict=True):
                assert all(torch.equal(one.start[name], other.start[name]) for name in one.start), arm
                assert torch.equal(one.batches.images, other.batches.images), arm
                assert torch.equal(one.batches.spacing_mm, other.batches.spacing_mm), arm
                assert one.n_train == other.n_train == N and other.batches.seed == 1
    (one,), (another) = asked("base", scans), asked("base", scans, seed=2)[0]
    assert not torch.equal(one.start["output.weight"], another.start["output.weight"])
    assert set(one.who(scans)) != set(another.who(scans))


def test_the_optimiser_is_adadelta_of_its_time_and_the_rate_falls_to_0_where_asked(scans, asked):
    (plain,) = asked("hydra-4", scans, grid_of("hydra-4"))
    assert type(plain.optimiser) is torch.optim.Adadelta and plain.schedule is None
    assert plain.optimiser.defaults["lr"] == 1.0 and plain.optimiser.defaults["rho"] == 0.95
    (falling,) = asked("hydra-4", scans, grid_of("hydra-4", decay=True, rho=0.8))
    assert [falling.schedule(done) for done in (0, 0.25, 1)] == [1, 0.75, 0]
    assert falling.optimiser.defaults["rho"] == 0.8


# Who is trained on


@pytest.mark.parametrize("arm", ["hydra-4", "hydra-4-unseen"])
def test_subsets_are_whole_persons_of_the_training_split_each_within_the_larger(scans, asked, arm):
    grid = grid_of(arm, (8, 12, 16))
    for seed in (0, 1):
        held = [set()] * (3 if ARMS[arm].unseen else 1)
        for n in (8, 12, 16):
            found = [set(one.who(scans)) for one in asked(arm, scans, grid, seed, n)]
            for inner, outer in zip(held, found, strict=True):
                assert inner < outer and len(outer) == n
                assert set(scans.split[list(outer)]) == {"train"}
                outside = np.setdiff1d(np.arange(len(scans)), list(outer))
                assert not set(scans.group[list(outer)]) & set(scans.group[outside])
            held = found


def test_uniform_arms_draw_labels_that_are_spread_evenly(scans, asked):
    skewed = replace(scans, target=scans.target**4 + 0.01)
    low, high = skewed.target[scans.indices("train")].min(), skewed.target[scans.indices("train")].max()

    def thirds(arm):
        who = np.concatenate([asked(arm, skewed, seed=seed)[0].who(scans) for seed in range(4)])
        assert set(scans.split[who]) == {"train"}
        return np.bincount(np.clip((skewed.target[who] - low) / (high - low) * 3, 0, 2.99).astype(int), minlength=3)

    assert thirds("base-uniform")[0] <= 0.6 * 48 < thirds("base")[0]


def test_a_network_knows_nothing_of_the_site_that_it_is_tested_on(scans):
    """It is the same network, whatever that site's scans and labels are; and each site is predicted by its own."""
    site = scans.about["site"].to_numpy()
    entry, weights = trained("base-compute-unseen", scans)
    there = site == SITES[1]
    images, number = scans.images.copy(), scans.target.copy()
    images[there], number[there] = 255 - images[there], 9 - number[there]
    changed = replace(scans, images=images, target=number)
    _, after = trained("base-compute-unseen", changed)
    for name in SITES:
        same = [torch.equal(weights[k], after[k]) for k in weights if k.startswith(f"{name}/")]
        assert len(same) == 12 and all(same) == (name == SITES[1])
    for name in SITES:
        test = np.flatnonzero((scans.split == "test") & (site == name))
        with torch.no_grad():
            output = network(weights, f"{name}/")(seen(torch.from_numpy(scans.images[test]), "unit"))
        rows = rows_of(entry, "base-compute-unseen").set_index("case").loc[scans.case[test]]
        assert rows["prediction"].to_numpy() == pytest.approx(
            output.numpy() * float(weights[f"{name}/label.constant"]), abs=1e-5
        )


@pytest.mark.parametrize("arm", ["base", "hydra-4", "c-mixup", "hydra-4-uniform", "hydra-4-unseen", *TRIVIAL_ARMS])
def test_nothing_of_the_test_set_reaches_training(scans, arm):
    """Neither its images nor its labels: only predictions on the scan that changed change."""
    before, weights = trained(arm, scans)
    test = scans.indices("test")
    number, images, about = scans.target.copy(), scans.images.copy(), scans.about.copy()
    number[test], images[test[0]] = number[test][::-1] + 5, 255 - images[test[0]]
    about.loc[test[0], ["shape_z", "shape_y"]] += 9
    after, weights_after = trained(arm, replace(scans, target=number, images=images, about=about))
    assert before.history == after.history and weights.keys() == weights_after.keys()
    assert all(torch.equal(weights[name], weights_after[name]) for name in weights)
    differs = before.predictions["prediction"] != after.predictions["prediction"]
    assert set(before.predictions["case"][differs]) == ({scans.case[test[0]]} if arm != "mean" else set())


def test_each_validation_set_chooses_its_own_checkpoint(scans, monkeypatch):
    """With losses made up, so that the whole set chooses the first checkpoint and the small one the last."""
    real, kept = train.fit, []

    def fit(net, n_train, batch, loss, validate, *rest):
        fixed = iter([{"val_loss": 0.1, "small_val_loss": 0.9}, {"val_loss": 0.9, "small_val_loss": 0.1}])
        done = real(net, n_train, batch, loss, lambda net: next(fixed), *rest)
        kept.append(done.best)
        return done

    monkeypatch.setattr(train, "fit", fit)
    entry, weights = trained("hydra-4", scans)
    test = seen(torch.from_numpy(scans.images[scans.indices("test")]), "unit")
    for split, chosen in (("test", "val_loss"), ("test-small-val", "small_val_loss")):
        with torch.no_grad():
            output = network(kept[0][chosen])(test).numpy() * float(weights["label.constant"])
        assert rows_of(entry, "hydra-4", split)["prediction"].to_numpy() == pytest.approx(output, abs=1e-5)
    assert entry.record["best_val_loss"] == 0.1
    assert all(torch.equal(weights[name], kept[0]["val_loss"][name]) for name in kept[0]["val_loss"])


def test_a_run_without_a_finite_validation_loss_says_what_to_do(scans, monkeypatch):
    real, losses = train.fit, {"val_loss": np.nan, "small_val_loss": np.nan}
    monkeypatch.setattr(train, "fit", lambda *a: real(*a[:4], lambda net: losses, *a[5:]))
    with pytest.raises(RunError, match="hydra-4, N = 12, seed 1.*lower the learning rate"):
        trained("hydra-4", scans)


# Labels and predictions in their unit


@every_network
def test_labels_are_divided_and_only_the_centred_arms_lose_their_mean(scans, asked, arm):
    for one, site in zip(asked(arm, scans), SITES if ARMS[arm].unseen else [None], strict=False):
        y = scans.target[one.who(scans)]
        constant, mean = np.sqrt((y**2).mean()), y.mean() if "centred" in arm else 0.0
        assert one.batches.labels.numpy() == pytest.approx((y - mean) / constant, abs=1e-6)
        val = scans.split == "val"
        val &= scans.about["site"].to_numpy() != site
        with torch.no_grad():
            output = network(one.start)(seen(torch.from_numpy(scans.images[val]), "unit")).numpy()
        error = output - (scans.target[val] - mean) / constant
        expected = np.abs(error).mean() if "mae" in arm else (error**2).mean()
        assert one.losses["val_loss"] == pytest.approx(expected, rel=1e-4), "of single scans, in training's unit"


@pytest.mark.parametrize("arm", ["base-compute", "hydra-4", "hydra-4-mae"])
def test_labels_in_another_unit_give_the_predictions_in_that_unit_and_an_offset_is_no_unit(scans, arm):
    entry, weights = trained(arm, scans)
    times, times_weights = trained(arm, replace(scans, target=scans.target * 8))  # exact in floating point
    assert (times.predictions["prediction"] == 8 * entry.predictions["prediction"]).all()
    assert times.record["at_black"] == 8 * entry.record["at_black"]
    assert all(torch.equal(weights[k], times_weights[k]) for k in weights if not k.startswith("label"))
    ten = trained(arm, replace(scans, target=scans.target * 10))[0].predictions["prediction"]
    assert ten.to_numpy() == pytest.approx(10 * entry.predictions["prediction"].to_numpy(), rel=1e-2, abs=1e-2)
    more = trained(arm, replace(scans, target=scans.target + 10))[0].predictions["prediction"]
    assert np.abs(more - entry.predictions["prediction"] - 10).min() > 0.05


@pytest.mark.parametrize("arm", ["base-centred", "hydra-4-centred"])
def test_centred_arms_give_the_mean_back(scans, arm):
    entry, weights = trained(arm, scans)
    with torch.no_grad():
        output = network(weights)(seen(torch.from_numpy(scans.images[scans.indices("test")]), "unit")).numpy()
    offset = entry.record["label_offset"]
    assert offset == float(weights["label.offset"]) > 0.5
    expected = output * entry.record["label_constant"] + offset
    assert rows_of(entry, arm)["prediction"].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_with_the_other_branches_black_a_prediction_is_three_times_f_of_0_more(scans):
    entry, weights = trained("hydra-4", scans)
    at_black, constant = entry.record["at_black"], entry.record["label_constant"]
    alone, black = (rows_of(entry, arm)["prediction"].to_numpy() for arm in ("hydra-4", "hydra-4-black"))
    assert (black == alone + 3 * at_black).all() and abs(at_black) > 1e-4
    net, test = network(weights), torch.from_numpy(scans.images[scans.indices("test")])
    assert at_black == pytest.approx(constant * float(hydra.at_black(net, SHAPE)), rel=1e-5)
    assert black == pytest.approx(constant * hydra.with_black(net, seen(test, "unit"), 4).numpy(), abs=1e-5)
    small = [rows_of(entry, arm, "test-small-val")["prediction"].to_numpy() for arm in ("hydra-4", "hydra-4-black")]
    assert np.ptp(small[1] - small[0]) < 1e-6, "by the f(0) of its own checkpoint"


@pytest.mark.parametrize("arm", ["base", "hydra-4", "hydra-4-centred", "base-dropout", "hydra-4-unit"])
def test_kept_weights_make_the_test_predictions_again(scans, arm):
    grid = grid_of(arm, intensities="standard")
    entry, weights = trained(arm, scans, grid)
    again = EXPERIMENT.predict(run_of(arm), grid, weights, scans, CPU)
    assert again.equals(entry.predictions.query("split == 'test'").reset_index(drop=True))


def test_no_network_stands_for_all_sites(scans):
    with pytest.raises(RunError, match="hydra-4-unseen is a network for each site.*ask another arm"):
        EXPERIMENT.predict(run_of("hydra-4-unseen"), GRID, {}, scans, CPU)
