"""Results kept in git: prediction tables that took real data or a GPU, small, readable anywhere, stable to the byte.

reports/published/<experiment>/<dataset, or dataset-twin>/
    <arm>.parquet    tidy predictions, sorted by split, case, n_train, seed: runs of equal values but for one column
    history.parquet  validation losses
    reference.parquet  where the data set has nodules: scans, nodules, and which candidates hit them
    records.json     one record a run: what it was and what it cost
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
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import special

from fewscans.errors import RunError
from fewscans.results import BESIDE, Published, folder_of, kind_of_target, load_published, profile_of, read_run

LOGIT_STEP = 0.001
STEPS_PER_SD = 10_000  # of predicted numbers, at least
MINIMUM_SEEDS = 5

__all__ = ["Published", "load_published", "publish"]

_LUNA16 = """\
- Setio A. A. A. et al., Validation, comparison, and combination of algorithms for automatic detection of pulmonary
  nodules in computed tomography images: the LUNA16 challenge, Medical Image Analysis 42:1-13 (2017).
"""
_LIDC = """\
- Armato S. G. et al., The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI),
  Medical Physics 38:915-931 (2011); data doi 10.7937/K9/TCIA.2015.LO9QL9SX.
"""
_WMH = """\
Scans of the WMH Segmentation Challenge of MICCAI 2017, doi 10.34894/AECRSD (CC BY-NC 4.0 as others quote its page: not
for commercial use). No image is kept here, only each scan's name, a number computed from its mask, and predictions.
Cite:

- Kuijf H. J. et al., Standardized assessment of automatic segmentation of white matter hyperintensities and results of
  the WMH segmentation challenge, IEEE Transactions on Medical Imaging (2019), arXiv 1904.00682.
"""
_HIPPOCAMPUS = """\
Hippocampi from MR of Task04 of the Medical Segmentation Decathlon (CC BY-SA 4.0), Vanderbilt University Medical Center.
No image is kept here, only each case's name, a number computed from its mask (the volume, or the anterior share of it)
and predictions. As these numbers derive from the masks, the tables of this folder are under CC BY-SA 4.0 as well, with
attribution as below. Changes: volumes are summed up from masks, predictions are rounded. Cite:

- Antonelli M. et al., The Medical Segmentation Decathlon, Nature Communications 13:4128 (2022), doi
  10.1038/s41467-022-30695-9.
- Simpson A. L. et al., A large annotated medical image dataset for the development and evaluation of segmentation
  algorithms, arXiv 1902.09063 (2019).
"""
ATTRIBUTION = {
    "luna16-patches": f"""\
Patches cut from LUNA16 (CC BY 4.0), itself a subset of LIDC-IDRI (CC BY 3.0), as collected in
github.com/swethasubramanian/LungCancerDetection at 36e7980a891089921d18993ea631c89035296e76 (MIT). No image is kept
here, only each patch's row in LUNA16's candidates.csv, its label and the networks' predictions. Cite:

{_LUNA16}{_LIDC}""",
    "luna16": f"""\
Candidates in scans of LUNA16 (CC BY 4.0), itself a subset of LIDC-IDRI (CC BY 3.0). No image is kept here, only each
candidate's row in LUNA16's list, its class, the nodules it lies in, and the networks' predictions. Cite:

{_LUNA16}{_LIDC}""",
    "lidc-nodules": f"""\
Nodules of LIDC-IDRI (CC BY 3.0), doi 10.7937/K9/TCIA.2015.LO9QL9SX. No image is kept here, only each case's name, its
label and the networks' predictions. Cite:

{_LIDC}""",
    "adrenalmnist3d": """\
Shapes of adrenal glands (masks only: the set holds no grey values) from AdrenalMNIST3D of MedMNIST v2 (CC BY 4.0). No
image is kept here, only each case's number, its label and the networks' predictions. Cite:

- Yang J. et al., MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image classification,
  Scientific Data 10:41 (2023), doi 10.1038/s41597-022-01721-8.
""",
    "msd-hippocampus": _HIPPOCAMPUS,
    "msd-hippocampus-fraction": _HIPPOCAMPUS,
    "wmh2017": _WMH,
    "wmh2017-40-20": _WMH,
}


def publish(
    run: str, profile: str | None = None, incomplete: str | None = None, minimum_seeds: int = MINIMUM_SEEDS
) -> Path:
    """Writes runs/<run>.* to its folder under reports/published, each file replaced atomically, files of arms no
    longer there removed.

    profile: the one that the run should be of; found out from its grid if not said.
    incomplete: why a grid with gaps or with few seeds may be published all the same; recorded in README and tables.
    Raises RunError naming what is wrong: no such table, the smoke profile, a missing arm, size or seed, too few
    seeds, a value no prediction can have, runs of different code or data.
    """
    from fewscans import params  # imports every experiment, hence torch

    loaded = params.load()
    spec = loaded.run(run)
    dataset = spec.dataset + ("-twin" if spec.twin else "")
    predictions, history, records, reference = read_run(run)
    wanted = profile
    profile, missing = profile_of(run, predictions, records, loaded)
    if wanted and profile and wanted != profile:
        raise RunError(
            f"runs/{run}.parquet is of profile {profile}, not {wanted}; `fewscans train {run} --profile {wanted}`"
        )
    if profile == "smoke":
        raise RunError(
            f"runs/{run}.parquet is of the smoke profile, which only tests the pipeline; train it with another"
        )
    seeds = sorted(int(seed) for seed in predictions["seed"].unique())
    complaints = (
        [f"the grid of profile {profile} lacks {len(missing)} runs, the first: {missing[0]}"] if missing else []
    )
    if profile is None:
        complaints = ["no profile of params.yaml has these arms with these updates"]
    if len(seeds) < minimum_seeds:
        complaints.append(f"{len(seeds)} seeds, fewer than {minimum_seeds}")
    if complaints and not incomplete:
        raise RunError(
            f"{run} is not fit to be published: {'; '.join(complaints)}. To publish it all the same, "
            "say why: --incomplete REASON"
        )
    step = step_of(predictions) if kind_of_target(spec.experiment) == "number" else None
    about = {
        "run": run,
        "experiment": spec.experiment,
        "dataset": spec.dataset,
        "twin": spec.twin,
        "real": not spec.twin,
        "profile": profile,
        "arms": list(dict.fromkeys(predictions["arm"].astype(str))),
        "seeds": seeds,
        "incomplete": f"{incomplete} ({'; '.join(complaints)})" if complaints else None,
        **({"step": step} if step else {"logit_step": LOGIT_STEP}),
        **{key: _one(records, key, run) for key in ("code", "data")},
        **{key: sorted({str(record[key]) for record in records}) for key in ("device", "torch", "threads")},
        "params": _plain(loaded.grids.get(run, {}).get(profile)),
    }
    if reference is not None:
        about["reference"] = True
    folder = folder_of(spec.experiment, dataset)
    folder.mkdir(parents=True, exist_ok=True)
    for arm in about["arms"]:
        _write(
            folder / f"{arm}.parquet",
            _parquet(_compact(predictions[predictions["arm"] == arm], step), about | {"arm": arm}),
        )
    _write(folder / "history.parquet", _parquet(history, None))
    beside = [name for name in BESIDE if name != "reference" or reference is not None]
    if reference is not None:
        _write(folder / "reference.parquet", _parquet(_sorted(reference), None))
    lines = ",\n".join(json.dumps(record, sort_keys=True) for record in records)
    _write(folder / "records.json", f"[\n{lines}\n]\n".encode())
    _write(folder / "README.md", _readme(about, predictions, records).encode())
    for path in folder.glob("*.parquet"):
        if path.stem not in (*about["arms"], *beside):
            path.unlink()
    return folder


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


def _sorted(reference: pd.DataFrame) -> pd.DataFrame:
    return reference.sort_values(["kind", "scan", "nodule", "case"], kind="stable", ignore_index=True)


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


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    os.replace(partial, path)


def _one(records: list[dict], key: str, run: str) -> str:
    values = sorted({str(record[key]) for record in records})
    if len(values) != 1:
        raise RunError(f"the runs of {run} were made with different {key}: {', '.join(values)}; train it again, whole")
    return values[0]


def _plain(grid) -> dict | None:
    return None if grid is None else json.loads(json.dumps(vars(grid)))


def _readme(about: dict, predictions: pd.DataFrame, records: list[dict]) -> str:
    name = f"{about['dataset']}{'-twin' if about['twin'] else ''}"
    kind = "synthetic twin: shows that the mechanism works in this implementation" if about["twin"] else "real data"
    number = "step" in about
    of_cases = "labels" if number else "positive"
    rows = [f"| arm | N | seeds | test cases ({of_cases}) | groups |", "| --- | --- | --- | --- | --- |"]
    test = predictions[predictions["split"] == "test"]
    for arm in about["arms"]:
        mine = test[test["arm"] == arm]
        case = mine.drop_duplicates("case")
        sizes = ", ".join(str(n) for n in sorted(mine["n_train"].unique()))
        target = case["target"]
        cases = f"{len(case)} ({f'{target.min():.4g} to {target.max():.4g}' if number else int(target.sum())})"
        rows.append(f"| {arm} | {sizes} | {mine['seed'].nunique()} | {cases} | {case['group'].nunique()} |")
    few = sorted({record["n_small_val"] for record in records if number and "n_small_val" in record})
    small = f"{' or '.join(map(str, few))} of its cases" if few else "one no larger than N"
    precision = f"{about['logit_step']} in the log-odds; an AUC" if not number else (
        f"{np.format_float_positional(about['step'], trim='-')} in the label's unit; an ICC"
    )  # fmt: skip
    trained = sum(bool(record.get("parameters")) for record in records)
    seconds = sum(record.get("seconds_wall", 0.0) for record in records)
    data = ATTRIBUTION.get(about["dataset"].rpartition("-on-")[2], "") if not about["twin"] else (
        f"Written by `fewscans twin {about['dataset']}`; holds nothing of the data set it stands for.\n"
    )  # fmt: skip
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
        f"- {len(records)} runs, {trained} of them networks, trained in {seconds / 3600:.1f} hours of wall time; "
        "each, with its learning rate, in `records.json` (trials of other rates are not kept)",
        f"- profile: {about['profile'] or 'none of params.yaml'}; code: {about['code']}",
        f"- data (sha256): {about['data']}",
        f"- parameters: `{json.dumps(about['params'], sort_keys=True)}`",
        f"- predictions are kept to {precision} moves by less than 0.0001",
        f"- splits: `test` (checkpoint chosen by the whole validation set), `test-small-val` (by {small})",
        "",
        "## Data",
        "",
        data,
    ]
    return "\n".join(lines).rstrip() + "\n"
