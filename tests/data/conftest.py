"""The user's own copies of public data, where there are any, and the builders of bad inputs."""

import importlib.util
import warnings
from pathlib import Path

import pytest

from fewscans import paths
from fewscans.data import registry
from fewscans.errors import FewscansError


@pytest.fixture(scope="session")
def real_patches():
    """The real LUNA16 patches, or a skip that says what is missing."""
    try:
        return registry.dataset("luna16-patches").read(registry.find("luna16-patches", paths.data_root()))
    except FewscansError:
        pytest.skip("no copy of luna16-patches under FEWSCANS_DATA_ROOT or params.yaml's data_root")


@pytest.fixture(scope="session")
def sitk():
    """SimpleITK, the oracle for scans, or a skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its wrappers, from Python 3.12 on
        return pytest.importorskip("SimpleITK", reason="SimpleITK is not installed: pip install -e .[dev]")


def load_builders(name: str):
    """A module of tests/malformed, which is no package: tests are imported by file."""
    file = Path(__file__).parents[1] / "malformed" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"malformed_{name}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_PATCHES = load_builders("luna16_patches")


@pytest.fixture(scope="session")
def builders():
    return _PATCHES


def pytest_generate_tests(metafunc):
    if "malformed_case" in metafunc.fixturenames:
        metafunc.parametrize("malformed_case", list(_PATCHES.CASES))
