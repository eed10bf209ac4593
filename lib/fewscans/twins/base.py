"""What every twin is: a way to write it, and settings that check themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from fewscans.errors import DataError


class Twin(NamedTuple):
    """How a twin is written, its settings, and whose layout it has.

    write: writes it into a folder that exists.   spec: its subclass of `Spec`.   layout: the data set whose reader
    reads it.
    """

    write: Callable[[Path, Any], Path]
    spec: type[Spec]
    layout: str


@dataclass(frozen=True)
class Spec:
    """A twin's settings; each field says by `whole`, `between` or `one_of` what it may be.

    Raises:  DataError naming a setting that is something else.
    """

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, (fits, words) = getattr(self, setting.name), setting.metadata["may be"]
            if isinstance(value, bool) or not fits(value):
                raise DataError(f"twin: {setting.name} is {value!r}; it must be {words}")


def whole(low: int, high: int) -> Any:
    """A whole number from low to high."""
    words = f"a whole number from {low} to {high}"
    return field(metadata={"may be": (lambda value: isinstance(value, int) and low <= value <= high, words)})


def between(low: float, high: float) -> Any:
    """A number strictly between low and high."""
    words = f"a number between {low} and {high}"
    return field(metadata={"may be": (lambda value: isinstance(value, int | float) and low < value < high, words)})


def one_of(known: Iterable[str]) -> Any:
    """One of some words."""
    words = f"one of {', '.join(known)}"
    return field(metadata={"may be": (lambda value: isinstance(value, str) and value in known, words)})


def seed() -> Any:
    """What decides everything that is drawn."""
    return whole(0, 2**63)


def in_processes(function: Callable, jobs: Sequence, worth: int, processes: int | None) -> list:
    """[function(job) for job in jobs], by several processes where there are enough jobs.

    Args:    worth: how many jobs make another process worth its start.   processes: at most; None: one a core.
    """
    workers = min(processes or os.cpu_count() or 1, max(1, len(jobs) // worth))
    if workers == 1:
        return [function(job) for job in jobs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(function, jobs))
