"""A user's own networks as arms: `networks` in params.yaml, or --network, in the experiments that take them.

This decides no run: which arms there are, how they are called and drawn, where their files lie.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewscans import files, paths
from fewscans.errors import FewscansError, ParamsError
from fewscans.experiments.outside import Made, is_own

if TYPE_CHECKING:
    from fewscans.experiments.base import Experiment, Grid

TAKEN_BY = {"gcnn": None, "hydranet": "base-compute"}  # experiment → the arm whose number of images it has
COLOURS = ("#882255", "#44AA99", "#999933", "#332288", "#AA4499", "#661100")
KEYS = ("from", "augment", "patch", "label", "colour")


def split(name: str) -> tuple[str, str]:
    """ "my_net:SmallNet" → module and attribute. Raises ParamsError for another form."""
    module, colon, attribute = name.partition(":")
    if not (colon and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ParamsError(f"{name!r}: it must be module:name, such as my_net:SmallNet for SmallNet in my_net.py")
    return module, attribute


def file_of(name: str) -> tuple[Path, bool]:
    """The Python file that holds it, of the project's folder, the working directory, or else an installed package; and
    whether the last. Raises ParamsError if there is none.
    """
    module, _ = split(name)
    places = [Path.cwd()]
    try:
        places.insert(0, paths.root())
    except FewscansError:  # no project here
        pass
    inner = Path(*module.split(".")).with_suffix(".py")
    for place in places:
        if (place / inner).is_file():
            return place / inner, False
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise ParamsError(f"{name}: there is no {inner} in {places[0]}, and no installed package {module}")
    return Path(spec.origin), True


def source_of(name: str) -> str:
    """A hash of that file's code, without comments: another one when it is edited. Raises ParamsError."""
    path, _ = file_of(name)
    try:
        code = ast.unparse(ast.parse(path.read_text(encoding="utf-8")))
    except (OSError, SyntaxError, ValueError) as error:
        raise ParamsError(f"{path}: cannot be read as Python ({error})") from error
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def remember(name: str, *experiments: Experiment) -> str:
    """Keeps a network that a command named ("my_net:SmallNet") for this project; returns its arm's name.

    Raises:  ParamsError for a file that is not there, and for the name of an arm of one of the experiments.
    """
    arm = split(name)[1]
    source_of(name)
    taken = [e.name for e in experiments if arm in e.ARMS and not is_own(e.ARMS[arm])]
    if taken:
        raise ParamsError(f"--network {name}: {taken[0]} has an arm {arm!r}; give the function another name")
    file = _remembered()
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    files.write_json(file, known | {arm: {"from": name}})
    return arm


def added(grid: Grid, experiment: Experiment, networks: Sequence[str]) -> Grid:
    """The grid with own networks as arms at the sizes of its first arm, each "module:function" or a name of `specs`.

    Raises:  ParamsError for an experiment that takes none.
    """
    if networks and experiment.name not in TAKEN_BY:
        raise ParamsError(f"--network: {experiment.name} takes no network of yours; {', '.join(TAKEN_BY)} do")
    names = [name if name in specs() else remember(name, experiment) for name in networks]
    if not names:
        return grid
    extend(experiment)
    sizes = next(iter(grid.arms.values()))
    return dataclasses.replace(grid, arms=grid.arms | {name: grid.arms.get(name, sizes) for name in names})


def specs() -> dict[str, Mapping]:
    """The networks of this project: those that commands named, then those of params.yaml. No checks; {} without one."""
    from yaml import YAMLError

    try:
        file = paths.root() / "params.yaml"
        raw = _parsed(file, file.stat().st_mtime_ns)
        named = json.loads(_remembered().read_text(encoding="utf-8")) if _remembered().is_file() else {}
        named = {arm: said for arm, said in named.items() if _is_there(said["from"])}
    except (FewscansError, OSError, ValueError, YAMLError):  # whoever reads the whole of params.yaml says so
        return {}
    own = raw.get("networks") if isinstance(raw, Mapping) else None
    return named | (dict(own) if isinstance(own, Mapping) else {})


def extend(experiment: Experiment, networks: Mapping[str, Any] | None = None) -> None:
    """Gives an experiment the arms of the networks, in place of those that it was given before.

    Raises:  ParamsError for a network that is no mapping of the known keys, or has the name of another arm.
    """
    if experiment.name not in TAKEN_BY:
        return
    networks = specs() if networks is None else networks
    for name in [name for name, arm in experiment.ARMS.items() if is_own(arm)]:
        del experiment.ARMS[name]
    if not networks:
        return
    kind = _kind(type(next(iter(experiment.ARMS.values()))))
    for number, (name, said) in enumerate(networks.items()):
        experiment.ARMS[name] = _arm(kind, experiment, name, said, COLOURS[number % len(COLOURS)])


@cache
def _parsed(file: Path, _changed: int) -> object:
    from fewscans import strictyaml

    text = file.read_text(encoding="utf-8")
    return strictyaml.load(text) if "\nnetworks:" in text else {}


def _arm(kind: type, experiment: Experiment, name: str, said: Any, colour: str):
    known = f"its keys are {', '.join(KEYS)}"
    if not isinstance(said, Mapping) or set(said) - set(KEYS) or not {"from", "augment"} & set(said):
        raise ParamsError(f"networks.{name} is {said!r}; {known}, and it has from, or augment, or both")
    if name in experiment.ARMS:
        raise ParamsError(f"networks.{name}: the experiment {experiment.name} has an arm of that name; choose another")
    patch = said.get("patch", ())
    if not isinstance(patch, list | tuple) or not all(type(side) is int and side > 0 for side in patch):
        raise ParamsError(f"networks.{name}.patch must be whole numbers, got {patch!r}")
    modules = [said[key] for key in ("from", "augment") if key in said]
    if not all(isinstance(module, str) for module in modules):
        raise ParamsError(f"networks.{name}: {known}; from and augment are module:function")
    like = TAKEN_BY[experiment.name]
    return kind(
        label=str(said.get("label", name)), colour=str(said.get("colour", colour)), marker="*", line="-",
        derived_from=like, made_by=said.get("from", ""), augmented_by=said.get("augment", ""),
        source=tuple(source_of(module) for module in modules), wants=tuple(patch),
        files=(_local(said.get("from", "")), _local(said.get("augment", ""))),
    )  # fmt: skip


@cache
def _kind(arm: type) -> type:
    """Arms of an experiment that are a user's own."""
    return dataclasses.make_dataclass(f"Own{arm.__name__}", [], bases=(Made, arm), frozen=True, kw_only=True)


def _local(name: str) -> str:
    """The file of a name in the project or the working directory; "" for none, and for what is installed."""
    if not name:
        return ""
    path, installed = file_of(name)
    return "" if installed else str(path)


def _is_there(name: str) -> bool:
    try:
        return bool(source_of(name))
    except ParamsError:
        return False


def _remembered() -> Path:
    return paths.root() / "data" / "own" / "networks.json"
