"""CONTRIBUTING.md is true: its steps, followed in a temporary copy of the project, add a result that runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MOST_FILES = 5


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project as git would have it, uncommitted work included, in a repository of its own."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    folder = tmp_path_factory.mktemp("project")
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEWSCANS_")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "lib"),
        "FEWSCANS_ROOT": str(folder),
        "FEWSCANS_DATA_ROOT": str(folder / "no data"),
    }

    def do(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    do("git", "init", "-q")
    do("git", "add", "-A")
    do("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "copy")
    do.folder = folder
    return do


def add(path: Path, more: Path) -> None:
    """The keys of one YAML file added to the groups of another, as text, so that nothing else changes."""
    text = path.read_text(encoding="utf-8")
    for group, keys in yaml.safe_load(more.read_text(encoding="utf-8")).items():
        block = yaml.safe_dump(keys, default_flow_style=False, sort_keys=False)
        block = re.sub(r"^'?(\d+)'?:", r'"\1":', block, flags=re.MULTILINE)  # a number in quotes is text in every YAML
        indented = "".join(f"  {line}\n" for line in block.splitlines())
        text = text.replace(f"\n{group}:\n", f"\n{group}:\n{indented}", 1)
    path.write_text(text, encoding="utf-8")


def test_a_result_takes_five_files_and_runs(copy):
    folder = copy.folder
    shutil.copy(HERE / "toy.py", folder / "lib/fewscans/experiments/toy.py")
    shutil.copy(HERE / "toy-2026.yaml", folder / "claims")
    shutil.copy(HERE / "09_toy.ipynb", folder / "notebooks")
    for name in ("params.yaml", "dvc.yaml"):
        add(folder / name, HERE / name)
    touched = copy("git", "status", "--porcelain").splitlines()
    assert len(touched) <= MOST_FILES, touched

    assert "linear-beats-histogram" in copy("fewscans", "record", "a toy")
    assert "no claim changed" in copy("fewscans", "record", "again")
    copy("fewscans", "twin", "orientation", "--profile", "smoke")
    copy("fewscans", "train", "toy-orientation-twin", "--profile", "quick")
    copy("fewscans", "notebook", "09")
    assert "notebook-09" in copy("fewscans", "code")
    # `fewscans scorecard` computes all claims; of the toy's alone it takes a moment
    of_the_toy = "from fewscans import scorecard as s; s.update_readme(rows=s.scorecard(local=True, experiment='toy'))"
    copy("python", "-c", of_the_toy)
    (row,) = (line for line in (folder / "README.md").read_text(encoding="utf-8").splitlines() if "Toy (2026)" in line)
    assert "1 reproduced" in row and "09_toy" in row
    assert "toy-orientation-twin.parquet" in os.listdir(folder / "runs")
    assert "notebook-09" in copy("dvc", "stage", "list", "--name-only")


def test_every_list_of_steps_has_five_at_most():
    for part in TEXT.split("\n## ")[1:]:
        steps = [line for line in part.splitlines() if line[:2].strip(".").isdigit() and line[1] == "."]
        assert len(steps) <= 5, part.splitlines()[0]


def test_the_files_that_it_names_exist():
    places = ("lib/fewscans/experiments/base.py", "tests/contributing", "tests/data", "tests/malformed", "docs/data.md")
    for name in places:
        assert name.removeprefix("lib/fewscans/") in TEXT and (ROOT / name).exists()
