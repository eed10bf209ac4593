"""Where a figure's numbers come from: results on real data that git keeps, or this machine's run on the twin.

Every figure and table says which it is: only real data replicates; a twin shows that the mechanism works here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fewscans import params, paths
from fewscans.errors import RunError
from fewscans.results import folder_of, load_published, profile_of, read_run
from fewscans.stats import Estimate
from fewscans.stats.efficiency import data_efficiency
from fewscans.stats.intervals import combination
from fewscans.stats.resample import Resampled
from fewscans.verdicts import Tables

N_BOOTSTRAP = 1000
TITLES = {"luna16-patches": "LUNA16 candidate patches", "orientation": "orientation control"}


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
    def name(self) -> str:
        """ "real LUNA16 candidate patches", "synthetic twin of the LUNA16 candidate patches"."""
        dataset = self.run.partition("-")[2].removesuffix("-twin")
        title = TITLES.get(dataset, dataset)
        return f"real {title}" if self.real else f"synthetic twin of the {title}" if "patches" in dataset else title

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
        return "Real CT" if self.real else f"Synthetic twin, profile {self.profile or 'unknown'}"

    def resampled(self, score: str = "auc", split: str = "test") -> Resampled:
        return self.tables.resampled(score, split)

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

    def score(self, arm: str, n_train: int, score: str = "auc", split: str = "test") -> Estimate:
        table = self.resampled(score, split)
        return rounded(table.spread({(arm, n_train): 1.0}).estimate(0.95, table.score.bounds))

    def gain(self, arm: str, n_train: int, score: str = "auc", split: str = "test", baseline: str = "Z2") -> Estimate:
        """Score of `arm` minus that of `baseline`, paired by seed and case."""
        terms = combination(((arm, n_train), 1.0), ((baseline, n_train), -1.0))
        return rounded(self.resampled(score, split).spread(terms).estimate(0.95))

    def factor(self, arm: str, n_train: int, score: str = "auc", baseline: str = "Z2") -> Estimate:
        """How many times more training cases the baseline needs for what `arm` scores at `n_train`."""
        return rounded(data_efficiency(self.resampled(score), baseline, arm, n_train=n_train))

    @cached_property
    def test_set(self) -> dict[str, int]:
        """Sizes of the test set: cases, positive, groups; and seeds."""
        cell = next(iter(self.resampled().cells.values()))
        return {
            "cases": len(cell.case),
            "positive": int(cell.target.sum()),
            "groups": len(np.unique(cell.group)),
            "seeds": len(cell.seeds),
        }

    @property
    def note(self) -> str:
        """The line under a figure."""
        t = self.test_set
        where = "LUNA16, CC BY 4.0, a part of LIDC-IDRI, CC BY 3.0" if self.real else "synthetic"
        test_set = f"{t['cases']:,} test patches, {t['positive']:,} positive; {t['seeds']} seeds"
        label = self.label[0].upper() + self.label[1:]
        return f"{label}; {where}. {test_set}. Bars: 95 % intervals over seeds and scans together."

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
    tables = Tables(found.predictions, found.history, n_bootstrap)
    about = found.about
    return Source(about["run"], about["real"], True, about["profile"], tables, found.records, about)


def this_machine(run: str, n_bootstrap: int = N_BOOTSTRAP) -> Source | None:
    """This machine's run, stamped with the profile whose grid it fits; None if it was not trained."""
    if not (paths.runs() / f"{run}.parquet").exists():
        return None
    predictions, history, records = read_run(run)
    loaded = params.load()
    profile, _ = profile_of(run, predictions, records, loaded)
    about = {"run": run, "real": not loaded.run(run).twin, "profile": profile}
    for key in ("code", "data", "device", "torch"):
        about[key] = sorted({str(record[key]) for record in records if key in record})
    about["seeds"] = sorted(int(seed) for seed in predictions["seed"].unique())
    return Source(run, about["real"], False, profile, Tables(predictions, history, n_bootstrap), records, about)


def find(experiment: str, dataset: str, n_bootstrap: int = N_BOOTSTRAP) -> list[Source]:
    """All there is, real before twin: published on real data, then this machine's twin, or else a published one.

    Raises RunError if there is nothing at all.
    """
    run = f"{experiment}-{dataset}"
    twin = this_machine(f"{run}-twin", n_bootstrap) or published(experiment, f"{dataset}-twin", n_bootstrap)
    found = [source for source in (published(experiment, dataset, n_bootstrap), twin) if source is not None]
    if not found:
        raise RunError(f"no tables of {run}: none are published, and runs/{run}-twin.parquet is missing; "
                       f"`fewscans train {run}-twin` makes it")  # fmt: skip
    return found
