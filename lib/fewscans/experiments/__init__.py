"""The replicated results, found by name: "gcnn" is the experiment of `fewscans.experiments.gcnn`.

A new result is a new module or folder that ends in `EXPERIMENT`; nothing here changes. A user's own networks are arms
of those that take them (`own_arms`).
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fewscans.errors import ParamsError

if TYPE_CHECKING:
    from fewscans.experiments.base import Experiment


@cache
def names() -> tuple[str, ...]:
    """All experiments, in alphabetical order."""
    folder = Path(__file__).parent
    files = {path.stem: path for path in folder.glob("*.py")} | {p.parent.name: p for p in folder.glob("*/__init__.py")}
    return tuple(sorted(n for n, path in files.items() if "\nEXPERIMENT = " in path.read_text(encoding="utf-8")))


def get(name: str) -> Experiment:
    """The experiment of that name; ParamsError for an unknown one."""
    if name not in names():
        raise ParamsError(f"unknown experiment {name!r}; known: {', '.join(names())}")
    from fewscans.experiments import own_arms  # imports torch, which whoever asks for names alone does not need

    experiment = importlib.import_module(f"{__name__}.{name}").EXPERIMENT
    own_arms.extend(experiment)
    return experiment
