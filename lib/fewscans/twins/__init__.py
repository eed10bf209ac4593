"""Synthetic stand-ins, written in the layout of the public data set they stand for.

The reader and all that follows cannot tell. A verdict on a twin says that the mechanism works in this implementation,
no more. A new twin is a new module that ends in `TWIN`; nothing here changes.
"""

import dataclasses
import importlib
import json
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fewscans.errors import DataError
from fewscans.twins.base import Spec, Twin


@cache
def names() -> tuple[str, ...]:
    """All twins, in alphabetical order."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(f.stem.replace("_", "-") for f in files if "\nTWIN = " in f.read_text(encoding="utf-8"))


def twin(name: str) -> Twin:
    """The twin of that name. Raises DataError listing the known ones."""
    if name not in names():
        raise DataError(f"unknown twin '{name}'; known: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").TWIN


def spec(name: str, settings: Mapping) -> Spec:
    """A twin's settings, as params.yaml gives them, checked.

    Raises:  DataError for an unknown twin, an unknown or missing setting, an impossible value.
    """
    kind = twin(name).spec
    known = [field.name for field in dataclasses.fields(kind)]
    for what, keys in (("unknown setting", set(settings) - set(known)), ("no", set(known) - set(settings))):
        if keys:
            raise DataError(f"twin '{name}' has {what} {', '.join(sorted(keys))}; its settings are {', '.join(known)}")
    return kind(**settings)


def write(name: str, folder: Path | str, spec: Spec) -> Path:
    """Write a twin into `folder`: the files of its data set's layout, and twin.json, which says what made them.

    An older twin in that folder is replaced, whole, once the new one is finished.
    Returns: the folder.
    Raises:  DataError for an unknown name, a spec that is another twin's, or a folder that holds something else.
    """
    kind, folder = twin(name), Path(folder)
    if not isinstance(spec, kind.spec):
        raise DataError(f"twin '{name}' wants a {kind.spec.__name__}, got {spec!r}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "twin.json").is_file():
        raise DataError(f"{folder} holds files that are not a twin; name an empty folder, or remove them")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as room:
            fresh = Path(room) / "new"
            fresh.mkdir()
            kind.write(fresh, spec)
            about = {"twin": name, "layout": kind.layout, **dataclasses.asdict(spec)}
            (fresh / "twin.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            if folder.exists():
                os.replace(folder, Path(room) / "old")
            os.replace(fresh, folder)
    except OSError as error:
        error.filename, error.filename2 = str(folder), None  # not the room's, which is gone by now
        raise
    return folder
