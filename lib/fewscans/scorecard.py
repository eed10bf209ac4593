"""The state of every claim, computed from the tables at hand: scorecard files, and the README's table of results.

Each test of a claim is one row: claim × experiment × data set. Its tables are the published ones where git keeps some,
else, if asked for, this machine's run; a run of the smoke profile is refused. What lies in git (reports/scorecard.*,
the README) is computed from what lies in git alone, so it is the same bytes in every clone; the scorecard with this
machine's runs goes to build/.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from fewscans import claims as claims_files
from fewscans import files, paths, provenance, results
from fewscans.claims import Claim, Claims, Test
from fewscans.errors import ClaimsError, FewscansError
from fewscans.results import Results
from fewscans.verdicts import N_BOOTSTRAP, VERDICTS, Outcome, evaluate

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
DIGITS = 4  # of values in the files: beyond what any interval here can tell, short of what a machine's arithmetic moves
UNIT_BOUND = ("mse", "mae")  # scores in the unit of the label, or its square, of any magnitude
SYMBOL = {"reproduced": "✓", "inconclusive": "?", "contradicted": "✗", "not tested": "–"}
OWN = "ours"  # the "paper" of our own controls


@dataclass(frozen=True)
class Row:
    """One claim on one run.

    headline: one of the few that a reader would ask about.   named: "before" or "after" its results were seen; seen:
    other networks' results on the same test cases had been seen before.
    line: the value that decides.   source: "published, real", "published, twin", "this machine, twin, quick", or "" if
    there are no tables.   censored, low, high: as in `stats.Estimate`; an end that the data do not reach is None.
    """

    id: str
    experiment: str
    dataset: str
    real: bool
    direct: bool
    headline: bool
    named: str
    seen: bool
    kind: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    censored: str | None
    line: float
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

    @property
    def ratio(self) -> bool:
        """Whether the value is a ratio, whose neutral value is 1."""
        return self.metric.startswith(("data_efficiency", "epochs_to_baseline", "compute_to_auc", "seed_spread"))

    def ours(self) -> str:
        """Our value with its interval, for people; empty where there is none. What would be rounded onto the line that
        decides gets more digits.
        """
        if self.value is None:
            return ""
        coarse = self.metric.startswith(("data_efficiency", "malignant_in_top", "positives_in_top"))  # factors, counts
        digits = 1 if coarse else 2 if self.ratio else 3
        if self.metric in UNIT_BOUND:  # three digits of the largest, whatever the unit
            largest = max(abs(end) for end in (self.value, self.low, self.high) if end is not None)
            digits = max(0, 2 - math.floor(math.log10(largest))) if largest else 3
        off = [end for end in (self.value, self.low, self.high) if end not in (None, self.line)]
        while digits < DIGITS and any(round(end, digits) == self.line for end in off):
            digits += 1
        low, high = ("–" if end is None else f"{end:.{digits}f}" for end in (self.low, self.high))
        sign = {None: "", "low": "< ", "high": "> "}[self.censored]
        return f"{sign}{self.value:.{digits}f} ({low} to {high})"


def scorecard(
    local: bool = False,
    claims: Claims | None = None,
    experiment: str | None = None,
    kept: Sequence[Row] | None = None,
) -> list[Row]:
    """A row for every test of every claim, in the order of the claims' files.

    local: also use this machine's runs where nothing is published.   claims: those of the project if None.
    experiment: only tests on its runs.   kept: rows of the same claims without `local`; those with a source are
    taken over. None: of the project's claims those in reports/scorecard.json, as long as nothing that decides them has
    changed.   Raises ClaimsError for malformed claims, RunError for damaged tables.
    """
    if claims is None:
        claims = claims_files.load()
        kept = _unchanged(claims) if kept is None else kept
    kept = [row for row in kept or () if experiment in (None, row.experiment)]
    wanted = [(claim, test) for claim in claims for test in claim.tests if experiment in (None, test.experiment)]
    known = [row if row.source else None for row in kept] or [None] * len(wanted)
    pairs = list(zip(wanted, known, strict=True))
    first = {test.run: test for (_, test), row in pairs if row is None}  # tables are read and resampled once a run
    sources = {run: _source(test, local) for run, test in first.items()}
    return [row or _row(claim, test, *sources[test.run]) for (claim, test), row in pairs]


def write_all() -> tuple[list[Row], list[Path]]:
    """Writes reports/scorecard.json and .md and the README's table from what git keeps, and build/scorecard.json
    and .md with this machine's runs as well. Returns the rows of what git keeps, and the paths written.
    """
    kept = scorecard(kept=())  # computed anew
    written = write_scorecard(kept, paths.reports()) + write_scorecard(scorecard(local=True, kept=kept), paths.build())
    readme = paths.root() / "README.md"
    return kept, written + ([update_readme(readme, kept)] if readme.exists() else [])


def write_scorecard(rows: list[Row], folder: Path, claims: Claims | None = None) -> list[Path]:
    """scorecard.json (a list of rows) and scorecard.md, replaced atomically; the same bytes for the same rows."""
    text = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    contents = {folder / "scorecard.json": text + "\n", folder / "scorecard.md": markdown(rows, claims)}
    return [files.write(path, content) for path, content in contents.items()]


def load(local: bool = True) -> list[Row]:
    """The rows written last: with this machine's runs if there are such, else (or not `local`) those that git keeps."""
    places = [paths.build() / "scorecard.json"] * local + [paths.reports() / "scorecard.json"]
    path = next(path for path in places if path.is_file() or path is places[-1])
    try:
        return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise ClaimsError(f"{path.name} cannot be read ({error}); `fewscans scorecard` writes it anew") from error


def _unchanged(claims: Claims) -> list[Row]:
    """The rows that git keeps; none if claims, tables or the code that judges them are others than they came from."""
    try:
        page = provenance.of_page(paths.reports() / "scorecard.md")
        return load(local=False) if page.get("decided") == provenance.decided(claims) else []
    except FewscansError:  # no such files, or damaged ones
        return []


def markdown(rows: list[Row], claims: Claims | None = None) -> str:
    """The whole scorecard as a page: a line a paper; folded below: headline claims, the rest, what was not tested."""
    claims = claims_files.load() if claims is None else claims
    lines = [
        "# Scorecard",
        "",
        "Computed by `fewscans scorecard` from `claims/` and the prediction tables; do not edit. A verdict on a twin "
        "says that the mechanism works in this implementation; only one on real data is a replication.",
        "",
        readme_table(rows, claims, "../"),
        "A row below is one claim on one data set. *Remark*: what would settle it, or why it was not tested. > 3, < 3, "
        "or – for an end of an interval: beyond what the training sizes can show. *Named after*: after its results had "
        "been seen. *Test set seen*: named before, but other networks' results on the same test cases had been seen.",
    ]
    headline = ["verdict", "claim", "measured", "ours (95 % interval)", "paper", "data", "named", "remark"]
    detail = ["verdict", "claim", "measured", "ours (95 % interval)", "seeds", "paper", "data", "remark"]
    for paper, entry in sorted(claims.papers.items(), key=lambda item: item[1].get("notebook") or "~"):
        mine = [row for row in rows if row.paper == paper]
        first = sorted((row for row in mine if row.headline), key=lambda row: not row.real)
        rest = [row for row in mine if not row.headline and row.verdict != "not tested"]
        waiting = [row for row in mine if not row.headline and row.verdict == "not tested"]
        for what, part, columns in (
            ("headline claims", first, headline),
            ("other claims that were tested", rest, detail),
            ("other claims that were not tested", waiting, ["id", "claim", "measured", "data", "remark"]),
        ):
            if part:
                lines += ["", *_folded(f"{entry['short']}: {what} ({_verdicts(part)})", _table(part, columns))]
    lines += ["", *_folded("All tests, counted by data set", markdown_table(counts(rows).reset_index()))]
    lines += ["", provenance.stamp(runs_of(rows), claims, decided=provenance.decided(claims))]
    return "\n".join(lines) + "\n"


def runs_of(rows: Sequence[Row]) -> set[tuple[str, bool]]:
    """The runs that rows were computed from, and whether they are published."""
    return {(f"{row.experiment}-{row.dataset}", row.source.startswith("published")) for row in rows if row.source}


def _folded(title: str, text: str) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", text, "", "</details>"]


def counts(rows: Sequence[Row]) -> pd.DataFrame:
    """How many tests have which verdict: a row a data set, claims of papers and our own controls apart."""
    data = [
        {
            "run": f"{row.experiment}, {row.dataset}",
            "data": "real" if row.real else "twin",
            "whose": "our own controls" if row.paper == OWN else "claims of the paper",
            "verdict": row.verdict,
        }
        for row in sorted(rows, key=lambda row: not row.real)
    ]
    grouped = pd.DataFrame(data).groupby(["run", "data", "whose"], sort=False)["verdict"]
    return grouped.value_counts().unstack(fill_value=0).reindex(columns=list(VERDICTS), fill_value=0)


def _table(rows: Sequence[Row], columns: list[str]) -> str:
    """A Markdown table; the paper's number stands only beside a direct test on real data."""
    cells = [
        {
            "id": row.id,
            "verdict": f"{SYMBOL[row.verdict]} {row.verdict}",
            "claim": f"{row.statement} ({row.where})",
            "measured": row.measured,
            "ours (95 % interval)": row.ours(),
            "seeds": "" if row.seeds is None else str(row.seeds),
            "paper": _paper(row),
            "data": f"{row.dataset} ({row.source})" if row.source else f"{row.experiment}, {row.dataset}",
            "named": row.named + (", test set seen" if row.seen else ""),
            "remark": row.reason,
        }
        for row in rows
    ]
    return markdown_table(pd.DataFrame(cells, columns=columns)) if cells else "None."


def markdown_table(table: pd.DataFrame) -> str:
    """A Markdown table without the blanks that would align its columns: they are half of a long file."""
    padded = table.map(lambda cell: _cell(str(cell))).to_markdown(index=False, disable_numparse=True)
    return re.sub(r" +\|", " |", re.sub(r":?-{3,}:?", "---", padded))


def _paper(row: Row) -> str:
    if not row.real or row.paper == OWN:
        return ""  # a twin's numbers are not comparable with the paper's
    return "another task" if not row.direct else "" if row.paper_value is None else f"{row.paper_value:g}"


def readme_table(rows: list[Row], claims: Claims, root: str = "") -> str:
    """One row a paper: its claim in a sentence, the verdicts of its headline claims, and why, as its file says it.

    root: the way from the page to the project's folder.
    """
    lines, carded = [], {entry["notebook"] for entry in claims.papers.values() if entry.get("card")}
    for paper, entry in sorted(claims.papers.items(), key=lambda item: item[1].get("notebook") or ""):
        mine = [row for row in rows if row.paper == paper and row.headline]
        if mine and paper != OWN:
            verdicts = [_verdicts([row for row in mine if row.real is real]) for real in (True, False)]
            stem = entry["notebook"]
            link = f"[{stem[:2]}]({root}notebooks/{stem}.ipynb)"
            link += f" · [result]({root}reports/results/{stem.replace('_', '-')}.md)" if stem in carded else ""
            lines.append((entry["short"], entry["claim"], *verdicts, entry.get("why") or "", link))
    columns = ["paper", "its claim", "verdicts on real data", "verdicts on the twin", "why", "more"]
    return markdown_table(pd.DataFrame(lines, columns=columns)) + "\n"


def _verdicts(rows: Sequence[Row]) -> str:
    found = [f"{sum(row.verdict == verdict for row in rows)} {verdict}" for verdict in VERDICTS]
    return ", ".join(text for text in found if not text.startswith("0 ")) or "no claim"


def update_readme(path: Path | None = None, rows: list[Row] | None = None, claims: Claims | None = None) -> Path:
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
    claims = claims_files.load() if claims is None else claims
    made = readme_table(scorecard(claims=claims) if rows is None else rows, claims)
    new = f"{head}{BEGIN}\n\n{made}\n{END}{tail}"
    return files.write(path, new)


def _source(test: Test, local: bool) -> tuple[Results | None, str, str]:
    """A run's tables, what they are called, and why there are none."""
    kind = "real" if test.real else "twin"
    made = results.published(test.experiment, test.dataset, N_BOOTSTRAP)
    if made is not None:
        return made, f"published, {kind}" + (f", {made.profile}" if made.profile != "paper" else ""), ""
    made = results.this_machine(test.run, N_BOOTSTRAP) if local else None
    if made is None:
        return None, "", f"no {'tables' if local else 'published tables'} of the run {test.run}"
    if made.profile == "smoke":
        return None, "", f"this machine's {test.run} is of the smoke profile, which only tests the pipeline"
    return made, f"this machine, {kind}, {made.profile}", ""


def _row(claim: Claim, test: Test, tables: Results | None, source: str, why: str) -> Row:
    outcome = evaluate(test, tables) if tables is not None else Outcome("not tested", reason=why)
    estimate, reason = outcome.estimate, outcome.reason
    if outcome.verdict in ("not tested", "contradicted") and claim.note:
        reason = f"{reason}. {claim.note}" if reason else claim.note
    named = ("id", "headline", "named", "seen", "kind", "paper_value", "paper_value_of", "statement", "paper", "where")
    ends = {end: _number(getattr(estimate, end), test.metric) if estimate else None for end in ("value", "low", "high")}
    return Row(
        **{name: getattr(claim, name) for name in named},
        **{name: getattr(test, name) for name in ("experiment", "dataset", "real", "line", "metric")},
        **ends,
        direct=claim.direct and test.real and not source.endswith(("quick", "long")),
        verdict=outcome.verdict,
        censored=estimate.censored if estimate else None,
        seeds=outcome.seeds,
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
