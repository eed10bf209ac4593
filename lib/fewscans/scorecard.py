"""The state of every claim, computed from the tables at hand: scorecard files, and the table of results in the README.

Each test of a claim is one row: claim × experiment × dataset. Its tables are the published ones where git keeps
some, else, if asked for, this machine's run; a run of the smoke profile is refused. What lies in git
(reports/scorecard.*, the README) is computed from what lies in git alone, so it is the same bytes in every clone;
the scorecard with this machine's runs goes to build/.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from fewscans import claims as claims_file
from fewscans import paths
from fewscans.claims import Claim, Claims, Test
from fewscans.errors import ClaimsError, RunError
from fewscans.results import folder_of, load_published, profile_of, read_run
from fewscans.verdicts import Outcome, Tables, evaluate

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
DIGITS = 4  # of values in the files: beyond what any interval here can tell, short of what a machine's arithmetic moves
UNIT_BOUND = ("mse", "mae")  # scores in the unit of the label, or its square, of any magnitude
SYMBOL = {"reproduced": "✓", "inconclusive": "?", "contradicted": "✗", "not tested": "–"}


@dataclass(frozen=True)
class Row:
    """One claim on one run.   source: "published, real", "published, twin", "this machine, twin, quick" …, or "" if
    none. censored, low, high: as in `stats.Estimate`; an end that the data do not reach is None.
    """

    id: str
    experiment: str
    dataset: str
    real: bool
    direct: bool
    kind: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    censored: str | None
    seeds: int | None
    paper_value: float | None
    paper_value_of: str | None
    statement: str
    paper: str
    where: str
    metric: str
    measured: str
    source: str
    reason: str

    def ours(self) -> str:
        """Our value with its interval, for people; empty where there is none."""
        if self.value is None:
            return ""
        coarse = self.metric.startswith(("data_efficiency", "malignant_in_top"))  # factors and counts
        ratio = self.metric.startswith(("epochs_to_baseline", "seed_spread"))
        digits = 1 if coarse else 2 if ratio else 3
        if self.metric in UNIT_BOUND:  # three digits of the largest, whatever the unit
            largest = max(abs(end) for end in (self.value, self.low, self.high) if end is not None)
            digits = max(0, 2 - math.floor(math.log10(largest))) if largest else 3
        low, high = ("–" if end is None else f"{end:.{digits}f}" for end in (self.low, self.high))
        sign = {None: "", "low": "< ", "high": "> "}[self.censored]
        return f"{sign}{self.value:.{digits}f} ({low} to {high})"


def scorecard(local: bool = False, claims: Claims | None = None) -> list[Row]:
    """A row for every test of every claim, in the order of claims.yaml.

    local: also use this machine's runs where nothing is published.   claims: those of the project if None.
    Raises ClaimsError for a malformed claims.yaml, RunError for damaged tables.
    """
    claims = claims_file.load() if claims is None else claims
    runs = {test.run: test for claim in claims for test in claim.tests}
    sources = {run: _source(test, local) for run, test in runs.items()}
    return [_row(claim, test, *sources[test.run]) for claim in claims for test in claim.tests]


def write_all() -> list[Path]:
    """Writes reports/scorecard.json and .md and the README's table from what git keeps, and build/scorecard.json
    and .md with this machine's runs as well. Returns the paths written.
    """
    kept = scorecard()
    written = write_scorecard(kept, paths.reports()) + write_scorecard(scorecard(local=True), paths.build())
    readme = paths.root() / "README.md"
    return written + ([update_readme(readme, kept)] if readme.exists() else [])


def write_scorecard(rows: list[Row], folder: Path) -> list[Path]:
    """scorecard.json (a list of rows) and scorecard.md, replaced atomically; the same bytes for the same rows."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([vars(row) for row in rows], indent=1, ensure_ascii=False)
    files = {folder / "scorecard.json": text + "\n", folder / "scorecard.md": markdown(rows)}
    for path, content in files.items():
        _write(path, content)
    return list(files)


def markdown(rows: list[Row]) -> str:
    """The whole scorecard as a page: counts, what was tested, what was not and why."""
    tested = [row for row in rows if row.verdict != "not tested"]
    others = [row for row in rows if row.verdict == "not tested"]
    lines = [
        "# Scorecard",
        "",
        "Computed by `fewscans scorecard` from claims.yaml and the prediction tables; do not edit.",
        "A verdict on a twin says that the mechanism works in this implementation; only one on real data is a "
        "replication.",
        "",
        counts(rows),
        "",
        *table(tested),
        "",
        "## Not tested",
        "",
        "| claim | statement | where | would be measured | on | why not |",
        "| --- | --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(cells)} |" for cells in map(_waiting, others)),
    ]
    return "\n".join(lines) + "\n"


def _waiting(r: Row) -> tuple[str, ...]:
    return r.id, _cell(r.statement), r.where, _cell(r.measured), f"{r.experiment}, {r.dataset}", _cell(r.reason)


def counts(rows: list[Row]) -> str:
    """One sentence: how many rows have which verdict; real data and twins, papers' claims and our controls apart."""
    parts = []
    for real, where in ((True, "on real data"), (False, "on twins")):
        for own, whose in ((False, "claims of papers"), (True, "our own controls")):
            some = [row.verdict for row in rows if row.real is real and (row.paper == "ours") is own]
            found = [f"{some.count(v)} {v}" for v in SYMBOL if some.count(v)]
            if found:
                parts.append(f"{where}, {whose}: {', '.join(found)}")
    return "; ".join(parts).capitalize() + "." if parts else "No claims."


def table(rows: list[Row]) -> list[str]:
    """Lines of a markdown table of tested rows; the paper's number stands only beside a direct test on real data."""
    lines = [
        "| verdict | claim | measured | ours (95 % interval) | seeds | paper | data |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        another = "" if r.direct or r.paper == "ours" else "another task"
        paper = another if r.paper_value is None else f"{r.paper_value:g}"
        if not r.real:
            paper = ""  # a twin's numbers are not comparable with the paper's
        claim = _cell(r.statement) + (f" *{_cell(r.reason)}*" if r.reason else "")
        source = f"{r.dataset} ({r.source})"
        verdict = f"{SYMBOL[r.verdict]} {r.verdict}"
        cells = (verdict, f"{claim} ({r.where})", _cell(r.measured), r.ours(), str(r.seeds), paper, source)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def readme_table(rows: list[Row]) -> str:
    """The README's results: one line a data set, and behind it, folded away, every claim tested on it."""
    tested = [row for row in rows if row.verdict != "not tested"]
    waiting = {row.id for row in rows} - {row.id for row in tested}
    note = f"{len(waiting)} further claims are not tested yet; `reports/scorecard.md` says why." if waiting else ""
    by_data: dict[tuple[bool, str, str, bool], list[Row]] = {}
    for row in sorted(tested, key=lambda r: not r.real):  # real data first; else in the order of the claims
        by_data.setdefault((row.real, row.experiment, row.dataset, row.paper == "ours"), []).append(row)
    if not by_data:
        return f"No published results yet.\n\n{note}".strip() + "\n"
    verdicts = [verdict for verdict in SYMBOL if verdict != "not tested"]
    lines = [
        f"| data | {' | '.join(f'{SYMBOL[v]} {v}' for v in verdicts)} |",
        f"| --- | {' | '.join('---' for _ in verdicts)} |",
    ]
    folded = []
    for (real, experiment, dataset, own), some in by_data.items():
        name = f"{experiment} on {dataset.removesuffix('-twin')} ({'real' if real else 'twin'})"
        name += ", our own controls" if own else ", claims of the paper"
        numbers = [str(sum(row.verdict == verdict for row in some)) for verdict in verdicts]
        lines.append(f"| {name} | {' | '.join(numbers)} |")
        folded += [f"<details><summary>{name}, {len(some)} rows</summary>", "", *table(some), "", "</details>", ""]
    return "\n".join([counts(rows), "", *lines, "", *folded, note]).strip() + "\n"


def update_readme(path: Path | None = None, rows: list[Row] | None = None) -> Path:
    """Replaces what stands between the markers <!-- results:begin --> and <!-- results:end --> by the table of results.

    Raises ClaimsError if the markers are not there exactly once, in this order.
    """
    path = path or paths.root() / "README.md"
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ClaimsError(
            f"{path.name} must hold {BEGIN} and then {END}, once each; the table of results goes between them"
        )
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    made = readme_table(scorecard() if rows is None else rows)
    new = f"{head}{BEGIN}\n\n{made}\n{END}{tail}"
    if new != text:
        _write(path, new)
    return path


def _source(test: Test, local: bool) -> tuple[Tables | None, str, str]:
    """A run's tables, what they are called, and why there are none."""
    kind = "real" if test.real else "twin"
    if any(folder_of(test.experiment, test.dataset).glob("*.parquet")):
        made = load_published(test.experiment, test.dataset)
        profile = made.about["profile"]
        source = f"published, {kind}" + (f", {profile}" if profile != "paper" else "")
        return Tables(made.predictions, made.history, reference=made.reference), source, ""
    if not local or not (paths.runs() / f"{test.run}.parquet").exists():
        return None, "", f"no {'tables' if local else 'published tables'} of the run {test.run}"
    from fewscans import params

    predictions, history, records, reference = read_run(test.run)
    try:
        profile, _ = profile_of(test.run, predictions, records, params.load())
    except KeyError as error:
        raise RunError(f"runs/{test.run}.records.json lacks {error}; train {test.run} again") from None
    if profile == "smoke":
        return None, "", f"this machine's {test.run} is of the smoke profile, which only tests the pipeline"
    if profile is None:
        return None, "", f"this machine's {test.run} fits no profile of params.yaml any more; train it again"
    return Tables(predictions, history, reference=reference), f"this machine, {kind}, {profile}", ""


def _row(claim: Claim, test: Test, tables: Tables | None, source: str, why: str) -> Row:
    outcome = evaluate(test, tables) if tables is not None else Outcome("not tested", reason=why)
    estimate = outcome.estimate
    reason = outcome.reason
    if outcome.verdict in ("not tested", "contradicted") and claim.note:
        reason = f"{reason}. {claim.note}" if reason else claim.note
    return Row(
        id=claim.id,
        experiment=test.experiment,
        dataset=test.dataset,
        real=test.real,
        direct=claim.direct and test.real and not source.endswith(("quick", "long")),
        kind=claim.kind,
        verdict=outcome.verdict,
        value=_number(estimate.value, test.metric) if estimate else None,
        low=_number(estimate.low, test.metric) if estimate else None,
        high=_number(estimate.high, test.metric) if estimate else None,
        censored=estimate.censored if estimate else None,
        seeds=outcome.seeds,
        paper_value=claim.paper_value,
        paper_value_of=claim.paper_value_of,
        statement=claim.statement,
        paper=claim.paper,
        where=claim.where,
        metric=test.metric,
        measured=test.measured(),
        source=source,
        reason=reason,
    )


def _number(x: float, metric: str) -> float | None:
    if not math.isfinite(x):
        return None
    small = metric in UNIT_BOUND and 0 < abs(x) < 1
    return round(x, DIGITS - 1 - math.floor(math.log10(abs(x))) if small else DIGITS) + 0.0


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _write(path: Path, content: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(content, encoding="utf-8", newline="\n")
    os.replace(partial, path)
