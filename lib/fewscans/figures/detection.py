"""Detection in whole scans: FROC curves, malignant nodules among those found first, and a look at real CT.

The height of a FROC curve hangs on the list of candidates as much as on the network: with few candidates a scan almost
all can be accepted at 8 false positives a scan. So every figure here says how dense the list is, and where it ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fewscans.figures.arms import filled, hollow, look
from fewscans.figures.curves import spread_out
from fewscans.figures.picture import GREY, Picture, sheet, styled
from fewscans.figures.sources import NotYet, Source
from fewscans.figures.wording import interval, listed, markdown, number, side
from fewscans.stats.froc import RATES, FrocCurve
from fewscans.stats.reference import Reference

FINE = np.geomspace(1 / 16, 8, 60)
TICKS = ["⅛", "¼", "½", "1", "2", "4", "8"]
PAPERS_DENSITY = 8.4  # false candidates a scan of the paper's test list, from its Table 1: derived, not printed


@dataclass(frozen=True)
class Density:
    """Of a test set's candidates.   false_positives: candidates that are no nodule, a scan.   ceiling: the share of
    nodules that hold a candidate at all.   scans, nodules, malignant: how many.
    """

    false_positives: float
    ceiling: float
    scans: int
    nodules: int
    malignant: int


def density(source: Source) -> Density:
    """Raises NotYet for tables without a reference."""
    layout = _layout(source)
    reference = layout.reference
    return Density(
        false_positives=len(layout.false) / len(reference.scans),
        ceiling=len(layout.found) / len(reference.nodule_scan),
        scans=len(reference.scans),
        nodules=len(reference.nodule_scan),
        malignant=int((reference.malignant == 1).sum()),
    )


def _layout(source: Source):
    if source.tables.reference is None:
        raise NotYet(f"{source.label}: its tables hold no reference of nodules, so detection cannot be scored")
    cell = next(iter(source.resampled("auc").cells.values()))
    return Reference.of(source.tables.reference).layout(cell)


def density_in_words(source: Source) -> str:
    """How dense the candidates are and how high a score can get, beside the paper's."""
    d = density(source)
    return (
        f"{d.nodules} nodules in {d.scans} test scans; {number(d.false_positives, 1)} false candidates a scan (the "
        f"paper's list has about {PAPERS_DENSITY:g}, LUNA16's own about 850), {number(100 * d.ceiling, 1)} % of the "
        "nodules hold a candidate (96.4 % in the paper)"
    )


@styled
def froc_curves(source: Source, n_train=None, arms=None) -> Picture:
    """Sensitivity over false positives a scan, mean over seeds, a panel a size; intervals at three of the rates."""
    arms = [arm for arm in arms or source.task.arms if arm in source.arms]
    asked = list(n_train or source.sizes(*arms))[:3]
    if not asked or source.tables.reference is None:
        raise NotYet(f"{source.label}: no size that all of {listed(arms)} were trained at, or no reference")
    title = f"{source.prefix}: {_finding(source, asked)}"
    note = f"{source.note} {density_in_words(source)}."
    figure, axes = sheet(title, 1, len(asked), 4.2, note, sharey=True)
    ceiling = density(source).ceiling
    for n, panel in zip(asked, axes[0], strict=True):
        panel.axhline(ceiling, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)))
        for position, arm in enumerate(arms):
            settings = filled(arm) | {"marker": ""}
            panel.plot(FINE, _mean_curve(source, arm, n), **settings, label=look(arm).short)
            shift = spread_out(position, len(arms))
            for rate in (0.25, 1.0, 4.0):
                e = source.score(arm, n, f"froc@{rate:g}")
                panel.plot([rate * shift] * 2, [e.low, e.high], color=look(arm).colour, linewidth=1.4)
                panel.plot(rate * shift, e.value, **filled(arm) | {"markersize": 4.5})
        panel.set_xscale("log")
        panel.set_xticks(RATES, TICKS)
        panel.minorticks_off()
        panel.set_xlim(FINE[0] * 1.4, FINE[-1] * 1.1)
        panel.set_title(f"N = {n:,}")
        panel.set_xlabel("false positives a scan")
    axes[0, 0].set_ylabel("sensitivity")
    axes[0, 0].set_ylim(0, 1.08)
    axes[0, 0].text(FINE[0] * 1.5, ceiling, "no network can find more", fontsize=8, color=GREY, va="bottom")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=8.5, handlelength=1.3)
    return Picture(figure, title, source.provenance | {"figure": "FROC", "n_train": asked})


def _mean_curve(source: Source, arm: str, n: int) -> np.ndarray:
    """Mean over seeds at FINE, drawn to what can be seen."""
    cell = source.resampled("auc").cell(arm, n)
    layout = Reference.of(source.tables.reference).layout(cell)
    curves = [FrocCurve.of(layout.marks(prediction)) for prediction in cell.prediction]
    return np.mean([[curve.score(rate) for rate in FINE] for curve in curves], axis=0).round(4)


def _finding(source: Source, asked: list[int]) -> str:
    task = source.task
    pairs = [(arm, n) for arm in task.methods for n in asked if source.has(arm, n) and source.has(task.baseline, n)]
    told = [side(source.gain(arm, n, "froc@1")) for arm, n in pairs]
    worse = f", fewer in {told.count(-1)}" if -1 in told else ""
    more = f"{told.count(1)} of {len(told)} comparisons"
    return f"at 1 false positive a scan, groups surely find more nodules in {more}{worse}"


@styled
def malignant(source: Source, paper: pd.DataFrame, top: int = 50) -> Picture:
    """Malignant nodules among the highest-scored true positives, ours with intervals, the paper's (top 250) hollow."""
    arms = [arm for arm in source.task.arms if arm in source.arms]
    n_all = source.sizes(*arms)
    if not n_all or source.tables.reference is None:
        raise NotYet(f"{source.label}: no size that all of {listed(arms)} were trained at, or no reference")
    score = f"malignant_in_top@{top}"
    found = {n: {arm: source.score(arm, n, score) for arm in arms} for n in n_all[-2:]}
    told = [side(source.gain(arm, n, score)) for n in found for arm in arms[1:]]
    title = f"{source.prefix}: among the top {top}, groups surely have more malignant nodules than a plain CNN in "
    title += f"{told.count(1)} of {len(told)} comparisons" + (f", fewer in {told.count(-1)}" if -1 in told else "")
    d = density(source)
    by_chance = top * d.malignant / d.nodules
    note = (
        f"{source.note} {d.malignant} of {d.nodules} nodules are malignant: by chance {number(by_chance, 0)} of {top} "
    )
    note += "(line). Paper: of its 129, among the top 250, no intervals."
    figure, axes = sheet(title, 1, len(found) + 1, 2.1 + 0.28 * len(arms), note, sharey=True)
    for n, panel in zip(found, axes[0], strict=False):
        for row, arm in enumerate(arms):
            e = found[n][arm]
            panel.plot([e.low, e.high], [row, row], color=look(arm).colour, linewidth=1.8)
            panel.plot(e.value, row, **filled(arm))
        panel.axvline(by_chance, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)))
        panel.set_title(f"N = {n:,}")
        panel.set_xlabel(f"of the top {top}")
    last = axes[0, -1]
    size = int(paper.index.max())
    for row, arm in enumerate(arms):
        last.plot(paper.loc[size, arm], row, **hollow(arm))
    last.set_title(f"Paper, N = {size:,}", color=GREY)
    last.set_xlabel("of the top 250")
    for panel in axes[0]:
        panel.grid(False, axis="y")
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=4)
        panel.margins(x=0.12)
    axes[0, 0].set_yticks(range(len(arms)), [look(arm).short for arm in arms])
    axes[0, 0].set_ylim(len(arms) - 0.5, -0.5)
    return Picture(figure, title, source.provenance | {"figure": "malignant nodules found first", "top": top})


def real_cubes(source: Source) -> str:
    """Markdown: AUC on LIDC's cubes of the networks trained elsewhere, per arm and size, with what interval there is.

    Three patients cannot be resampled for most scores; where they cannot, the interval is over seeds alone.
    """
    rows, over = [], set()
    arms = [arm for arm in source.task.arms if arm in source.arms]
    n_all = sorted({n for arm in arms for n in source.sizes(arm)})
    for arm in arms:
        told = []
        for n in n_all:
            if not source.has(arm, n):
                told.append("")
                continue
            estimate, kind = _interval_of(source, arm, n)
            over.add(kind)
            told.append(estimate)
        rows.append([look(arm).label, *told])
    table = markdown(["AUC, real cubes", *(f"N = {n:,}" for n in n_all)], rows)
    t = source.test_set
    others = t["cases"] - t["positive"]
    return (
        f"{table}\n\n{t['positive']} real nodules and {others} look-alikes of {t['groups']} patients; {t['seeds']} "
        f"seeds. Intervals: {listed(sorted(over))}. **An illustration**: three patients show that such "
        "networks can be asked about real CT, not how good they are."
    )


def _interval_of(source: Source, arm: str, n: int) -> tuple[str, str]:
    try:
        return interval(source.score(arm, n, "auc")), "over seeds and patients"
    except ValueError:
        values = source.resampled("auc").values(arm, n)
        return (
            f"{number(values.mean())} ({number(values.min())} to {number(values.max())})",
            "smallest and largest of the seeds",
        )
