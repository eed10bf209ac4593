"""The run store: an entry is whole or absent, and its key is all that decides a run."""

import json
import os
import warnings

import filelock
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans import store
from fewscans.errors import RunError
from fewscans.experiments.base import Entry
from fewscans.store import Store


def predictions(seed=0, rows=40):
    cell = {"arm": "Z2", "n_train": 30, "seed": seed, "split": "test", "case": [f"row{i:03d}" for i in range(rows)]}
    random = np.random.default_rng(seed).random(rows)
    return pd.DataFrame(cell | {"group": "block0", "target": 1.0 * (np.arange(rows) % 2), "prediction": random})


def entry(seed=0, rows=40) -> Entry:
    history = [{"step": 5, "epoch": 0.5, "train_loss": 0.7, "val_loss": 0.1 + 0.2}]
    return Entry(predictions(seed, rows), history, {"arm": "Z2", "best_val_loss": 0.1 + 0.2})


WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3)}  # one of them not contiguous


@pytest.fixture
def room(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_what_was_put_is_what_is_got(room):
    room.put("k", entry(), WEIGHTS)
    found = room.get("k")
    pd.testing.assert_frame_equal(found.predictions, entry().predictions)
    assert (found.history, found.record) == (entry().history, entry().record)
    assert room.record("k") == entry().record
    from safetensors.torch import load_file

    kept = load_file(room.weights_path("k"))
    assert all(torch.equal(kept[name], WEIGHTS[name]) for name in WEIGHTS)


def test_what_was_never_put_is_none_without_a_warning(room):
    assert room.get("k") is None and room.record("k") is None


def test_equal_entries_are_equal_bytes(tmp_path):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    for where in (one, two):
        where.put("k", entry(), WEIGHTS)
    assert one.path("k").read_bytes() == two.path("k").read_bytes()
    assert one.weights_path("k").read_bytes() == two.weights_path("k").read_bytes()


def test_an_entry_is_never_there_without_its_weights(room, monkeypatch):
    """A kill between the two leaves weights, which count for nothing."""
    replaced, replace = [], os.replace

    def killed_at_the_second(source, target):
        replaced.append(str(target))
        if len(replaced) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        room.put("k", entry(), WEIGHTS)
    monkeypatch.undo()
    assert replaced == [str(room.weights_path("k")), str(room.path("k"))]
    assert room.get("k") is None and room.weights_path("k").exists()
    room.put("k", entry(), WEIGHTS)
    assert room.get("k") is not None


def test_the_checkpoint_goes_once_the_entry_is_there(room):
    room.folder.mkdir()
    room.checkpoint_path("k").write_bytes(b"x")
    room.put("k", entry())
    assert not room.checkpoint_path("k").exists() and room.get("k") is not None


def test_only_a_run_s_own_half_written_files_are_tidied(room):
    room.put("k", entry())
    for name in ("k.123.part", "k.parquet.9.part", "kk.123.part", "k.checkpoint"):
        (room.folder / name).write_bytes(b"x")
    room.tidy("k")
    assert {p.name for p in room.folder.iterdir()} == {"k.parquet", "kk.123.part", "k.checkpoint"}


# Damage


@pytest.mark.parametrize("read", ["get", "record"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_an_entry_cut_short_is_removed_with_one_line_that_names_it(room, share, read):
    room.put("k", entry(rows=400))
    content = room.path("k").read_bytes()
    room.path("k").write_bytes(content[: int(len(content) * share)])
    with pytest.warns(UserWarning, match=r"k\.parquet: damaged store entry .*; its run is trained again") as caught:
        assert getattr(room, read)("k") is None
    assert not room.path("k").exists() and len(caught) == 1
    assert "\n" not in str(caught[0].message)


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_an_altered_entry_is_removed_or_reads_the_same(tmp_path_factory, place, bit):
    """A flipped bit anywhere: in the numbers it is always seen."""
    room = Store(tmp_path_factory.mktemp("store"))
    room.put("k", entry(rows=400))
    content = bytearray(room.path("k").read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    room.path("k").write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = room.get("k")
    assert found is None and len(caught) == 1 or found.predictions.equals(entry(rows=400).predictions)


@pytest.mark.parametrize("wrong", ["rows", "columns", "no notes", "no Parquet"])
def test_a_file_that_is_no_entry_is_removed(room, wrong):
    good = entry()
    notes = {"rows": 40 + (wrong == "rows"), "history": [], "record": {}}
    table = good.predictions.drop(columns="group") if wrong == "columns" else good.predictions
    store.write_table(table, room.path("k"), None if wrong == "no notes" else notes)
    if wrong == "no Parquet":
        room.path("k").write_text("hello")
    with pytest.warns(UserWarning, match="damaged store entry"):
        assert room.get("k") is None
    assert not room.path("k").exists()


@pytest.mark.parametrize("use", [lambda room: room.lock("k"), lambda room: room.held("k")])
def test_a_store_that_cannot_be_written_names_the_folder_and_the_remedy(tmp_path, use):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"run store .*file/store cannot be written .*FEWSCANS_STORE"):
        use(Store(tmp_path / "file" / "store"))


@pytest.mark.skipif(os.name != "posix", reason="a file stands in for a folder that cannot be entered")
def test_an_entry_that_the_system_withholds_is_not_taken_for_damaged(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(RunError, match=r"store/k\.parquet cannot be read \(Not a directory\).*FEWSCANS_STORE"):
        Store(tmp_path / "store").record("k")


# Locks


def test_a_lock_is_one_run_s_and_ends_with_its_holder(room):
    assert not room.held("k")
    with room.lock("k").acquire(blocking=False):
        assert room.held("k") and not room.held("other")
        with pytest.raises(filelock.Timeout):
            room.lock("k").acquire(blocking=False)
    assert not room.held("k")


# Tables


def test_a_table_s_bytes_depend_on_its_rows_alone(tmp_path):
    table = predictions()
    store.write_table(table, tmp_path / "a.parquet")
    shuffled = table.sample(frac=1, random_state=0).sort_values("case")  # another index, the same rows
    store.write_table(shuffled, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_predictions_are_tidy_rows_of_the_agreed_types(tmp_path):
    store.write_table(predictions(), tmp_path / "t.parquet")
    schema = pq.read_schema(tmp_path / "t.parquet")
    found = {field.name: str(field.type).removeprefix("large_") for field in schema}
    names = {"str": "string", "int64": "int64", "float64": "double"}
    assert found == {column: names[kind] for column, kind in store.COLUMNS.items()}


# Keys


def test_a_key_depends_on_content_and_not_on_order():
    assert store.key({"a": 1, "b": [1, 2]}) == store.key({"b": [1, 2], "a": 1})
    assert store.key({"a": 1}) != store.key({"a": 2}) != store.key({"a": 1.0, "b": None})
    assert store.key({"a": 1}) == store.key(json.loads(json.dumps({"a": 1})))
