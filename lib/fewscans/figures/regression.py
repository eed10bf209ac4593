"""Sums against single scans: agreement and error over the number of training scans, with intervals, the paper beside.

Three networks are compared by the same seeds and test scans: `base`, one scan at a time and a quarter of the updates,
as the paper compares; `base-compute`, the same with as many forward passes and updates as sums have; `hydra-4`, sums
over sets of four. ICCs of different panels cannot be compared: an ICC grows with the spread of its test scans.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from fewscans.figures.arms import filled, hollow, look
from fewscans.figures.curves import LEAVES, curve, draw_arms, frame, spread_out
from fewscans.figures.picture import GREY, Picture, sheet, sizes_axis, styled
from fewscans.figures.reported import Reported
from fewscans.figures.sources import NotYet, Source, rounded
from fewscans.figures.tasks import LOSSES, score_label
from fewscans.figures.wording import factor, interval, listed, markdown, side, sizes
from fewscans.stats import Estimate
from fewscans.stats.efficiency import gain

MAIN = ("base", "base-compute", "hydra-4")
SUMS = "hydra-4"
RIVALS = {"base": "base", "base-compute": "base at equal passes"}
INTER_RATER = (0.6, 0.8)  # Adams et al., Stroke 44:1732 (2013): perivascular spaces, basal ganglia
SCORES = ("icc", "mse")
BESIDE = ("histogram", "crop")  # without a network; their means are drawn thin


def better(e: Estimate, score: str, line: float = 0.0) -> int:
    """1 if a difference lies surely on the better side, whether the score is an agreement or an error; -1 worse."""
    return side(e, line) * (-1 if score in LOSSES else 1)


def signs(source: Source, arm: str = SUMS, baseline: str = "base", score: str = "icc") -> dict[int, int]:
    """By size: 1 surely better than the baseline, -1 surely worse, 0 not surely different."""
    if not {arm, baseline} <= set(source.arms):
        return {}
    return {n: better(source.gain(arm, n, score, baseline=baseline), score) for n in source.sizes(arm, baseline)}


def finding(source: Source, score: str = "icc") -> str:
    """What sums do against either rival, in words that fit the intervals; and whether any network learned at all."""
    told = {rival: signs(source, SUMS, rival, score) for rival in RIVALS}
    told = {rival: found for rival, found in told.items() if found}
    if not told:
        return f"{source.prefix}: sums of 4 and the base network share no training size yet"
    if not any(sign for found in told.values() for sign in found.values()):
        sizes_of = sorted({n for found in told.values() for n in found})
        where = "any size" if len(sizes_of) > 1 else f"N = {sizes(sizes_of)}"
        said = f"cannot be told from {listed([RIVALS[rival] for rival in told], 'or')} at {where}"
    else:
        said = "; they ".join(_against(found, RIVALS[rival]) for rival, found in told.items())
    return f"{source.prefix}: sums of 4 {said}{floor(source)}"


def floor(source: Source) -> str:
    """The end of a title where networks hardly beat what needs none and sees the same image; else nothing.

    Which of two networks is better says little where neither has learned.
    """
    cells = [(arm, n) for arm in MAIN if arm in source.arms for n in source.sizes(arm) if source.has("histogram", n)]
    beaten = sum(side(source.gain(arm, n, baseline="histogram")) > 0 for arm, n in cells)
    if 2 * beaten > len(cells) or not cells:
        return ""
    return f"; networks surely beat a histogram in {beaten} of {len(cells)} cases"


def learned(source: Source) -> str:
    """Whether each network agrees better with more scans to train on, in words; paired by seed and test scan.

    Where scans become four times as many or more, nobody gains, and networks hardly beat a histogram, it says so.
    """
    told, sure = [], 0
    for arm in (arm for arm in MAIN if arm in source.arms and len(source.sizes(arm)) > 1):
        small, *_, large = source.sizes(arm)
        spread = source.resampled("icc").spread({(arm, large): 1.0, (arm, small): -1.0})
        change = rounded(spread.estimate(0.95))
        sure += side(change) > 0
        told.append(f"{look(arm).label} by {interval(change, sign=True)} from N = {small:,} to {large:,}")
    if not told:
        return ""
    text = f"{source.prefix}, ICC: more scans change {'; '.join(told)}."
    if sure or large < 4 * small or not floor(source):
        return text
    return f"{text} **None surely gains from more scans, and few beat a histogram**: comparing them says little."


def _against(found: dict[int, int], whom: str) -> str:
    ahead, behind = ([n for n, sign in found.items() if sign == wanted] for wanted in (1, -1))
    if not ahead and not behind:
        return f"cannot be told from {whom} at {'any size' if len(found) > 1 else f'N = {sizes(list(found))}'}"
    verbs = (("beat", ahead), ("fall behind", behind))
    return " and ".join(f"{verb} {whom} at {_where(some, found)}" for verb, some in verbs if some)


def _where(some: Sequence[int], among: dict[int, int]) -> str:
    if len(some) == len(among) > 1:
        return "every size"
    return f"N = {sizes(some)}" + (f" of {len(among)} sizes" if len(among) > 1 else "")


def counted(sources: Sequence[Source], score: str = "icc") -> str:
    """Over several data sets: in how many comparisons sums are surely better, and worse, than either rival."""
    parts = []
    for rival, whom in RIVALS.items():
        every = [sign for source in sources for sign in signs(source, SUMS, rival, score).values()]
        if every:
            worse = f", worse in {every.count(-1)}" if -1 in every else ""
            parts.append(f"{whom} in {every.count(1)} of {len(every)} comparisons{worse}")
    return f"sums of 4 surely beat {listed(parts)}" if parts else "nothing to compare yet"


def _in_short(sources: Sequence[Source]) -> str:
    """ "surely better in 2 and 1 of 4": than base, and than base at equal passes."""
    every = [[sign for s in sources for sign in signs(s, SUMS, rival).values()] for rival in RIVALS]
    every = [found for found in every if found]
    if not every:
        return "nothing to compare yet"
    ahead, behind = (" and ".join(str(found.count(sign)) for found in every) for sign in (1, -1))
    worse = f", worse in {behind}" if any(-1 in found for found in every) else ""
    return f"sums are surely better in {ahead}{worse} of {len(every[0])} comparisons"


def notes(sources: Sequence[Source]) -> str:
    """The test sets, and what the bars are."""
    told = []
    for source in sources:
        t, kind = source.test_set, "real" if source.real else "synthetic"
        told.append(f"{source.prefix} ({kind}, {source.origin}): {t['cases']:,} test scans of {t['groups']:,} people, "
                    f"{t['seeds']} seeds.")  # fmt: skip
    return f"{' '.join(told)} Bars: 95 % intervals over seeds and people together."


def _drawable(sources: Sequence[Source]) -> list[Source]:
    found = [source for source in sources if set(MAIN) & set(source.arms)]
    if not found:
        raise NotYet("no run has a network that is trained on single scans or on sums yet")
    return found


@styled
def learning(sources: Sequence[Source], paper: Sequence[Reported] = ()) -> Picture:
    """ICC (above) and mean squared error (below) over N, a column a data set; the paper's ICCs hollow, in their own."""
    sources = _drawable(sources)
    real = [source for source in sources if source.real]
    twins = [source for source in sources if not source.real]
    on_twins = [f"on twins, {_in_short(twins)}"] if real and twins else [f"Twins: {counted(twins)}"] if twins else []
    title = "; ".join([finding(source) for source in real] + on_twins)
    ratios = [1.0] * bool(paper) + widths(sources)
    note = notes(sources) + " Thin: means of what needs no network. Scores of different panels cannot be compared."
    if paper:
        note = f"Paper: real scans, other tasks; bars: F-based 95 % intervals over test scans. {note}"
    figure, axes = sheet(title, 2, len(ratios), 5.7, note, width_ratios=ratios, height_ratios=[1.5, 1])
    if paper:
        _paper_panel(axes[0, 0], paper)
        axes[1, 0].axis("off")
    columns = axes[:, 1:] if paper else axes
    cut = [_column(pair, source) for pair, source in zip(columns.T, sources, strict=True)]
    if any(cut):
        figure._supxlabel.set_text(figure._supxlabel.get_text() + LEAVES)
    low = min(panel.get_ylim()[0] for panel in columns[0])
    for panel in [*columns[0], *([axes[0, 0]] if paper else [])]:
        panel.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        panel.set_ylim(min(low, 0), 1)
    columns[0, 0].set_ylabel("ICC(A,1)")
    _legend(axes[1, 0] if paper else columns[0, -1], columns[0], bool(paper))
    about = {"figure": "agreement and error over training scans", "runs": [s.provenance for s in sources]}
    return Picture(figure, title, about)


def _column(pair: Sequence[Axes], source: Source) -> bool:
    """ICC above, squared error below; returns whether a bar leaves a frame."""
    cut = False
    for panel, score in zip(pair, SCORES, strict=True):
        cut |= draw_arms(panel, source, MAIN, score, markersize=5, elinewidth=1.3)
        table = source.resampled(score)
        for arm in (arm for arm in BESIDE if arm in source.arms):
            n_all = source.sizes(arm)
            style = {"linewidth": 1.1, "markersize": 4, "label": look(arm).label}
            panel.plot(n_all, [table.values(arm, n).mean().round(5) for n in n_all], **filled(arm) | style)
        _scans_axis(panel, _all_sizes(source), named=score == "mse")
    pair[0].set_title(_head(source), fontsize=9)
    pair[1].set_ylabel(_error(source), fontsize=9)
    return cut


def _scans_axis(panel: Axes, n_all: Sequence[int], named: bool) -> None:
    sizes_axis(panel, n_all, "", 1.6 if len(n_all) > 4 else 1.3)
    panel.set_xlabel("training scans" if named else "", fontsize=9)
    panel.set_xlim(n_all[0] / 1.45, n_all[-1] * 1.45)
    panel.tick_params(labelsize=8.5)


def _error(source: Source) -> str:
    return f"MSE ({source.task.unit or 'count'}²)"


def _head(source: Source) -> str:
    """ "Hippocampi" and below "real", for a narrow panel."""
    name = source.prefix.partition(",")[0].partition(" ")[2]
    return f"{name[0].upper()}{name[1:]}\n{'real' if source.real else 'twin'}"


def widths(sources: Sequence[Source]) -> list[float]:
    """Of the panels: more sizes want more room, and every panel the room for its name."""
    return [min(max(0.95, 0.32 * len(_all_sizes(source))), 1.4) for source in sources]


def _all_sizes(source: Source) -> list[int]:
    return sorted({n for arm in MAIN if arm in source.arms for n in source.sizes(arm)})


def _paper_panel(panel: Axes, paper: Sequence[Reported]) -> None:
    """The paper's ICCs, hollow, over its number of training scans, with the range between raters."""
    panel.axhspan(*INTER_RATER, color="#e3e8ed", zorder=0, linewidth=0)
    panel.text(21.4, 0.59, "raters", fontsize=8, color=GREY, ha="left", va="top")
    shown = [r for r in paper if r.loss == "MSE"]
    for r in shown:
        e, shift = r.interval, 1.05 if r.arm == SUMS else 1 / 1.05
        panel.errorbar(r.n_train * shift, e.value, [[e.value - e.low], [e.high - e.value]],
                       **hollow(r.arm) | {"markersize": 5, "elinewidth": 1.2, "linestyle": "none"})  # fmt: skip
    sizes_axis(panel, {r.n_train for r in shown}, "")
    panel.set_xlabel("training scans", fontsize=9)
    panel.set_xlim(21, 46)
    panel.tick_params(labelsize=8)
    panel.set_title("Paper: other\ntasks, real", fontsize=9, color=GREY)
    for r in shown[::2]:
        kind = r.what.partition("(")[2][:-1]
        panel.text(r.n_train, 0.03, kind, fontsize=7.5, color=GREY, rotation=90, ha="center", va="bottom")


def _legend(panel: Axes, drawn: Sequence[Axes], own: bool) -> None:
    handles = {}
    for axes in drawn:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    names = [look(arm).label for arm in (*MAIN, *BESIDE) if look(arm).label in handles]
    place = {"loc": "center", "bbox_to_anchor": (0.45, 0.5)} if own else {"loc": "lower right"}
    panel.legend(
        [handles[name] for name in names],
        [n.replace(" at ", "\nat ").replace(" of the", "\nof the") for n in names],
        fontsize=8.5,
        **place,
    )


@styled
def differences(sources: Sequence[Source]) -> Picture:
    """What sums gain over either rival, paired by seed and scan: ICC above, squared error below (below 0 is better)."""
    sources = _drawable(sources)
    told = [_by_both(sources, rival) for rival in RIVALS if any(signs(source, SUMS, rival) for source in sources)]
    if not told:
        raise NotYet("sums of 4 and a base network share no training size yet")
    where = "" if any(source.real for source in sources) else "On twins, s"
    title = f"{where or 'S'}ums of 4 surely beat {listed(told)}"
    ratios = widths(sources)
    note = notes(sources) + " Paired by seed and scan. The arrow points to where sums are better."
    figure, axes = sheet(title, 2, len(sources), 5.0, note, width_ratios=ratios, height_ratios=[1.3, 1])
    cut = False
    for column, source in zip(axes.T, sources, strict=True):
        for panel, score in zip(column, SCORES, strict=True):
            cut |= _gains(panel, source, score)
        column[0].set_title(_head(source), fontsize=9)
        column[1].set_ylabel(_error(source), fontsize=9)
    axes[0, 0].set_ylabel("ICC(A,1)")
    if cut:
        figure._supxlabel.set_text(figure._supxlabel.get_text() + LEAVES)
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(low, high + 0.9 * (high - low))
    axes[0, 0].legend(loc="upper left", fontsize=8, borderaxespad=0.1, labelspacing=0.2)
    return Picture(figure, title, {"figure": "what sums gain", "runs": [s.provenance for s in sources]})


def _by_both(sources: Sequence[Source], rival: str) -> str:
    """ "base in 1 of 5 comparisons by ICC, 0 by squared error (worse in 2)"."""
    by = {score: [sign for s in sources for sign in signs(s, SUMS, rival, score).values()] for score in SCORES}
    worse = ", ".join(f"{by[score].count(-1)} by {word}" for score, word in (("icc", "ICC"), ("mse", "squared error"))
                      if -1 in by[score])  # fmt: skip
    icc, mse = by["icc"].count(1), by["mse"].count(1)
    text = f"{RIVALS[rival]} in {icc} of {len(by['icc'])} comparisons by ICC, {mse} by squared error"
    return text + (f" (worse in {worse})" if worse else "")


def _gains(panel: Axes, source: Source, score: str) -> bool:
    found = {rival: {n: source.gain(SUMS, n, score, baseline=rival) for n in signs(source, SUMS, rival, score)}
             for rival in RIVALS}  # fmt: skip
    for position, (rival, by_size) in enumerate(found.items()):
        if by_size:
            curve(panel, rival, by_size, spread_out(position, 2), label=f"sums −\n{look(rival).label}",
                  markersize=5, elinewidth=1.3)  # fmt: skip
    panel.axhline(0, color="#30363d", linewidth=1.1)
    n_all = sorted({n for by_size in found.values() for n in by_size}) or _all_sizes(source)
    _scans_axis(panel, n_all, named=score == "mse")
    limits = frame([e for by_size in found.values() for e in by_size.values()])
    if limits is not None:
        panel.set_ylim(min(limits[0], 0), max(limits[1], 0))
    panel.annotate("", (0.97, 0.98 if score == "icc" else 0.02), (0.97, 0.80 if score == "icc" else 0.20),
                   xycoords="axes fraction", arrowprops={"arrowstyle": "->", "color": GREY})  # fmt: skip
    return limits is not None


def gain_table(source: Source, scores: Sequence[str] = ("icc", "icc:C", "mse"), split: str = "test") -> str:
    """Markdown: sums minus either rival at every size, with intervals; a star where the interval leaves out 0."""
    n_all, rows = [], []
    for score in scores:
        for rival in RIVALS:
            found = {n: source.gain(SUMS, n, score, split, rival) for n in signs(source, SUMS, rival, score)}
            if found:
                n_all = sorted({*n_all, *found})
                rows.append((f"{score_label(score, source.task.unit)}, minus {look(rival).label}", score, found))
    if not rows:
        return f"Sums and the base network share no training size on the {source.name} yet."
    cells = [[name, *(starred(found[n], score) if n in found else "" for n in n_all)] for name, score, found in rows]
    head = [f"{source.prefix}: sums of 4 …", *(f"N = {n:,}" for n in n_all)]
    return f"{markdown(head, cells)}\n\n\\* the interval does not cover 0. Of an error, less is better."


def told(e: Estimate, score: str = "icc", sign: bool = False) -> str:
    """With as many digits as an error's magnitude wants, so that no end but 0 is told as 0; agreements have three."""
    size = max(abs(e.low), abs(e.high))
    digits = 3 if score not in LOSSES or 0.3 <= size < 10 else 1 if size >= 10 else 4
    return interval(e, digits, sign)


def starred(e: Estimate, score: str = "icc") -> str:
    """A difference, with a star where its interval leaves out 0."""
    return f"{told(e, score, sign=True)}{' *' if side(e) else ''}"


def score_table(source: Source, arms: Sequence[str], score: str = "icc") -> str:
    """Markdown: scores with intervals, arms by sizes."""
    present = [arm for arm in arms if arm in source.arms]
    n_all = sorted({n for arm in present for n in source.sizes(arm)})
    rows = [[look(arm).label, *(told(source.score(arm, n, score), score) if source.has(arm, n) else "" for n in n_all)]
            for arm in present]  # fmt: skip
    return markdown([f"{source.prefix}: {score_label(score, source.task.unit)}", *(f"N = {n:,}" for n in n_all)], rows)


CLAIMED_FACTOR = 40  # the paper: 25 scans do what an earlier network of its authors needed 1,000 for


def factor_table(source: Source) -> str:
    """Markdown: how many times more scans either rival needs for what sums agree with the label, at every size."""
    rows, n_all = [], source.sizes(SUMS) if SUMS in source.arms else []
    for rival in RIVALS:
        shared = source.sizes(SUMS, rival) if n_all and rival in source.arms else []
        if len(shared) > 1:
            found = {n: factor(source.factor(SUMS, n, "icc", rival)) for n in shared if n < shared[-1]}
            rows.append([look(rival).label, *(found.get(n, "") for n in n_all[:-1]), f"{shared[-1] / shared[0]:.1f}"])
    if not rows:
        return f"A factor needs two sizes of the base network, which the {source.name} do not have yet."
    head = [f"{source.prefix}: times as many scans for what sums of 4 reach", *(f"N = {n:,}" for n in n_all[:-1])]
    return markdown([*head, "most that the grid can show"], rows)


def fortyfold(source: Source) -> str:
    """Whether the paper's forty times fewer scans could be seen in this grid, and what it shows instead."""
    shared = source.sizes(SUMS, "base") if {SUMS, "base"} <= set(source.arms) else []
    if len(shared) < 2:
        return ""
    n = min(shared[:-1], key=lambda n: abs(n - 25))
    if not gain(source.resampled("icc"), "base").low > 0:
        return f"{source.prefix}: base does not surely gain by more scans, so **no factor can be read off** its curve."
    e, reach = source.factor(SUMS, n, "icc", "base"), shared[-1] / n
    text = f"{source.prefix}: at N = {n:,} sums do what base needs {factor(e)} times as many scans for. "
    if e.high < CLAIMED_FACTOR:
        return text + "Forty times fewer is **ruled out** here; the paper's other network had another task."
    if reach < CLAIMED_FACTOR:
        return text + f"Forty times fewer cannot be seen in a grid that reaches {reach:.3g} times."
    return text + ("Forty times fewer **holds**." if e.low >= CLAIMED_FACTOR else "Forty times fewer is open.")


def labels_of(source: Source) -> pd.DataFrame:
    """The test scans' labels: columns case, group, target."""
    table = source.tables.predictions
    kept = table.loc[table["split"] == "test", ["case", "group", "target"]].drop_duplicates("case")
    return kept.astype({"case": str, "group": str}).sort_values("case", ignore_index=True)
