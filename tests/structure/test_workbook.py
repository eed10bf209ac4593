"""Notebooks, params.yaml and dvc.yaml agree, and each notebook is what a reader of the others expects."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from fewscans import notebook, stages

from .imports import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PAPERS = [path for path in NOTEBOOKS if PARAMS["notebooks"].get(path.name[:2], {}).get("runs")]
PARTS = ["The claim", "The data", "The idea in code", "The experiment", "The verdict", "Appendix"]
LONGEST_CELL = 20
MOST_CELLS = 45

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
every_paper = pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[ast.Module]:
    """The code cells, without lines for IPython alone."""
    cells = (cell.source for cell in read(path).cells if cell.cell_type == "code")
    return [ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.MULTILINE)) for source in cells]


def test_every_notebook_is_in_params_and_has_its_stage_and_the_other_way_round():
    on_disk = {path.name[:2]: path.stem for path in NOTEBOOKS}
    assert on_disk and len(on_disk) == len(NOTEBOOKS)
    assert {number: entry["file"] for number, entry in PARAMS["notebooks"].items()} == on_disk
    assert {name for name in STAGES if name.startswith("notebook")} == {f"notebook-{number}" for number in on_disk}


@every_notebook
def test_a_notebook_is_committed_without_outputs_and_for_the_kernel_everyone_has(path):
    found = read(path)
    nbformat.validate(found)
    left = [cell.id for cell in found.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    assert left == [], f"nbstripout {path.relative_to(ROOT)}"
    assert found.metadata.kernelspec.name == "python3"


@every_notebook
def test_a_notebook_is_kept_in_the_form_that_the_filter_of_git_writes(path):
    text = path.read_text(encoding="utf-8")
    assert notebook.stripped(text) == text, f"git add --renormalize {path.relative_to(ROOT)}"


@every_notebook
def test_a_notebook_declares_plain_parameters_and_saves_only_when_told(path):
    assert notebook.parameters(path)["save"] is False


@every_notebook
def test_a_notebook_begins_with_its_title(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")


@every_paper
def test_a_paper_s_notebook_cites_it_first_and_has_the_five_parts_in_order(path):
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    assert re.search(r"\b(19|20)\d\d\b", cells[0]), "the first cell names the paper, with its year"
    headings = re.findall(r"^## (?:\d\W+)?(.+?)\s*$", "\n".join(cells), flags=re.MULTILINE)
    assert [heading for heading in headings if heading in PARTS] == PARTS


@every_notebook
def test_a_notebook_runs_from_any_clone(path):
    texts = [node.value for tree in code(path) for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    absolute = [text for text in texts if isinstance(text, str) and re.match(r"(/|~|\.\./|[A-Za-z]:\\)\w*", text)]
    assert absolute == [], "ask fewscans.paths where things lie"
    names = {ast.unparse(node) for tree in code(path) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "sys.path" not in names
    markdown = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert re.findall(r"!\[[^]]*\]\(https?:[^)]*\)|<img[^>]+https?:", markdown) == [], "a picture from the network"


@every_notebook
def test_a_notebook_is_read_in_one_sitting(path):
    assert len(read(path).cells) <= MOST_CELLS


@every_notebook
def test_cells_are_short(path):
    long = [cell.source.splitlines()[0] for cell in read(path).cells if cell.cell_type == "code"
            and len(cell.source.splitlines()) > LONGEST_CELL]  # fmt: skip
    assert long == [], "what is longer belongs in lib/"


@every_notebook
def test_a_stage_depends_on_its_code_its_source_and_the_tables_its_notebook_reads(path):
    number = path.name[:2]
    stage = STAGES[f"notebook-{number}"]
    assert stage["cmd"] == f"fewscans notebook {number}"
    assert {f"build/source/{number}.ipynb", f"build/code/notebook-{number}.json"} <= set(stage["deps"])
    found = {dep for dep in stage["deps"] if dep.startswith("runs/")}
    runs = PARAMS["notebooks"][number]["runs"].values()
    assert found == {f"runs/{run}.{end}" for run in runs for end in ("parquet", "about.json")}
    pages = {f"reports/notebooks/{path.stem}.{ending}" for ending in ("html", "ipynb")}
    assert set(stage["outs"]) - {f"reports/metrics/{number}.json"} == pages


@every_notebook
def test_a_stage_depends_on_the_twins_that_its_notebook_draws(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")
    drawn = {name for name in PARAMS["twins"] if re.search(rf"""twins["')/, ]+{re.escape(name)}["']""", text)}
    deps = STAGES[f"notebook-{path.name[:2]}"]["deps"]
    assert drawn <= {dep.removeprefix("build/twins/") for dep in deps if dep.startswith("build/twins/")}


def test_every_stage_has_its_code_and_every_code_file_its_stage():
    deps = {dep for stage in STAGES.values() for dep in stage.get("do", stage)["deps"]}
    asked = {dep for dep in deps if dep.startswith("build/code/")}
    keys = {"twin": PARAMS["twins"], "train": PARAMS["runs"]}
    filled = {dep.replace("${key}", key) for dep in asked for key in keys.get(Path(dep).name.partition("-")[0], [""])}
    assert filled == {f"build/code/{stage}.json" for stage in stages.roots()}


def test_every_path_that_a_stage_depends_on_exists_or_is_made_by_another():
    """DVC says so too, but only once the stage's turn has come, minutes into a run."""
    made = ("build/", "runs", "reports/metrics", "reports/notebooks")
    templates = [stage.get("do", stage)["deps"] for stage in STAGES.values()]
    wanted = {dep for deps in templates for dep in deps if "${" not in dep and not dep.startswith(made)}
    assert [dep for dep in sorted(wanted) if not (ROOT / dep).exists()] == []


def test_nothing_of_the_reader_s_or_of_git_s_is_an_out():
    """DVC removes an out before its stage runs, with all that lies in it."""
    stages = [stage.get("do", stage) for stage in STAGES.values()]
    outs = [out if isinstance(out, str) else next(iter(out))
            for stage in stages for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]  # fmt: skip
    kept = ("data", "reports/published", "reports/figures", "reports/scorecard", "build/store", "notebooks", "lib")
    assert outs and [out for out in outs if out.startswith(kept) or kept[0] == out.split("/")[0]] == []


def test_every_run_has_a_grid_for_every_profile():
    for run in PARAMS["runs"]:
        assert {"smoke", "quick", "paper"} <= set(PARAMS["grids"][run])
