"""Which code decides a run: all that it is trained and read with, and nothing of how it is called, cited or drawn."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fewscans import closure, experiments

from .malformed import luna16_patches as malformed

PAIRS = [("gcnn", "luna16-patches"), ("gcnn", "adrenalmnist3d"), ("gcnn", "luna16"), ("hydranet", "wmh2017"),
         ("hydranet", "msd-hippocampus-fraction")]  # fmt: skip
every_pair = pytest.mark.parametrize(("experiment", "dataset"), PAIRS)


MOMENTS = itertools.count(10**18)  # no two edits have the same time, however fast they follow one another


def write(file: Path, text: str) -> None:
    file.write_text(text)
    os.utime(file, ns=(0, next(MOMENTS)))


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A copy of the library's source."""
    folder = tmp_path_factory.mktemp("copy") / "fewscans"
    return shutil.copytree(closure.LIBRARY, folder, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture
def change(library, monkeypatch):
    """Edits files of the copy, for the time of a test: (file, old text, new text); no old text: at the end."""
    monkeypatch.setattr(closure, "LIBRARY", library)
    before = {}

    def edit(file: str, old: str, new: str) -> None:
        text = (library / file).read_text() if (library / file).exists() else None
        before.setdefault(library / file, text)
        assert not old or old in text, f"{file}: no {old!r}"
        write(library / file, text.replace(old, new, 1) if old else (text or "") + new)

    yield edit
    for file, text in before.items():
        file.unlink() if text is None else write(file, text)


def code(experiment="gcnn", dataset="luna16-patches", records=False) -> str:
    return closure.fingerprint(experiments.get(experiment).code(dataset), records)


# One module


SOURCE = '''
"""What it is for."""

def f(x, size: int = 3):
    """Doubles."""
    # twice
    return 2 * x
'''


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """source → the fingerprint of a module that holds it."""
    monkeypatch.setattr(closure, "LIBRARY", tmp_path)

    def of(source: str, name: str = "decides", records: bool = False) -> str:
        write(tmp_path / f"{name}.py", source)
        return closure.fingerprint([f"fewscans.{name}"], records)

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# twice", "# two times, as the paper has it"),
        ("    # twice\n", ""),
        ("Doubles.", "Doubles.\n\n    At length.\n    "),
        ('    """Doubles."""\n', ""),
        ('"""What it is for."""', '"""What else it is for."""'),
        ("return 2 * x", "return (\n        2 * x\n    )"),
        ("def f(x, size: int = 3)", "def f(x,   size:int=3)"),
        ("\n\ndef", "\n\n\n\ndef"),
    ],
)
def test_rewording_retrains_nothing(edited, old, new):
    assert old in SOURCE
    assert edited(SOURCE.replace(old, new)) == edited(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2 * x", "3 * x"),
        ("2 * x", "x * 2"),
        ("2 * x", "2.0 * x"),
        ("size: int = 3", "size: int = 5"),
        ("def f", "def g"),
        ("return", "x = x + 0\n    return"),
        ("    # twice\n", '    "twice"\n    x += 1\n'),
        ('"""Doubles."""', 'print("Doubles.")'),
    ],
)
def test_a_change_of_code_retrains(edited, old, new):
    assert old in SOURCE
    assert edited(SOURCE.replace(old, new)) != edited(SOURCE)


@pytest.mark.parametrize("name", ["DATASET", "TWIN", "ARMS", "TRIVIAL_ARMS", "ARMS: dict[str, Arm]"])
def test_a_record_counts_only_where_records_do(edited, name):
    one, other = (f"{SOURCE}\n{name} = Record('{title}')\n" for title in ("a title", "another"))
    assert edited(one) == edited(other) == edited(SOURCE)
    assert edited(one, records=True) != edited(other, records=True)


@pytest.mark.parametrize("line", ["MARGIN = 3", "ARMS_TRAINED = 3", "def DATASET(): ..."])
def test_any_other_name_counts(edited, line):
    assert edited(f"{SOURCE}\n{line}\n") != edited(SOURCE)


def test_of_a_record_the_function_that_reads_the_cases_counts(edited):
    text = SOURCE + "\nDATASET = Dataset(title='a title', cases=read_small)\n"
    assert edited(text) == edited(text.replace("a title", "another"))
    assert edited(text) != edited(text.replace("read_small", "functools.partial(read_small, size=3)"))


@pytest.mark.parametrize("name", ["arms", "sources"])
def test_of_a_table_its_classes_alone_count(edited, name):
    text = "GREY = 1\n\n\nclass Arm:\n    size = 3\n\n\ndef sums(label):\n    return Arm(label)\n"
    assert edited(text, name) == edited(text.replace("GREY = 1", "GREY = 2").replace("Arm(label)", "Arm()"), name)
    assert edited(text, name) != edited(text.replace("size = 3", "size = 4"), name)
    assert edited(text) != edited(text.replace("GREY = 1", "GREY = 2")), "in another module all counts"


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="fewscans.nowhere is no module of fewscans"):
        closure.fingerprint(["fewscans.nowhere"])


# All that a run is trained with


@every_pair
def test_the_closure_stops_at_registries_and_every_module_of_it_exists(experiment, dataset):
    modules = experiments.get(experiment).code(dataset)
    assert f"fewscans.experiments.{experiment}" in modules and "fewscans.train" in modules
    assert f"fewscans.data.{dataset.replace('-', '_')}" in modules and "fewscans.data.base" in modules
    assert all(closure.source_of(module) for module in modules) and modules == sorted(set(modules))
    assert not closure.REGISTRIES & set(modules)
    later = ("figures", "sweep", "store", "results", "params", "cli", "twins")
    assert not [module for module in modules if module.split(".")[1:2] and module.split(".")[1] in later]


@every_pair
def test_the_closure_holds_no_other_experiment_and_no_reader_but_those_that_its_own_imports(experiment, dataset):
    modules, tree = experiments.get(experiment).code(dataset), closure.tree_of
    others = {"gcnn", "hydranet"} - {experiment}
    assert not [module for module in modules if module.split(".")[2:3] and module.split(".")[2] in others]
    readers = [m for m in modules if m.startswith("fewscans.data.") and "DATASET =" in closure.source_of(m).read_text()]
    own = f"fewscans.data.{dataset.replace('-', '_')}"
    assert set(readers) <= {own} | closure.imports(tree(own))


TRAINING = """
import json, sys
from pathlib import Path
import torch
from fewscans import experiments
experiment = experiments.get("gcnn")
grid = experiment.Grid(arms={"p4m": (2,)}, seeds=1, steps=1, eval_every=1, learning_rates=(1e-3,), width=4)
cases = experiment.read("luna16-patches", Path(sys.argv[1]), grid)
experiment.train_run(experiment.plan(grid, {})[0], grid, cases, torch.device("cpu"))
loaded = sorted(name for name in sys.modules if name.startswith("fewscans"))
print(json.dumps([loaded, experiment.code("luna16-patches")]))
"""


def test_every_module_that_training_loads_is_in_the_closure(tmp_path):
    """Seen from outside: what a new process has loaded once a run is trained, but for registries and empty packages."""
    malformed.write(tmp_path / "luna16_patches.npz")
    command = (sys.executable, "-c", TRAINING, str(tmp_path / "luna16_patches.npz"))
    environment = os.environ | {"PYTHONPATH": str(closure.LIBRARY.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    loaded, modules = map(set, json.loads(done.stdout))
    empty = {module for module in loaded if closure.source_of(module).read_text().count("\n") <= 1}
    read = {"fewscans.paths", "fewscans.strictyaml"}  # with what registries look a user's own networks up
    assert "fewscans.nn.gconv" in loaded and loaded - modules - empty - closure.REGISTRIES - read == set()


FREE = {
    "a new arm": ("experiments/gcnn/arms.py", "", '\nARMS["p4-new"] = Arm(group="p4", label="new")\n'),
    "another label": ("experiments/gcnn/arms.py", "G-CNN p4m", "p4m network"),
    "another colour": ("experiments/gcnn/arms.py", "#B87A00", "#000000"),
    "another marker": ("experiments/gcnn/arms.py", 'marker="D"', 'marker="x"'),
    "another title": ("data/luna16_patches.py", 'title="LUNA16', 'title="Luna'),
    "another citation": ("data/sources.py", "Setio et al.", "A. A. A. Setio et al."),
    "a new reader": ("data/new.py", "", "from fewscans.data.base import Dataset\n\nDATASET = Dataset()\n"),
    "a new twin": ("twins/new.py", "", "from fewscans.twins.base import Twin\n\nTWIN = Twin()\n"),
    "another experiment": ("experiments/new.py", "", "EXPERIMENT = 3\n"),
    "an edited twin": ("twins/luna16_patches.py", "", "\nSCANS = 3\n"),
    "another reader": ("data/wmh2017.py", "", "\nSCANS = 3\n"),
    "the sweep": ("sweep/sweep.py", "", "\nSCANS = 3\n"),
    "the store": ("store.py", "", "\nSCANS = 3\n"),
    "a comment": ("nn/gconv.py", "", "\n# more\n"),
    "a docstring": ("nn/gcnn.py", '"""', '"""Once more: '),
}  # fmt: skip


@pytest.mark.parametrize("what", FREE)
def test_what_decides_no_run_changes_no_key(change, what):
    before = code()
    change(*FREE[what])
    assert code() == before


DECIDING = {
    "a layer": "nn/gconv.py",
    "the network": "nn/gcnn.py",
    "the groups": "groups.py",
    "the training loop": "train.py",
    "augmentation": "experiments/gcnn/augment.py",
    "the experiment": "experiments/gcnn/__init__.py",
    "what all experiments share": "experiments/base.py",
    "trivial baselines": "experiments/baselines.py",
    "the reader": "data/luna16_patches.py",
    "the format that it reads": "data/formats/npz.py",
    "how splits are drawn": "data/splits.py",
    "what all readers share": "data/base.py",
}


@pytest.mark.parametrize("what", DECIDING)
def test_what_decides_a_run_changes_its_key(change, what):
    before = code()
    change(DECIDING[what], "", "\n\ndef more():\n    return 3\n")
    assert code() != before


def test_a_field_of_an_arm_changes_the_key(change):
    before = code()
    change("experiments/gcnn/arms.py", "    updates: int = 1\n", "    updates: int = 2\n")
    assert code() != before


def test_a_function_that_is_imported_only_inside_a_function_counts(change):
    change("nn/extra.py", "", "def f():\n    return 1\n")
    change("nn/gcnn.py", "", "\n\ndef late():\n    from fewscans.nn import extra\n\n    return extra.f()\n")
    before = code()
    change("nn/extra.py", "return 1", "return 2")
    assert code() != before


def test_each_run_has_its_own_reader_s_code_and_no_other_s(change):
    pairs = [("gcnn", "luna16-patches"), ("gcnn", "luna16"), ("hydranet", "pvs"), ("hydranet", "wmh2017"),
             ("hydranet", "wmh2017-40-20")]  # fmt: skip
    before = {pair: code(*pair) for pair in pairs}
    change("data/wmh2017.py", "", "\nSCANS = 3\n")
    assert [pair[1] for pair in pairs if code(*pair) != before[pair]] == ["wmh2017", "wmh2017-40-20"]


@pytest.mark.parametrize("what", ["another label", "another colour", "another title", "another citation"])
def test_for_a_stage_of_the_pipeline_records_count(change, what):
    before = code(records=True)
    change(*FREE[what])
    assert code(records=True) != before
