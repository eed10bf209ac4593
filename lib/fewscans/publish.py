"""Results kept in git: prediction tables that took real data or a GPU, small, readable anywhere, stable to the byte.

reports/published/<experiment>/<dataset, or dataset-twin>/
    <arm>.parquet    tidy predictions, sorted by split, case, n_train, seed: runs of equal values but for one column
    history.parquet  validation losses
    reference.parquet  where the data set has nodules: scans, nodules, and which candidates hit them
    records.json     one record a run: what it was and what it cost
    split.csv        which case and group was in which split
    SHA256SUMS       what the bytes of these files are, looked at whenever they are read
    README.md        what this is, where the data come from, what decided it; without a date, so the bytes stay the same

Probabilities are kept to 0.001 in the log-odds, p = 1 / (1 + exp(-round(logit(p), 3))): a tenth of a per cent of the
odds, near 0 and near 1 as well as between, where rounding p itself would tie the very cases that decide sensitivity
at low false-positive rates. An AUC moves by less than 1e-4, and a file shrinks to about a third. Predicted numbers are
kept to a power of ten, between 1/100,000 and 1/10,000 of the standard deviation of the test targets: an ICC moves by
less than 1e-4.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import special

from fewscans import experiments, files, integrity, params, paths, store, weights
from fewscans.data import own, registry
from fewscans.data.base import Cases
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments.base import Experiment, Grid, Run
from fewscans.results import Results, folder_of, load_published, read_run

LOGIT_STEP = 0.001
STEPS_PER_SD = 10_000  # of predicted numbers, at least
MINIMUM_SEEDS = 5


def publish(
    run: str,
    profile: str | None = None,
    incomplete: str | None = None,
    minimum_seeds: int = MINIMUM_SEEDS,
    with_weights: bool = False,
    add: bool = False,
) -> Path:
    """Writes runs/<run>.* to its folder under reports/published: all files are replaced once all are written, those of
    arms no longer there removed.

    profile: the one that the run should be of, if it is named.
    incomplete: why a grid with gaps or with few seeds may be published all the same; recorded in README and tables.
    with_weights: keeps the best network of each arm as well (`weights`); those of an earlier run are removed anyway.
    add: runs that are published and are not in the table stay, for a store that holds the new sizes or arms alone.
    Raises RunError naming what is wrong: no such table, the smoke profile, a missing arm, size or seed, too few
    seeds, a value no prediction can have, runs of different code, data or parameters.
    """
    known = params.load()
    spec, found = known.run(run), read_run(run)
    found = replace(found, records=_with_costs(run, found.records))
    made_with = found.profile
    dataset = spec.dataset + ("-twin" if spec.twin else "")
    if profile and made_with and profile != made_with:
        raise RunError(
            f"runs/{run}.parquet is of profile {made_with}, not {profile}; `fewscans train {run} --profile {profile}`"
        )
    if made_with == "smoke":
        raise RunError(
            f"runs/{run}.parquet is of the smoke profile, which only tests the pipeline; train it with another"
        )
    if add:
        found = _added_to(load_published(spec.experiment, dataset), found, known.grid(run, made_with))
    predictions, records, reference = found.predictions, found.records, found.reference
    seeds = sorted(int(seed) for seed in predictions["seed"].unique())
    grid = params.typed(found.about["grid"], experiments.get(spec.experiment).Grid, "grid")
    missing = _missing(found, grid)
    complaints = [f"the grid lacks {len(missing)} runs, the first: {missing[0]}"] if missing else []
    if len(seeds) * max((record.get("networks", 1) for record in records), default=1) < minimum_seeds:
        complaints.append(f"{len(seeds)} seeds, fewer than {minimum_seeds}")
    if made_with is None or "trained_on" not in found.about and grid != known.grid(run, made_with):
        complaints.append("its grid is no profile's of params.yaml, or not any more")
    split = _cases(found, spec, grid)
    if split is None:
        complaints.append("the data that it was made from are not at hand, so its split cannot be kept")
    if complaints and not incomplete:
        raise RunError(
            f"{run} is not fit to be published: {'; '.join(complaints)}. To publish it all the same, "
            "say why: --incomplete REASON"
        )
    step = step_of(predictions) if experiments.get(spec.experiment).target == "number" else None
    about = {
        "run": run,
        "experiment": spec.experiment,
        "dataset": spec.dataset,
        "twin": spec.twin,
        "real": not spec.twin,
        "profile": made_with,
        "arms": list(dict.fromkeys(predictions["arm"].astype(str))),
        "seeds": seeds,
        "incomplete": f"{incomplete} ({'; '.join(complaints)})" if complaints else None,
        **({"step": step} if step else {"logit_step": LOGIT_STEP}),
        **{key: found.about[key] for key in ("code", "data")},
        **{key: sorted({str(record[key]) for record in records}) for key in ("device", "torch", "threads")},
        "params": found.about["grid"],
    }
    if reference is not None:
        about["reference"] = True
    folder = folder_of(spec.experiment, dataset)
    contents = {
        f"{arm}.parquet": _parquet(_compact(predictions[predictions["arm"] == arm], step), about | {"arm": arm})
        for arm in about["arms"]
    }
    contents["history.parquet"] = _parquet(found.history, None)
    if reference is not None:
        reference = reference.sort_values(["kind", "scan", "nodule", "case"], kind="stable", ignore_index=True)
        contents["reference.parquet"] = _parquet(reference, None)
    if split is not None:
        of, divided = experiments.get(spec.experiment), getattr(grid, "folds", 0)
        folds = {f"fold of seed {seed}": of.fold_of(grid, split, seed) for seed in seeds} if divided else None
        contents["split.csv"] = split_table(split, folds).to_csv(index=False, lineterminator="\n").encode()
    lines = ",\n".join(json.dumps(record, sort_keys=True) for record in records)
    contents["records.json"] = f"[\n{lines}\n]\n".encode()
    if (mine := own.as_published(spec.dataset)) is not None:
        contents[own.RECORD] = (json.dumps(mine, indent=1, sort_keys=True) + "\n").encode()
    contents["README.md"] = _readme(about, predictions, records).encode()
    integrity.write_all(folder, contents | {files.SUMS: integrity.sums(contents)})
    for path in [*folder.glob("*.parquet"), folder / "split.csv"]:  # of arms, or of data, that are no longer there
        if path.name not in contents:
            path.unlink(missing_ok=True)
    if with_weights:
        weights.keep(run, spec, about, found.records, store.Store(paths.store()))
    elif weights.outdated(spec, records):
        shutil.rmtree(weights.folder_of(spec))
    return folder


def _added_to(old: Results, new: Results, grid: Grid) -> Results:
    """Both tables in one, under a grid that decides the runs of both alike; a run of both is the new one.

    Raises RunError naming a run that the grid does not have, or that code, data, parameters or device would make
    differently today.
    """
    experiment, made = experiments.get(old.about["experiment"]), {_cell(record) for record in new.records}
    for found, key in ((old, "params"), (new, "grid")):
        try:
            was = params.typed(found.about[key], type(grid), "grid")
        except ParamsError as error:
            raise RunError(f"{new.name}: {error}; publish the whole grid, without --add") from None
        for record in found.records:
            run = Run(record["seed"], record["n_train"], record["arm"], record["learning_rate"])
            if why := _otherwise(experiment, run, record, new, was, grid):
                which = f"arm {run.arm}, N = {run.n_train}, seed {run.seed}"
                raise RunError(f"{new.name}: {which} {why}; train and publish the whole grid, without --add")

    def both(kind: str) -> pd.DataFrame:
        ours, theirs = getattr(new, kind), getattr(old, kind)
        trained = [new.arm(str(arm)).computed_with or str(arm) for arm in theirs["arm"]]
        lacking = [cell not in made for cell in zip(trained, theirs["n_train"], theirs["seed"], strict=True)]
        kinds = ours.dtypes[[column for column in theirs if column in ours]]
        table = pd.concat([theirs[lacking].astype(kinds), ours], ignore_index=True)
        order = {arm: i for i, arm in enumerate(experiment.arm_names(grid))}
        table = table.assign(order=table["arm"].map(order)).sort_values(["order", "n_train", "seed"], kind="stable")
        return table.drop(columns="order").reset_index(drop=True)

    records = [record for record in old.records if _cell(record) not in made] + new.records
    records.sort(key=lambda r: (list(grid.arms).index(r["arm"]), r["n_train"], r["seed"]))
    about = new.about | {"grid": json.loads(json.dumps(vars(grid)))}  # lists, as in a table
    return replace(new, predictions=both("predictions"), history=both("history"), records=records, about=about)


def _otherwise(experiment: Experiment, run: Run, record: Mapping, new: Results, was: Grid, grid: Grid) -> str:
    """Why a run of a table is not the one that the grid asks for; empty if it is.   was: the table's grid."""
    if run.n_train not in grid.arms.get(run.arm, ()) or run.seed not in grid.seeds_of(run.n_train):
        return "is not in the grid"
    rate, tried = experiment.chosen_rate(grid, {}, run.arm, run.n_train), ("learning_rates", "tuning_seeds")
    first, then, now = new.records[0], experiment.decides(run, was), experiment.decides(run, grid)
    same = {key: then.get(key) == now.get(key) for key in {*then, *now}}
    same |= {key: record[key] == new.about[key] for key in ("code", "data")}
    same |= {key: record[key] == first[key] for key in ("device", "threads")}
    if rate is None:
        same |= {key: getattr(was, key) == getattr(grid, key) for key in tried}
    else:
        same["learning_rate"] = run.learning_rate == rate
    other = ", ".join(sorted(key for key, is_same in same.items() if not is_same))
    return f"was trained with other {other}" if other else ""


def _cell(record: Mapping) -> tuple[str, int, int]:
    return record["arm"], record["n_train"], record["seed"]


def split_table(cases: Cases, folds: Mapping[str, np.ndarray] | None = None) -> pd.DataFrame:
    """Which case was in which split, so that others can use the same one: case, group, split and, where the source has
    a split of its own, repository_split.   folds: further columns, the part of each case where a seed divides the
    cases anew.
    """
    table = pd.DataFrame({"case": cases.case, "group": cases.group, "split": cases.split})
    if "repository_split" in cases.about:
        table["repository_split"] = cases.about["repository_split"].to_numpy(str)
    return table.assign(**folds or {}).sort_values("case", kind="stable")


def _cases(found: Results, spec: params.RunSpec, grid: Grid) -> Cases | None:
    """The cases that the run was trained and tested on; None if they are not at hand any more."""
    experiment = experiments.get(spec.experiment)
    dataset = spec.dataset.rpartition("-on-")[2]
    try:
        place = paths.root() / spec.data if spec.twin else registry.find(dataset, paths.data_root())
        cases = experiment.read(dataset, place, grid, paths.build())
    except DataError:
        return None
    return cases if cases.fingerprint == found.about["data"] else None


def _with_costs(run: str, records: list[dict]) -> list[dict]:
    """The records with what each run cost on this machine, if that is known."""
    file = paths.runs() / f"{run}.costs.json"
    costs = integrity.records(file, "remove it: it holds seconds and memory alone") if file.exists() else []
    known = {_cell(cost): cost for cost in costs}
    return [record | known.get(_cell(record), {}) for record in records]


def _missing(found: Results, grid: Grid) -> list[str]:
    """Runs of the grid that the table lacks; what was asked about other cases has no grid of its own."""
    if "trained_on" in found.about:
        return []
    cells = found.predictions[["arm", "n_train", "seed"]].drop_duplicates()
    have = set(zip(cells["arm"].astype(str), cells["n_train"], cells["seed"], strict=True))
    made = {name for name, _, _ in have}  # what is computed along with an arm is so only where the data allow it,
    at = {(name, n) for name, n, _ in have}  # and only at sizes at which the arm trains what it takes
    along = {arm: [arm, *(a for a in made if grid.ARMS[a].computed_with == arm)] for arm in grid.arms}
    wanted = [(name, n, seed) for arm, sizes in grid.arms.items() for name in along[arm] for n in sizes
              if (name, n) in at or (arm, n) not in at for seed in grid.seeds_of(n)]  # fmt: skip
    return [f"arm {arm} at N = {n}, seed {seed}" for arm, n, seed in sorted(wanted) if (arm, n, seed) not in have]


def rounded(p: np.ndarray) -> np.ndarray:
    """Probabilities to 0.001 in the log-odds; 0 and 1 stay."""
    p = np.asarray(p, dtype=float)
    inside = (p > 0) & (p < 1)
    digits = round(-np.log10(LOGIT_STEP))
    return np.where(inside, special.expit(np.round(special.logit(np.where(inside, p, 0.5)), digits)), p)


def rounded_numbers(x: np.ndarray, step: float) -> np.ndarray:
    """Numbers to whole steps, a power of ten."""
    return np.round(np.asarray(x, dtype=float), -round(np.log10(step))) + 0.0  # no -0.0


def step_of(predictions: pd.DataFrame) -> float:
    """To what predicted numbers are kept: the largest power of ten below 1/10,000 of the test targets' deviation."""
    test = predictions[predictions["split"] == "test"]
    spread = test.drop_duplicates("case")["target"].std()
    return float(f"1e{int(np.floor(np.log10(spread / STEPS_PER_SD)))}")


def _compact(table: pd.DataFrame, step: float | None) -> pd.DataFrame:
    p = table["prediction"].to_numpy()
    made = table.assign(prediction=rounded(p) if step is None else rounded_numbers(p, step))
    return made.sort_values(["split", "case", "n_train", "seed"], kind="stable", ignore_index=True)


def _parquet(table: pd.DataFrame, about: dict | None) -> bytes:
    """The same bytes for the same rows; every column by dictionary, as few values are distinct."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({"fewscans": json.dumps(about, sort_keys=True)} if about else None)
    text = [pa.field(f.name, pa.string()) if pa.types.is_large_string(f.type) else f for f in arrow.schema]
    arrow = arrow.cast(pa.schema(text, metadata=arrow.schema.metadata))
    buffer = io.BytesIO()
    pq.write_table(
        arrow, buffer, compression="zstd", compression_level=19, dictionary_pagesize_limit=2**22, row_group_size=2**20,
        write_statistics=False,
    )  # fmt: skip
    return buffer.getvalue()


def _readme(about: dict, predictions: pd.DataFrame, records: list[dict]) -> str:
    name = f"{about['dataset']}{'-twin' if about['twin'] else ''}"
    kind = "synthetic twin: shows that the mechanism works in this implementation" if about["twin"] else "real data"
    number = "step" in about
    of_cases = "labels" if number else "positive"
    rows = [f"| arm | N | seeds | test cases ({of_cases}) | groups |", "| --- | --- | --- | --- | --- |"]
    for arm in about["arms"]:
        mine = predictions[(predictions["arm"] == arm) & predictions["split"].str.startswith("test")]
        split = min(mine["split"].unique())  # "test", unless the arm has others alone
        mine = mine[mine["split"] == split]
        case = mine.drop_duplicates("case")
        images, measures = (case["case"].str.rpartition("/")[part].nunique() for part in (0, 2))
        sizes = ", ".join(str(n) for n in sorted(mine["n_train"].unique()))
        target = case["target"]
        cases = f"{len(case)} ({f'{target.min():.4g} to {target.max():.4g}' if number else int(target.sum())})"
        if number and images > 1 and images * measures == len(case):  # a case is an image's measure
            cases = f"{images} (each with {measures} measures)"
        shown = arm if split == "test" else f"{arm} ({split})"
        rows.append(f"| {shown} | {sizes} | {mine['seed'].nunique()} | {cases} | {case['group'].nunique()} |")
    folds = ", and in which part for each seed" if about["params"].get("folds") else ""
    splits = "`test` is of the checkpoint with the lowest validation loss"
    if any("last_val_loss" in record for record in records):
        last, best = "of the network after the last update", splits.replace("test", "test-best")
        splits = f"{best}, `test` {last}" if (predictions["split"] == "test-best").any() else f"`test` is {last}"
    precision = f"{about['logit_step']} in the log-odds; an AUC" if not number else (
        f"{np.format_float_positional(about['step'], trim='-')} in the label's unit; a score"
    )  # fmt: skip
    trained = sum(bool(record.get("parameters")) for record in records)
    seconds = sum(record.get("seconds_wall", 0.0) for record in records)
    took = f"trained in {seconds / 3600:.1f} hours of wall time; " if seconds else ""  # known where it was trained
    data = f"Written by `fewscans twin {about['dataset']}`; holds nothing of the data set it stands for.\n"
    if not about["twin"]:
        data = registry.dataset(about["dataset"].rpartition("-on-")[2]).attribution
    lender = sorted({record["trained_on"] for record in records if "trained_on" in record})
    kind += f"; the networks were trained by `{lender[0]}`, on nothing of this" if lender else ""
    lines = [
        f"# {about['experiment']} on {name}",
        "",
        f"Predictions of `{about['run']}`, {kind}. Written by `fewscans publish {about['run']}`; do not edit.",
        "",
        *([f"**Incomplete**: {about['incomplete']}.", ""] if about["incomplete"] else []),
        *rows,
        "",
        f"- device: {', '.join(about['device'])}; torch {', '.join(about['torch'])}",
        f"- threads a run: {', '.join(about['threads'])}",
        f"- {len(records)} runs, {trained} of them networks, {took}"
        "each, with its learning rate, in `records.json` (trials of other rates are not kept)",
        f"- profile: {about['profile'] or 'none of params.yaml'}; code: {about['code']}",
        f"- data (sha256): {about['data']}",
        f"- parameters: `{json.dumps(about['params'], sort_keys=True)}`",
        f"- predictions are kept to {precision} moves by less than 0.0001",
        f"- splits: {splits}",
        f"- `split.csv` says which case and group was in which split{folds}",
        "",
        "## Data",
        "",
        data,
    ]
    return "\n".join(lines).rstrip() + "\n"
