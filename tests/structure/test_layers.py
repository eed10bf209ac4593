"""Data flows one way: a room of the library never imports a later one, there are no circles, training needs little."""

import ast
import graphlib
import re
import sys
import tomllib

import pytest

from .imports import FOUNDATION, MODULES, ROOT, closure, graph, of_module, part

ROOMS = [
    {"data", "twins"},
    {"groups", "nn", "slides", "train", "experiments", "store", "sweep", "transfer", "weights"},
    {"stats"},
    {
        "results", "claims", "claims_history", "verdicts", "scorecard", "cards", "publish", "figures", "page",
        "notebook", "provenance", "site", "site_assets", "stages", "shortcuts", "compare",
        "widgets",
    },
    {"doctor", "ending", "cli", "cli_own", "__main__"},
]  # fmt: skip
TRAINING = {"torch", "numpy", "pandas", "pyarrow", "filelock"}  # torch itself brings filelock
# Packages named otherwise than what one imports, or that come with the named one.
PACKAGED_AS = {
    "yaml": "pyyaml", "openslide": "openslide-python", "PIL": "pillow", "pygments": "nbconvert",
    "traitlets": "ipykernel", "jupyter_client": "ipykernel", "skimage": "scikit-image", "islide": "jupyter-islide",
    "requests": "pooch",
}  # fmt: skip
LONGEST = 450


def outside(names: set[str]) -> set[str]:
    """The packages among imported names that are neither ours nor Python's."""
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"fewscans"}


def room(module: str) -> int:
    found = [number for number, names in enumerate(ROOMS) if part(module) in names]
    assert found, f"{module}: say in ROOMS where in the flow it stands"
    return found[0]


@pytest.mark.parametrize("module", sorted(m for m in MODULES if part(m) not in FOUNDATION))
def test_a_room_never_imports_a_later_one(module):
    own = {name for name in of_module(module) if name.split(".")[0] == "fewscans" and part(name) not in FOUNDATION}
    assert {name for name in own if room(name) > room(module)} == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_name_the_whole_module(module):
    """A closure of code follows no relative import."""
    tree = ast.parse(MODULES[module].read_text())
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]


def test_no_module_imports_itself_by_way_of_others():
    graphlib.TopologicalSorter(graph()).prepare()  # raises CycleError, which names the circle
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph() | {"fewscans.errors": {"fewscans.cli"}}).prepare()


@pytest.mark.parametrize("module", sorted(m for m in MODULES if part(m) in ROOMS[1]))
def test_training_needs_little_to_start(module):
    needed = outside(closure({module}, top_only=True))
    assert needed <= TRAINING, f"{module} imports {sorted(needed - TRAINING)} on loading"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_what_is_imported_is_declared(module):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = project["dependencies"] + extras["workbook"] + extras["cluster"]
    declared = {re.match(r"[\w-]+", text)[0] for text in texts}
    assert {PACKAGED_AS.get(name, name) for name in outside(of_module(module))} <= declared


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_file_is_read_in_one_sitting(module):
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_file_begins_by_saying_what_it_is_for_and_its_name_says_it_too(module):
    assert ast.get_docstring(ast.parse(MODULES[module].read_text())), f"{module} has no docstring"
    assert module.rpartition(".")[2] not in {"utils", "util", "helpers", "misc", "common"}
