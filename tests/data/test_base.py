"""Scans that were cut before are the same scans; whatever decides them changed, or damaged them, they are cut anew."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fewscans.data import msd_hippocampus, wmh2017
from fewscans.data.base import Cut, and_more, digest, kept, quantised, read_table
from fewscans.data.formats import nifti
from fewscans.errors import DataError, ParamsError

from .conftest import load_builders

SETS = {
    "msd_hippocampus": lambda folder, cache, **changes: msd_hippocampus.read(folder, **changes, cache=cache),
    "wmh2017": lambda folder, cache, **changes: wmh2017.read(folder, (6, 14, 10), **changes, cache=cache),
}
CHANGED = {"msd_hippocampus": {"factor": 2}, "wmh2017": {"unit": "voxels"}}


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
    assert digest({}, a, tmp_path / "a") == digest({}, b[::-1], tmp_path / "b")
    assert digest({"size": 1}, a, tmp_path / "a") != digest({}, a, tmp_path / "a")
    b[1].write_bytes(b"3")
    assert digest({}, a, tmp_path / "a") != digest({}, b, tmp_path / "b")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"size": (4, 8)}, "spacing_mm"), ({"size": (4,)}, "size"), ({"size": (4, 0, 8)}, "size"),
     ({"size": (4, 8.5, 8)}, "size"), ({"spacing_mm": (2, 1, 0)}, "spacing_mm"), ({"margin": (-1, 0, 0)}, "margin"),
     ({"margin": (1, 1)}, "margin"), ({"negatives_per_scan": 0}, "negatives_per_scan"), ({"downsample": 0}, "size"),
     ({"train_negatives": 2.5}, "train_negatives"), ({"spacing_mm": (2, np.nan, 1)}, "spacing_mm")],
)  # fmt: skip
def test_a_cut_that_makes_no_image_is_refused(wrong, words):
    good = {"size": (4, 8, 10), "spacing_mm": (2.0, 1.2, 1.2), "margin": (1, 1, 1), "negatives_per_scan": 3}
    assert Cut(**good, downsample=2).window == (8, 16, 20)
    with pytest.raises(ParamsError, match=words):
        Cut(**good | wrong)


def test_a_table_that_is_none_is_one_line_with_the_hint(tmp_path):
    file = tmp_path / "t.csv"
    contents = {None: "no such file", b"": "cannot be read as CSV", b"a,b\n1,2,3\n": "cannot be read as CSV",
                b"\xff\xfe\x00": "cannot be read as CSV", b"a,c\n1,2\n": "column 'b' is missing"}  # fmt: skip
    for content, words in contents.items():
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(DataError, match=words) as error:
            read_table(file, ("a", "b"), "it has a and b")
        assert str(error.value).startswith(f"{file}: ") and str(error.value).endswith("; it has a and b")
        assert "\n" not in str(error.value)
    file.write_bytes("\ufeffb,a\n1,2\n".encode())
    assert read_table(file, ("a", "b"), "").to_dict("list") == {"b": [1], "a": [2]}


def test_of_many_names_the_first_is_given_and_the_others_counted():
    assert [and_more(names) for names in (["x"], ["x", "y"])] == ["", " (and 1 more)"]


def test_labels_without_a_spacing_are_kept_as_they_are(tmp_path):
    names = np.array(["a", "b"])
    about = pd.DataFrame({"fold": [0, 1], "tested": [True, False], "where": ["x", ""], "mm": [1.5, np.nan]})
    made = {"images": np.zeros((2, 3, 3), np.uint8), "target": np.array([0, 1]), "case": names, "group": names,
            "split": names, "about": about}  # fmt: skip
    first = kept(tmp_path, {}, tmp_path, [], lambda: made)
    again = kept(tmp_path, {}, tmp_path, [], lambda: pytest.fail("it was made again"))
    same(first, again)
    assert again.unit is again.spacing_mm is None and again.about["tested"].dtype == bool
