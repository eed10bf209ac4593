"""Data efficiency: how many times more cases the plain network needs, with intervals, cut off where the grid ends.

The largest factor that a grid can show at N is its largest size over N: a method past it is "> that". Such values are
drawn on the edge with an arrow; an interval with no upper end runs on as an arrow too.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes

from fewscans.figures.arms import look
from fewscans.figures.curves import spread_out
from fewscans.figures.picture import GREY, Picture, sheet, sizes_axis, styled
from fewscans.figures.sources import NotYet, Source
from fewscans.figures.wording import factor, listed, markdown, side, sizes
from fewscans.stats import Estimate

CLAIMED = 10.0  # the paper's abstract: as good with a tenth of the samples


@styled
def factors(source: Source, methods=None) -> Picture:
    """Factor over training size, per method, with the largest factor that the grid can show and the paper's ten."""
    baseline, cases = source.task.baseline, source.task.cases
    found = _found(source, methods)
    title = f"{source.prefix}: at equal updates, {_finding(found, cases)}"
    figure, axes = sheet(title, height=3.9, note=source.note + " Arrow: on that side the grid gives no bound.")
    panel = axes[0, 0]
    n_all = sorted({n for by_size in found.values() for n in by_size})
    reach = max(source.sizes(baseline))
    panel.set_yscale("log")
    top = 1.6 * reach / n_all[0]
    lowest = min(e.value for by_size in found.values() for e in by_size.values())
    panel.set_ylim(0.5 * min(1, source.sizes(baseline)[0] / n_all[0], 1.4 * lowest), top)
    grid = np.geomspace(n_all[0] / 1.6, n_all[-1] * 1.35, 50)
    panel.fill_between(grid, reach / grid, top * 2, color="#eef1f4", zorder=0, linewidth=0)
    beyond = f"beyond the plain\nCNN's {reach:,} {cases}"
    if len(n_all) > 2:
        plain = {"facecolor": "#eef1f4", "edgecolor": "none", "pad": 1.5}
        panel.text(_between(n_all, -2), top / 1.15, beyond, ha="center", va="top", fontsize=9, color=GREY, bbox=plain)
    panel.axhline(1, color=look(baseline).colour, linewidth=1.4)
    panel.axhline(CLAIMED, color=GREY, linewidth=1.1, linestyle=(0, (5, 3)))
    where = _between(n_all, 0), CLAIMED / 1.06  # below its line: what the grid cannot show is written above
    panel.text(*where, "the paper's tenfold", fontsize=9, color=GREY, va="top", ha="center")
    for position, (arm, by_size) in enumerate(found.items()):
        for n, e in by_size.items():
            _draw(panel, arm, n * spread_out(position, len(found)), e, to_the_left=position < len(found) / 2 - 0.5,
                  named=len(found) < 3)  # fmt: skip
    sizes_axis(panel, n_all, f"training {cases}")
    marks = [t for t in (0.1, 0.3, 1, 3, 10, 30, 100) if panel.get_ylim()[0] < t < top]
    panel.set_yticks(marks, [f"{t:g}×" for t in marks])
    panel.set_ylabel(f"times as many {cases}\nfor the plain CNN")
    panel.set_xlim(left=n_all[0] / 1.6)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(found), 2), borderaxespad=0.2)
    return Picture(figure, title, source.provenance | {"figure": "data efficiency", "arms": [*found, baseline]})


def estimates(source: Source, arm: str) -> dict[int, Estimate]:
    """The factor at each size below the baseline's largest, where the grid could show one above 1."""
    baseline = source.task.baseline
    reach = max(source.sizes(baseline), default=0)
    return {n: source.factor(arm, n) for n in source.sizes(arm, baseline) if n < reach}


def _found(source: Source, methods=None) -> dict[str, dict[int, Estimate]]:
    """By arm and size.   Raises NotYet where no size could show a factor above 1."""
    made = {arm: estimates(source, arm) for arm in methods or source.task.methods}
    made = {arm: by_size for arm, by_size in made.items() if by_size}
    if not made:
        raise NotYet(f"{source.label}: a factor needs two sizes of {source.task.baseline} and a group at the smaller")
    return made


def _between(sizes_drawn: list[int], first: int) -> float:
    """Halfway from one size to the next on the logarithmic axis, where no bar stands."""
    pair = sizes_drawn[first:][:2]
    return math.exp(np.mean(np.log(pair))) if len(pair) == 2 else pair[0] * 1.15


def _draw(panel: Axes, arm: str, x: float, e: Estimate, to_the_left: bool, named: bool) -> None:
    """Point and bar; open ends run to the frame with an arrow; a value that is only a bound is named, given room."""
    colour = look(arm).colour
    bottom, top = panel.get_ylim()
    low, high = max(e.low, bottom), min(e.high, top)
    panel.plot([x, x], [low, high], color=colour, linewidth=1.8, solid_capstyle="butt")
    if math.isinf(e.high):
        panel.plot(x, top / 1.06, marker="^", color=colour, markersize=6, clip_on=False)
    if e.low <= 0:
        panel.plot(x, bottom * 1.06, marker="v", color=colour, markersize=6, clip_on=False)
    label = look(arm).label if not _labelled(panel, look(arm).label) else None
    panel.plot(x, e.value, marker=look(arm).marker, color=colour, markersize=8, linestyle="none", label=label)
    if e.censored and named:
        sign = {"high": ">", "low": "<"}[e.censored]
        place = {"xytext": (-7 if to_the_left else 7, -4), "ha": "right" if to_the_left else "left"}
        text = {"textcoords": "offset points", "fontsize": 9.5, "color": colour}
        panel.annotate(f"{sign} {e.value:.2g}", (x, e.value), **place, **text)


def _labelled(panel: Axes, label: str) -> bool:
    return label in panel.get_legend_handles_labels()[1]


def _finding(by_arm: dict[str, dict[int, Estimate]], cases: str) -> str:
    """For the last arm, or for all where there are many: where the factor is surely above 1, and where ten or more."""
    if len(by_arm) > 2:
        return _counted(by_arm, cases)
    arm, found = list(by_arm.items())[-1]
    sure = [n for n, e in found.items() if side(e, 1) > 0]
    tenfold = [n for n, e in found.items() if e.low >= CLAIMED]
    short = [n for n, e in found.items() if e.high < CLAIMED]
    if not sure:
        return f"no training size at which {arm} surely needs fewer {cases} than a plain CNN"
    text = f"{arm} needs fewer {cases} than a plain CNN at N = {sizes(sure)}"
    if tenfold:
        return f"{text}, ten times fewer at N = {sizes(tenfold)}"
    return text + (f", but not ten times fewer at N = {sizes(short)}" if short else "; whether ten times fewer is open")


def _counted(by_arm: dict[str, dict[int, Estimate]], cases: str) -> str:
    every = [e for by_size in by_arm.values() for e in by_size.values()]
    sure, more, ten, short = (
        sum(rule(e) for e in every)
        for rule in (lambda e: e.low > 1, lambda e: e.high < 1, lambda e: e.low >= CLAIMED, lambda e: e.high < CLAIMED)
    )
    told = (("surely ten times fewer in", ten), ("surely not ten times fewer in", short))
    rest = ", ".join(f"{words} {count}" for words, count in told if count) or "whether ten times fewer is open"
    more_of_them = f", more in {more}" if more else ""
    return f"of {len(every)} comparisons, groups surely need fewer {cases} in {sure}{more_of_them}; {rest}"


def factor_table(source: Source, methods=None) -> str:
    """Markdown: the factors with their intervals, and what the grid can show at most."""
    try:
        found = _found(source, methods)
    except NotYet as reason:
        return f"{reason}."
    reach = max(source.sizes(source.task.baseline))
    rows = []
    for n in sorted({n for by_size in found.values() for n in by_size}):
        cells = [factor(by_size[n]) if n in by_size else "" for by_size in found.values()]
        rows.append([f"N = {n:,}", *cells, f"{reach / n:.1f}"])
    return markdown(
        [f"{source.prefix}: factor", *(look(arm).label for arm in found), "most that the grid can show"], rows
    )


def tenfold(source: Source, arm: str | None = None) -> str:
    """In words: the sizes at which the claim of ten times fewer cases holds, fails or stays open.

    arm: None: every group, one sentence each.
    """
    if arm is None:
        methods = source.task.methods if len(source.task.methods) > 2 else (source.task.named,)
        return " ".join(tenfold(source, one) for one in methods if estimates(source, one))
    found = estimates(source, arm)
    reach = max(source.sizes(source.task.baseline))
    testable = [n for n in found if reach / n >= CLAIMED]
    holds = [n for n in testable if found[n].low >= CLAIMED]
    fails = [n for n in testable if found[n].high < CLAIMED]
    still = [n for n in testable if n not in holds + fails]
    told = (("holds", holds), ("fails", fails), ("is open", still))
    parts = [f"{word} at N = {sizes(some)}" for word, some in told if some]
    whose = f"The factor of ten for {arm}" if len(source.task.methods) > 2 else "The factor of ten"
    said = f"{whose} {listed(parts)}." if parts else f"{whose} cannot be tested here."
    out_of_reach = [n for n in found if n not in testable]
    tail = f" At N = {sizes(out_of_reach)} the plain network's curve, which ends at {reach:,}, does not reach that far."
    return said + (tail if out_of_reach and len(source.task.methods) < 3 else "")
