"""params.yaml: what is wrong in it is one sentence that names file, key and remedy."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fewscans import params
from fewscans.errors import ParamsError
from fewscans.experiments import gcnn
from fewscans.params import NotebookSpec, RunSpec

RUN = "gcnn-luna16-patches-twin"
GRID = {"arms": {"Z2": [30, 100], "p4m": [30]}, "seeds": 3, "steps": 4, "eval_every": 2, "learning_rates": [1e-3]}
GOOD = {
    "profile": "smoke",
    "data_root": "data",
    "twins": {
        "luna16-patches": {"smoke": {"scans": 60, "candidates_per_scan": 10, "positive_fraction": 0.3, "seed": 0}},
        "orientation": {"smoke": {"cases": 400, "noise": 0.3, "seed": 0}},
    },
    "runs": {RUN: {"experiment": "gcnn", "dataset": "luna16-patches", "twin": True, "data": "build/twins/x"}},
    "grids": {RUN: {"smoke": GRID, "paper": GRID | {"seeds": 10}}, "gcnn-luna16-patches": {"smoke": GRID}},
    "notebooks": {"00": {"file": "00_start_here"}, "01": {"file": "01_gcnn", "runs": {"twin": RUN}}},
}  # fmt: skip
ABSENT = object()


@pytest.fixture
def write(tmp_path):
    def of(content) -> str:
        path = tmp_path / "params.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return of


def changed(keys: str, value):
    """The good file with one value set, or taken out; keys are joined by slashes."""
    content = copy.deepcopy(GOOD)
    *above, last = keys.split("/")
    at = content
    for key in above:
        at = at[key]
    if value is ABSENT:
        del at[last]
    else:
        at[last] = value
    return content


def complaint(path) -> str:
    with pytest.raises(ParamsError) as caught:
        params.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_a_good_file_comes_typed(write):
    loaded = params.load(write(GOOD))
    assert loaded.runs[RUN] == RunSpec("gcnn", "luna16-patches", True, "build/twins/x")
    assert loaded.notebooks["01"] == NotebookSpec("01_gcnn", {"twin": RUN}) and loaded.notebooks["00"].runs == {}
    sizes = {"Z2": (30, 100), "p4m": (30,)}
    assert loaded.grid(RUN) == gcnn.Grid(arms=sizes, seeds=3, steps=4, eval_every=2, learning_rates=(1e-3,))
    assert loaded.grid(RUN, "paper").seeds == 10


def test_the_project_s_own_file_is_good():
    loaded = params.load()
    for name, profiles in loaded.grids.items():
        assert {"quick", "paper"} <= set(profiles) <= set(params.PROFILES), name
    named = {"luna16-patches", "luna16-patches-twin", "orientation-twin", "luna16", "luna16-twin", "adrenalmnist3d"}
    assert {f"gcnn-{dataset}" for dataset in named} <= set(loaded.grids)


def test_pilots_and_no_other_grids_predict_validation_cases_with_seeds_that_no_other_grid_has():
    pilots = 0
    for name, profiles in params.load().grids.items():
        for profile, grid in profiles.items():
            seeds = {seed for sizes in grid.arms.values() for n in sizes for seed in grid.seeds_of(n)}
            if profile == "pilot":
                assert grid.pilot and grid.first_seed >= 100 and min(seeds) >= 100, name
                pilots += 1
            else:
                assert not getattr(grid, "pilot", False) and max(seeds) < 100, f"{name}, {profile}"
    assert pilots >= 5


def test_a_run_outside_the_pipeline_is_known_by_its_grid(write):
    spec = params.load(write(GOOD)).run("gcnn-luna16-patches")
    assert spec == RunSpec("gcnn", "luna16-patches", False, "data/manifests/luna16-patches.json")


@pytest.mark.parametrize("name", ["gcnn-nowhere", "gcnn", "", "Z2"])
def test_an_unknown_run_lists_those_there_are(write, name):
    with pytest.raises(ParamsError, match=f"unknown run '{name}'; params.yaml has grids for {RUN}, gcnn-luna"):
        params.load(write(GOOD)).run(name)


@pytest.mark.parametrize(("profile", "has"), [("quick", "smoke, paper"), ("bold", "smoke, paper")])
def test_a_profile_that_a_grid_lacks_lists_those_it_has(write, profile, has):
    with pytest.raises(ParamsError, match=f"grids.{RUN} has no profile '{profile}'; it has {has}"):
        params.load(write(GOOD)).grid(RUN, profile)


GRID_AT = f"grids/{RUN}/smoke"
WRONG = {
    # where, value, what the message must hold
    "unknown key": ("color", "red", ["the file has the unknown key 'color'", "known keys: profile, data_root"]),
    "missing key": ("data_root", ABSENT, ["the file lacks the key 'data_root'"]),
    "unknown profile": ("profile", "fast", ["profile is 'fast'", "smoke, quick, long, paper, pilot"]),
    "profile as a list": ("profile", ["smoke"], ["profile is ['smoke']"]),
    "profile of a grid": (f"grids/{RUN}/fast", GRID, [f"grids.{RUN}.fast: unknown profile; profiles are smoke"]),
    "profile of a twin": ("twins/orientation/fast", {}, ["twins.orientation.fast: unknown profile"]),
    "no grid at the profile": ("profile", "quick", [f"grids.{RUN} has no profile 'quick'; it has smoke, paper"]),
    "no twin at the profile": ("profile", "paper", ["twins.luna16-patches has no profile 'paper'; it has smoke"]),
    "runs as a list": ("runs", [], ["runs must be a mapping with text keys"]),
    "number as a key": ("notebooks", {1: {"file": "01_x"}}, ["notebooks must be a mapping with text keys (quote"]),
    "unknown key of a run": (f"runs/{RUN}/colour", 1, [f"runs.{RUN} has the unknown key 'colour'"]),
    "missing key of a run": (f"runs/{RUN}/twin", ABSENT, [f"runs.{RUN} lacks the key 'twin'"]),
    "text for a truth": (f"runs/{RUN}/twin", "yes", [f"runs.{RUN}.twin must be bool, got 'yes'"]),
    "unknown experiment": (f"runs/{RUN}/experiment", "rnn", [f"runs.{RUN}.experiment is 'rnn'", "gcnn"]),
    "misnamed run": (f"runs/{RUN}/dataset", "orientation", [f"runs.{RUN} should be called gcnn-orientation-twin"]),
    "run that is no twin": (f"runs/{RUN}/twin", False, [f"runs.{RUN} should be called gcnn-luna16-patches "]),
    "run without a grid": (f"grids/{RUN}", ABSENT, [f"runs.{RUN} has no grid; add grids.{RUN}"]),
    "run without its twin": ("twins/luna16-patches", ABSENT, [f"runs.{RUN} reads the twin 'luna16-patches'; add it"]),
    "grid of no experiment": ("grids/rnn-x", {"smoke": GRID}, ["grids.rnn-x: not a run's name", "<experiment>-"]),
    "grid of no data set": ("grids/gcnn", {"smoke": GRID}, ["grids.gcnn: not a run's name"]),
    "unknown key of a grid": (f"{GRID_AT}/step", 5, [f"grids.{RUN}.smoke has the unknown key 'step'", "steps"]),
    "missing key of a grid": (f"{GRID_AT}/steps", ABSENT, [f"grids.{RUN}.smoke lacks the key 'steps'"]),
    "rate as text": (f"{GRID_AT}/learning_rates", ["1e-3"], ["smoke.learning_rates: 1e-3 is", "1.0e-3"]),
    "rate alone": (f"{GRID_AT}/learning_rates", 1e-3, [f"grids.{RUN}.smoke.learning_rates must be a list, got 0.001"]),
    "rate that is no number": (f"{GRID_AT}/learning_rates", [float("nan")], ["learning_rates[0] is nan", "finite"]),
    "rate without end": (f"{GRID_AT}/learning_rates", [float("inf")], ["learning_rates[0] is inf", "finite"]),
    "rate of 5": (f"{GRID_AT}/learning_rates", [5], [f"grids.{RUN}.smoke: learning_rates must lie between 0 and 1"]),
    "truth for a number": (f"{GRID_AT}/seeds", True, [f"grids.{RUN}.smoke.seeds must be int, got True"]),
    "fraction for a whole": (f"{GRID_AT}/seeds", 2.0, ["seeds must be int, got 2.0"]),
    "nothing for a number": (f"{GRID_AT}/seeds", None, ["seeds must be int, got None"]),
    "number for a truth": (f"{GRID_AT}/augment", 1, ["augment must be bool, got 1"]),
    "no seeds": (f"{GRID_AT}/seeds", 0, [f"grids.{RUN}.smoke: seeds must be at least 1, got 0"]),
    "no arms": (f"{GRID_AT}/arms", {}, [f"grids.{RUN}.smoke: arms is empty"]),
    "unknown arm": (f"{GRID_AT}/arms", {"Z4": [30]}, ["unknown arm 'Z4'", "known arms: Z2"]),
    "arm without sizes": (f"{GRID_AT}/arms", {"Z2": []}, ["arms.Z2", "got []"]),
    "size alone": (f"{GRID_AT}/arms", {"Z2": 30}, ["arms.Z2 must be a list, got 30"]),
    "odd size": (f"{GRID_AT}/arms", {"Z2": [31]}, ["arms.Z2: sizes must be even"]),
    "more trials than seeds": (f"{GRID_AT}/tuning_seeds", 4, ["tuning_seeds (4) exceeds seeds (3)"]),
    "unknown twin": ("twins/brain", {"smoke": {}}, ["twins.brain.smoke: unknown twin 'brain'; known: camelyon16, "]),
    "unknown setting": ("twins/orientation/smoke/color", 1, ["twins.orientation.smoke: ", "unknown setting color"]),
    "missing setting": ("twins/orientation/smoke/noise", ABSENT, ["twins.orientation.smoke: ", "has no noise"]),
    "impossible setting": ("twins/orientation/smoke/noise", -1, ["twins.orientation.smoke: noise", "-1"]),
    "truth for a count": ("twins/orientation/smoke/cases", True, ["twins.orientation.smoke: cases"]),
    "notebook of no run": ("notebooks/01/runs/twin", "gcnn-x", ["notebooks.01.runs.twin is 'gcnn-x', not one of runs"]),
    "notebook misnumbered": ("notebooks/01/file", "02_gcnn", ["notebooks.01.file is '02_gcnn'; it must begin"]),
    "data_root as a number": ("data_root", 3, ["data_root must be str, got 3"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_in_one_sentence(write, case):
    keys, value, words = WRONG[case]
    found = complaint(write(changed(keys, value)))
    assert [word for word in words if word not in found] == [], found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profile: smoke\nprofile: paper\n", ["line 2", "'profile' occurs twice"]),
        ("grids: {a: {smoke: {seeds: 1, seeds: 2}}}\n", ["line 1", "'seeds' occurs twice"]),
        ("profile: [smoke\n", ["line 2", "correct that line"]),
        ("profile:\n\tsmoke\n", ["line 2"]),
        ("", ["the file must be a mapping"]),
        ("- smoke\n", ["the file must be a mapping"]),
        ("profile: !!python/object:os.system {}\n", ["line 1"]),
    ],
)
def test_what_is_no_params_file_at_all_is_one_sentence_too(write, text, words):
    found = complaint(write(text))
    assert [word for word in words if word not in found] == [], found


def test_the_trap_of_yaml_is_explained(write):
    """YAML 1.1 reads 1e-3 as text and 1.0e-3 as a number."""
    text = yaml.safe_dump(GOOD)
    assert "write a number in plain digits (10, 1.0e-3)" in complaint(write(text.replace("- 0.001", "- 1e-3")))
    assert params.load(write(text.replace("- 0.001", "- 1.0e-3"))).grid(RUN).learning_rates == (1e-3,)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    assert "cannot be read (No such file" in complaint(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"profile: \xff\n")
    assert "byte 9 is not UTF-8" in complaint(tmp_path / "params.yaml")


def test_whole_numbers_pass_as_fractions_and_nothing_else_bends(write):
    loaded = params.load(write(changed("twins/orientation/smoke/noise", 1)))
    assert loaded.twins["orientation"]["smoke"]["noise"] == 1
    assert isinstance(params.typed(1, float, "x"), float)
    for value, kind in ((True, float), ("1", int), (1.0, int), (0, bool), (None, str), (1, str)):
        with pytest.raises(ParamsError, match=f"x must be {kind.__name__}, got"):
            params.typed(value, kind, "x")


def test_importing_params_costs_no_torch():
    """Commands that only look up names stay quick; a grid is checked by its experiment, which needs torch."""
    code = "import sys, fewscans.params; print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(params.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "False\n", done.stderr
