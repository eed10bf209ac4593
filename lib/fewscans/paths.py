"""Where things lie in the project, found from anywhere inside it; nothing else builds paths into it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from fewscans.errors import FewscansError, ParamsError


def root() -> Path:
    """The project's folder: FEWSCANS_ROOT, else the first upwards of the working directory, or of the package.

    Raises FewscansError if there is none.
    """
    named = os.environ.get("FEWSCANS_ROOT")
    return _root(Path(named) if named else None, Path.cwd())


@lru_cache
def _root(named: Path | None, here: Path) -> Path:
    if named is not None:
        if not (named / "params.yaml").is_file():
            raise FewscansError(f"FEWSCANS_ROOT is {named}, which holds no params.yaml; set it to the project's folder")
        return named.resolve()
    for start in (here, Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
                return folder.resolve()
    raise FewscansError(f"no project found from {here} upwards; run inside a clone, or set FEWSCANS_ROOT to its folder")


def build() -> Path:
    """What can be made again: twins, the run store, prepared notebooks. Not in git."""
    return root() / "build"


def store() -> Path:
    """Finished runs by the hash of all that decides them; FEWSCANS_STORE moves it, for a cluster's shared disk."""
    named = os.environ.get("FEWSCANS_STORE")
    return Path(named).expanduser().resolve() if named else build() / "store"


def runs() -> Path:
    """Prediction tables of this machine. Not in git."""
    return root() / "runs"


def reports() -> Path:
    return root() / "reports"


def published() -> Path:
    """Prediction tables kept in git."""
    return reports() / "published"


def pilots() -> Path:
    """Tables of pilots, on validation cases, kept in git: what was tried before a grid was run."""
    return reports() / "pilots"


def data_root() -> Path:
    """Where the user keeps public data sets: FEWSCANS_DATA_ROOT, else params.yaml's `data_root`.

    The latter is taken from the project's folder, if it is not absolute. Raises ParamsError if it is not a text.
    """
    named = os.environ.get("FEWSCANS_DATA_ROOT")
    if named:
        return Path(named).expanduser().resolve()
    file = root() / "params.yaml"  # this key alone: `params.load` checks every grid, and so imports torch
    value = raw_params().get("data_root")
    if not isinstance(value, str):
        raise ParamsError(f"{file}: data_root must be a folder's name, got {value!r}")
    return (root() / Path(value).expanduser()).resolve()


def raw_params() -> dict:
    """params.yaml as it stands, in a second less than `params.load` takes: its grids are not checked.

    Raises ParamsError for a file that is no YAML or no mapping.
    """
    from fewscans import strictyaml

    file = root() / "params.yaml"
    value = strictyaml.read(file, ParamsError)
    if not isinstance(value, dict):
        raise ParamsError(f"{file}: must be a mapping of keys such as data_root, got {value!r}")
    return value
