"""What a worker process does, from its first moment to its last.

Light on loading: a worker looks after its parent before it imports torch, which takes seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NoReturn

from fewscans.errors import FewscansError, Stopped, of_the_system

REPORT_EVERY_STEPS = 10
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


def begin(connection: Connection) -> None:
    """A worker's life: read the data once, then train run after run.

    It is sent the value of CUDA_VISIBLE_DEVICES (or None), the setting, and runs; None ends it. It answers with pairs:
    ("ready", None) · ("broken", why it cannot start) · ("step", share of the run done since the last) ·
    ("warning", text) · ("trained" | "found" | "held", None) · ("failed", why) · ("stopped", why).

    A signal to stop ends it: at once while it waits or reads data, else after the present step, whose state is saved.
    """
    end_with_parent()
    told = _Told()
    warnings.showwarning = lambda message, *_, **__: connection.send(("warning", str(message)))
    try:
        gpu = connection.recv()
        if gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS is not deterministic
        setting = connection.recv()  # imports what it is made of
        import torch

        from fewscans.sweep.onerun import Context

        torch.set_num_threads(setting.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        context = Context(setting)
    except FewscansError as error:
        connection.send(("broken", str(error)))
        return
    except Exception:
        connection.send(("broken", f"a worker could not start:\n{traceback.format_exc(limit=-4).strip()}"))
        return
    connection.send(("ready", None))
    while (run := _next(connection)) is not None:
        with told.later():
            connection.send(attempt(context, run, lambda share: connection.send(("step", share)), told.stop))


def attempt(context, run, tell: Callable[[float], None], stop: Callable[[], None]) -> tuple[str, str | None]:
    """Trains one run: how it ended, and why if it failed or was stopped.

    tell: is given shares of the run as they are done.   stop: called after each step; raises Stopped to end it.
    """
    from fewscans.sweep.onerun import train_one

    try:
        total = context.experiment.steps(run, context.setting.grid)
        return train_one(context, run, _reporter(total, tell, stop)), None
    except FewscansError as error:
        return "failed", str(error)
    except Stopped as error:
        return "stopped", f"told to stop by {error}; what is done of it is saved"
    except OSError as error:
        return "failed", of_the_system(error)
    except Exception:
        return "failed", traceback.format_exc(limit=-4)


class _Told:
    """Hears signals to stop: raises SystemExit at once, or within `later` keeps `signal` for the training to see."""

    def __init__(self):
        self.signal: str | None = None
        self.training = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._hear)

    def _hear(self, number: int, _) -> None:
        self.signal = signal.Signals(number).name
        if not self.training:
            _end()

    def stop(self) -> None:
        """Raises Stopped if a signal came."""
        if self.signal is not None:
            raise Stopped(self.signal)

    @contextmanager
    def later(self) -> Iterator[None]:
        self.training = True
        yield
        self.training = False
        if self.signal is not None:
            _end()


def deaf() -> None:
    """From here on a signal to stop raises nothing, such as the one that the sweep sends to all it ends.

    By a handler that does nothing: of a signal that comes just as SIG_IGN is set, Python prints a traceback. In its
    last moments Python takes the handler away; a signal then ends the process at once, without a word.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)


def _end() -> NoReturn:
    deaf()
    sys.exit()


def end_with_parent() -> None:
    """A thread that ends this process the moment its parent is gone, even by `kill -9`."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _next(connection: Connection):
    try:
        return connection.recv()
    except EOFError:
        return None


def _reporter(total: int, tell: Callable[[float], None], stop: Callable[[], None]) -> Callable[[int], None]:
    """Tells now and then what share of the run was done since it was last told; then calls `stop`."""
    counted = 0

    def on_step(steps: int) -> None:
        nonlocal counted
        counted += steps
        if counted >= REPORT_EVERY_STEPS or counted >= total:
            tell(counted / total)
            counted = 0
        stop()

    return on_step
