"""What the papers say, as data: claims.yaml, read and checked.

A claim is one checkable statement. Each of its tests names, before the results that decide it are seen, the run that
can test it, the arm, the training size, the metric and the line or margin that decides. Verdicts are computed from
tables (`verdicts`), never typed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from fewscans import paths, strictyaml
from fewscans.errors import ClaimsError
from fewscans.stats.scores import score

KINDS = ("value", "ordering", "ratio", "invariance")
SIDES = ("above", "at least", "below", "at most")
COMPARISONS = ("data_efficiency:", "seed_spread:")  # metrics of two arms, before the name of a score
_RUN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
_GROUP = "(Z2|p4m|p4|Z3|D4h|D4|Oh|O)"
ARMS = {  # an experiment's arms, and what they are in words
    "gcnn": (
        rf"{_GROUP}(-(compute|wide|long|sham|invariant|leaky|shuffled|tta-{_GROUP}))?"
        r"|(histogram|centre|volume|nearest)(-leaky)?",
        "an arm is a group such as p4m, or p4m-compute, Z2-tta-p4m",
    ),
    "hydranet": (
        r"base(-compute)?(-(uniform|unseen))?|base-compute-unit|base-(mae|centred|dropout)|hydra-(2|4|8)"
        r"|hydra-4-(p0|p30|p50|replacement|mae|centred|fixed|permuted|uniform|unseen|unit|black)"
        r"|mixup|c-mixup|mean|histogram|crop",
        "an arm is base, or one with sets such as hydra-4, or base-compute, hydra-4-fixed",
    ),
}
BEATEN_BY = {"hydranet": "mse"}  # the score by which an arm beats another for a test to have a meaning (`Test.beats`)


@dataclass(frozen=True)
class Test:
    """One way to decide a claim, on one run.

    What is measured: the metric of `arm` at `n_train`; with `baseline`, the difference to it (at
    `n_train_baseline`, or the same size); with `minus_n_train`, that difference minus the one at this other size.
    Metrics: a score ("auc", "sensitivity@0.05", "brier"; where candidates are to be found in scans, "froc", "froc@1",
    "malignant_in_top@250"; of a number, "icc", "icc:C", "mse", "mae": `stats.scores`); "data_efficiency:<score>", how
    many times more data the baseline needs; "seed_spread:<score>", the score's standard deviation over seeds over the
    baseline's; "epochs_to_baseline", epochs until the baseline's best validation loss over the baseline's own.
    What decides: `line` and the `claimed` side of it; or `line` and `margin`, for what should lie within line ±
    margin.
    What must hold first: `beats`, an arm such as "mean"; unless `arm` or `baseline` (or, if named, `beaten_by` in
    their place) surely has a smaller mean squared error at n_train, the networks learned nothing that could be
    compared, and the test decides nothing. For equivalences, which networks that learned nothing would fulfil.
    """

    run: str
    arm: str
    n_train: int
    metric: str
    line: float
    claimed: str | None = None
    margin: float | None = None
    baseline: str | None = None
    n_train_baseline: int | None = None
    minus_n_train: int | None = None
    split: str = "test"
    beats: str | None = None
    beaten_by: str | None = None

    @property
    def learners(self) -> tuple[str, ...]:
        """The arms of which one must surely beat `beats`; none where nothing is to be beaten."""
        if self.beats is None:
            return ()
        return (self.beaten_by,) if self.beaten_by else tuple(filter(None, (self.arm, self.baseline)))

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

    def measured(self) -> str:
        """In words: what is measured and where the line is."""
        where = f"at N = {self.n_train}"
        if self.metric.startswith("data_efficiency:"):
            what = f"factor of {self.arm} over {self.baseline} {where}"
        elif self.metric.startswith("seed_spread:"):
            score_of = self.metric.partition(":")[2]
            what = f"standard deviation of {score_of} over seeds: {self.arm} / {self.baseline} {where}"
        elif self.metric == "epochs_to_baseline":
            what = f"epochs of {self.arm} to the best of {self.baseline} {where}, ratio"
        elif self.minus_n_train is not None:
            what = f"{self.metric}: {self.arm} - {self.baseline} {where}, minus the same at N = {self.minus_n_train}"
        elif self.baseline is not None:
            other = f" at N = {self.n_train_baseline}" if self.n_train_baseline else ""
            what = f"{self.metric}: {self.arm} - {self.baseline}{other} {where}"
        else:
            what = f"{self.metric} of {self.arm} {where}"
        if self.split != "test":
            what += f" ({self.split})"
        side = f"within {self.line:g} ± {self.margin:g}" if self.margin is not None else f"{self.claimed} {self.line:g}"
        first = f", if {' or '.join(self.learners)} beats {self.beats}" if self.beats else ""
        return f"{what}: {side}{first}"


@dataclass(frozen=True)
class Claim:
    """One statement of a paper.   direct: in the paper's own setting, else its idea elsewhere ("conceptual").
    paper_value: the paper's number for what the tests measure, only if verified; paper_value_of: what it is a
    number of.   note: said wherever the claim is not tested or contradicted.
    """

    id: str
    paper: str
    where: str
    statement: str
    kind: str
    direct: bool
    tests: tuple[Test, ...]
    paper_value: float | None = None
    paper_value_of: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Claims:
    """The whole file: claims in order, and the papers with the tables that were verified."""

    claims: tuple[Claim, ...]
    papers: dict[str, dict]

    def __iter__(self) -> Iterator[Claim]:
        return iter(self.claims)

    def __len__(self) -> int:
        return len(self.claims)

    def __getitem__(self, claim_id: str) -> Claim:
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        raise ClaimsError(f"no claim {claim_id!r} in claims.yaml")

    def table(self, paper: str, name: str) -> pd.DataFrame:
        """A verified table of a paper, such as ("winkels-cohen-2019", "Table 2"): rows by N, a column an arm."""
        tables = self.papers.get(paper, {}).get("tables", {})
        if name not in tables:
            held = ", ".join(f"{p} {t}" for p, entry in self.papers.items() for t in entry.get("tables", {}))
            raise ClaimsError(f"claims.yaml holds no {name!r} of {paper!r}; it holds {held}")
        found = tables[name]
        frame = pd.DataFrame.from_dict(found["rows"], orient="index", columns=found["columns"])
        return frame.rename_axis("n_train")


def load(path: Path | str | None = None) -> Claims:
    """Reads and checks claims.yaml (the project's, unless named).

    Raises ClaimsError naming the file, the claim and the key: unknown or missing keys, a wrong type, a duplicate
    id, an arm, metric, kind or run that cannot be, a rule that does not fit the kind.
    """
    path = Path(path) if path is not None else paths.root() / "claims.yaml"
    try:
        raw = strictyaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClaimsError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise ClaimsError(f"{path}: not valid YAML: {error}") from error
    try:
        return _claims(raw)
    except ClaimsError as error:
        raise ClaimsError(f"{path.name}: {error}") from None


def write_all() -> list[Path]:
    """Everything that verdicts are written to; see `scorecard.write_all`."""
    from fewscans import scorecard

    return scorecard.write_all()


def _claims(raw: object) -> Claims:
    _keys(raw, ("papers", "claims"), ("papers", "claims"), "the file")
    papers = _papers(raw["papers"])
    if not isinstance(raw["claims"], list):
        raise ClaimsError(f"claims must be a list, got {type(raw['claims']).__name__}")
    claims, seen = [], set()
    for position, entry in enumerate(raw["claims"]):
        name = entry.get("id") if isinstance(entry, Mapping) else None
        claim = _claim(entry, f"claim {name or f'number {position + 1}'}", papers)
        if claim.id in seen:
            raise ClaimsError(f"claim {claim.id}: the id occurs twice; every claim has its own")
        seen.add(claim.id)
        claims.append(claim)
    return Claims(tuple(claims), papers)


def _papers(raw: object) -> dict[str, dict]:
    for name, entry in _mapping(raw, "papers").items():
        _keys(entry, ("cite", "read", "tables"), ("cite",), f"papers.{name}")
        for title, table in _mapping(entry.get("tables", {}), f"papers.{name}.tables").items():
            where = f"papers.{name}.tables.{title}"
            _keys(table, ("what", "columns", "rows"), ("what", "columns", "rows"), where)
            for n, row in _mapping(table["rows"], f"{where}.rows").items():
                numbers = isinstance(row, list) and all(type(v) in (int, float) for v in row)
                if type(n) is not int or not numbers or len(row) != len(table["columns"]):
                    raise ClaimsError(
                        f"{where}: row {n} must be {len(table['columns'])} numbers under a size N, got {row}"
                    )
    return dict(raw)


def _claim(entry: object, where: str, papers: Mapping) -> Claim:
    names, required = _fields(Claim)
    _keys(entry, names, required, where)
    _types(entry, Claim, where, skip="tests")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry["id"]):
        raise ClaimsError(f"{where}: id must be small letters, digits and hyphens, got {entry['id']!r}")
    if entry["paper"] not in papers:
        raise ClaimsError(f"{where}: paper {entry['paper']!r} is not under papers, which has {', '.join(papers)}")
    if entry["kind"] not in KINDS:
        raise ClaimsError(f"{where}: kind {entry['kind']!r} must be one of {', '.join(KINDS)}")
    if (entry.get("paper_value") is None) != (entry.get("paper_value_of") is None):
        raise ClaimsError(f"{where}: paper_value and paper_value_of go together: a number, and what it is a number of")
    tests = _mapping(entry["tests"], f"{where}: tests")
    if not tests:
        raise ClaimsError(f"{where}: tests is empty; name at least one run, even one that does not exist yet")
    made = tuple(_test(run, test, entry["kind"], f"{where}: tests.{run}") for run, test in tests.items())
    return Claim(**{**entry, "tests": made})


def _test(run: str, entry: object, kind: str, where: str) -> Test:
    names, required = _fields(Test)
    _keys(entry, [n for n in names if n != "run"], [n for n in required if n != "run"], where)
    test = {"run": run, **entry}
    _types(test, Test, where)
    if not _RUN.fullmatch(run):
        raise ClaimsError(
            f"{where}: {run!r} is no run; runs are called <experiment>-<dataset>, or <experiment>-<dataset>-twin"
        )
    experiment = run.partition("-")[0]
    pattern, hint = ARMS.get(experiment) or ("|".join(p for p, _ in ARMS.values()), "no experiment has it")
    for key in ("arm", "baseline", "beats", "beaten_by"):
        if test.get(key) is not None and not re.fullmatch(pattern, test[key]):
            raise ClaimsError(f"{where}: unknown {key} {test[key]!r}; {hint}")
    least = 1 if experiment == "hydranet" else 2  # a balanced training set holds two cases or more
    for key in ("n_train", "n_train_baseline", "minus_n_train"):
        if test.get(key) is not None and test[key] < least:
            raise ClaimsError(f"{where}: {key} is {test[key]}; a training set of {experiment} holds {least} or more")
    compared = test["metric"].startswith(COMPARISONS)
    if test["metric"] != "epochs_to_baseline":
        try:
            score(test["metric"].partition(":")[2] if compared else test["metric"])
        except ValueError as error:
            raise ClaimsError(f"{where}: unknown metric {test['metric']!r} ({error})") from None
    needs = test["metric"] == "epochs_to_baseline" or compared
    for key in ("n_train_baseline", "minus_n_train"):
        if needs and test.get(key):
            raise ClaimsError(f"{where}: {test['metric']} has no {key}; it compares two arms at one size")
    if (needs or kind == "ratio" or test.get("minus_n_train") or test.get("n_train_baseline")) and not test.get(
        "baseline"
    ):
        raise ClaimsError(f"{where}: baseline is missing; {test['metric']} of a {kind} claim compares with one")
    _rule(test, kind, where)
    if test.get("beats") and experiment not in BEATEN_BY:
        raise ClaimsError(f"{where}: beats is for {', '.join(BEATEN_BY)}, which tells numbers; {experiment} does not")
    if test.get("beaten_by") and not test.get("beats"):
        raise ClaimsError(f"{where}: beaten_by is {test['beaten_by']!r}, but beats does not name what")
    made = Test(**test)
    if made.beats in made.learners:
        raise ClaimsError(f"{where}: beats is {made.beats!r}, which the test compares; name another arm, such as mean")
    return made


def _rule(test: Mapping, kind: str, where: str) -> None:
    side, margin = test.get("claimed"), test.get("margin")
    if (side is None) == (margin is None):
        raise ClaimsError(
            f"{where}: name either claimed (the side of the line) or margin (line ± margin), not both or neither"
        )
    if side is not None and side not in SIDES:
        raise ClaimsError(f"{where}: claimed is {side!r}; it must be one of {', '.join(SIDES)}")
    if margin is not None and not margin > 0:
        raise ClaimsError(f"{where}: margin must be above 0, got {margin}")
    if kind == "value" and margin is None or kind in ("ordering", "ratio") and side is None:
        raise ClaimsError(f"{where}: a claim of kind {kind} is decided by {'margin' if kind == 'value' else 'claimed'}")


def _fields(kind: type) -> tuple[list[str], list[str]]:
    fields = dataclasses.fields(kind)
    return [f.name for f in fields], [f.name for f in fields if f.default is dataclasses.MISSING]


def _types(entry: Mapping, kind: type, where: str, skip: str = "") -> None:
    """Each value has its field's type; whole numbers pass as float, nothing else bends."""
    named = {"str": str, "int": int, "float": (int, float), "bool": bool}
    for field in dataclasses.fields(kind):
        if field.name == skip or field.name not in entry:
            continue
        base, _, optional = field.type.partition(" | ")
        value = entry[field.name]
        fits = isinstance(value, named[base]) and (base == "bool" or not isinstance(value, bool))
        if not fits and not (optional == "None" and value is None) or base == "float" and value != value:
            raise ClaimsError(f"{where}: {field.name} must be {field.type}, got {value!r}")


def _mapping(value: object, where: str) -> Mapping:
    if not isinstance(value, Mapping):
        raise ClaimsError(f"{where} must be a mapping, got {value!r}")
    return value


def _keys(value: object, known, required, where: str) -> None:
    unknown = [key for key in _mapping(value, where) if key not in known]
    if unknown:
        raise ClaimsError(f"{where}: unknown key {unknown[0]!r}; known keys: {', '.join(known)}")
    missing = [key for key in required if key not in value]
    if missing:
        raise ClaimsError(f"{where}: key {missing[0]!r} is missing; needed: {', '.join(required)}")
