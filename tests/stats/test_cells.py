"""A prediction table with a hole, a double or a stranger in it is named, never averaged over."""

import numpy as np
import pytest

from fewscans.stats.cells import cells

from .worlds import table

WORLD = table({("Z2", 30): 1.0, ("p4m", 30): 2.0}, seeds=3, n_groups=5, per_group=4)


def test_cells_hold_the_table_whatever_its_order():
    shuffled = WORLD.sample(frac=1, random_state=1)
    one, other = cells(WORLD), cells(shuffled)
    assert set(one) == {("Z2", 30), ("p4m", 30)}
    for key, cell in one.items():
        assert cell.prediction.shape == (3, 20)
        np.testing.assert_array_equal(cell.prediction, other[key].prediction)
        row = WORLD[(WORLD["arm"] == key[0]) & (WORLD["seed"] == 2) & (WORLD["case"] == "case0007")].iloc[0]
        assert cell.prediction[2, 7] == row["prediction"] and cell.target[7] == row["target"]
        assert cell.group[7] == row["group"]


def broken(change):
    damaged = WORLD.copy()
    return change(damaged)


def _set(column, value):
    def change(frame):
        frame.loc[7, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: f.drop(columns="group"), "lacks column 'group'"),
        (_set("prediction", np.nan), "column 'prediction' of the prediction table holds NaN"),
        (lambda f: f.drop(index=7), "seed 0 has 19 cases, another has 20"),
        (_set("case", "case0008"), "case case0008 occurs twice for arm Z2, N = 30, seed 0"),
        (_set("case", "stranger"), "have different cases"),
        (_set("group", "scan999"), "have different groups"),
        (lambda f: f.assign(target=np.where(f.index == 7, 1 - f["target"], f["target"])), "have different targets"),
    ],
)
def test_damage_is_one_clear_error(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        cells(broken(change))


def test_an_absent_selection_names_what_there_is():
    with pytest.raises(ValueError, match="no split 'val'; it holds test"):
        cells(WORLD, split="val")
    with pytest.raises(ValueError, match="no arm 'p4'; it holds Z2, p4m"):
        cells(WORLD, arms=["p4"])
    with pytest.raises(ValueError, match="no n_train 100; it holds 30"):
        cells(WORLD, n_train=[100])
