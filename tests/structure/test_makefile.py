"""What make says and skips before anything is installed."""

import os
import shutil
import subprocess

import pytest

from .imports import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def call(*arguments: str) -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(["make", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)

    call.folder = tmp_path
    return call


def test_an_older_python_gets_a_sentence(make):
    old = make.folder / "python2.7"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    said = make("repro", f"PYTHON={old}")
    assert said.returncode != 0 and not (make.folder / ".venv").exists()
    assert f"fewscans needs Python 3.11 or newer, and {old} is not" in said.stderr
    assert "Traceback" not in said.stdout + said.stderr


def test_an_installed_environment_is_left_alone_until_its_list_changes(make):
    stamp = make.folder / ".venv" / "installed-by-make"
    stamp.parent.mkdir()
    stamp.touch()
    assert make("--question", "env").returncode == 0
    os.utime(make.folder / "constraints.txt", ns=(stamp.stat().st_mtime_ns + 10**9,) * 2)
    assert make("--question", "env").returncode == 1


def test_opening_the_workbook_tells_git_to_leave_outputs_out_and_outside_a_clone_nothing_is_set(make):
    stamp = make.folder / ".venv" / "installed-by-make"
    stamp.parent.mkdir()
    stamp.touch()
    plans = [make("--dry-run", goal).stdout for goal in ("lab", "repro")]
    assert all("git config filter.fewscans-notebook.clean" in plan for plan in plans)
    assert make("filter").returncode == 0
    subprocess.run(["git", "init", "-q"], cwd=make.folder, check=True)
    assert make("filter").returncode == 0
    asked = ["git", "config", "--local", "filter.fewscans-notebook.clean"]
    told = subprocess.run(asked, cwd=make.folder, capture_output=True, text=True).stdout
    assert told == ".venv/bin/python -m fewscans.notebook\n"


def test_make_alone_explains_itself(make):
    said = make()
    assert said.returncode == 0
    goals = ("repro", "test", "lab", "report", "figures", "bench", "clean")
    assert all(f"make {goal}" in said.stdout for goal in goals)


def test_cleaning_never_touches_what_cannot_be_made_again(make):
    plan = make("--dry-run", "clean").stdout
    removed = [word for line in plan.splitlines() for word in line.split()[2:]]
    precious = ("build/store", "runs", "data", "reports/published", "reports/figures", ".venv", "lib", "notebooks")
    assert removed and not [r for r in removed for p in precious if p == r or p.startswith(f"{r}/")]
