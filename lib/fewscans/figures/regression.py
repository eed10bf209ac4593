"""Sums against single scans: agreement and error over the number of training scans, with intervals, the paper beside.

Three networks are compared by the same seeds and test scans: `base`, one scan at a time and a quarter of the updates,
as the paper compares; `base-compute`, the same with as many forward passes and updates as sums have; `hydra-4`, sums
over sets of four. ICCs of different panels cannot be compared: an ICC grows with the spread of its test scans.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewscans.figures.arms import hollow, look
from fewscans.figures.curves import LEAVES, curve, frame, spread_out
from fewscans.figures.picture import GREY, Picture, sheet, sizes_axis, styled, wrapped
from fewscans.figures.reported import Reported
from fewscans.figures.sources import NotYet, Source
from fewscans.figures.tasks import score_label
from fewscans.figures.wording import factor, folded, listed, markdown, number
from fewscans.figures.yardsticks import (
    MAIN,
    RIVALS,
    SUMS,
    SURELY,
    better,
    checked_only,
    finding,
    is_check,
    judged,
    notes,
    say,
    seen,
    signs,
    starred,
    starring,
)
from fewscans.figures.yardsticks import learned as learned  # for notebooks
from fewscans.stats import Estimate
from fewscans.stats.efficiency import gain

SCORES = ("icc", "mse")
INTER_RATER = (0.6, 0.8)  # Adams et al., Stroke 44:1732 (2013): perivascular spaces, basal ganglia
TRAINED_ON = {30: "24", 40: "≈ 34"}  # of the paper's 30 scans with lesions 6 validate; of its 40, we take it, as many
BESIDE = ("histogram", "crop", "mean")  # without a network, drawn thin
PLACES = ("crop", *MAIN, "histogram")  # side by side at each size


def _drawable(sources: Sequence[Source]) -> list[Source]:
    found = [source for source in sources if set(MAIN) & set(source.arms)]
    if not found:
        raise NotYet("no run has a network that is trained on single scans or on sums yet")
    return found


@styled
def learning(sources: Sequence[Source], paper: Sequence[Reported] = ()) -> Picture:
    """ICC (above) and mean squared error (below) over N, a column a data set; the paper's ICCs hollow, in their own."""
    sources = _drawable(sources)
    titled, noted = judged(sources)
    title = finding((titled or sources)[0])
    ratios = [1.2 if len(sources) > 1 else 0.9] * bool(paper) + widths(sources)
    note = " ".join([notes(sources), *(f"{finding(source)}." for source in [*titled[1:], *noted])])
    note += (
        f"{SURELY}: between networks by ICC, against the mean of the labels by squared error. Dotted, dashed: without "
    )
    note += "a network. Scores of different panels cannot be compared."
    if paper:
        note = ("Paper: real scans of other tasks, those that it trains on; bars: F-based 95 % intervals over test "
                f"scans; grey: two raters of PVS (Adams 2013). {note}")  # fmt: skip
    figure, axes = sheet(title, 2, len(ratios), 6.2, note, width_ratios=ratios, height_ratios=[1.5, 1])
    if paper:
        _paper_panel(axes[0, 0], paper)
        axes[1, 0].axis("off")
    columns = axes[:, 1:] if paper else axes
    cut = [_column(pair, source, len(ratios) > 2) for pair, source in zip(columns.T, sources, strict=True)]
    if any(cut):
        figure._supxlabel.set_text(wrapped(f"{note} What leaves a frame runs on beyond it."))
    low = min(panel.get_ylim()[0] for panel in columns[0])
    for panel in [*columns[0], *([axes[0, 0]] if paper else [])]:
        panel.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        panel.set_ylim(min(low, 0), 1)
    columns[0, 0].set_ylabel("ICC(A,1)")
    _legend(axes[1, 0] if paper else columns[0, -1], columns.ravel(), bool(paper))
    about = {"figure": "agreement and error over training scans", "runs": [s.provenance for s in sources]}
    return Picture(figure, title, about)


def _column(pair: Sequence[Axes], source: Source, narrow: bool) -> bool:
    """ICC above, squared error below; returns whether a bar leaves a frame."""
    cut = False
    for panel, score in zip(pair, SCORES, strict=True):
        arms = [arm for arm in (*MAIN, *BESIDE) if arm in source.arms and (arm, score) != ("mean", "icc")]
        found = {arm: {n: seen(source, arm, n, score) for n in source.sizes(arm)} for arm in arms}
        for arm, by_size in found.items():
            style = {"markersize": 5, "elinewidth": 1.3}
            if arm in BESIDE:  # above the networks' lines, which else would hide them
                style = {"markersize": 4.5, "elinewidth": 0.8, "linewidth": 1.2, "zorder": 4}
            if arm == "mean":  # the yardstick: its bar would be that of the test people, whom all lines share
                by_size = {n: Estimate(e.value, e.value, e.value) for n, e in by_size.items()}
                style |= {"color": "#30363d", "linestyle": "--", "marker": "", "zorder": 5}
            curve(panel, arm, by_size, spread_out(PLACES.index(arm) if arm in PLACES else 2, len(PLACES)), **style)
        shown = [e for arm, by_size in found.items() if arm != "histogram" for e in by_size.values()]
        every = [e for by_size in found.values() for e in by_size.values()]
        limits = _frame(shown, every) if score == "mse" else frame(every)
        if limits is not None:
            panel.set_ylim(*limits)
        cut |= limits is not None
        _scans_axis(panel, _all_sizes(source), score == "mse", narrow)
    pair[0].set_title(_head(source), fontsize=9)
    pair[1].set_ylabel(_error(source), fontsize=9)
    return cut


def _frame(shown: Sequence[Estimate], every: Sequence[Estimate]) -> tuple[float, float] | None:
    """That of the networks, where a histogram of few scans errs so far beyond them that they would become one line."""
    low, high = min(e.low for e in shown), max(e.high for e in shown)
    if max(e.high for e in every) <= high + 0.5 * (high - low):
        return frame(every)
    return max(0.0, low - 0.08 * (high - low)), high + 0.15 * (high - low)


def _scans_axis(panel: Axes, n_all: Sequence[int], named: bool, narrow: bool = True) -> None:
    """Every size has its number: in a narrow panel, a line lower where it would touch the one before."""
    sizes_axis(panel, n_all, "")
    names: list[str] = []
    for k, n in enumerate(n_all):
        near = k > 0 and np.log(n / n_all[k - 1]) < 0.16 * np.log(1.45**2 * n_all[-1] / n_all[0])
        touches = narrow and near and not names[-1].startswith("\n")
        names.append(f"\n{n}" if touches else f"{n}")
    panel.set_xticks(n_all, names)
    panel.set_xlabel("training scans" if named else "", fontsize=9)
    panel.set_xlim(n_all[0] / 1.45, n_all[-1] * 1.45)
    panel.tick_params(labelsize=8.5)


def _error(source: Source) -> str:
    return f"MSE ({source.task.unit or 'count'}²)"


def _head(source: Source) -> str:
    """ "Hippocampi" and below "real", for a narrow panel."""
    name = source.prefix.partition(",")[0].partition(" ")[2]
    kind = "real" if source.real else "twin"
    seeds = f", {source.test_set['seeds']} seeds" if is_check(source) else ""
    return f"{name[0].upper()}{name[1:]}\n{kind}{seeds}"


def widths(sources: Sequence[Source]) -> list[float]:
    """Of the panels: more sizes want more room, and every panel the room for its name."""
    return [min(max(0.95, 0.32 * len(_all_sizes(source))), 1.4) for source in sources]


def _all_sizes(source: Source) -> list[int]:
    return sorted({n for arm in MAIN if arm in source.arms for n in source.sizes(arm)})


def _paper_panel(panel: Axes, paper: Sequence[Reported]) -> None:
    """The paper's ICCs, hollow, by what it trains on; around its spaces, and only there, the range between raters."""
    shown = [r for r in paper if r.loss == "MSE"]
    ticks: dict[str, str] = {}
    for r in shown:
        kind = r.what.partition("(")[2][:-1]
        x = list(ticks).index(r.row) if r.row in ticks else len(ticks)
        ticks[r.row] = f"{r.n_train if kind == 'PVS' else TRAINED_ON.get(r.n_train, r.n_train)}\n{kind}"
        if kind == "PVS":
            panel.fill_between([x - 0.4, x + 0.4], *INTER_RATER, color="#dde3e9", zorder=0, linewidth=0)
            panel.text(x, INTER_RATER[0] - 0.01, "raters", fontsize=8, color=GREY, ha="center", va="top")
        e, shift = r.interval, 0.15 if r.arm == SUMS else -0.15
        panel.errorbar(x + shift, e.value, [[e.value - e.low], [e.high - e.value]],
                       **hollow(r.arm) | {"markersize": 5, "elinewidth": 1.2, "linestyle": "none"})  # fmt: skip
    panel.set_xticks(range(len(ticks)), list(ticks.values()))
    panel.set_xlabel("training scans", fontsize=9)
    panel.set_xlim(-0.55, len(ticks) - 0.45)
    panel.tick_params(labelsize=7.5)
    panel.set_title("Paper: other\ntasks, real", fontsize=9, color=GREY)


def _legend(panel: Axes, drawn: Sequence[Axes], own: bool) -> None:
    handles = {}
    for axes in drawn:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    names = [look(arm).label for arm in (*MAIN, *BESIDE) if look(arm).label in handles]
    place = {"loc": "center", "bbox_to_anchor": (0.45, 0.45)} if own else {"loc": "upper left"}
    panel.legend(
        [handles[name] for name in names],
        [n.replace(" at ", "\nat ").replace(" of the", "\nof the") for n in names],
        fontsize=8,
        **place,
    )


@styled
def differences(sources: Sequence[Source]) -> Picture:
    """What sums gain over either rival, paired by seed and scan: ICC above, squared error below (below 0 is better)."""
    sources = _drawable(sources)
    if not any(signs(source, SUMS, rival) for source in sources for rival in RIVALS):
        raise NotYet("sums of 4 and a base network share no training size yet")
    titled, noted = judged(sources)
    title = _by_both(titled) if titled else checked_only(sources[0])
    note = notes(sources) + f"{SURELY}; paired by seed and scan. The arrow points to where sums are better."
    if noted:
        note += f" {_by_both(noted)}."
    figure, axes = sheet(title, 2, len(sources), 5.4, note, width_ratios=widths(sources), height_ratios=[1.3, 1])
    cut = False
    for column, source in zip(axes.T, sources, strict=True):
        for panel, score in zip(column, SCORES, strict=True):
            cut |= _gains(panel, source, score, len(sources) > 1)
        column[0].set_title(_head(source), fontsize=9)
        column[1].set_ylabel(_error(source), fontsize=9)
    axes[0, 0].set_ylabel("ICC(A,1)")
    if cut:
        figure._supxlabel.set_text(wrapped(note + LEAVES))
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(low, high + 0.9 * (high - low))
    axes[0, 0].legend(loc="upper left", fontsize=8, borderaxespad=0.1, labelspacing=0.2)
    return Picture(figure, title, {"figure": "what sums gain", "runs": [s.provenance for s in sources]})


def _by_both(sources: Sequence[Source]) -> str:
    """ "Real hippocampi: sums of 4 surely beat base in 1 of 5 cases by ICC, 0 by squared error (behind in 0 and 2)"."""
    parts, all_signs = [], []
    for rival, whom in RIVALS.items():
        icc, mse = ([sign for s in sources for sign in signs(s, SUMS, rival, score).values()] for score in SCORES)
        all_signs += icc + mse
        if icc:
            first = "" if parts else " cases by ICC"
            behind = f" (behind in {icc.count(-1)} and {mse.count(-1)})" if -1 in (*icc, *mse) else ""
            joint, by = (" and", "") if parts else (",", " by squared error")
            parts.append(f"{whom} in {icc.count(1)} of {len(icc)}{first}{joint} {mse.count(1)}{by}{behind}")
    names = listed([source.prefix if not k else source.prefix[0].lower() + source.prefix[1:]
                    for k, source in enumerate(sources)])  # fmt: skip
    if not any(all_signs):
        return f"{names}: at no size a sure difference between sums of 4 and {' or '.join(RIVALS.values())}"
    return f"{names}: sums of 4 surely beat {'; '.join(parts)}"


def _gains(panel: Axes, source: Source, score: str, narrow: bool) -> bool:
    found = {rival: {n: seen(source, SUMS, n, score, baseline=rival) for n in signs(source, SUMS, rival)}
             for rival in RIVALS}  # fmt: skip
    for position, (rival, by_size) in enumerate(found.items()):
        if by_size:
            curve(panel, rival, by_size, spread_out(position, 2), label=f"sums −\n{look(rival).label}",
                  markersize=5, elinewidth=1.3)  # fmt: skip
    panel.axhline(0, color="#30363d", linewidth=1.1)
    n_all = sorted({n for by_size in found.values() for n in by_size}) or _all_sizes(source)
    _scans_axis(panel, n_all, score == "mse", narrow)
    limits = frame([e for by_size in found.values() for e in by_size.values()])
    if limits is not None:
        panel.set_ylim(min(limits[0], 0), max(limits[1], 0))
    panel.annotate("", (0.97, 0.98 if score == "icc" else 0.02), (0.97, 0.80 if score == "icc" else 0.20),
                   xycoords="axes fraction", arrowprops={"arrowstyle": "->", "color": GREY})  # fmt: skip
    return limits is not None


def gain_table(source: Source, scores: Sequence[str] = ("icc", "icc:C", "mse"), split: str = "test") -> str:
    """Markdown: sums minus either rival at every size, with intervals; a star where the interval leaves out 0.

    ICC(C,1) is folded away.
    """
    n_all = sorted({n for rival in RIVALS for n in signs(source, SUMS, rival)})
    if not n_all:
        return f"Sums and the base network share no training size on the {source.name} yet."
    head = [f"{source.prefix}: sums of 4 …", *(f"N = {n:,}" for n in n_all)]

    def rows(score: str) -> list[list[str]]:
        found = {rival: signs(source, SUMS, rival) for rival in RIVALS}
        name = score_label(score, source.task.unit)
        return [[f"{name}, minus {look(rival).label}",
                 *(starred(seen(source, SUMS, n, score, split, rival), score) if n in by else "" for n in n_all)]
                for rival, by in found.items() if by]  # fmt: skip

    open_ = markdown(head, [row for score in scores if score != "icc:C" for row in rows(score)])
    text = f"{open_}\n\n{starring(source, 'the interval does not cover 0; of an error, less is better')}"
    return text + (f"\n\n{folded('By ICC(C,1)', markdown(head, rows('icc:C')))}" if "icc:C" in scores else "")


def score_table(source: Source, arms: Sequence[str], scores: Sequence[str] = SCORES) -> str:
    """Markdown: scores with intervals, arms by sizes; and the share of the mean's squared error that is taken away.

    A star there: the squared error is surely below that of the mean of the training labels.
    """
    present = [arm for arm in arms if arm in source.arms]
    n_all = sorted({n for arm in present for n in source.sizes(arm)})
    rows = []
    for score in scores:
        rows.append([f"**{score_label(score, source.task.unit)}**", *[""] * len(n_all)])
        for arm in present:
            told = (say(seen(source, arm, n, score), score) if source.has(arm, n) else "" for n in n_all)
            rows.append([look(arm).label, *told])
    if "mean" not in source.arms:
        return markdown([source.prefix, *(f"N = {n:,}" for n in n_all)], rows)
    rows.append(["**1 − MSE / MSE of the mean of the labels**", *[""] * len(n_all)])
    rows += [[look(arm).label, *(_beyond_mean(source, arm, n) for n in n_all)] for arm in present if arm != "mean"]
    table = markdown([source.prefix, *(f"N = {n:,}" for n in n_all)], rows)
    return f"{table}\n\n{starring(source, 'surely less squared error than the mean of the training labels')}"


def _beyond_mean(source: Source, arm: str, n: int) -> str:
    if not (source.has(arm, n) and source.has("mean", n)):
        return ""
    mine, of_mean = (source.resampled("mse").values(a, n).mean() for a in (arm, "mean"))
    sure = better(seen(source, arm, n, "mse", baseline="mean"), "mse") > 0 and not is_check(source)
    return f"{number(1 - mine / of_mean, 2)}{' *' if sure else ''}"


CLAIMED_FACTOR = 40  # the paper: 25 scans do what an earlier network of its authors needed 1,000 for


def _gaining(source: Source, rival: str) -> bool:
    """Whether a rival surely gains by more scans, without which its curve tells no factor."""
    return not is_check(source) and gain(source.resampled("icc"), rival).low > 0


def factor_table(source: Source) -> str:
    """Markdown: how many times more scans a rival needs for what sums agree with the label, at every size; rivals whose
    ICC does not surely grow with N are named, and have no row.
    """
    n_all = source.sizes(SUMS) if SUMS in source.arms else []
    shared = {rival: source.sizes(SUMS, rival) for rival in RIVALS if n_all and rival in source.arms}
    shared = {rival: some for rival, some in shared.items() if len(some) > 1}
    if not shared:
        return f"A factor needs two sizes of the base network, which the {source.name} do not have yet."
    flat = [look(rival).label for rival in shared if not _gaining(source, rival)]
    rows = []
    for rival in (rival for rival in shared if look(rival).label not in flat):
        largest = shared[rival][-1]
        found = {n: factor(source.factor(SUMS, n, "icc", rival)) for n in shared[rival] if n < largest}
        rows.append([look(rival).label, *(found.get(n, "") for n in n_all[:-1]), f"{largest / shared[rival][0]:.1f}"])
    said = (
        f"{source.prefix}: no row for {listed(flat)}, whose ICC does not surely grow with more scans." if flat else ""
    )
    if not rows:
        return said.replace("no row for", "no factors against")
    head = [f"{source.prefix}: times as many scans for what sums of 4 reach", *(f"N = {n:,}" for n in n_all[:-1])]
    return "\n\n".join(filter(None, [markdown([*head, "most that the grid can show"], rows), said]))


def fortyfold(source: Source) -> str:
    """Whether the paper's forty times fewer scans could be seen in this grid, and what it shows instead."""
    shared = source.sizes(SUMS, "base") if {SUMS, "base"} <= set(source.arms) else []
    if len(shared) < 2:
        return f"{source.prefix}: forty times fewer scans cannot be asked of fewer than two sizes."
    n = min(shared[:-1], key=lambda n: abs(n - 25))
    if not _gaining(source, "base"):
        return (
            f"{source.prefix}: base does not surely gain by more scans, so forty times fewer is neither seen nor ruled "
            "out: **no factor can be read off** its curve."
        )
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
