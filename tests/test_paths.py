"""Where things lie is found from anywhere in the project, without loading what is slow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fewscans import paths
from fewscans.errors import FewscansError, ParamsError


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    for name in ("FEWSCANS_DATA_ROOT", "FEWSCANS_STORE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "params.yaml").write_text("data_root: ../sets\n")
    return tmp_path


def test_the_data_root_is_the_variable_s_else_that_of_params_seen_from_the_project(project, monkeypatch, tmp_path):
    assert paths.data_root() == project.parent / "sets"
    (project / "params.yaml").write_text("data_root: /elsewhere/sets\n")
    assert paths.data_root() == Path("/elsewhere/sets")
    monkeypatch.setenv("FEWSCANS_DATA_ROOT", "~/sets")
    assert paths.data_root() == Path.home() / "sets"


@pytest.mark.parametrize(
    "text", ["", "profile: quick\n", "data_root: 3\n", "data_root: [\n", "- data\n", "a: 1\na: 2\n"]
)
def test_params_without_a_data_root_are_one_sentence(project, text):
    (project / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"params\.yaml: ") as caught:
        paths.data_root()
    assert "\n" not in str(caught.value)


def test_the_project_is_found_from_any_folder_in_it(monkeypatch):
    monkeypatch.delenv("FEWSCANS_ROOT", raising=False)
    here = Path(__file__).parents[1]
    for folder in (here, here / "tests" / "data", Path("/")):
        monkeypatch.chdir(folder)
        assert paths.root() == here, "from elsewhere, that of the package"


def test_a_root_that_holds_no_project_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(FewscansError, match="FEWSCANS_ROOT is .*nowhere, which holds no params.yaml"):
        paths.root()


def test_finding_the_data_costs_no_torch(project):
    code = "import sys; from fewscans import paths; print(paths.data_root(), 'torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(paths.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == f"{project.parent / 'sets'} False\n", done.stderr
