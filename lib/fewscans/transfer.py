"""A finished run's networks, asked about the cases of another data set: external validation, or a look at real scans.

Nothing is trained: the weights come from the run store, under the keys that the run's records name. What comes out is
a run's tables, so that statistics, figures and `publish` need to know nothing of it.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pandas as pd
import torch

from fewscans import experiments, paths, store
from fewscans.data.samples import reference_of
from fewscans.errors import RunError
from fewscans.experiments import Run

# Data sets that show the same people: all cut from LIDC-IDRI, or one copy that is asked two questions.
SAME_PATIENTS = (
    {"luna16", "luna16-patches", "nodulemnist3d", "lidc-nodules"},
    {"msd-hippocampus", "msd-hippocampus-fraction"},
    {"wmh2017", "wmh2017-40-20"},
)


def name_of(run: str, dataset: str) -> str:
    """What a run's answers about another data set are called: never the name of a run trained on that set."""
    return f"{run}-on-{dataset}"


def predict(run: str, spec, grid, dataset: str, data_path: Path, device: str = "cpu") -> Path:
    """Writes runs/<run>-on-<dataset>.parquet, .history.parquet (the run's own), .records.json and .reference.parquet.

    run: a run whose tables are in runs/; spec: what it was trained on, a `params.RunSpec`; grid: as it was trained.
    dataset, data_path: the cases to ask about.   Arms without weights (trivial baselines) are left out, and with a
    warning those of several networks, a site each (`networks` in the records), none of which stands for the arm.
    Raises RunError if the run is not there, its weights are gone from the store or do not fit the grid, or the data set
    may hold the patients that the run was trained on.
    """
    listing = paths.runs() / f"{run}.records.json"
    if not listing.exists():
        raise RunError(f"runs/{listing.name} does not exist; `fewscans train {run}` makes it")
    if not spec.twin and any({spec.dataset, dataset} <= family for family in SAME_PATIENTS):
        raise RunError(
            f"{run} was trained on {spec.dataset}, and {dataset} may show the same patients: both show people of "
            "one study. Ask a run that was trained on other patients, or on a twin"
        )
    name, out = name_of(run, dataset), paths.runs()
    module = experiments.get(spec.experiment)
    data = module.read(dataset, data_path, grid)
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
        try:
            tables.append(module.predict(made, grid, weights, data, torch.device(device)))
        except RuntimeError as error:  # torch's, for weights of another shape
            raise RunError(
                f"{run}, {made}: its weights do not fit the grid, so it was trained with another profile; name that "
                f"with --profile ({str(error).strip().splitlines()[-1].strip()})"
            ) from error
        records.append(record | {"data": data.fingerprint, "trained_on": run, "trained_on_data": record["data"]})
    if not tables:
        raise RunError(f"{run} has no network to ask: all its arms are trivial baselines, or several networks")
    if several:
        warnings.warn(f"{run}: {', '.join(sorted(several))} left out, being a network for each site", stacklevel=2)
    history = pd.read_parquet(out / f"{run}.history.parquet")
    store.write_table(history, out / f"{name}.history.parquet")
    partial = out / f"{name}.records.json.{os.getpid()}.part"
    partial.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, out / f"{name}.records.json")
    store.write_table(reference_of(data), out / f"{name}.reference.parquet")
    table = pd.concat(tables, ignore_index=True)
    store.write_table(table, out / f"{name}.parquet")
    return out / f"{name}.parquet"
