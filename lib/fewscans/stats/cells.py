"""A prediction table as rectangular arrays: one cell per arm and training size, seeds by cases."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

COLUMNS = ("arm", "n_train", "seed", "split", "case", "group", "target", "prediction")


@dataclass(frozen=True)
class Cell:
    """What one arm, trained on `n_train` cases with each seed, predicts for the same cases."""

    arm: str
    n_train: int
    seeds: np.ndarray  # (S,) int, ascending
    case: np.ndarray  # (C,) str, ascending
    group: np.ndarray  # (C,) str, patient or scan
    target: np.ndarray  # (C,) float
    prediction: np.ndarray  # (S, C) float

    def __str__(self) -> str:
        return f"arm {self.arm} at N = {self.n_train}"


def cells(
    predictions: pd.DataFrame,
    split: str = "test",
    arms: Collection[str] | None = None,
    n_train: Collection[int] | None = None,
) -> dict[tuple[str, int], Cell]:
    """The table's cells by (arm, n_train), of one split and, if named, of some arms and sizes only.

    Raises ValueError naming the column, arm, size or seed at fault: a missing column, NaN, a case twice, a seed
    that lacks cases, a case whose target or group differs between rows, and a selection that the table does not
    hold.
    """
    missing = [column for column in COLUMNS if column not in predictions]
    if missing:
        raise ValueError(f"the prediction table lacks column {missing[0]!r}; it has {', '.join(map(str, predictions))}")
    table = _select(predictions, split, arms, n_train)
    for column in COLUMNS:
        if table[column].isna().any():
            raise ValueError(f"column {column!r} of the prediction table holds NaN")
    arm_of, arm = _codes(table["arm"])
    case_of, case = _codes(table["case"])
    size_of, size = _codes(table["n_train"])
    seed_of, seed = _codes(table["seed"])
    key = ((arm_of.astype(np.int64) * len(size) + size_of) * len(seed) + seed_of) * len(case) + case_of
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(np.diff(key[order]) == 0)
    if twice.size:
        row = table.iloc[order[twice[0]]]
        raise ValueError(
            f"case {row['case']} occurs twice for arm {row['arm']}, N = {row['n_train']}, seed {row['seed']}"
        )
    group_of, group = _codes(table["group"])
    target = table["target"].to_numpy(float)
    prediction = table["prediction"].to_numpy(float)
    cell_key = (arm_of.astype(np.int64) * len(size) + size_of)[order]
    starts = np.append(np.flatnonzero(np.diff(cell_key, prepend=-1)), len(order))
    made = [
        _cell(order[a:b], arm, size, seed, case, group, arm_of, size_of, seed_of, case_of, group_of, target, prediction)
        for a, b in zip(starts, starts[1:], strict=False)
    ]
    return {(cell.arm, cell.n_train): cell for cell in made}


def _cell(rows, arm, size, seed, case, group, arm_of, size_of, seed_of, case_of, group_of, target, prediction) -> Cell:
    """Rows come sorted by seed, then case."""
    seeds, count = np.unique(seed_of[rows], return_counts=True)
    name, n_train = str(arm[arm_of[rows[0]]]), int(size[size_of[rows[0]]])
    if count.min() != count.max():
        short = seeds[count.argmin()]
        raise ValueError(
            f"arm {name} at N = {n_train}: seed {seed[short]} has {count.min()} cases, another has {count.max()}; "
            "every seed must predict the same cases"
        )
    grid = rows.reshape(len(seeds), -1)
    for what, values in (("cases", case_of), ("targets", target), ("groups", group_of)):
        differs = np.flatnonzero((values[grid] != values[grid[0]]).any(axis=1))
        if differs.size:
            pair = f"seeds {seed[seeds[0]]} and {seed[seeds[differs[0]]]}"
            raise ValueError(f"arm {name} at N = {n_train}: {pair} have different {what}")
    first = grid[0]
    return Cell(
        arm=name,
        n_train=n_train,
        seeds=np.asarray(seed[seeds], dtype=np.int64),
        case=np.asarray(case[case_of[first]], dtype=object),
        group=np.asarray(group[group_of[first]], dtype=object),
        target=target[first],
        prediction=prediction[grid],
    )


def _select(predictions, split, arms, n_train) -> pd.DataFrame:
    keep = (predictions["split"] == split).to_numpy(bool, copy=True)
    if not keep.any():
        held = ", ".join(sorted(map(str, predictions["split"].unique()))) or "no rows"
        raise ValueError(f"the prediction table has no split {split!r}; it holds {held}")
    for column, wanted in (("arm", arms), ("n_train", n_train)):
        if wanted is None:
            continue
        keep &= predictions[column].isin(list(wanted)).to_numpy(bool)
        lacking = [w for w in wanted if not (predictions[column] == w).any()]
        if lacking:
            held = ", ".join(map(str, sorted(predictions[column].unique())))
            raise ValueError(f"the prediction table has no {column} {lacking[0]!r}; it holds {held}")
    return predictions[keep]


def _codes(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    code, values = pd.factorize(column, sort=True)
    return code, np.asarray(values)
