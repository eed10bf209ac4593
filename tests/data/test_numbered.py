"""Scans that were cut before are the same scans; whatever decides them changed, or damaged them, they are cut anew."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fewscans.data import msd, nifti, wmh2017
from fewscans.data.numbered import digest, quantised
from fewscans.errors import DataError

from .conftest import load_builders

SETS = {
    "msd": lambda folder, cache, **changes: msd.hippocampus(folder, **changes, cache=cache),
    "wmh2017": lambda folder, cache, **changes: wmh2017.numbered(folder, (6, 14, 10), **changes, cache=cache),
}
CHANGED = {"msd": {"factor": 2}, "wmh2017": {"unit": "voxels"}}


@pytest.fixture(scope="module", params=SETS)
def one(request, tmp_path_factory):
    """A way to cut a data set, and the folder to cut it from."""
    folder = tmp_path_factory.mktemp(request.param) / "copy"
    return request.param, SETS[request.param], load_builders(request.param).write(folder)


@pytest.fixture
def unread(monkeypatch):
    """Reading an image now is an error."""

    def forbid():
        monkeypatch.setattr(nifti, "read", lambda path: pytest.fail(f"{path} was read"))

    return forbid


def same(a, b) -> None:
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "about":
            pd.testing.assert_frame_equal(x, y, check_dtype=False)
        elif isinstance(x, np.ndarray):
            assert np.array_equal(x, y) and x.dtype == y.dtype
        else:
            assert x == y and type(x) is type(y)


def test_kept_scans_are_the_same_and_no_image_is_read_for_them(one, tmp_path, unread):
    _, cut, folder = one
    first = cut(folder, tmp_path / "cache")
    same(first, cut(folder, None))
    unread()
    same(first, cut(folder, tmp_path / "cache"))
    assert len(list((tmp_path / "cache").iterdir())) == 1  # nothing half-written is left


def test_other_settings_are_other_scans(one, tmp_path):
    name, cut, folder = one
    first, other = cut(folder, tmp_path), cut(folder, tmp_path, **CHANGED[name])
    assert first.fingerprint != other.fingerprint and len(list(tmp_path.iterdir())) == 2
    same(cut(folder, tmp_path, **CHANGED[name]), other)


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b[:-1], lambda b: b[:9000] + b"\7" + b[9001:]])
def test_damaged_scans_are_told_of_and_cut_again(one, tmp_path, damage):
    _, cut, folder = one
    first = cut(folder, tmp_path)
    file = next(tmp_path.iterdir())
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match="damaged scans .*; they are cut again"):
        same(cut(folder, tmp_path), first)
    same(cut(folder, tmp_path), first)


def test_scans_that_lack_a_part_are_cut_again(one, tmp_path):
    _, cut, folder = one
    first = cut(folder, tmp_path)
    file = next(tmp_path.iterdir())
    with np.load(file) as npz:
        kept = {name: npz[name] for name in npz.files if name != "group"}
    np.savez(file, **kept)
    with pytest.warns(UserWarning, match="damaged scans .*group"):
        same(cut(folder, tmp_path), first)


def test_a_cache_that_cannot_be_written_is_named(one, tmp_path):
    _, cut, folder = one
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="cache cannot be written"):
        cut(folder, tmp_path / "cache")


def test_intensities_are_kept_to_the_nearest_of_256_values():
    values = np.random.default_rng(0).uniform(0, 1, 1000)
    assert np.abs(quantised(values) / 255 - values).max() <= 0.5 / 255 + 1e-12
    assert quantised(np.array([0, 1])).tolist() == [0, 255]


def test_a_digest_is_of_names_and_bytes_wherever_they_lie(tmp_path):
    for root in ("a", "b"):
        (tmp_path / root).mkdir()
        (tmp_path / root / "x").write_bytes(b"1")
        (tmp_path / root / "y").write_bytes(b"2")
    a, b = ([tmp_path / root / name for name in "xy"] for root in "ab")
    assert digest(a, tmp_path / "a", {}) == digest(b[::-1], tmp_path / "b", {})
    assert digest(a, tmp_path / "a", {"size": 1}) != digest(a, tmp_path / "a", {})
    b[1].write_bytes(b"3")
    assert digest(a, tmp_path / "a", {}) != digest(b, tmp_path / "b", {})
