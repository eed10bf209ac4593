"""Learning curves: score over training size, ours filled with intervals; the paper's hollow, on axes of their own.

The paper scores whole scans in space by LUNA16's FROC score, we score planar patches by AUC: two tasks whose heights
cannot be compared, so they never share an axis. What can be compared is the shape: who is ahead, and where.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewscans.figures.arms import MAIN, filled, hollow, look
from fewscans.figures.picture import GREY, Picture, sheet, sizes_axis, styled
from fewscans.figures.sources import Source
from fewscans.figures.wording import factor, side, sizes
from fewscans.stats import Estimate

# what else a plain network may be given, and what needs no network at all
RIVALS = {"Z2-long": "4 times the updates", "Z2-tta-p4m": "8 turned copies"}
BESIDE = (*RIVALS, "centre")
PAPER_ARMS = ("Z3", "D4", "D4h")


@styled
def learning_curves(source: Source, paper: pd.DataFrame | None = None, arms=MAIN, beside=BESIDE) -> Picture:
    """AUC over N; with `paper` (its Table 2, rows by N), that table in a panel of its own.

    arms: with intervals.   beside: thin lines without, such as trivial baselines.
    """
    title = finding(source) + drawn_level(source)
    ratios = {"width_ratios": [1.55, 1]} if paper is not None else {}
    note = source.note + factors_in_words(source)
    figure, axes = sheet(title, 1, 1 if paper is None else 2, 4.5, note, **ratios)
    left = axes[0, 0]
    present = [arm for arm in arms if arm in source.arms]
    for position, arm in enumerate(present):
        curve(left, arm, {n: source.score(arm, n) for n in source.sizes(arm)}, spread_out(position, len(present)))
    for arm in (arm for arm in beside if arm in source.arms):
        n = source.sizes(arm)
        means = [source.resampled().values(arm, size).mean().round(4) for size in n]
        left.plot(n, means, **filled(arm) | {"linewidth": 1.1, "markersize": 4}, label=look(arm).label, zorder=4)
    sizes_axis(left, {n for arm in present for n in source.sizes(arm)})
    left.set_ylabel("AUC, test patches")
    drawn = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    names = [look(arm).label for arm in (*arms, *beside) if look(arm).label in drawn]
    left.legend([drawn[name] for name in names], names, loc="lower right", fontsize=8.5)
    if paper is not None:
        left.set_title(f"Ours: planar patches,\n{'real CT' if source.real else 'synthetic'}")
        paper_panel(axes[0, 1], paper)
    return Picture(figure, title, source.provenance | {"figure": "learning curves", "score": "auc", "arms": present})


def curve(axes: Axes, arm: str, estimates: dict[int, Estimate], shift: float = 1.0, **options) -> None:
    """One arm's estimates with their intervals; `shift` keeps bars of different arms apart on the logarithmic axis."""
    n = np.array(list(estimates)) * shift
    value, low, high = (np.array([getattr(e, k) for e in estimates.values()]) for k in ("value", "low", "high"))
    settings = filled(arm) | {"label": look(arm).label, "capsize": 0, "elinewidth": 1.6} | options
    axes.errorbar(n, value, [value - low, high - value], **settings)


def spread_out(position: int, count: int) -> float:
    """The factor by which the arm at that position is moved along a logarithmic axis."""
    return 1.07 ** (position - (count - 1) / 2)


def paper_panel(axes: Axes, paper: pd.DataFrame, arms=PAPER_ARMS) -> None:
    """The paper's scores, hollow: another task and another score."""
    for arm in (arm for arm in arms if arm in paper):
        axes.plot(paper.index, paper[arm], **hollow(arm), label=look(arm).label)
    sizes_axis(axes, paper.index, "training candidates")
    axes.set_ylabel("overall FROC score")
    axes.set_title("Paper: in space,\nanother score", color=GREY)
    axes.legend(loc="lower right")


def finding(source: Source, arm: str = "p4m", baseline: str = "Z2") -> str:
    """The title: at which sizes the intervals put one network ahead of the other, in words that fit them."""
    told = {n: side(source.gain(arm, n, baseline=baseline)) for n in source.sizes(arm, baseline)}
    ahead, behind, still = ([n for n, found in told.items() if found == sign] for sign in (1, -1, 0))
    if not told:
        return f"{source.prefix}: AUC over training size"
    if len(ahead) == len(told) > 1:
        return f"{source.prefix}: at equal updates {arm} is ahead of a plain CNN at every size"
    if len(still) == len(told):
        return f"{source.prefix}: at equal updates {arm} and a plain CNN cannot be told apart at N = {sizes(still)}"
    if len(ahead) > 1 and ahead == list(told)[-len(ahead) :] and not behind:
        return f"{source.prefix}: at equal updates {arm} is ahead of a plain CNN from N = {ahead[0]:,} on"
    parts = [f"{words} at N = {sizes(some)}" for words, some in (("ahead of", ahead), ("behind", behind)) if some]
    plain = f"{source.prefix}: at equal updates {arm} is {' and '.join(parts).replace(' at', ' a plain CNN at', 1)}"
    return plain + (f", not surely at N = {sizes(still)}" if still else "")


def drawn_level(source: Source, arm: str = "p4m", baseline: str = "Z2") -> str:
    """What leaves `arm` nowhere surely ahead of the plain network, as the end of a title; or nothing."""
    ahead = [n for n in source.sizes(arm, baseline) if side(source.gain(arm, n, baseline=baseline)) > 0]
    level = []
    for rival, words in RIVALS.items():
        shared = [n for n in ahead if source.has(rival, n)]
        if shared and all(side(source.gain(arm, n, baseline=rival)) <= 0 for n in shared):
            level.append(words)
    return f"; with {' or '.join(level)}, the plain CNN draws level" if level else ""


def factors_in_words(source: Source, arm: str = "p4m", baseline: str = "Z2") -> str:
    """For the note under the curves: all data-efficiency factors with their intervals, none picked."""
    if len(source.sizes(baseline)) < 2:
        return ""
    found = {n: source.factor(arm, n, baseline=baseline) for n in source.sizes(arm, baseline)[:-1]}
    told = "; ".join(f"N = {n:,}: {factor(e)}" for n, e in found.items())
    return f" Times as many patches a plain CNN needs, at equal updates, for what {arm} scores: {told}." if told else ""


def ordering(source: Source, arm: str = "p4m", baseline: str = "Z2", score: str = "auc") -> str:
    """At which sizes one arm is surely ahead of another, in a sentence."""
    shared = source.sizes(arm, baseline)
    told = {n: side(source.gain(arm, n, score, baseline=baseline)) for n in shared}
    parts = []
    for sign, words in ((1, "ahead of"), (-1, "behind"), (0, "not surely different from")):
        some = [n for n, found in told.items() if found == sign]
        if some:
            parts.append(f"{words} {baseline} at N = {sizes(some)}")
    return f"{arm} is {'; '.join(parts)}" if parts else f"{arm} and {baseline} share no training size"


@styled
def sensitivities(source: Source, rates=(0.01, 0.05), arms=MAIN) -> Picture:
    """Share of the nodules found where a given share of the negatives is called positive too."""
    present = [arm for arm in arms if arm in source.arms]
    told = " and ".join(_ahead(source, rate) for rate in rates)
    title = f"{source.prefix}: at few false alarms p4m surely finds more nodules than a plain CNN at {told}"
    figure, axes = sheet(title, 1, len(rates), 3.5, source.note, sharey=True)
    for rate, panel in zip(rates, axes[0], strict=True):
        for position, arm in enumerate(present):
            estimates = {n: source.score(arm, n, f"sensitivity@{rate}") for n in source.sizes(arm)}
            curve(panel, arm, estimates, spread_out(position, len(present)), label=look(arm).short)
        sizes_axis(panel, {n for arm in present for n in source.sizes(arm)})
        panel.set_title(f"at {100 * rate:g} % false positives")
    axes[0, 0].set_ylabel("sensitivity")
    axes[0, 0].set_ylim(0, 1)
    axes[0, 0].legend(loc="upper left")
    return Picture(figure, title, source.provenance | {"figure": "sensitivity", "rates": list(rates)})


def _ahead(source: Source, rate: float) -> str:
    shared = source.sizes("p4m", "Z2")
    ahead = [n for n in shared if side(source.gain("p4m", n, f"sensitivity@{rate}")) > 0]
    return f"{len(ahead)} of {len(shared)} sizes ({100 * rate:g} %)"


@styled
def small_validation(source: Source, arm: str = "p4m", baseline: str = "Z2") -> Picture:
    """The gain with the checkpoint chosen by the whole validation set, and by one no larger than N."""
    shared = source.sizes(arm, baseline)
    splits = {"test": "chosen by the whole validation set", "test-small-val": "chosen by N validation patches at most"}
    gains = {split: {n: source.gain(arm, n, split=split) for n in shared} for split in splits}
    ahead = {split: sum(side(e) > 0 for e in found.values()) for split, found in gains.items()}
    title = (
        f"{source.prefix}: {arm}'s gain is sure at {ahead['test']} of {len(shared)} sizes, and at "
        f"{ahead['test-small-val']} if no more than N validation patches choose the checkpoint"
    )
    figure, axes = sheet(title, height=3.3, note=source.note)
    panel = axes[0, 0]
    looks = ({"marker": "o"}, {"marker": "D", "color": "#56B4E9", "markeredgecolor": "#56B4E9"})
    for position, (split, words) in enumerate(splits.items()):
        curve(panel, arm, gains[split], spread_out(position, 2), label=words, **looks[position])
    panel.axhline(0, color=look(baseline).colour, linewidth=1.4)
    sizes_axis(panel, shared)
    panel.set_ylabel(f"AUC of {arm} − plain CNN's")
    panel.legend(loc="upper right")
    return Picture(figure, title, source.provenance | {"figure": "small validation", "arms": [arm, baseline]})
