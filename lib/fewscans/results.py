"""Results as they lie on disk: run tables of this machine, and those that git keeps, each read whole and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fewscans import paths
from fewscans.errors import RunError
from fewscans.stats.cells import COLUMNS, cells
from fewscans.stats.reference import Reference

SPLITS = ("val", "test", "test-small-val")
HISTORY = ("arm", "n_train", "seed", "step", "epoch", "train_loss", "val_loss")
BESIDE = ("history", "reference")  # Parquet files of a published folder that are no arm's


class Published(NamedTuple):
    """predictions, history: tables; records: one dict a run; about: run, experiment, dataset, twin, real, profile,
    arms, seeds and what decided them; reference: what scores of detection need (`stats.reference`), None without.
    """

    predictions: pd.DataFrame
    history: pd.DataFrame
    records: list[dict]
    about: dict
    reference: pd.DataFrame | None = None


class Finished(NamedTuple):
    """This machine's run: predictions, history, records and, where its data set has nodules, the reference."""

    predictions: pd.DataFrame
    history: pd.DataFrame
    records: list[dict]
    reference: pd.DataFrame | None


def folder_of(experiment: str, dataset: str) -> Path:
    """reports/published/<experiment>/<dataset>; a twin's dataset is called <dataset>-twin."""
    return paths.published() / experiment / dataset


def load_published(experiment: str, dataset: str) -> Published:
    """What git keeps of one experiment on one data set (`dataset` ends in -twin for a twin).

    Text columns come as categories, as the tables are long. Raises RunError if there is nothing, or files are missing.
    """
    folder = folder_of(experiment, dataset)
    found = {path.stem: path for path in folder.glob("*.parquet") if path.stem not in BESIDE}
    if not found:
        raise RunError(
            f"{folder}: nothing is published there; `fewscans publish {experiment}-{dataset}` publishes a finished run"
        )
    tables = {arm: _read(path) for arm, path in found.items()}
    abouts = {arm: json.loads(table.schema.metadata[b"fewscans"]) for arm, table in tables.items()}
    about = dict(next(iter(abouts.values())))
    odd = sorted(set(about["arms"]) ^ set(found)) or sorted(
        a for a in abouts if abouts[a] | {"arm": None} != about | {"arm": None}
    )
    if odd:
        raise RunError(
            f"{folder}: the arms published together were {', '.join(about['arms'])}, but {odd[0]} is missing, "
            "a stranger or from another time; restore the folder from git, or publish again"
        )
    about.pop("arm")
    # all arms share the categories, or pandas would fall back to plain text on joining them
    joined = pa.concat_tables([tables[arm].replace_schema_metadata(None) for arm in about["arms"]]).combine_chunks()
    names = ("arm", "split", "case", "group")
    coded = [
        joined[name].dictionary_encode().combine_chunks() if name in names else joined[name]
        for name in joined.column_names
    ]
    predictions = pa.table(coded, names=joined.column_names).to_pandas()
    history = pq.read_table(folder / "history.parquet").to_pandas() if (folder / "history.parquet").exists() else None
    if history is None or not (folder / "records.json").exists():
        raise RunError(f"{folder}: history.parquet or records.json is missing; restore them from git")
    records = json.loads((folder / "records.json").read_text(encoding="utf-8"))
    if about.get("reference", False) != (folder / "reference.parquet").exists():
        raise RunError(f"{folder}: reference.parquet is missing, or of another time; restore the folder from git")
    reference = _reference(folder / "reference.parquet", "restore it from git")
    return Published(predictions, history, records, about, reference)


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{path}: not a readable Parquet file ({error}); restore it from git") from error
    if tuple(table.column_names) != COLUMNS or b"fewscans" not in (table.schema.metadata or {}):
        raise RunError(f"{path}: not a published table; restore it from git, or remove it")
    return table


def _reference(path: Path, remedy: str) -> pd.DataFrame | None:
    """The reference, checked; None if there is none, or none of its rows."""
    if not path.exists():
        return None
    try:
        frame = pd.read_parquet(path)
        if frame.empty:
            return None
        Reference.of(frame)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunError(f"{path.parent.name}/{path.name}: not a reference ({error}); {remedy}") from error
    return frame


def read_run(run: str) -> Finished:
    """This machine's finished run, checked. Raises RunError."""
    table, history, records = (
        paths.runs() / f"{run}{end}" for end in (".parquet", ".history.parquet", ".records.json")
    )
    for path in (table, history, records):
        if not path.exists():
            raise RunError(f"runs/{path.name} does not exist; `fewscans train {run}` makes it")
    found = Finished(
        pd.read_parquet(table),
        pd.read_parquet(history),
        json.loads(records.read_text(encoding="utf-8")),
        _reference(paths.runs() / f"{run}.reference.parquet", f"`fewscans train {run}` writes it anew"),
    )
    _check(f"runs/{table.name}", found.predictions, kind_of_target(run.partition("-")[0]))
    if found.reference is not None:
        _check_reference(run, found)
    lacking = [column for column in HISTORY if column not in found.history]
    if lacking:
        raise RunError(f"runs/{history.name} lacks column {lacking[0]!r}")
    recorded = {(r["arm"], r["n_train"], r["seed"]) for r in found.records}
    cell = found.predictions[["arm", "n_train", "seed"]].drop_duplicates()
    for arm, n, seed in zip(cell["arm"], cell["n_train"], cell["seed"], strict=True):
        if (base_arm(arm), n, seed) not in recorded:
            raise RunError(f"runs/{records.name} has no record of arm {arm} at N = {n}, seed {seed}; train {run} again")
    return found


def base_arm(arm: str) -> str:
    """The arm whose runs were trained: test-time augmentation is computed along with the plain arm, and so is a scan
    among black images with the arm of sets.
    """
    return arm.split("-tta-")[0].removesuffix("-black")


def kind_of_target(experiment: str) -> str:
    """What the experiment predicts: "label", 0 or 1, by a probability, or "number", in its own unit."""
    from fewscans import experiments

    return experiments.TARGETS.get(experiment, "label")


def profile_of(run: str, predictions: pd.DataFrame, records: list[dict], loaded) -> tuple[str | None, list[str]]:
    """Which profile of params.yaml made a table, and what of that grid it lacks.

    Runs of different profiles share a store and carry no profile themselves, so the table is compared with each
    grid: it belongs to the one with its updates per run of which it holds most; None, if updates fit none.
    """
    have = set(
        predictions[["arm", "n_train", "seed"]]
        .drop_duplicates()
        .astype({"arm": str})
        .itertuples(index=False, name=None)
    )
    steps = {(record["arm"], record["steps"]) for record in records if "steps" in record}
    best: tuple[float, str | None, list[str]] = (-1.0, None, [])
    for profile, grid in loaded.grids.get(run, {}).items():
        want = {(arm, n, seed) for arm, n in _wanted(run, grid, loaded) for seed in range(grid.seeds)}
        updates = {(arm, steps_of) for arm, steps_of in _steps(run, grid, loaded)}
        shared = {arm for arm, _ in steps} & {arm for arm, _ in updates}
        if any((arm, value) not in updates for arm, value in steps if arm in shared) or not shared and steps:
            continue
        fit = len(have & want) / len(have | want)
        if fit > best[0]:
            gaps = [f"arm {arm} at N = {n}, seed {seed}" for arm, n, seed in sorted(want - have)]
            best = (fit, profile, gaps)
    return best[1], best[2]


def _wanted(run: str, grid, loaded) -> list[tuple[str, int]]:
    from fewscans import experiments

    names = experiments.get(loaded.run(run).experiment).arm_names(grid)
    return [(arm, n) for arm in names for n in grid.arms[base_arm(arm)]]


def _steps(run: str, grid, loaded) -> list[tuple[str, int]]:
    from fewscans import experiments

    module = experiments.get(loaded.run(run).experiment)
    return [(arm, module.steps(experiments.Run(0, sizes[0], arm, 0.0), grid)) for arm, sizes in grid.arms.items()]


def _check_reference(run: str, found: Finished) -> None:
    """A reference of another test set would give a wrong FROC without a word."""
    reference, tested = Reference.of(found.reference), found.predictions[found.predictions["split"] == "test"]
    try:
        for cell in cells(tested).values() if len(tested) else ():
            reference.layout(cell)
    except ValueError as error:
        raise RunError(f"runs/{run}.reference.parquet: {error}; `fewscans train {run}` writes both anew") from None


def _check(name: str, table: pd.DataFrame, kind: str) -> None:
    """A table that is not what it should be is never published."""
    if list(table.columns) != list(COLUMNS):
        raise RunError(f"{name} has columns {', '.join(map(str, table.columns))}; it must have {', '.join(COLUMNS)}")
    for column in ("n_train", "seed"):
        if not pd.api.types.is_integer_dtype(table[column]):
            raise RunError(f"{name}: column {column!r} is {table[column].dtype}; it must be whole numbers")
    odd = sorted(set(map(str, table["split"].unique())) - set(SPLITS))
    if odd:
        raise RunError(f"{name}: unknown split {odd[0]!r}; splits are {', '.join(SPLITS)}")
    (_check_numbers if kind == "number" else _check_labels)(name, table)
    for split in table["split"].unique():
        try:
            cells(table, split)
        except ValueError as error:
            raise RunError(f"{name}: {error}") from None


def _check_labels(name: str, table: pd.DataFrame) -> None:
    wrong = table["prediction"][~table["prediction"].between(0, 1)]
    if len(wrong):
        raise RunError(
            f"{name}: prediction {wrong.iloc[0]} in row {wrong.index[0]}; a probability lies between 0 and 1"
        )
    wrong = table["target"][~table["target"].isin((0, 1))]
    if len(wrong):
        raise RunError(f"{name}: target {wrong.iloc[0]} in row {wrong.index[0]}; it is 0 or 1")


def _check_numbers(name: str, table: pd.DataFrame) -> None:
    for column in ("prediction", "target"):
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise RunError(f"{name}: column {column!r} is {table[column].dtype}; it must be numbers")
        wrong = table[column][~np.isfinite(table[column].astype(float))]
        if len(wrong):
            raise RunError(f"{name}: {column} {wrong.iloc[0]} in row {wrong.index[0]}; it must be a finite number")
    test = table["target"][table["split"] == "test"]
    if test.nunique() < 2:
        held = f"all test targets are {test.iloc[0]}" if len(test) else "there are no test cases"
        raise RunError(f"{name}: {held}; there is nothing to tell apart")
