"""Anything over the number of training cases: scores, gains over a baseline, data-efficiency factors, paper tables.

One `Panel` is one tidy table of estimates with the looks of its arms. Ours are filled, a paper's hollow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from fewscans.experiments.base import Arm
from fewscans.figures.style import GREY, WIDTH_INCHES, Picture, columns_for, legend, sheet, sizes_axis, styled
from fewscans.figures.tables import score_label, within
from fewscans.results import Results

SPREAD = 0.025  # of the axis, between neighbouring arms, so that their intervals do not hide one another
VERDICT_COLOURS = {
    "reproduced": "#009E73", "inconclusive": "#8a949e", "contradicted": "#D55E00", "not tested": "#c9d1d9"
}  # fmt: skip
DASHES = {"-": "", "--": (4, 2), ":": (1, 1.4), "-.": (5, 1.4, 1, 1.4)}


@dataclass(frozen=True, eq=False)
class Panel:
    """What one pair of axes shows.

    table: arm, n_train, value and, where there are intervals, low and high; censored, where a value is a bound.   arms:
    name → its look.   paper: the numbers are a paper's.   lines: values at which a line is drawn.   log: the scale of
    the values.   provenance: of the results that the table was computed from.
    """

    table: pd.DataFrame
    arms: Mapping[str, Arm]
    ylabel: str
    xlabel: str = "training cases"
    title: str = ""
    paper: bool = False
    lines: Sequence[float] = ()
    log: bool = False
    provenance: Mapping = field(default_factory=dict)


def scores(results: Results, arms: Sequence[str], score: str | None = None, split: str = "test", **options) -> Panel:
    """Scores of some arms over N."""
    table = results.scores(arms, score, split)
    return _panel(results, table, arms, score_label(score or results.score_name, results.dataset.unit), **options)


def gains(
    results: Results, arms: Sequence[str], baseline: str, score: str | None = None, split: str = "test", **options
) -> Panel:
    """Gains of some arms over a baseline, paired by seed and case, over N."""
    name = score_label(score or results.score_name, results.dataset.unit)
    table = results.gains(arms, baseline, score, split)
    return _panel(results, table, arms, f"gain in {name}", **{"lines": (0.0,)} | options)


def factors(results: Results, arms: Sequence[str], baseline: str, score: str | None = None, **options) -> Panel:
    """Data-efficiency factors over N where they are defined, with lines at 1 (no saving) and 10."""
    options = {"lines": (1.0, 10.0), "log": True} | options
    table = within(results, arms, baseline, score).query("defined")
    return _panel(results, table, arms, "times fewer cases", **options)


def paper_table(table: pd.DataFrame, arms: Mapping[str, Arm], ylabel: str, **options) -> Panel:
    """A paper's table (rows by N, a column an arm) as a hollow panel; arms that it lacks are left out."""
    tidy = table.rename_axis("n_train").reset_index().melt("n_train", var_name="arm", value_name="value")
    known = {arm: look for arm, look in arms.items() if arm in table}
    return Panel(tidy[tidy["arm"].isin(known)], known, ylabel, paper=True, **{"title": "Paper"} | options)


def _panel(results: Results, table: pd.DataFrame, arms: Sequence[str], measure: str, **options) -> Panel:
    looks = {arm: results.arm(arm) for arm in arms if arm in set(table["arm"])}
    defaults = {
        "ylabel": measure,
        "xlabel": f"training {results.dataset.plural}",
        "title": "Real data" if results.real else "Synthetic twin",
        "provenance": results.provenance,
    }
    return Panel(table, looks, **defaults | options)


@styled
def over_n(panels: Sequence[Panel], title: str, note: str = "", height: float = 3.8) -> Picture:
    """The panels side by side under one title, with one legend."""
    shown = [panel for panel in panels if len(panel.table)]
    if not shown:
        raise ValueError(f"nothing to draw for {title!r}: no table has rows")
    same = len({(panel.ylabel, panel.log) for panel in shown}) == 1
    figure, axes = sheet(title, 1, len(shown), height, note, sharey=same)
    for panel, place in zip(shown, axes[0], strict=True):
        draw(place, panel, WIDTH_INCHES / len(shown) - 0.7)
        place.set_title(panel.title, color=GREY if panel.paper else "black")
        if same and place is not axes[0, 0]:
            place.set_ylabel("")
    handles = {h.get_label(): h for place in axes[0] for h in place.get_lines() if not h.get_label().startswith("_")}
    legend(figure, handles, columns_for(list(handles)))
    sources = [dict(panel.provenance) for panel in shown if panel.provenance]
    return Picture(figure, title, {"figure": title, "sources": sources})


def draw(axes: Axes, panel: Panel, width_inches: float = 5.0) -> None:
    """One panel into given axes: a line for each arm, its intervals as bars, arrows where a value is a bound.

    width_inches: of the axes, about; sizes without room for their number have none.
    """
    arms, sizes = list(panel.arms), panel.table["n_train"]
    reach = math.log(1.35**2 * sizes.max() / sizes.min())  # of the axis
    apart = 0.0 if panel.paper else SPREAD * reach  # where there are no intervals, none hides another
    place = {arm: math.exp(apart * (i - (len(arms) - 1) / 2)) for i, arm in enumerate(arms)}
    table = panel.table.assign(x=sizes * panel.table["arm"].astype(str).map(place).astype(float))
    if not panel.log:  # between factors, which are often mere bounds, nothing is to be read
        sns.lineplot(
            table, x="x", y="value", hue="arm", style="arm", hue_order=arms, style_order=arms, errorbar=None,
            palette={arm: look.colour for arm, look in panel.arms.items()}, legend=False,
            dashes={arm: DASHES[look.line] for arm, look in panel.arms.items()}, ax=axes,
        )  # fmt: skip
    for arm, look in panel.arms.items():
        mine = table[table["arm"] == arm]
        face = "white" if panel.paper else look.colour
        axes.plot(mine["x"], mine["value"], look.marker, color=look.colour, markerfacecolor=face, label=look.label)
        if "low" in mine:
            _bars(axes, mine, look.colour, panel.log)
    for line in panel.lines:
        axes.axhline(line, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
    axes.set_ylabel(panel.ylabel)
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_major_formatter("{x:g}×")
        axes.yaxis.set_minor_formatter("")
    sizes_axis(axes, sizes, panel.xlabel, apart=math.exp(0.29 * reach / width_inches))
    edge = math.exp(0.05 * reach)
    axes.set_xlim(min(axes.get_xlim()[0], table["x"].min() / edge), max(axes.get_xlim()[1], table["x"].max() * edge))


def _bars(axes: Axes, mine: pd.DataFrame, colour: str, log: bool) -> None:
    """Intervals; an end that the data do not reach, or that a logarithmic axis has not, becomes an arrow."""
    for row in mine.itertuples():
        ends = [row.low, row.high]
        open_ends = [not math.isfinite(row.low) or (log and row.low <= 0), not math.isfinite(row.high)]
        reach = 1.6 if log else 1.0
        drawn = [row.value / reach if open_ends[0] else ends[0], row.value * reach if open_ends[1] else ends[1]]
        axes.plot([row.x, row.x], drawn, color=colour, linewidth=1.5)
        for is_open, end, marker in zip(open_ends, drawn, ("v", "^"), strict=True):
            if is_open:
                axes.plot(row.x, end, marker, color=colour, markersize=4.5)


@styled
def over_updates(
    results: Results, arms: Sequence[str], title: str, note: str = "", column: str = "val_auc",
    ylabel: str = "validation AUC", baselines: Sequence[str] = (), score: str | None = None,
) -> Picture:  # fmt: skip
    """What validation said while networks learned: a panel a size; lines: means over seeds, bands: all seeds.

    column: of the history.   baselines: arms without a network, whose mean `score` is a level line; of a pilot only, as
    published tables score them on test cases.
    """
    history = results.history[results.history["arm"].isin(arms)]
    sizes = sorted(history["n_train"].unique())
    figure, axes = sheet(title, 1, len(sizes), 2.9, note, sharey=True)
    for n, panel in zip(sizes, axes[0], strict=True):
        for arm in arms:
            mine = history[(history["n_train"] == n) & (history["arm"] == arm)]
            by_step = mine.groupby("step")[column].agg(["mean", "min", "max"])
            if len(by_step):
                look = results.arm(arm)
                line = {"color": look.colour, "linestyle": look.line, "label": look.label}
                panel.plot(by_step.index, by_step["mean"], marker=look.marker, markersize=4, **line)
                panel.fill_between(by_step.index, by_step["min"], by_step["max"], color=look.colour, alpha=0.15, lw=0)
        for arm in (arm for arm in baselines if results.has(arm, n)):
            look = results.arm(arm)
            level = results.resampled(score).values(arm, n).mean()
            panel.axhline(level, color=look.colour, linestyle=look.line, linewidth=1.4, label=look.label)
        panel.set(title=f"N = {n:,}", xlabel="updates")
        panel.locator_params(axis="x", nbins=3)
    axes[0, 0].set_ylabel(ylabel)
    handles = {h.get_label(): h for panel in axes[0] for h in panel.get_lines()}
    legend(figure, handles, columns_for(list(handles)))
    return Picture(figure, title, {"figure": title, "sources": [dict(results.provenance)]})


@styled
def forest(rows: Sequence, title: str, note: str = "") -> Picture:
    """Claims one above the other: the difference from the line that decides each, its interval, coloured by verdict.

    rows: of the scorecard; those without an interval, and ratios, which have another scale, are named below.
    """
    shown = [row for row in rows if row.value is not None and not row.ratio and None not in (row.low, row.high)]
    if not shown:
        raise ValueError(f"nothing to draw for {title!r}: no claim was tested by a difference")
    if left := [row.id for row in rows if row not in shown and row.verdict != "not tested"]:
        note = f"{note} In the table alone, as ratios or open intervals: {', '.join(dict.fromkeys(left))}.".strip()
    figure, axes = sheet(title, 1, 1, 1.3 + 0.27 * len(shown), note)
    (panel,) = axes[0]
    for height, row in enumerate(shown):
        colour = VERDICT_COLOURS[row.verdict]
        panel.plot([row.low - row.line, row.high - row.line], [height, height], color=colour, linewidth=1.8)
        panel.plot(row.value - row.line, height, "o", color=colour)
    for verdict in dict.fromkeys(row.verdict for row in shown):
        panel.plot([], [], "o-", color=VERDICT_COLOURS[verdict], label=verdict)
    panel.axvline(0, color=GREY, linewidth=1.0)
    panel.set_yticks(np.arange(len(shown)), [f"{row.id}, {row.dataset}" for row in shown], fontsize=8)
    panel.set_ylim(len(shown) - 0.4, -0.6)
    panel.grid(False, axis="y")
    panel.set_xlabel("measured value minus the line of the claim")
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5)
    return Picture(figure, title, {"figure": title, "claims": [row.id for row in shown]})
