"""The engine for clusters that Ray joins: an actor a slot, each of which trains run after run on its node.

Nodes share a disk with project, data and run store; nothing but settings and outcomes travels, and nothing is put into
Ray's object store. Ray is an extra: pip install 'fewscans[cluster]'. docs/cluster.md says how nodes are joined.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from fewscans import paths
from fewscans.data.base import first_line
from fewscans.errors import FewscansError, RunError, Stopped
from fewscans.experiments.base import Run
from fewscans.sweep.engine import ALLOCATOR, STOP_SECONDS, Outcome
from fewscans.sweep.onerun import Setting
from fewscans.sweep.worker import STOP_SIGNALS

POLL_SECONDS = 0.5
PLACE_SECONDS = 600.0  # for the cluster to find a place for the first actor
JOIN_SECONDS, START_SECONDS = 120.0, 300.0  # for a cluster to answer, or to be started here
PATIENCE = {"RAY_agent_register_timeout_ms": "300000", "RAY_worker_register_timeout_seconds": "300"}
STORE_BYTES = 80 * 2**20  # Ray's least


class RayEngine:
    """Actors on the nodes of a Ray cluster, or on this machine.

    address: of a running cluster ("auto" finds this machine's); None starts one here, which ends with this process.
    slots: actors; else as many as the cluster has room for.   cpus, gpus: what each takes; half a GPU puts two on one.
    An actor that dies fails its run alone and is replaced. Raises RunError if Ray is not there, or has no such room.
    """

    def __init__(self, address: str | None = None, slots: int | None = None, cpus: float = 1, gpus: float = 0):
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError as error:
            raise RunError(f"--engine ray: Ray does not import ({error}); pip install 'fewscans[cluster]'") from error
        self.ray, self.cpus, self.gpus, self.own = ray, cpus, gpus, address is None
        started = {"num_cpus": _cores(), "object_store_memory": STORE_BYTES, "include_dashboard": False}
        variables = {k: v for k, v in os.environ.items() if k.startswith("FEWSCANS_")} | ALLOCATOR
        variables |= {"FEWSCANS_ROOT": str(paths.root()), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        variables |= {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_NUM_THREADS": str(max(1, int(cpus)))}
        if self.own:  # a busy machine: Ray waits 30 s for its own parts, then ends this process without a word
            for name, value in PATIENCE.items():
                os.environ.setdefault(name, value)
        settings = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        settings |= {"runtime_env": {"env_vars": variables}} | (started if self.own else {})
        self.ended = threading.Event()
        self._begin(address, settings)
        try:
            self.slots = slots or self._room()
        except BaseException:
            self.close()
            raise

    def _begin(self, address: str | None, settings: dict) -> None:
        """Joins a cluster or starts one, in a thread of its own: in the main one Ray takes over SIGTERM, and loses
        what a signal raises inside its calls. The thread stays, as what it started ends with it.
        """
        begun, faults = threading.Event(), []

        def begin() -> None:
            try:
                self.ray.init(address or "local", **settings)
            except BaseException as error:  # whatever keeps it from a cluster
                faults.append(first_line(error))
            begun.set()
            self.ended.wait()

        threading.Thread(target=begin, daemon=True).start()
        where, bound = ("this machine", START_SECONDS) if self.own else (address, JOIN_SECONDS)
        try:
            if not begun.wait(bound):
                faults.append(f"none answered within {bound:.0f} s")
        except BaseException:  # told to stop: a cluster that is half started cannot be ended
            if begun.wait(STOP_SECONDS):
                self.close()
            raise
        for one in STOP_SIGNALS:  # Ray's own handlers, below those of Python, end in abort()
            if signal.getsignal(one) is not None:
                signal.signal(one, signal.getsignal(one))
        if faults:
            self.ended.set()
            raise RunError(f"--engine ray: no cluster at {where} ({faults[0]}); see docs/cluster.md")

    def close(self) -> None:
        """Leaves the cluster; ends it, if it was started here."""
        self.ray.shutdown()
        self.ended.set()

    def _room(self) -> int:
        """How many actors fit now, node by node."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        rooms = [
            min(int(node.get(kind, 0) / share) for kind, share in (("CPU", self.cpus), ("GPU", self.gpus)) if share)
            for node in nodes
        ]
        if not sum(rooms):
            told = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
            raise RunError(f"no node has room for {self.cpus:g} CPUs and {self.gpus:g} GPUs; the cluster has {told}")
        return sum(rooms)

    def map(
        self, setting: Setting, runs: Sequence[Run], on_progress: Callable[[Run, float], None]
    ) -> Generator[Outcome, None, None]:
        queue = list(reversed(runs))
        slots: list[_Slot] = []
        kind = self.ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_task_retries=0, max_concurrency=2
        )(Trainer)
        last = time.monotonic()

        def start() -> None:
            actor = kind.remote(setting)
            slots.append(_Slot(actor, actor.begin.remote()))

        try:
            for _ in range(min(self.slots, len(runs))):
                start()
            while queue or any(slot.run for slot in slots):
                ready, _ = self.ray.wait([slot.task for slot in slots], timeout=POLL_SECONDS)
                if not ready:
                    if not any(slot.run for slot in slots) and time.monotonic() - last > PLACE_SECONDS:
                        raise RunError(f"no actor found a place in {PLACE_SECONDS / 60:.0f} minutes; see `ray status`")
                    self._progress(slots, on_progress)
                    continue
                slot = next(slot for slot in slots if slot.task == ready[0])
                slots.remove(slot)
                last = time.monotonic()
                run, outcome = slot.run, None
                try:
                    state, text, told = self.ray.get(slot.task)
                except self.ray.exceptions.RayError as error:  # the actor is dead: killed, out of memory, or its node
                    run = run or (queue.pop() if queue else None)
                    outcome = Outcome(run, "failed", f"its actor died: {first_line(error)}") if run else None
                    if queue:
                        start()
                else:
                    for warning in told:
                        warnings.warn(warning, stacklevel=2)
                    if state == "broken":
                        raise RunError(text)
                    if run is not None:
                        outcome = Outcome(run, "failed" if state == "stopped" else state, text)
                    if queue:
                        following = queue.pop()
                        slots.append(_Slot(slot.actor, slot.actor.train.remote(following), following))
                    else:
                        self.ray.kill(slot.actor)
                if outcome is not None:
                    yield outcome
        finally:
            self._end(slots)

    def _progress(self, slots: Sequence[_Slot], on_progress: Callable[[Run, float], None]) -> None:
        """Asks each actor what share of its run was done since it was last asked."""
        for slot in slots:
            if slot.run is None:
                continue
            if slot.asked is None:
                slot.asked = slot.actor.share.remote()
            elif self.ray.wait([slot.asked], timeout=0)[0]:
                asked, slot.asked = slot.asked, None
                try:
                    on_progress(slot.run, self.ray.get(asked))
                except self.ray.exceptions.RayError:  # dead; its task says so
                    continue

    def _end(self, slots: Sequence[_Slot]) -> None:
        """Tells actors to stop, so that each saves its run and frees its lock; ends those that do not in time."""
        if not slots or not self.ray.is_initialized():
            return
        at_work = [slot for slot in slots if slot.run is not None]
        for slot in at_work:
            slot.actor.stop.remote()
        if at_work:
            self.ray.wait([slot.task for slot in at_work], num_returns=len(at_work), timeout=STOP_SECONDS)
        for slot in slots:
            self.ray.kill(slot.actor)


@dataclass(eq=False)
class _Slot:
    """An actor, what it was last asked to do, and the run if that is one."""

    actor: object
    task: object
    run: Run | None = None
    asked: object = None


class Trainer:
    """What lives in an actor: reads the data once, then trains run after run, each in a thread of its own turn.

    Every answer is (state, text, warnings), states as a worker's: "ready", "broken", "trained", "found", "held",
    "failed", "stopped".
    """

    def __init__(self, setting: Setting):
        self.setting, self.context = setting, None
        self.told = threading.Event()
        self.done = 0.0

    def begin(self) -> tuple[str, str | None, list[str]]:
        import torch

        from fewscans.sweep.onerun import Context

        def reads() -> tuple[str, str | None]:
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.set_num_threads(self.setting.threads)
            try:
                self.context = Context(self.setting)
            except FewscansError as error:
                return "broken", str(error)
            except Exception:
                return "broken", f"an actor could not start:\n{traceback.format_exc(limit=-4).strip()}"
            return "ready", None

        return self._listening(reads)

    def train(self, run: Run) -> tuple[str, str | None, list[str]]:
        import torch

        from fewscans.sweep.worker import attempt

        def trains() -> tuple[str, str | None]:
            torch.set_num_threads(self.setting.threads)  # of this thread, which need not be the one that read
            return attempt(self.context, run, self._add, self._stop)

        self.done = 0.0
        return self._listening(trains)

    def share(self) -> float:
        """What share of the run was done since this was last asked."""
        done, self.done = self.done, 0.0
        return done

    def stop(self) -> None:
        self.told.set()

    def _add(self, share: float) -> None:
        self.done += share

    def _stop(self) -> None:
        if self.told.is_set():
            raise Stopped("the engine")

    @staticmethod
    def _listening(work: Callable[[], tuple[str, str | None]]) -> tuple[str, str | None, list[str]]:
        told: list[str] = []
        warnings.showwarning = lambda message, *_, **__: told.append(str(message))
        return *work(), told


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
