"""One run, from its setting to the store: the piece that every engine executes, wherever it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import torch

from fewscans import experiments, store
from fewscans.errors import RunError
from fewscans.experiments import Run


@dataclass(frozen=True)
class Setting:
    """What all runs of a sweep share: the experiment and its grid, where the data and the store are, device and threads per run."""

    name: str
    experiment: str
    grid: object
    data_path: Path
    store_folder: Path
    device: str
    threads: int = 1


class Context:
    """A setting with its data read and its hashes made, once per process."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.experiment = experiments.get(setting.experiment)
        self.data = self.experiment.read(setting.data_path)
        self.store = store.Store(setting.store_folder)
        self.code = store.code_fingerprint(self.experiment.CODE)

    def key(self, run: Run) -> str:
        decides = self.experiment.decides(run, self.setting.grid)
        decides |= {"experiment": self.setting.experiment, "data": self.data.fingerprint, "code": self.code}
        return store.key(decides | {"device": self.setting.device, "threads": self.setting.threads})


def train_one(context: Context, run: Run, on_step: Callable[[int], None]) -> bool:
    """Trains one run into the store, in this process; False if another process holds it."""
    setting, key = context.setting, context.key(run)
    lock = context.store.lock(key)
    try:
        with lock.acquire(blocking=False):
            if context.store.get(key) is not None:  # finished since the plan was made
                return True
            entry, weights = context.experiment.train_run(
                run,
                setting.grid,
                context.data,
                torch.device(setting.device),
                context.store.checkpoint_path(key),
                on_step,
            )
            record = asdict(run) | entry.record | {
                "run": setting.name, "key": key, "code": context.code, "data": context.data.fingerprint,
                "device": _device_name(setting.device), "threads": setting.threads, "torch": torch.__version__.split("+")[0],
            }  # fmt: skip
            context.store.put(key, store.Entry(entry.predictions, entry.history, record), weights)
            return True
    except filelock.Timeout:
        return False


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def find_device(wanted: str = "auto") -> str:
    """ "cuda" where there is one, else "cpu", unless named. RunError if the one named is not there."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted not in ("cpu", "cuda"):
        raise RunError(f"unknown device {wanted!r}; it is auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RunError("device cuda was asked for, but torch sees none; see `fewscans doctor`")
    return wanted
