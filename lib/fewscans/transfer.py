"""A finished run's networks, asked about the cases of another data set: external validation, or a look at real scans.

Nothing is trained: the weights come from the run store, under the keys that the run's records name. What comes out is
a run's tables, so that statistics, figures and `publish` need to know nothing of it.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fewscans import experiments, files, paths, store
from fewscans.data import registry
from fewscans.errors import RunError
from fewscans.experiments.base import Run


def name_of(run: str, dataset: str) -> str:
    """What a run's answers about another data set are called: never the name of a run trained on that set."""
    return f"{run}-on-{dataset}"


def predict(run: str, spec, grid, dataset: str, data_path: Path, device: str = "cpu", other_kind: bool = False) -> Path:
    """Writes runs/<run>-on-<dataset>.parquet and the files beside it, as a sweep does.

    run: a run whose tables are in runs/; spec: what it was trained on, a `params.RunSpec`; grid: as it was trained.
    dataset, data_path: the cases to ask about.   other_kind: ask even if they show something else than the training
    cases did.   Arms without weights (trivial baselines) are left out, and with a warning those of several networks,
    one a site (`networks` in the records), none of which stands for the arm.
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
    listing, about = _listing(run, grid)
    cases = experiment.read(dataset, data_path, grid, paths.build())
    folder = store.Store(paths.store())
    tables, records, several = [], [], set()
    for record in json.loads(listing.read_text(encoding="utf-8")):
        if record.get("networks", 1) > 1:
            several.add(record["arm"])
        if not record.get("parameters") or record["arm"] in several:
            continue
        made = Run(record["seed"], record["n_train"], record["arm"], record["learning_rate"])
        weights = folder.weights(record["key"])
        if weights is None:
            raise RunError(
                f"{run}, {made}: its weights are not in {folder.folder}; `fewscans train {run}` trains it again, once "
                "its entry is removed from there"
            )
        tables.append(experiment.predict(made, grid, weights, cases, torch.device(device)))
        records.append(record | {"data": cases.fingerprint, "trained_on": run, "trained_on_data": record["data"]})
    if not tables:
        raise RunError(f"{run} has no network to ask: all its arms are trivial baselines, or several networks")
    if several:
        warnings.warn(f"{run}: {', '.join(sorted(several))} left out: a network for each site", stacklevel=2)
    shutil.copyfile(out / f"{run}.history.parquet", out / f"{name}.history.parquet")
    if (out / f"{run}.costs.json").exists():  # no out of the pipeline
        shutil.copyfile(out / f"{run}.costs.json", out / f"{name}.costs.json")
    files.write_json(out / f"{name}.records.json", records)
    files.write_json(out / f"{name}.about.json", about | {"run": name, "data": cases.fingerprint, "trained_on": run})
    store.write_table(cases.reference(), out / f"{name}.reference.parquet")
    store.write_table(pd.concat(tables, ignore_index=True), out / f"{name}.parquet")
    return out / f"{name}.parquet"


def _listing(run: str, grid) -> tuple[Path, dict]:
    """The file of a run's records, and what is known of it. Raises RunError if it is absent, or of another grid."""
    listing, told = (paths.runs() / f"{run}.{end}.json" for end in ("records", "about"))
    for path in (listing, told):
        if not path.exists():
            raise RunError(f"runs/{path.name} does not exist; `fewscans train {run}` makes it")
    about = json.loads(told.read_text(encoding="utf-8"))
    if about["grid"] != json.loads(json.dumps(vars(grid))):
        raise RunError(
            f"{run} was trained with profile {about['profile']} as it was then, not with the grid asked for now; name "
            "that profile with --profile, or train again if params.yaml has changed since"
        )
    return listing, about


def weights_of(run: str, grid, arm: str, n_train: int | None = None, seed: int = 0) -> tuple[Run, dict[str, Tensor]]:
    """A trained network of a run whose tables are in runs/: what it was, and its weights.

    grid: as it was trained.   n_train: the largest that was trained, if not given.
    Raises RunError if the run or the network is not there, or was trained with another grid.
    """
    listing, _ = _listing(run, grid)
    records = [r for r in json.loads(listing.read_text(encoding="utf-8")) if r.get("parameters")]
    fitting = [r for r in records if r["arm"] == arm and r["seed"] == seed and n_train in (None, r["n_train"])]
    if not fitting:
        known = ", ".join(dict.fromkeys(f"{r['arm']} (N = {r['n_train']})" for r in records))
        raise RunError(f"{run} has no network {arm} with N = {n_train or 'any'} and seed {seed}; it has {known}")
    record = max(fitting, key=lambda r: r["n_train"])
    folder = store.Store(paths.store())
    weights = folder.weights(record["key"])
    if weights is None:
        raise RunError(f"{run}: the weights of {arm} are not in {folder.folder}; remove its entry there, then train")
    return Run(record["seed"], record["n_train"], arm, record["learning_rate"]), weights
