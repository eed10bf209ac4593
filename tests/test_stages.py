"""What a stage of the pipeline depends on: the code that it runs, and no more."""

import itertools
import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml

from fewscans import closure, stages

PARAMS = """
profile: quick
twins: {luna16-patches: {}, wmh2017: {}}
runs:
  gcnn-luna16-patches-twin: {experiment: gcnn, dataset: luna16-patches, twin: true, data: build/twins/luna16-patches}
  hydranet-wmh2017-twin: {experiment: hydranet, dataset: wmh2017, twin: true, data: build/twins/wmh2017}
notebooks:
  "00": {file: 00_start}
  "01": {file: 01_gcnn, runs: {twin: gcnn-luna16-patches-twin}}
  "04": {file: 04_hydranet, runs: {twin: hydranet-wmh2017-twin}}
"""
CELLS = {
    "00_start": "from fewscans.stats import auc",
    "01_gcnn": "%matplotlib inline\nfrom fewscans.figures.of_01 import draw",
    "04_hydranet": "def late():\n    from fewscans.figures import of_04\n    return of_04",
}
MOMENTS = itertools.count(10**18)
TRAIN, NOTEBOOKS = {f"train-{run}" for run in ("gcnn-luna16-patches-twin", "hydranet-wmh2017-twin")}, {"01", "04"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A small project beside a copy of the library, in which each notebook has a figure of its own."""
    root = tmp_path_factory.mktemp("project")
    (root / "params.yaml").write_text(PARAMS)
    (root / "notebooks").mkdir()
    for stem, source in CELLS.items():
        cells = [nbformat.v4.new_markdown_cell("import fewscans.figures.nothing"), nbformat.v4.new_code_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "notebooks" / f"{stem}.ipynb")
    shutil.copytree(closure.LIBRARY, root / "lib/fewscans", ignore=shutil.ignore_patterns("__pycache__"))
    for number in ("01", "04"):
        (root / f"lib/fewscans/figures/of_{number}.py").write_text("def draw():\n    return 1\n")
    return root


@pytest.fixture
def project(made, monkeypatch) -> Path:
    monkeypatch.setenv("FEWSCANS_ROOT", str(made))
    monkeypatch.setattr(closure, "LIBRARY", made / "lib/fewscans")
    return made


def changed_by(project: Path, file: str, old: str = "", new: str = "\n\ndef more():\n    return 3\n") -> set[str]:
    """The stages whose files change with an edit, which is then taken back."""
    path, before = project / file, written(project)
    text = path.read_text() if path.exists() else None
    assert not old or old in text, f"{file}: no {old!r}"
    path.write_text(text.replace(old, new, 1) if old else (text or "") + new)
    os.utime(path, ns=(0, next(MOMENTS)))
    after = written(project)
    path.unlink() if text is None else path.write_text(text)
    os.utime(path.parent if text is None else path, ns=(0, next(MOMENTS)))
    assert written(project) == before
    return {stage for stage in before | after if before.get(stage) != after.get(stage)}


def written(project: Path) -> dict[str, str]:
    stages.write()
    return {path.stem: path.read_text() for path in (project / "build/code").iterdir()}


def test_every_stage_has_a_file_that_names_its_modules_and_their_hash(project):
    found = written(project)
    twins = {"twin-luna16-patches", "twin-wmh2017"}
    assert set(found) == twins | TRAIN | {"notebook-00", "notebook-01", "notebook-04", "scorecard", "site"}
    for stage, text in found.items():
        content = json.loads(text)
        assert content["stage"] == stage and content["modules"] == sorted(content["modules"])
        assert content["code"] == closure.fingerprint(content["modules"], records=True)
    assert "fewscans.figures.of_04" in json.loads(found["notebook-04"])["modules"]
    assert str(project) not in "".join(found.values())


def test_a_figure_that_one_notebook_imports_changes_that_notebook_s_file_alone(project):
    assert changed_by(project, "lib/fewscans/figures/of_04.py", "return 1", "return 2") == {"notebook-04"}
    assert changed_by(project, "lib/fewscans/figures/of_01.py", "return 1", "return 2") == {"notebook-01"}


def test_unchanged_code_writes_nothing_anew_and_a_comment_changes_nothing(project):
    stages.write()
    folder = project / "build/code"
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}
    stages.write()
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()} == before
    assert changed_by(project, "lib/fewscans/figures/of_04.py", "    return 1", "    # one\n    return 1") == set()


def test_a_layer_changes_the_stages_that_train_with_it_and_what_shows_their_results(project):
    assert changed_by(project, "lib/fewscans/nn/regressor.py") == {
        "train-hydranet-wmh2017-twin", "notebook-00", "notebook-04", "scorecard"
    }  # fmt: skip
    assert changed_by(project, "lib/fewscans/nn/gcnn.py") == {
        "train-gcnn-luna16-patches-twin", "notebook-00", "notebook-01", "scorecard"
    }  # fmt: skip


def test_a_label_changes_what_draws_it(project):
    found = changed_by(project, "lib/fewscans/experiments/hydranet/arms.py", '"sums of 4"', '"four summed"')
    assert {"notebook-04", "scorecard"} <= found and not found & {"notebook-01", "train-gcnn-luna16-patches-twin"}


def test_a_twin_s_code_changes_its_own_stage_alone(project):
    assert changed_by(project, "lib/fewscans/twins/wmh2017.py") == {"twin-wmh2017"}


def test_a_new_module_that_nothing_imports_changes_nothing(project):
    assert changed_by(project, "lib/fewscans/data/new.py", new="DATASET = 3\n") == set()


def test_published_results_of_an_experiment_bring_their_reader_to_its_notebook(project):
    modules = json.loads(written(project)["notebook-04"])["modules"]
    assert "fewscans.data.msd_hippocampus" not in modules
    folder = project / "reports/published/hydranet/msd-hippocampus"
    folder.mkdir(parents=True)
    found = {stage: json.loads(text)["modules"] for stage, text in written(project).items()}
    shutil.rmtree(project / "reports")
    assert (
        "fewscans.data.msd_hippocampus" in found["notebook-04"]
        and "fewscans.data.msd_hippocampus" in found["scorecard"]
    )
    assert "fewscans.data.msd_hippocampus" not in found["notebook-01"]


def test_the_file_of_a_stage_that_is_gone_goes_with_it(project):
    stages.write()
    params = yaml.safe_load(PARAMS)
    del params["notebooks"]["00"]
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    found = written(project)
    (project / "params.yaml").write_text(PARAMS)
    assert "notebook-00" not in found and "notebook-01" in found


def test_a_registry_counts_in_every_stage_though_no_closure_follows_it(project):
    assert changed_by(project, "lib/fewscans/data/registry.py") == set(written(project))


def test_cells_with_magics_are_read_and_prose_is_not(project):
    found = stages.roots()
    assert "fewscans.figures.of_01" in found["notebook-01"]
    assert not any("fewscans.figures.nothing" in modules for modules in found.values())
