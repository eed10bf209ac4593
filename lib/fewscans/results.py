"""Results: the tables of one run, from git or from this machine, each read whole and checked; scores and intervals.

Everything that is drawn, listed or decided comes from here: scores, gains and data-efficiency factors with intervals.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fewscans import experiments, integrity, paths
from fewscans.data import registry
from fewscans.data.base import Dataset
from fewscans.errors import RunError
from fewscans.experiments.base import Arm
from fewscans.stats import Estimate
from fewscans.stats.cells import COLUMNS, cells
from fewscans.stats.efficiency import data_efficiency
from fewscans.stats.intervals import combination
from fewscans.stats.reference import Reference
from fewscans.stats.resample import Resampled
from fewscans.stats.scores import score

SPLITS = (
    "val", "test", "test-small-val", "test-independent", "test-lesions", "test-roughness", "test-cells",
    "test-style", "test-pointing", "test-AP", "test-PA", "test-best", "test-turned", "test-malignant", "test-thick",
    "test-first", "test-float32", "test-uint8", "test-thin", "test-thick2mm",
)  # fmt: skip
HISTORY = ("arm", "n_train", "seed", "step", "epoch", "train_loss", "val_loss")
BESIDE = ("history", "reference")  # Parquet files of a published folder that are no arm's
N_BOOTSTRAP = 1000


@dataclass(frozen=True, eq=False)
class Results:
    """The tables of one run.

    predictions, history: tables.   records: one dict a run.   about: run, experiment, dataset, twin, real, profile,
    arms, seeds, and what decided them.   reference: what scores of detection need (`stats.reference`); None without.
    published: kept in git, not made on this machine.
    """

    predictions: pd.DataFrame
    history: pd.DataFrame
    records: list[dict]
    about: dict
    reference: pd.DataFrame | None = None
    published: bool = False
    n_bootstrap: int = N_BOOTSTRAP
    _resampled: dict[tuple[str, str], Resampled] = field(default_factory=dict, repr=False)

    @property
    def run(self) -> str:
        return self.about["run"]

    @property
    def real(self) -> bool:
        return self.about["real"]

    @property
    def profile(self) -> str | None:
        return self.about["profile"]

    @cached_property
    def dataset(self) -> Dataset:
        """The data set of the test cases."""
        return registry.dataset(self.about["dataset"].rpartition("-on-")[2])

    @property
    def name(self) -> str:
        """ "real LUNA16 candidate patches", "synthetic twin of the LUNA16 candidate patches"."""
        if self.real:
            return f"real {self.dataset.title}"
        return self.dataset.title if self.dataset.control else f"synthetic twin of the {self.dataset.title}"

    @property
    def label(self) -> str:
        """The name, where the tables come from, and whether runs of the grid are missing."""
        where = "published" if self.published else "this machine"
        missing = ", incomplete" if self.about.get("incomplete") else ""
        return f"{self.name} ({where}, profile {self.profile or 'unknown'}{missing})"

    @cached_property
    def arms(self) -> list[str]:
        """In the order of the table."""
        return [str(arm) for arm in self.predictions["arm"].unique()]

    def arm(self, name: str) -> Arm:
        """How an arm is called and drawn; an arm that the experiment no longer has keeps its name, in black."""
        return experiments.get(self.about["experiment"]).ARMS.get(name) or Arm(label=name)

    @property
    def _own_score(self) -> str | None:
        return getattr(experiments.get(self.about["experiment"]), "score", None)

    @property
    def score_name(self) -> str:
        """What networks are compared by: the experiment's score, if it has one, else the data set's; AUC where the
        tables lack what FROC needs.
        """
        if self._own_score:
            return self._own_score
        lacking = self.reference is None and self.dataset.score in ("froc", "lesion_froc")
        return "auc" if lacking else self.dataset.score

    def resampled(self, score: str | None = None, split: str = "test") -> Resampled:
        """The table under one score, resampled once for all that ask for it."""
        score = score or self.score_name
        if (score, split) not in self._resampled:
            table = Resampled(self.predictions, score, split, self.n_bootstrap, reference=self.reference)
            self._resampled[score, split] = table
        return self._resampled[score, split]

    def sizes(self, *arms: str, score: str | None = None) -> list[int]:
        """Training sizes at which all these arms have the score."""
        table = self.resampled(score)
        return sorted(set.intersection(*(set(table.sizes(arm)) for arm in arms)))

    def has(self, arm: str, n_train: int) -> bool:
        return (arm, n_train) in self.resampled().cells

    def failed(self, arm: str, n_train: int) -> tuple[int, int]:
        """Of how many trainings the loss stayed at guessing, and how many there are; of old tables none is known."""
        trained = self.arm(arm).computed_with or arm
        mine = [r.get("failed", False) for r in self.records if (r["arm"], r["n_train"]) == (trained, n_train)]
        return sum(mine), len(mine)

    def score(self, arm: str, n_train: int, score: str | None = None, split: str = "test") -> Estimate:
        """An arm's mean score over seeds."""
        table = self.resampled(score, split)
        return rounded(table.spread({(arm, n_train): 1.0}).estimate(0.95, table.score.bounds))

    def gain(self, arm: str, baseline: str, n_train: int, score: str | None = None, split: str = "test") -> Estimate:
        """Score of `arm` minus that of `baseline`, paired by seed and case."""
        terms = combination(((arm, n_train), 1.0), ((baseline, n_train), -1.0))
        return rounded(self.resampled(score, split).spread(terms).estimate(0.95))

    def factor(self, arm: str, baseline: str, n_train: int, score: str | None = None) -> Estimate:
        """How many times more training cases the baseline needs for what `arm` scores at `n_train`."""
        return rounded(data_efficiency(self.resampled(score), baseline, arm, n_train=n_train))

    def scores(self, arms: Iterable[str], score: str | None = None, split: str = "test") -> pd.DataFrame:
        """Scores at every size as a tidy table: arm, n_train, value, low, high, censored. Absent arms have no rows."""
        return _tidy(
            (arm, n, self.score(arm, n, score, split))
            for arm in self._present(arms)
            for n in self.sizes(arm, score=score)
        )

    def gains(self, arms: Iterable[str], baseline: str, score: str | None = None, split: str = "test") -> pd.DataFrame:
        """Gains over the baseline at every size that both have, as a tidy table."""
        both = [(arm, n) for arm in self._present(arms) for n in self.sizes(arm, baseline, score=score)]
        return _tidy((arm, n, self.gain(arm, baseline, n, score, split)) for arm, n in both)

    def factors(self, arms: Iterable[str], baseline: str, score: str | None = None) -> pd.DataFrame:
        """Data-efficiency factors at every size, as a tidy table; no rows where the baseline has a single size."""
        some = self._present(arms) if len(self.sizes(baseline)) > 1 else []
        return _tidy((arm, n, self.factor(arm, baseline, n, score)) for arm in some for n in self.sizes(arm))

    def _present(self, arms: Iterable[str]) -> list[str]:
        return [arm for arm in arms if arm in self.arms]

    @cached_property
    def test_set(self) -> dict[str, int]:
        """Sizes of the test set: cases (images, if each has several findings), groups, seeds; for labels, positive."""
        number = experiments.get(self.about["experiment"]).target == "number"
        name = self._own_score or ("mse" if number else "auc")
        cell = next(iter(self.resampled(name).cells.values()))
        case, positive = (pd.Series(cell.case[rows]) for rows in (slice(None), cell.target == 1))
        if score(self.score_name).findings is not None:
            case, positive = (names.str.rpartition("/")[0].drop_duplicates() for names in (case, positive))
        sizes = {"cases": len(case), "groups": len(np.unique(cell.group)), "seeds": len(cell.seeds)}
        return sizes if number else sizes | {"positive": len(positive)}

    @property
    def provenance(self) -> dict:
        """For a figure's file: what was trained on what, by which code; no time, no place."""
        keys = ("run", "real", "profile", "incomplete", "code", "data", "seeds", "device", "torch")
        command = f"fewscans train {self.run}" + f" --profile {self.profile}" * bool(self.profile)
        told = {key: self.about[key] for key in keys if key in self.about}
        return told | {"command": command, "n_bootstrap": self.n_bootstrap}


def rounded(e: Estimate, digits: int = 4) -> Estimate:
    """To what can be seen, so that a figure's bytes do not depend on the last bits of a machine's arithmetic."""
    value, low, high = (float(np.round(x, digits)) for x in (e.value, e.low, e.high))
    return Estimate(value, low, high, e.level, e.censored)


def _tidy(rows: Iterable[tuple[str, int, Estimate]]) -> pd.DataFrame:
    columns = ["arm", "n_train", "value", "low", "high", "censored"]
    return pd.DataFrame([(arm, n, e.value, e.low, e.high, e.censored) for arm, n, e in rows], columns=columns)


def at_hand(experiment: str, dataset: str, n_bootstrap: int = N_BOOTSTRAP) -> list[Results]:
    """All there is, real before twin: published on real data, then a published twin, else this machine's twin."""
    twin = published(experiment, f"{dataset}-twin", n_bootstrap)
    if twin is None:
        twin = this_machine(f"{experiment}-{dataset}-twin", n_bootstrap)
    return [results for results in (published(experiment, dataset, n_bootstrap), twin) if results is not None]


def published(experiment: str, dataset: str, n_bootstrap: int = N_BOOTSTRAP) -> Results | None:
    """What git keeps of an experiment on a data set (a twin's ends in -twin); None if nothing."""
    there = any(folder_of(experiment, dataset).glob("*.parquet"))
    return load_published(experiment, dataset, n_bootstrap) if there else None


def this_machine(run: str, n_bootstrap: int = N_BOOTSTRAP) -> Results | None:
    """This machine's run; None if it was not trained."""
    return read_run(run, n_bootstrap) if (paths.runs() / f"{run}.parquet").exists() else None


def folder_of(experiment: str, dataset: str) -> Path:
    """reports/published/<experiment>/<dataset>; a twin's dataset is called <dataset>-twin."""
    return paths.published() / experiment / dataset


def load_published(experiment: str, dataset: str, n_bootstrap: int = N_BOOTSTRAP) -> Results:
    """What git keeps of one experiment on one data set (`dataset` ends in -twin for a twin).

    Text columns come as categories, as the tables are long. Raises RunError if there is nothing, or files are missing.
    """
    folder = folder_of(experiment, dataset)
    found = {path.stem: path for path in folder.glob("*.parquet") if path.stem not in BESIDE}
    if not found:
        raise RunError(
            f"{folder}: nothing is published there; `fewscans publish {experiment}-{dataset}` publishes a finished run"
        )
    integrity.check_published(folder)
    tables = {arm: _read(path) for arm, path in found.items()}
    abouts = {arm: json.loads(table.schema.metadata[b"fewscans"]) for arm, table in tables.items()}
    about = dict(next(iter(abouts.values())))
    odd = sorted(set(about["arms"]) ^ set(found)) or sorted(
        a for a in abouts if abouts[a] | {"arm": None} != about | {"arm": None}
    )
    if odd:
        raise RunError(
            f"{folder}: the arms published together were {', '.join(about['arms'])}, but {odd[0]} is missing, "
            "or was written by another run or code version; restore the folder from git, or publish again"
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
    if not (folder / "history.parquet").exists() or not (folder / "records.json").exists():
        raise RunError(f"{folder}: history.parquet or records.json is missing; restore them from git")
    history = integrity.frame(folder / "history.parquet", "restore it from git")
    records = integrity.records(folder / "records.json", "restore it from git")
    if about.get("reference", False) != (folder / "reference.parquet").exists():
        raise RunError(f"{folder}: reference.parquet is missing, or of another run; restore the folder from git")
    reference = _reference(folder / "reference.parquet", "restore it from git")
    return Results(predictions, history, records, about, reference, True, n_bootstrap)


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
        frame = integrity.frame(path, remedy)
        if frame.empty:
            return None
        Reference.of(frame)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunError(f"{path.parent.name}/{path.name}: not a reference ({error}); {remedy}") from error
    return frame


def pilot(run: str, n_bootstrap: int = N_BOOTSTRAP) -> Results | None:
    """What git keeps of a run's pilots, on validation cases; None if nothing."""
    return read_run(run, n_bootstrap, paths.pilots()) if (paths.pilots() / f"{run}.parquet").exists() else None


def read_run(run: str, n_bootstrap: int = N_BOOTSTRAP, folder: Path | None = None) -> Results:
    """This machine's finished run, or what another folder holds of it, checked. Raises RunError."""
    folder = folder or paths.runs()
    ends = (".parquet", ".history.parquet", ".records.json", ".about.json")
    table, history, records, about = (folder / f"{run}{end}" for end in ends)
    for path in (table, history, records, about):
        if not path.exists():
            raise RunError(f"{folder.name}/{path.name} does not exist; `fewscans train {run}` makes it")
    experiment, _, dataset = run.partition("-")
    twin = dataset.endswith("-twin")
    remedy = f"`fewscans train {run}` writes it anew"
    predictions, past = (integrity.frame(path, remedy) for path in (table, history))
    recorded, facts = integrity.records(records, remedy), integrity.about(about, remedy)
    facts |= {"experiment": experiment, "dataset": dataset.removesuffix("-twin"), "twin": twin, "real": not twin}
    _check(f"runs/{table.name}", predictions, experiments.get(experiment).target)
    facts["seeds"] = sorted(int(seed) for seed in predictions["seed"].unique())
    facts |= {key: sorted({str(r[key]) for r in recorded if key in r}) for key in ("device", "torch")}
    reference = _reference(folder / f"{run}.reference.parquet", f"`fewscans train {run}` writes it anew")
    results = Results(predictions, past, recorded, facts, reference, False, n_bootstrap)
    if reference is not None:
        _check_reference(results)
    if any(r.get(key) != facts[key] for r in recorded for key in ("code", "data")):
        raise RunError(f"runs/{records.name} and .about.json tell of different code or data; train {run} again")
    lacking = [column for column in HISTORY if column not in results.history]
    if lacking:
        raise RunError(f"runs/{history.name} lacks column {lacking[0]!r}")
    known = {(r["arm"], r["n_train"], r["seed"]) for r in recorded}
    cell = predictions[["arm", "n_train", "seed"]].drop_duplicates()
    for arm, n, seed in zip(cell["arm"], cell["n_train"], cell["seed"], strict=True):
        if (results.arm(arm).computed_with or arm, n, seed) not in known:
            raise RunError(f"runs/{records.name} has no record of arm {arm} at N = {n}, seed {seed}; train {run} again")
    trained = [(r["arm"], r["n_train"], r["seed"]) for r in recorded if r.get("parameters")]
    integrity.check_history(f"runs/{history.name}", past, trained, f"runs/{records.name}", f"train {run} again")
    integrity.check_run(folder, run, facts, remedy)
    return results


def _check_reference(results: Results) -> None:
    """A reference of another test set would give a wrong FROC without a word."""
    table = results.predictions
    lesions = (table["split"] == "test-lesions").any()
    split = "test-lesions" if lesions else "test" + score(results.dataset.score).rows
    reference, tested = Reference.of(results.reference), table[table["split"] == split]
    try:
        for cell in cells(tested, split).values() if len(tested) else ():
            reference.layout(cell)
    except ValueError as error:
        run = results.run
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
