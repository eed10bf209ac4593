"""Nodes of a cluster, played by processes on one machine whose shared disk has no flock; holders of leases are killed.

`python tests/lease_sweep.py` plays 20 sweeps for each answer of a missing flock (some minutes). Nodes are forks of one
process that has imported all, with a host name of their own. A node is killed, or frozen for longer than a lease lasts,
so that two train one run. `disk` plays such a disk for whole commands. Linux alone.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import os
import re
import signal
import socket
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MISSING = {"ENOLCK": errno.ENOLCK, "ENOSYS": errno.ENOSYS, "EOPNOTSUPP": errno.EOPNOTSUPP}
LEASE_SECONDS = 1.5
GRID = """{arms: {Z2: [10], histogram: [10]}, seeds: 3, steps: 60, eval_every: 5, learning_rates: [1.0e-3], width: 4}"""
NODE = """
import fcntl, os, socket
def flock(*_):
    code = int(os.environ["PLAYED_ERRNO"])
    raise OSError(code, os.strerror(code))
if os.environ.get("PLAYED_ERRNO"):
    fcntl.flock = flock
if host := os.environ.get("PLAYED_HOST"):
    socket.gethostname = lambda: host
"""


def disk(room: Path, kind: str, lease_seconds: float = LEASE_SECONDS) -> dict[str, str]:
    """A store room/store on such a disk, and the environment of a command whose flock answers so."""
    (room / "store").mkdir(parents=True)
    (room / "sitecustomize.py").write_text(NODE)
    (room / "store/locks.json").write_text(json.dumps({"kind": "lease", "lease_seconds": lease_seconds}))
    path = os.pathsep.join((str(room), str(Path(__file__).parents[1] / "lib")))
    return {"PYTHONPATH": path, "PLAYED_ERRNO": str(MISSING[kind])}


def leases(store: Path) -> dict[str, tuple[int, str]]:
    """Each run that is held, with its holder's process and node."""
    found = {}
    for path in store.glob("*.lease"):
        try:
            fields = dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE))
            found[path.stem] = (int(fields["pid"]), fields["host"].partition("?")[0])
        except (OSError, KeyError):  # gone, or half-written
            continue
    return found


@dataclass
class Seen:
    """What was done to holders, a word each, and what was wrong at the end."""

    blows: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Node:
    """A fork of this process that sweeps; `ended` gives its exit code once it has."""

    def __init__(self, host: str, setting, out: Path):
        self.host, self.store, self.code = host, setting.store_folder, None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                from fewscans.sweep import sweep

                from .toy import Inline

                socket.gethostname = lambda: host
                sweep.sweep(setting, engine=Inline(), out=out, show=False, wait_hours=0.1)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def ended(self) -> bool:
        if self.code is None and (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.code = os.waitstatus_to_exitcode(found[1])
        return self.code is not None

    def held(self) -> list[str]:
        return [key for key, (_, host) in leases(self.store).items() if host == self.host]

    def cpu_seconds(self) -> float:
        from . import kill_sweep

        return sum(map(int, kill_sweep._stat(self.pid)[11:13])) / kill_sweep.TICKS


def play(setting, folder: Path, kind: str, seed: int, blows: int, expected: tuple[dict, dict]) -> Seen:
    """Two nodes train one run, and `blows` times one that holds a lease is killed, or frozen until it is overtaken.

    setting: names a store of its own.   folder: its runs/ is where the nodes write tables.   expected: tables and
    results of an undisturbed sweep.
    """
    from . import kill_sweep

    def flock(*_):
        raise OSError(MISSING[kind], os.strerror(MISSING[kind]))

    random, seen, works = np.random.default_rng(seed), Seen(), fcntl.flock
    fcntl.flock = flock
    (setting.store_folder).mkdir(parents=True)
    (setting.store_folder / "locks.json").write_text(json.dumps({"kind": "lease", "lease_seconds": LEASE_SECONDS}))
    nodes = {host: Node(host, setting, folder / "runs") for host in ("alpha", "beta")}
    try:
        for _ in range(blows):
            node = nodes[str(random.choice(list(nodes)))]
            kill_sweep.wait_until(lambda n=node: n.held() or n.ended())
            due = node.cpu_seconds() + random.uniform(0, 0.3)
            kill_sweep.wait_until(lambda n=node, d=due: n.ended() or n.held() and n.cpu_seconds() >= d)
            if node.ended():
                continue
            seen.blows.append(str(random.choice(["killed", "killed", "frozen"])))
            if seen.blows[-1] == "killed":
                os.kill(node.pid, signal.SIGKILL)
                kill_sweep.wait_until(node.ended)
                nodes[node.host] = Node(node.host, setting, folder / "runs")
            else:
                os.kill(node.pid, signal.SIGSTOP)
                others = [other for other in nodes.values() if other is not node]
                kill_sweep.wait_until(lambda n=node, o=others: not n.held() or all(x.ended() for x in o))
                os.kill(node.pid, signal.SIGCONT)
        for node in nodes.values():
            kill_sweep.wait_until(node.ended)
            if node.code != 0:
                seen.faults.append(f"{node.host} ended with {node.code}; what it printed stands above")
    finally:
        fcntl.flock = works
        for node in nodes.values():
            if not node.ended():
                os.kill(node.pid, signal.SIGKILL)
    if (kill_sweep.tables(folder), kill_sweep.results(setting.store_folder)) != expected:
        seen.faults.append("tables, predictions, histories or weights differ from those of an undisturbed sweep")
    left = [path.name for end in ("*.checkpoint", "*.part") for path in setting.store_folder.glob(end)]
    return Seen(seen.blows, seen.faults + [f"left behind: {name}" for name in left])


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--blows", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", default=list(MISSING))
    given = parser.parse_args()
    from fewscans.sweep import sweep

    from . import kill_sweep
    from .test_sweep import setting_of
    from .toy import Inline

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        room = Path(temporary)
        folder = kill_sweep.project(room / "project", GRID)
        os.environ["FEWSCANS_ROOT"] = str(folder)
        sweep.POLL_SECONDS = 0.05
        sweep.sweep(setting_of(folder, room / "whole"), engine=Inline(), out=folder / "runs", show=False)
        expected = kill_sweep.tables(folder), kill_sweep.results(room / "whole")
        sound = 0
        for kind in given.kinds:
            for seed in range(given.seeds):
                setting = setting_of(folder, room / kind / str(seed))
                seen = play(setting, folder, kind, seed, given.blows, expected)
                sound += not seen.faults
                print(kind, seed, *seen.blows, *seen.faults, flush=True)
    print(f"{sound} of {len(given.kinds) * given.seeds} sweeps ended as an undisturbed one")
    sys.exit(sound < len(given.kinds) * given.seeds)


if __name__ == "__main__":
    # as a part of this folder, whatever else is called `tests` here
    import importlib
    import types

    sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
    sys.modules["played"] = types.ModuleType("played")
    sys.modules["played"].__path__ = [str(Path(__file__).parent)]
    importlib.import_module("played.lease_sweep").main()
