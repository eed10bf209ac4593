"""What each stage of the pipeline depends on in the library: build/code/<stage>.json, a hash of its import closure.

DVC takes no list of files where stages are made by a template. So one stage writes these files, and the others depend
on them: editing a figure that one notebook uses changes that notebook's file alone. Records of data sets, labels and
colours count here, for a notebook is drawn anew when a label changes.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from fewscans import closure, files, notebook, paths
from fewscans.data import registry

RUNNERS = {
    "train": ["fewscans.sweep.sweep"],
    "notebook": ["fewscans.notebook"],
    "scorecard": ["fewscans.scorecard", "fewscans.cards"],
    "site": ["fewscans.site"],
}


def roots() -> dict[str, set[str]]:
    """Stage → the modules from which its closure starts: what it runs, and what it reaches by name."""
    raw = paths.raw_params()
    try:
        return _roots(raw)
    except (LookupError, TypeError, AttributeError):  # a key that is missing, or of another kind
        from fewscans import params

        params.load()  # says which
        raise


def _roots(params: dict) -> dict[str, set[str]]:
    every = {name: _of_run(spec) for name, spec in params["runs"].items()}
    # scorecard and notebooks read published results as well, whose experiments and data sets are reached by name
    published = {folder: _of_published(folder) for folder in sorted(paths.published().glob("*/*/"))}
    found = {f"twin-{name}": {f"fewscans.twins.{name.replace('-', '_')}"} for name in params["twins"]}
    found |= {f"train-{run}": {*RUNNERS["train"], *modules} for run, modules in every.items()}
    for number, entry in params["notebooks"].items():
        shown = entry.get("runs", {}).values() or every  # notebook 00 speaks of all
        mine = {module for run in shown for module in every[run]}
        tested = {params["runs"][run]["experiment"] for run in shown}
        mine |= {m for folder, modules in published.items() if folder.parent.name in tested for m in modules}
        found[f"notebook-{number}"] = {*RUNNERS["notebook"], *mine, *_of_cells(entry["file"])}
    found["scorecard"] = {*RUNNERS["scorecard"], *set().union(*every.values(), *published.values())}
    found["site"] = set(RUNNERS["site"])
    return found


def write() -> list[Path]:
    """Writes a file for each stage, if its hash changed; files of stages that are gone are removed."""
    folder = paths.build() / "code"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for stage, start in roots().items():
        modules = sorted({*closure.closure(start), *closure.REGISTRIES})
        content = {"stage": stage, "modules": modules, "code": closure.fingerprint(modules, records=True)}
        path, text = folder / f"{stage}.json", json.dumps(content, indent=1) + "\n"
        written.append(files.write(path, text))
    for path in set(folder.glob("*.json")) - set(written):
        path.unlink()
    return written


def _of_run(spec: dict) -> set[str]:
    """The experiment and the reader of a run."""
    return {f"fewscans.experiments.{spec['experiment']}", registry.module_of(spec["dataset"])}


def _of_published(folder: Path) -> set[str]:
    """The experiment and the reader of results kept in git, by their folder's name."""
    dataset = folder.name.rpartition("-on-")[2].removesuffix("-twin")
    return {f"fewscans.experiments.{folder.parent.name}", registry.module_of(dataset)}


def _of_cells(stem: str) -> set[str]:
    """What the code cells of a notebook import."""
    path = paths.root() / "notebooks" / f"{stem}.ipynb"
    cells = [cell.source for cell in notebook.read(path).cells if cell.cell_type == "code"]
    trees = [ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.MULTILINE)) for source in cells]
    return set().union(*(closure.imports(tree) for tree in trees))
