"""Synthetic stand-ins, written in the layout of the public data set they stand for.

The reader and all that follows cannot tell. A verdict on a twin says that the mechanism works in this implementation,
no more.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from fewscans.errors import DataError
from fewscans.twins import luna16_patches, orientation
from fewscans.twins.spec import TwinSpec


class Twin(NamedTuple):
    """How a twin is written, and what it must be told."""

    write: Callable[[Path, TwinSpec], Path]
    spec: type[TwinSpec]


TWINS: Mapping[str, Twin] = {
    "luna16-patches": Twin(luna16_patches.write, TwinSpec),
    "orientation": Twin(orientation.write, TwinSpec),
}


def write(name: str, folder: Path | str, spec: TwinSpec) -> Path:
    """Write a twin into `folder`: the files of its data set's layout, and twin.json, which says what made them.

    An older twin in that folder is replaced, whole, once the new one is finished.
    Returns: the data file.
    Raises:  DataError for an unknown name, or a folder that holds something other than a twin.
    """
    if name not in TWINS:
        raise DataError(f"unknown twin '{name}'; known: {', '.join(TWINS)}")
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "twin.json").is_file():
        raise DataError(f"{folder} holds files that are not a twin; name an empty folder, or remove them")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as room:
        fresh = Path(room) / "new"
        fresh.mkdir()
        file = TWINS[name].write(fresh, spec)
        about = {"twin": name, "layout": "luna16-patches", **dataclasses.asdict(spec)}
        (fresh / "twin.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            os.replace(folder, Path(room) / "old")
        os.replace(fresh, folder)
        shutil.rmtree(Path(room) / "old", ignore_errors=True)
    return folder / file.name
