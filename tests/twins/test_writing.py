"""A twin is written whole or not at all, and never over something that is not a twin."""

import numpy as np
import pytest

from fewscans import twins
from fewscans.errors import DataError
from fewscans.twins import npz

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
        raise OSError("disk full")

    monkeypatch.setitem(twins.TWINS, "orientation", twins.TWINS["orientation"]._replace(write=fail))
    with pytest.raises(OSError, match="disk full"):
        twins.write("orientation", tmp_path / "t", SPEC)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_somebodys_own_files_are_not_replaced(tmp_path):
    (tmp_path / "scan.mhd").write_text("")
    with pytest.raises(DataError, match="not a twin"):
        twins.write("orientation", tmp_path, SPEC)


def test_an_unknown_twin_lists_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="unknown twin 'luna17'; known: luna16-patches, orientation"):
        twins.write("luna17", tmp_path / "t", SPEC)
    with pytest.raises(DataError, match="unknown twin"):
        twins.spec("luna17", {})
    with pytest.raises(DataError, match="wants a PatchesSpec"):
        twins.write("luna16-patches", tmp_path / "t", SPEC)


def test_an_npz_has_no_clock_in_it_and_numpy_reads_it_back(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.zeros((0, 4), np.uint8)}
    path = npz.write_arrays(tmp_path / "x.npz", arrays)
    assert b"\x00\x00\x21\x00" in path.read_bytes()[:40]  # midnight, 1 January 1980
    with np.load(path) as read:
        assert read.files == ["a", "b"]
        for key, array in arrays.items():
            assert read[key].dtype == array.dtype and np.array_equal(read[key], array)
