"""params.yaml, typed and checked: an unknown key, a wrong type or an impossible value is one clear error that names the key."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from fewscans import experiments, paths
from fewscans.errors import ParamsError

PROFILES = ("smoke", "quick", "paper")


@dataclass(frozen=True)
class RunSpec:
    """Which experiment reads which data set.   data: the folder the pipeline makes (a twin) or the manifest it depends on (real data)."""

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
    """The whole of params.yaml.   grids: run → profile → the experiment's own Grid.   twins: name → profile → the generator's settings."""

    profile: str
    data_root: str
    twins: dict[str, dict[str, typing.Any]]
    runs: dict[str, RunSpec]
    grids: dict[str, dict[str, typing.Any]]
    notebooks: dict[str, NotebookSpec]

    def run(self, name: str) -> RunSpec:
        """The run of that name, from `runs`, or from its grid's name where it is not part of the pipeline."""
        if name in self.runs:
            return self.runs[name]
        if name in self.grids:
            return _spec_from_name(name)
        raise ParamsError(f"unknown run {name!r}; params.yaml has grids for {', '.join(self.grids)}")

    def grid(self, name: str, profile: str | None = None):
        self.run(name)
        profile = profile or self.profile
        if profile not in self.grids.get(name, {}):
            raise ParamsError(
                f"grids.{name} has no profile {profile!r}; it has {', '.join(self.grids.get(name, {})) or 'none'}"
            )
        return self.grids[name][profile]


def load(path: Path | str | None = None) -> Params:
    """Reads and checks params.yaml (the project's, unless named). Raises ParamsError naming file, key and remedy."""
    path = Path(path) if path is not None else paths.root() / "params.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); run inside a clone of the project") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from error
    try:
        return _params(raw)
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from None


def _params(raw: object) -> Params:
    names = [f.name for f in dataclasses.fields(Params)]
    _keys(raw, names, names, "the file")
    if raw["profile"] not in PROFILES:
        raise ParamsError(f"profile is {raw['profile']!r}; it must be one of {', '.join(PROFILES)}")
    data_root = _typed(raw["data_root"], str, "data_root")
    runs = {}
    for name, value in _mapping(raw["runs"], "runs").items():
        runs[name] = _typed(value, RunSpec, f"runs.{name}")
        if runs[name].experiment not in experiments.EXPERIMENTS:
            raise ParamsError(
                f"runs.{name}.experiment is {runs[name].experiment!r}; known experiments: {', '.join(experiments.EXPERIMENTS)}"
            )
        expected = f"{runs[name].experiment}-{runs[name].dataset}" + "-twin" * runs[name].twin
        if name != expected:
            raise ParamsError(f"runs.{name} should be called {expected} (experiment-dataset, and -twin for a twin)")
        if name not in _mapping(raw["grids"], "grids"):
            raise ParamsError(f"runs.{name} has no grid; add grids.{name}")
    grids = {}
    for name, profiles in _mapping(raw["grids"], "grids").items():
        experiment = (runs[name] if name in runs else _spec_from_name(name)).experiment
        grid_type = experiments.get(experiment).Grid
        grids[name] = {
            profile: _typed(value, grid_type, f"grids.{name}.{profile}")
            for profile, value in _profiles(profiles, f"grids.{name}").items()
        }
    twins = {
        name: {p: _mapping(value, f"twins.{name}.{p}") for p, value in _profiles(profiles, f"twins.{name}").items()}
        for name, profiles in _mapping(raw["twins"], "twins").items()
    }
    notebooks = {
        name: _typed(value, NotebookSpec, f"notebooks.{name}")
        for name, value in _mapping(raw["notebooks"], "notebooks").items()
    }
    return Params(raw["profile"], data_root, twins, runs, grids, notebooks)


def _spec_from_name(name: str) -> RunSpec:
    """`<experiment>-<dataset>[-twin]` read back."""
    experiment, _, dataset = name.partition("-")
    if experiment not in experiments.EXPERIMENTS or not dataset:
        raise ParamsError(
            f"grids.{name}: not a run's name; runs are called <experiment>-<dataset>, or <experiment>-<dataset>-twin, with an "
            f"experiment of {', '.join(experiments.EXPERIMENTS)}"
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


def _typed(value: object, kind: typing.Any, where: str) -> typing.Any:
    """`value` as `kind` (a dataclass, dict, tuple or scalar), checked all the way down; whole numbers pass as float, nothing else bends."""
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        hints = typing.get_type_hints(kind)
        defaults = (dataclasses.MISSING, dataclasses.MISSING)
        required = [f.name for f in fields if (f.default, f.default_factory) == defaults]
        _keys(value, [f.name for f in fields], required, where)
        try:
            return kind(**{key: _typed(v, hints[key], f"{where}.{key}") for key, v in value.items()})
        except ParamsError as error:
            text = str(error)
            raise ParamsError(text if text.startswith(where) else f"{where}: {text}") from None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (dict, Mapping):
        return {key: _typed(v, arguments[1], f"{where}.{key}") for key, v in _mapping(value, where).items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise ParamsError(f"{where} must be a list, got {value!r}")
        return tuple(_typed(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _typed(value, next(a for a in arguments if a is not type(None)), where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is typing.Any:
        return value
    if type(value) is not kind:
        hint = (
            " (write 1.0e-3, not 1e-3: YAML reads the latter as text)"
            if kind is float and isinstance(value, str)
            else ""
        )
        raise ParamsError(f"{where} must be {kind.__name__}, got {value!r}{hint}")
    if kind is float and value != value:
        raise ParamsError(f"{where} is not a number (NaN)")
    return value
