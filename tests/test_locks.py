"""Locks on any disk: flock where there is one, leases where not, chosen once a folder; two holders do no harm."""

import errno
import fcntl
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import filelock
import pytest

from fewscans import doctor, files, locks, paths
from fewscans.errors import RunError
from fewscans.experiments.base import Run
from fewscans.locks import Kind, Locks
from fewscans.store import Store
from fewscans.sweep import sweep
from fewscans.sweep.onerun import Context, train_one

from . import kill_sweep, lease_sweep, toy
from .toy import Inline

linux = pytest.mark.skipif(sys.platform != "linux", reason="flock is played, and processes watched through /proc")
pytestmark = linux
KINDS = sorted(lease_sweep.MISSING)


def without_flock(monkeypatch, code=errno.ENOSYS):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


def leased(folder, seconds=120.0) -> Locks:
    folder.mkdir(exist_ok=True)
    (folder / locks.FILE).write_text(json.dumps({"kind": "lease", "lease_seconds": seconds}))
    return Locks(folder)


@pytest.fixture(params=["flock", "lease"])
def room(request, tmp_path) -> Locks:
    return leased(tmp_path) if request.param == "lease" else Locks(tmp_path)


# The kind of lock


def test_a_disk_with_flock_is_locked_by_it(tmp_path):
    assert Locks(tmp_path).kind == Kind("flock")
    assert [path.name for path in tmp_path.iterdir()] == [locks.FILE]


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_without_flock_is_locked_by_leases_without_a_warning(tmp_path, monkeypatch, kind):
    without_flock(monkeypatch, lease_sweep.MISSING[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not Store(tmp_path / "store").held("k")
        with Store(tmp_path / "store").hold("k"):
            assert Store(tmp_path / "store").held("k")
    assert json.loads((tmp_path / "store" / locks.FILE).read_text()) == {"kind": "lease", "lease_seconds": 120.0}


def test_another_error_of_flock_is_an_error(tmp_path, monkeypatch):
    without_flock(monkeypatch, errno.EIO)
    with pytest.raises(RunError, match=r"run store .* cannot be written \(Input/output error\).*FEWSCANS_STORE"):
        Store(tmp_path).held("k")


def test_the_kind_is_chosen_once(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        without_flock(patch)
        assert Locks(tmp_path).kind.kind == "lease"
    assert Locks(tmp_path).kind.kind == "lease", "though this machine has flock there"


def test_a_machine_that_lacks_the_store_s_flock_is_told_so_and_never_waits(tmp_path, monkeypatch):
    assert Store(tmp_path).held("k") is False
    without_flock(monkeypatch)
    for use in (lambda: Store(tmp_path).held("k"), lambda: Store(tmp_path).hold("k").__enter__()):
        with pytest.raises(RunError, match=r"locks\.json says .* flock.*another machine mounts this disk.*FEWSCANS_ST"):
            use()


@pytest.mark.parametrize("content", ["", "{}", '{"kind": "magic"}', '{"kind": "lease"}', '{"kind": "flock", "a": 1}'])
def test_a_damaged_record_of_the_kind_is_named(tmp_path, content):
    (tmp_path / locks.FILE).write_text(content)
    with pytest.raises(RunError, match=r"locks\.json is damaged .*; remove it while no `fewscans train` runs"):
        Locks(tmp_path).held("k")


@pytest.mark.parametrize("links", [True, False])
def test_the_first_of_several_that_choose_decides_for_all(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no hard links")))
    path = tmp_path / locks.FILE
    locks._record(path, Kind("flock"))
    if links:
        locks._record(path, Kind("lease", 5.0))
    assert Locks(tmp_path).kind == Kind("flock") and [p.name for p in tmp_path.iterdir()] == [locks.FILE]


# Holding


def test_a_lock_has_one_holder_who_is_named(room):
    assert not room.held("k")
    with room.hold("k"):
        assert room.held("k") and not room.held("other")
        assert room.holder("k").startswith(f"process {os.getpid()} on {socket.gethostname()}")
        with pytest.raises(filelock.Timeout), room.hold("k"):
            pass
    assert not room.held("k")
    with room.hold("k"):
        pass


def test_a_run_that_another_trains_is_held_and_no_fault_of_the_disk(room, tmp_path, monkeypatch):
    toy.register(monkeypatch)
    setting = toy.setting(tmp_path, store_folder=".")
    context, run = Context(setting), Run(0, 2, "a", 0.1)
    with Store(tmp_path).hold(context.key(run)):
        assert train_one(context, run, lambda steps: None) == "held"


def test_who_waits_is_told_for_whom_and_no_longer_than_it_is_said(room, monkeypatch):
    monkeypatch.setattr(locks, "TELL_EVERY_SECONDS", 0.05)
    with room.hold("k"), pytest.warns(UserWarning, match=rf"waiting for k in .*, held by process {os.getpid()} on"):
        with pytest.raises(filelock.Timeout), room.hold("k", wait_seconds=0.2):
            pass


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_lease_of_a_dead_process_is_free_at_once_here_and_after_a_while_elsewhere(tmp_path, where):
    room = leased(tmp_path, 1.0)
    host = socket.gethostname() if where == "here" else "another"
    script = (
        "import os, socket\n"
        f"socket.gethostname = lambda: {host!r}\n"
        "from fewscans.locks import Locks\n"
        f"lock = Locks({str(tmp_path)!r}).lock('k').acquire()\n"
        "os._exit(1)\n"
    )
    path = {"PYTHONPATH": str(kill_sweep.LIBRARY)}
    assert subprocess.run([sys.executable, "-c", script], env=os.environ | path).returncode == 1
    assert (tmp_path / "k.lease").exists()
    assert room.held("k") is (where == "elsewhere")
    kill_sweep.wait_until(lambda: not room.held("k"), 30)
    with room.hold("k"):
        pass


def test_a_lease_that_is_refreshed_is_never_taken(tmp_path):
    room, other = leased(tmp_path, 0.6), Locks(tmp_path)
    with room.hold("k"):
        with pytest.raises(TimeoutError):
            kill_sweep.wait_until(lambda: not other.held("k"), 2.0)


# Two holders of one run


@pytest.fixture
def two(tmp_path, monkeypatch):
    """A toy's sweep on leases; and what makes another process finish a run while this one trains it."""
    toy.register(monkeypatch)
    setting = toy.setting(tmp_path)
    leased(setting.store_folder)
    return setting


def test_a_holder_that_was_overtaken_keeps_the_other_s_entry(two, monkeypatch):
    context, run = Context(two), Run(0, 2, "a", 0.1)
    key, train, first = context.key(run), toy.Toy.train_network, []

    def overtaken(self, *args):
        if not first:
            (two.store_folder / f"{key}.lease").unlink()  # as if it had not been refreshed
            first.append(None)
            assert train_one(Context(two), run, lambda steps: None) == "trained"
            first.append(context.store.path(key).read_bytes())
        return train(self, *args)

    monkeypatch.setattr(toy.Toy, "train_network", overtaken)
    assert train_one(context, run, lambda steps: None) == "found"
    assert context.store.path(key).read_bytes() == first[1]


def test_a_holder_that_fails_for_being_overtaken_fails_nothing(two, monkeypatch):
    context, run = Context(two), Run(0, 2, "a", 0.1)
    key, train, calls = context.key(run), toy.Toy.train_network, []

    def robbed(self, *args):
        calls.append(run)
        if len(calls) == 1:
            (two.store_folder / f"{key}.lease").unlink()
            train_one(Context(two), run, lambda steps: None)
            raise FileNotFoundError("the checkpoint that was just written")
        return train(self, *args)

    monkeypatch.setattr(toy.Toy, "train_network", robbed)
    assert train_one(context, run, lambda steps: None) == "found"
    context.store.path(key).unlink()
    calls.clear()
    monkeypatch.setattr(toy.Toy, "train_network", lambda *args: (_ for _ in ()).throw(FileNotFoundError("own fault")))
    with pytest.raises(FileNotFoundError, match="own fault"):
        train_one(context, run, lambda steps: None)


def test_half_written_files_are_no_two_writers_and_tell_whose_they_are(tmp_path):
    names = {files.partial(tmp_path / "x.parquet") for _ in range(100)}
    assert len(names) == 100 and all(name.name.startswith("x.parquet.") for name in names)
    mine = names.pop()
    assert not files.abandoned(mine) and not files.abandoned(tmp_path / "x.part")
    dead = multiprocessing.get_context("spawn").Process(target=int)
    dead.start()
    dead.join()
    theirs = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
    assert files.abandoned(theirs)
    assert not files.abandoned(theirs.with_name(theirs.name.replace(".parquet.", ".parquet.elsewhere")))


def test_a_holder_of_a_lease_leaves_half_written_files_of_others_alone_until_the_run_is_finished(two):
    run = Run(0, 2, "a", 0.1)
    part = files.partial(two.store_folder / f"{Context(two).key(run)}.checkpoint")
    part.write_bytes(b"x")
    assert train_one(Context(two), run, lambda steps: None) == "trained" and part.exists()
    sweep.sweep(two, engine=Inline(), out=two.store_folder / "runs", show=False)
    assert not part.exists()


# Waiting


def test_a_sweep_says_for_whom_it_waits_and_does_not_wait_for_ever(tmp_path, monkeypatch, capsys):
    toy.register(monkeypatch)
    setting = toy.setting(tmp_path, arms={"a": (2,)}, seeds=1)
    store, clock = Store(setting.store_folder), [0.0]
    monkeypatch.setattr(sweep.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sweep.time, "sleep", lambda seconds: clock.append(clock.pop() + 600))
    with store.hold(Context(setting).key(Run(0, 2, "a", 0.1))), pytest.raises(RunError) as caught:
        sweep.sweep(setting, engine=Inline(), out=tmp_path / "runs", show=False, wait_hours=2)
    whom = f"1 runs that others train, the first a, N = 2, seed 0, learning rate 0.1, held by process {os.getpid()} on"
    assert str(caught.value).startswith(f"toy-x: waited 2 hours for {whom}")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 12 and all(line.startswith(f"toy-x: waiting for {whom}") for line in told)


# The doctor


def checked() -> doctor.Check:
    return doctor._store()[0]


def test_the_doctor_says_how_the_store_s_disk_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "store", lambda: tmp_path / "store")
    assert (checked().ok, checked().found) == (True, f"{tmp_path / 'store'}, locked by flock")
    monkeypatch.setattr(doctor, "_flock_of_this_machine_alone", lambda folder: "localflock")
    assert checked().ok is None and "binds this machine alone" in checked().found and "lease" in checked().remedy
    without_flock(monkeypatch)
    assert checked().ok is False and "FEWSCANS_STORE" in checked().remedy
    (tmp_path / "store" / locks.FILE).unlink()
    assert checked().ok is True and "leases of 120 s" in checked().found
    monkeypatch.setattr(paths, "store", lambda: tmp_path / "store" / locks.FILE / "below")
    assert checked().ok is False and "cannot be written" in checked().found


# Sweeps on nodes that are killed


def played(*options: str) -> str:
    command = [sys.executable, str(Path(lease_sweep.__file__)), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nodes_whose_holders_are_killed_or_overtaken_end_with_the_same_bytes():
    told = played("--seeds", "2").splitlines()
    assert told[-1] == "6 of 6 sweeps ended as an undisturbed one"
    assert {"killed", "frozen"} <= set(" ".join(told).split())


@pytest.mark.slow
def test_twenty_sweeps_for_each_answer_of_a_missing_flock_end_with_the_same_bytes():
    assert "60 of 60 sweeps ended as an undisturbed one" in played()
