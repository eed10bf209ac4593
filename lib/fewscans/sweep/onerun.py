"""One run, from its setting to the store: the piece that every engine executes, wherever it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import filelock
import torch

from fewscans import closure, experiments, paths, store
from fewscans.errors import RunError
from fewscans.experiments.base import Entry, Run


@dataclass(frozen=True)
class Setting:
    """What all runs of a sweep share: experiment and grid, where data and store are, device, threads per run.

    profile: which part of params.yaml the grid is; it decides no run.   code, data: the fingerprints that a sweep began
    with; a process that finds others must not train for it.
    """

    name: str
    experiment: str
    dataset: str
    grid: object
    data_path: Path
    store_folder: Path
    device: str
    threads: int = 1
    profile: str | None = None
    code: str | None = None
    data: str | None = None


class Context:
    """A setting with its data read and its hashes made, once per process.

    Raises RunError if the setting names fingerprints and code or data have others by now.
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        self.experiment = experiments.get(setting.experiment)
        self.data = self.experiment.read(setting.dataset, setting.data_path, setting.grid, paths.build())
        self.store = store.Store(setting.store_folder)
        self.code = closure.fingerprint(self.experiment.code(setting.dataset))
        for what, began, now in (
            (f"the code of {setting.experiment}", setting.code, self.code),
            (f"{setting.data_path}", setting.data, self.data.fingerprint),
        ):
            if began not in (None, now):
                raise RunError(
                    f"{what} changed while {setting.name} was running; start it again (what is finished is kept)"
                )

    def key(self, run: Run) -> str:
        decides = self.experiment.decides(run, self.setting.grid)
        decides |= {"experiment": self.setting.experiment, "data": self.data.fingerprint, "code": self.code}
        return store.key(decides | {"device": self.setting.device, "threads": self.setting.threads})


def train_one(context: Context, run: Run, on_step: Callable[[int], None]) -> Literal["trained", "found", "held"]:
    """Trains one run into the store, in this process; unless it is there by now, or another process holds it.

    Where locks are leases, another may have taken the run over meanwhile. Its entry then counts, and a failure here
    that came of that, such as a checkpoint which is gone, does not.
    """
    setting, room, key = context.setting, context.store, context.key(run)
    try:
        with room.hold(key):
            if room.get(key) is not None:  # finished since the plan was made
                return "found"
            if not room.leased:
                room.tidy(key)
            device, checkpoint = torch.device(setting.device), room.checkpoint_path(key)
            try:
                entry, weights = context.experiment.train_run(
                    run, setting.grid, context.data, device, checkpoint, on_step
                )
            except Exception:
                if not room.leased or room.get(key) is None:
                    raise
            if room.leased and room.get(key) is not None:
                return "found"
            record = asdict(run) | entry.record | {
                "run": setting.name, "key": key, "code": context.code, "data": context.data.fingerprint,
                "device": _device_name(setting.device), "threads": setting.threads,
                "torch": torch.__version__.split("+")[0],
            }  # fmt: skip
            room.put(key, Entry(entry.predictions, entry.history, record), weights)
            return "trained"
    except filelock.Timeout:
        return "held"


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
