"""How a command ends that is told to: by a cluster's signal, or with the pipeline that started it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewscans.errors import Stopped

PARENT_POLL_SECONDS = 0.5


@contextmanager
def told_to_stop() -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1, which clusters send, raise Stopped: once, and never while all is being saved."""
    from fewscans.sweep.worker import STOP_SIGNALS, deaf

    def told(number: int, _) -> None:
        deaf()
        raise Stopped(signal.Signals(number).name)

    before = {one: signal.signal(one, told) for one in STOP_SIGNALS}
    try:
        yield
    except SystemError as error:  # Ray hears signals inside its own calls, and wraps what is raised there
        if isinstance(error.__cause__, Stopped | KeyboardInterrupt):
            raise error.__cause__ from None
        raise
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def end_with_pipeline() -> None:
    """Under DVC: end when it does. `kill -9` on `dvc repro` leaves its commands running, beside the next one's.

    All processes between this one and DVC are watched, shells among them: the command may be one of a chain.
    """
    if "DVC_STAGE" not in os.environ:
        return
    started_by = up_to_dvc()

    def watch() -> None:
        while up_to_dvc() == started_by:
            time.sleep(PARENT_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def up_to_dvc() -> list[int]:
    """This process's parent, its parent and so on, up to the first without DVC_STAGE in its environment: DVC itself.

    The parent alone where the system does not show other processes (no /proc).
    """
    found = [os.getppid()]
    while found[-1] > 1:
        process = Path("/proc") / str(found[-1])
        try:
            if b"\0DVC_STAGE=" not in b"\0" + (process / "environ").read_bytes():
                break
            # pid (name) state parent ..., where the name may hold spaces and brackets
            found.append(int((process / "stat").read_text().rpartition(")")[2].split()[1]))
        except (OSError, ValueError):
            break
    return found
