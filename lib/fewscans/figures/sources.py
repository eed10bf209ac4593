"""Where a figure's numbers come from: results on real data that git keeps, or this machine's run on the twin.

Every figure and table says which it is: only real data replicates; a twin shows that the mechanism works here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from fewscans import params, paths
from fewscans.errors import RunError
from fewscans.figures.picture import Picture
from fewscans.figures.tasks import Task, task_of
from fewscans.results import folder_of, load_published, profile_of, read_run
from fewscans.stats import Estimate
from fewscans.stats.efficiency import data_efficiency
from fewscans.stats.intervals import combination
from fewscans.stats.resample import Resampled
from fewscans.verdicts import Tables

N_BOOTSTRAP = 1000


class NotYet(RunError):
    """A figure asks for arms or sizes that a run does not have, or not yet; the notebook says so and goes on."""


@dataclass(frozen=True, eq=False)
class Source:
    """The tables of one run.   real: of real data, not of a twin.   about: what made them, for provenance."""

    run: str
    real: bool
    published: bool
    profile: str | None
    tables: Tables
    records: list[dict]
    about: dict

    @property
    def task(self) -> Task:
        return task_of(self.run)

    @property
    def name(self) -> str:
        """ "real LUNA16 candidate patches", "synthetic twin of the LUNA16 candidate patches"."""
        title = self.task.title
        if self.real:
            return f"real {title}"
        return title if title.endswith("control") else f"synthetic twin of the {title}"

    @property
    def origin(self) -> str:
        """ "published, profile paper" or "this machine, profile quick"; whether arms of its grid are still to come."""
        where = "published" if self.published else "this machine"
        return f"{where}, profile {self.profile or 'unknown'}{', incomplete' if self.about.get('incomplete') else ''}"

    @property
    def label(self) -> str:
        return f"{self.name} ({self.origin})"

    @property
    def prefix(self) -> str:
        """The first words of a title."""
        return self.task.real if self.real else f"{self.task.twin}, profile {self.profile or 'unknown'}"

    @property
    def score_name(self) -> str:
        """The task's score; AUC where the tables lack what detection is scored against."""
        return "auc" if self.task.score == "froc" and self.tables.reference is None else self.task.score

    def resampled(self, score: str | None = None, split: str = "test") -> Resampled:
        """By the score that networks are compared by, unless another is named."""
        return self.tables.resampled(score or self.score_name, split)

    @cached_property
    def arms(self) -> list[str]:
        """In the order of the table."""
        return [str(arm) for arm in self.tables.predictions["arm"].unique()]

    def sizes(self, *arms: str) -> list[int]:
        """Training sizes that all these arms have."""
        table = self.resampled()
        return sorted(set.intersection(*(set(table.sizes(arm)) for arm in arms)))

    def has(self, arm: str, n_train: int) -> bool:
        return (arm, n_train) in self.resampled().cells

    def score(self, arm: str, n_train: int, score: str | None = None, split: str = "test") -> Estimate:
        table = self.resampled(score, split)
        return rounded(table.spread({(arm, n_train): 1.0}).estimate(0.95, table.score.bounds))

    def gain(
        self, arm: str, n_train: int, score: str | None = None, split: str = "test", baseline: str | None = None
    ) -> Estimate:
        """Score of `arm` minus that of `baseline` (the plain network if None), paired by seed and case."""
        terms = combination(((arm, n_train), 1.0), ((baseline or self.task.baseline, n_train), -1.0))
        return rounded(self.resampled(score, split).spread(terms).estimate(0.95))

    def factor(self, arm: str, n_train: int, score: str | None = None, baseline: str | None = None) -> Estimate:
        """How many times more training cases the baseline needs for what `arm` scores at `n_train`."""
        baseline = baseline or self.task.baseline
        return rounded(data_efficiency(self.resampled(score), baseline, arm, n_train=n_train))

    @cached_property
    def test_set(self) -> dict[str, int]:
        """Sizes of the test set: cases, groups, where cases have one of two labels the positive; and seeds."""
        cell = next(iter(self.resampled("mse" if self.numbers else "auc").cells.values()))
        sizes = {"cases": len(cell.case), "groups": len(np.unique(cell.group)), "seeds": len(cell.seeds)}
        return sizes if self.numbers else sizes | {"positive": int(cell.target.sum())}

    @property
    def numbers(self) -> bool:
        """Whether each case has a number as its label, not one of two classes."""
        return self.task.score in ("icc", "mse")

    @property
    def note(self) -> str:
        """The line under a figure."""
        t, task = self.test_set, self.task
        where = task.licence if self.real else "synthetic"
        of = f"{t['groups']:,} {task.groups}" if self.numbers else f"{t['positive']:,} positive"
        test_set = f"{t['cases']:,} test {task.cases}{' of ' if self.numbers else ', '}{of}; {t['seeds']} seeds"
        label = self.label[0].upper() + self.label[1:]
        return f"{label}; {where}. {test_set}. Bars: 95 % intervals over seeds and {task.groups} together."

    @property
    def provenance(self) -> dict:
        """For a figure's file: what was trained on what, by which code; no time, no place."""
        keys = ("run", "real", "profile", "incomplete", "code", "data", "seeds", "device", "torch")
        return {key: self.about[key] for key in keys if key in self.about} | {"n_bootstrap": self.tables.n_bootstrap}


def rounded(e: Estimate, digits: int = 4) -> Estimate:
    """To what can be seen, so that a figure's bytes do not hang on the last bits of a machine's arithmetic."""
    value, low, high = (float(np.round(x, digits)) for x in (e.value, e.low, e.high))
    return Estimate(value, low, high, e.level, e.censored)


def published(experiment: str, dataset: str, n_bootstrap: int = N_BOOTSTRAP) -> Source | None:
    """What git keeps of an experiment on a data set (a twin's ends in -twin); None if nothing."""
    if not any(folder_of(experiment, dataset).glob("*.parquet")):
        return None
    found = load_published(experiment, dataset)
    tables = Tables(found.predictions, found.history, n_bootstrap, found.reference)
    about = found.about
    return Source(about["run"], about["real"], True, about["profile"], tables, found.records, about)


def this_machine(run: str, n_bootstrap: int = N_BOOTSTRAP) -> Source | None:
    """This machine's run, stamped with the profile whose grid it fits; None if it was not trained."""
    if not (paths.runs() / f"{run}.parquet").exists():
        return None
    found, loaded = read_run(run), params.load()
    profile, gaps = profile_of(run, found.predictions, found.records, loaded)
    about = {"run": run, "real": not loaded.run(run).twin, "profile": profile}
    for key in ("code", "data", "device", "torch"):
        about[key] = sorted({str(record[key]) for record in found.records if key in record})
    about["seeds"] = sorted(int(seed) for seed in found.predictions["seed"].unique())
    predictions, history = found.predictions, found.history
    if gaps:
        about["incomplete"], predictions = f"{len(gaps)} runs of the grid are still to come", whole(predictions)
        history = history[history["seed"].isin(predictions["seed"].unique())]
    tables = Tables(predictions, history, n_bootstrap, found.reference)
    return Source(run, about["real"], False, profile, tables, found.records, about)


def whole(predictions: pd.DataFrame) -> pd.DataFrame:
    """What a table that still grows can be judged by: the first k seeds, and the cells that have all of these.

    k: at least 2, the one that keeps most. Arms are compared by the same seeds or not at all.
    """
    seeds = sorted(int(seed) for seed in predictions["seed"].unique())
    of_cell = predictions.groupby(["arm", "n_train"], observed=True)["seed"].agg(lambda some: set(some.unique()))
    kept = {k: of_cell[of_cell.map(set(seeds[:k]).issubset)].index for k in range(2, len(seeds) + 1)}
    if not kept:
        return predictions
    k = max(kept, key=lambda k: (k * len(kept[k]), k))
    cells = pd.MultiIndex.from_frame(predictions[["arm", "n_train"]])
    return predictions[cells.isin(kept[k]) & predictions["seed"].isin(seeds[:k])]


def find(experiment: str, dataset: str, n_bootstrap: int = N_BOOTSTRAP) -> list[Source]:
    """All there is, real before twin: published on real data, then a published twin, or else this machine's.

    Raises RunError if there is nothing at all.
    """
    found = at_hand(experiment, dataset, n_bootstrap)
    if not found:
        run = f"{experiment}-{dataset}"
        raise RunError(f"no tables of {run}: none are published, and runs/{run}-twin.parquet is missing; "
                       f"`fewscans train {run}-twin` makes it")  # fmt: skip
    return found


def at_hand(experiment: str, dataset: str, n_bootstrap: int = N_BOOTSTRAP) -> list[Source]:
    """As `find`, but nothing is no error."""
    run = f"{experiment}-{dataset}"
    twin = published(experiment, f"{dataset}-twin", n_bootstrap) or this_machine(f"{run}-twin", n_bootstrap)
    return [source for source in (published(experiment, dataset, n_bootstrap), twin) if source is not None]


@dataclass(frozen=True)
class Reason:
    """Why a figure is not there; a notebook shows it as a sentence."""

    text: str

    def _repr_markdown_(self) -> str:
        return f"*Not drawn. {self.text}.*"


def drawn(figure: Callable[..., Picture], *of) -> Picture | Reason:
    """The figure of these, or the reason why arms or sizes that it needs are not there, or not yet."""
    try:
        return figure(*of)
    except NotYet as reason:
        return Reason(str(reason))
