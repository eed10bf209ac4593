"""What a worker process does, from its first moment to its last.

Light on loading: a worker looks after its parent before it imports torch, which takes seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection

from fewscans.errors import FewscansError

REPORT_EVERY_STEPS = 10


def begin(connection: Connection) -> None:
    """A worker's life: read the data once, then train run after run.

    It is sent the value of CUDA_VISIBLE_DEVICES (or None), the setting, and runs; None ends it. It answers with pairs:
    ("ready", None) · ("broken", why it cannot start) · ("step", share of the run done since the last) ·
    ("warning", text) · ("trained" | "found" | "held", None) · ("failed", why).
    """
    end_with_parent()
    warnings.showwarning = lambda message, *_, **__: connection.send(("warning", str(message)))
    try:
        gpu = connection.recv()
        if gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS is not deterministic
        setting = connection.recv()  # imports what it is made of
        import torch

        from fewscans.sweep.onerun import Context, train_one

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
        try:
            total = context.experiment.steps(run, setting.grid)
            connection.send((train_one(context, run, _reporter(total, connection)), None))
        except FewscansError as error:
            connection.send(("failed", str(error)))
        except Exception:
            connection.send(("failed", traceback.format_exc(limit=-4)))


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


def _reporter(total: int, connection: Connection) -> Callable[[int], None]:
    """Tells the parent now and then what share of the run was done since it was last told."""
    counted = 0

    def on_step(steps: int) -> None:
        nonlocal counted
        counted += steps
        if counted >= REPORT_EVERY_STEPS or counted >= total:
            connection.send(("step", counted / total))
            counted = 0

    return on_step
