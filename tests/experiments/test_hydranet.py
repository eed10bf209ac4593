"""Regression from sums: fair arms, subsets of whole persons, labels in their unit, predictions that can be trusted."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch

from fewscans import store, train
from fewscans.data.base import Cases
from fewscans.errors import RunError
from fewscans.experiments import hydranet
from fewscans.experiments.base import Entry, Run
from fewscans.experiments.hydranet import EXPERIMENT, Grid, noise
from fewscans.experiments.hydranet.arms import ARMS, TRIVIAL_ARMS, Arm
from fewscans.experiments.hydranet.batches import Batches, seen
from fewscans.nn.regressor import BaseRegressor

from .toy_scans import SHAPE, make_scans

CPU = torch.device("cpu")
N = 12
GRID = Grid(
    arms={"base": (N,), "hydra-4": (N,)}, seeds=2, steps=4, eval_every=2, learning_rates=(1e-3,), images=8, warm_up=1,
    window=SHAPE,
)  # fmt: skip
NETWORKS = {arm: spec for arm, spec in ARMS.items() if spec.trivial is None}
BY_CHANCE = [arm for arm, spec in NETWORKS.items() if not spec.uniform]
UNIFORM = [arm for arm, spec in NETWORKS.items() if spec.uniform]
PUBLISHED = [arm for arm, spec in NETWORKS.items() if spec.published]
every_network = pytest.mark.parametrize("arm", NETWORKS)


@pytest.fixture(scope="module")
def scans() -> Cases:
    return make_scans()


def grid_of(arm: str, sizes=(N,), **changes) -> Grid:
    return replace(GRID, arms={arm: sizes}, **changes)


def run_of(arm: str, seed: int = 1, n: int = N, rate: float = 1e-3) -> Run:
    return Run(seed, n, arm, 0.0 if ARMS[arm].trivial else rate)


def trained(arm: str, data: Cases, grid: Grid | None = None, seed: int = 1, **options):
    return EXPERIMENT.train_run(run_of(arm, seed), grid or grid_of(arm), data, CPU, **options)


def rows_of(entry: Entry, arm: str, split: str = "test"):
    return entry.predictions.query("arm == @arm and split == @split")


def network(weights, arm: str) -> BaseRegressor:
    """The kept network, in evaluation."""
    net = BaseRegressor(norm=not ARMS[arm].published)
    net.load_state_dict({name: value for name, value in weights.items() if not name.startswith("label")})
    return net.eval()


@torch.no_grad()
def outputs(weights, arm: str, images: np.ndarray) -> np.ndarray:
    intensities = "unit" if arm in PUBLISHED else "standard"
    return network(weights, arm)(seen(torch.from_numpy(images), intensities)).numpy()


def part(data: Cases, grid: Grid = GRID, seed: int = 1, split: str = "test") -> np.ndarray:
    return np.flatnonzero(EXPERIMENT.fold_of(grid, data, seed) == split)


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
        spacing = self.batches.spacing_mm.numpy()
        standard = seen(torch.from_numpy(data.images), self.batches.spec.seen_as)
        same = [((standard == image).all((1, 2, 3, 4))).nonzero()[:, 0].numpy() for image in self.batches.images]
        assert all((data.spacing_mm[found] == mm).all() for found, mm in zip(same, spacing, strict=True))
        assert all(len(found) == 1 for found in same)
        return np.concatenate(same)


@pytest.fixture
def asked(monkeypatch):
    """Runs an arm with nothing trained, and tells what each of its networks was to be trained with."""

    def ask(arm, data, grid=None, seed=1, n=N) -> list[Asked]:
        calls = []

        def fit(net, n_train, draw, loss, validate, budget, seed, _, __, optimiser, gradients, schedule):
            state = {name: value.clone() for name, value in net.state_dict().items()}
            batches = gradients.__self__
            assert str(draw(None, 3)) == str(batches.draw(3))
            losses = validate(net.eval())
            made = optimiser(net.parameters(), lr=budget.learning_rate)
            calls.append(Asked(state, n_train, batches, losses, budget, made, schedule))
            history = [{"step": budget.steps, "train_loss": 1.0} | losses]
            return train.Fitted(history, dict.fromkeys(losses, state), losses, state)

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


def test_the_published_arms_have_the_paper_s_rate_and_are_never_tried_with_others():
    grid = replace(GRID, arms={"base": (N,), "hydra-4-published": (N,)}, learning_rates=(1e-3, 1e-2))
    runs = EXPERIMENT.plan(grid, {})
    assert {(run.arm, run.learning_rate) for run in runs} == {
        ("base", 1e-3), ("base", 1e-2), ("hydra-4-published", 1.0)
    }  # fmt: skip


CHANGED = {
    "steps": 5, "eval_every": 1, "images": 4, "warm_up": 2, "max_shift_voxels": 0.0, "beyond": "black", "half": True,
    "folds": 5, "pilot": True,
}  # fmt: skip
# the rate is the run's; what is cut, and in which unit, decides the data, whose fingerprint is in the key
ELSEWHERE = {
    "seeds": 9, "learning_rates": (0.5,), "tuning_seeds": 2, "unit": "voxels", "window": (6, 6, 6), "downsample": 2,
    "first_seed": 1, "seeds_at": {str(N): 3}, "rates": {"base": {str(N): 0.1}},
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
    grid = grid_of("hydra-2")
    changed = replace(grid, **{name: CHANGED[name]})
    assert EXPERIMENT.decides(run_of("hydra-2"), changed) != EXPERIMENT.decides(run_of("hydra-2"), grid)
    (first, _), (second, _) = (trained("hydra-2", scans, some) for some in (grid, changed))
    assert not (first.history == second.history and first.predictions.equals(second.predictions)), "for a reason"


def test_sizes_that_are_nested_with_a_run_s_are_in_its_key():
    base = EXPERIMENT.decides(run_of("base"), GRID)
    assert EXPERIMENT.decides(run_of("base"), replace(GRID, arms=GRID.arms | {"mean": (9,)})) != base


def test_every_run_has_a_key_of_its_own():
    runs = [run_of(arm, seed, n) for seed in (0, 1) for n in (8, N) for arm in ARMS] + [run_of("base", rate=0.5)]
    assert len({store.key(EXPERIMENT.decides(run, GRID)) for run in runs}) == len(runs)


DECIDES = {
    "size": 2, "share": 0.5, "p_black": 0.2, "replacement": True, "fixed": True, "permuted": True, "dropout": 0.1,
    "loss": "mae", "uniform": True, "published": True, "probe": True, "trivial": "mean", "computed_with": "hydra-4",
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
def test_arms_have_equal_passes_or_equal_labels(scans, arm, monkeypatch):
    shown, told, real = [], [], BaseRegressor.forward

    def forward(self, x, seeds=None):
        shown.append(len(x) if self.training else 0)
        return real(self, x, seeds)

    monkeypatch.setattr(BaseRegressor, "forward", forward)
    monkeypatch.setattr(noise, "ratios", lambda net, batches: {"noise_set": 1.0})
    grid = grid_of(arm, eval_every=4)
    entry, _ = trained(arm, scans, grid, on_step=told.append)
    spec, record = ARMS[arm], entry.record
    share = 0.25 if arm in ("base", "base-mae", "base-uniform", "base-published") else 1
    assert record["images"] == sum(shown) == 4 * 8 * share
    assert record["steps"] == 4 * (2 * share if spec.published else 1)
    assert record["sets"] == (record["images"] / spec.size if spec.size > 1 else 0)
    assert (
        sum(told) == EXPERIMENT.steps(run_of(arm), grid) == record["steps"] and EXPERIMENT.work(run_of(arm), grid) > 0
    )
    assert record["parameters"] == (196_418 if spec.published else 196_802)
    assert record["macs"] == BaseRegressor().macs(SHAPE)
    assert record["n_val"] == len(part(scans, split="val")) and record["seconds_cpu"] > 0 < record["seconds_wall"]
    assert record["last_val_loss"] == entry.history[-1]["val_loss"] >= record["best_val_loss"] >= 0
    columns = ["step", "epoch", "train_loss", "val_loss", *(["noise_set"] if spec.probe else [])]
    assert all(list(row) == columns for row in entry.history)
    predicted(entry, arm, scans)


def test_base_has_as_many_labels_and_updates_as_sums_have_sets(scans):
    records = {arm: trained(arm, scans)[0].record for arm in ("base", "hydra-4")}
    assert records["base"]["images"] == records["hydra-4"]["sets"]
    assert records["base"]["steps"] == records["hydra-4"]["steps"]


def predicted(entry: Entry, arm: str, data: Cases) -> None:
    """Every test case once for each arm and split, with its own number."""
    assert list(entry.predictions.columns) == list(store.COLUMNS)
    assert list(dict.fromkeys(entry.predictions["arm"])) == EXPERIMENT.arm_names(grid_of(arm))
    test, splits = data.indices("test"), {"test"} if arm in TRIVIAL_ARMS else {"test", "test-best"}
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


def test_arms_are_validated_as_often_whatever_their_number_of_updates_and_epochs_are_of_scans_or_sets(scans):
    for arm, last in (("base", 8 / N), ("hydra-4", 8 / N), ("base-compute", 32 / N), ("hydra-4-published", 8 / N)):
        entry, _ = trained(arm, scans)
        assert len(entry.history) == 2 and entry.history[-1]["epoch"] == last, arm


def test_all_arms_of_a_seed_have_one_start_and_the_scans_drawn_alike(scans, asked):
    for arms in (BY_CHANCE, UNIFORM):
        first = asked(arms[0], scans)[0]
        for arm in arms[1:]:
            (other,) = asked(arm, scans)
            shared = {name for name in first.start if not name.startswith("norms")} & set(other.start)
            assert len(shared) == 10 and all(torch.equal(first.start[name], other.start[name]) for name in shared), arm
            assert (first.who(scans) == other.who(scans)).all(), arm
            assert first.n_train == other.n_train == N and other.batches.seed == 1
    (one,), (another,) = asked("base", scans), asked("base", scans, seed=2)
    assert not torch.equal(one.start["output.weight"], another.start["output.weight"])
    assert set(one.who(scans)) != set(another.who(scans))


def test_adam_s_rate_rises_and_falls_and_the_published_arms_have_adadelta_of_its_time(scans, asked):
    (ours,), (theirs,) = asked("hydra-4", scans), asked("hydra-4-published", scans)
    assert type(ours.optimiser) is torch.optim.Adam and ours.optimiser.defaults["lr"] == 1e-3
    assert ours.schedule(0) == 0 and ours.schedule(0.25) == 1 and ours.schedule(1) == pytest.approx(0)
    assert type(theirs.optimiser) is torch.optim.Adadelta and theirs.schedule is None
    assert theirs.optimiser.defaults["rho"] == 0.95 and theirs.optimiser.defaults["eps"] == 1e-7


# Who is trained on


@pytest.mark.parametrize("folds", [0, 5])
def test_subsets_are_whole_persons_of_the_training_split_each_within_the_larger(scans, asked, folds):
    grid = grid_of("hydra-4", (8, 12, 16), folds=folds)
    for seed in (0, 1):
        held: set = set()
        for n in (8, 12, 16):
            (one,) = asked("hydra-4", scans, grid, seed, n)
            found = set(one.who(scans))
            assert held < found and len(found) == n
            assert found <= set(part(scans, grid, seed, "train"))
            outside = np.setdiff1d(np.arange(len(scans)), list(found))
            assert not set(scans.group[list(found)]) & set(scans.group[outside])
            held = found


def test_seeds_rotate_the_folds_so_that_every_scan_is_tested_once_in_as_many_seeds(scans):
    grid = grid_of("mean", folds=5)
    met = np.zeros(len(scans), int)
    for seed in range(5, 10):
        test, val = (part(scans, grid, seed, split) for split in ("test", "val"))
        met[test] += 1
        assert set(scans.about["fold"][test]) == {seed % 5} and set(scans.about["fold"][val]) == {(seed + 1) % 5}
        assert set(trained("mean", scans, grid, seed)[0].predictions["case"]) == set(scans.case[test])
    assert (met == 1).all()


@pytest.mark.parametrize("arm", ["hydra-4", "blocks"])
@pytest.mark.parametrize("folds", [0, 5])
def test_a_pilot_predicts_the_validation_scans_and_no_test_scan_decides_anything(scans, arm, folds):
    grid = grid_of(arm, pilot=True, folds=folds)
    entry, _ = trained(arm, scans, grid)
    test, val = (part(scans, grid, split=split) for split in ("test", "val"))
    for _, rows in entry.predictions.groupby("split"):
        assert set(rows["case"]) == set(scans.case[val])
    images, number = scans.images.copy(), scans.target.copy()
    images[test], number[test] = 255 - images[test], number[test] + 5
    assert trained(arm, replace(scans, images=images, target=number), grid)[0].predictions.equals(entry.predictions)


def test_uniform_arms_draw_labels_that_are_spread_evenly(scans, asked):
    skewed = replace(scans, target=scans.target**4 + 0.01)
    low, high = skewed.target[scans.indices("train")].min(), skewed.target[scans.indices("train")].max()

    def thirds(arm):
        who = np.concatenate([asked(arm, skewed, seed=seed)[0].who(scans) for seed in range(4)])
        assert set(scans.split[who]) == {"train"}
        return np.bincount(np.clip((skewed.target[who] - low) / (high - low) * 3, 0, 2.99).astype(int), minlength=3)

    assert thirds("base-uniform")[0] <= 0.6 * 48 < thirds("base")[0]


@pytest.mark.parametrize("arm", ["base", "hydra-4", "hydra-4-published", "hydra-4-uniform", *TRIVIAL_ARMS])
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


def test_the_last_network_is_tested_and_the_best_on_validation_beside_it(scans, monkeypatch):
    """With losses made up, so that the best is the first."""
    real, kept = train.fit, []

    def fit(net, n_train, batch, loss, validate, *rest):
        fixed = iter([{"val_loss": 0.1}, {"val_loss": 0.9}])
        kept.append(real(net, n_train, batch, loss, lambda net: next(fixed), *rest))
        return kept[-1]

    monkeypatch.setattr(train, "fit", fit)
    entry, weights = trained("hydra-4", scans)
    images = scans.images[scans.indices("test")]
    for split, chosen in (("test", kept[0].last), ("test-best", kept[0].best["val_loss"])):
        expected = outputs(chosen, "hydra-4", images) * float(weights["label.constant"]) + entry.record["label_offset"]
        assert rows_of(entry, "hydra-4", split)["prediction"].to_numpy() == pytest.approx(expected, abs=1e-5)
    assert entry.record["best_val_loss"] == 0.1 and entry.record["last_val_loss"] == 0.9
    assert all(torch.equal(weights[name], value) for name, value in kept[0].last.items())
    assert not torch.equal(kept[0].last["output.weight"], kept[0].best["val_loss"]["output.weight"])


def test_a_run_without_a_finite_validation_loss_says_what_to_do(scans, monkeypatch):
    real, losses = train.fit, {"val_loss": np.nan}
    monkeypatch.setattr(train, "fit", lambda *a: real(*a[:4], lambda net: losses, *a[5:]))
    with pytest.raises(RunError, match="hydra-4, N = 12, seed 1.*lower the learning rate"):
        trained("hydra-4", scans)


# Labels and predictions in their unit


@every_network
def test_labels_lose_their_mean_unless_images_may_be_black_and_are_divided(scans, asked, monkeypatch, arm):
    monkeypatch.setattr(noise, "ratios", lambda net, batches: {})
    (one,) = asked(arm, scans)
    y = scans.target[one.who(scans)]
    black = arm in ("hydra-4-black10", *PUBLISHED)
    mean, constant = (0.0, np.sqrt((y**2).mean())) if black else (y.mean(), y.std())
    assert one.batches.labels.numpy() == pytest.approx((y - mean) / constant, abs=1e-6)
    val = scans.split == "val"
    error = outputs(one.start, arm, scans.images[val]) - (scans.target[val] - mean) / constant
    expected = np.abs(error).mean() if "mae" in arm else (error**2).mean()
    assert one.losses["val_loss"] == pytest.approx(expected, rel=1e-4), "of single scans, in training's unit"


@pytest.mark.parametrize("arm", ["base-compute", "hydra-4-mae", "hydra-4-black10"])
def test_labels_in_another_unit_give_the_predictions_in_that_unit(scans, arm):
    entry, weights = trained(arm, scans)
    times, times_weights = trained(arm, replace(scans, target=scans.target * 8))  # exact in floating point
    assert (times.predictions["prediction"] == 8 * entry.predictions["prediction"]).all()
    assert all(torch.equal(weights[k], times_weights[k]) for k in weights if not k.startswith("label"))


def test_centred_labels_give_the_mean_back_whatever_it_is(scans):
    entry, weights = trained("hydra-4", scans)
    more, more_weights = trained("hydra-4", replace(scans, target=scans.target + 16))
    assert more_weights["label.offset"] == weights["label.offset"] + 16 == more.record["label_offset"]
    difference = more.predictions["prediction"] - entry.predictions["prediction"]
    assert difference.to_numpy() == pytest.approx(16, abs=1e-3)


@pytest.mark.parametrize("arm", ["base", "hydra-4", "base-dropout", "hydra-4-published"])
def test_kept_weights_make_the_test_predictions_again(scans, arm):
    grid = grid_of(arm)
    entry, weights = trained(arm, scans, grid)
    again = EXPERIMENT.predict(run_of(arm), grid, weights, scans, CPU)
    assert again.equals(entry.predictions.query("split == 'test'").reset_index(drop=True))


def test_a_baseline_has_no_weights_to_predict_with(scans):
    with pytest.raises(RunError, match="blocks is no network.*ask another arm"):
        EXPERIMENT.predict(run_of("blocks"), GRID, {}, scans, CPU)


def test_the_ridge_on_blocks_is_as_strong_as_is_best_for_validation_scans(scans, monkeypatch):
    images = scans.images.copy()
    images[:, :2] = (20 * scans.target)[:, None, None, None]
    told = replace(scans, images=images)
    best = trained("blocks", told)[0].predictions["prediction"].to_numpy()
    found, val, real = {}, scans.indices("val"), hydranet.STRENGTHS
    for strength in real:
        monkeypatch.setattr(hydranet, "STRENGTHS", (strength,))
        grid = grid_of("blocks", pilot=True)
        error = (trained("blocks", told, grid)[0].predictions["prediction"] - scans.target[val]).to_numpy()
        found[np.square(error).mean()] = trained("blocks", told)[0].predictions["prediction"].to_numpy()
    assert (best == found[min(found)]).all() and len({some.tobytes() for some in found.values()}) == len(real)
