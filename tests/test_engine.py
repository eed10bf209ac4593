"""Worker processes: one that dies fails its run alone, one that cannot start ends the sweep with its reason."""

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from fewscans.errors import RunError
from fewscans.experiments.base import Run
from fewscans.experiments.gcnn import Grid
from fewscans.store import Store
from fewscans.sweep import engine
from fewscans.sweep.engine import LocalEngine, Outcome, Slot
from fewscans.sweep.onerun import Context, Setting, find_device, train_one

from . import kill_sweep

GRID = Grid(arms={"Z2": (10,), "histogram": (10,)}, seeds=2, steps=20, eval_every=2, learning_rates=(1e-3,), width=4)
PATH = {"PYTHONPATH": str(kill_sweep.LIBRARY)}
LONG = Run(0, 10, "Z2", 1e-3)
SHORT = [Run(seed, 10, "histogram", 0.0) for seed in (0, 1)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return kill_sweep.project(tmp_path_factory.mktemp("project")) / "build/twins/luna16-patches"


@pytest.fixture
def setting(data, tmp_path) -> Setting:
    return Setting(kill_sweep.RUN, "gcnn", "luna16-patches", GRID, data, tmp_path / "store", "cpu")


def outcomes(setting, runs, slots=1, on_progress=lambda run, share: None) -> list[Outcome]:
    return list(LocalEngine([Slot()] * slots).map(setting, runs, on_progress))


def test_a_killed_worker_fails_its_run_alone_and_the_next_call_takes_that_run_up(setting):
    """A run that fails by itself says why and costs nothing but itself."""
    impossible = Run(0, 100_000, "histogram", 0.0)
    told, killed = [], []

    def kill_once(run, share):
        told.append((run, share))
        checkpoint = Store(setting.store_folder).checkpoint_path(Context(setting).key(LONG))
        if run == LONG and checkpoint.exists() and not killed:
            killed.extend(child.pid for child in multiprocessing.active_children())
            os.kill(killed[0], signal.SIGKILL)

    found = {outcome.run: outcome for outcome in outcomes(setting, [LONG, impossible, *SHORT], 1, kill_once)}
    assert len(killed) == 1 and not multiprocessing.active_children()
    assert found[LONG] == Outcome(LONG, "failed", "its process was ended by SIGKILL; often the system, short of memory")
    assert found[impossible].state == "failed"
    assert found[impossible].error.startswith("a balanced subset of 100000 cases is impossible"), "no traceback"
    assert [found[run].state for run in SHORT] == ["trained", "trained"]

    steps = []
    threads = engine.torch.get_num_threads()
    engine.torch.set_num_threads(1)
    assert train_one(Context(setting), LONG, steps.append) == "trained"
    engine.torch.set_num_threads(threads)
    assert steps[0] > 1 and sum(steps) == 20, "it goes on from the checkpoint"


@pytest.mark.parametrize("what", ["code", "data"])
def test_a_worker_that_finds_other_code_or_data_ends_the_sweep_in_one_sentence(setting, what):
    with pytest.raises(RunError) as caught:
        outcomes(replace(setting, **{what: "what the sweep began with"}), [LONG, *SHORT])
    subject = "the code of gcnn" if what == "code" else str(setting.data_path)
    assert str(caught.value) == (
        f"{subject} changed while {setting.name} was running; start it again (what is finished is kept)"
    )
    assert not multiprocessing.active_children() and not list(setting.store_folder.glob("*.parquet"))


def test_a_worker_that_cannot_import_what_it_needs_ends_the_sweep(setting, tmp_path, monkeypatch, capfd):
    """It is not started again and again, and prints nothing of its own."""
    (tmp_path / "torch.py").write_text("raise ImportError('no such library')")
    monkeypatch.syspath_prepend(str(tmp_path))  # workers search where their parent does
    with pytest.raises(RunError, match="(?s)a worker could not start:\n.*ImportError: no such library$"):
        outcomes(setting, [LONG, *SHORT])
    assert capfd.readouterr().err == ""
    assert not multiprocessing.active_children()


class Scripted:
    """Stands in for a worker: says what it is told to, without a process, and ends."""

    def __init__(self, setting, slot, script, exitcode=-9):
        self.slot, self.run = slot, None
        self.connection, theirs = multiprocessing.Pipe()
        does_nothing = {name: lambda s, *_: None for name in ("join", "kill", "terminate")}
        self.process = type("Ended", (), {"exitcode": exitcode} | does_nothing)()
        for message in script:
            theirs.send(message)
        theirs.close()

    def give(self, run):
        self.run = run

    def stop(self):
        self.connection.close()


def test_workers_killed_as_they_start_cost_one_run_each_and_never_start_for_ever(setting, monkeypatch):
    started = []
    monkeypatch.setattr(engine, "_Worker", lambda setting, slot: started.append(slot) or Scripted(setting, slot, []))
    found = outcomes(setting, [LONG, *SHORT], slots=2)
    assert sorted(outcome.run for outcome in found) == sorted([LONG, *SHORT]) and len(started) <= 4
    assert {outcome.state for outcome in found} == {"failed"}


def test_a_worker_that_ends_by_itself_before_its_first_run_ends_the_sweep(setting, monkeypatch):
    monkeypatch.setattr(engine, "_Worker", lambda setting, slot: Scripted(setting, slot, [], exitcode=1))
    with pytest.raises(RunError, match="a worker ended with exit code 1 before its first run; what it printed stands"):
        outcomes(setting, [LONG, *SHORT], slots=2)


def test_warnings_of_workers_are_the_parent_s(setting, monkeypatch):
    script = [("ready", None), ("warning", "a checkpoint was damaged"), ("trained", None)]
    monkeypatch.setattr(engine, "_Worker", lambda setting, slot: Scripted(setting, slot, script))
    with pytest.warns(UserWarning, match="a checkpoint was damaged"):
        assert outcomes(setting, [LONG]) == [Outcome(LONG, "trained")]


def test_closing_the_engine_ends_its_workers(setting, monkeypatch):
    ended = []

    def worker(setting, slot):
        made = Scripted(setting, slot, [("ready", None), ("trained", None)])
        made.process.kill = lambda: ended.append(slot)
        return made

    monkeypatch.setattr(engine, "_Worker", worker)
    running = LocalEngine([Slot("0"), Slot("1")]).map(setting, [LONG, *SHORT], lambda run, share: None)
    next(running)
    running.close()
    assert ended


def test_slots_are_cores_over_threads_or_one_per_gpu(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert engine.default_slots("cpu", 1) == [Slot()] * 8 and len(engine.default_slots("cpu", 3)) == 2
    assert len(engine.default_slots("cpu", 16)) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert engine.default_slots("cuda", 1) == [Slot("2"), Slot("5")]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(engine.torch.cuda, "device_count", lambda: 3)
    assert engine.default_slots("cuda", 1) == [Slot("0"), Slot("1"), Slot("2")]


def test_the_device_is_found_or_said_to_be_absent(monkeypatch):
    monkeypatch.setattr(engine.torch.cuda, "is_available", lambda: False)
    assert find_device() == find_device("cpu") == "cpu"
    with pytest.raises(RunError, match="device cuda was asked for, but torch sees none; see `fewscans doctor`"):
        find_device("cuda")
    with pytest.raises(RunError, match="unknown device 'tpu'; it is auto, cpu or cuda"):
        find_device("tpu")
    monkeypatch.setattr(engine.torch.cuda, "is_available", lambda: True)
    assert find_device() == "cuda"


def test_a_worker_looks_after_its_parent_before_it_imports_anything_slow():
    code = "import sys, fewscans.sweep.worker; print({'torch', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | PATH)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_only_the_parent_hears_ctrl_c():
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with engine._deaf_to_interrupts():
        deaf = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert deaf == "True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
