"""Seeds that test different folds of patients: each is scored on its own, and the interval still covers."""

import math

import numpy as np
import pandas as pd
import pytest

from fewscans.stats.cells import cells
from fewscans.stats.correlations import williams_of
from fewscans.stats.resample import Joint, Resampled

from .worlds import table

FOLDS = 3
FULL = table({("Z2", 30): 0.8, ("p4m", 30): 1.5, ("p4m", 100): 1.8}, seeds=6, n_groups=45, per_group=4)


def rotated(frame=FULL, folds=FOLDS):
    """Seed s keeps the patients of fold s % folds."""
    return frame[frame["group"].str[4:].astype(int) % folds == frame["seed"] % folds]


ROTATED = rotated()


def test_a_cell_is_of_all_cases_and_empty_where_a_seed_tests_others():
    whole, cell = (cells(frame.sample(frac=1, random_state=0))["Z2", 30] for frame in (FULL, ROTATED))
    assert cell.prediction.shape == whole.prediction.shape and cell.folds.tolist() == [*cell.folds[:3]] * 2
    for name in ("case", "group", "target"):
        np.testing.assert_array_equal(getattr(cell, name), getattr(whole, name))
    fold = np.array([int(group[4:]) % FOLDS for group in whole.group])
    np.testing.assert_array_equal(cell.tested, fold == cell.seeds[:, None] % FOLDS)
    np.testing.assert_array_equal(cell.prediction[cell.tested], whole.prediction[cell.tested])


def first(frame, **where):
    """The row where columns have these values."""
    return frame.index[np.logical_and.reduce([frame[column] == value for column, value in where.items()])][0]


def _lost(frame):
    return frame.drop(index=first(frame, seed=4))


def _other(frame):
    return frame.assign(case=frame["case"].where(frame.index != first(frame, seed=4), "stranger"))


def _target(frame):
    return frame.assign(target=np.where(frame.index == first(frame, seed=4), 0.5, frame["target"]))


def _twice(frame):
    """A case of one fold turns up in another, as another patient's."""
    return frame.assign(case=frame["case"].where(frame["seed"] % FOLDS != 1, frame["case"].iloc[0]).where(
        frame.index == first(frame, seed=1), frame["case"]))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_lost, "seed 4 has 59 cases, another has 60; seeds must predict the same cases, or those of other patients"),
        (_other, "seeds 1 and 4 have different cases"),
        (_target, "seeds 1 and 4 have different targets"),
        (lambda f: _twice(f[f["seed"] < 3]), "seeds have different groups for case case0000"),
    ],
)
def test_a_case_that_a_seed_lacks_by_accident_is_an_error(change, complaint):
    with pytest.raises(ValueError, match=f"arm Z2 at N = 30: {complaint}"):
        cells(change(ROTATED[ROTATED["arm"] == "Z2"]))


def test_each_seed_is_scored_on_its_own_cases_and_all_share_the_draws():
    made = Resampled(ROTATED, "brier", n_bootstrap=200)
    draws, values, groups = made.draws("p4m", 30), made.values("p4m", 30), np.unique(ROTATED["group"])
    weights = np.random.default_rng(0).multinomial(45, np.full(45, 1 / 45), size=200)
    for seed in range(6):
        own = ROTATED[(ROTATED["arm"] == "p4m") & (ROTATED["n_train"] == 30) & (ROTATED["seed"] == seed)]
        error = ((own["prediction"] - own["target"]) ** 2).to_numpy()
        assert values[seed] == pytest.approx(error.mean())
        copies = weights[:, np.searchsorted(groups, own["group"])]
        assert draws[seed] == pytest.approx(copies @ error / copies.sum(axis=1))


def test_draws_must_serve_every_fold():
    some = rotated(FULL[FULL["group"] < "scan006"])  # two patients a fold
    with pytest.raises(ValueError, match="of the draws of 6 groups hold cases of every fold"):
        Resampled(some, "brier", n_bootstrap=200).draws("Z2", 30)
    with pytest.raises(ValueError, match="froc needs seeds that all test the same cases"):
        blank = {"scan": [*FULL["group"].unique()], "nodule": "", "case": "", "malignant": np.nan}
        nodule = {"kind": "nodule", "scan": "scan000", "nodule": "n", "case": "", "malignant": np.nan}
        reference = pd.concat([pd.DataFrame({"kind": "scan"} | blank), pd.DataFrame([nodule])])
        Resampled(ROTATED, "froc", reference=reference).values("Z2", 30)


def errors(rng, seed_sd, group_sd, both_sd, seeds, groups=100):
    """(2, S, G) of two arms, 9 on average in truth: seeds, patients and both add to it, to each arm its own."""
    common = rng.normal(size=groups)
    own = seed_sd * rng.normal(size=(2, seeds, 1)) + group_sd * rng.normal(size=(2, 1, groups))
    return 9 + common + own + both_sd * rng.normal(size=(2, seeds, groups))


def people(rng, *effects, folds=5):
    """The same as a table of predictions whose mean absolute error it is."""
    found = errors(rng, *effects)
    seed, group = np.indices(found.shape[1:])
    kept = group % folds == seed % folds
    named = np.array([f"g{g:03d}" for g in range(found.shape[2])], dtype=object)[group[kept]]
    rows = {"n_train": 9, "seed": seed[kept], "split": "test", "case": named, "group": named, "target": 0.0}
    return pd.concat(
        pd.DataFrame(rows | {"arm": arm, "prediction": x[kept]}) for arm, x in zip(("one", "other"), found, strict=True)
    )


def differs(rng, *effects, folds=5, draws=150):
    """What the library makes of `people`, without a table."""
    found, fold = errors(rng, *effects), np.arange(effects[3]) % folds
    n = found.shape[2]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    values, drawn = np.empty(found.shape[:2]), np.empty((*found.shape[:2], draws))
    for seed, own in enumerate(np.arange(n) % folds == fold[:, None]):
        values[:, seed] = found[:, seed, own].mean(axis=1)
        drawn[:, seed] = found[:, seed, own] @ weights[:, own].T / weights[:, own].sum(axis=1)
    return Joint.of(values, drawn, n, fold).spread(np.array([1.0, -1.0]))


@pytest.mark.parametrize(
    ("seeds", "effects"),
    [(5, (0.5, 0.5, 0.5)), (10, (0.3, 0.5, 0.5)), (10, (0.05, 0.3, 1.0)), (7, (0.2, 0.5, 0.5))],
)
def test_the_interval_of_a_paired_difference_covers(seeds, effects):
    rng, worlds, covered = np.random.default_rng(7), 800, 0
    for _ in range(worlds):
        spread = differs(rng, *effects, seeds)
        covered += abs(spread.value) <= spread.half_width()
    assert 0.92 <= covered / worlds <= 0.98


def test_the_table_gives_what_the_simulation_takes():
    """Up to other draws."""
    made = Resampled(people(np.random.default_rng(2), 0.3, 0.5, 0.5, 10), "mae", n_bootstrap=3000)
    found, same = made.spread({("one", 9): 1.0, ("other", 9): -1.0}), differs(
        np.random.default_rng(2), 0.3, 0.5, 0.5, 10, draws=3000)  # fmt: skip
    assert (found.value, found.seed_variance, found.n_groups) == pytest.approx((same.value, same.seed_variance, 100))
    assert found.variance() == pytest.approx(same.variance(), rel=0.1)


def test_the_parts_of_the_variance_are_told_apart():
    """Patients are not seeds, though each fold has its own seeds, and more seeds do not remove them."""
    rng, parts = np.random.default_rng(0), []
    for _ in range(150):
        s = differs(rng, 0.3, 0.5, 1.0, 20)
        own = s.interaction - s.folded
        parts.append((s.seed_variance - s.n_seeds * s.interaction, s.group_variance - own, own))
    truth = 2 * 0.3**2, 2 * 0.5**2 / 100, 2 * 1.0**2 / (20 * 20)
    assert np.mean(parts, axis=0) == pytest.approx(truth, rel=0.12)
    alone = Resampled(people(rng, 0.0, 1.0, 0.0, 5), "mae", n_bootstrap=150).spread({("one", 9): 1.0})
    assert alone.folded == alone.interaction > 0 and alone.n_groups == 100
    assert alone.seeds_needed(1.5 * math.sqrt(alone.group_variance)) is None


def test_more_seeds_and_groups_are_foreseen():
    """What 20 seeds and twice the people would show, from ten; and the numbers at hand give the spread at hand."""
    rng, seen, foreseen = np.random.default_rng(3), [], []
    for _ in range(200):
        few = differs(rng, 0.4, 0.5, 1.0, 10)
        foreseen.append(few.at(20, 200).variance())
        seen.append(differs(rng, 0.4, 0.5, 1.0, 20, 200).variance())
    assert np.mean(foreseen) == pytest.approx(np.mean(seen), rel=0.15)
    same = few.at(10, 100)
    assert [*vars(same).values()] == pytest.approx([*vars(few).values()])


def test_folds_of_one_are_no_folds():
    values, draws = np.random.default_rng(0).normal(size=(2, 4)), np.random.default_rng(1).normal(size=(2, 4, 50))
    one, other = (Joint.of(values, draws, 9, folds).spread(np.ones(2)) for folds in (None, np.zeros(4, int)))
    assert one == other


def test_sizes_with_more_seeds_are_compared_by_the_seeds_that_all_have():
    for frame in (FULL, ROTATED):
        few = frame[(frame["n_train"] == 30) | (frame["seed"] < 4)]
        found, same = (
            Resampled(f, n_bootstrap=200).spread({("p4m", 100): 1.0, ("Z2", 30): -1.0})
            for f in (few, frame[frame["seed"] < 4])
        )
        assert found == same and found.n_seeds == 4
        assert Resampled(few, n_bootstrap=200).spread({("p4m", 30): 1.0, ("Z2", 30): -1.0}).n_seeds == 6
    two = ROTATED[(ROTATED["n_train"] == 30) | (ROTATED["seed"] < 2)]
    assert Resampled(two, n_bootstrap=200).spread({("p4m", 100): 1.0, ("Z2", 30): -1.0}).n_groups == 30
    one = FULL[(FULL["n_train"] == 30) | (FULL["seed"] < 1)]
    with pytest.raises(ValueError, match="arm p4m at N = 100 lacks seeds 1, 2, 3, 4, 5"):
        Resampled(one, n_bootstrap=200).spread({("Z2", 30): -1.0, ("p4m", 100): 1.0})
    uneven = FULL[(FULL["arm"] == "p4m") | (FULL["seed"] < 4)]
    for keys in ([("p4m", 30), ("Z2", 30)], [("p4m", 100), ("p4m", 30), ("Z2", 30)]):
        with pytest.raises(ValueError, match="arm Z2 at N = 30 lacks seeds 4, 5"):
            Resampled(uneven, n_bootstrap=200).joint(keys)


def test_arms_whose_seeds_test_other_folds_are_not_paired():
    other = ROTATED[ROTATED["arm"] == "p4m"].assign(seed=lambda t: (t["seed"] + 1) % 6)
    both = pd.concat([ROTATED[ROTATED["arm"] == "Z2"], other])
    with pytest.raises(ValueError, match="a seed tests other cases in one than in the other"):
        Resampled(both, n_bootstrap=200).spread({("p4m", 30): 1.0, ("Z2", 30): -1.0})


def test_williams_averages_over_the_seeds_that_tested_a_case():
    rng = np.random.default_rng(0)
    frame = ROTATED.assign(target=ROTATED["case"].map(lambda c: float(c[4:]) % 7), n_train=30)
    frame = frame[ROTATED["n_train"] == 30]
    frame["prediction"] = frame["target"] + rng.normal(size=len(frame)) * np.where(frame["arm"] == "Z2", 2.0, 1.0)
    found = williams_of(frame, ("p4m", "Z2"), [30])
    mean = frame.pivot_table(index="case", columns="arm", values="prediction").assign(
        target=frame.groupby("case")["target"].first()
    )
    assert found.r_first == pytest.approx(mean.corr().loc["p4m", "target"]) and found.n == 180
    assert found.r_first > found.r_second
