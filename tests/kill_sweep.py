"""Kills sweeps, and looks at what is left: `python tests/kill_sweep.py` kills one sweep 20 times (some minutes).

The moments are drawn from a seed, in CPU seconds of the sweep's processes, so that they fall alike on a busy machine
and on an idle one. The tests use the parts. Linux alone: processes are watched through /proc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

RUN = "gcnn-luna16-patches-twin"
LIBRARY = Path(__file__).parents[1] / "lib"
TICKS = os.sysconf("SC_CLK_TCK")
GRID = """{arms: {Z2: [30, 60], p4m: [30], histogram: [30]}, seeds: 4, steps: 60, eval_every: 5,
      learning_rates: [1.0e-3, 3.0e-3], tuning_seeds: 1, width: 4}"""
PARAMS = """
profile: smoke
data_root: data
twins: {luna16-patches: {smoke: {scans: 60, candidates_per_scan: 10, positive_fraction: 0.3, seed: 0}}}
runs:
  gcnn-luna16-patches-twin: {experiment: gcnn, dataset: luna16-patches, twin: true, data: build/twins/luna16-patches}
grids:
  gcnn-luna16-patches-twin:
    smoke: GRID
notebooks: {}
"""


def project(folder: Path, grid: str = GRID) -> Path:
    """A project with a small twin and that grid, and nothing else."""
    from fewscans import twins

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(PARAMS.replace("GRID", grid))
    settings = {"scans": 60, "candidates_per_scan": 10, "positive_fraction": 0.3, "seed": 0}
    twins.write("luna16-patches", folder / "build/twins/luna16-patches", twins.spec("luna16-patches", settings))
    return folder


def _hear_interrupts() -> None:
    """A shell starts what runs in its background deaf to SIGINT, and so would be all that this starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Sweep:
    """`fewscans train` in processes of its own; the store's path in their environment is how all of them are found."""

    folder: Path
    store: Path
    slots: int = 2
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    stderr: str = ""
    stdout: str = ""

    def start(self) -> Sweep:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("FEWSCANS_", "DVC_"))}
        environment |= {"FEWSCANS_ROOT": str(self.folder), "FEWSCANS_STORE": str(self.store)}
        environment |= {"PYTHONPATH": str(LIBRARY)} | self.environment
        options = ("--slots", str(self.slots), "--device", "cpu", *self.options)
        command = (sys.executable, "-c", "from fewscans.cli import main; main()", "train", RUN, *options)
        self.process = subprocess.Popen(
            command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=_hear_interrupts,
        )  # fmt: skip
        return self

    def finish(self) -> int:
        self.stdout, self.stderr = self.process.communicate()
        return self.process.returncode

    def kill(self) -> None:
        """kill -9, of the command alone."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()  # a worker may hold the other end
        self.process.stderr.close()

    def processes(self) -> list[int]:
        """All processes of this sweep that still run, whoever is their parent."""
        wanted = b"\0FEWSCANS_STORE=" + str(self.store).encode() + b"\0"
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if wanted in _environment(pid)]

    def children(self) -> list[int]:
        return [int(pid) for pid in _read(self.process.pid, f"task/{self.process.pid}/children")[1:].split()]

    def cpu_seconds(self) -> float:
        """Of the command and its children, those that ended among them."""
        return sum(sum(map(int, _stat(pid)[11:15])) for pid in (self.process.pid, *self.children())) / TICKS

    def training(self) -> dict[str, int]:
        """The runs whose locks a worker holds now, by its process."""
        inodes = {path.stat().st_ino: path.stem for path in self.store.glob("*.lock")}
        found = re.findall(r"FLOCK +ADVISORY +WRITE +(\d+) \S+:(\d+) ", Path("/proc/locks").read_text())
        own = set(self.children())
        return {inodes[int(inode)]: int(pid) for pid, inode in found if int(inode) in inodes and int(pid) in own}

    def finished(self) -> dict[str, tuple[int, int]]:
        """The store's entries, each with what changes if it is written again."""
        return {path.stem: (path.stat().st_ino, path.stat().st_mtime_ns) for path in self.store.glob("*.parquet")}

    def trained(self) -> int:
        return int(re.search(r"(\d+) trained now", self.stdout)[1])


def _read(pid: int, name: str) -> bytes:
    try:
        return b"\0" + Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def _environment(pid: int) -> bytes:
    return b"" if _stat(pid)[0] == "Z" else _read(pid, "environ")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on."""
    return _read(pid, "stat").decode().rpartition(")")[2].split() or ["Z"] + ["0"] * 20


def wait_until(condition: Callable[[], object], seconds: float = 900, every: float = 0.005) -> float:
    """Seconds that it took; TimeoutError after `seconds`."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError("it did not come about")
        time.sleep(every)
    return time.monotonic() - start


def tables(folder: Path) -> dict[str, str]:
    """Hashes of the run's files, but for the one that holds seconds."""
    files = {path.name: path for path in (folder / "runs").glob(f"{RUN}.*") if path.name != f"{RUN}.costs.json"}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def results(store: Path) -> dict[str, tuple]:
    """What each run left: predictions, history and weights, without what it cost."""
    found = {}
    for path in sorted(store.glob("*.parquet")):
        table = pq.read_table(path)
        notes, weights = json.loads(table.schema.metadata[b"fewscans"]), path.with_suffix(".safetensors")
        predictions = hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()
        found[path.stem] = (predictions, notes["history"], weights.exists() and weights.read_bytes())
    return found


@dataclass
class Report:
    """What was seen: the runs of the sweep, one dict a kill, runs trained by the last call, and what was wrong."""

    runs: int
    kills: list[dict] = field(default_factory=list)
    trained_last: int = 0
    faults: list[str] = field(default_factory=list)


def kill_often(room: Path, kills: int = 20, seed: int = 0, say: Callable[[str], None] = lambda text: None) -> Report:
    """One sweep killed `kills` times and started again each time, against one that is left alone.

    The kills fall uniformly over the first half of the sweep's work; every fifth falls while it starts, before any run
    has begun.
    """
    whole = Sweep(project(room / "whole"), room / "whole-store").start()
    spent = [_until_training(whole)]
    wait_until(lambda: spent.append(max(spent[-1], whole.cpu_seconds())) or whole.process.poll() is not None, 1800, 0.1)
    work = spent[-1] - spent[0]
    assert whole.finish() == 0, whole.stderr
    report = Report(whole.trained())
    say(f"left alone: {report.runs} runs in {work:.1f} s of CPU")

    random = np.random.default_rng(seed)
    # of its CPU seconds, a part is the start of the second worker, and on a busy machine each costs more
    gaps = iter(np.diff(np.sort(random.uniform(0, 0.5 * work, kills)), prepend=0))
    folder, store = project(room / "cut"), room / "cut-store"
    before: dict[str, tuple[int, int]] = {}
    for number in range(1, kills + 1):
        sweep = Sweep(folder, store, slots=1 + number % 2).start()
        if number % 5 == 0:
            origin, moment, phase = 0.0, random.uniform(0, 6), "starting"
        else:
            origin, moment, phase = _until_training(sweep), next(gaps), "training"
        due = origin + moment
        wait_until(lambda s=sweep, d=due: s.process.poll() is not None or s.cpu_seconds() >= d, 1800, 0.03)
        cut, ended = sweep.training(), sweep.process.poll() is not None
        sweep.kill()
        seconds = wait_until(lambda s=sweep: not s.processes(), 20)
        after = sweep.finished()
        rewritten = [key for key in before if after.get(key) != before[key]]
        if ended:
            report.faults.append(f"kill {number}: the sweep had ended before")
        if rewritten or len(cut) > sweep.slots:
            report.faults.append(f"kill {number}: {rewritten} written again, {list(cut)} cut")
        report.kills.append(
            {"phase": phase, "moment": round(float(moment), 2), "cut": len(set(cut) - set(after)),
             "finished": len(after), "seconds": round(seconds, 2)}
        )  # fmt: skip
        say(f"kill {number}: {report.kills[-1]}")
        before = after
    last = Sweep(folder, store).start()
    if last.finish() != 0:
        report.faults.append(f"the last call failed: {last.stderr}")
        return report
    report.trained_last = last.trained()
    after = last.finished()
    if report.trained_last != report.runs - len(before) or any(after[key] != before[key] for key in before):
        report.faults.append(f"{report.trained_last} trained at last, {len(before)} of {report.runs} were finished")
    if tables(folder) != tables(whole.folder):
        report.faults.append("the tables differ from those of the sweep that was left alone")
    if results(store) != results(whole.store):
        report.faults.append("predictions, histories or weights of some run differ")
    if list(store.glob("*.part")) or list(store.glob("*.checkpoint")):
        report.faults.append("half-written files or checkpoints are left in the store")
    return report


def _until_training(sweep: Sweep) -> float:
    """Waits until the first run has begun; the CPU seconds spent until then."""
    wait_until(lambda: sweep.training() or sweep.process.poll() is not None, 600, 0.05)
    return sweep.cpu_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--room", type=Path, help="a folder to work in, else a temporary one")
    given = parser.parse_args()
    sys.path.insert(0, str(LIBRARY))
    with tempfile.TemporaryDirectory() as temporary:
        report = kill_often(given.room or Path(temporary), given.kills, given.seed, say=lambda t: print(t, flush=True))
    cut = sum(kill["cut"] > 0 for kill in report.kills)
    slowest = max((kill["seconds"] for kill in report.kills), default=0.0)
    print(f"{len(report.kills)} kills, {cut} of them in the midst of a run; all processes gone within {slowest} s")
    print("\n".join(report.faults) or "tables, histories, predictions and weights as if it had never been killed")
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
