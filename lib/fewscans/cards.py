"""reports/results/: one page a result, as a code host shows it. Prose from the claims' files, the rest computed.

What lies in git decides them alone: claims, published tables, kept figures. So they are the same bytes in every clone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from fewscans import claims as claims_files
from fewscans import experiments, files, paths, provenance, results, scorecard
from fewscans.claims import Claims
from fewscans.data import registry
from fewscans.scorecard import SYMBOL, Row, markdown_table


def write(rows: Sequence[Row], claims: Claims | None = None, folder: Path | None = None) -> list[Path]:
    """A page for every paper whose claims' file has a `card`, named as its notebook; pages of others are removed."""
    claims = claims_files.load() if claims is None else claims
    folder = folder or paths.reports() / "results"
    carded = {paper: entry for paper, entry in claims.papers.items() if entry.get("card")}
    written = [
        files.write(folder / f"{entry['notebook'].replace('_', '-')}.md", page(paper, entry, rows, claims))
        for paper, entry in sorted(carded.items(), key=lambda item: item[1]["notebook"])
    ]
    for path in set(folder.glob("*.md")) - set(written):
        path.unlink()
    return written


def page(paper: str, entry: dict, rows: Sequence[Row], claims: Claims) -> str:
    """The page of one paper, and of what has no page of its own and the same notebook, such as a thread.

    entry: the top of its claims' file.   rows: of the scorecard.
    """
    card, stem = entry["card"], entry["notebook"]
    others = {name for name, of in claims.papers.items() if of.get("notebook") == stem and not of.get("card")}
    mine = [row for row in rows if row.paper in {paper, *others}]
    runs = published(sorted({row.experiment for row in mine}))
    parts = {
        "": [card["question"], entry["cite"] + ".", f"[Notebook](../../notebooks/{entry['notebook']}.ipynb) · "
             "[all claims](../scorecard.md) · [published tables](../published)"],
        "What held": [_verdicts([row for row in mine if row.headline], claims, bool(others))],
        "Figures": [f"![{alt}](../figures/{name})\n\n*{alt}.*" for name, alt in card["figures"].items()],
        "Protocol": [_list(card["protocol"])],
        "What differs from the paper": [_list(card["deviations"])],
        "Runs": [_runs(runs)] if runs else ["None is published."],
        "Data": [_data({about["dataset"] for about in runs})] if runs else ["None is published."],
        "Checklist": [_checklist(mine, runs)],
    }  # fmt: skip
    body = [f"## {title}\n\n" + "\n\n".join(texts) if title else "\n\n".join(texts) for title, texts in parts.items()]
    head = f"# {entry['short']}\n\n*Written by `fewscans scorecard`; do not edit.*"
    stamp = provenance.stamp(scorecard.runs_of(mine), claims, " ".join([paper, *sorted(others)]))
    return "\n\n".join([head, *body, stamp]) + "\n"


def published(names: Sequence[str]) -> list[dict]:
    """What decided each published run of these experiments (`names`), with its records: real ones first."""
    found = []
    for folder in (folder for name in names for folder in sorted((paths.published() / name).glob("*/"))):
        tables = [path for path in sorted(folder.glob("*.parquet")) if path.stem not in results.BESIDE]
        if tables and "-on-" not in folder.name:
            about = json.loads(pq.read_schema(tables[0]).metadata[b"fewscans"])
            found.append(about | {"records": json.loads((folder / "records.json").read_text(encoding="utf-8"))})
    return sorted(found, key=lambda about: not about["real"])


def _verdicts(rows: Sequence[Row], claims: Claims, several: bool) -> str:
    """Headline claims, those on real data first; what has no tables is counted below.   several: name whose each is."""
    shown = sorted((row for row in rows if row.source), key=lambda row: not row.real)
    cells = [
        (
            f"{SYMBOL[row.verdict]} {row.verdict}", row.statement, row.measured.replace(" - ", " − "), row.ours(),
            row.dataset, row.reason,
        )
        for row in shown
    ]  # fmt: skip
    columns = ["verdict", "claim", "measured", "ours (95 % interval)", "data", "remark"]
    table = pd.DataFrame(cells, columns=columns)
    if several:
        table.insert(2, "of", [claims.papers[row.paper]["short"] for row in shown])
    words = {(row.experiment, word) for row in shown for word in re.split(r"[\s,/]+", row.measured)}
    arms = {
        arm: look.label for name in dict.fromkeys(row.experiment for row in shown)
        for arm, look in experiments.get(name).ARMS.items() if (name, arm) in words
    }  # fmt: skip
    named = "\n\nArms: " + "; ".join(f"`{arm}` {label}" for arm, label in arms.items()) + "." if arms else ""
    rest = len(rows) - len(shown)
    without = f"\n\nFurther tests of headline claims without any tables: {rest}." if rest else ""
    return markdown_table(table) + named + without


def _runs(runs: Sequence[dict]) -> str:
    cells = []
    for about in runs:
        networks = [record for record in about["records"] if record.get("parameters")]
        hours = sum(record.get("seconds_cpu") or record.get("seconds", 0) for record in networks) / 3600
        command = f"`fewscans train {about['run']} --profile {about['profile'] or 'paper'}`"
        devices = ", ".join(sorted({record.get("device", "") for record in networks} - {""}))
        cells.append((command, "real" if about["real"] else "twin", len(networks), f"{hours:.1f}", devices))
    columns = ["command", "data", "networks", "processor hours", "device"]
    measured = any(key.startswith("memory_") for about in runs for record in about["records"] for key in record)
    remark = "" if measured else "\n\nPeak memory was not measured in these runs."
    return markdown_table(pd.DataFrame(cells, columns=columns)) + remark


def _data(names: set[str]) -> str:
    """Title, licence, source and citation of each data set, from its record."""
    entries = {(entry := registry.dataset(name.rpartition("-on-")[2])).name: entry for name in names}
    cells = [
        (entry.title, entry.licence, entry.source, entry.cite) for _, entry in sorted(entries.items()) if entry.licence
    ]
    return markdown_table(pd.DataFrame(cells, columns=["data set", "licence", "where to get it", "cite"]))


def _checklist(rows: Sequence[Row], runs: Sequence[dict]) -> str:
    headlines = [row for row in rows if row.headline and row.real]
    before = sum(row.named == "before" for row in headlines)
    seen = sum(row.seen for row in headlines)
    seeds = sorted({row.seeds for row in headlines if row.seeds})
    groups = sorted({registry.dataset(about["dataset"].rpartition("-on-")[2]).group for about in runs})
    answers = {
        "code that made the numbers": "this repository; its hash stands in every table",
        "predictions": "all test cases and seeds, in git" if runs else "none published",
        "headline tests on real data named before their results": f"{before} of {len(headlines)}",
        "of these, other results on the same test set had been seen": f"for {seen}",
        "seeds, real data": ", ".join(map(str, seeds)) + "; none left out" if seeds else "none yet",
        "split by": ", ".join(groups) or "not yet",
        "intervals": "95 %, over seeds and test cases together",
        "settings found on": "validation cases",
        "hardware": ", ".join(sorted({r.get("device", "") for about in runs for r in about["records"]} - {""})) or "–",
    }
    return markdown_table(pd.DataFrame(answers.items(), columns=["question", "answer"]))


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)
