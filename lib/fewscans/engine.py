"""Where runs are executed: the one narrow seam behind which a cluster's engine would go.

`Engine.map(setting, runs, on_progress)` yields an outcome per run, as they come. `LocalEngine` keeps one worker process per slot (a core's
worth of threads, or a GPU) and survives the death of any of them; a worker ends with its parent, however that one died.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Protocol

import torch

from fewscans.experiments import Run
from fewscans.onerun import Context, Setting, train_one

REPORT_EVERY_STEPS = 10
# glibc: keep large blocks instead of handing them back after every step; saves 5-10 % of a step on a CPU, ignored elsewhere
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


@dataclass(frozen=True)
class Outcome:
    """One run's end: done, or held by another process (not done, no error), or failed with a traceback."""

    run: Run
    done: bool
    error: str | None = None


class Engine(Protocol):
    def map(
        self, setting: Setting, runs: Sequence[Run], on_progress: Callable[[Run, float], None]
    ) -> Iterator[Outcome]: ...


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
    """Worker processes on this machine, one per slot."""

    def __init__(self, slots: Sequence[Slot]):
        self.slots = list(slots)

    def map(
        self, setting: Setting, runs: Sequence[Run], on_progress: Callable[[Run, float], None]
    ) -> Iterator[Outcome]:
        queue = list(reversed(runs))
        workers: dict[Connection, _Worker] = {}
        try:
            for slot in self.slots[: len(runs)]:
                worker = _Worker(setting, slot)
                workers[worker.connection] = worker
                worker.give(queue.pop())
            while workers:
                for connection in wait(list(workers)):
                    worker = workers[connection]
                    try:
                        kind, value = connection.recv()
                    except (EOFError, OSError):  # the process is gone: killed, or out of memory
                        worker.process.join()
                        del workers[connection]
                        error = f"its process ended with exit code {worker.process.exitcode}; a negative one is a signal, -9 often memory"
                        yield Outcome(worker.run, False, error)
                        if queue:
                            worker = _Worker(setting, worker.slot)
                            workers[worker.connection] = worker
                            worker.give(queue.pop())
                        continue
                    if kind == "step":
                        on_progress(worker.run, value)
                        continue
                    finished = worker.run
                    if queue:
                        worker.give(queue.pop())
                    else:
                        worker.stop()
                        del workers[connection]
                    yield Outcome(finished, kind == "done", value if kind == "failed" else None)
        finally:
            for worker in workers.values():
                worker.process.kill()
                worker.process.join()


class _Worker:
    def __init__(self, setting: Setting, slot: Slot):
        context = multiprocessing.get_context("spawn")
        for name, value in ALLOCATOR.items():
            os.environ.setdefault(name, value)
        self.slot = slot
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, setting, slot), daemon=True)
        self.process.start()
        theirs.close()
        self.run: Run | None = None

    def give(self, run: Run) -> None:
        self.run = run
        try:
            self.connection.send(run)
        except BrokenPipeError:
            pass  # the worker died before it was given anything; the next receive says so

    def stop(self) -> None:
        try:
            self.connection.send(None)
        except BrokenPipeError:
            pass
        self.process.join()
        self.connection.close()


def end_with_parent() -> None:
    """In a worker: a thread that ends this process the moment its parent is gone, even by `kill -9`."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(connection: Connection, setting: Setting, slot: Slot) -> None:
    """A worker's life: read the data once, then train run after run."""
    end_with_parent()
    if slot.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpu
    torch.set_num_threads(setting.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    context = Context(setting)
    while True:
        try:
            run = connection.recv()
        except EOFError:
            return
        if run is None:
            return
        total, counted = context.experiment.steps(run, setting.grid), 0

        def on_step(steps: int, total: int = total) -> None:
            nonlocal counted
            counted += steps
            if counted >= REPORT_EVERY_STEPS or counted >= total:
                connection.send(("step", counted / total))
                counted = 0

        try:
            done = train_one(context, run, on_step)
        except Exception:
            connection.send(("failed", traceback.format_exc(limit=-4)))
        else:
            connection.send(("done" if done else "held", None))
