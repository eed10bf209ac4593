"""What the papers say, as data: claims/<paper>.yaml, one file a paper, read and checked.

A claim is one checkable statement. Each of its tests names the run that can test it, the arm, the training size, the
metric, and the line or margin that decides. Verdicts are computed from tables (`verdicts`), never typed.

A file holds, from the top:
- paper (the file's name), short (its name in tables), claim (its main sentence), why, notebook, cite, read.
- card: what its page in reports/results/ says: question, protocol, deviations, figures with what they show.
- tables: the paper's numbers that were verified. rows: by the size that is printed; trained_on: the training size of a
  row, where the printed one counts the validation scans, too.
- headline: the few claims that a reader would ask about. headline_named: "before" or "after" their results were seen.
- sections: each with a title, defaults for its claims, and the claims. A claim overrides the defaults key by key, in
  `test`, too; `claimed` and `margin` replace each other. `at` adds a note, or sets the runs, where a size is needed.
- A claim with `for` is a family: one claim for each combination of the values, which stand for {name} in its texts.
- runs: names, or mappings of a run and what differs there. paper_value: the table from which the paper's number for
  what the first test measures is computed. history.yaml holds what every claim named; see `claims_history`.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass as checked

from fewscans import experiments, paths, strictyaml
from fewscans.errors import ClaimsError, ParamsError
from fewscans.stats.convergence import is_speed
from fewscans.stats.noise import METRICS as NOISE
from fewscans.stats.scores import score

Kind = Literal["value", "ordering", "ratio", "invariance"]
Named = Literal["before", "after"]
HISTORY = "history.yaml"
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@checked(frozen=True, config=STRICT)
class Test:
    """One way to decide a claim, on one run.

    What is measured: the metric of `arm` at `n_train`; with `baseline`, the difference to it (at
    `n_train_baseline`, or the same size); with `minus_n_train`, that difference minus the one at this other size.
    Metrics: a score of `stats.scores` ("auc", "icc"); "data_efficiency:<score>", how many times more data the baseline
    needs; "seed_spread:<score>", the score's standard deviation over seeds over the baseline's; "epochs_to_baseline",
    epochs until the baseline's best validation loss over the baseline's own; "compute_to_auc@0.80", computing until a
    validation AUC of 0.8 over the baseline's; "noise_ratio", how many times noisier the gradient of sets is than
    that of single images, and "noise_ratio:single", than that of one image, both without a baseline.
    What decides: `line` and the `claimed` side of it; or `line` and `margin`, for values within line ± margin.
    What must hold first: with `beats`, an arm such as "mean", the 95 % interval of the lead of `arm` or `baseline` (or
    `beaten_by`) over it lies above 0, by the experiment's score for that: networks that learned nothing are equivalent.
    """

    run: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$")]
    arm: str
    n_train: int
    metric: str
    line: float
    claimed: Literal["above", "at least", "below", "at most"] | None = None
    margin: Annotated[float, Field(gt=0)] | None = None
    baseline: str | None = None
    n_train_baseline: int | None = None
    minus_n_train: int | None = None
    split: str = "test"
    beats: str | None = None
    beaten_by: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> Test:
        two_sizes = self.minus_n_train or self.n_train_baseline
        require(
            ((self.claimed is None) == (self.margin is None), "name either claimed, the side of the line, or margin"),
            ((self.ratio or two_sizes) and not self.baseline, f"baseline is missing; {self.metric} compares with one"),
            (self.ratio and two_sizes, f"{self.metric} compares at one size; drop minus_n_train and n_train_baseline"),
            (self.metric in NOISE and self.baseline, f"{self.metric} compares with no baseline; drop {self.baseline}"),
            (self.beaten_by and not self.beats, f"beaten_by is {self.beaten_by!r}, but beats does not name what"),
            (self.beats in self.learners, f"beats is {self.beats!r}, which the test compares; name another, as mean"),
        )
        if not is_speed(self.metric) and self.metric not in NOISE:
            score(self.metric.partition(":")[2] if self.ratio else self.metric)
        return self

    @property
    def learners(self) -> tuple[str, ...]:
        """The arms of which one must beat `beats`; none where nothing is to be beaten."""
        arms = (self.beaten_by,) if self.beaten_by else (self.arm, self.baseline)
        return tuple(filter(None, arms)) if self.beats else ()

    @property
    def experiment(self) -> str:
        return self.run.partition("-")[0]

    @property
    def dataset(self) -> str:
        """Ends in -twin for a twin."""
        return self.run.partition("-")[2]

    @property
    def real(self) -> bool:
        return not self.run.endswith("-twin")

    @property
    def ratio(self) -> bool:
        """Whether the metric is a ratio of arm and baseline."""
        return is_speed(self.metric) or self.metric.startswith(("data_efficiency:", "seed_spread:"))

    @property
    def compared(self) -> str:
        """Such as "D4h - Z3 at N = 30 minus the same at N = 3000"."""
        text = self.arm + (f" {'/' if self.ratio else '-'} {self.baseline}" if self.baseline else "")
        text += f" at N = {self.n_train}" + (f" and {self.n_train_baseline}" if self.n_train_baseline else "")
        return text + (f" minus the same at N = {self.minus_n_train}" if self.minus_n_train else "")

    def measured(self) -> str:
        """Such as "auc of p4m - Z2 at N = 100, claimed above 0". history.yaml keeps these words."""
        kind, _, name = self.metric.partition(":")
        text = f"{kind.replace('_', ' ')}{name and f' ({name})'} of {self.compared}"
        text += f", split {self.split}" if self.split != "test" else ""
        text += f", claimed {self.claimed or 'within'} {self.line:g}" + (f" ± {self.margin:g}" if self.margin else "")
        return text + (f", if {' or '.join(self.learners)} beats {self.beats}" if self.beats else "")


@checked(frozen=True, config=STRICT)
class Claim:
    """One statement of a paper.

    direct: in the paper's own setting, else its idea elsewhere ("conceptual").   paper_value: the paper's number for
    what the tests measure; paper_value_of: what it is a number of.   note: said where the claim is not tested or
    contradicted.   named: "before" if it was fixed, as was the training, before its runs were trained; a headline only
    if it was chosen before, too.   seen: other networks' results on the same test cases had been seen.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    paper: str
    where: str
    statement: str
    kind: Kind
    direct: bool
    tests: tuple[Test, ...]
    paper_value: float | None = None
    paper_value_of: str | None = None
    note: str | None = None
    headline: bool = False
    named: Named = "after"
    seen: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Claim:
        runs, sided = [test.run for test in self.tests], self.kind in ("ordering", "ratio")
        require(
            (not runs, "runs is empty; name at least one run, even one that does not exist yet"),
            (len(set(runs)) < len(runs), f"runs names one twice: {', '.join(runs)}"),
            (self.kind == "value" and any(t.margin is None for t in self.tests), "a claim of kind value needs margin"),
            (sided and any(t.claimed is None for t in self.tests), f"a claim of kind {self.kind} needs claimed"),
            (self.kind == "ratio" and not all(t.baseline for t in self.tests), "a claim of kind ratio needs baseline"),
            (self.paper_value is not None and not self.direct, "paper_value is for direct claims; see direct"),
        )
        return self


@dataclass(frozen=True)
class Claims:
    """All claims in order.   papers: by id, what stands at the top of its file (cite, read, tables, short, claim)."""

    claims: tuple[Claim, ...]
    papers: dict[str, dict]

    def __iter__(self) -> Iterator[Claim]:
        return iter(self.claims)

    def __len__(self) -> int:
        return len(self.claims)

    def __getitem__(self, claim_id: str) -> Claim:
        found = next((claim for claim in self.claims if claim.id == claim_id), None)
        if found is None:
            raise ClaimsError(f"no claim {claim_id!r} in claims/")
        return found

    def table(self, paper: str, name: str) -> pd.DataFrame:
        """A verified table of a paper, such as ("winkels-cohen-2019", "Table 2"): rows by N, a column an arm."""
        tables = self.papers.get(paper, {}).get("tables", {})
        if name not in tables:
            known = ", ".join(f"{p} {t}" for p, entry in self.papers.items() for t in entry.get("tables", {}))
            raise ClaimsError(f"claims/ holds no {name!r} of {paper!r}; it holds {known}")
        frame = pd.DataFrame.from_dict(tables[name]["rows"], orient="index", columns=tables[name]["columns"])
        return frame.rename_axis("n_train")


def load(folder: Path | str | None = None) -> Claims:
    """Reads and checks the claims of a folder (the project's claims/, unless named); `ours` comes last.

    Raises ClaimsError naming the file, the claim, the key and what would be right: a key unknown, missing or twice, a
    wrong type, an id twice, an unknown arm, metric, table or experiment, a rule that does not fit the kind.
    """
    folder = paths.root() / "claims" if folder is None else Path(folder)
    files = sorted(folder.glob("*.yaml"), key=lambda path: (path.stem == "ours", path.stem))
    texts = []
    for path in (path for path in files if path.name != HISTORY):
        with inside(path.name):
            texts.append((path.stem, path.read_text(encoding="utf-8")))
    return _load(folder, tuple(texts))


@lru_cache(maxsize=4)  # a notebook asks often, and the files take a second to read
def _load(folder: Path, files: tuple[tuple[str, str], ...]) -> Claims:
    papers, claims = {}, {}
    for stem, text in files:
        with inside(f"{stem}.yaml"):
            raw = strictyaml.load(text)
            file = read(_File, raw)
            require((file.paper != stem, f"paper: must be the file's name, {stem}, got {file.paper!r}"))
            for section, entry, values in _entries(file):
                with inside(f"claim {entry.id}"):
                    claim = _claim(file, section, entry, values)
                    require((claim.id in claims, f"the id {claim.id} occurs twice; every claim has its own"))
                claims[claim.id] = claim
            absent = set(file.headline) - {claim.id for claim in claims.values() if claim.paper == file.paper}
            require((absent, f"headline: no claim {', '.join(absent)} in this file"))
        papers[file.paper] = {key: value for key, value in raw.items() if key != "sections"}
    if not papers:
        raise ClaimsError(f"{folder}: holds no claims; each paper has a file such as winkels-cohen-2019.yaml")
    return Claims(tuple(claims.values()), papers)


class Part(BaseModel, **STRICT):
    """A mapping of a file, with no other keys than these."""


class _Table(Part):
    what: str
    score: str
    columns: list[str]
    rows: dict[int, list[float]]
    trained_on: dict[int, int] = {}

    @model_validator(mode="after")
    def _complete(self) -> _Table:
        uneven = [n for n, row in self.rows.items() if len(row) != len(self.columns)]
        strange = self.trained_on.keys() - self.rows.keys()
        require((uneven, f"rows {uneven} must hold {len(self.columns)} numbers, one a column"))
        require((strange, f"trained_on names {', '.join(map(str, strange))}, which is no row"))
        return self

    def value(self, test: Test) -> tuple[float, str]:
        """What the paper has for what the test measures, to three decimals, and what it is a number of."""
        sized = [(self.trained_on.get(n, n), row) for n, row in self.rows.items()]
        table = {(arm, n): x for n, row in sized for arm, x in zip(self.columns, row, strict=True)}
        value = table[test.arm, test.n_train]
        if test.baseline is not None:
            other = table[test.baseline, test.n_train_baseline or test.n_train]
            value = value / other if test.ratio else value - other
        if test.minus_n_train is not None:
            value -= table[test.arm, test.minus_n_train] - table[test.baseline, test.minus_n_train]
        return round(value, 3), f"{self.score}, {test.compared}"


class _At(Part):
    note: str | None = None
    runs: list[str | dict[str, Any]] = []


class _Common(_At):
    """What a claim says, and what its section may say for it."""

    where: str | None = None
    kind: Kind | None = None
    direct: bool | None = None
    named: Named | None = None
    seen: bool | None = None
    paper_value: str | None = None
    test: dict[str, Any] = {}


class _Entry(_Common):
    id: str
    statement: str
    values: dict[str, Annotated[list[int | str], Field(min_length=1)]] = Field({}, alias="for")


class _Section(Part):
    title: str
    defaults: _Common = _Common()
    at: dict[int, _At] = {}
    claims: Annotated[list[_Entry], Field(min_length=1)]


class _Card(Part):
    question: str
    protocol: list[str]
    deviations: list[str]
    figures: dict[str, str]


class _File(Part):
    paper: str
    short: str
    claim: str
    why: str | None = None
    notebook: str | None = None
    cite: str
    read: str | None = None
    card: _Card | None = None
    tables: dict[str, _Table] = {}
    headline: Annotated[list[str], Field(max_length=8)] = []
    headline_named: Named = "after"
    sections: list[_Section]


PARTS = {"card": _Card, "tables": _Table, "sections": _Section, "defaults": _Common, "at": _At, "claims": _Entry}


def _entries(file: _File) -> Iterator[tuple[_Section, _Entry, dict[str, int | str]]]:
    """The claims as they are written, a family once for each combination of its values."""
    for section in file.sections:
        for entry in section.claims:
            for values in itertools.product(*entry.values.values()):
                yield section, entry, dict(zip(entry.values, values, strict=True))


def _claim(file: _File, section: _Section, entry: _Entry, values: dict[str, int | str]) -> Claim:
    test = _filled(_merged(section.defaults.test, entry.test), values)
    sizes = [n for key in ("n_train", "minus_n_train") if isinstance(n := test.get(key), int)]
    at = section.at.get(max(sizes, default=0), _At())
    own: dict[str, Any] = {}
    for part in (section.defaults, at, entry):
        own |= _filled(part.model_dump(exclude_unset=True, exclude={"test", "values"}), values)
    table, tests = own.pop("paper_value", None), tuple(_test(run, test) for run in own.pop("runs", []))
    own |= {"id": str(own["id"]).lower(), "paper": file.paper, "tests": tests}
    notes = [note for note in (entry.note or section.defaults.note, at.note) if note]
    own["note"] = " ".join(_filled(notes, values)) or None
    own["headline"] = own["id"] in file.headline
    own |= {"named": "after"} if own["headline"] and file.headline_named == "after" else {}
    if table is not None and tests:
        require((table not in file.tables, f"paper_value: no table {table!r}; tables: {', '.join(file.tables)}"))
        try:
            own["paper_value"], own["paper_value_of"] = file.tables[table].value(tests[0])
        except KeyError as error:
            raise ClaimsError(f"paper_value: {table} has no arm and N {error}") from None
    return read(Claim, own)


def _test(run: str | dict[str, Any], shared: dict[str, Any]) -> Test:
    change = {"run": run} if isinstance(run, str) else run
    with inside(f"test on {change.get('run')}"):
        test = read(Test, _merged(shared, change))
        experiment = experiments.get(test.experiment)
        arms = {key: getattr(test, key) for key in ("arm", "baseline", "beats", "beaten_by")}
        unknown = [f"{key} {arm!r}" for key, arm in arms.items() if arm is not None and arm not in experiment.ARMS]
        sizes = {key: getattr(test, key) for key in ("n_train", "n_train_baseline", "minus_n_train")}
        small = [f"{key} is {n}" for key, n in sizes.items() if n is not None and n < experiment.smallest_n]
        require(
            (unknown, f"unknown {', '.join(unknown)}; {test.experiment} has {', '.join(experiment.ARMS)}"),
            (small, f"{', '.join(small)}; {test.experiment} trains on {experiment.smallest_n} or more"),
            (test.beats and not experiment.beaten_by, f"beats: {test.experiment} names no score to beat an arm by"),
        )
    return test


def _merged(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` over the defaults; of `claimed` and `margin`, naming one drops the other."""
    dropped = {"claimed", "margin"} if {"claimed", "margin"} & own.keys() else set()
    return {key: value for key, value in defaults.items() if key not in dropped} | own


def _filled(value: Any, values: dict[str, int | str]) -> Any:
    """Values in place of {names}; text that is only a {name} becomes the value itself."""
    if isinstance(value, dict):
        return {key: _filled(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values) for part in value]
    if not isinstance(value, str):
        return value
    try:
        alone = re.fullmatch(r"\{(\w+)\}", value)
        return values[alone[1]] if alone else value.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError):
        raise ClaimsError(f"cannot fill {value!r}; `for` has {', '.join(values) or 'no values'}") from None


def require(*rules: tuple[object, str]) -> None:
    """ValueError with the complaint of the first rule that is broken."""
    for broken, complaint in rules:
        if broken:
            raise ValueError(complaint)


@contextlib.contextmanager
def inside(place: str) -> Iterator[None]:
    """Errors become a ClaimsError that begins with the place."""
    try:
        yield
    except (OSError, yaml.YAMLError, ValueError, ClaimsError, ParamsError) as error:
        raise ClaimsError(f"{place}: {error}") from None


def read(model: type, raw: Any) -> Any:
    """What was read as a model; ClaimsError with the key, and the claim of the file, and what would be right."""
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ClaimsError(f"must be a mapping of named keys, got {raw!r}")
    try:
        return model(**raw)
    except ValidationError as error:
        unknown = ("extra_forbidden", "unexpected_keyword_argument")
        first = min(error.errors(), key=lambda e: e["type"] not in unknown)
    words, loc = [], [part for part in first["loc"] if part not in ("[key]", "str", "int")]
    for place, part in enumerate(loc, start=1):
        words.append(str(part + 1 if isinstance(raw, list) else part))  # people count from 1
        if place < len(loc):
            model, raw = PARTS.get(part, model), raw[part]
            words = [f"claim {raw['id']}"] if isinstance(raw, dict) and "id" in raw else words
    key = words.pop() if words else ""
    known = ", ".join(field.alias or name for name, field in model.__pydantic_fields__.items())
    complaints = dict.fromkeys(unknown, f"unknown key {key!r}; known keys: {known}")
    said = re.sub("^(Input|String|List) should ", "must ", first["msg"]).removeprefix("Value error, ")
    complaints |= {"missing": f"key {key!r} is missing", "value_error": f"{key}: {said}" if key else said}
    wrong = f"{key}: {said}, got {first['input']!r}"
    raise ClaimsError(": ".join([*words, complaints.get(first["type"], wrong)]))
