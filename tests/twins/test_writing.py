"""A twin is written whole or not at all, and never over something that is not a twin."""

import dataclasses
import errno
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewscans import twins
from fewscans.data import registry
from fewscans.errors import DataError
from fewscans.twins import npz, orientation
from fewscans.twins.base import Spec, between, one_of, whole

SPEC = twins.spec("orientation", {"cases": 300, "noise": 0.3, "seed": 0})


def test_an_older_twin_is_replaced_and_nothing_else_is_left(tmp_path):
    twins.write("orientation", tmp_path / "t", SPEC)
    (tmp_path / "t" / "stale").write_text("")
    folder = twins.write("orientation", tmp_path / "t", SPEC)
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
    assert sorted(p.name for p in folder.iterdir()) == ["luna16_patches_50x50.npz", "twin.json"]


def test_a_failure_leaves_the_older_twin_as_it_was(tmp_path, monkeypatch):
    folder = twins.write("orientation", tmp_path / "t", SPEC)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def fail(folder, spec):
        (folder / "half").write_text("")
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(orientation, "TWIN", orientation.TWIN._replace(write=fail))
    with pytest.raises(OSError, match="disk full"):
        twins.write("orientation", tmp_path / "t", SPEC)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_somebodys_own_files_are_not_replaced(tmp_path):
    (tmp_path / "scan.mhd").write_text("")
    with pytest.raises(DataError, match="not a twin"):
        twins.write("orientation", tmp_path, SPEC)


def test_an_unknown_twin_lists_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="unknown twin 'luna17'; known: camelyon16, handedness, luna16,"):
        twins.write("luna17", tmp_path / "t", SPEC)
    with pytest.raises(DataError, match="unknown twin"):
        twins.spec("luna17", {})
    with pytest.raises(DataError, match="wants a PatchesSpec"):
        twins.write("luna16-patches", tmp_path / "t", SPEC)


def test_every_module_with_a_twin_is_found_by_its_name_and_has_the_layout_of_a_data_set():
    stems = {path.stem for path in Path(twins.__file__).parent.glob("[a-z]*.py")}
    modules = {stem for stem in stems if hasattr(importlib.import_module(f"fewscans.twins.{stem}"), "TWIN")}
    assert {name.replace("-", "_") for name in twins.names()} == modules and len(twins.names()) == 10
    for name in twins.names():
        assert twins.twin(name).layout in registry.names() and issubclass(twins.twin(name).spec, Spec)


def test_a_twin_is_imported_only_when_it_is_asked_for():
    code = "import sys, fewscans.twins as t; t.names(); t.twin('orientation'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fewscans.twins.orientation" in loaded and "fewscans.twins.wmh2017" not in loaded


@pytest.mark.parametrize("value", [True, 1.5, "3", None, -1, 10, float("nan")])
def test_a_setting_that_is_something_else_is_named(value):
    @dataclasses.dataclass(frozen=True)
    class Three(Spec):
        number: int = whole(0, 9)
        share: float = between(0, 9)
        word: str = one_of(("a", "b"))

    assert Three(3, 3, "a").share == 3
    wrong = {"number": (value, 1, "a"), "share": (1, value, "a"), "word": (1, 1, value)}
    for name, values in wrong.items():
        if name != "share" or value != 1.5:
            with pytest.raises(DataError, match=f"twin: {name} is {value!r}; it must be "):
                Three(*values)


def test_an_npz_has_no_clock_in_it_and_numpy_reads_it_back(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.zeros((0, 4), np.uint8)}
    path = npz.write_arrays(tmp_path / "x.npz", arrays)
    assert b"\x00\x00\x21\x00" in path.read_bytes()[:40]  # midnight, 1 January 1980
    with np.load(path) as read:
        assert read.files == ["a", "b"]
        for key, array in arrays.items():
            assert read[key].dtype == array.dtype and np.array_equal(read[key], array)
