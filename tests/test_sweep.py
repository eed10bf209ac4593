"""Sweeps: train what is missing, once, in any order, by any number of processes, to the same bytes."""

import json
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fewscans import closure, params, store
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments.base import Run
from fewscans.store import Store
from fewscans.sweep import sweep
from fewscans.sweep.engine import LocalEngine, Outcome, Slot
from fewscans.sweep.onerun import Context, Setting

from . import kill_sweep, toy
from .toy import Inline

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    toy.register(monkeypatch)


def swept(folder, engine=None, setting=None, name="runs", **options):
    setting = setting or toy.setting(folder)
    return sweep.sweep(setting, engine=engine or Inline(), out=folder / name, show=False, **options)


def written(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_sweep_trains_everything_once_and_writes_one_table(tmp_path):
    engine = Inline()
    result = swept(tmp_path, engine)
    table = pd.read_parquet(result.table)
    assert result.total == 9 and result.trained == len(engine.trained) == 12, "with a trial that lost, per arm and size"
    assert len(set(engine.trained)) == 12
    cells = table[["arm", "n_train", "seed"]].drop_duplicates()
    assert len(cells) == 9 and cells["arm"].tolist() == ["a"] * 6 + ["b"] * 3
    ends = "about.json costs.json history.parquet parquet records.json reference.parquet trials.json".split()
    assert sorted(os.listdir(tmp_path / "runs")) == [f"toy-x.{end}" for end in ends]
    records = json.loads((tmp_path / "runs" / "toy-x.records.json").read_text())
    assert len(records) == 9 and {record["learning_rate"] for record in records} == {0.2}
    assert {"arm", "n_train", "seed", "key", "code", "data", "device", "threads", "torch", "run"} <= set(records[0])
    history = pd.read_parquet(tmp_path / "runs" / "toy-x.history.parquet")
    assert history[["arm", "n_train", "seed"]].drop_duplicates().shape[0] == 9


def test_what_decided_the_runs_lies_beside_the_table(tmp_path):
    setting = toy.setting(tmp_path)
    swept(tmp_path)
    about = json.loads((tmp_path / "runs" / "toy-x.about.json").read_text())
    assert about["run"] == "toy-x" and about["profile"] == "quick" and about["partial"] is False
    assert about["grid"] == json.loads(json.dumps(vars(setting.grid)))
    assert about["code"] == Context(setting).code and about["data"] == "data"


def test_seconds_change_no_file_but_the_one_of_costs(tmp_path, monkeypatch):
    swept(tmp_path, name="one")
    slow, train = toy.setting(tmp_path, store_folder="slow"), toy.Toy.train_network

    def slower(self, *args):
        entry, weights = train(self, *args)
        entry.record.update(seconds_wall=99.0, memory_peak_gb=3)
        return entry, weights

    monkeypatch.setattr(toy.Toy, "train_network", slower)
    swept(tmp_path, setting=slow, name="two")
    one, two = written(tmp_path / "one"), written(tmp_path / "two")
    assert {name for name in one if one[name] != two[name]} == {"toy-x.costs.json"}
    cost = {"arm": "a", "n_train": 2, "seed": 0, "seconds_wall": 99.0, "memory_peak_gb": 3}
    assert json.loads(two["toy-x.costs.json"])[0] == cost


def test_what_detection_is_scored_against_lies_beside_the_table_and_is_empty_without_nodules(tmp_path, monkeypatch):
    frame = pd.DataFrame({"kind": ["scan", "nodule"], "scan": "g", "nodule": ["", "n"], "case": "", "malignant": 1.0})
    kept, read = tmp_path / "runs" / "toy-x.reference.parquet", toy.Toy.read
    monkeypatch.setattr(toy.Toy, "read", lambda self, *args: replace(read(self, *args), truth=frame))
    swept(tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(kept), frame)
    first = kept.read_bytes()
    swept(tmp_path)
    assert kept.read_bytes() == first
    monkeypatch.setattr(toy.Toy, "read", read)  # the data set has none any more
    swept(tmp_path)
    assert pd.read_parquet(kept).empty and list(pd.read_parquet(kept)) == list(frame)


def test_the_second_call_trains_nothing_and_writes_the_same_bytes(tmp_path):
    swept(tmp_path)
    before = written(tmp_path / "runs")
    engine = Inline()
    assert swept(tmp_path, engine).trained == 0 and engine.calls == []
    assert written(tmp_path / "runs") == before


def test_the_table_does_not_depend_on_who_finished_when(tmp_path):
    swept(tmp_path, Inline(), toy.setting(tmp_path), "one")
    swept(tmp_path, Inline(backwards=True), toy.setting(tmp_path, store_folder="other"), "two")
    one, two = written(tmp_path / "one"), written(tmp_path / "two")
    assert one == two


def test_trials_are_trained_before_the_runs_that_wait_for_them(tmp_path):
    engine = Inline()
    swept(tmp_path, engine)
    trials, rest = engine.calls
    assert {run.seed for run in trials} == {0} and {run.learning_rate for run in trials} == set(toy.RATES)
    assert {run.seed for run in rest} == {1, 2} and {run.learning_rate for run in rest} == {0.2}


def test_one_arm_of_a_grid_with_rates_of_several_is_trained_at_its_own(tmp_path):
    setting = toy.setting(tmp_path)
    rates = {"a": {"4": 0.3}, "b": {"2": 0.2}}
    engine = Inline()
    swept(tmp_path, engine, replace(setting, grid=replace(setting.grid, rates=rates)), arms=("b",))
    assert {run.learning_rate for run in engine.trained} == {0.2} and {run.arm for run in engine.trained} == {"b"}


def test_a_failed_run_is_reported_at_the_end_and_tried_again_by_the_next_call(tmp_path):
    bad = Run(1, 2, "b", 0.2)
    engine = Inline(fail=[bad])
    with pytest.raises(RunError, match="1 of 12 runs of toy-x failed.*\n  b, N = 2, seed 1.*\n.*\n    ValueError"):
        swept(tmp_path, engine)
    assert len(engine.trained) == 11, "the others are trained"
    assert not (tmp_path / "runs").exists(), "and no table is written without it"
    again = Inline()
    assert swept(tmp_path, again).trained == 1 and again.trained == [bad]


def test_a_failed_trial_stops_the_runs_that_need_it_and_no_others(tmp_path):
    engine = Inline(fail=[Run(0, 2, "b", 0.1)])
    with pytest.raises(RunError, match="1 of 10 runs"):
        swept(tmp_path, engine)
    assert {(run.arm, run.n_train) for run in engine.trained if run.seed} == {("a", 2), ("a", 4)}


def test_the_last_loss_chooses_the_rate_where_it_is_told_and_the_rates_not_chosen_are_kept(tmp_path, monkeypatch):
    """The toy's best losses choose 0.2."""
    train = toy.Toy.train_network

    def told(self, run, *args):
        entry, weights = train(self, run, *args)
        entry.record["last_val_loss"] = run.learning_rate if run.arm == "a" else 1 - run.learning_rate
        return entry, weights

    monkeypatch.setattr(toy.Toy, "train_network", told)
    swept(tmp_path)
    read = {end: json.loads((tmp_path / "runs" / f"toy-x.{end}.json").read_text()) for end in ("records", "trials")}
    assert {(r["arm"], r["learning_rate"]) for r in read["records"]} == {("a", 0.1), ("b", 0.2)}
    tried = [(r["arm"], r["n_train"], r["seed"], r["learning_rate"]) for r in read["trials"]]
    assert tried == [("a", 2, 0, 0.2), ("b", 2, 0, 0.1), ("a", 4, 0, 0.2)]
    assert all("last_val_loss" in r and "seconds_wall" not in r for r in read["trials"])


def test_no_trials_leave_no_file_of_them(tmp_path):
    grid = replace(toy.setting(tmp_path).grid, learning_rates=(0.1,))
    swept(tmp_path, setting=replace(toy.setting(tmp_path), grid=grid))
    assert not (tmp_path / "runs" / "toy-x.trials.json").exists()


# Shards


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_part_the_runs_among_them(count, tmp_path):
    grid = toy.setting(tmp_path, seeds=10).grid
    experiment = Context(toy.setting(tmp_path)).experiment
    losses = {run: -run.learning_rate for run in experiment.plan(grid, {})}
    plan, final = experiment.plan(grid, losses), experiment.final(grid, losses)
    shares = [sweep._share(plan, final, (index, count)) for index in range(1, count + 1)]
    tabled = [run for share in shares for run in share if run in final]
    assert sorted(tabled) == sorted(final), "each run of the table is one shard's"
    assert all(set(plan) - set(final) <= set(share) for share in shares), "no trial is waited for that nobody takes"


def test_a_run_s_shard_does_not_change_as_the_plan_grows(tmp_path):
    grid, experiment = toy.setting(tmp_path).grid, Context(toy.setting(tmp_path)).experiment
    before = experiment.plan(grid, {})
    losses = dict.fromkeys(before, 0.0)
    after, final = experiment.plan(grid, losses), experiment.final(grid, losses)
    for index in (1, 2, 3):
        own = [run for run in sweep._share(before, [], (index, 3))[: len(before)] if run in before]
        own = [run for run in own if int(store.key(vars(run)), 16) % 3 == index - 1]
        assert set(own) <= set(sweep._share(after, final, (index, 3)))


def test_shards_that_share_a_store_end_in_the_table_of_a_whole_sweep(tmp_path):
    swept(tmp_path, name="whole")
    shared, trained = toy.setting(tmp_path, store_folder="shared"), []
    results = []
    for index in (1, 2, 3):
        engine = Inline()
        results.append(swept(tmp_path, engine, shared, "parts", shard=(index, 3)))
        trained += engine.trained
    assert sorted(set(trained)) == sorted(trained) and len(trained) == 12
    assert results[0].table is None and results[-1].table is not None
    assert written(tmp_path / "whole") == written(tmp_path / "parts")


def test_a_run_held_elsewhere_is_waited_for_without_starting_workers(tmp_path, monkeypatch):
    setting = toy.setting(tmp_path, arms={"a": (2,)}, seeds=1)
    held = Run(0, 2, "a", 0.1)
    lock = Store(setting.store_folder).lock(Context(setting).key(held))
    engine, waits = Inline(), []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            lock.release()

    monkeypatch.setattr(sweep.time, "sleep", wait)
    lock.acquire(blocking=False)
    assert swept(tmp_path, engine, setting).table is not None
    assert waits == [sweep.POLL_SECONDS] * 3
    assert engine.calls == [[Run(0, 2, "a", 0.2)], [held]]


def test_a_run_that_another_sweep_finished_meanwhile_is_not_counted_as_trained(tmp_path):
    other = Inline()

    def meanwhile(setting, run):
        if not other.calls:
            list(other.map(setting, [run], lambda run, share: None))

    engine = Inline(before=meanwhile)
    assert swept(tmp_path, engine).trained == 11 and len(other.trained) == 1


# What changes under a sweep


def test_data_that_change_meanwhile_end_the_sweep(tmp_path):
    engine = Inline(before=lambda setting, run: setting.data_path.write_text("other data"))
    with pytest.raises(RunError, match=r"data\.txt changed while toy-x was running; start it again"):
        swept(tmp_path, engine)
    assert len(engine.calls) == 1 and engine.trained == []


def test_code_that_changes_meanwhile_ends_the_sweep(tmp_path, monkeypatch):
    engine = Inline(before=lambda *_: monkeypatch.setattr(closure, "fingerprint", lambda modules: "other"))
    with pytest.raises(RunError, match=r"the code of toy changed while toy-x was running; start it again"):
        swept(tmp_path, engine)
    assert len(engine.calls) == 1 and engine.trained == []


def test_an_engine_whose_runs_never_reach_the_store_does_not_send_the_sweep_round_for_ever(tmp_path):
    class Forgetful(Inline):
        def map(self, setting, runs, on_progress):
            self.calls.append(runs)
            yield from (Outcome(run, "trained") for run in runs)

    with pytest.raises(RunError, match="gone from the store"):
        swept(tmp_path, Forgetful())


def test_an_interrupted_sweep_closes_its_engine_and_keeps_what_is_finished(tmp_path):
    def interrupt(setting, run):
        if run.seed == 2:
            raise KeyboardInterrupt

    engine = Inline(before=interrupt)
    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path, engine)
    assert engine.closed == len(engine.calls) == 2
    again = Inline()
    swept(tmp_path, again)
    assert sorted(engine.trained + again.trained) == sorted(set(engine.trained + again.trained))


@pytest.mark.parametrize("damage", ["cut short", "altered within", "removed"])
def test_a_damaged_entry_is_trained_again_to_the_same_table(tmp_path, damage):
    swept(tmp_path)
    before = written(tmp_path / "runs")
    setting = toy.setting(tmp_path)
    run = Run(1, 4, "a", 0.2)
    path = Store(setting.store_folder).path(Context(setting).key(run))
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        column = pq.read_metadata(path).row_group(0).column(7)  # the predictions
        place = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1
        altered = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        path.write_bytes(content[:-40] if damage == "cut short" else altered)
    engine = Inline()
    if damage == "removed":
        result = swept(tmp_path, engine)
    else:
        with pytest.warns(UserWarning, match="damaged store entry .*; its run is trained again"):
            result = swept(tmp_path, engine)
    assert engine.trained == [run] and result.trained == 1
    assert written(tmp_path / "runs") == before


def test_a_folder_that_cannot_be_written_is_one_sentence_and_costs_no_training(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match=r"runs cannot be written \(.*; the runs are kept"):
        swept(tmp_path)
    (tmp_path / "runs").unlink()
    assert swept(tmp_path).trained == 0


# Arms


def test_some_arms_alone_make_a_partial_table_beside_the_whole_one(tmp_path):
    swept(tmp_path)
    before = written(tmp_path / "runs")
    engine = Inline()
    result = swept(tmp_path, engine, arms=["b"])
    assert engine.trained == [] and result.table.name == "toy-x.partial.parquet" and result.total == 3
    assert set(pd.read_parquet(result.table)["arm"]) == {"b"}
    assert {name: content for name, content in written(tmp_path / "runs").items() if "partial" not in name} == before


def test_arms_come_in_the_order_of_the_grid(tmp_path):
    result = swept(tmp_path, setting=toy.setting(tmp_path, arms={"c": (2,), "a": (4, 2)}))
    assert pd.read_parquet(result.table)["arm"].unique().tolist() == ["c", "a"]
    assert pd.read_parquet(result.table).query("arm == 'a'")["n_train"].unique().tolist() == [2, 4]


@pytest.mark.parametrize(
    ("arm", "error", "message"),
    [
        ("z", ParamsError, "unknown arm 'z'; known arms: a, b, c"),
        ("c", RunError, "arm 'c' is not in this profile's grid, which has a, b"),
    ],
)
def test_an_arm_that_is_not_there_is_an_error_before_anything_is_trained(tmp_path, arm, error, message):
    engine = Inline()
    with pytest.raises(error, match=message):
        swept(tmp_path, engine, arms=["a", arm])
    assert engine.calls == []


def test_a_grid_that_the_data_cannot_carry_is_an_error_before_anything_is_trained(tmp_path):
    engine = Inline()
    with pytest.raises(DataError, match="100 cases at most"):
        swept(tmp_path, engine, toy.setting(tmp_path, arms={"a": (2,), "b": (200,)}))
    assert engine.calls == []


# What decides a run


def test_device_threads_data_and_code_decide_a_run_and_its_place_name_and_profile_do_not(tmp_path, monkeypatch):
    base, run = toy.setting(tmp_path), Run(0, 2, "a", 0.1)

    def key(change=None, **changes):
        return Context(Setting(**{**vars(base), **changes})).key(run)

    first = key()
    assert key(device="cuda") != first != key(threads=2)
    assert key(name="toy-y") == first == key(store_folder=tmp_path / "elsewhere") == key(profile="long")
    copy = tmp_path / "copy.txt"
    copy.write_text("data")
    assert key(data_path=copy) == first
    copy.write_text("dato")
    assert key(data_path=copy) != first
    monkeypatch.setattr(closure, "fingerprint", lambda modules: "other")
    assert key() != first


# Real training, in processes of their own

SMALL = """{arms: {Z2: [10], p4m: [10], histogram: [10]}, seeds: 2, steps: 90, eval_every: 5,
      learning_rates: [1.0e-3], width: 4}"""


def setting_of(folder, store_folder) -> Setting:
    grid = params.load(folder / "params.yaml").grid(kill_sweep.RUN)
    data = folder / "build/twins/luna16-patches"
    return Setting(kill_sweep.RUN, "gcnn", "luna16-patches", grid, data, store_folder, "cpu", profile="smoke")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The project, and its sweep in this process, one run after the other."""
    room = tmp_path_factory.mktemp("reference")
    folder = kill_sweep.project(room / "project", SMALL)
    engine = Inline()
    sweep.sweep(setting_of(folder, room / "store"), engine=engine, out=folder / "runs", show=False)
    assert len(engine.trained) == 6
    return folder, kill_sweep.tables(folder), kill_sweep.results(room / "store")


def test_slots_and_shards_change_no_byte(reference, tmp_path):
    folder, tables, results = reference
    setting = setting_of(folder, tmp_path / "slots")
    sweep.sweep(setting, engine=LocalEngine([Slot(), Slot()]), out=tmp_path / "slots/runs", show=False)
    assert kill_sweep.tables(tmp_path / "slots") == tables and kill_sweep.results(tmp_path / "slots") == results
    setting = setting_of(folder, tmp_path / "shards")
    for index in (1, 2):
        sweep.sweep(setting, shard=(index, 2), engine=Inline(), out=tmp_path / "shards/runs", show=False)
    assert kill_sweep.tables(tmp_path / "shards") == tables and kill_sweep.results(tmp_path / "shards") == results


@linux
def test_a_sweep_interrupted_then_killed_goes_on_to_the_same_bytes(reference, tmp_path):
    """Ctrl-C is one sentence; after it, as after kill -9, no process is left, and what is finished stays as it is."""
    folder, tables, results = reference
    before = {}

    def in_the_midst(of: kill_sweep.Sweep) -> bool:
        assert of.process.poll() is None
        return len(of.finished()) > len(before) and any(of.store.glob("*.checkpoint"))

    for how in ("interrupted", "killed"):
        going = kill_sweep.Sweep(folder, tmp_path / "store", slots=1).start()
        kill_sweep.wait_until(lambda s=going: in_the_midst(s))
        if how == "interrupted":
            os.killpg(going.process.pid, signal.SIGINT)  # as a terminal does, to all of them
            assert going.finish() == 130
            assert going.stderr == (
                "fewscans: interrupted; what is finished is kept, and the same command goes on from there\n"
            )
        else:
            going.kill()
        kill_sweep.wait_until(lambda s=going: not s.processes())
        after = going.finished()
        assert all(after[key] == before[key] for key in before), "nothing finished is written again"
        before = after
    last = kill_sweep.Sweep(folder, tmp_path / "store", slots=1).start()
    assert last.finish() == 0, last.stderr
    assert last.trained() == 6 - len(before)
    assert kill_sweep.tables(folder) == tables and kill_sweep.results(tmp_path / "store") == results
    assert not [*last.store.glob("*.part"), *last.store.glob("*.checkpoint")]


@linux
@pytest.mark.slow
def test_a_sweep_killed_at_20_moments_ends_as_if_it_had_not_been(tmp_path):
    report = kill_sweep.kill_often(tmp_path)
    assert report.faults == [] and len(report.kills) == 20
    assert sum(kill["cut"] > 0 for kill in report.kills) >= 10, "most kills fall in the midst of a run"
    assert np.ptp([kill["finished"] for kill in report.kills]) >= 5, "early and late"
