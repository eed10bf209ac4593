"""All published results side by side: how many times fewer scans, what needs no network, what it cost.

The baseline of a run is the arm that its claims compare with most often, of those that are networks and have a learning
curve. An idea is an arm that is derived from no other; what is derived from one is a rival or a control.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import blended_transform_factory

from fewscans import claims as claims_files
from fewscans import paths, results
from fewscans.figures.style import GREY, Picture, sheet, styled
from fewscans.figures.tables import score_label, text, within
from fewscans.results import Results
from fewscans.scorecard import OWN, Row
from fewscans.stats import Estimate

N_BOOTSTRAP = 500
TICKS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
NOTE = (
    "Dots: training cases that the plain network, or the one that a heading names, needs for the same score, over "
    "those of the method. Bars: 95 % intervals. Triangles: the value lies beyond what the training sizes show. Lines: "
    "no saving, and ten times fewer. Hollow: twins."
)


def published(n_bootstrap: int = N_BOOTSTRAP) -> list[Results]:
    """Every published run with tables of its own, those on real data first."""
    folders = [folder for folder in sorted(paths.published().glob("*/*/")) if "-on-" not in folder.name]
    found = [results.published(folder.parent.name, folder.name, n_bootstrap) for folder in folders]
    return sorted((run for run in found if run is not None), key=lambda run: not run.real)


def baseline(run: Results) -> str | None:
    """The network that the run's claims compare with most often and that has a learning curve; None without one."""
    for arm, _ in _compared_with(paths.root()).get(run.run, Counter()).most_common():
        if arm in run.arms and not run.arm(arm).trivial and len(run.sizes(arm)) > 1:
            return arm
    return None


@cache
def _compared_with(_root: Path) -> dict[str, Counter]:
    """How often the claims of a project compare with each arm, by run."""
    found: dict[str, Counter] = {}
    for test in (test for claim in claims_files.load() for test in claim.tests if test.baseline):
        found.setdefault(test.run, Counter())[test.baseline] += 1
    return found


def methods(run: Results, ideas: bool = True) -> list[str]:
    """The networks with a learning curve beside the baseline's: ideas, or what is derived from another arm."""
    plain = baseline(run)
    arms = [arm for arm in run.arms if arm != plain and not run.arm(arm).trivial and len(run.sizes(arm)) > 1]
    return [arm for arm in arms if (run.arm(arm).derived_from is None) is ideas]


def factors(runs: Sequence[Results], ideas: bool = True) -> pd.DataFrame:
    """Data-efficiency factors: run (its place in `runs`), arm, n_train, value, low, high, censored, defined."""
    tables = [within(run, methods(run, ideas), plain).assign(run=i)
              for i, run in enumerate(runs) if (plain := baseline(run))]  # fmt: skip
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def factor_table(runs: Sequence[Results], table: pd.DataFrame) -> pd.DataFrame:
    """The same for people: a row a method on a data set, a column a training size."""
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for row in table.itertuples():
        censored = row.censored if isinstance(row.censored, str) else None
        said = text(Estimate(row.value, row.low, row.high, censored=censored), 1) if row.defined else "not defined"
        rows.setdefault((runs[row.run].name, runs[row.run].arm(row.arm).label), {})[row.n_train] = said
    shown = pd.DataFrame.from_dict(rows, orient="index").sort_index(axis="columns").fillna("")
    shown.index = pd.MultiIndex.from_tuples(rows, names=["data", "method"])
    return shown.rename(columns=lambda n: f"N = {n:,}").reset_index()


@styled
def fewer(runs: Sequence[Results], table: pd.DataFrame, title: str, note: str = NOTE) -> Picture:
    """Factors one above the other, grouped by data set; an end that the data do not reach is an arrow.

    table: of `factors`; what is not defined is left out, and counted in the note.
    """
    shown = table[table["defined"]]
    if shown.empty:
        raise ValueError(f"nothing to draw for {title!r}: no factor is defined")
    headings = shown["run"].nunique()
    undefined = len(table) - len(shown)
    note += f" Not defined, as the plain network does not gain there or curves cross: {undefined}." * bool(undefined)
    figure, axes = sheet(title, 1, 1, 1.5 + 0.165 * (len(shown) + 1.3 * headings), note)
    (panel,) = axes[0]
    ends = shown[["value", "low", "high"]].to_numpy()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    left, right = min(0.08, 0.6 * ends.min()), max(30.0, 1.6 * ends.max())
    labels, heights, height = [], [], 0.0
    margin = blended_transform_factory(figure.transFigure, panel.transData)  # headings begin at the figure's left edge
    for place, mine in shown.groupby("run", sort=False):
        run = runs[place]
        against = run.arm(baseline(run) or "")
        heading = run.name + f", against {against.label}" * (not getattr(against, "group", "").startswith("Z"))
        written = panel.text(0.01, height, heading, fontsize=8.5, weight="bold", va="center", transform=margin)
        written.set_in_layout(False)
        height += 1.1
        for row in mine.itertuples():
            look = run.arm(row.arm)
            ends = max(row.low, left), min(row.high, right)
            panel.plot(ends, [height, height], color=look.colour, linewidth=1.4)
            for end, value, marker in ((ends[0], row.low, 8), (ends[1], row.high, 9)):  # carets to the left and right
                if value != end:
                    panel.plot(end, height, marker=marker, color=look.colour, markersize=4)
            marker = {"low": "<", "high": ">"}.get(row.censored, "o")
            face = look.colour if run.real else "white"
            panel.plot(row.value, height, marker, color=look.colour, markerfacecolor=face, markersize=5)
            labels.append(f"{look.short}, N = {row.n_train:,}")
            heights.append(height)
            height += 1.0
        height += 0.3
    for line in (1.0, 10.0):
        panel.axvline(line, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
    panel.set_xscale("log")
    panel.set_xlim(left * 0.85, right * 1.15)
    panel.set_ylim(height, -0.8)
    panel.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if left <= tick <= right]))
    panel.xaxis.set_major_formatter("{x:g}×")
    panel.minorticks_off()
    panel.tick_params(axis="x", labelsize=8.5)
    panel.set_yticks(heights, labels, fontsize=8)
    panel.grid(False, axis="y")
    panel.set_xlabel("times fewer training cases")
    drawn = [runs[place] for place in shown["run"].unique()]
    return Picture(figure, title, {"figure": title, "sources": [dict(run.provenance) for run in drawn]})


def controls(rows: Sequence[Row]) -> pd.DataFrame:
    """Our own controls that were tested: variants without the idea, in which it must fail, and simpler explanations."""
    mine = [row for row in rows if row.paper == OWN and row.verdict != "not tested"]
    mine.sort(key=lambda row: (not row.real, row.dataset))
    cells = [(row.verdict, row.statement, row.measured, row.ours(), row.dataset) for row in mine]
    return pd.DataFrame(cells, columns=["verdict", "control", "measured", "ours (95 % interval)", "data"])


def trivial(runs: Sequence[Results]) -> pd.DataFrame:
    """Does the network know more than what needs none? A row a run, at the largest size that both have."""
    rows = []
    for run in runs:
        plain = baseline(run) or next((arm for arm in run.arms if not run.arm(arm).trivial), None)
        name = "r2" if run.dataset.unit else run.score_name
        simple = [arm for arm in run.arms if run.arm(arm).trivial and run.sizes(plain, arm, score=name)]
        if not simple:
            continue
        n = max(n for arm in simple for n in run.sizes(plain, arm, score=name))
        scored = {arm: run.score(arm, n, name) for arm in simple if n in run.sizes(arm, score=name)}
        best = max(scored, key=lambda arm: scored[arm].value)
        gain = run.gain(plain, best, n, name)
        word = "more" if gain.low > 0 else "less" if gain.high < 0 else "not decided"
        rows.append((run.name, score_label(name), f"{n:,}", run.arm(plain).label, text(run.score(plain, n, name)),
                     run.arm(best).label, text(scored[best]), f"{word}: {text(gain)}"))  # fmt: skip
    columns = ["data", "score", "N", "network", "its score", "best without a network", "its score ", "network knows"]
    return pd.DataFrame(rows, columns=columns)


def cost(runs: Sequence[Results]) -> pd.DataFrame:
    """What the published runs cost: device, networks, hours, memory where it was measured."""
    rows = []
    for run in runs:
        trained = [record for record in run.records if record.get("parameters")]
        hours = sum(record.get("seconds_cpu", 0) for record in trained) / 3600
        wall = [record["seconds_wall"] for record in trained if "seconds_wall" in record]
        memory = [value for record in trained for key, value in record.items() if key.startswith("memory_")]
        devices = ", ".join(sorted({str(record["device"]) for record in trained if record.get("device")}))
        rows.append((run.name, devices, len(trained), f"{hours:.1f}", f"{np.median(wall):.0f}" if wall else "–",
                     f"{max(record['parameters'] for record in trained):,}",
                     f"{max(memory) / 2**20:.0f} MB" if memory else "not measured"))  # fmt: skip
    columns = ["data", "device", "networks", "processor hours", "seconds a network (median)", "parameters, at most",
               "peak memory"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def headline(rows: Sequence[Row]) -> dict[str, dict]:
    """For `dvc metrics show`: verdict and numbers of each headline claim that was tested, by its name and data set."""
    tested = [row for row in rows if row.headline and row.verdict != "not tested"]
    numbers = ("value", "low", "high")
    return {
        f"{row.id}.{row.dataset}": {"verdict": row.verdict}
        | {key: round(x, 3) + 0.0 for key in numbers if (x := getattr(row, key)) is not None}
        | {"line": row.line, "source": row.source}
        for row in tested
    }


def kept() -> dict[str, Picture]:
    """What git keeps, drawn from published results."""
    runs = published()
    ideas, rivals = (factors(runs, which) for which in (True, False))
    return {
        "data_efficiency": fewer(runs, ideas, "How many times fewer scans?"),
        "data_efficiency_rivals": fewer(runs, rivals, "How many times fewer scans? Rivals and controls"),
    }
