"""Every data set, found by its name: "luna16-patches" is the record of `fewscans.data.luna16_patches`.

A new reader is a new module that ends in `DATASET`; nothing here changes. A twin (fewscans.twins) is written in its
layout and goes through the same reader. A user's own sets, which `fewscans data add` adds to the project, are found
by their names as well (`own`); no name of theirs is one of the library's.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

import fewscans.data
from fewscans.data.base import Dataset
from fewscans.errors import DataError


@cache
def names() -> tuple[str, ...]:
    """All data sets of the library, controls included, in alphabetical order."""
    modules = [info.name for info in pkgutil.iter_modules(fewscans.data.__path__) if not info.ispkg]
    files = {name: Path(fewscans.data.__path__[0]) / f"{name}.py" for name in modules}
    return tuple(
        name.replace("_", "-") for name, file in files.items() if "\nDATASET = " in file.read_text(encoding="utf-8")
    )


def public() -> list[Dataset]:
    """The records of the public data sets, without our own controls."""
    return [entry for entry in map(dataset, names()) if not entry.control]


def module_of(name: str) -> str:
    """The module that reads a data set. Raises DataError listing the known ones."""
    if name not in names():
        from fewscans.data import own  # only for a name that is not one of the library's

        if name in own.names():
            return own.__name__
        known = ", ".join((*names(), *own.names()))
        raise DataError(f"unknown data set '{name}'; known: {known}; `fewscans data add` adds one of yours")
    return f"fewscans.data.{name.replace('-', '_')}"


def dataset(name: str) -> Dataset:
    """The record of a data set. Raises DataError listing the known ones."""
    module = importlib.import_module(module_of(name))
    return module.DATASET if name in names() else module.load(name).record()


def home(name: str, root: Path | str) -> Path:
    """The folder under `root` where a copy of the data set belongs."""
    return Path(root) / (dataset(name).folder or name)


def find(name: str, root: Path | str) -> Path:
    """A data set's file, or folder where it is one, under `root`: in `home`, or else in any folder directly in root.

    A folder of the data set's name passes with any of its marks, so that a copy half downloaded is found and `verify`
    can say what it lacks; a folder of another name needs all marks.
    Folders that cannot be looked into are passed over.
    Raises:  DataError if there is none, with what to download and where to put it.
    """
    entry, root = dataset(name), Path(root)
    if name not in names():
        return importlib.import_module(module_of(name)).find(name)
    if entry.control:
        raise DataError(f"'{name}' is no public data set; `fewscans twin {name}` writes it")
    marks = entry.marks or ((entry.file,),)
    folders = [home(name, root), *sorted(p for p in _listed(root) if _there(p / "."))]
    for wanted in (all, any):
        for folder in folders if wanted is all else folders[:1]:
            if wanted(any(_there(folder / place) for place in places) for places in marks):
                return folder / entry.file
    what = " with ".join(places[0] for places in marks)
    why = f"{what} is in none of its folders" if root.is_dir() else "there is no such folder"
    raise DataError(
        f"data set '{name}' is not under {root} ({why}). Get {entry.source}; put it at "
        f"{home(name, root) / entry.file}, or set data_root in params.yaml or FEWSCANS_DATA_ROOT to the folder that "
        "holds your data sets"
    )


def _listed(root: Path) -> list[Path]:
    try:
        return list(root.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"{root}: cannot be looked into ({error.strerror}); make it readable, or name another"
        ) from error


def _there(place: Path) -> bool:
    """Whether it exists, as far as one may look: a disk's lost+found is root's alone."""
    try:
        return place.exists()
    except OSError:
        return False


def share_patients(one: str, other: str) -> bool:
    """Whether two data sets may show the same people."""
    people = dataset(one).people
    return bool(people) and people == dataset(other).people
