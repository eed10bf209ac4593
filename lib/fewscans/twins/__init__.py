"""Synthetic stand-ins, written in the layout of the public data set they stand for.

The reader and all that follows cannot tell. A verdict on a twin says that the mechanism works in this implementation,
no more.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fewscans.errors import DataError
from fewscans.twins import handedness, luna16, luna16_patches, orientation, pvs, wmh2017


class Twin(NamedTuple):
    """How a twin is written, what it must be told, and whose layout it has.

    spec: a frozen dataclass that checks itself.   layout: the data set whose reader reads it.
    """

    write: Callable[[Path, Any], Path]
    spec: type
    layout: str


TWINS: Mapping[str, Twin] = {
    "luna16-patches": Twin(luna16_patches.write, luna16_patches.PatchesSpec, "luna16-patches"),
    "orientation": Twin(orientation.write, orientation.OrientationSpec, "luna16-patches"),
    "luna16": Twin(luna16.write, luna16.Luna16Spec, "luna16"),
    "handedness": Twin(handedness.write, handedness.HandednessSpec, "adrenalmnist3d"),
    "pvs": Twin(pvs.write, pvs.PvsSpec, "pvs"),
    "wmh2017": Twin(wmh2017.write, wmh2017.WmhSpec, "wmh2017"),
}


def spec(name: str, settings: Mapping[str, Any]) -> Any:
    """A twin's settings, as params.yaml gives them, checked.

    Raises:  DataError for an unknown twin, an unknown or missing setting, an impossible value.
    """
    kind = _twin(name).spec
    known = [field.name for field in dataclasses.fields(kind)]
    for what, keys in (("unknown setting", set(settings) - set(known)), ("no", set(known) - set(settings))):
        if keys:
            raise DataError(f"twin '{name}' has {what} {', '.join(sorted(keys))}; its settings are {', '.join(known)}")
    return kind(**settings)


def write(name: str, folder: Path | str, spec: Any) -> Path:
    """Write a twin into `folder`: the files of its data set's layout, and twin.json, which says what made them.

    An older twin in that folder is replaced, whole, once the new one is finished.
    Returns: the folder.
    Raises:  DataError for an unknown name, a spec that is another twin's, or a folder that holds something else.
    """
    twin, folder = _twin(name), Path(folder)
    if not isinstance(spec, twin.spec):
        raise DataError(f"twin '{name}' wants a {twin.spec.__name__}, got {spec!r}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "twin.json").is_file():
        raise DataError(f"{folder} holds files that are not a twin; name an empty folder, or remove them")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as room:
        fresh = Path(room) / "new"
        fresh.mkdir()
        twin.write(fresh, spec)
        about = {"twin": name, "layout": twin.layout, **dataclasses.asdict(spec)}
        (fresh / "twin.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            os.replace(folder, Path(room) / "old")
        os.replace(fresh, folder)
    return folder


def _twin(name: str) -> Twin:
    if name not in TWINS:
        raise DataError(f"unknown twin '{name}'; known: {', '.join(TWINS)}")
    return TWINS[name]
