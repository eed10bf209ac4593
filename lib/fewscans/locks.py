"""Locks in a folder that many processes, on one machine or many, share.

Where the disk has flock, the system frees a lock the moment its holder dies. Where it has none (Lustre as it is often
mounted, some NFS and FUSE disks), a lock is a lease: a file that its holder refreshes, and that others take over once
they have seen no refresh for `lease_seconds`. The kind is chosen once a folder, by trying, and recorded in locks.json,
so that all machines agree.

A lease excludes nobody: a holder that was frozen for a while goes on beside its successor. So what is done under these
locks must be harmless if it is done twice: each writes files of its own name (`files.partial`) and replaces at once.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from fewscans import files
from fewscans.errors import RunError

FILE = "locks.json"
MISSING = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}  # what flock says where there is none
LEASE_SECONDS = 120.0  # longer than disks of a network keep what they know of a file, 60 s on NFS
TELL_EVERY_SECONDS = 60.0


@dataclass(frozen=True)
class Kind:
    """How a folder is locked, as locks.json has it.   lease_seconds: None with flock."""

    kind: Literal["flock", "lease"]
    lease_seconds: float | None = None

    def __post_init__(self):
        lasts = isinstance(self.lease_seconds, int | float) and self.lease_seconds > 0
        if self.kind not in ("flock", "lease") or lasts != (self.kind == "lease"):
            raise ValueError(f"kind {self.kind!r} with lease_seconds {self.lease_seconds!r}")


class Locks:
    """The locks of a folder, by name; see the module. OSError, anywhere, if the folder cannot be written."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._kind: Kind | None = None
        self._watched: dict[str, SoftFileLease] = {}  # each remembers since when its file has not been refreshed

    @property
    def kind(self) -> Kind:
        """The kind of this folder, chosen now if it has none. Raises RunError if locks.json cannot be understood."""
        if self._kind is None:
            path = self.folder / FILE
            if not path.exists():
                _record(path, probe(self.folder))
            try:
                self._kind = Kind(**json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise RunError(f"{path} is damaged ({error}); remove it while no `fewscans train` runs") from error
        return self._kind

    def lock(self, name: str) -> BaseFileLock:
        """A lock that is not held yet. `with lock.acquire(blocking=False)` raises filelock.Timeout if another has it.

        On a disk without flock whose locks.json names flock, acquiring it raises OSError; `hold` says what to do.
        """
        if self.kind.kind == "flock":
            (self.folder / f"{name}.lock").touch()
            return FileLock(self.folder / f"{name}.lock", fallback_to_soft=False)
        return SoftFileLease(self.folder / f"{name}.lease", lease_duration=self.kind.lease_seconds)

    @contextmanager
    def hold(self, name: str, wait_seconds: float = 0.0) -> Iterator[BaseFileLock]:
        """Holds a lock, which names its holder to others.

        wait_seconds: how long to wait for another's, with a warning once a minute that says whose it is.
        Raises filelock.Timeout if another still holds it; RunError if this machine lacks the folder's kind of lock.
        """
        lock, until = self.lock(name), time.monotonic() + wait_seconds
        while True:
            try:
                with self._explained():
                    lock.acquire(timeout=min(TELL_EVERY_SECONDS, max(0.0, until - time.monotonic())))
                break
            except Timeout:
                if time.monotonic() >= until:
                    raise
                warnings.warn(f"waiting for {name} in {self.folder}, held by {self.holder(name)}", stacklevel=3)
        try:
            if self.kind.kind == "flock":
                with suppress(OSError):  # to tell others, no more
                    (self.folder / f"{name}.lock").write_text(f"{os.getpid()} {socket.gethostname()}")
            yield lock
        finally:
            lock.release()

    def held(self, name: str) -> bool:
        """Whether another holds it now. A lease counts as free once it was seen unrefreshed by this object, over
        several calls, for as long as leases last here, or at once if its holder was of this machine and is dead.
        """
        lock = self.lock(name)
        if self.kind.kind == "lease":
            if not os.path.lexists(lock.lock_file):
                self._watched.pop(name, None)
                return False
            lock = self._watched.setdefault(name, lock)
        try:
            with self._explained(), lock.acquire(blocking=False):
                return False
        except Timeout:
            return True

    def holder(self, name: str) -> str:
        """Who holds it, as far as its file says: "process 12 on node7"."""
        if self.kind.kind == "lease":
            owner = self.lock(name).owner
            return f"process {owner.pid} on {owner.hostname}" if owner else "a process that is gone by now"
        try:
            pid, _, host = (self.folder / f"{name}.lock").read_text().partition(" ")
        except (OSError, ValueError):
            pid = ""
        return f"process {pid} on {host}" if pid.isdecimal() else "a process that does not name itself"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in MISSING:
                raise
            raise RunError(
                f"{self.folder / FILE} says that this folder is locked by flock, and here flock answers "
                f"{error.strerror!r}: another machine mounts this disk otherwise. Remove that file while no `fewscans "
                "train` runs, then start the first one here; or set FEWSCANS_STORE to a folder on another disk"
            ) from error


def probe(folder: Path) -> Kind:
    """The kind of lock that a folder's disk can have, found by trying. Raises OSError if it cannot be written."""
    path = files.partial(folder / "probe")
    path.touch()
    try:
        with FileLock(path, fallback_to_soft=False).acquire(blocking=False):
            return Kind("flock")
    except OSError as error:
        if error.errno not in MISSING:
            raise
        return Kind("lease", LEASE_SECONDS)
    finally:
        path.unlink(missing_ok=True)


def _record(path: Path, kind: Kind) -> None:
    """Writes what was found, whole or not at all; the first of several processes decides for all."""
    fresh = files.partial(path)
    fresh.write_text(json.dumps(asdict(kind)) + "\n", encoding="utf-8")
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    except OSError:  # a disk without hard links
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
