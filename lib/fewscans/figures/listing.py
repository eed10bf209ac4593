"""What there is, as tables for notebook 00: notebooks, profiles, data sets, published results."""

from __future__ import annotations

import json

import pyarrow.parquet as pq

from fewscans import data, paths
from fewscans.figures.wording import listed, markdown, sizes
from fewscans.params import PROFILES, Params, load
from fewscans.results import BESIDE


def notebooks() -> str:
    """Markdown: every notebook of params.yaml with the run tables it reads."""
    rows = []
    for number, entry in load().notebooks.items():
        runs = ", ".join(f"`{run}`" for run in entry.runs.values()) or "–"
        name = entry.file.partition("_")[2].replace("_", " ")
        rows.append([f"[{number} · {name}]({entry.file}.ipynb)", runs, f"`fewscans notebook {number}`"])
    return markdown(["notebook", "reads this machine's runs", "command"], rows)


def profiles(loaded: Params) -> str:
    """Markdown: what each profile trains, for every grid."""
    rows = []
    for run, grids in loaded.grids.items():
        for profile in (profile for profile in PROFILES if profile in grids):
            grid = grids[profile]
            n = sorted({size for of_arm in grid.arms.values() for size in of_arm})
            runs = sum(len(of_arm) for of_arm in grid.arms.values()) * grid.seeds
            rows.append([f"`{run}`, {profile}", len(grid.arms), sizes(n), grid.seeds, f"{grid.steps:,}", f"{runs:,}"])
    return markdown(["run, profile", "arms", "N", "seeds", "updates", "networks in the table"], rows)


def datasets() -> str:
    """Markdown: data sets that have a reader, their size, licence and citation."""
    rows = []
    for entry in data.DATASETS.values():
        counts = ", ".join(
            f"{split} {cases:,}" + ("" if positive is None else f" ({positive:,})")
            for split, (cases, positive) in entry.counts.items()
        )
        size = "–" if entry.size_bytes is None else f"{entry.size_bytes / 2**20:.1f} MiB"
        rows.append([f"`{entry.name}`", size, counts or "–", entry.licence, entry.cite])
    return markdown(["data set", "size", "cases (positive)", "licence", "cite"], rows)


def published_results() -> str:
    """Markdown: what git keeps under reports/published, from the notes in the tables; a sentence if nothing."""
    rows = []
    for folder in sorted(path for path in paths.published().glob("*/*") if path.is_dir()):
        tables = sorted(path for path in folder.glob("*.parquet") if path.stem not in BESIDE)
        if not tables:
            continue
        about = json.loads(pq.read_schema(tables[0]).metadata[b"fewscans"])
        kind = "real data" if about["real"] else "twin"
        details = [f"{len(about['arms'])}: {listed(about['arms'])}", len(about["seeds"]), listed(about["device"])]
        rows.append([f"{about['experiment']} on {about['dataset']}", kind, about["profile"] or "–", *details])
    if not rows:
        return "Nothing is published yet."
    return "Published:\n\n" + markdown(["", "data", "profile", "arms", "seeds", "device"], rows)
