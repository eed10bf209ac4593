"""Where runs are executed: the one narrow seam behind which a cluster's engine would go.

`Engine.map(setting, runs, on_progress)` yields an outcome per run, in order of finishing. `LocalEngine` keeps a worker
process per slot (a core's worth of threads, or a GPU) and survives the death of any of them; a worker ends with its
parent, however that one died. An engine that is closed tells its workers to stop: they save their runs and free their
locks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Literal, Protocol

import torch

from fewscans.errors import RunError
from fewscans.experiments.base import Run
from fewscans.sweep.onerun import Setting
from fewscans.sweep.worker import begin

STOP_SECONDS = 20.0  # for a worker to save its run; Slurm grants 30 s between SIGTERM and SIGKILL
# glibc: keep large blocks instead of handing them back after every step; saves 5-10 % of a step on a CPU, ignored
# elsewhere
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


@dataclass(frozen=True)
class Outcome:
    """One run's end: trained, found in the store after all, held by another process, or failed (`error` says how)."""

    run: Run
    state: Literal["trained", "found", "held", "failed"]
    error: str | None = None


class Engine(Protocol):
    """map: a generator, which ends what it started when it is closed. Raises RunError where no run could succeed."""

    def map(
        self, setting: Setting, runs: Sequence[Run], on_progress: Callable[[Run, float], None]
    ) -> Generator[Outcome, None, None]: ...


@dataclass(frozen=True)
class Slot:
    """One place to train: the value of CUDA_VISIBLE_DEVICES, or None on a CPU."""

    gpu: str | None = None


def default_slots(device: str, threads: int) -> list[Slot]:
    """One per visible GPU, or as many as the cores allow."""
    if device.startswith("cuda"):
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
        return [Slot(gpu) for gpu in gpus]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [Slot()] * max(1, cores // threads)


class LocalEngine:
    """Worker processes on this machine, one per slot.

    A worker that dies fails its run alone and is replaced. One that cannot even start, for code, data or packages that
    every worker would meet, ends the sweep with its error.
    """

    def __init__(self, slots: Sequence[Slot]):
        self.slots = list(slots)

    def map(
        self, setting: Setting, runs: Sequence[Run], on_progress: Callable[[Run, float], None]
    ) -> Generator[Outcome, None, None]:
        queue = list(reversed(runs))
        workers: dict[Connection, _Worker] = {}

        def start(slot: Slot) -> None:
            worker = _Worker(setting, slot)
            workers[worker.connection] = worker

        def go_on(worker: _Worker) -> None:
            if queue:
                worker.give(queue.pop())
            else:
                worker.stop()
                del workers[worker.connection]

        try:
            for slot in self.slots[: len(runs)]:
                start(slot)
            while workers:
                for connection in wait(list(workers)):
                    worker = workers[connection]
                    try:
                        kind, value = connection.recv()
                    except (EOFError, OSError):  # the process is gone: killed, out of memory, or never got so far
                        worker.process.join()
                        if worker.run is None and worker.process.exitcode > 0:
                            raise RunError(
                                f"a worker {_ending(worker)} before its first run; what it printed stands above"
                            ) from None
                        kind, value = "stopped", f"its process {_ending(worker)}"
                    if kind == "stopped":
                        del workers[connection]
                        lost = worker.run or (queue.pop() if queue else None)
                        if queue:
                            start(worker.slot)
                        if lost is not None:
                            yield Outcome(lost, "failed", value)
                    elif kind == "step":
                        on_progress(worker.run, value)
                    elif kind == "warning":
                        warnings.warn(value, stacklevel=2)
                    elif kind == "broken":
                        raise RunError(value)
                    elif kind == "ready":
                        go_on(worker)
                    else:
                        finished = worker.run
                        go_on(worker)
                        yield Outcome(finished, kind, value)
        finally:
            for worker in workers.values():
                worker.process.terminate()
            until = time.monotonic() + STOP_SECONDS
            for worker in workers.values():
                worker.process.join(max(0.0, until - time.monotonic()))
                worker.process.kill()
                worker.process.join()


class _Worker:
    def __init__(self, setting: Setting, slot: Slot):
        context = multiprocessing.get_context("spawn")
        for name, value in ALLOCATOR.items():
            os.environ.setdefault(name, value)
        self.slot = slot
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=begin, args=(theirs,), daemon=True)
        with _deaf_to_interrupts():
            self.process.start()
        theirs.close()
        self.run: Run | None = None
        self._send(slot.gpu)
        self._send(setting)

    def give(self, run: Run) -> None:
        self.run = run
        self._send(run)

    def stop(self) -> None:
        self._send(None)
        self.process.join()
        self.connection.close()

    def _send(self, value: object) -> None:
        try:
            self.connection.send(value)
        except BrokenPipeError:
            pass  # the worker is dead; the next receive says so


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, which a terminal sends to all; the sweep ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would lift the mask as it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(worker: _Worker) -> str:
    code = worker.process.exitcode
    if code >= 0:
        return f"ended with exit code {code}"
    hint = "; often the system, short of memory" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"
