"""Where a figure or a table comes from: what stands in its file, and whether that still holds (`fewscans explain`).

* PNG: the text entry `fewscans`. SVG: the description. Both hold the runs that were drawn, as JSON.
* Parquet that is published: the schema's metadata `fewscans`. This machine's: the file `.about.json` beside it.
* Markdown: a comment in its last line. A scorecard's JSON is a list of rows; the page beside it speaks for both.
* An executed notebook: its metadata `fewscans`.

A figure or page is current if the tables at hand are of the same code, data, profile and seeds as those it was made
from, and the claims are the same. A table is current if its bytes are those that were written, and the code that
decides its run is the same today. No times stand in any of them, so that the same results give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from defusedxml.ElementTree import parse

from fewscans import claims as claims_files
from fewscans import closure, experiments, files, integrity, paths, results
from fewscans.claims import Claims
from fewscans.errors import RunError

SAME = ("profile", "code", "data", "seeds")  # of a source, which tells one set of tables from another
MARK = "<!-- fewscans: "
KINDS = "PNG, SVG, Parquet, Markdown, a scorecard's JSON, or an executed notebook"


def stamp(
    runs: Iterable[tuple[str, bool]], claims: Claims, paper: str | None = None, decided: str | None = None
) -> str:
    """The last line of a page that `fewscans scorecard` writes.   runs: name, and whether its published tables were
    read.   paper: the page is about its claims alone; several with spaces between.   decided: of the scorecard itself,
    what decided its rows.
    """
    of = [_brief(about) for run, is_published in sorted(set(runs)) if (about := _about(run, is_published)) is not None]
    told = {"command": "fewscans scorecard", "claims": _digest(claims, paper), "paper": paper, "sources": of}
    told |= {"decided": decided} if decided else {}
    return f"{MARK}{json.dumps(told, sort_keys=True)} -->"


def decided(claims: Claims) -> str:
    """A hash of all that decides verdicts on published tables: the claims, the tables, the code that judges them."""
    judges = {f"fewscans.stats.{path.stem}" for path in (closure.LIBRARY / "stats").glob("[a-z]*.py")}
    judges |= {"fewscans.results", "fewscans.scorecard", "fewscans.verdicts"}
    tables = [path.read_text(encoding="utf-8") for path in sorted(paths.published().glob(f"*/*/{files.SUMS}"))]
    told: dict = {"claims": _digest(claims, None), "code": closure.fingerprint(judges), "tables": tables}
    for name in sorted({test.experiment for claim in claims for test in claim.tests}):
        experiment = experiments.get(name)
        told[name] = experiment.beaten_by, {arm: look.computed_with for arm, look in experiment.ARMS.items()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def explain(path: Path) -> str:
    """What made a file, from what, and whether it is current, in lines for people.

    Raises RunError if the file is missing, of a kind without provenance, or has none.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such file")
    told, state = _read(path)
    lines = [f"{path.name}: {told['figure']}" if told.get("figure") else path.name]
    if told.get("command"):
        lines.append(f"made by: {told['command']}")
    if told.get("executed_at"):
        lines.append(f"profile: {told['executed_at']}")
    for source in told.get("sources", [told] if "run" in told else []):
        lines.append(f"from: {source['run']} ({_facts(source)})")
        if source is not told and source.get("command"):
            lines.append(f"  trained by: {source['command']}")
    return "\n".join([*lines, "current: " + ("yes" if not state else "no; " + "; ".join(state))])


def _facts(source: Mapping) -> str:
    parts = [f"profile {source.get('profile') or 'unknown'}"]
    parts += [f"{key} {source[key][:16]}" for key in ("code", "data") if key in source]
    if source.get("seeds"):
        parts.append(f"{len(source['seeds'])} seeds")
    if source.get("device"):
        parts.append(", ".join(source["device"]))
    return "; ".join(parts)


def _read(path: Path) -> tuple[dict, list[str]]:
    """What a file says of itself, and why it is not current; nothing if it is."""
    if path.suffix in (".png", ".svg"):
        told = _of_picture(path)
        if "sources" not in told and "run" in told:  # of one run, whose facts stand in the open
            told = {"figure": told.get("figure"), "sources": [told]}
        return {"command": "python -m fewscans.figures.kept"} | told, _changed(told.get("sources", []))
    if path.suffix == ".md" or path.name == "scorecard.json":
        told = of_page(path.with_suffix(".md"))
        state = _changed(told["sources"])
        if told["claims"] != _digest(claims_files.load(), told["paper"]):
            state.append("claims were added or changed since")
        return told, state
    if path.suffix == ".parquet":
        return _of_table(path)
    if path.suffix == ".ipynb":
        return _of_notebook(path)
    raise RunError(f"{path.name}: holds no provenance; explain takes {KINDS}")


def _of_picture(path: Path) -> dict:
    from PIL import Image, UnidentifiedImageError

    try:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
                text = picture.text.get("fewscans")
        else:
            tag = "{http://purl.org/dc/elements/1.1/}description"
            text = next((element.text for element in parse(path).iter(tag)), None)
        told = json.loads(text) if text else None
    except (UnidentifiedImageError, OSError, ValueError, ElementTree.ParseError) as error:
        raise RunError(f"{path.name}: not a picture that can be read ({error}); make it anew") from error
    if not isinstance(told, dict):
        raise RunError(f"{path.name}: a picture without provenance; it was not drawn by this project")
    return told


def of_page(path: Path) -> dict:
    """What a page of `fewscans scorecard` says of itself. Raises RunError if it is missing, or says nothing."""
    lines = path.read_text(encoding="utf-8").rstrip().splitlines() if path.is_file() else []
    if not lines or not lines[-1].startswith(MARK):
        raise RunError(f"{path.name}: holds no provenance; `fewscans scorecard` writes pages that do")
    return json.loads(lines[-1].removeprefix(MARK).removesuffix("-->"))


def _of_table(path: Path) -> tuple[dict, list[str]]:
    try:
        found = (pq.read_schema(path).metadata or {}).get(b"fewscans")
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{path.name}: not a readable Parquet file ({error})") from error
    state, run = [], path.name.partition(".")[0]
    if not found and run in results.BESIDE:  # published beside the tables of a run's arms
        found = json.dumps(_published(paths.root()).get(f"{path.parent.parent.name}-{path.parent.name}"))
    beside = path.with_name(f"{run}.about.json")
    if found and (about := json.loads(found)):
        if files.lists_of_hashes(path.parent).get(path.name) != hashlib.sha256(path.read_bytes()).hexdigest():
            state.append("its bytes are not those that were published")
        command = f"{_train(about)}, then fewscans publish {about['run']}"
    elif beside.is_file():
        about = integrity.about(beside, "train the run again") | {"run": run}
        kept = about.get(integrity.HASHES, {}).get(path.name.removeprefix(f"{run}."))
        if kept not in (None, hashlib.sha256(path.read_bytes()).hexdigest()):
            state.append("its bytes are not those that the run wrote")
        command = _train(about)
    else:
        raise RunError(f"{path.name}: a table without provenance, and no {beside.name} beside it")
    now = _code_now(about)
    if now != about["code"]:
        state.append(f"the code that decides this run has changed: {now} today")
    return {"command": command, **about}, state


def _of_notebook(path: Path) -> tuple[dict, list[str]]:
    from fewscans import notebook  # with nbformat, which takes a second to import

    executed = notebook.read(path)
    told = executed.metadata.get("fewscans")
    if told is None:
        raise RunError(f"{path.name}: not executed by `fewscans notebook`, so it holds no provenance")
    cells = [cell.source for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    source = notebook.read(notebook.find(path.stem))
    state = ["the notebook was edited since"] * (cells != [cell.source for cell in source.cells])
    return {"command": f"fewscans notebook {path.name[:2]}", "executed_at": told.get("profile")}, state


def _changed(sources: Iterable[Mapping]) -> list[str]:
    """Which tables are others now, or gone."""
    found = []
    for source in sources:
        there = [about for published in (True, False) if (about := _about(source["run"], published)) is not None]
        if not there:
            found.append(f"no tables of {source['run']} are here")
        elif not any(all(source.get(key) == _brief(about).get(key) for key in SAME) for about in there):
            found.append(f"the tables of {source['run']} are others now")
    return found


def _brief(about: Mapping) -> dict:
    keys = ("run", "profile", "code", "data", "seeds")
    return {key: about[key] for key in keys if key in about}


def _about(run: str, is_published: bool) -> dict | None:
    """What a run's tables say of themselves; None if there are none."""
    if is_published:
        return _published(paths.root()).get(run)
    return dict(results.read_run(run).about) if (paths.runs() / f"{run}.about.json").is_file() else None


@cache
def _published(_root: Path) -> dict[str, dict]:
    found = {}
    for folder in sorted(paths.published().glob("*/*/")):
        tables = [path for path in sorted(folder.glob("*.parquet")) if path.stem not in results.BESIDE]
        if tables and (about := (pq.read_schema(tables[0]).metadata or {}).get(b"fewscans")):
            found[f"{folder.parent.name}-{folder.name}"] = json.loads(about)
    return found


def _digest(claims: Claims, paper: str | None) -> str:
    mine = [claim for claim in claims if paper is None or claim.paper in paper.split()]
    return hashlib.sha256(re.sub(r" at 0x\w+", "", repr(mine)).encode()).hexdigest()[:16]


def _train(about: Mapping) -> str:
    return f"fewscans train {about['run']} --profile {about.get('profile') or 'paper'}"


def _code_now(about: Mapping) -> str:
    """The hash of the code that decides the run, of today."""
    from fewscans import params

    if "experiment" in about:
        name, dataset = about["experiment"], about["dataset"]
    else:
        spec = params.load().run(about["run"])
        name, dataset = spec.experiment, spec.dataset
    return closure.fingerprint(experiments.get(name).code(dataset.rpartition("-on-")[2]))
