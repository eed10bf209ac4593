"""A prediction table as rectangular arrays: one cell per arm and training size, seeds by cases.

Seeds test the same cases, or, where folds of patients rotate, some test other patients: of two seeds the test cases are
the same, or no patient is in both.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

COLUMNS = ("arm", "n_train", "seed", "split", "case", "group", "target", "prediction")


@dataclass(frozen=True)
class Cell:
    """What one arm, trained on `n_train` cases with each seed, predicts for the test cases, those of all seeds."""

    arm: str
    n_train: int
    seeds: np.ndarray  # (S,) int, ascending
    case: np.ndarray  # (C,) str, ascending
    group: np.ndarray  # (C,) str, patient or scan
    target: np.ndarray  # (C,) float
    prediction: np.ndarray  # (S, C) float, NaN where a seed does not test a case

    def __str__(self) -> str:
        return f"arm {self.arm} at N = {self.n_train}"

    @cached_property
    def tested(self) -> np.ndarray:
        """(S, C) bool"""
        return ~np.isnan(self.prediction)

    @cached_property
    def folds(self) -> np.ndarray:
        """(S,) int from 0: equal for seeds that test the same cases."""
        rows = [row.tobytes() for row in self.tested]  # np.unique with an axis is slow on long rows
        place = {row: fold for fold, row in enumerate(sorted(set(rows)))}
        return np.array([place[row] for row in rows])

    @cached_property
    def key(self) -> bytes:
        """What cells share that have the same test cases, in the same folds."""
        text = repr((self.case.tolist(), self.group.tolist(), self.target.tolist()))
        return text.encode() + b"".join(sorted({row.tobytes() for row in self.tested}))

    def part(self, seeds: np.ndarray) -> Cell:
        """The same of some seeds (bool or places), with the cases that they test."""
        prediction = self.prediction[seeds]
        kept = ~np.isnan(prediction).all(axis=0)
        cases = {name: getattr(self, name)[kept] for name in ("case", "group", "target")}
        return replace(self, seeds=self.seeds[seeds], prediction=prediction[:, kept], **cases)


def cells(
    predictions: pd.DataFrame,
    split: str = "test",
    arms: Collection[str] | None = None,
    n_train: Collection[int] | None = None,
) -> dict[tuple[str, int], Cell]:
    """The table's cells by (arm, n_train), of one split and, if named, of some arms and sizes only.

    Raises ValueError naming the column, arm, size or seed at fault: a missing column, NaN, a case twice, a seed
    that lacks cases of patients whom another seed tests, a case whose target or group differs between rows, and a
    selection that the table does not hold.
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
    seeds, start = np.unique(seed_of[rows], return_index=True)
    parts, which = np.split(rows, start[1:]), f"arm {arm[arm_of[rows[0]]]} at N = {size[size_of[rows[0]]]}"
    folds: dict[bytes, list[int]] = {}  # places of seeds, by the cases that they test
    for place, part in enumerate(parts):
        folds.setdefault(case_of[part].tobytes(), []).append(place)
    fold_of: dict[int, int] = {}  # by group
    for first, *others in folds.values():
        if len(folds) > 1:
            for code in np.unique(group_of[parts[first]]):
                _disjoint(which, seed[seeds], parts, fold_of.setdefault(code, first), first)
        for what, values in (("targets", target), ("groups", group_of)):
            for other in others:
                if (values[parts[other]] != values[parts[first]]).any():
                    raise ValueError(
                        f"{which}: seeds {seed[seeds[first]]} and {seed[seeds[other]]} have different {what}"
                    )
    each = np.concatenate([parts[first] for first, *_ in folds.values()])
    codes, once = np.unique(case_of[each], return_index=True)
    if len(codes) < len(each):
        twice = case[codes[np.bincount(np.searchsorted(codes, case_of[each])) > 1][0]]
        raise ValueError(f"{which}: seeds have different groups for case {twice}")
    predicted = np.full((len(seeds), len(codes)), np.nan)
    for row, part in zip(predicted, parts, strict=True):
        row[np.searchsorted(codes, case_of[part])] = prediction[part]
    return Cell(
        arm=str(arm[arm_of[rows[0]]]),
        n_train=int(size[size_of[rows[0]]]),
        seeds=np.asarray(seed[seeds], dtype=np.int64),
        case=np.asarray(case[codes], dtype=object),
        group=np.asarray(group[group_of[each[once]]], dtype=object),
        target=target[each[once]],
        prediction=predicted,
    )


def _disjoint(which: str, seed: np.ndarray, parts: list[np.ndarray], one: int, other: int) -> None:
    """Raises ValueError: two seeds (places) that share a group, but not all cases."""
    if one == other:
        return
    few, many = sorted((one, other), key=lambda place: len(parts[place]))
    if len(parts[few]) == len(parts[many]):
        raise ValueError(f"{which}: seeds {seed[one]} and {seed[other]} have different cases")
    raise ValueError(
        f"{which}: seed {seed[few]} has {len(parts[few])} cases, another has {len(parts[many])}; "
        "seeds must predict the same cases, or those of other patients"
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
