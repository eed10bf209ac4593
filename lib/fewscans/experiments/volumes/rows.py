"""The rows of a table: measures of each case, in each split that an arm is compared in. See the package's docstring."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fewscans.data.base import Cases
from fewscans.experiments.base import Run
from fewscans.experiments.volumes.arms import ARMS, VOLUME, Arm
from fewscans.experiments.volumes.batches import BLOCK

DIGITS = 4  # of a measure in the table
STORED = ("float32", "uint8", "thin", "thick2mm")  # values of about["stored"] with a split of their own
COLUMNS = ["arm", "n_train", "seed", "split", "case", "group", "target", "prediction"]


def of_arm(run: Run, arm: str, cases: Cases, test: np.ndarray, whole: list, thick: list) -> list[pd.DataFrame]:
    """An arm's rows in each split that it is compared in."""
    spec, stored = ARMS[arm], cases.about["stored"].to_numpy(str)[test]
    kept = {} if spec.pool == "scan" else {"test": np.ones(len(test), bool)}  # other sides may have been trained on
    if plain(spec) and spec.thick == 0 and spec.updates == 1:
        if spec.pool in ("person", "scan"):
            kept["test-first"] = np.isin(test, first_of_each(cases, test))
        if spec.pool != "scan":
            kept |= {f"test-{kind}": stored == kind for kind in STORED if (stored == kind).any()}
    shallow = cases.about["shape_z"].min() < 2 * BLOCK  # scans that have thick slices as they are
    thick = thick if spec.pool == "person" and spec.updates == 1 and not shallow else []
    tables = [
        _rows(run, arm, split, cases, test[which], [m for m, use in zip(whole, which, strict=True) if use])
        for split, which in kept.items()
    ]
    return [*tables, *([_rows(run, arm, "test-thick", cases, test, thick)] if thick else [])]


def plain(arm: Arm) -> bool:
    """Whether it is one network that sees a whole volume, or slices across z."""
    return arm.made == "whole" and arm.of in ((VOLUME,), ("z",))


def first_of_each(cases: Cases, index: np.ndarray) -> np.ndarray:
    """Of some cases, the first of every person."""
    return np.sort(index[np.unique(cases.group[index], return_index=True)[1]])


def _rows(
    run: Run, arm: str, split: str, cases: Cases, index: np.ndarray, found: list[dict[str, tuple[float, float]]]
) -> pd.DataFrame:
    """A row for each measure of each case."""
    rows = [
        (arm, run.n_train, run.seed, split, f"{cases.case[i]}/{name}", cases.group[i], *np.round(pair, DIGITS))
        for i, of_case in zip(index, found, strict=True)
        for name, pair in of_case.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n_train": "int64", "seed": "int64"})
