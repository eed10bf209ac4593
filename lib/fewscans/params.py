"""params.yaml, typed and checked.

An unknown key, a key written twice, a wrong type, an impossible value, or a name that refers to nothing is one clear
error, which names the file and the key, and says what would be right.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fewscans import experiments, paths, strictyaml, twins
from fewscans.data import own, registry
from fewscans.errors import DataError, ParamsError

PROFILES = ("smoke", "quick", "long", "paper", "pilot")  # pilot: scored on validation cases, see `Grid.pilot`


@dataclass(frozen=True)
class RunSpec:
    """Which experiment reads which data set.

    data: the folder the pipeline makes (a twin), or the manifest it depends on (real data).
    """

    experiment: str
    dataset: str
    twin: bool
    data: str


@dataclass(frozen=True)
class NotebookSpec:
    """file: under notebooks/, without its ending.   runs: the run tables it reads."""

    file: str
    runs: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Params:
    """The whole of params.yaml.

    grids: run → profile → the experiment's own Grid.   networks: a user's own, see `experiments.own_arms`.
    twins: name → profile → the generator's settings.
    """

    profile: str
    data_root: str
    twins: dict[str, dict[str, typing.Any]]
    runs: dict[str, RunSpec]
    grids: dict[str, dict[str, typing.Any]]
    notebooks: dict[str, NotebookSpec]
    networks: dict[str, typing.Any] = dataclasses.field(default_factory=dict)

    def run(self, name: str) -> RunSpec:
        """The run of that name, from `runs`, or from the name alone where it is not part of the pipeline.

        The latter for a run with a grid, and for a run's answers about another data set, <run>-on-<dataset>.
        """
        if name in self.runs:
            return self.runs[name]
        if name in self.grids or name.partition("-")[2] in own.names():
            return _spec_from_name(name)
        run, on, dataset = name.rpartition("-on-")
        if on and dataset in registry.names() + own.names():
            experiment = self.run(run).experiment
            return RunSpec(experiment, name.removeprefix(f"{experiment}-"), False, f"data/manifests/{dataset}.json")
        raise ParamsError(f"unknown run {name!r}; params.yaml has grids for {_list(self.grids)}")

    def grid(self, name: str, profile: str | None = None):
        """The run's grid at that profile, else at the one params.yaml names. Raises ParamsError if there is none."""
        self.run(name)
        return _of_profile(self.grids.get(name, {}), profile or self.profile, f"grids.{name}")


def load(path: Path | str | None = None) -> Params:
    """Reads and checks params.yaml (the project's, unless named). Raises ParamsError naming file, key and remedy."""
    path = Path(path) if path is not None else paths.root() / "params.yaml"
    raw = strictyaml.read(path, ParamsError)
    try:
        return _params(raw)
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from None


def _params(raw: object) -> Params:
    names = [f.name for f in dataclasses.fields(Params)]
    _keys(raw, names, [name for name in names if name != "networks"], "the file")
    networks = dict(_mapping(raw.get("networks") or {}, "networks"))
    profile = raw["profile"]
    if profile not in PROFILES:
        raise ParamsError(f"profile is {profile!r}; it must be one of {', '.join(PROFILES)}")
    runs = {name: _run_spec(name, value) for name, value in _mapping(raw["runs"], "runs").items()}
    grids = {name: _grids(name, profiles) for name, profiles in _mapping(raw["grids"], "grids").items()}
    twins = {name: _twins(name, profiles) for name, profiles in _mapping(raw["twins"], "twins").items()}
    notebooks = {name: _notebook(name, value) for name, value in _mapping(raw["notebooks"], "notebooks").items()}
    for name, spec in runs.items():
        if name not in grids:
            raise ParamsError(f"runs.{name} has no grid; add grids.{name}")
        _of_profile(grids[name], profile, f"grids.{name}")
        if spec.twin and spec.dataset not in twins:
            raise ParamsError(f"runs.{name} reads the twin {spec.dataset!r}; add it to twins, which has {_list(twins)}")
    for name, profiles in twins.items():
        _of_profile(profiles, profile, f"twins.{name}")
    for name, spec in notebooks.items():
        for alias, run in spec.runs.items():
            if run not in runs:
                raise ParamsError(f"notebooks.{name}.runs.{alias} is {run!r}, not one of runs: {_list(runs)}")
    return Params(profile, typed(raw["data_root"], str, "data_root"), twins, runs, grids, notebooks, networks)


def _run_spec(name: str, value: object) -> RunSpec:
    spec = typed(value, RunSpec, f"runs.{name}")
    if spec.experiment not in experiments.names():
        known = _list(experiments.names())
        raise ParamsError(f"runs.{name}.experiment is {spec.experiment!r}; known experiments: {known}")
    expected = f"{spec.experiment}-{spec.dataset}" + "-twin" * spec.twin
    if name != expected:
        raise ParamsError(f"runs.{name} should be called {expected} (experiment-dataset, and -twin for a twin)")
    return spec


def _grids(name: str, profiles: object) -> dict[str, typing.Any]:
    grid = experiments.get(_spec_from_name(name).experiment).Grid
    where = f"grids.{name}"
    return {p: typed(value, grid, f"{where}.{p}") for p, value in _profiles(profiles, where).items()}


def _twins(name: str, profiles: object) -> dict[str, Mapping]:
    where = f"twins.{name}"
    found = {p: _mapping(value, f"{where}.{p}") for p, value in _profiles(profiles, where).items()}
    for p, settings in found.items():
        try:
            twins.spec(name, settings)
        except DataError as error:
            raise ParamsError(f"{where}.{p}: {str(error).removeprefix('twin: ')}") from None
    return found


def _notebook(name: str, value: object) -> NotebookSpec:
    spec = typed(value, NotebookSpec, f"notebooks.{name}")
    if not spec.file.startswith(f"{name}_"):
        raise ParamsError(f"notebooks.{name}.file is {spec.file!r}; it must begin with its number, {name}_")
    return spec


def _of_profile(profiles: Mapping, profile: str, where: str) -> typing.Any:
    if profile not in profiles:
        raise ParamsError(f"{where} has no profile {profile!r}; it has {_list(profiles)}")
    return profiles[profile]


def _list(names: typing.Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _spec_from_name(name: str) -> RunSpec:
    """`<experiment>-<dataset>[-twin]` read back."""
    experiment, _, dataset = name.partition("-")
    if experiment not in experiments.names() or not dataset:
        raise ParamsError(
            f"grids.{name}: not a run's name; runs are called <experiment>-<dataset>, or <experiment>-<dataset>-twin, "
            f"with an experiment of {_list(experiments.names())}"
        )
    twin = dataset.endswith("-twin")
    dataset = dataset.removesuffix("-twin")
    return RunSpec(experiment, dataset, twin, f"build/twins/{dataset}" if twin else f"data/manifests/{dataset}.json")


def _mapping(value: object, where: str) -> Mapping:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ParamsError(f"{where} must be a mapping with text keys (quote numbers), got {value!r}")
    return value


def _profiles(value: object, where: str) -> Mapping:
    unknown = [key for key in _mapping(value, where) if key not in PROFILES]
    if unknown:
        raise ParamsError(f"{where}.{unknown[0]}: unknown profile; profiles are {', '.join(PROFILES)}")
    return value


def _keys(value: object, known: list[str], required: list[str], where: str) -> None:
    unknown = [key for key in _mapping(value, where) if key not in known]
    if unknown:
        raise ParamsError(f"{where} has the unknown key {unknown[0]!r}; known keys: {', '.join(known)}")
    missing = [key for key in required if key not in value]
    if missing:
        raise ParamsError(f"{where} lacks the key {missing[0]!r}; it needs {', '.join(required)}")


def typed(value: object, kind: typing.Any, where: str) -> typing.Any:
    """`value` as `kind` (a dataclass, dict, tuple or scalar), checked all the way down.

    A whole number passes as float, nothing else bends.
    """
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        hints = typing.get_type_hints(kind)
        defaults = (dataclasses.MISSING, dataclasses.MISSING)
        required = [f.name for f in fields if (f.default, f.default_factory) == defaults]
        _keys(value, [f.name for f in fields], required, where)
        try:
            return kind(**{key: typed(v, hints[key], f"{where}.{key}") for key, v in value.items()})
        except ParamsError as error:
            text = str(error)
            raise ParamsError(text if text.startswith(where) else f"{where}: {text}") from None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (dict, Mapping):
        return {key: typed(v, arguments[1], f"{where}.{key}") for key, v in _mapping(value, where).items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise ParamsError(f"{where} must be a list, got {value!r}")
        return tuple(typed(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return typed(value, next(a for a in arguments if a is not type(None)), where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is typing.Any:
        return value
    if type(value) is not kind:
        text_of_number = kind is float and isinstance(value, str)
        hint = " (write 1.0e-3, not 1e-3: YAML reads the latter as text)" if text_of_number else ""
        raise ParamsError(f"{where} must be {kind.__name__}, got {value!r}{hint}")
    if kind is float and not math.isfinite(value):
        raise ParamsError(f"{where} is {value}; it must be a finite number")
    return value
