"""Networks that git keeps: of each arm of a published run the best one, as safetensors, with a model card.

reports/published/<experiment>/<dataset>/weights/
    <arm>.safetensors  if it has at most LIMIT bytes; larger ones lie outside git, ready for an archive (`archive`)
    weights.json       which networks these are, their grid, and size and SHA-256 of each file
    README.md          the model card
The best network of an arm is, at its largest training size, the one with the lowest validation loss. No test result
chooses. `fewscans predict` and `fewscans scan` read them without training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from fewscans import experiments, files, paths, store
from fewscans.data import registry
from fewscans.errors import RunError

if TYPE_CHECKING:
    from fewscans.params import RunSpec

LIMIT = 200_000  # bytes of one file in git
FOLDER, LIST = "weights", "weights.json"


def folder_of(spec: RunSpec) -> Path:
    """Where git keeps the weights of a run."""
    return paths.published() / spec.experiment / f"{spec.dataset}{'-twin' if spec.twin else ''}" / FOLDER


def archive(spec: RunSpec) -> Path:
    """Where large files lie, outside git: put them there, or take them from there to an archive."""
    return paths.build() / FOLDER / spec.experiment / f"{spec.dataset}{'-twin' if spec.twin else ''}"


def best(records: Sequence[dict]) -> list[dict]:
    """Of each arm that is one network: its largest training size, and there the lowest validation loss."""
    chosen: dict[str, dict] = {}
    for record in records:
        if record.get("parameters") and record.get("networks", 1) == 1:
            chosen[record["arm"]] = min(chosen.get(record["arm"], record), record, key=_rank)
    return list(chosen.values())


def _rank(record: dict) -> tuple:
    loss = record.get("last_val_loss", record.get("best_val_loss", float("inf")))
    return -record["n_train"], loss, record["seed"]


def keep(run: str, spec: RunSpec, about: Mapping, records: Sequence[dict], room: store.Store) -> Path:
    """Writes the weights of a run that is published, their list and card; returns their folder.

    about: of the published tables; `params` is the grid.   Weights that the store lacks and git keeps stay; RunError
    if both lack them.
    """
    here, away = folder_of(spec), archive(spec)
    listed = _listing(here / LIST)["networks"] if (here / LIST).exists() else []
    before, contents = {network["record"]["key"]: network for network in listed}, []
    for record in best(records):
        path, known = room.weights_path(record["key"]), before.get(record["key"])
        if not path.is_file() and not (known and known["in_git"]):
            raise RunError(
                f"{run}: the weights of {record['arm']}, N = {record['n_train']}, seed {record['seed']} are not in "
                f"{room.folder}; remove that run's entry there, then fewscans train {run}"
            )
        contents.append((record, path.read_bytes() if path.is_file() else _checked(run, spec, known)))
    if not contents:
        raise RunError(f"{run} has no network to keep: all its arms are trivial baselines, or several networks")
    networks = []
    for record, content in contents:
        where = here if len(content) <= LIMIT else away
        files.write(where / f"{record['arm']}.safetensors", content)
        facts = {"file": f"{record['arm']}.safetensors", "bytes": len(content), "in_git": where == here}
        networks.append(facts | {"sha256": hashlib.sha256(content).hexdigest(), "record": record})
    listing = {key: about[key] for key in ("run", "experiment", "dataset", "twin", "profile", "code", "data")}
    listing |= {"grid": about["params"], "networks": networks}
    for folder in (here, away) if any(not network["in_git"] for network in networks) else (here,):
        files.write_json(folder / LIST, listing)
        files.write(folder / "README.md", _card(spec, listing))
        sums = "".join(f"{n['sha256']}  {n['file']}\n" for n in networks if n["in_git"] == (folder == here))
        files.write(folder / "SHA256SUMS", sums)
        for path in folder.glob("*.safetensors"):
            if path.name not in sums:
                path.unlink()
    return here


def outdated(spec: RunSpec, records: Sequence[dict]) -> bool:
    """Whether git keeps weights that are not those of the best of these records."""
    path = folder_of(spec) / LIST
    keys = {record.get("key") for record in best(records)}
    return path.exists() and any(n["record"]["key"] not in keys for n in _listing(path)["networks"])


@dataclass(frozen=True)
class Kept:
    """Networks that git keeps: their grid, what is known of their run, and a record of each."""

    grid: object
    about: dict
    records: list[dict]
    load: Callable[[dict], dict[str, Tensor]]


def kept(run: str, spec: RunSpec) -> Kept | None:
    """The networks that git keeps of a run, or None. `load` raises RunError for a file that is absent or damaged."""
    from fewscans import params  # and what it imports, which training does without

    path = folder_of(spec) / LIST
    if not path.exists():
        return None
    listing = _listing(path)
    grid = params.typed(listing["grid"], experiments.get(spec.experiment).Grid, f"{path}: grid")
    about = {key: listing[key] for key in ("profile", "code", "data", "grid")} | {"run": run, "partial": False}
    found = {network["record"]["key"]: network for network in listing["networks"]}
    return Kept(
        grid, about, [n["record"] for n in found.values()], lambda record: _load(run, spec, found[record["key"]])
    )


def _listing(path: Path) -> dict:
    try:
        listing = json.loads(path.read_text(encoding="utf-8"))
        lacking = {"run", "experiment", "dataset", "twin", "profile", "code", "data", "grid", "networks"} - set(listing)
        for network in listing["networks"]:
            lacking |= {"file", "bytes", "in_git", "sha256", "record"} - set(network)
            lacking |= {"key", "arm", "n_train", "seed", "learning_rate", "parameters", "data"} - set(network["record"])
            if Path(network["file"]).name != network["file"]:
                raise ValueError(f"file {network['file']!r}")
        if lacking:
            raise ValueError(f"{min(lacking)} is missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not a list of weights ({error}); restore it from git") from error
    return listing


def _load(run: str, spec: RunSpec, network: dict) -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(_checked(run, spec, network))


def _checked(run: str, spec: RunSpec, network: dict) -> bytes:
    """The file's bytes; RunError for one that is absent or damaged."""
    name = network["file"]
    path = (folder_of(spec) if network["in_git"] else archive(spec)) / name
    remedy = "restore it from git (`git lfs pull`, if it is kept so)" if network["in_git"] else (
        f"get {name} from the archive of {run}"
    )  # fmt: skip
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    if len(content) != network["bytes"] or hashlib.sha256(content).hexdigest() != network["sha256"]:
        raise RunError(
            f"{path} is damaged: it has {len(content)} bytes, and its size or SHA-256 is not that of {LIST} "
            f"({network['bytes']} bytes, {network['sha256'][:12]}...); {remedy}"
        )
    return content


def _card(spec: RunSpec, listing: dict) -> str:
    from fewscans import params

    dataset = registry.dataset(spec.dataset)
    experiment = experiments.get(spec.experiment)
    grid = params.typed(listing["grid"], experiment.Grid, "grid")
    cut = experiment.cut(grid)
    out = "a number in the label's unit" if experiment.target == "number" else "the log-odds of the label 1"
    of = f"a synthetic twin of the {dataset.title}" if spec.twin else f"the {dataset.title} (real data)"
    rows = ["| file | arm | trained on | seed | parameters | bytes | SHA-256 |", "| --- " * 7 + "|"]
    for n in listing["networks"]:
        r, where = n["record"], "" if n["in_git"] else " (not in git)"
        rows.append(
            f"| {n['file']}{where} | {r['arm']} | N = {r['n_train']} | {r['seed']} | {r['parameters']} | {n['bytes']} "
            f"| {n['sha256']} |"
        )
    records = [n["record"] for n in listing["networks"]]
    devices = "; ".join(sorted({f"{r.get('device', '?')}, torch {r.get('torch', '?')}" for r in records}))
    shape = " × ".join(map(str, cut.size))
    spacing = "as published" if cut.spacing_mm is None else " × ".join(f"{mm:g}" for mm in cut.spacing_mm) + " mm"
    data = "" if spec.twin else dataset.attribution
    lines = [
        f"# Model card: networks of {spec.experiment} on {of}",
        "",
        f"Written by `fewscans publish {listing['run']} --weights`; do not edit.",
        "",
        *rows,
        "",
        "- **Chosen**: of each arm the largest training size, and there the seed with the lowest validation loss. No "
        "test result chose.",
        f"- **Trained** with profile {listing['profile']}, code {listing['code']}, data {listing['data']}; {devices}",
        f"- **Input**: {dataset.shows}, {shape} voxels, spacing {spacing}; **output**: {out}",
        "- **How good**: `../README.md` says what it was tested on. `../<arm>.parquet` holds its predictions, in the "
        "rows of its N and seed",
        f"- **Use**: `fewscans predict {listing['run']} DATASET --published`. Files are safetensors; keys are those of "
        "the network's state dict",
        "- **Limits**: made to replicate a paper with few training cases. For research alone; not a medical device, "
        "and not tested on other scanners or people than those named",
        "- **Large files** are not in git: put them into `build/weights/` as listed in its `SHA256SUMS`",
        f"- **Parameters**: `{json.dumps(listing['grid'], sort_keys=True)}`",
        *(["", "## Data", "", data] if data else []),
    ]
    return "\n".join(lines).rstrip() + "\n"
