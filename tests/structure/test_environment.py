"""One list of dependencies, pinned once; what would let an environment or a clone drift apart is caught here."""

import json
import os
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]]


def test_environment_yml_names_nothing_but_python_pip_and_this_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, inner = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"] and set(environment) == {"name", "channels", "dependencies"}
    assert pip == "pip" and inner == {"pip": ["-c constraints.txt", "-e .[workbook,dev]"]}
    version = re.fullmatch(r"python=(3\.\d+)", python)
    assert version and version[1] in Requirement(f"python{PROJECT['requires-python']}").specifier


def test_every_pin_is_one_exact_release_that_any_platform_can_install():
    wrong = [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", pin)]
    assert wrong == [], "write name==version without a build tag such as +cpu; make constraints does"
    names = [pin.split("==")[0].lower() for pin in PINS]
    assert sorted(set(names)) == sorted(names)


def test_no_pin_wants_a_newer_python_than_the_project():
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    wants = {pin: metadata.metadata(pin.split("==")[0])["Requires-Python"] for pin in PINS if installed(pin)}
    assert [pin for pin, text in wants.items() if text and oldest not in SpecifierSet(text)] == []


def installed(pin: str) -> bool:
    """Packages of other platforms and extras are not."""
    try:
        return bool(metadata.version(pin.split("==")[0]))
    except metadata.PackageNotFoundError:
        return False


@pytest.mark.parametrize("requirement", declared(), ids=lambda r: r.name)
def test_every_declared_dependency_is_pinned_to_a_version_it_allows(requirement):
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in (pin.split("==") for pin in PINS)}
    version = pins.get(re.sub(r"[-_.]+", "-", requirement.name).lower())
    assert version, f"{requirement.name} is not in constraints.txt; make constraints"
    assert Version(version) in requirement.specifier


def test_the_makefile_installs_what_environment_yml_installs():
    makefile = (ROOT / "Makefile").read_text()
    assert "-c constraints.txt -e '.[workbook,dev]'" in makefile


def test_git_keeps_the_library_and_not_what_is_built():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")

    def git(*arguments: str) -> list[str]:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()

    assert "lib/fewscans/__init__.py" in git("ls-files", "lib")
    kept = ["lib/fewscans/data/new.py", "reports/published/a/b/c.parquet", "reports/figures/a.png", "dvc.lock"]
    assert git("check-ignore", *kept) == []
    built = ["build/x", "runs/a.parquet", "data/x.npz", "reports/notebooks/a.html", "reports/metrics/a.json", ".venv/x"]
    assert git("check-ignore", *built) == built
    assert [
        name for name in git("ls-files") if name.startswith(("build/", "runs/", "data/", "reports/notebooks/"))
    ] == []


def test_dvc_sends_nothing_home():
    config = (ROOT / ".dvc" / "config").read_text()
    assert "analytics = false" in config and "check_update = false" in config


def test_the_readme_names_both_commands_and_the_licence_is_that_of_the_package():
    readme = (ROOT / "README.md").read_text()
    assert "make repro" in readme and "make test" in readme
    assert PROJECT["license"] == "MIT" and (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "MIT"


def test_nothing_in_git_names_a_folder_of_one_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    personal = r"/(home|Users|root|work|mnt|tmp)/[a-z]"
    where = ["*.yaml", "*.yml", "*.toml", "*.lock", "*.ipynb", "*.md", "lib", "reports"]
    grep = ["git", "grep", "-lIE", personal, "--", *where]
    assert subprocess.run(grep, cwd=ROOT, capture_output=True, text=True).stdout.split() == []


def test_the_devcontainer_installs_by_make_into_the_environment_that_it_opens():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    version = re.search(r"python:(3\.\d+)-", container["image"])
    assert Version(version[1]) in Requirement(f"python{PROJECT['requires-python']}").specifier
    goal = container["postCreateCommand"].split()[:2]
    assert goal == ["make", "env"] and "TORCH_INDEX ?=" in (ROOT / "Makefile").read_text()
    assert container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"] == ".venv/bin/python"


def test_binder_installs_the_pinned_workbook_with_a_python_that_the_project_takes():
    version = re.fullmatch(r"python-(3\.\d+)\n", (ROOT / "binder" / "runtime.txt").read_text())
    assert Version(version[1]) in Requirement(f"python{PROJECT['requires-python']}").specifier
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert "-c constraints.txt -e '.[workbook]'" in script.read_text()
    assert any(pin.startswith("torch==") for pin in PINS) and "workbook" in PROJECT["optional-dependencies"]
