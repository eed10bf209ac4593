"""The whole pipeline at profile smoke, in a temporary clone: never over anyone's results."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import yaml

from .browser import chromium, faults, installed
from .pages import assert_needs_no_network

ROOT = Path(__file__).parents[1]


class Clone:
    """A copy of the working tree, uncommitted work included, whose commands see nothing of this machine's settings."""

    def __init__(self, folder: Path, outside: Path):
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / "dvc.lock").unlink(missing_ok=True)  # another profile's, whose results are not here
        self.outside = outside
        self.environment = self._environment()
        self.do("git", "init", "-q")
        self.commit("clone")

    @classmethod
    def of(cls, other: "Clone", folder: Path) -> "Clone":
        """What git keeps of another clone, as a second machine would get it."""
        other.do("git", "clone", "-q", str(other.folder), str(folder))
        fresh = cls.__new__(cls)
        fresh.folder, fresh.outside = folder, other.outside / "another"
        fresh.environment = fresh._environment()
        return fresh

    def _environment(self) -> dict[str, str]:
        folder, outside = self.folder, self.outside
        # Without bytecode, each of the fifty processes would compile PyTorch and the rest anew, some seconds each.
        left_out = ("FEWSCANS_", "DVC_", "PYTHONDONTWRITEBYTECODE")
        return {name: v for name, v in os.environ.items() if not name.startswith(left_out)} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "lib"),
            "FEWSCANS_DATA_ROOT": str(outside / "data"),
            "DVC_SITE_CACHE_DIR": str(outside / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(outside / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(outside / "system"),
            "DVC_NO_ANALYTICS": "1",
        }

    def commit(self, message: str) -> None:
        self.do("git", "add", "-A")
        self.do("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", message)

    def set_profile_smoke(self) -> None:
        path = self.folder / "params.yaml"
        text = path.read_text()
        assert re.search(r"^profile: quick$", text, re.MULTILINE), "the default is what make repro promises"
        path.write_text(re.sub(r"^profile: quick$", "profile: smoke", text, flags=re.MULTILINE))

    def do(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def repro(self, *targets: str) -> set[str]:
        """Run `dvc repro`; the stages that it ran."""
        return set(re.findall(r"Running stage '(.+?)'", self.do("dvc", "repro", *targets)))

    def reports(self) -> dict[str, str]:
        files = sorted(path for path in (self.folder / "reports").rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.pipeline
def test_a_clone_runs_to_the_end_then_does_nothing_then_only_what_an_edit_asks_for(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    folder = tmp_path / "a clone"
    folder.mkdir()
    clone = Clone(folder, tmp_path)
    clone.set_profile_smoke()
    params = yaml.safe_load((folder / "params.yaml").read_text())

    # Everything runs, and leaves what it should.
    stages = set(re.findall(r"^(\S+)", clone.do("dvc", "stage", "list", "--name-only"), re.MULTILINE))
    assert clone.repro() == stages
    for run in params["runs"]:
        ends = ("parquet", "history.parquet", "records.json", "reference.parquet", "about.json", "costs.json")
        assert {f"{run}.{end}" for end in ends} <= set(os.listdir(folder / "runs"))
    for number, entry in params["notebooks"].items():
        executed = folder / "reports" / "notebooks" / f"{entry['file']}.ipynb"
        assert nbformat.read(executed, as_version=4).metadata.fewscans.profile == "smoke"
        assert_needs_no_network(executed.with_suffix(".html").read_text())
        assert (folder / "build" / "source" / f"{number}.ipynb").is_file()
    if installed() and find_spec("playwright"):  # without a browser, the tests of the site say so
        with chromium() as browser:
            assert faults(browser, folder / "reports/index.html") == []
    assert_dvc_shows_what_one_can_read(clone, tmp_path / "plots")
    changed = {line[3:] for line in clone.do("git", "status", "--porcelain").splitlines()}
    assert changed == {"params.yaml", "dvc.lock"}, "a smoke run changed what git keeps"

    # Nothing changed, nothing runs. What a run cost on this machine is no result.
    before = clone.reports()
    for path in (folder / "runs").glob("*.costs.json"):
        path.write_text(path.read_text().replace('"seconds_wall": ', '"seconds_wall": 9'))
    assert clone.repro() == set()

    # Plain papermill works as well, and a notebook writes only when told.
    for entry in (params["notebooks"][number] for number in ("03", "08")):  # the quickest; all were executed above
        plain = ("papermill", "--no-progress-bar", "--cwd", "notebooks", f"notebooks/{entry['file']}.ipynb")
        clone.do(*plain, str(tmp_path / "plain.ipynb"))
    assert clone.reports() == before

    # A notebook saved with its outputs and a figure of one notebook edited: that one runs again, and ends the same.
    shutil.copy(folder / "reports/notebooks/01_gcnn_data_efficiency.ipynb", folder / "notebooks")
    strip_injected(folder / "notebooks/01_gcnn_data_efficiency.ipynb")
    with (folder / "lib/fewscans/figures/hydranet.py").open("a") as file:
        file.write("EDITED = True\n")
    with (folder / "lib/fewscans/figures/curves.py").open("a") as file:
        file.write("# a comment, which no result depends on\n")
    assert clone.repro() == {"source@01", "code", "notebook-04"}
    assert clone.reports() == before


def assert_dvc_shows_what_one_can_read(clone: Clone, plots: Path) -> None:
    heading, _, *rows = clone.do("dvc", "metrics", "show", "--md").strip().splitlines()
    assert [name.strip() for name in heading.strip("|").split("|")] == [
        "Path", "high", "line", "low", "source", "value", "verdict"
    ]  # fmt: skip
    assert 20 <= len(rows) <= 100 and any("planar-tenfold-n30" in row and "contradicted" in row for row in rows)
    clone.do("dvc", "plots", "show", "--out", str(plots))
    assert {path.name for path in (clone.folder / "reports/figures").iterdir()} == {
        path.name.removeprefix("workspace_reports_figures_") for path in (plots / "static").iterdir()
    }


def strip_injected(path: Path) -> None:
    """As if the outputs had come from running all cells in JupyterLab."""
    made = nbformat.read(path, as_version=4)
    made.cells = [cell for cell in made.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    nbformat.write(made, path)


@pytest.mark.slow
def test_what_one_machine_trained_another_pulls_and_does_not_train(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    (tmp_path / "first").mkdir()
    first, stage = Clone(tmp_path / "first", tmp_path), "train@gcnn-orientation-twin"
    first.do("dvc", "remote", "add", "-q", "--default", "shared", str(tmp_path / "remote"))
    first.commit("a remote")
    first.do("dvc", "exp", "run", "-q", "-n", "small", "-S", "profile=smoke", stage)
    heading, _, *rows = first.do("dvc", "exp", "show", "--only-changed", "--md").strip().splitlines()
    assert heading.count("|") < 12 and "profile" in heading and any("small" in row and "smoke" in row for row in rows)
    first.commit("trained")  # dvc.lock, which names the results by their hashes
    first.do("dvc", "push", "-q")

    second = Clone.of(first, tmp_path / "second")
    second.do("dvc", "pull", "-q", "--with-deps", stage)
    assert second.repro(stage) == set()
    runs = [Path("runs") / f"gcnn-orientation-twin.{end}" for end in ("parquet", "about.json", "records.json")]
    assert [(second.folder / run).read_bytes() for run in runs] == [(first.folder / run).read_bytes() for run in runs]
    assert not (second.folder / "build/store").exists(), "nothing was trained"
    assert not second.do("git", "status", "--porcelain")
