"""Jobs of a cluster, played by processes: told to stop they save all and free their locks; killed, they do no harm."""

import contextlib
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from fewscans import ending
from fewscans.errors import Stopped
from fewscans.sweep import slurm, sweep, worker

from . import kill_sweep, lease_sweep
from .test_cli import call, mistake, project, twin  # noqa: F401, fixtures
from .test_sweep import setting_of
from .toy import Inline

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")
GRID = """{arms: {p4m: [10], histogram: [10]}, seeds: 2, steps: 480, eval_every: 240,
      learning_rates: [1.0e-3], width: 4}"""
RUN = kill_sweep.RUN


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    room = tmp_path_factory.mktemp("undisturbed")
    folder = kill_sweep.project(room / "project", GRID)
    sweep.sweep(setting_of(folder, room / "store"), engine=Inline(), out=folder / "runs", show=False)
    return folder, (kill_sweep.tables(folder), kill_sweep.results(room / "store"))


def at_work(node: kill_sweep.Sweep) -> None:
    """Waits until a network has begun, or all is over."""
    kill_sweep.wait_until(lambda: lease_sweep.leases(node.store) or node.process.poll() is not None)
    due = node.cpu_seconds() + 0.5
    kill_sweep.wait_until(lambda: node.cpu_seconds() >= due or node.process.poll() is not None)


@pytest.mark.parametrize("raised", [Stopped("SIGTERM"), KeyboardInterrupt()])
def test_a_signal_that_a_library_wraps_in_an_error_of_its_own_is_still_that_signal(raised):
    with pytest.raises(type(raised)) as caught, ending.told_to_stop():
        raise SystemError("<CoreWorker.wait> returned a result with an exception set") from raised
    assert caught.value is raised
    with pytest.raises(SystemError, match="another"), ending.told_to_stop():
        raise SystemError("another")


@pytest.fixture
def handlers():
    before = {one: signal.getsignal(one) for one in worker.STOP_SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for one, handler in before.items():
        signal.signal(one, handler)


@linux
@pytest.mark.parametrize("who", ["a worker", "the command"])
def test_two_signals_at_once_leave_no_traceback(handlers, monkeypatch, who):
    """Of one that waits while another's handler has it ignored Python says "ignored due to race condition"."""
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    with pytest.raises(SystemExit if who == "a worker" else Stopped):
        with contextlib.nullcontext(worker._Told()) if who == "a worker" else ending.told_to_stop():
            signal.pthread_sigmask(signal.SIG_BLOCK, worker.STOP_SIGNALS)
            for one in worker.STOP_SIGNALS:
                signal.raise_signal(one)  # to this thread; os.kill may reach another one, which does not hold it back
            signal.pthread_sigmask(signal.SIG_UNBLOCK, worker.STOP_SIGNALS)
    assert not said


@linux
@pytest.mark.parametrize("training", [True, False])
def test_a_worker_that_was_told_to_stop_hears_no_second_signal(handlers, training):
    told = worker._Told()
    with pytest.raises(SystemExit):
        if training:
            with told.later():
                os.kill(os.getpid(), signal.SIGTERM)
                assert told.signal == "SIGTERM", "the training goes on until it has saved"
        else:
            os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)  # as the sweep does to all that it ends


@linux
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize("whom", ["the command", "all of its processes"])
def test_a_job_told_to_stop_saves_frees_its_leases_ends_its_children_and_says_so(undisturbed, tmp_path, name, whom):
    folder, expected = undisturbed
    environment = lease_sweep.disk(tmp_path, "ENOSYS", lease_seconds=1000.0)  # what is not freed would be waited for
    node = kill_sweep.Sweep(folder, tmp_path / "store", 2, environment=environment).start()
    at_work(node)
    if whom == "the command":
        node.process.send_signal(signal.Signals[name])
    else:
        os.killpg(node.process.pid, signal.Signals[name])
    assert node.finish() == slurm.STOPPED == 75
    last = f"fewscans: told to stop by {name}; all is saved, and the same command goes on from there"
    assert node.stderr.splitlines()[-1] == last and "Traceback" not in node.stderr
    assert not node.processes() and not list(node.store.glob("*.lease"))
    assert list(node.store.glob("*.checkpoint")), "saved between two validations"
    again = kill_sweep.Sweep(folder, tmp_path / "store", 2, environment=environment).start()
    assert again.finish() == 0, again.stderr
    assert (kill_sweep.tables(folder), kill_sweep.results(tmp_path / "store")) == expected


# Slurm


def test_the_batch_script_is_an_array_of_the_plain_command(project, call):  # noqa: F811
    code, text, err = call("slurm", RUN, "--gpus", "1", "--jobs", "8", "--hours", "2.5", "--profile", "paper")
    assert (code, err) == (0, "") and text.startswith("#!/bin/bash\n")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert options["array"] == "1-8" and options["gpus"] == "1" and options["time"] == "02:30:00"
    assert "requeue" in options and options["signal"] == "B:USR1@120" and options["open-mode"] == "append"
    assert re.search(rf"^fewscans train {RUN} --profile paper --device cuda &$", text, re.MULTILINE)
    assert not re.search(r"(?<![!.\w])/\w+/(?!bash)", text), "no path of one machine"
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
    code, text, _ = call("slurm", RUN, "--gpus", "0")
    assert code == 0 and "--gpus" not in text and "--device cpu" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RUN, "--jobs", "0"), "--jobs must be at least 1, got 0"),
        ((RUN, "--gpus", "-1"), "--gpus must be at least 0, got -1"),
        (("nothing",), "unknown run 'nothing'"),
        ((RUN, "--profile", "huge"), "huge"),
    ],
)
def test_a_batch_script_of_what_cannot_be_is_a_mistake(project, call, arguments, message):  # noqa: F811
    assert message in mistake(call("slurm", *arguments))


class Job:
    """A job of the array on a node of its own: bash on the printed script, with `fewscans` and `scontrol` played."""

    def __init__(self, folder, room, host, environment):
        bin = room / "bin"
        if not bin.is_dir():  # once: a script that is open for writing cannot be started by a job that already runs
            bin.mkdir()
            command = f'exec {sys.executable} -c "from fewscans.cli import main; main()" "$@" --slots 1\n'
            for name, text in (("fewscans", command), ("scontrol", f'echo "$@" >> {room}/scontrol.log\n')):
                (bin / name).write_text("#!/bin/bash\n" + text)
                (bin / name).chmod(0o755)
            (room / "train.sbatch").write_text(slurm.script(RUN, 2, 0, 1, 1.0))
        own = {k: v for k, v in os.environ.items() if not k.startswith(("FEWSCANS_", "DVC_"))}
        own |= {"FEWSCANS_ROOT": str(folder), "FEWSCANS_STORE": str(room / "store"), "PLAYED_HOST": host}
        own |= environment | {"PATH": f"{bin}:{os.environ['PATH']}", "SLURM_JOB_ID": host}
        self.host, self.store = host, room / "store"
        self.process = subprocess.Popen(
            ["bash", str(room / "train.sbatch")], cwd=room, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    def holds(self) -> bool:
        return self.host in {host for _, host in lease_sweep.leases(self.store).values()}

    def at_work(self) -> None:
        kill_sweep.wait_until(lambda: self.holds() or self.process.poll() is not None)


def play(folder, room, expected, seed: int, blows: int) -> list[str]:
    """Two nodes; jobs are warned (USR1 to the script), cancelled (TERM to all) or lost with their node (kill -9).

    What was done to them, one word a blow. Each job is started again, as Slurm does, until both have ended well.
    """
    environment, random = lease_sweep.disk(room, "EOPNOTSUPP"), np.random.default_rng(seed)
    jobs, words, requeued = {host: Job(folder, room, host, environment) for host in ("alpha", "beta")}, [], []
    for word in random.permutation(["warned", "cancelled", "lost"] * blows)[:blows]:
        job = jobs[str(random.choice(list(jobs)))]
        job.at_work()
        if job.process.poll() is not None:
            break
        words.append(str(word))
        if word == "lost":
            os.killpg(job.process.pid, signal.SIGKILL)
        elif word == "cancelled":
            os.killpg(job.process.pid, signal.SIGTERM)
        else:
            job.process.send_signal(signal.SIGUSR1)
        _, err = job.process.communicate()
        if word != "lost":
            assert job.process.returncode == slurm.STOPPED, err
            assert not job.holds()
        requeued += [job.host] if word == "warned" else []
        jobs[job.host] = Job(folder, room, job.host, environment)
    for job in jobs.values():
        _, err = job.process.communicate()
        assert job.process.returncode == 0, err
    log = room / "scontrol.log"
    assert (log.read_text().split() if log.exists() else []) == [w for host in requeued for w in ("requeue", host)]
    assert (kill_sweep.tables(folder), kill_sweep.results(room / "store")) == expected
    return words


@linux
def test_jobs_that_are_warned_cancelled_or_lost_end_with_the_same_bytes(undisturbed, tmp_path):
    assert play(undisturbed[0], tmp_path, undisturbed[1], seed=0, blows=2)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_ten_arrays_of_jobs_end_with_the_same_bytes(undisturbed, tmp_path, seed):
    assert play(undisturbed[0], tmp_path, undisturbed[1], seed, blows=4)
