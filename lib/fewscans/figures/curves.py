"""Learning curves: score over training size, ours filled with intervals; the paper's hollow, on axes of their own.

The paper scores whole scans by LUNA16's FROC score. We score planar patches and shapes by AUC, and the twin's scans by
FROC with another list of candidates: heights cannot be compared, so no two of these share an axis. What can be compared
is who is ahead, and where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewscans.figures.arms import filled, hollow, look
from fewscans.figures.picture import GREY, Picture, sheet, sizes_axis, styled, wrapped
from fewscans.figures.sources import NotYet, Source
from fewscans.figures.tasks import score_label
from fewscans.figures.wording import factor, listed, side, sizes
from fewscans.stats import Estimate

PAPER_ARMS = ("Z3", "D4", "D4h")  # beside the plane's
GROUPS = ("Z3", "D4", "D4h", "O", "Oh")


@styled
def learning_curves(source: Source, paper: pd.DataFrame | None = None, arms=None, beside=None, score=None) -> Picture:
    """Score over N; with `paper` (its Table 2, rows by N), that table in a panel of its own.

    arms: with intervals; None: the plain network and the groups.   beside: thin lines without, such as trivial
    baselines; None: the rivals, and the best trivial one.   score: None: the task's.
    """
    task, score = source.task, score or source.score_name
    if not set(arms or task.arms) & set(source.arms):
        raise NotYet(f"{source.label}: none of {listed(arms or task.arms)} is trained yet")
    arms, beside = arms or task.arms, _beside(source, score) if beside is None else beside
    title = finding(source, score=score) + drawn_level(source, score=score)
    ratios = {"width_ratios": [1.55, 1]} if paper is not None else {}
    note = source.note + by_chance(source) + factors_in_words(source)
    figure, axes = sheet(title, 1, 1 if paper is None else 2, 4.5, note, **ratios)
    left = axes[0, 0]
    present = [arm for arm in arms if arm in source.arms]
    if draw_arms(left, source, arms, score):
        _noted(figure, note + LEAVES)
    for arm in (arm for arm in beside if arm in source.arms):
        n = source.sizes(arm)
        means = [source.resampled(score).values(arm, size).mean().round(4) for size in n]
        left.plot(n, means, **filled(arm) | {"linewidth": 1.1, "markersize": 4}, label=look(arm).label, zorder=4)
    sizes_axis(left, {n for arm in present for n in source.sizes(arm)}, f"training {task.cases}")
    left.set_ylabel(f"{score_label(score)}, test {task.groups if score.startswith('froc') else task.cases}")
    _legend(left, [look(arm).label for arm in (*arms, *beside)], outside=paper is None)
    if paper is not None:
        left.set_title(f"Ours: planar patches,\n{'real CT' if source.real else 'synthetic'}")
        paper_panel(axes[0, 1], paper)
    return Picture(figure, title, source.provenance | {"figure": "learning curves", "score": score, "arms": present})


def draw_arms(panel: Axes, source: Source, arms: Sequence[str], score: str | None = None, **options) -> bool:
    """Each arm's curve with its intervals, side by side at each size; returns whether a bar leaves the frame."""
    found = {arm: {n: source.score(arm, n, score) for n in source.sizes(arm)} for arm in arms if arm in source.arms}
    for position, (arm, estimates) in enumerate(found.items()):
        curve(panel, arm, estimates, spread_out(position, len(found)), **options)
    cut = frame([e for estimates in found.values() for e in estimates.values()])
    if cut is not None:
        panel.set_ylim(*cut)
    return cut is not None


def _legend(panel: Axes, names: Sequence[str], outside: bool) -> None:
    """In that order, where no curve runs."""
    drawn = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    names = [name for name in dict.fromkeys(names) if name in drawn]
    place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02)} if outside else {"loc": "lower right"}
    names_drawn = [name.replace(" (", "\n(").replace(", mean", ",\nmean") if outside else name for name in names]
    panel.legend([drawn[name] for name in names], names_drawn, fontsize=8.5, **place)


def _noted(figure, note: str) -> None:
    """Another note than the one that the figure began with."""
    figure._supxlabel.set_text(wrapped(note))


def _beside(source: Source, score: str) -> tuple[str, ...]:
    """The rivals, and of the trivial baselines the one that is best at its largest size."""
    table = source.resampled(score)
    best = {arm: table.values(arm, max(table.sizes(arm))).mean() for arm in source.task.trivial if arm in source.arms}
    return (*source.task.rivals, *([max(best, key=best.get)] if best else []))


@styled
def in_space(paper: pd.DataFrame, sources: Sequence[Source]) -> Picture:
    """The paper's own figure, hollow, and ours beside it, one panel a source."""
    sources = [source for source in sources if set(source.task.arms) & set(source.arms)]
    title = f"{_paper_finding(paper)}; {_ours(sources)}"
    notes = [f"{s.label[0].upper()}{s.label[1:]}: {s.test_set['seeds']} seeds." for s in sources]
    note = f"Paper: candidates of LIDC-IDRI, means of three runs, no intervals. {' '.join(notes)} "
    note += "Ours: 95 % intervals over seeds and test cases together. Scores of different panels cannot be compared."
    figure, axes = sheet(title, 1, 1 + len(sources), 3.7, note)
    first = axes[0, 0]
    for arm in (arm for arm in GROUPS if arm in paper):
        first.plot(
            paper.index, paper[arm], **hollow(arm) | {"markersize": 5.5}, label=look(arm).short.removeprefix("G-CNN ")
        )
    sizes_axis(first, paper.index, "candidates")
    first.set_ylabel("overall FROC score")
    first.set_title("Paper", color=GREY)
    for source, panel in zip(sources, axes[0, 1:], strict=True):
        task = source.task
        if draw_arms(panel, source, task.arms, markersize=5, elinewidth=1.3):
            _noted(figure, note + LEAVES)
        sizes_axis(panel, {n for arm in task.arms if arm in source.arms for n in source.sizes(arm)}, task.cases, 2.2)
        panel.set_ylabel(score_label(source.score_name))
        panel.set_title(task.real if source.real else "Twin, synthetic")
    first.legend(loc="lower right", fontsize=8, handlelength=1.4, labelspacing=0.25, borderaxespad=0.1)
    return Picture(figure, title, {"figure": "the paper's figure and ours", "runs": [s.provenance for s in sources]})


def _paper_finding(paper: pd.DataFrame) -> str:
    groups = [arm for arm in GROUPS[1:] if arm in paper]
    ahead = sum(int((paper[arm] > paper["Z3"]).sum()) for arm in groups)
    total = len(groups) * len(paper)
    return f"In the paper groups beat the plain CNN in {'all ' if ahead == total else f'{ahead} of '}{total} cases"


def _ours(sources: Sequence[Source]) -> str:
    told = []
    for source in sources:
        found = sides(source)
        ahead, behind = (sum(s == sign for s in found.values()) for sign in (1, -1))
        worse = f", surely behind in {behind}" if behind else ""
        name = source.task.real.lower().replace("ct", "CT") if source.real else "the twin"
        told.append(f"on {name} surely in {ahead} of {len(found)}{worse}")
    return listed(told) if told else "nothing to set beside it yet"


def sides(source: Source, score: str | None = None) -> dict[tuple[str, int], int]:
    """1, 0 or -1 for every group and size: surely ahead of the plain network, not surely different, surely behind."""
    task = source.task
    pairs = [(arm, n) for arm in task.methods if arm in source.arms for n in source.sizes(arm, task.baseline)]
    return {(arm, n): side(source.gain(arm, n, score)) for arm, n in pairs}


def curve(axes: Axes, arm: str, estimates: dict[int, Estimate], shift: float = 1.0, **options) -> None:
    """One arm's estimates with their intervals; `shift` keeps bars of different arms apart on the logarithmic axis."""
    n = np.array(list(estimates)) * shift
    value, low, high = (np.array([getattr(e, k) for e in estimates.values()]) for k in ("value", "low", "high"))
    settings = filled(arm) | {"label": look(arm).label, "capsize": 0, "elinewidth": 1.6} | options
    axes.errorbar(n, value, [value - low, high - value], **settings)


def frame(estimates: Sequence[Estimate]) -> tuple[float, float] | None:
    """The range that shows all values, and all bars but those so long that they would leave the others a line.

    None if no bar is: the axis may then find its own range. Too long: over 8 times the median bar.
    """
    length = np.array([e.high - e.low for e in estimates])
    fit = [e for e, long in zip(estimates, length > 8 * np.median(length), strict=True) if not long]
    if not estimates or len(fit) == len(estimates):
        return None
    values = [e.value for e in estimates]
    low, high = min(*values, *(e.low for e in fit)), max(*values, *(e.high for e in fit))
    return low - 0.08 * (high - low), high + 0.08 * (high - low)


LEAVES = " A bar that leaves the frame runs on beyond it."


def spread_out(position: int, count: int) -> float:
    """The factor by which the arm at that position is moved along a logarithmic axis."""
    return 1.07 ** (position - (count - 1) / 2)


def paper_panel(axes: Axes, paper: pd.DataFrame, arms=PAPER_ARMS) -> None:
    """The paper's scores, hollow: another task and another score."""
    for arm in (arm for arm in arms if arm in paper):
        axes.plot(paper.index, paper[arm], **hollow(arm), label=look(arm).short)
    sizes_axis(axes, paper.index, "training candidates")
    axes.set_ylabel("overall FROC score")
    axes.set_title("Paper: in space,\nanother score", color=GREY)
    axes.legend(loc="lower right")


def finding(source: Source, arm: str | None = None, baseline: str | None = None, score: str | None = None) -> str:
    """The title: at which sizes the intervals put one network ahead of the other, in words that fit them.

    arm: None: the one named in advance, and in space, where none is, all groups.
    """
    task = source.task
    if arm is None and len(task.methods) > 2:
        return f"{source.prefix}: {_counted(sides(source, score))}"
    arm, baseline = arm or task.named, baseline or task.baseline
    shared = source.sizes(arm, baseline)
    told = {n: side(source.gain(arm, n, score, baseline=baseline)) for n in shared}
    ahead, behind, still = ([n for n, found in told.items() if found == sign] for sign in (1, -1, 0))
    if not told:
        return f"{source.prefix}: {score_label(score or source.score_name)} over training size"
    if len(ahead) == len(told) > 1:
        return f"{source.prefix}: at equal updates {arm} is ahead of a plain CNN at every size"
    if len(still) == len(told):
        return f"{source.prefix}: at equal updates {arm} and a plain CNN cannot be told apart at N = {sizes(still)}"
    if len(ahead) > 1 and ahead == list(told)[-len(ahead) :] and not behind:
        return f"{source.prefix}: at equal updates {arm} is ahead of a plain CNN from N = {ahead[0]:,} on"
    parts = [f"{words} at N = {sizes(some)}" for words, some in (("ahead of", ahead), ("behind", behind)) if some]
    plain = f"{source.prefix}: at equal updates {arm} is {' and '.join(parts).replace(' at', ' a plain CNN at', 1)}"
    return plain + (f", not surely at N = {sizes(still)}" if still else "")


def _counted(found: Mapping[tuple[str, int], int]) -> str:
    """Of many comparisons, how many are sure; few are named."""
    ahead, behind = ([pair for pair, sign in found.items() if sign == wanted] for wanted in (1, -1))
    if not found:
        return "groups and a plain CNN share no size yet"
    if len(ahead) == len(found):
        return f"at equal updates every group is ahead of a plain CNN at every size ({len(found)} comparisons)"
    if not ahead and not behind:
        return f"at equal updates no group can be told from a plain CNN, in {len(found)} comparisons"
    parts = [f"surely {words} a plain CNN in {_some(pairs)}" for words, pairs in (("ahead of", ahead),
             ("behind", behind)) if pairs]  # fmt: skip
    return f"of {len(found)} comparisons at equal updates, groups are {' and '.join(parts)}"


def _some(pairs: Sequence[tuple[str, int]], most: int = 4) -> str:
    """How many, and, of few, which."""
    if len(pairs) > most:
        return str(len(pairs))
    arms = list(dict.fromkeys(arm for arm, _ in pairs))
    named = [f"{arm} at N = {sizes([n for a, n in pairs if a == arm])}" for arm in arms]
    return f"{len(pairs)} ({'; '.join(named)})"


def by_chance(source: Source) -> str:
    """For the note, where many comparisons are made: how many would come out sure by chance."""
    count = len(sides(source)) if len(source.task.methods) > 2 else 0
    if not count:
        return ""
    luck = f"{0.025 * count:.1f} would still come out surely ahead, and as many behind"
    return f" {count} comparisons: if nothing were there, {luck}."


def drawn_level(source: Source, arm: str | None = None, baseline: str | None = None, score: str | None = None) -> str:
    """What leaves `arm` nowhere surely ahead of the plain network, as the end of a title; or nothing."""
    arm, baseline = arm or source.task.named, baseline or source.task.baseline
    ahead = [n for n in source.sizes(arm, baseline) if side(source.gain(arm, n, score, baseline=baseline)) > 0]
    level = []
    for rival, words in source.task.rivals.items():
        both = [n for n in ahead if source.has(rival, n)]
        if both and all(side(source.gain(arm, n, score, baseline=rival)) <= 0 for n in both):
            level.append(words)
    whom = f" with {arm}" if len(source.task.methods) > 2 else ""
    return f"; with {' or '.join(level)}, the plain CNN draws level{whom}" if level else ""


def factors_in_words(source: Source) -> str:
    """For the note under the curves: all data-efficiency factors with their intervals, none picked."""
    arm, baseline = source.task.named, source.task.baseline
    if len(source.task.methods) > 2 or len(source.sizes(baseline)) < 2:
        return ""
    found = {n: source.factor(arm, n) for n in source.sizes(arm, baseline)[:-1]}
    told = "; ".join(f"N = {n:,}: {factor(e)}" for n, e in found.items())
    return f" Times as many patches a plain CNN needs, at equal updates, for what {arm} scores: {told}." if told else ""


def ordering(source: Source, arm: str | None = None, baseline: str | None = None, score: str | None = None) -> str:
    """At which sizes one arm is surely ahead of another, in a sentence."""
    arm, baseline = arm or source.task.named, baseline or source.task.baseline
    shared = source.sizes(arm, baseline)
    told = {n: side(source.gain(arm, n, score, baseline=baseline)) for n in shared}
    parts = []
    for sign, words in ((1, "ahead of"), (-1, "behind"), (0, "not surely different from")):
        some = [n for n, found in told.items() if found == sign]
        if some:
            parts.append(f"{words} {baseline} at N = {sizes(some)}")
    return f"{arm} is {'; '.join(parts)}" if parts else f"{arm} and {baseline} share no training size"


@styled
def sensitivities(source: Source, rates=(0.01, 0.05), arms=None) -> Picture:
    """Share of the nodules found where a given share of the negatives is called positive too."""
    named, arms = source.task.named, arms or source.task.arms
    told = " and ".join(_ahead(source, rate) for rate in rates)
    title = f"{source.prefix}: at few false alarms {named} surely finds more nodules than a plain CNN at {told}"
    figure, axes = sheet(title, 1, len(rates), 3.5, source.note, sharey=True)
    for rate, panel in zip(rates, axes[0], strict=True):
        present = [arm for arm in arms if arm in source.arms]
        for position, arm in enumerate(present):
            estimates = {n: source.score(arm, n, f"sensitivity@{rate}") for n in source.sizes(arm)}
            curve(panel, arm, estimates, spread_out(position, len(present)), label=look(arm).short)
        sizes_axis(panel, {n for arm in present for n in source.sizes(arm)}, f"training {source.task.cases}")
        panel.set_title(f"at {100 * rate:g} % false positives")
    axes[0, 0].set_ylabel("sensitivity")
    axes[0, 0].set_ylim(0, 1)
    axes[0, 0].legend(loc="upper left")
    return Picture(figure, title, source.provenance | {"figure": "sensitivity", "rates": list(rates)})


def _ahead(source: Source, rate: float) -> str:
    shared = source.sizes(source.task.named, source.task.baseline)
    ahead = [n for n in shared if side(source.gain(source.task.named, n, f"sensitivity@{rate}")) > 0]
    return f"{len(ahead)} of {len(shared)} sizes ({100 * rate:g} %)"


@styled
def small_validation(source: Source, arm: str | None = None) -> Picture:
    """The gain with the checkpoint chosen by the whole validation set, and by one no larger than N."""
    arm, baseline = arm or source.task.named, source.task.baseline
    shared = source.sizes(arm, baseline)
    if not shared:
        raise NotYet(f"{source.label}: {arm} and {baseline} share no training size yet")
    splits = {
        "test": "chosen by the whole validation set",
        "test-small-val": f"chosen by N validation {source.task.cases} at most",
    }
    gains = {split: {n: source.gain(arm, n, split=split) for n in shared} for split in splits}
    ahead = {split: sum(side(e) > 0 for e in found.values()) for split, found in gains.items()}
    title = (
        f"{source.prefix}: {arm}'s gain is sure at {ahead['test']} of {len(shared)} sizes, and at "
        f"{ahead['test-small-val']} if no more than N validation {source.task.cases} choose the checkpoint"
    )
    figure, axes = sheet(title, height=3.3, note=source.note)
    panel = axes[0, 0]
    looks = ({"marker": "o"}, {"marker": "D", "color": "#56B4E9", "markeredgecolor": "#56B4E9"})
    for position, (split, words) in enumerate(splits.items()):
        curve(panel, arm, gains[split], spread_out(position, 2), label=words, **looks[position])
    panel.axhline(0, color=look(baseline).colour, linewidth=1.4)
    sizes_axis(panel, shared, f"training {source.task.cases}")
    panel.set_ylabel(f"{score_label(source.score_name)} of {arm} − plain CNN's")
    panel.legend(loc="upper right")
    return Picture(figure, title, source.provenance | {"figure": "small validation", "arms": [arm, baseline]})
