"""A finished run's networks, asked about the cases of another data set: external validation, or a look at real scans.

Nothing is trained: the weights come from the run store, under the keys that the run's records name. What comes out is
a run's tables, so that statistics, figures and `publish` need to know nothing of it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import torch

from fewscans import experiments, paths, store
from fewscans.data.samples import reference_of
from fewscans.errors import RunError
from fewscans.experiments import Run


def predict(run: str, experiment: str, grid, dataset: str, data_path: Path, device: str = "cpu") -> Path:
    """Writes runs/<experiment>-<dataset>.parquet, .history.parquet (the run's own), .records.json, .reference.parquet.

    run: a run whose tables are in runs/ and whose grid is `grid`.   dataset, data_path: the cases to ask about.
    Arms without weights (trivial baselines) are left out.   Raises RunError if the run is not there, its weights are
    gone from the store, or the tables to be written are those of a run that was trained.
    """
    listing = paths.runs() / f"{run}.records.json"
    if not listing.exists():
        raise RunError(f"runs/{listing.name} does not exist; `fewscans train {run}` makes it")
    name, out = f"{experiment}-{dataset}", paths.runs()
    if _trained(out / f"{name}.records.json"):
        raise RunError(f"runs/{name}.parquet is of a run that was trained; move it away to ask {run} about {dataset}")
    module = experiments.get(experiment)
    data = module.read(dataset, data_path, grid)
    folder = store.Store(paths.store())
    tables, records = [], []
    for record in json.loads(listing.read_text(encoding="utf-8")):
        if not record.get("parameters"):
            continue
        made = Run(record["seed"], record["n_train"], record["arm"], record["learning_rate"])
        weights = folder.weights(record["key"])
        if weights is None:
            raise RunError(
                f"{run}, {made}: its weights are not in {folder.folder}; `fewscans train {run}` trains it again, once "
                "its entry is removed from there"
            )
        tables.append(module.predict(made, grid, weights, data, torch.device(device)))
        records.append(record | {"data": data.fingerprint, "trained_on": run, "trained_on_data": record["data"]})
    if not tables:
        raise RunError(f"{run} has no network to ask: all its arms are trivial baselines")
    history = pd.read_parquet(out / f"{run}.history.parquet")
    store.write_table(history, out / f"{name}.history.parquet")
    partial = out / f"{name}.records.json.{os.getpid()}.part"
    partial.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, out / f"{name}.records.json")
    store.write_table(reference_of(data), out / f"{name}.reference.parquet")
    table = pd.concat(tables, ignore_index=True)
    store.write_table(table, out / f"{name}.parquet")
    return out / f"{name}.parquet"


def _trained(listing: Path) -> bool:
    """Whether these are the records of a run that was trained, not of one that was asked."""
    if not listing.exists():
        return False
    return not all("trained_on" in record for record in json.loads(listing.read_text(encoding="utf-8")))
