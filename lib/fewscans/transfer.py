"""A finished run's networks, asked about the cases of another data set: external validation, or a look at real scans.

Nothing is trained: the weights come from the run store, under the keys that the run's records name, or from git
(`weights`). What comes out is a run's tables, so that statistics, figures and `publish` need to know nothing of it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fewscans import experiments, files, integrity, paths, store, weights
from fewscans.data import registry
from fewscans.errors import RunError
from fewscans.experiments.base import Run


def name_of(run: str, dataset: str) -> str:
    """What a run's answers about another data set are called: never the name of a run trained on that set."""
    return f"{run}-on-{dataset}"


def predict(
    run: str,
    spec,
    grid,
    dataset: str,
    data_path: Path,
    device: str = "cpu",
    other_kind: bool = False,
    published: bool = False,
) -> Path:
    """Writes runs/<run>-on-<dataset>.parquet and the files beside it, as a sweep does.

    run: a run whose tables are in runs/; spec: what it was trained on, a `params.RunSpec`; grid: as it was trained.
    dataset, data_path: the cases to ask about.   other_kind: ask even if they show something else than the training
    cases did.   published: ask the networks that git keeps, as is done anyway if the run is not in runs/.
    Arms without weights (trivial baselines) are left out, and with a warning those of several networks, one a site
    (`networks` in the records), none of which stands for the arm.
    Raises RunError if the run is not there, was trained with another grid, its weights are gone, or the data set may
    hold the patients that the run was trained on, or shows something else.
    """
    trained_on, asked = registry.dataset(spec.dataset), registry.dataset(dataset)
    if not spec.twin and registry.share_patients(spec.dataset, dataset):
        raise RunError(
            f"{run} was trained on {spec.dataset}, and {dataset} may show the same patients: both show people of "
            f"{asked.people}. Ask a run that was trained on other patients, or on a twin"
        )
    if asked.shows != trained_on.shows and not other_kind:
        raise RunError(
            f"{run} was trained on {trained_on.shows}, and {dataset} shows {asked.shows}: its answers would mean "
            "nothing there. Ask a run that was trained on such images; if you want the answers all the same, add --yes"
        )
    name, out = name_of(run, dataset), paths.runs()
    experiment = experiments.get(spec.experiment)
    found = networks(run, spec, grid, published)
    cases = experiment.read(dataset, data_path, found.grid, paths.build())
    tables, records, several = [], [], set()
    for record in found.records:
        if record.get("networks", 1) > 1:
            several.add(record["arm"])
        if not record.get("parameters") or record["arm"] in several:
            continue
        made = Run(record["seed"], record["n_train"], record["arm"], record["learning_rate"])
        state = found.load(record)
        if state is None:
            raise RunError(
                f"{run}, {made}: its weights are not in {paths.store()}; `fewscans train {run}` trains it again, once "
                "its entry is removed from there"
            )
        tables.append(experiment.predict(made, found.grid, state, cases, torch.device(device)))
        records.append(record | {"data": cases.fingerprint, "trained_on": run, "trained_on_data": record["data"]})
    if not tables:
        raise RunError(f"{run} has no network to ask: all its arms are trivial baselines, or several networks")
    if several:
        warnings.warn(f"{run}: {', '.join(sorted(several))} left out: a network for each site", stacklevel=2)
    history = integrity.frame(found.history, found.remedy)
    of_asked = {(record["arm"], record["n_train"], record["seed"]) for record in records}
    cells = history[["arm", "n_train", "seed"]].itertuples(index=False, name=None)
    out.mkdir(parents=True, exist_ok=True)
    kept = history[[cell in of_asked for cell in cells]].reset_index(drop=True)
    store.write_table(kept, out / f"{name}.history.parquet")
    if found.costs is not None and found.costs.exists():  # no out of the pipeline
        files.write(out / f"{name}.costs.json", found.costs.read_bytes())
    files.write_json(out / f"{name}.records.json", records)
    store.write_table(cases.reference(), out / f"{name}.reference.parquet")
    store.write_table(pd.concat(tables, ignore_index=True), out / f"{name}.parquet")
    about = found.about | {"run": name, "data": cases.fingerprint, "trained_on": run}
    files.write_json(out / f"{name}.about.json", about | {integrity.HASHES: integrity.hashes(out, name)})
    return out / f"{name}.parquet"


@dataclass(frozen=True)
class Networks:
    """The networks of a finished run, trained on this machine or kept in git.

    grid: as they were trained.   records: of each.   load: record → weights; None if they are gone.   history: a file;
    costs: one too, or None.   remedy: for a history that is damaged.
    """

    run: str
    grid: object
    about: dict
    records: list[dict]
    load: Callable[[dict], dict[str, Tensor] | None]
    history: Path
    costs: Path | None = None
    published: bool = False
    remedy: str = "restore the folder from git"

    def one(self, arm: str, n_train: int | None = None, seed: int | None = None) -> tuple[Run, dict[str, Tensor]]:
        """What a network was, and its weights.   n_train: the largest, if not given.   seed: 0, or the one in git.

        Raises RunError if the network or its weights are not there.
        """
        seed = 0 if seed is None and not self.published else seed
        known = [r for r in self.records if r.get("parameters")]
        fitting = [
            r for r in known if r["arm"] == arm and seed in (None, r["seed"]) and n_train in (None, r["n_train"])
        ]
        if not fitting:
            names = ", ".join(dict.fromkeys(f"{r['arm']} (N = {r['n_train']})" for r in known))
            wanted = f"N = {n_train or 'any'} and seed {'any' if seed is None else seed}"
            raise RunError(f"{self.run} has no network {arm} with {wanted}; it has {names}")
        record = max(fitting, key=lambda r: r["n_train"])
        weights = self.load(record)
        if weights is None:
            raise RunError(f"{self.run}: the weights of {arm} are not in {paths.store()}; remove its entry, then train")
        return Run(record["seed"], record["n_train"], arm, record["learning_rate"]), weights


def networks(run: str, spec, grid, published: bool = False) -> Networks:
    """The networks of a run, those of this machine first unless `published`; grid: as it was trained here.

    Raises RunError if there are none, or those of this machine were trained with another grid.
    """
    kept = weights.kept(run, spec) if published or not (paths.runs() / f"{run}.records.json").exists() else None
    if kept is not None:
        history = weights.folder_of(spec).parent / "history.parquet"
        return Networks(run, kept.grid, kept.about, kept.records, kept.load, history, published=True)
    if published:
        raise RunError(f"git keeps no weights of {run}; `fewscans publish {run} --weights` writes them")
    return _own(run, grid)


def _own(run: str, grid) -> Networks:
    """This machine's. Raises RunError if the run is absent, or of another grid."""
    listing, told = (paths.runs() / f"{run}.{end}.json" for end in ("records", "about"))
    for path in (listing, told):
        if not path.exists():
            raise RunError(f"runs/{path.name} does not exist; `fewscans train {run}` makes it")
    remedy = f"`fewscans train {run}` writes it anew"
    about, records = integrity.about(told, remedy), integrity.records(listing, remedy)
    integrity.check_run(paths.runs(), run, about, remedy, ("history.parquet", "records.json"))
    if about["grid"] != json.loads(json.dumps(vars(grid))):
        raise RunError(
            f"{run} was trained with profile {about['profile']} as it was then, not with the grid asked for now; name "
            "that profile with --profile, or train again if params.yaml has changed since"
        )
    room = store.Store(paths.store())
    history, costs = (paths.runs() / f"{run}.{end}" for end in ("history.parquet", "costs.json"))
    return Networks(run, grid, about, records, lambda of: room.weights(of["key"]), history, costs, remedy=remedy)


def weights_of(run: str, grid, arm: str, n_train: int | None = None, seed: int = 0) -> tuple[Run, dict[str, Tensor]]:
    """A network of a run trained on this machine; see `Networks.one`.   grid: as it was trained."""
    return _own(run, grid).one(arm, n_train, seed)
