"""Nodes of a cluster, played by processes on one machine whose shared disk has no flock, killed at random.

A module `sitecustomize` makes flock fail and gives each node its own host name, in the command and in its workers.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import kill_sweep

MISSING = {"ENOSYS": errno.ENOSYS, "EOPNOTSUPP": errno.EOPNOTSUPP, "ENOLCK": errno.ENOLCK}
LEASE_SECONDS = 3.0
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


def disk(room: Path, kind: str | None, lease_seconds: float = LEASE_SECONDS) -> dict[str, str]:
    """The environment of a node whose flock answers so (None: it works); leases of the store room/store are short."""
    room.mkdir(parents=True, exist_ok=True)
    (room / "sitecustomize.py").write_text(NODE)
    (room / "store").mkdir(exist_ok=True)
    if kind:
        (room / "store/locks.json").write_text(json.dumps({"kind": "lease", "lease_seconds": lease_seconds}))
    path = os.pathsep.join((str(room), str(kill_sweep.LIBRARY)))
    return {"PYTHONPATH": path, "PLAYED_ERRNO": str(MISSING[kind]) if kind else ""}


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
    """What was seen: which kind of process was killed each time, and what was wrong at the end."""

    kills: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def kill_holders(folder: Path, room: Path, kind: str, seed: int, kills: int, expected: tuple[dict, dict]) -> Seen:
    """Two nodes train one run; holders of leases, or the commands above them, are killed and started again.

    folder: the project, whose tables are written over.   expected: tables and results of an undisturbed sweep.
    """
    environment, random, seen = disk(room, kind), np.random.default_rng(seed), Seen()

    def start(host: str) -> kill_sweep.Sweep:
        own = environment | {"PLAYED_HOST": host}
        return kill_sweep.Sweep(folder, room / "store", slots=1, environment=own).start()

    nodes = {host: start(host) for host in ("alpha", "beta")}
    for _ in range(kills):
        host = str(random.choice(list(nodes)))
        node = nodes[host]
        kill_sweep.wait_until(lambda n=node, h=host: h in {w for _, w in leases(n.store).values()} or _ended(n), 200)
        due = node.cpu_seconds() + random.uniform(0, 1)
        kill_sweep.wait_until(lambda n=node, d=due: n.cpu_seconds() >= d or _ended(n), 200)
        held = [pid for pid, where in leases(node.store).values() if where == host]
        if held and random.random() < 0.5:
            seen.kills.append("worker")
            try:
                os.kill(held[0], signal.SIGKILL)
            except ProcessLookupError:
                continue
        elif not _ended(node):
            seen.kills.append("command")
            node.kill()
            nodes[host] = start(host)
    for host in list(nodes):
        for _ in range(4):  # a worker killed fails its run alone, and the next call trains it
            if nodes[host].finish() == 0:
                break
            if "ended by SIGKILL" not in nodes[host].stderr:
                seen.faults.append(nodes[host].stderr)
            nodes[host] = start(host)
        else:
            seen.faults.append(f"{host} did not end: {nodes[host].stderr}")
            nodes[host].kill()
    if (kill_sweep.tables(folder), kill_sweep.results(room / "store")) != expected:
        seen.faults.append("tables, predictions, histories or weights differ from those of an undisturbed sweep")
    left = [path.name for end in ("*.checkpoint", "*.part") for path in (room / "store").glob(end)]
    if left:
        seen.faults.append(f"left behind: {left}")
    return seen


def _ended(node: kill_sweep.Sweep) -> bool:
    return node.process.poll() is not None
